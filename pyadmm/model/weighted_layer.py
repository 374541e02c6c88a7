"""A convolution or fully connected layer in integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.model.requant import Requant
from pyadmm.model.types import IntArray, LayerSpec, QFormat

_FLOAT32_EXACT = 1 << 24


@dataclass(frozen=True)
class CompressedLayer:
    """One convolution or linear layer in integers.

    :param spec: name, kind and shapes of the layer.
    :param source: name of the node that feeds it (:data:`INPUT` for the network's input).
    :param codes: level codes of shape ``spec.weight_shape``, 0 where pruned.
    :param weight_bits: ``n``; codes lie in ``±1 … ±2**(n-1)``.
    :param bias: integers of shape ``(O,)`` at accumulator scale.
    :param requant: how accumulators become outputs.
    :param output: number format of the outputs.
    :param weight_scale: ``q``, real weight = code * q; one value or one per output channel.
    """

    spec: LayerSpec
    source: str
    codes: NDArray[np.int16]
    weight_bits: int
    bias: NDArray[np.int64]
    requant: Requant
    output: QFormat
    weight_scale: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        name = self.spec.name
        if not 1 <= self.weight_bits <= 8:
            raise PyadmmError(f"layer {name}: weight bits must be 1 to 8, not {self.weight_bits}")
        if self.codes.shape != self.spec.weight_shape or self.bias.shape != (self.spec.outputs,):
            raise PyadmmError(
                f"layer {name}: codes {self.codes.shape} and bias {self.bias.shape} do not fit "
                f"weight {self.spec.weight_shape}"
            )
        if int(np.abs(self.codes).max(initial=0)) > self.max_code:
            raise PyadmmError(
                f"layer {name}: a code exceeds {self.max_code} ({self.weight_bits} bits)"
            )
        for what, values in (("mult", self.requant.mult), ("weight scale", self.weight_scale)):
            if len(values) not in (1, self.spec.outputs):
                raise PyadmmError(
                    f"layer {name}: {len(values)} values of {what} for {self.spec.outputs} outputs"
                )
        self.codes.flags.writeable = False
        self.bias.flags.writeable = False

    @property
    def name(self) -> str:
        """The name of the layer."""
        return self.spec.name

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the nodes that the layer reads."""
        return (self.source,)

    @property
    def max_code(self) -> int:
        """``M/2``, the largest level code."""
        return 1 << (self.weight_bits - 1)

    @property
    def nnz(self) -> int:
        """Number of weights that are left."""
        return int(np.count_nonzero(self.codes))

    @property
    def window_codes(self) -> NDArray[np.int16]:
        """Codes as ``(O, C // groups, KH, KW)``."""
        return self.codes.reshape(self.spec.window_shape)

    def accumulator_magnitude(self, x_magnitude: int) -> int:
        """Largest ``|acc|`` that any input with ``|x| <= x_magnitude`` can give."""
        return int((np.abs(self.bias) + self._code_sums * x_magnitude).max())

    @cached_property
    def _code_sums(self) -> NDArray[np.int64]:
        """``sum |code|`` of every output; large layers are asked for it often."""
        magnitudes = np.abs(self.codes.reshape(self.spec.outputs, -1))
        return np.asarray(magnitudes.sum(1, dtype=np.int64))

    def output_shape(self, inputs: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
        """Shape ``(O, H_out, W_out)`` of the output.

        :param inputs: shape ``(C, H, W)`` of the source, as the only entry.
        :raises PyadmmError: where it is not the input shape of the layer.
        """
        if inputs[0] != self.spec.input_shape:
            raise PyadmmError(
                f"layer {self.name}: expects {self.spec.input_shape}, "
                f"but {self.source} gives {inputs[0]}"
            )
        return self.spec.output_shape

    def run(self, inputs: Sequence[IntArray], x_magnitude: int) -> NDArray[np.int64]:
        """Outputs ``(N, O, H_out, W_out)`` of the layer, int64.

        :param inputs: the input integers ``(N, C, H, W)``, as the only entry.
        :param x_magnitude: bound of their absolute values.
        """
        acc = self.accumulate(inputs[0], x_magnitude)
        return self.requant.apply(acc, self.output)

    def accumulate(self, x: IntArray, x_magnitude: int) -> NDArray[np.int64]:
        """Exact accumulators ``(N, O, H_out, W_out)``, bias included, int64.

        The products are summed in floating point of a width that holds every partial sum as an
        exact integer (``accumulator_magnitude`` bounds them), so the result is integer arithmetic
        at the speed of the BLAS.

        :param x: input integers ``(N, C, H, W)``.
        :param x_magnitude: bound of their absolute values.
        """
        exact32 = self.accumulator_magnitude(x_magnitude) < _FLOAT32_EXACT
        dtype = np.float32 if exact32 else np.float64
        spec = self.spec
        _, height, width = spec.output_shape
        around = (0, 0), (0, 0), spec.row_padding, spec.column_padding
        padded = np.pad(x.astype(dtype), around)
        acc = np.empty((len(x), spec.outputs, height, width), np.int64)
        for part, codes in enumerate(np.split(self.window_codes, spec.groups)):
            first = part * spec.kernel_channels
            rows = slice(part * len(codes), (part + 1) * len(codes))
            columns, weights = self._used_columns(padded[:, first:], codes.astype(dtype))
            products = np.matmul(weights, columns)
            acc[:, rows] = products.reshape(len(x), len(codes), height, width)
        acc += self.bias.reshape(1, -1, 1, 1)
        return acc

    def _used_columns(
        self, padded: NDArray[np.floating], codes: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """The im2col rows ``(N, K', P)`` that any output uses, and their weights ``(O, K')``."""
        spec = self.spec
        _, height, width = spec.output_shape
        live = np.flatnonzero(np.any(codes != 0, axis=0))
        spans = [(k - 1) * d + 1 for k, d in zip(spec.kernel, spec.dilation, strict=True)]
        windows = sliding_window_view(padded, spans, axis=(2, 3))
        windows = windows[:, :, :: spec.stride[0], :: spec.stride[1]]
        windows = windows[..., :: spec.dilation[0], :: spec.dilation[1]]
        columns = np.empty((len(padded), len(live), height, width), padded.dtype)
        for slot, k in enumerate(live):
            channel, row, column = np.unravel_index(k, codes.shape[1:])
            columns[:, slot] = windows[:, channel, :, :, row, column]
        flat = columns.reshape(len(padded), len(live), height * width)
        return flat, codes.reshape(len(codes), -1)[:, live]
