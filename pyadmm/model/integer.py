"""The compressed integer model and its golden reference, :meth:`CompressedModel.run`.

Numerics contract: this module, the generated C++, the generated RTL and the board give the same
integers on every input. A weight is a level code ``w`` in ``{-M/2 … -1, 1 … M/2}``, ``M = 2**n``
(ADMM-NN section 3.4.2: there is no zero level), or 0 where it is pruned. Accumulators are exact;
every stage that changes scale does so by :class:`Requant`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.model.types import IntArray, LayerSpec, QFormat, signed_bits

MULT_LIMIT = 1 << 16
"""Multipliers of a :class:`Requant` stay below this (one DSP operand)."""
SHIFT_LIMIT = 48
ACCUMULATOR_BITS_LIMIT = 48
INPUT = "input"
"""Name under which the nodes refer to the network's input."""

_FLOAT32_EXACT = 1 << 24
_BATCH = 500
_BATCH_INTEGERS = 1 << 27
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
        """Requantise accumulators of shape ``(N, O, …)``.

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
        """Weight scales of all channels, given that of channel 0: their outputs have one step.

        Exact, whatever the order of the channels, where a scale per unit of ``mult`` is a float32.

        >>> Requant((4, 6), 3).channel_scales(0.5, 2)
        (0.5, 0.75)
        """
        mult = self.mult if len(self.mult) > 1 else self.mult * outputs
        return tuple(first / self.mult[0] * m for m in mult)


@dataclass(frozen=True)
class InputSpec:
    """How uint8 data ``(N, C, H, W)`` become the network's input integers.

    ``x = saturate((byte - offset[c]) >> shift)``; the byte is what the board receives.
    """

    shape: tuple[int, int, int]
    format: QFormat
    offset: tuple[int, ...] = (0,)
    shift: int = 0

    def __post_init__(self) -> None:
        if len(self.offset) not in (1, self.shape[0]):
            raise PyadmmError(f"input: {len(self.offset)} offsets for {self.shape[0]} channels")
        if not 0 <= self.shift <= 7 or any(not 0 <= o <= 255 for o in self.offset):
            raise PyadmmError("input: shift must be 0 to 7 and offsets 0 to 255")

    def quantize(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Network input integers of uint8 ``images`` of shape ``(N, C, H, W)``."""
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.shape[1:] != self.shape:
            raise PyadmmError(
                f"input: images must be uint8 of shape (N, {', '.join(map(str, self.shape))}), "
                f"not {images.dtype} of shape {images.shape}"
            )
        offset = np.array(self.offset, np.int64).reshape(1, -1, 1, 1)
        return self.format.saturate((images.astype(np.int64) - offset) >> self.shift)


@dataclass(frozen=True)
class CompressedLayer:
    """One convolution or linear layer in integers.

    :param source: name of the node that feeds it (:data:`INPUT` for the network's input).
    :param codes: level codes of shape ``spec.weight_shape``, 0 where pruned.
    :param weight_bits: ``n``; codes lie in ``±1 … ±2**(n-1)``.
    :param bias: integers of shape ``(O,)`` at accumulator scale.
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
        return self.spec.name

    @property
    def sources(self) -> tuple[str, ...]:
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
        """Shape of the output; raises where the source does not fit."""
        if inputs[0] != self.spec.input_shape:
            raise PyadmmError(
                f"layer {self.name}: expects {self.spec.input_shape}, "
                f"but {self.source} gives {inputs[0]}"
            )
        return self.spec.output_shape

    def run(self, inputs: Sequence[IntArray], x_magnitude: int) -> NDArray[np.int64]:
        """Outputs ``(N, O, H_out, W_out)`` of the input integers ``(N, C, H, W)``."""
        acc = self.accumulate(inputs[0], x_magnitude)
        return self.requant.apply(acc, self.output)

    def accumulate(self, x: IntArray, x_magnitude: int) -> NDArray[np.int64]:
        """Exact accumulators, bias included.

        The products are summed in floating point of a width that holds every partial sum as an
        exact integer (``accumulator_magnitude`` proves it), so the result is integer arithmetic at
        the speed of the BLAS.
        """
        exact32 = self.accumulator_magnitude(x_magnitude) < _FLOAT32_EXACT
        dtype = np.float32 if exact32 else np.float64
        spec = self.spec
        _, height, width = spec.output_shape
        padded = np.pad(x.astype(dtype), ((0, 0), (0, 0), *[(spec.padding,) * 2] * 2))
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
        windows = sliding_window_view(padded, spec.kernel, axis=(2, 3))
        windows = windows[:, :, :: spec.stride, :: spec.stride]
        columns = np.empty((len(padded), len(live), height, width), padded.dtype)
        for slot, k in enumerate(live):
            channel, row, column = np.unravel_index(k, codes.shape[1:])
            columns[:, slot] = windows[:, channel, :, :, row, column]
        flat = columns.reshape(len(padded), len(live), height * width)
        return flat, codes.reshape(len(codes), -1)[:, live]


@dataclass(frozen=True)
class MaxPool:
    """Maximum over ``kernel`` x ``kernel`` windows; no padding, incomplete windows dropped."""

    name: str
    source: str
    kernel: int
    stride: int

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def output_shape(self, inputs: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
        """Shape of the output; raises where the window does not fit."""
        return _pooled_shape(self.name, inputs[0], self.kernel, self.stride)

    def run(self, inputs: Sequence[IntArray], x_magnitude: int) -> NDArray[np.int64]:
        """Pooled integers."""
        return np.maximum.reduce(list(_window_slices(inputs[0], self.kernel, self.stride)))


@dataclass(frozen=True)
class AvgPool:
    """Sum over ``kernel`` x ``kernel`` windows, requantised; ``mult / 2**shift`` holds 1/area."""

    name: str
    source: str
    kernel: int
    stride: int
    requant: Requant
    output: QFormat

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def output_shape(self, inputs: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
        """Shape of the output; raises where the window does not fit."""
        return _pooled_shape(self.name, inputs[0], self.kernel, self.stride)

    def run(self, inputs: Sequence[IntArray], x_magnitude: int) -> NDArray[np.int64]:
        """Averaged integers."""
        total = sum(_window_slices(inputs[0].astype(np.int64), self.kernel, self.stride))
        return self.requant.apply(np.asarray(total), self.output)


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
        """Requantised sum."""
        a, b = (x.astype(np.int64) * m for x, m in zip(inputs, self.mult, strict=True))
        return self.output.saturate((a + b + (1 << (self.shift - 1))) >> self.shift)


Node: TypeAlias = CompressedLayer | MaxPool | AvgPool | Add


def _pooled_shape(
    name: str, shape: tuple[int, int, int], kernel: int, stride: int
) -> tuple[int, int, int]:
    channels, height, width = shape
    if kernel < 1 or stride < 1 or kernel > min(height, width):
        raise PyadmmError(f"pool {name}: a {kernel}x{kernel} window does not fit {shape}")
    return channels, (height - kernel) // stride + 1, (width - kernel) // stride + 1


def _window_slices(x: IntArray, kernel: int, stride: int) -> Iterator[IntArray]:
    rows, columns = ((size - kernel) // stride * stride + 1 for size in x.shape[2:])
    for row in range(kernel):
        for column in range(kernel):
            yield x[:, :, row : row + rows : stride, column : column + columns : stride]


@dataclass(frozen=True)
class CompressedModel:
    """A network in integers: nodes in topological order, the last one gives the logits."""

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
        """Two's-complement width that no input can overflow, requantising included."""
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

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Logits ``(N, classes)`` of uint8 ``images`` ``(N, C, H, W)``: THE golden reference."""
        size = self._images_at_once()
        chunks = [images[i : i + size] for i in range(0, len(images), size)]
        last = self.nodes[-1].name
        empty = np.empty((0, int(np.prod(self.shape_of(last)))), np.int64)
        logits = [self.run_nodes(chunk)[last].reshape(len(chunk), -1) for chunk in chunks]
        return np.concatenate([empty, *logits])

    def _images_at_once(self) -> int:
        """How many images :meth:`run` takes together: few where maps are large."""
        integers = math.prod(self.input.shape)
        columns = 0
        for node in self.nodes:
            channels, height, width = self.shape_of(node.name)
            integers += channels * height * width
            if isinstance(node, CompressedLayer):
                columns = max(columns, math.prod(node.spec.weight_shape[1:]) * height * width)
        return max(1, min(_BATCH, _BATCH_INTEGERS // (integers + columns)))

    def run_nodes(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.int64]]:
        """Integers of every node, by name, for ``images`` ``(N, C, H, W)``."""
        values: dict[str, NDArray[np.int64]] = {INPUT: self.input.quantize(images)}
        for node in self.nodes:
            magnitude = self.format_of(node.sources[0]).max_magnitude
            values[node.name] = node.run([values[s] for s in node.sources], magnitude)
        return values

    def accuracy(self, images: NDArray[np.uint8], labels: IntArray) -> float:
        """Share of ``images`` whose largest logit (the first of equals) is at ``labels``."""
        if len(images) == 0:
            raise PyadmmError("accuracy: there are no images")
        return float(np.mean(self.run(images).argmax(1) == labels))

    def without_scales(self) -> CompressedModel:
        """The same integers with every ``weight_scale`` dropped to 1, which saves file bytes.

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
            else:
                nodes.append(replace(node, output=replace(node.output, scale=scale)))
            scales[node.name] = scale
        return replace(self, nodes=tuple(nodes))
