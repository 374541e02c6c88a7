"""The compressed integer model and its golden reference, :meth:`CompressedModel.run`.

Numerics contract: this module, the generated C++, the generated RTL and the board give the same
integers on every input. A weight is a level code ``w`` in ``{-M/2 … -1, 1 … M/2}``, ``M = 2**n``
(ADMM-NN section 3.4.2: there is no zero level), or 0 where it is pruned. Accumulators are exact;
every stage that changes scale does so by :class:`Requant`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.model.types import (
    IntArray,
    LayerSpec,
    Pair,
    QFormat,
    Sides,
    pair,
    positions,
    sides,
    signed_bits,
)

MULT_LIMIT = 1 << 16
"""Multipliers of a :class:`Requant` stay below this (one DSP operand)."""
SHIFT_LIMIT = 48
ACCUMULATOR_BITS_LIMIT = 48
INPUT = "input"
"""Name under which the nodes refer to the network's input."""

_FLOAT32_EXACT = 1 << 24
_BATCH = 500
BATCH_INTEGERS = 1 << 27
"""Most integers that the golden model holds at once: 1 GB."""


@dataclass(frozen=True)
class Requant:
    """``y = clamp((acc * mult + (1 << (shift - 1))) >> shift, lo, hi)``, integers only.

    :param mult: one multiplier for the layer, or one per output channel; ``1 <= mult < 2**16``.
    :param shift: arithmetic right shift, ``1 … 48``. ``mult = 2, shift = 1`` is the identity.
    """

    mult: tuple[int, ...] = (2,)
    shift: int = 1

    def __post_init__(self) -> None:
        if not self.mult or any(not 1 <= m < MULT_LIMIT for m in self.mult):
            raise PyadmmError(f"requantise: mult must be 1 to {MULT_LIMIT - 1}, not {self.mult}")
        if not 1 <= self.shift <= SHIFT_LIMIT:
            raise PyadmmError(f"requantise: shift must be 1 to {SHIFT_LIMIT}, not {self.shift}")

    def apply(self, acc: IntArray, output: QFormat) -> NDArray[np.int64]:
        """Requantise accumulators ``acc`` of shape ``(N, O, …)`` to the format ``output``.

        >>> Requant((3,), 2).apply(np.array([[-5, 1, 2, 100]]), QFormat(4, False)).tolist()
        [[0, 1, 2, 15]]
        """
        mult = np.array(self.mult, np.int64).reshape(1, -1, *[1] * (acc.ndim - 2))
        y = acc.astype(np.int64)
        y *= mult
        y += 1 << (self.shift - 1)
        y >>= self.shift
        return np.clip(y, output.lo, output.hi, out=y)

    def output_scale(self, unit: float) -> float:
        """Real value of one output step, if one step of the accumulator is worth ``unit``.

        >>> Requant((3,), 2).output_scale(0.75)
        1.0
        """
        return unit * 2.0**self.shift / self.mult[0]

    def channel_scales(self, first: float, outputs: int) -> tuple[float, ...]:
        """Weight scales of all ``outputs`` channels, given the scale ``first`` of channel 0.

        All channels have one output step.

        Exact, whatever the order of the channels, where a scale per unit of ``mult`` is a float32.

        >>> Requant((4, 6), 3).channel_scales(0.5, 2)
        (0.5, 0.75)
        """
        mult = self.mult if len(self.mult) > 1 else self.mult * outputs
        return tuple(first / self.mult[0] * m for m in mult)


@dataclass(frozen=True)
class InputSpec:
    """How the data ``(N, C, H, W)``, one byte a value, become the network's input integers.

    ``x = saturate((byte - offset[c]) >> shift)``. The data are ``uint8`` or, with ``signed``,
    ``int8``. :attr:`unsigned` is the equivalent for the hardware, which has no signed bytes.

    :param shape: ``(C, H, W)`` of one image.
    :param format: number format of the input integers.
    :param offset: one value for all channels, or one per channel.
    :param shift: arithmetic right shift, 0 to 7.
    """

    shape: tuple[int, int, int]
    format: QFormat
    offset: tuple[int, ...] = (0,)
    shift: int = 0
    signed: bool = False

    def __post_init__(self) -> None:
        if len(self.offset) not in (1, self.shape[0]):
            raise PyadmmError(f"input: {len(self.offset)} offsets for {self.shape[0]} channels")
        lowest, highest = (-128, 127) if self.signed else (0, 255)
        if not 0 <= self.shift <= 7 or any(not lowest <= o <= highest for o in self.offset):
            raise PyadmmError(
                f"input: shift must be 0 to 7 and offsets {lowest} to {highest} for data of type "
                f"{self.dtype}, not {self.shift} and {self.offset}"
            )

    @property
    def dtype(self) -> np.dtype:
        """Type of the input data, ``uint8`` or ``int8``."""
        return np.dtype(np.int8 if self.signed else np.uint8)

    @property
    def unsigned(self) -> InputSpec:
        """The same for ``uint8`` data: for signed ones, each with its sign bit inverted.

        >>> InputSpec((1, 1, 1), QFormat(8, True), signed=True).unsigned.offset
        (128,)
        """
        if not self.signed:
            return self
        return replace(self, offset=tuple(o + 128 for o in self.offset), signed=False)

    def bytes_of(self, data: NDArray[np.uint8] | NDArray[np.int8]) -> NDArray[np.uint8]:
        """``data`` of type :attr:`dtype` as the bytes that :attr:`unsigned` takes.

        >>> InputSpec((1, 1, 1), QFormat(8, True), signed=True).bytes_of(np.int8([-128, 0, 127]))
        array([  0, 128, 255], dtype=uint8)
        """
        if data.dtype != self.dtype:
            raise PyadmmError(f"input: data must be {self.dtype}, not {data.dtype}")
        return data.view(np.uint8) ^ np.uint8(128 if self.signed else 0)

    def quantize(self, images: NDArray[np.uint8] | NDArray[np.int8]) -> NDArray[np.int64]:
        """Network input integers of ``images`` of shape ``(N, C, H, W)`` and type :attr:`dtype`."""
        if images.dtype != self.dtype or images.shape[1:] != self.shape:
            raise PyadmmError(
                f"input: images must be {self.dtype} of shape "
                f"(N, {', '.join(map(str, self.shape))}), "
                f"not {images.dtype} of shape {images.shape}"
            )
        offset = np.array(self.offset, np.int64).reshape(1, -1, 1, 1)
        return self.format.saturate((images.astype(np.int64) - offset) >> self.shift)


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
            columns, weights = self._live_columns(padded[:, first:], codes.astype(dtype))
            products = np.matmul(weights, columns)
            acc[:, rows] = products.reshape(len(x), len(codes), height, width)
        acc += self.bias.reshape(1, -1, 1, 1)
        return acc

    def _live_columns(
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


@dataclass(frozen=True, init=False)
class _Pool:
    """Windows of ``kernel`` at distance ``stride`` on a map with ``padding`` at its sides.

    Each of them is a number for all sides, or one for rows and columns; ``padding`` may also be
    top, left, bottom, right. Padding makes windows that hang over the map's edge: what hangs over
    holds no values.
    """

    name: str
    source: str
    kernel: Pair
    stride: Pair
    padding: Sides

    def _set(self, **facts: object) -> None:
        for name, value in facts.items():
            object.__setattr__(self, name, value)
        if min(*self.kernel, *self.stride) < 1 or min(self.padding) < 0:
            raise PyadmmError(
                f"pool {self.name}: kernel and stride must be at least 1 and padding at least 0, "
                f"not {self.kernel}, {self.stride} and {self.padding}"
            )

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def area(self) -> int:
        """Places of a window."""
        return math.prod(self.kernel)

    @property
    def square(self) -> Pair:
        """Kernel and stride, where rows and columns share them and nothing is padded."""
        if len({*self.kernel}) + len({*self.stride}) > 2 or any(self.padding):
            raise PyadmmError(
                f"pool {self.name}: a pool of the hardware has a square window and no padding, not "
                f"kernel {self.kernel}, stride {self.stride} and padding {self.padding}"
            )
        return self.kernel[0], self.stride[0]

    def output_shape(self, inputs: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
        """Shape of the output; raises where a window does not fit or lies outside the map."""
        channels, *size = inputs[0]
        rows, columns = (self._positions(axis, size[axis]) for axis in (0, 1))
        ends = [self._span(a, size[a], p) for a, n in ((0, rows), (1, columns)) for p in (0, n - 1)]
        if min(rows, columns) < 1 or any(first >= last for first, last in ends):
            raise PyadmmError(
                f"pool {self.name}: a {self.kernel[0]}x{self.kernel[1]} window does not fit "
                f"{inputs[0]}"
            )
        return channels, rows, columns

    def windows(self, size: Sequence[int]) -> tuple[list[Pair], list[Pair]]:
        """Rows and columns, first and behind the last, that each window has on a map of ``size``."""
        rows, columns = (
            [self._span(a, size[a], p) for p in range(self._positions(a, size[a]))] for a in (0, 1)
        )
        return rows, columns

    def _positions(self, axis: int, size: int) -> int:
        padding = self.padding[axis], self.padding[axis + 2]
        return positions(size, padding, self.kernel[axis], self.stride[axis])

    def _span(self, axis: int, size: int, place: int, beyond: Sides = (0, 0, 0, 0)) -> Pair:
        """The part of a window that lies on the map and ``beyond`` it."""
        start = place * self.stride[axis] - self.padding[axis]
        first, last = -beyond[axis], size + beyond[axis + 2]
        return max(start, first), min(start + self.kernel[axis], last)


def _reduced(
    x: NDArray[np.int64], windows: tuple[list[Pair], list[Pair]], reduce: np.ufunc
) -> NDArray[np.int64]:
    """``reduce`` over all rows, then over all columns of every window."""
    x = np.stack([reduce.reduce(x[:, :, a:b], axis=2) for a, b in windows[0]], 2)
    return np.stack([reduce.reduce(x[..., a:b], axis=3) for a, b in windows[1]], 3)


@dataclass(frozen=True, init=False)
class MaxPool(_Pool):
    """Maximum of the values in each window; incomplete windows are dropped."""

    def __init__(
        self,
        name: str,
        source: str,
        kernel: int | Sequence[int],
        stride: int | Sequence[int],
        padding: int | Sequence[int] = 0,
    ) -> None:
        kernel, stride = pair(kernel), pair(stride)
        self._set(name=name, source=source, kernel=kernel, stride=stride, padding=sides(padding))

    def run(self, inputs: Sequence[IntArray], x_magnitude: int) -> NDArray[np.int64]:
        """The pooled integers ``(N, C, H_out, W_out)`` of one map."""
        x = inputs[0].astype(np.int64, copy=False)
        return _reduced(x, self.windows(x.shape[2:]), np.maximum)


@dataclass(frozen=True, init=False)
class AvgPool(_Pool):
    """Sum of the values in each window, requantised.

    :param requant: its ``mult / 2**shift`` holds one over the divisor, which is the same for all
        windows, unless there is a ``border``.
    :param border: top, left, bottom, right. Where given, a window is divided by how many of its
        places lie on the map and so far around it, ``n``: its multiplier is that of ``requant``
        times ``area / n``, rounded to nearest. No border around the map, ``(0, 0, 0, 0)``, divides
        by the values in the window.
    """

    requant: Requant
    output: QFormat
    border: Sides | None

    def __init__(  # noqa: PLR0917
        self,
        name: str,
        source: str,
        kernel: int | Sequence[int],
        stride: int | Sequence[int],
        requant: Requant,
        output: QFormat,
        padding: int | Sequence[int] = 0,
        border: int | Sequence[int] | None = None,
    ) -> None:
        around = None if border is None else sides(border)
        window = {"kernel": pair(kernel), "stride": pair(stride), "padding": sides(padding)}
        node = {"name": name, "source": source, "requant": requant, "output": output}
        self._set(**node, **window, border=around)

    def output_shape(self, inputs: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
        """Shape of the output; raises where a window or a multiplier does not fit."""
        shape = super().output_shape(inputs)
        fewest = 1
        for axis in (0, 1):  # windows at the ends are the smallest
            ends = {0, shape[1 + axis] - 1}
            fewest *= min(self._counts(axis, inputs[0][1 + axis], ends))
        largest = int(self._multiplied(np.array([fewest])).max())
        if largest >= MULT_LIMIT:
            raise PyadmmError(
                f"pool {self.name}: the multiplier {largest} of its smallest window must be "
                f"below {MULT_LIMIT}; use a smaller mult"
            )
        return shape

    def _counts(self, axis: int, size: int, places: Iterable[int]) -> list[int]:
        """By how many rows (or columns) the windows at ``places`` are divided."""
        if self.border is None:
            return [self.kernel[axis] for _ in places]
        spans = (self._span(axis, size, place, self.border) for place in places)
        return [last - first for first, last in spans]

    def _multiplied(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Multipliers ``(C or 1, …)`` of windows that are divided by ``counts``."""
        mult = np.array(self.requant.mult, np.int64).reshape(-1, *[1] * counts.ndim)
        return (2 * mult * self.area + counts) // (2 * counts)

    def counts(self, size: Sequence[int]) -> NDArray[np.int64]:
        """Divisor ``(H_out, W_out)`` of each window of a map of ``size``."""
        rows, columns = (
            np.array(self._counts(a, size[a], range(self._positions(a, size[a]))), np.int64)
            for a in (0, 1)
        )
        return np.asarray(rows[:, None] * columns)

    def multipliers(self, size: Sequence[int]) -> NDArray[np.int64]:
        """Multiplier of each window of a map of ``size``, ``(C or 1, H_out, W_out)``."""
        return self._multiplied(self.counts(size))

    def run(self, inputs: Sequence[IntArray], x_magnitude: int) -> NDArray[np.int64]:
        """The averaged and requantised integers ``(N, C, H_out, W_out)`` of one map."""
        x = inputs[0].astype(np.int64)
        total = _reduced(x, self.windows(x.shape[2:]), np.add)
        total = total * self.multipliers(x.shape[2:]) + (1 << (self.requant.shift - 1))
        return self.output.saturate(total >> self.requant.shift)


@dataclass(frozen=True)
class Add:
    """Residual sum ``clamp((a*mult[0] + b*mult[1] + (1 << (shift-1))) >> shift, lo, hi)``."""

    name: str
    sources: tuple[str, str]
    mult: tuple[int, int]
    shift: int
    output: QFormat

    def __post_init__(self) -> None:
        Requant(self.mult, self.shift)

    def output_shape(self, inputs: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
        """Shape of the output; raises where the two shapes differ."""
        if inputs[0] != inputs[1]:
            raise PyadmmError(f"add {self.name}: shapes {inputs[0]} and {inputs[1]} differ")
        return inputs[0]

    def run(self, inputs: Sequence[IntArray], x_magnitude: int) -> NDArray[np.int64]:
        """The requantised sum ``(N, C, H, W)`` of two maps."""
        a, b = (x.astype(np.int64) * m for x, m in zip(inputs, self.mult, strict=True))
        return self.output.saturate((a + b + (1 << (self.shift - 1))) >> self.shift)


@dataclass(frozen=True)
class Concat:
    """Channels of the sources one after the other, each source requantised to one format.

    :param requants: one for each source, with one multiplier.
    """

    name: str
    sources: tuple[str, ...]
    requants: tuple[Requant, ...]
    output: QFormat

    def __post_init__(self) -> None:
        if not self.sources or len(self.requants) != len(self.sources):
            raise PyadmmError(
                f"concat {self.name}: {len(self.requants)} requantisers for "
                f"{len(self.sources)} sources"
            )
        if any(len(requant.mult) > 1 for requant in self.requants):
            raise PyadmmError(f"concat {self.name}: a source has one mult, not one per channel")

    def output_shape(self, inputs: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
        """Shape of the output; raises where the sizes of maps differ."""
        if len({shape[1:] for shape in inputs}) > 1:
            raise PyadmmError(f"concat {self.name}: maps of shapes {list(inputs)} differ in size")
        return sum(shape[0] for shape in inputs), *inputs[0][1:]

    def run(self, inputs: Sequence[IntArray], x_magnitude: int) -> NDArray[np.int64]:
        """The requantised channels of all maps, one map after the other."""
        pairs = zip(inputs, self.requants, strict=True)
        return np.concatenate([requant.apply(x, self.output) for x, requant in pairs], 1)


Node: TypeAlias = CompressedLayer | MaxPool | AvgPool | Add | Concat


@dataclass(frozen=True)
class CompressedModel:
    """A network in integers.

    :param name: name of the network, for files and messages.
    :param input: shape and encoding of the data.
    :param nodes: layers, pools, sums and concatenations in topological order; the last node gives
        the logits.
    :raises PyadmmError: for a name that occurs twice, a source that is no earlier node, shapes that
        do not fit, or an accumulator that is too wide.
    """

    name: str
    input: InputSpec
    nodes: tuple[Node, ...]
    _shapes: Mapping[str, tuple[int, int, int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shapes = {INPUT: self.input.shape}
        for node in self.nodes:
            if node.name in shapes:
                raise PyadmmError(f"model {self.name}: the name {node.name!r} occurs twice")
            missing = [s for s in node.sources if s not in shapes]
            if missing:
                raise PyadmmError(
                    f"model {self.name}: {node.name} reads {missing[0]!r}, which is no earlier node"
                )
            shapes[node.name] = node.output_shape([shapes[s] for s in node.sources])
        if not self.nodes:
            raise PyadmmError(f"model {self.name}: has no layers")
        object.__setattr__(self, "_shapes", shapes)
        for layer in self.layers:
            bits = self.accumulator_bits(layer.name)
            if bits > ACCUMULATOR_BITS_LIMIT:
                raise PyadmmError(
                    f"layer {layer.name}: an accumulator of {bits} bits exceeds "
                    f"{ACCUMULATOR_BITS_LIMIT}; use fewer weight or activation bits"
                )

    @property
    def layers(self) -> tuple[CompressedLayer, ...]:
        """The weighted layers, in order."""
        return tuple(n for n in self.nodes if isinstance(n, CompressedLayer))

    def layer(self, name: str) -> CompressedLayer:
        """The weighted layer called ``name``."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = ", ".join(layer.name for layer in self.layers)
        raise PyadmmError(f"model {self.name}: no layer {name!r}; it has {names}")

    def shape_of(self, name: str) -> tuple[int, int, int]:
        """``(C, H, W)`` that node ``name`` (or :data:`INPUT`) gives."""
        return self._shapes[name]

    def format_of(self, name: str) -> QFormat:
        """Number format that node ``name`` (or :data:`INPUT`) gives."""
        if name == INPUT:
            return self.input.format
        node = next(n for n in self.nodes if n.name == name)
        return self.format_of(node.source) if isinstance(node, MaxPool) else node.output

    def accumulator_bits(self, name: str) -> int:
        """Two's-complement width of the accumulators of layer ``name`` that no input can overflow.

        The intermediate result of requantisation is included.
        """
        layer = self.layer(name)
        magnitude = layer.accumulator_magnitude(self.format_of(layer.source).max_magnitude)
        return signed_bits(magnitude)

    @property
    def weights(self) -> int:
        """Number of weights of the dense network."""
        return sum(layer.spec.weights for layer in self.layers)

    @property
    def nnz(self) -> int:
        """Number of weights that are left."""
        return sum(layer.nnz for layer in self.layers)

    @property
    def pruning_ratio(self) -> float:
        """Dense weights over weights that are left."""
        return self.weights / max(self.nnz, 1)

    def run(
        self,
        images: NDArray[np.uint8] | NDArray[np.int8],
        most_integers: int = BATCH_INTEGERS,
    ) -> NDArray[np.int64]:
        """Logits ``(N, classes)`` of byte ``images`` ``(N, C, H, W)``: the golden reference.

        :param most_integers: held at once, 8 bytes each; images go through in batches.
        """
        size = self._images_at_once(most_integers)
        chunks = [images[i : i + size] for i in range(0, len(images), size)]
        last = self.nodes[-1].name
        empty = np.empty((0, int(np.prod(self.shape_of(last)))), np.int64)
        logits = [self.run_nodes(chunk)[last].reshape(len(chunk), -1) for chunk in chunks]
        return np.concatenate([empty, *logits])

    def _images_at_once(self, most_integers: int) -> int:
        """How many images :meth:`run` takes together: few where maps are large."""
        integers = math.prod(self.input.shape)
        columns = 0
        for node in self.nodes:
            channels, height, width = self.shape_of(node.name)
            integers += channels * height * width
            if isinstance(node, CompressedLayer):
                columns = max(columns, math.prod(node.spec.weight_shape[1:]) * height * width)
        return max(1, min(_BATCH, most_integers // (integers + columns)))

    def run_nodes(
        self, images: NDArray[np.uint8] | NDArray[np.int8]
    ) -> dict[str, NDArray[np.int64]]:
        """Integers of every node, by name, for ``images`` ``(N, C, H, W)``."""
        values: dict[str, NDArray[np.int64]] = {INPUT: self.input.quantize(images)}
        for node in self.nodes:
            magnitude = self.format_of(node.sources[0]).max_magnitude
            values[node.name] = node.run([values[s] for s in node.sources], magnitude)
        return values

    def accuracy(self, images: NDArray[np.uint8] | NDArray[np.int8], labels: IntArray) -> float:
        """Share of ``images`` whose largest logit (the first of equals) is at ``labels``."""
        if len(images) == 0:
            raise PyadmmError("accuracy: there are no images")
        return float(np.mean(self.run(images).argmax(1) == labels))

    def without_scales(self) -> CompressedModel:
        """The same integers with every ``weight_scale`` set to 1, which saves bytes of the file.

        The scales of all outputs are those that follow from it: logits in units of their own.
        """
        scales = {INPUT: self.input.format.scale}
        nodes: list[Node] = []
        for node in self.nodes:
            scale = scales[node.sources[0]]
            if isinstance(node, CompressedLayer):
                scale = node.requant.output_scale(scale)
                output = replace(node.output, scale=scale)
                nodes.append(replace(node, weight_scale=(1.0,), output=output))
            elif isinstance(node, MaxPool):
                nodes.append(node)
            elif isinstance(node, Concat):
                scale = node.requants[0].output_scale(scale)
                nodes.append(replace(node, output=replace(node.output, scale=scale)))
            else:
                nodes.append(replace(node, output=replace(node.output, scale=scale)))
            scales[node.name] = scale
        return replace(self, nodes=tuple(nodes))
