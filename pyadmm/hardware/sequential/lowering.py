"""From the nodes of an integer network to passes over the sequential array.

Every node becomes one pass: output channel ``o`` of flat pixel ``p`` is a sum (or a maximum) over
entries ``(channel, tap, code)`` of inputs at ``p`` plus the tap's offset. Strides vanish because
maps are stored with their phases apart (:class:`Format`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.sequential.array import (
    SequentialArray,
)
from pyadmm.hardware.sequential.formats import (
    Window,
)
from pyadmm.hardware.sequential.program import (
    POSITION_BITS,
    Sum,
)
from pyadmm.model import (
    INPUT,
    Add,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    Concat,
    Lookup,
    MaxPool,
    Node,
    Product,
    Requant,
)
from pyadmm.model.types import QFormat

_LARGEST_SHIFT = 46
"""A product of accumulator and multiplier is below 2**45: larger shifts give the same integers."""
_DIGIT_BITS = 7
MOST_TAPS = 1 << POSITION_BITS
_SMALL_POOL = 9


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
    :param added: a residual sum of the layer's output and the second source, made on the way out.
    :param inner: format of the layer's output before that sum; otherwise that of the map.
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
    added: Sum | None = None
    inner: QFormat | None = None

    @property
    def requantised(self) -> QFormat:
        """Format that the accumulators are brought to."""
        return self.inner or self.output

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
            return self.block_weights(range(channel, channel + 1))[1]
        rows, columns = len(self.window.rows), len(self.window.columns)
        row, column = (axis.ravel() for axis in np.indices((rows, columns)))
        return Weights(np.full(len(row), channel), row, column, np.ones(len(row), np.int64))

    def block_weights(self, block: range) -> tuple[NDArray[np.int64], Weights]:
        """Weights of a layer's outputs ``block``, and the place in ``block`` that each belongs to."""
        assert isinstance(self.node, CompressedLayer)
        return _block_weights(self.node, block, self.halves)

    def scale(self, channel: int) -> tuple[int, int]:
        """``(mult, shift)`` of output ``channel``."""
        mult = self.requant.mult
        return mult[channel if len(mult) > 1 else 0], min(self.requant.shift, _LARGEST_SHIFT)


def _block_weights(
    layer: CompressedLayer, block: range, halves: int
) -> tuple[NDArray[np.int64], Weights]:
    codes = layer.window_codes[block.start : block.stop]
    place, channel, row, column = np.nonzero(codes)
    outputs = layer.spec.outputs // layer.spec.groups
    first = (place + block.start) // outputs * layer.spec.kernel_channels
    code = codes[place, channel, row, column].astype(np.int64)
    parts = [channel + first + half * layer.spec.input_shape[0] for half in range(halves)]
    signed = np.concatenate([code, -code][:halves])
    rows, columns = np.tile(row, halves), np.tile(column, halves)
    return np.tile(place, halves), Weights(np.concatenate(parts), rows, columns, signed)


def lower(
    model: CompressedModel, array: SequentialArray, apart: Collection[str] = ()
) -> list[Pass]:
    """The passes of ``model``, one per node, in order; a layer may make a residual sum too.

    :param apart: residual sums that are passes of their own.
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
    joined = {name: layer for name, layer in _joined(model).items() if name not in apart}
    placed = _placed(model, joined)
    for node in model.nodes:
        if isinstance(node, Lookup | Product):
            raise PyadmmError(
                f"sequential: {node.name} is a {type(node).__name__.lower()}, which the array "
                "cannot compute; use ReLU activations and no products of maps"
            )
        if isinstance(node, Concat):
            passes += [part for part in _parts(model, node) if part.sources[0] not in placed]
        elif isinstance(node, Add) and node.name in joined:
            layer = next(one for one in model.layers if one.name == joined[node.name])
            passes.append(_with_sum(_pass(model, layer, array), node, model))
        elif node.name not in joined.values():
            target, first = placed.get(node.name, ("", 0))
            passes.append(replace(_pass(model, node, array), target=target, first=first))
    return passes


def _placed(model: CompressedModel, joined: Mapping[str, str]) -> dict[str, tuple[str, int]]:
    """Layers that write their channels of a concatenation themselves: its name and the first channel, by layer.

    They read one map with stride 1, nothing else reads them, and their numbers stay as they are.
    """
    read = Counter(source for node in model.nodes for source in node.sources)
    layers = {
        layer.name: layer
        for layer in model.layers
        if layer.spec.stride == (1, 1) and read[layer.name] == 1
    }
    found: dict[str, tuple[str, int]] = {}
    for node in model.nodes:
        if not isinstance(node, Concat):
            continue
        firsts = np.cumsum([0, *(model.shape_of(source)[0] for source in node.sources)]).tolist()
        facts = list(zip(node.sources, node.requants, firsts, strict=False))
        own = [
            (source, first)
            for source, requant, first in facts
            if source in layers
            and source not in joined.values()
            and requant == Requant()
            and layers[source].output == node.output
        ]
        if len({layers[source].source for source, _ in own}) == 1:
            found |= {source: (node.name, first) for source, first in own}
    return found


def _joined(model: CompressedModel) -> dict[str, str]:
    """Residual sums that a layer makes on its way out: name of the sum -> name of the layer.

    The layer must have stride 1, no other reader and a tap to spare, and both multipliers must fit 16 bits.
    """
    readers: dict[str, int] = {}
    for node in model.nodes:
        for source in node.sources:
            readers[source] = readers.get(source, 0) + 1
    layers = {
        layer.name: layer
        for layer in model.layers
        if layer.spec.stride == (1, 1)
        and readers.get(layer.name) == 1
        and layer.output.bits <= 8
        and layer.spec.kernel[0] * layer.spec.kernel[1] < MOST_TAPS // 2
    }
    found: dict[str, str] = {}
    for node in model.nodes:
        if isinstance(node, Add) and max(node.mult) < 1 << 16 and node.output.bits <= 8:
            own = [name for name in node.sources if name in layers]
            if own:
                found[node.name] = own[0]
    return found


def _with_sum(lowered: Pass, node: Add, model: CompressedModel) -> Pass:
    """The pass of a layer that adds the other source of ``node`` and gives its map."""
    own = node.sources.index(lowered.name)
    other = node.sources[1 - own]
    (mult0, mult1), shift = _reduced((node.mult[own], node.mult[1 - own]), node.shift)
    held = node.output
    signed = model.format_of(other).signed
    added = Sum(mult0, mult1, min(shift, _LARGEST_SHIFT), held.lo, held.hi, signed)
    return replace(
        lowered,
        name=node.name,
        sources=(*lowered.sources, other),
        output=held,
        added=added,
        inner=lowered.output,
    )


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
    window = _pool_window(shape, out, node.stride, rows, columns)
    scale = Requant()
    if isinstance(node, MaxPool):
        if held.signed and any(node.padding):
            raise PyadmmError(f"sequential: {node.name} pads signed data for a maximum")
    else:
        scale = _average(node, shape)
    maximum = isinstance(node, MaxPool)
    return Pass(node.name, node.sources, window, outputs, held, maximum, scale, zero, node)


def _pool_window(
    shape: tuple[int, int, int],
    out: tuple[int, int],
    stride: tuple[int, int],
    rows: tuple[int, ...],
    columns: tuple[int, ...],
) -> Window:
    """A small pool is made with stride 1, and the list drops what is not wanted.

    Its input then needs no phases, whose list is longer than that of the output.
    """
    if out == (1, 1) or not 1 < len(rows) * len(columns) <= _SMALL_POOL:
        return Window(shape, out, stride, rows, columns)
    made = ((out[0] - 1) * stride[0] + 1, (out[1] - 1) * stride[1] + 1)
    return Window(shape, made, (1, 1), rows, columns, stride)


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
