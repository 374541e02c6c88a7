"""Pools of every kind, as pools with windows of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import fx

from pyadmm.model.types import Pair, Sides, pair
from pyadmm.network.exported import Arguments, operation
from pyadmm.network.facts import PoolFacts
from pyadmm.network.layers import WeightedStep
from pyadmm.network.steps import PoolStep
from pyadmm.network.tracing.builder import Builder, Handler, output_map
from pyadmm.network.tracing.joins import adding_up
from pyadmm.network.tracing.permutations import channels_last
from pyadmm.network.tracing.values import NO_PADDING, Value, numbers, plus, positive, shifts


@dataclass(frozen=True)
class _Window:
    """Windows of a pool; ``declared`` is the padding without what ``ceil_mode`` adds."""

    kernel: Pair
    stride: Pair
    padding: Sides
    declared: Sides


def _max_pool(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    value = builder.read(arguments["self"], node)
    window = _window(builder, node, arguments, value)
    if value.gain is not None and not positive(value.gain):
        value = builder.settled_affine(value, node)
    zeros_count = builder.signed(value.step) or value.gain is not None
    if value.padding != NO_PADDING and (zeros_count or _overhangs(window, value)):
        value = builder.settled(value, node)
    padding = plus(window.padding, value.padding)
    pool = PoolFacts(builder.name(node), "max", window.kernel, window.stride, padding)
    return _maximum(builder, node, value, pool)


def _maximum(builder: Builder, node: fx.Node, value: Value, pool: PoolFacts) -> Value:
    """A max-pool, in the stage of the layer before it where nothing else reads that."""
    step, plain = builder.steps.get(value.step), replace(value, gain=None, padding=NO_PADDING)
    if value.sole and isinstance(step, WeightedStep) and step.facts.pool is None:
        step.facts = replace(step.facts, pool=pool)
        builder.taken.add(pool.name)
        builder.maps[step.name] = output_map(step.facts, [])
        made = plain
    else:
        pool = replace(pool, signed=builder.signed(value.step))
        made = builder.append(pool.name, PoolStep(pool), plain)
    return builder.shaped(replace(made, gain=value.gain, shift=value.shift), node)


def _overhangs(window: _Window, value: Value) -> bool:
    """Whether a window may lie outside the map, on zeros only."""
    padding = plus(window.padding, value.padding)
    return any(p >= k for p, k in zip(padding, window.kernel * 2, strict=True))


def _average_pool(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    value = builder.read(arguments["self"], node)
    window = _window(builder, node, arguments, value)
    if value.padding != NO_PADDING and _overhangs(window, value):
        value = builder.settled(value, node)
    counted = window.declared if arguments["count_include_pad"] else NO_PADDING
    padding, border = plus(window.padding, value.padding), plus(counted, value.padding)
    pool = PoolFacts(builder.name(node), "avg", window.kernel, window.stride, padding)
    divisor = arguments.get("divisor_override")
    if divisor is not None:
        pool = replace(pool, divisor=int(divisor))
    elif border != padding:
        pool = replace(pool, border=border)
    return _average(builder, node, value, pool)


def _average(builder: Builder, node: fx.Node, value: Value, pool: PoolFacts) -> Value:
    """An average pool; it commutes with gains, and with shifts where it counts all values."""
    whole = pool.divisor is None and pool.padding == NO_PADDING
    if shifts(value) and not whole:
        value = builder.settled_affine(value, node)
    if value.gain is not None and len(value.gain) != builder.maps[value.step][0]:
        value = builder.settled_affine(value, node)
    pool = replace(pool, signed=builder.signed(value.step))
    plain = replace(value, gain=None, padding=NO_PADDING)
    made = builder.append(pool.name, PoolStep(pool), plain)
    return builder.shaped(replace(made, gain=value.gain, shift=value.shift), node)


def _window(builder: Builder, node: fx.Node, arguments: Arguments, value: Value) -> _Window:
    """Kernel, stride and padding of a pool with what ``ceil_mode`` adds at the ends."""
    shape = builder.map_of(value, node)
    lines = "1d" in operation(node)
    first = [1] if lines else []
    kernel = pair(first + numbers(arguments["kernel_size"], 2 - lines))
    strides = arguments["stride"]
    stride = pair(first + numbers(strides, 2 - lines)) if strides else kernel
    around = pair(([0] if lines else []) + numbers(arguments["padding"], 2 - lines))
    if set(numbers(arguments.get("dilation", 1), 2 - lines)) != {1}:
        raise builder.refused(node, "a pool must have dilation 1")
    declared: Sides = (*around, *around)
    whole = [
        size + value.padding[axis] + value.padding[axis + 2] for axis, size in enumerate(shape[1:])
    ]
    extra = [0, 0]
    if arguments["ceil_mode"]:
        extra = [
            _beyond(size, p, k, s)
            for size, p, k, s in zip(whole, around, kernel, stride, strict=True)
        ]
    padding = plus(declared, (0, 0, extra[0], extra[1]))
    return _Window(kernel, stride, padding, declared)


def _adaptive(builder: Builder, node: fx.Node, arguments: Arguments) -> Any:
    """An adaptive pool whose windows have one size and one distance."""
    value = builder.read(arguments["self"], node)
    if value.padding != NO_PADDING:
        value = builder.settled(value, node)
    shape = builder.map_of(value, node)
    lines = "1d" in operation(node)
    wanted = arguments["output_size"]
    size = list(wanted) if isinstance(wanted, list | tuple) else [wanted] * (2 - lines)
    size = ([1] if lines else []) + size
    kinds = [_even_windows(n, n if k is None else k) for n, k in zip(shape[1:], size, strict=True)]
    maximum = operation(node).startswith("adaptive_max")
    if any(kind is None for kind in kinds):
        return _resampled(builder, node, value, size, maximum=maximum)
    kernel, stride = (pair([kind[i] for kind in kinds if kind]) for i in (0, 1))
    return _windows(builder, node, value, kernel, stride, kind="max" if maximum else "avg")


def _resampled(
    builder: Builder, node: fx.Node, value: Value, size: Sequence[int | None], *, maximum: bool
) -> Value:
    """Windows of different sizes, as matrices that the Linear behind them takes up."""
    shape = builder.maps[value.step]
    spans = [_spans(n, n if k is None else k) for n, k in zip(shape[1:], size, strict=True)]
    if maximum and any(last - first > 1 for axis in spans for first, last in axis):
        raise builder.refused(
            node,
            f"windows of different sizes make {tuple(size)} of {shape[1:]}; choose a size "
            "that divides the map",
        )
    matrices = []
    for axis, length in zip(spans, shape[1:], strict=True):
        matrix = torch.zeros(len(axis), length, device=builder.listed.example.device)
        for row, (first, last) in enumerate(axis):
            matrix[row, first:last] = 1 / (last - first)
        matrices.append(matrix)
    return replace(builder.shaped(value, node), resample=(matrices[0], matrices[1]))


def _windows(
    builder: Builder, node: fx.Node, value: Value, kernel: Pair, stride: Pair, *, kind: str
) -> Value:
    """A pool without padding; nothing where its windows hold one value."""
    if kernel == (1, 1):
        return builder.shaped(value, node)
    facts = PoolFacts(builder.name(node), kind, kernel, stride)
    if kind == "avg":
        return _average(builder, node, value, facts)
    if value.gain is not None and not positive(value.gain):
        value = builder.settled_affine(value, node)
    return _maximum(builder, node, value, facts)


def _mean(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """``mean``, ``sum`` or ``amax`` over rows, columns or both."""
    value = builder.read(arguments["self"], node)
    arguments.taken.add("keepdim")
    if value.padding != NO_PADDING:
        value = builder.settled(value, node)
    shape = builder.maps[value.step]
    axes = arguments["dim"]
    axes = [axes] if isinstance(axes, int) else list(axes or [])
    rank = 1 + len(value.shape)
    axes = sorted(axis % rank for axis in axes)
    if value.places is not None:
        if axes != list(range(1, rank - 1)) or not torch.equal(value.places, channels_last(shape)):
            raise builder.refused(node, "averages a map whose axes were moved; average the places")
        value, axes = replace(value, places=None, shape=shape), [2, 3]
    if value.shape == (shape[0], shape[1] * shape[2]) and axes == [2]:
        kernel = (shape[1], shape[2])
    elif value.shape == shape and axes and set(axes) <= {2, 3}:
        kernel = (shape[1] if 2 in axes else 1, shape[2] if 3 in axes else 1)
    else:
        raise builder.refused(node, "only rows and columns of a map can be averaged")
    name = operation(node)
    if name == "amax":
        return _windows(builder, node, value, kernel, kernel, kind="max")
    if name == "sum" and kernel != (1, 1):
        pool = PoolFacts(builder.name(node), "avg", kernel, kernel, divisor=1)
        return _average(builder, node, value, pool)
    return _windows(builder, node, value, kernel, kernel, kind="avg")


def _beyond(size: int, padding: int, kernel: int, stride: int) -> int:
    """How far the last window of ``ceil_mode`` reaches beyond the padded map.

    >>> _beyond(8, 0, 3, 2), _beyond(7, 0, 3, 2), _beyond(5, 1, 2, 4)
    (1, 0, 0)
    """
    last = -(-(size + 2 * padding - kernel) // stride)
    if last * stride >= size + padding:  # it must start on the map or before it
        last -= 1
    return max(0, last * stride + kernel - size - 2 * padding)


def _spans(size: int, count: int) -> list[Pair]:
    """First and last row but one of each window of an adaptive pool.

    >>> _spans(7, 3), _spans(2, 3)
    ([(0, 3), (2, 5), (4, 7)], [(0, 1), (0, 2), (1, 2)])
    """
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _even_windows(size: int, count: int) -> Pair | None:
    """Size and distance of an adaptive pool's windows, where all have the same.

    >>> _even_windows(7, 7), _even_windows(8, 2), _even_windows(7, 3), _even_windows(8, 3)
    ((1, 1), (4, 4), (3, 2), None)
    """
    spans = _spans(size, count)
    kernels = {last - first for first, last in spans}
    strides = {b[0] - a[0] for a, b in pairwise(spans)} or kernels
    if len(kernels) > 1 or len(strides) > 1 or 0 in strides:
        return None
    return min(kernels), min(strides)


OPERATIONS: dict[str, Handler] = {
    "max_pool1d": _max_pool,
    "max_pool2d": _max_pool,
    "max_pool2d_with_indices": _max_pool,
    "avg_pool1d": _average_pool,
    "avg_pool2d": _average_pool,
    "adaptive_avg_pool1d": _adaptive,
    "adaptive_avg_pool2d": _adaptive,
    "adaptive_max_pool1d": _adaptive,
    "adaptive_max_pool2d": _adaptive,
    "mean": adding_up(_mean),
    "sum": adding_up(_mean),
    "amax": _mean,
}
