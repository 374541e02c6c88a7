"""Pools, reductions and padding, of lines and of maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from pyadmm.network.onnx_ops.node import Handler, Operator
from pyadmm.network.onnx_ops.windows import pads_of, per_axis, sides, zeros_around


def _kernel(op: Operator) -> tuple[int, ...]:
    axes = op.example(0).ndim - 2
    if axes not in (1, 2):
        raise op.error(f"only lines and maps can be pooled, not {tuple(op.example(0).shape)}")
    return per_axis(op, "kernel_shape", axes)


def _max_pool(op: Operator) -> None:
    kernel = _kernel(op)
    strides, dilations = (per_axis(op, name, len(kernel)) for name in ("strides", "dilations"))
    before, behind = pads_of(op, kernel, strides, dilations)
    if any(op.builder.readers.get(name) for name in op.node.output[1:] if name):
        raise op.error("a pool that gives the places of its maxima is not supported")
    x, padding = _padded(op, before, behind, kernel, -math.inf)
    kind: Any = nn.MaxPool1d if len(kernel) == 1 else nn.MaxPool2d
    ceil = bool(op.facts.get("ceil_mode", 0))
    module = kind(kernel, strides, padding, dilations, ceil_mode=ceil)
    op.give(op.builder.module(op.name, module, x))


def _average_pool(op: Operator) -> None:
    kernel = _kernel(op)
    strides = per_axis(op, "strides", len(kernel))
    before, behind = pads_of(op, kernel, strides, [1] * len(kernel))
    counted = bool(op.facts.get("count_include_pad", 0))
    if before != behind and not counted:
        raise op.error(
            f"an average that does not count its padding must pad alike, not {before}, {behind}"
        )
    x, padding = _padded(op, before, behind, kernel, 0.0)
    kind: Any = nn.AvgPool1d if len(kernel) == 1 else nn.AvgPool2d
    ceil = bool(op.facts.get("ceil_mode", 0))
    module = kind(kernel, strides, padding, ceil_mode=ceil, count_include_pad=counted)
    op.give(op.builder.module(op.name, module, x))


def _padded(
    op: Operator,
    before: tuple[int, ...],
    behind: tuple[int, ...],
    kernel: Sequence[int],
    value: float,
) -> tuple[fx.Node, tuple[int, ...]]:
    """The input of a pool, padded by a layer of its own where torch's pool cannot."""
    x = op.value(0)
    fits = all(p <= k // 2 for p, k in zip(before, kernel, strict=True))
    if before == behind and fits:
        return x, before
    padding = zeros_around(before, behind)
    if value != 0.0 and not _not_negative(op, x):
        around: Any = sides(before, behind)
        kind: Any = nn.ConstantPad1d if len(kernel) == 1 else nn.ConstantPad2d
        padding = kind(around, value)
    return op.builder.module(f"{op.name}_pad", padding, x), (0,) * len(kernel)


def _not_negative(op: Operator, x: fx.Node) -> bool:
    """Whether ``x`` comes from a ReLU, so that zeros do not change a maximum."""
    module = op.builder.modules.get(str(x.target)) if x.op == "call_module" else None
    if isinstance(module, nn.Hardtanh):
        return module.min_val >= 0
    return isinstance(module, nn.ReLU)


def _pad(op: Operator) -> None:
    pads = op.numbers("pads", 1) or []
    value = op.constant(2, "value")
    filling = float(op.facts.get("value", 0.0)) if value is None else float(value.reshape(()))
    mode = op.facts.get("mode", b"constant").decode()
    rank = op.example(0).ndim
    axes = op.numbers("axes", 3) or list(range(rank))
    if mode != "constant" or len(pads) != 2 * len(axes):
        raise op.error(f"only padding with a constant is supported, not {mode} {pads}")
    before, behind = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], behind[axis] = pads[place], pads[place + len(axes)]
    if before[0] or behind[0]:
        raise op.error(f"pads the batch ({pads}); it must stay as it is")
    around = sides(before[1:], behind[1:])
    op.give(op.builder.function(F.pad, op.value(0), around, "constant", filling))


def _global(lines: Any, maps: Any) -> Handler:
    """One value of each channel, whose axes stay."""
    return lambda op: op.layer((lines if op.example(0).ndim == 3 else maps)(1))


def _reduce(function: Callable[..., Any]) -> Handler:
    """Mean, sum or maximum over some axes."""

    def handle(op: Operator) -> None:
        rank = op.example(0).ndim
        axes = sorted(a % rank for a in (op.numbers("axes", 1) or range(rank)))
        if 0 in axes:
            raise op.error(f"only axes of an image can be reduced, not {axes} with the batch")
        keep = bool(op.facts.get("keepdims", 1))
        op.give(op.builder.function(function, op.value(0), axes, keep))

    return handle


HANDLERS: dict[str, Handler] = {
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d),
    "GlobalMaxPool": _global(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "ReduceMax": _reduce(torch.amax),
    "Pad": _pad,
}
