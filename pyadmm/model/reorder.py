"""Renumbering hidden channels, which changes no output but makes the ``.admm`` file smaller.

The order of a hidden layer's channels is arbitrary: permuting them, and the inputs of whoever
reads them, gives the same logits on every input. In sorted order the container need not spend
bits on which channels are inactive and on how many weights each of the others has.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pyadmm.model.integer import CompressedModel, Node
from pyadmm.model.pooling import AvgPool, MaxPool
from pyadmm.model.requant import Requant
from pyadmm.model.weighted_layer import CompressedLayer

Order = NDArray[np.intp]
T = TypeVar("T")


def sort_channels(model: CompressedModel) -> CompressedModel:
    """``model`` with every free layer's channels sorted: most weights first, then first weight.

    A layer is free where its channels reach only layers without groups, through pools at most;
    others (the last one, and those that reach an :class:`~pyadmm.model.Add`) stay as they are.
    """
    for layer in model.layers:
        reached = _reached(model, layer)
        if reached is not None and layer.spec.groups == 1:
            order = _order(model.layer(layer.name))
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
        if isinstance(node, MaxPool | AvgPool):
            carriers.add(node.name)
        elif not isinstance(node, CompressedLayer) or node.spec.groups > 1:
            return None
    return None if model.nodes[-1].name in carriers else reached


def _order(layer: CompressedLayer) -> Order:
    """Channels by falling number of weights; equal ones by the place of their first weight."""
    kept = layer.codes.reshape(layer.spec.outputs, -1) != 0
    return np.lexsort((kept.argmax(1), -kept.sum(1)))


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
