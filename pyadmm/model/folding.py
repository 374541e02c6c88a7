"""Constant folding: the same logits from fewer weights, neurons and biases.

A channel may give the same integer on every input, such as a filter without weights or a neuron that
is always 0. It needs no hardware and no bytes: its constant moves into the biases of the layers that
read it. A channel that no layer reads loses its weights. Both steps are exact: all logits stay equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyadmm.model.input_spec import INPUT, InputSpec
from pyadmm.model.integer import CompressedModel, Node
from pyadmm.model.joins import Add, Concat
from pyadmm.model.pointwise import Lookup, Product
from pyadmm.model.pooling import AvgPool, MaxPool
from pyadmm.model.requant import Requant
from pyadmm.model.types import LayerSpec, Pair, QFormat
from pyadmm.model.weighted_layer import CompressedLayer

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_ROWS = 256
"""Outputs whose weights are held as float64 at a time."""


@dataclass(frozen=True)
class Interval:
    """Bounds of what each channel of a node can carry, integers of shape ``(C,)``, inclusive."""

    lo: Ints
    hi: Ints

    @property
    def constant(self) -> Flags:
        """Which channels carry one value only."""
        return self.lo == self.hi


def fold_inactive(model: CompressedModel) -> CompressedModel:
    """``model`` with constants folded and unread channels emptied; every logit stays the same.

    * A channel that interval arithmetic proves constant loses its weights. Where a reader's kernel
      never touches padding (or the constant is 0), its weights on that channel go too, their sum
      times the constant moves into its bias.
    * A channel that no weight reads any more loses its weights and its bias, unless it is an output
      of the network or reaches an :class:`~pyadmm.model.Add` whose sum is read.

    Shapes stay; the result has no more weights and no wider accumulators than ``model``.
    """
    while True:
        folded = _empty_unread(_fold_constants(model))
        if _amount(folded) == _amount(model):
            return folded
        model = folded


def channel_bounds(model: CompressedModel) -> dict[str, Interval]:
    """Per node (and :data:`~pyadmm.model.INPUT`), bounds that hold on every input image."""
    bounds = {INPUT: _input_bounds(model.input)}
    for node in model.nodes:
        sources = [bounds[s] for s in node.sources]
        bounds[node.name] = _bounds(node, sources, model.shape_of(node.sources[0])[1:])
    return bounds


def read_channels(model: CompressedModel) -> dict[str, Flags]:
    """Per node (and input), which channels some weight, or the network's output, depends on."""
    shapes = {name: model.shape_of(name) for name in (INPUT, *(n.name for n in model.nodes))}
    read = {name: np.zeros(shape[0], np.bool_) for name, shape in shapes.items()}
    read[model.nodes[-1].name][:] = True
    for node in reversed(model.nodes):
        own = read[node.name]
        for source, part in zip(node.sources, _parts(node, own, shapes), strict=True):
            read[source] |= _reads(node, part) if isinstance(node, CompressedLayer) else part
    return read


def _parts(node: Node, flags: Flags, shapes: Mapping[str, tuple[int, int, int]]) -> Iterable[Flags]:
    """``flags`` of a node's channels, divided by the source that each channel comes from."""
    if not isinstance(node, Concat):
        return [flags] * len(node.sources)
    return np.split(flags, np.cumsum([shapes[source][0] for source in node.sources])[:-1])


def _amount(model: CompressedModel) -> tuple[int, int]:
    """Number of non-zero weights and biases, which falls with every round of folding."""
    return model.nnz, sum(int(np.count_nonzero(layer.bias)) for layer in model.layers)


# --- bounds --------------------------------------------------------------------------------------


def _input_bounds(entry: InputSpec) -> Interval:
    limits = np.iinfo(entry.dtype)
    offset = np.broadcast_to(np.array(entry.offset, np.int64), (entry.shape[0],))
    lo, hi = ((byte - offset) >> entry.shift for byte in (limits.min, limits.max))
    return _saturated(lo, hi, entry.format)


def _saturated(lo: Ints, hi: Ints, form: QFormat) -> Interval:
    return Interval(form.saturate(lo), form.saturate(hi))


def _bounds(node: Node, sources: list[Interval], size: Pair) -> Interval:
    """Bounds of ``node``'s channels; requantising is monotone, so ends map to ends.

    :param size: of the first source's map.
    """
    first = sources[0]
    if isinstance(node, MaxPool):
        return first
    if isinstance(node, Concat):
        parts = [
            _requantised(s, r, node.output) for s, r in zip(sources, node.requants, strict=True)
        ]
        return Interval(*(np.concatenate([getattr(p, end) for p in parts]) for end in ("lo", "hi")))
    if isinstance(node, Add):
        half = 1 << (node.shift - 1)
        lo, hi = (
            (a * node.mult[0] + b * node.mult[1] + half) >> node.shift
            for a, b in ((first.lo, sources[1].lo), (first.hi, sources[1].hi))
        )
        return _saturated(lo, hi, node.output)
    if isinstance(node, AvgPool):
        return _average_bounds(node, first, size)
    if isinstance(node, Lookup | Product):
        return _pointwise_bounds(node, sources)
    return _requantised(Interval(*_accumulator_bounds(node, first)), node.requant, node.output)


def _pointwise_bounds(node: Lookup | Product, sources: list[Interval]) -> Interval:
    """Bounds of a table's entries for what each channel may carry, or of a product."""
    first = sources[0]
    if isinstance(node, Product):
        ends = [a * b for a in (first.lo, first.hi) for b in (sources[1].lo, sources[1].hi)]
        return _requantised(Interval(np.min(ends, 0), np.max(ends, 0)), node.requant, node.output)
    starts, stops = (first.lo - node.first).tolist(), (first.hi - node.first + 1).tolist()
    read = [node.table[start:stop] for start, stop in zip(starts, stops, strict=True)]
    return Interval(np.array([min(r) for r in read]), np.array([max(r) for r in read]))


def _requantised(ends: Interval, requant: Requant, output: QFormat) -> Interval:
    lo, hi = (requant.apply(e.reshape(1, -1, 1, 1), output) for e in (ends.lo, ends.hi))
    return Interval(lo.reshape(-1), hi.reshape(-1))


def _average_bounds(pool: AvgPool, source: Interval, size: Pair) -> Interval:
    """Bounds of an average whose windows hold different numbers of values."""
    rows, columns = (np.array([b - a for a, b in axis]) for axis in pool.windows(size))
    held = rows[:, None] * columns
    half = 1 << (pool.requant.shift - 1)
    mult = pool.multipliers(size)
    lo, hi = (
        (end[:, None, None] * held * mult + half) >> pool.requant.shift
        for end in (source.lo, source.hi)
    )
    return _saturated(lo.min((1, 2)), hi.max((1, 2)), pool.output)


def _accumulator_bounds(layer: CompressedLayer, source: Interval) -> tuple[Ints, Ints]:
    """Least and greatest accumulator of each output, if every input may vary on its own."""
    inside = _inside(layer.spec)
    lo, hi = source.lo[:, None, None], source.hi[:, None, None]
    # A tap that may lie in the padding may read 0 there.
    low = np.where(inside, lo, np.minimum(lo, 0))
    high = np.where(inside, hi, np.maximum(hi, 0))
    return (
        layer.bias + _products(layer, low, high),
        layer.bias + _products(layer, high, low),
    )


def _products(layer: CompressedLayer, of_positive: Ints, of_negative: Ints) -> Ints:
    """Per output, the sum of positive weights and of negative ones, each times what it reads.

    :param of_positive: ``(C, KH, KW)``. Products and sums are below 2**48, so float64 is exact.
    """
    groups, sums = layer.spec.groups, []
    codes = layer.codes.reshape(groups, layer.spec.outputs // groups, -1)
    plus, minus = (a.reshape(groups, -1).astype(np.float64) for a in (of_positive, of_negative))
    for part in range(groups):
        for start in range(0, codes.shape[1], _ROWS):
            block = codes[part, start : start + _ROWS].astype(np.float64)
            sums.append(np.maximum(block, 0) @ plus[part] + np.minimum(block, 0) @ minus[part])
    return np.concatenate(sums).astype(np.int64)


def _inside(spec: LayerSpec) -> Flags:
    """Taps ``(KH, KW)`` of the kernel that lie on the map, not in its padding, at all positions."""
    flags = []
    for axis, size in enumerate(spec.input_shape[1:]):
        first = np.arange(spec.kernel[axis]) * spec.dilation[axis] - spec.padding[axis]
        last = first + (spec.output_shape[1 + axis] - 1) * spec.stride[axis]
        flags.append((first >= 0) & (last < size))
    return flags[0][:, None] & flags[1][None, :]


# --- the two steps -------------------------------------------------------------------------------


def _fold_constants(model: CompressedModel) -> CompressedModel:
    """Move constant inputs of every layer into its bias; constant outputs lose their weights."""
    bounds = channel_bounds(model)
    nodes = tuple(
        _fold_layer(node, bounds[node.source], bounds[node.name])
        if isinstance(node, CompressedLayer)
        else node
        for node in model.nodes
    )
    return replace(model, nodes=nodes)


def _fold_layer(layer: CompressedLayer, source: Interval, result: Interval) -> CompressedLayer:
    constant = source.constant[:, None, None]
    value = source.lo[:, None, None]
    foldable = constant & (_inside(layer.spec) | (value == 0))
    moved = np.where(foldable, value, 0)
    bias = layer.bias + _products(layer, moved, moved)
    foldable = _by_output(layer.spec, foldable)
    codes = np.where(foldable, 0, layer.window_codes).astype(np.int16)
    folded = replace(layer, codes=codes.reshape(layer.codes.shape), bias=bias)
    lowest, _ = _accumulator_bounds(folded, source)
    # Any accumulator in its range gives a constant output its one value.
    return _emptied(folded, result.constant & np.any(codes, axis=(1, 2, 3)), lowest)


def _by_output(spec: LayerSpec, per_channel: Flags) -> Flags:
    """``(C, …)`` as each output sees it, ``(O, C // groups, …)``; 1 row for all without groups."""
    grouped = per_channel.reshape(spec.groups, spec.kernel_channels, *per_channel.shape[1:])
    return grouped if spec.groups == 1 else grouped.repeat(spec.outputs // spec.groups, 0)


def _empty_unread(model: CompressedModel) -> CompressedModel:
    """Remove weights and biases of channels that no layer reads."""
    read = read_channels(model)
    nodes = tuple(
        _emptied(node, ~read[node.name], np.zeros_like(node.bias))
        if isinstance(node, CompressedLayer)
        else node
        for node in model.nodes
    )
    return replace(model, nodes=nodes)


def _emptied(layer: CompressedLayer, outputs: Flags, bias: Ints) -> CompressedLayer:
    """``layer`` without weights in ``outputs``, which have the given ``bias`` instead."""
    if not outputs.any():
        return layer
    codes = layer.codes.copy()
    codes[outputs] = 0
    return replace(layer, codes=codes, bias=np.where(outputs, bias, layer.bias))


def _reads(layer: CompressedLayer, own: Flags) -> Flags:
    """Input channels ``(C,)`` that outputs ``own`` have weights on."""
    groups = layer.spec.groups
    used = np.any(layer.window_codes, axis=(2, 3)) & own[:, None]
    return used.reshape(groups, -1, layer.spec.kernel_channels).any(1).reshape(-1)
