"""Renumbering hidden channels, which changes no output but makes the ``.admm`` file smaller.

The order of a hidden layer's channels is arbitrary: if they and the inputs of the layers that read
them are permuted alike, all logits stay the same. In sorted order the file needs no bits for which
channels are inactive, and few for the number of weights of the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pyadmm.model.integer import CompressedModel, Node
from pyadmm.model.pointwise import Lookup
from pyadmm.model.pooling import AvgPool, MaxPool
from pyadmm.model.requant import Requant
from pyadmm.model.weighted_layer import CompressedLayer
from pyadmm.model.windows import find_groups, find_windows

Order = NDArray[np.intp]
T = TypeVar("T")


def sort_channels(model: CompressedModel) -> CompressedModel:
    """``model`` with every free layer's channels sorted: most weights first, then first weight.

    A layer is free where its channels reach only layers without groups, through pools and tables at
    most;
    others (the last one, and those that reach an :class:`~pyadmm.model.Add`) stay as they are.
    Channels that a window-balanced pattern ties together stay together: the rows of a group, and
    the inputs of a window of a layer that reads single pixels.
    """
    for layer in model.layers:
        reached = _reached(model, layer)
        if reached is not None and layer.spec.groups == 1:
            readers = [other for other in model.layers if other.name in reached]
            order = _order(model.layer(layer.name), readers)
            nodes = tuple(
                _renumbered(node, order, node.name == layer.name, node.name in reached)
                for node in model.nodes
            )
            model = replace(model, nodes=nodes)
    return model


def _reached(model: CompressedModel, layer: CompressedLayer) -> set[str] | None:
    """Nodes whose input channels are ``layer``'s output channels; ``None`` where it is not free."""
    carriers = {layer.name}
    reached: set[str] = set()
    for node in model.nodes:
        if carriers.isdisjoint(node.sources):
            continue
        reached.add(node.name)
        if isinstance(node, MaxPool | AvgPool | Lookup):
            carriers.add(node.name)
        elif not isinstance(node, CompressedLayer) or node.spec.groups > 1:
            return None
    return None if model.nodes[-1].name in carriers else reached


def _order(layer: CompressedLayer, readers: Sequence[CompressedLayer]) -> Order:
    """Channels in groups, by falling number of weights; equal ones by the place of their first.

    Groups are those of a balanced pattern, else single channels; where the channels are the inputs
    of a reader's windows, whole windows. Channels without weights come last.
    """
    kept = _kept(layer)
    active = np.flatnonzero(kept.any(1))
    shape = len(active), *layer.spec.window_shape[1:]
    window = _window_of(readers, active)
    if window > 1:
        found = find_windows(kept[active], shape)
        groups = _blocks(len(active), math.lcm(window, 1 if found is None else found.rows))
    else:
        groups = find_groups(kept[active], shape) or _blocks(len(active), 1)
    rank = np.argsort(np.lexsort((kept.argmax(1), -kept.sum(1))))
    members = [active[group] for group in groups]
    if window == 1:
        members = [rows[np.argsort(rank[rows])] for rows in members]
    # The last group may lack rows, which groups behind it would have to fill.
    full = max(map(len, members), default=0)
    members.sort(key=lambda rows: (len(rows) < full, -kept[rows].sum(), rank[rows].min()))
    return np.concatenate([*members, np.flatnonzero(~kept.any(1))])


def _window_of(readers: Sequence[CompressedLayer], channels: Order) -> int:
    """Number of neighbouring ``channels`` that the windows of all balanced ``readers`` tie together."""
    sizes = [1]
    for layer in readers:
        if layer.spec.kernel == (1, 1) and layer.spec.input_shape[1:] == (1, 1):
            shape = layer.spec.outputs, len(channels), 1, 1
            found = find_windows(_kept(layer)[:, channels], shape)
            sizes.append(1 if found is None else found.size)
    return math.lcm(*sizes)


def _blocks(count: int, size: int) -> list[list[int]]:
    """``count`` neighbours in blocks of ``size``; the last one may lack some."""
    return [list(range(first, min(first + size, count))) for first in range(0, count, size)]


def _kept(layer: CompressedLayer) -> NDArray[np.bool_]:
    """Positions of the weights of a layer, boolean ``(O, C * KH * KW)``."""
    return layer.codes.reshape(layer.spec.outputs, -1) != 0


def _renumbered(node: Node, order: Order, makes: bool, reads: bool) -> Node:
    """``node`` after channel ``order[i]`` became channel ``i``."""
    if makes:
        assert isinstance(node, CompressedLayer)
        return replace(
            node,
            codes=node.codes[order],
            bias=node.bias[order],
            requant=_requant(node.requant, order),
            weight_scale=_each(node.weight_scale, order),
        )
    if reads and isinstance(node, CompressedLayer):
        return replace(node, codes=node.window_codes[:, order].reshape(node.codes.shape))
    if reads and isinstance(node, AvgPool):
        return replace(node, requant=_requant(node.requant, order))
    return node


def _requant(requant: Requant, order: Order) -> Requant:
    return Requant(_each(requant.mult, order), requant.shift)


def _each(values: tuple[T, ...], order: Order) -> tuple[T, ...]:
    """Per-channel ``values`` in the new order; a single one stays."""
    return values if len(values) == 1 else tuple(values[i] for i in order)
