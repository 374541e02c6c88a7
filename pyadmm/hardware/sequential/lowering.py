"""From the nodes of an integer network to passes over the sequential array.

Every node becomes one pass: output channel ``o`` of flat pixel ``p`` is a sum (or a maximum) over
entries ``(channel, tap, code)`` of inputs at ``p`` plus the tap's offset. Strides vanish because
maps are stored with their phases apart (:class:`Format`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.hardware.sequential.program import ESCALATE, MAC, POSITION_BITS, aligned, pack_entries
from pyadmm.model.integer import (
    INPUT,
    Add,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    Concat,
    MaxPool,
    Node,
    Requant,
)
from pyadmm.model.types import QFormat

_LARGEST_SHIFT = 46
"""A product of accumulator and multiplier is below 2**45: larger shifts give the same integers."""
_DIGIT_BITS = 7
_MOST_TAPS = 1 << POSITION_BITS
_WIDE_TAPS = 16
"""With more taps than this, phases count as channels where the layout allows it."""


@dataclass(frozen=True)
class Format:
    """How a map ``(C, H, W)`` of ``images`` images lies in memory, one byte per activation.

    Pixel ``(n, h, w)`` of a channel is byte ``((h % sh) * sw + w % sw) * span
    + (n * rows + h // sh) * pitch + w // sw`` of the channel's plane. With phases (``sh * sw > 1``)
    bytes that hold no pixel are zero; without, they hold anything.

    :param first_only: phase 0 alone is stored, for readers that need no other.
    """

    images: int
    rows: int
    pitch: int
    sh: int
    sw: int
    span: int
    first_only: bool = False

    @property
    def phases(self) -> int:
        """Phases of a plane."""
        return 1 if self.first_only else self.sh * self.sw

    @property
    def plane(self) -> int:
        """Bytes of a channel's plane."""
        return self.phases * self.span

    def alike(self, other: Format, lanes: int) -> bool:
        """Whether maps in both formats hold the same pixels at the same places of the buffer."""
        same = (self.rows, self.pitch, self.sh, self.sw, self.first_only)
        planes = aligned(self.plane, lanes) == aligned(other.plane, lanes)
        there = (other.rows, other.pitch, other.sh, other.sw, other.first_only)
        return same == there and planes

    def positions(self, height: int, width: int) -> NDArray[np.int64]:
        """Byte of every pixel in its plane, ``(images, height, width)``; -1 where it has none."""
        n, h, w = np.ogrid[: self.images, :height, :width]
        phase = (h % self.sh) * self.sw + w % self.sw
        pixel = (n * self.rows + h // self.sh) * self.pitch + w // self.sw
        if self.first_only:
            return np.where(phase == 0, pixel, -1)
        return np.asarray(phase * self.span + pixel, np.int64)


@dataclass(frozen=True)
class Need:
    """Format that a pass wants its inputs in: phases, and at least these rows and this pitch.

    :param first_only: it reads phase 0 alone.
    """

    sh: int
    sw: int
    rows: int
    pitch: int
    first_only: bool = False

    def met_by(self, held: Format) -> bool:
        """Whether a map in format ``held`` serves."""
        phases = (held.sh, held.sw) == (self.sh, self.sw)
        phases = phases and held.first_only <= self.first_only
        return phases and held.rows >= self.rows and held.pitch >= self.pitch

    def format(self, images: int, lanes: int) -> Format:
        """The smallest format that serves; large phases begin at whole lines."""
        span = images * self.rows * self.pitch
        if span >= lanes:
            span = aligned(span, lanes)
        return Format(images, self.rows, self.pitch, self.sh, self.sw, span, self.first_only)


@dataclass(frozen=True)
class Window:
    """Geometry that conv and pool share: kernel elements as ``(row, column)`` input offsets."""

    shape: tuple[int, int, int]
    output: tuple[int, int]
    stride: tuple[int, int]
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    def need(self, images: int, lanes: int) -> Need:
        """Format that the input must have."""
        _, height, width = self.shape
        (sh, sw), (out_rows, out_columns) = self.stride, self.output
        if self.output == (1, 1):
            inside = min(self.rows) >= 0 and min(self.columns) >= 0
            if images == 1 and inside and max(self.rows) < height and max(self.columns) < width:
                return Need(1, 1, height, width)
            if images > 1 and inside:
                return Need(height, width, 1, 1)
        rows, pitch = max(-(-height // sh), out_rows), max(-(-width // sw), out_columns)
        if images * rows * pitch > 16 * lanes:
            # Several RUNs will share the map: pieces must begin at whole transfers.
            pitch = aligned(pitch, 8)
        first_only = (sh, sw) != (1, 1) and self.rows == (0,) and self.columns == (0,)
        return Need(sh, sw, rows, pitch, first_only)


@dataclass(frozen=True)
class Weights:
    """Sparse weights of one output channel: input channel, kernel row and column, code."""

    channel: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    code: NDArray[np.int64]


@dataclass(frozen=True)
class Pass:
    """One traversal of the array.

    :param halves: 2 where the input has nine bits and lies in memory as a difference of two bytes,
        channel ``c`` minus channel ``C + c``. Its values are -255 to 255, as it comes from a byte.
    :param digits: for a residual sum, base-128 digits of the two multipliers, highest first.
    :param target: map that the pass writes channels of, from ``first`` on; its own where empty.
    """

    name: str
    sources: tuple[str, ...]
    window: Window
    outputs: int
    output: QFormat
    maximum: bool
    requant: Requant
    bias: NDArray[np.int64]
    node: Node | None
    halves: int = 1
    digits: tuple[tuple[int, int], ...] = ()
    target: str = ""
    first: int = 0

    @property
    def channelwise(self) -> bool:
        """Whether output channel ``o`` reads channel ``o`` alone."""
        if isinstance(self.node, CompressedLayer):
            spec = self.node.spec
            return spec.kernel_channels == 1 and spec.outputs == spec.groups and self.halves == 1
        return True

    @property
    def map(self) -> str:
        """Name of the map that the pass writes."""
        return self.target or self.name

    def weights(self, channel: int) -> Weights:
        """Weights of output ``channel``."""
        if isinstance(self.node, CompressedLayer):
            return _layer_weights(self.node, channel, self.halves)
        rows, columns = len(self.window.rows), len(self.window.columns)
        row, column = (axis.ravel() for axis in np.indices((rows, columns)))
        return Weights(np.full(len(row), channel), row, column, np.ones(len(row), np.int64))

    def scale(self, channel: int) -> tuple[int, int]:
        """``(mult, shift)`` of output ``channel``."""
        mult = self.requant.mult
        return mult[channel if len(mult) > 1 else 0], min(self.requant.shift, _LARGEST_SHIFT)


def _layer_weights(layer: CompressedLayer, output: int, halves: int) -> Weights:
    codes = layer.window_codes[output].astype(np.int64)
    channel, row, column = np.nonzero(codes)
    first = output // (layer.spec.outputs // layer.spec.groups) * layer.spec.kernel_channels
    code = codes[channel, row, column]
    parts = [channel + first + half * layer.spec.input_shape[0] for half in range(halves)]
    signed = np.concatenate([code, -code][:halves])
    return Weights(np.concatenate(parts), np.tile(row, halves), np.tile(column, halves), signed)


def lower(model: CompressedModel, array: SequentialArray) -> list[Pass]:
    """The passes of ``model``, one per node, in order.

    :raises PyadmmError: for what the array cannot compute, by name.
    """
    for name in (INPUT, *(node.name for node in model.nodes[:-1])):
        bits, most = model.format_of(name).bits, 9 if name == INPUT else 8
        if bits > most:
            raise PyadmmError(
                f"sequential: map {name} has {bits} bits; {most} are the most that it may have"
            )
    if input_halves(model) > 1 and not _only_layers_read_input(model):
        raise PyadmmError("sequential: an input of nine bits is read by other nodes than layers")
    passes: list[Pass] = []
    for node in model.nodes:
        passes += _parts(model, node) if isinstance(node, Concat) else [_pass(model, node, array)]
    return passes


def _only_layers_read_input(model: CompressedModel) -> bool:
    readers = (node for node in model.nodes if INPUT in node.sources)
    return all(isinstance(node, CompressedLayer) for node in readers)


def _pass(model: CompressedModel, node: Node, array: SequentialArray) -> Pass:
    shape = model.shape_of(node.sources[0])
    outputs, height, width = model.shape_of(node.name)
    out = (height, width)
    zero = np.zeros(outputs, np.int64)
    held = model.format_of(node.name)
    if isinstance(node, CompressedLayer):
        if model.accumulator_bits(node.name) > array.acc_bits:
            raise PyadmmError(
                f"layer {node.name}: accumulators of {model.accumulator_bits(node.name)} bits "
                f"exceed the array's {array.acc_bits}"
            )
        spec = node.spec
        rows = _offsets(spec.kernel[0], spec.padding[0], spec.dilation[0])
        columns = _offsets(spec.kernel[1], spec.padding[1], spec.dilation[1])
        window = Window(shape, out, spec.stride, rows, columns)
        halves = input_halves(model) if node.source == INPUT else 1
        return Pass(
            node.name,
            node.sources,
            window,
            outputs,
            held,
            False,
            node.requant,
            node.bias,
            node,
            halves,
        )
    if isinstance(node, Add):
        window = Window(shape, out, (1, 1), (0,), (0,))
        mult, shift = _reduced(node.mult, node.shift)
        scale = Requant((1,), min(shift, _LARGEST_SHIFT))
        digits = _digits(mult)
        return Pass(
            node.name, node.sources, window, outputs, held, False, scale, zero, node, 1, digits
        )
    assert isinstance(node, MaxPool | AvgPool)
    rows, columns = (_offsets(node.kernel[axis], node.padding[axis]) for axis in (0, 1))
    window = Window(shape, out, node.stride, rows, columns)
    scale = Requant()
    if isinstance(node, MaxPool):
        if held.signed and any(node.padding):
            raise PyadmmError(f"sequential: {node.name} pads signed data for a maximum")
    else:
        scale = _average(node, shape)
    maximum = isinstance(node, MaxPool)
    return Pass(node.name, node.sources, window, outputs, held, maximum, scale, zero, node)


def _offsets(taps: int, padding: int, dilation: int = 1) -> tuple[int, ...]:
    return tuple(tap * dilation - padding for tap in range(taps))


def _average(node: AvgPool, shape: tuple[int, int, int]) -> Requant:
    """The requantisation of an average whose windows all have one divisor."""
    mult = node.multipliers(shape[1:]).reshape(-1, *node.output_shape([shape])[1:])
    if np.any(mult != mult[:, :1, :1]):
        raise PyadmmError(f"sequential: {node.name} divides windows at the border by other numbers")
    return Requant(tuple(int(m) for m in mult[:, 0, 0]), node.requant.shift)


def _parts(model: CompressedModel, node: Concat) -> list[Pass]:
    """A concatenation: one pass per source into its channels of the common map."""
    passes, first = [], 0
    for number, (source, requant) in enumerate(zip(node.sources, node.requants, strict=True)):
        shape = model.shape_of(source)
        window = Window(shape, shape[1:], (1, 1), (0,), (0,))
        zero = np.zeros(shape[0], np.int64)
        part = f"{node.name}[{number}]"
        lowered = Pass(part, (source,), window, shape[0], node.output, False, requant, zero, None)
        passes.append(replace(lowered, target=node.name, first=first))
        first += shape[0]
    return passes


def input_halves(model: CompressedModel) -> int:
    """Channels in memory per input channel: 2 where it has nine bits."""
    return 2 if model.input.format.bits > 8 else 1


def copy_pass(name: str, source: str, shape: tuple[int, int, int], held: QFormat) -> Pass:
    """A pass that changes the format of a map and nothing else."""
    window = Window(shape, shape[1:], (1, 1), (0,), (0,))
    zero = np.zeros(shape[0], np.int64)
    return Pass(name, (source,), window, shape[0], held, False, Requant(), zero, None)


def _reduced(mult: tuple[int, int], shift: int) -> tuple[tuple[int, int], int]:
    """A sum's multipliers without the powers of two that they share with the shift; exact.

    >>> _reduced((96, 64), 8)
    ((3, 2), 3)
    """
    while shift > 1 and not any(m % 2 for m in mult):
        mult, shift = (mult[0] // 2, mult[1] // 2), shift - 1
    return mult, shift


def _digits(mult: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Base-128 digits of two multipliers, highest first; 128 itself is one digit.

    >>> _digits((128, 3)), _digits((300, 5))
    (((128, 3),), ((2, 0), (44, 5)))
    """
    if max(mult) <= 1 << _DIGIT_BITS:
        return (mult,)
    count = -(-max(mult).bit_length() // _DIGIT_BITS)
    places = range(count - 1, -1, -1)
    mask = (1 << _DIGIT_BITS) - 1
    return tuple(
        (mult[0] >> _DIGIT_BITS * place & mask, mult[1] >> _DIGIT_BITS * place & mask)
        for place in places
    )


@dataclass(frozen=True)
class TapMap:
    """Taps of a pass in one format: kernel element -> tap and channel step.

    :param shift_rows: per tap, output row + this = row of the phase; ``shift_columns`` likewise.
    :param phase: per tap, the phase that it reads (0 where phases count as channels).
    :param tap: per kernel element ``(row, column)``, its tap.
    :param step: per kernel element, virtual channels behind the channel's first.
    :param fold: virtual channels per channel.
    """

    shift_rows: NDArray[np.int64]
    shift_columns: NDArray[np.int64]
    phase: NDArray[np.int64]
    tap: NDArray[np.int64]
    step: NDArray[np.int64]
    fold: int

    @property
    def count(self) -> int:
        """Number of taps of the kernel."""
        return len(self.phase)

    @property
    def bits(self) -> int:
        """Bits of an entry's position that hold the tap."""
        return max(self.count - 1, 0).bit_length()

    def offsets(self, pitch: int, span: int) -> NDArray[np.int64]:
        """Bytes from an output pixel to the input of every tap."""
        return self.phase * span + self.shift_rows * pitch + self.shift_columns

    def masks(self, window: Window, held: Format, first: int, count: int) -> NDArray[np.bool_]:
        """``(count, taps)``: whether output pixel ``first + i`` reads a pixel of the map."""
        pixel = np.arange(first, first + count)
        row, column = pixel // held.pitch % held.rows, pixel % held.pitch
        out_rows, out_columns = window.output
        live = (
            (row < out_rows)
            & (column < out_columns)
            & (pixel < held.images * held.rows * held.pitch)
        )
        _, height, width = window.shape
        rows = row[:, None] + self.shift_rows
        columns = column[:, None] + self.shift_columns
        inside = (rows >= 0) & (rows < -(-height // held.sh))
        inside &= (columns >= 0) & (columns < -(-width // held.sw))
        return np.asarray(live[:, None] & inside)


def tap_map(lowered: Pass, held: Format, lanes: int) -> TapMap:
    """Taps of ``lowered`` over inputs in format ``held``.

    :raises PyadmmError: where the kernel has more taps than an entry can name.
    """
    window = lowered.window
    if lowered.digits:
        none = np.zeros(2, np.int64)
        return TapMap(none, none, none, np.zeros((1, 1), np.int64), np.zeros((1, 1), np.int64), 1)
    plain = _taps(window, held, fold=False)
    single = not isinstance(lowered.node, CompressedLayer) or lowered.node.spec.kernel_channels == 1
    room = _MOST_TAPS if single else _MOST_TAPS // 2
    if held.phases > 1 and plain.count > _WIDE_TAPS and not held.span % lanes:
        return _taps(window, held, fold=True)
    if plain.count > room:
        raise PyadmmError(
            f"sequential: {lowered.name} has {plain.count} kernel positions; {room} are the most"
        )
    return plain


def _taps(window: Window, held: Format, fold: bool) -> TapMap:
    row, column = np.meshgrid(window.rows, window.columns, indexing="ij")
    phase = (row % held.sh) * held.sw + column % held.sw
    down, right = row // held.sh, column // held.sw
    key = np.stack([np.zeros_like(phase) if fold else phase, down, right], axis=-1)
    unique, tap = np.unique(key.reshape(-1, 3), axis=0, return_inverse=True)
    step = phase if fold else np.zeros_like(phase)
    return TapMap(
        unique[:, 1],
        unique[:, 2],
        unique[:, 0],
        tap.reshape(phase.shape),
        step,
        held.phases if fold else 1,
    )


def slot_entries(lowered: Pass, taps: TapMap, channel: int) -> tuple[int, NDArray[np.uint16]]:
    """First virtual channel and entries of output ``channel``."""
    if lowered.digits:
        return channel, _sum_entries(lowered.digits)
    weights = lowered.weights(channel)
    if len(weights.code) == 0:
        return 0, np.zeros(1, np.uint16)
    virtual = weights.channel * taps.fold + taps.step[weights.row, weights.column]
    tap = taps.tap[weights.row, weights.column]
    order = np.lexsort((tap, virtual))
    first = int(virtual[order[0]])
    return first, pack_entries(virtual[order] - first, tap[order], weights.code[order], taps.bits)


def _sum_entries(digits: Sequence[tuple[int, int]]) -> NDArray[np.uint16]:
    words: list[int] = []
    for place, pair in enumerate(digits):
        if place:
            words.append(ESCALATE)
        words += [MAC | tap << 8 | digit - 1 for tap, digit in enumerate(pair) if digit]
    return np.array(words, np.uint16)
