"""Pools and padding."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import fx, nn

from pyadmm.network.onnx_ops.node import Handler, Operator
from pyadmm.network.onnx_ops.windows import pads_of, pair


def _max_pool(op: Operator) -> None:
    kernel, strides, dilations = (pair(op, n) for n in ("kernel_shape", "strides", "dilations"))
    pads = pads_of(op, kernel, strides, dilations)
    if len([name for name in op.node.output if name]) > 1:
        raise op.error("a pool that gives the places of its maxima is not supported")
    x, padding = _padded(op, pads, kernel, -math.inf)
    ceil = bool(op.facts.get("ceil_mode", 0))
    module = nn.MaxPool2d(kernel, strides, padding, dilations, ceil_mode=ceil)
    op.give(op.builder.module(op.name, module, x))


def _average_pool(op: Operator) -> None:
    kernel, strides = pair(op, "kernel_shape"), pair(op, "strides")
    pads = pads_of(op, kernel, strides)
    counted = bool(op.facts.get("count_include_pad", 0))
    if pads[:2] != pads[2:] and not counted:
        raise op.error(f"an average that does not count its padding must pad alike, not {pads}")
    x, padding = _padded(op, pads, kernel, 0.0)
    ceil = bool(op.facts.get("ceil_mode", 0))
    module = nn.AvgPool2d(kernel, strides, padding, ceil_mode=ceil, count_include_pad=counted)
    op.give(op.builder.module(op.name, module, x))


def _padded(
    op: Operator, pads: Sequence[int], kernel: Sequence[int], value: float
) -> tuple[fx.Node, tuple[int, int]]:
    """The input of a pool, padded by a layer of its own where torch's pool cannot."""
    top, left, bottom, right = pads
    x = op.value(0)
    fits = all(p <= k // 2 for p, k in zip(pads[:2], kernel, strict=True))
    if (top, left) == (bottom, right) and fits:
        return x, (top, left)
    sides = left, right, top, bottom
    padding: nn.Module = nn.ConstantPad2d(sides, value)
    if value == 0.0 or _not_negative(op, x):
        padding = nn.ZeroPad2d(sides)
    return op.builder.module(f"{op.name}_pad", padding, x), (0, 0)


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
    if mode != "constant" or len(pads) != 2 * len(axes) or min(pads) < 0:
        raise op.error(f"only padding with a constant is supported, not {mode} {pads}")
    before, behind = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], behind[axis] = pads[place], pads[place + len(axes)]
    if any(before[:2] + behind[:2]) or rank != 4:
        raise op.error(f"only rows and columns can be padded, not {pads}")
    sides = before[3], behind[3], before[2], behind[2]
    op.layer(nn.ZeroPad2d(sides) if filling == 0 else nn.ConstantPad2d(sides, filling))


def _global_average(op: Operator) -> None:
    op.layer(nn.AdaptiveAvgPool2d(1))


def _global_max(op: Operator) -> None:
    op.layer(nn.AdaptiveMaxPool2d(1))


def _reduce_mean(op: Operator) -> None:
    rank = op.example(0).ndim
    axes = sorted(a % rank for a in (op.numbers("axes", 1) or range(rank)))
    if axes != [2, 3] or rank != 4:
        raise op.error(f"only the mean over rows and columns is supported, not over axes {axes}")
    op.layer(nn.AdaptiveAvgPool2d(1))
    if not op.facts.get("keepdims", 1):
        pooled = op.builder.values[op.node.output[0]]
        op.give(op.builder.module(f"{op.name}_flatten", nn.Flatten(1), pooled))


HANDLERS: dict[str, Handler] = {
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
    "ReduceMean": _reduce_mean,
    "Pad": _pad,
}
