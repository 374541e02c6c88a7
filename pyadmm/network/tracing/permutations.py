"""Axes in another order: channel shuffles, and transposed maps that only a Linear reads."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from pyadmm.network.curves import CURVES
from pyadmm.network.exported import Arguments, operation
from pyadmm.network.facts import ShortcutFacts
from pyadmm.network.steps import ShortcutStep
from pyadmm.network.tracing.builder import Builder, Handler
from pyadmm.network.tracing.curves import LAZY
from pyadmm.network.tracing.values import Map, Value

_ACTIVATIONS = (
    *("relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max", "threshold", "leaky_relu"),
    *(name for name in CURVES if name not in LAZY),
)
"""Operations on each value alone, so that the order of the values does not matter."""


def _permuted(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """``permute``, ``transpose`` and their like."""
    value = builder.read(arguments["self"], node)
    rank = 1 + len(value.shape)
    axes = list(range(rank))
    if "dims" in arguments.values:
        axes = [int(axis) % rank for axis in arguments["dims"]]
    elif operation(node) != "t":
        keys = ("dim0", "dim1") if "dim0" in arguments.values else ("axis0", "axis1")
        first, second = (int(arguments[key]) % rank for key in keys)
        axes[first], axes[second] = axes[second], axes[first]
    else:
        axes.reverse()
    if axes[0] != 0:
        raise builder.refused(node, "moves the batch; it must stay the first axis")
    places = torch.arange(math.prod(value.shape)).reshape(value.shape)
    return moved(builder, node, value, places.permute([axis - 1 for axis in axes[1:]]))


def _shuffled(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """``channel_shuffle``: channel ``g * k + j`` becomes ``j * groups + g``."""
    value, groups = builder.read(arguments["self"], node), int(arguments["groups"])
    places = torch.arange(math.prod(value.shape)).reshape(groups, -1, *value.shape[1:])
    return moved(builder, node, value, places.transpose(0, 1).reshape(value.shape))


def moved(builder: Builder, node: fx.Node, value: Value, places: Tensor) -> Value:
    """``value`` with value ``places[i]`` at ``i``: channels in another order, or any order.

    :raises PyadmmError: where something waits that only a step of its own can do.
    """
    shape, flat = tuple(places.shape), places.reshape(-1)
    if value.places is not None:
        flat = value.places[flat]
    if bool((flat == torch.arange(len(flat))).all()):
        return replace(value, shape=shape, places=None)
    value = builder.settled(replace(value, places=None), node)
    map_shape = builder.maps[value.step]
    order = _order_of_channels(flat, map_shape[0])
    if order is None:
        return replace(value, shape=shape, places=flat)
    facts = ShortcutFacts(builder.name(node), map_shape, order=order)
    return replace(builder.append(facts.name, ShortcutStep(facts), value), shape=shape)


def channels_last(shape: Map) -> Tensor:
    """The places of a map's values when its channels come last."""
    return torch.arange(math.prod(shape)).reshape(shape[0], -1).t().reshape(-1)


def keeping_order(builder: Builder, node: fx.Node, arguments: Arguments, handler: Handler) -> Any:
    """What ``handler`` gives; an activation or sum of values that are all in one order keeps it."""
    nodes = [n for n in node.all_input_nodes if isinstance(builder.values.get(n), Value)]
    values = [builder.values[n] for n in nodes]
    orders = [value.places for value in values]
    first = orders[0] if orders else None
    alone = len(values) == 1 and operation(node).rstrip("_") in _ACTIVATIONS
    pair = len(values) == 2 and operation(node).rstrip("_") in ("add", "sub", "mul")
    if first is None or not (alone or pair):
        return handler(builder, node, arguments)
    if any(order is None or not torch.equal(order, first) for order in orders):
        return handler(builder, node, arguments)
    builder.values.update((n, replace(v, places=None)) for n, v in zip(nodes, values, strict=True))
    made = handler(builder, node, arguments)
    builder.values.update(zip(nodes, values, strict=True))
    return replace(made, places=first)


def _order_of_channels(places: Tensor, channels: int) -> tuple[int, ...] | None:
    """The channels in their order, where ``places`` moves whole channels only."""
    rows = places.reshape(channels, -1)
    size = rows.shape[1]
    whole = rows == rows[:, :1] + torch.arange(size)
    if not bool(whole.all()) or bool((rows[:, 0] % size != 0).any()):
        return None
    return tuple((rows[:, 0] // size).tolist())


OPERATIONS: dict[str, Handler] = {
    **dict.fromkeys(("permute", "transpose", "swapaxes", "swapdims", "t"), _permuted),
    "channel_shuffle": _shuffled,
    "native_channel_shuffle": _shuffled,
}
