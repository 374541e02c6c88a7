"""Several maps as one: concatenation along any axis, stacks, and zeros that are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor, fx

from pyadmm.network.exported import Arguments, operation
from pyadmm.network.facts import ConcatFacts
from pyadmm.network.steps import ConcatStep
from pyadmm.network.tracing.builder import Builder, Handler
from pyadmm.network.tracing.elementwise import sum_of
from pyadmm.network.tracing.normalisation import times
from pyadmm.network.tracing.permutations import moved
from pyadmm.network.tracing.values import Value, plus
from pyadmm.network.tracing.views import move


def _concat(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    nodes = list(arguments["tensors"])
    places = [i for i, part in enumerate(nodes) if builder.is_value(part)]
    parts = [builder.read(nodes[i], node) for i in places]
    rank = 1 + len(parts[0].shape)
    axis = arguments.get("dim", 1) % rank
    if axis == 0:
        raise builder.refused(node, "joins images; leave the batch as it is")
    first, last = places[0], places[-1] + 1
    if len(parts) < last - first:
        raise builder.refused(node, "joins a constant between two maps; put it before or after")
    before, after = (
        sum(_zeros(builder, node, part, axis) for part in around)
        for around in (nodes[:first], nodes[last:])
    )
    joined = parts[0]
    if len(parts) > 1:
        joined = _channels(builder, node, parts) if axis == 1 else _side(builder, node, parts, axis)
    if before or after:
        if axis != 1:
            raise builder.refused(node, "joins zeros to rows or columns; pad the map instead")
        joined = move(builder, node, replace(joined, sole=False), before=before, after=after)
    return builder.shaped(joined, node)


def _zeros(builder: Builder, node: fx.Node, constant: Any, axis: int) -> int:
    """How many zeros a constant adds along ``axis``."""
    values = builder.values.get(constant) if isinstance(constant, fx.Node) else None
    if not isinstance(values, Tensor) or bool(values.any()):
        raise builder.refused(node, "joins a constant map that is not 0, which no layer can give")
    return int(values.shape[axis])


def _channels(builder: Builder, node: fx.Node, read: Sequence[Value]) -> Value:
    """The channels of several maps one after the other."""
    name = builder.name(node)
    parts = [builder.settled(v, node, f"{name}.{i}") for i, v in enumerate(read)]
    maps = [builder.maps[part.step] for part in parts]
    if len({shape[1:] for shape in maps}) > 1:
        raise builder.refused(node, f"joins maps of {', '.join(map(str, maps))}; sizes must agree")
    signed = any(builder.signed(part.step) for part in parts)
    return builder.append(name, ConcatStep(ConcatFacts(name, signed)), *parts)


def _side(builder: Builder, node: fx.Node, parts: Sequence[Value], axis: int) -> Value:
    """Maps below or beside each other: the sum of all, each with zeros where the others lie."""
    maps = [builder.map_of(part, node) for part in parts]
    columns = axis == 3 or len(parts[0].shape) == 2
    sizes = [part.shape[axis - 1] for part in parts]
    padded = []
    for place, part in enumerate(parts):
        ends = sum(sizes[:place]), sum(sizes[place + 1 :])
        sides = (0, ends[0], 0, ends[1]) if columns else (ends[0], 0, ends[1], 0)
        whole = list(part.shape)
        whole[axis - 1] = sum(sizes)
        plain = builder.settled(replace(part, sole=False), node)
        padded.append(replace(plain, padding=plus(plain.padding, sides), shape=tuple(whole)))
    if len({shape[0] for shape in maps}) > 1:
        raise builder.refused(node, f"joins maps of {', '.join(map(str, maps))}; sizes must agree")
    return _total(builder, node, padded)


def _total(builder: Builder, node: fx.Node, parts: Sequence[Value]) -> Value:
    return reduce(lambda a, b: sum_of(builder, node, a, b, 1.0), parts)


def _stack(builder: Builder, node: fx.Node, arguments: Arguments) -> Any:
    """Maps along a new axis: their channels in order, or a list if they are only added up."""
    parts = [builder.read(part, node) for part in arguments["tensors"]]
    inner = parts[0].shape
    axis = arguments["dim"] % (2 + len(inner))
    if all(_adds_up(user, axis, 2 + len(inner)) for user in node.users):
        return [replace(part, sole=False) for part in parts]
    if axis == 0:
        raise builder.refused(node, "stacks maps as if they were images; stack along dim 1")
    joined = parts[0] if len(parts) == 1 else _channels(builder, node, parts)
    whole = replace(joined, shape=(len(parts), *inner), sole=False)
    order = torch.arange(len(parts) * torch.Size(inner).numel()).reshape(len(parts), *inner)
    return moved(builder, node, whole, order.movedim(0, axis - 1))


def _adds_up(user: fx.Node, axis: int, rank: int) -> bool:
    """Whether ``user`` sums or averages over just the axis of a stack."""
    if operation(user) not in ("sum", "mean"):
        return False
    axes: Any = user.args[1] if len(user.args) > 1 else user.kwargs.get("dim")
    axes = [axes] if isinstance(axes, int) else list(axes or [])
    return [a % rank for a in axes] == [axis]


def _added_up(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """Sum or mean of the maps in a list that ``stack`` made."""
    arguments.taken.update(arguments.values)
    parts = builder.values[arguments["self"]]
    total = _total(builder, node, parts)
    if operation(node) == "mean":
        channels = builder.maps[total.step][0]
        share = torch.full((channels,), 1 / len(parts), device=builder.listed.example.device)
        total = times(builder, total, node, share, torch.zeros_like(share))
    return builder.shaped(total, node)


def adding_up(otherwise: Handler) -> Handler:
    """The handler of a sum or mean: of a stack, or what ``otherwise`` does."""

    def handle(builder: Builder, node: fx.Node, arguments: Arguments) -> Any:
        stacked = isinstance(builder.values.get(node.all_input_nodes[0]), list)
        return (_added_up if stacked else otherwise)(builder, node, arguments)

    return handle


OPERATIONS: dict[str, Handler] = {
    "cat": _concat,
    "concat": _concat,
    "hstack": _concat,
    "stack": _stack,
}
