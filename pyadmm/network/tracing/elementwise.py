"""Sums, products with constants and activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from pyadmm.network.exported import Arguments, operation
from pyadmm.network.facts import NO_ACTIVATION, Activation, AddFacts
from pyadmm.network.steps import AddStep, PoolStep, ShortcutStep
from pyadmm.network.tracing.builder import Builder, Handler
from pyadmm.network.tracing.curves import product
from pyadmm.network.tracing.normalisation import times
from pyadmm.network.tracing.values import Value, positive, shape_of, shifts


def _constant_or_sum(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """``add`` or ``sub``, of two maps or of a map and a constant."""
    sign = -1.0 if operation(node).rstrip("_") in ("sub", "rsub") else 1.0
    sign *= float(arguments["alpha"])
    first, second = arguments["self"], arguments["other"]
    if operation(node) == "rsub":
        first, second = second, first
    if builder.is_value(first) and builder.is_value(second):
        return sum_of(builder, node, builder.read(first, node), builder.read(second, node), sign)
    if builder.is_value(first):
        return _with_constant(
            builder, node, first, second, lambda c: (torch.ones_like(c), sign * c)
        )
    return _with_constant(builder, node, second, first, lambda c: (torch.full_like(c, sign), c))


def _product(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """``mul`` of two maps, ``mul`` or ``div`` of a map and a constant."""
    first, second = arguments["self"], arguments["other"]
    divides = operation(node).startswith("div")
    if builder.is_value(first) and builder.is_value(second):
        if divides:
            raise builder.refused(node, "maps that depend on the input cannot be divided")
        return product(builder, node, first, second)
    if divides and not builder.is_value(first):
        raise builder.refused(node, "a constant cannot be divided by a map")
    if not builder.is_value(first):
        first, second = second, first
    return _with_constant(
        builder, node, first, second, lambda c: (1 / c if divides else c, torch.zeros_like(c))
    )


def _negated(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    return _with_constant(
        builder, node, arguments["self"], -1.0, lambda c: (c, torch.zeros_like(c))
    )


def _with_constant(
    builder: Builder,
    node: fx.Node,
    read: Any,
    constant: Any,
    of: Callable[[Tensor], tuple[Tensor, Tensor]],
) -> Value:
    value = builder.read(read, node)
    constant = builder.values[constant] if isinstance(constant, fx.Node) else constant
    gain, shift = of(_by_channel(builder, node, value, constant))
    return builder.shaped(times(builder, value, node, gain, shift), node)


def _by_channel(builder: Builder, node: fx.Node, value: Value, constant: Any) -> Tensor:
    """A constant as one number for each channel (or value of a vector)."""
    like = builder.listed.example
    tensor = torch.as_tensor(constant, dtype=torch.float32, device=like.device)
    shape = shape_of(node)
    if shape != value.shape:
        raise builder.refused(node, f"a constant makes shape {shape} of {value.shape}")
    if tensor.ndim == 1 + len(shape) and bool((tensor == tensor[:1]).all()):
        tensor = tensor[:1]  # the same for all images
    try:
        rows = tensor.broadcast_to((1, *shape))[0].reshape(shape[0], -1)
    except RuntimeError as error:
        raise builder.refused(
            node, f"a constant of shape {tuple(tensor.shape)} is not one per channel"
        ) from error
    if not rows.is_meta and not bool((rows == rows[:, :1]).all()):
        raise builder.refused(node, "a constant must be one number, or one per channel")
    return rows[:, 0].clone()


def sum_of(builder: Builder, node: fx.Node, a: Value, b: Value, sign: float) -> Value:
    """``a + sign * b`` of two maps of one shape."""
    if a.shape != b.shape:
        raise builder.refused(node, f"cannot add maps of shapes {a.shape}, {b.shape}")
    if a.step == b.step and a.plain and b.plain:
        twice = torch.full(
            (builder.maps[a.step][0],), 1 + sign, device=builder.listed.example.device
        )
        return times(builder, replace(a, sole=False), node, twice, torch.zeros_like(twice))
    if sign < 0:
        channels = builder.maps[b.step][0]
        factor = torch.full((channels,), sign, device=builder.listed.example.device)
        b, sign = times(builder, b, node, factor, torch.zeros_like(factor)), 1.0
    name = builder.name(node)
    a, b = (builder.settled(v, node, f"{name}.{side}") for v, side in ((a, "a"), (b, "b")))
    if builder.maps[a.step] != builder.maps[b.step]:
        raise builder.refused(
            node, f"cannot add views of maps of {builder.maps[a.step]} and {builder.maps[b.step]}"
        )
    step = AddStep(AddFacts(name, gains=(1.0, sign)))
    return builder.shaped(builder.append(name, step, a, b), node)


def _relu(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    return _activate(builder, node, builder.read(arguments["self"], node), Activation(relu=True))


def _clamp(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """ReLU6, Hardtanh and clamp."""
    value = builder.read(arguments["self"], node)
    name = operation(node).rstrip("_")
    if name == "relu6":
        low, high = 0.0, 6.0
    elif name == "threshold":
        low, high = arguments["threshold"], None
        if arguments["value"] != low:
            raise builder.refused(node, "a threshold must be the value below it; use ReLU")
    elif name in ("clamp_min", "clamp_max"):
        low, high = arguments.get("min"), arguments.get("max")
    else:
        keys = ("min_val", "max_val") if "min_val" in arguments.values else ("min", "max")
        low, high = (arguments[key] for key in keys)
    if isinstance(low, fx.Node) or isinstance(high, fx.Node):
        raise builder.refused(node, "must clamp to numbers, not to tensors")
    return _limited(builder, node, value, low, high)


def _limited(
    builder: Builder, node: fx.Node, value: Value, low: float | None, high: float | None
) -> Value:
    """``value`` between two ends, each of which may be open or infinite."""
    low = None if low is None or low == -math.inf else low
    high = None if high is None or high == math.inf else high
    if low is None and high is not None and not _negative(builder, value):
        low = 0.0
    if low == 0 and (high is None or high > 0):
        return _activate(builder, node, value, Activation(True, high))
    if low is not None and high is not None and low == -high and high > 0:
        return _activate(builder, node, value, Activation(False, high))
    return _clamped(builder, node, value, low, high)


def _clamped(
    builder: Builder, node: fx.Node, value: Value, low: float | None, high: float | None
) -> Value:
    """``low + relu(x - low)`` with a ceiling, or ``high - relu(high - x)``."""
    if low is not None and high is not None and not low < high:
        raise builder.refused(node, f"clamps to {low} … {high}; the lower end must be lower")
    if low is None and high is None:
        return builder.shaped(value, node)
    sign, end = (1.0, low) if low is not None else (-1.0, high)
    assert end is not None
    one = torch.full((builder.maps[value.step][0],), sign, device=builder.listed.example.device)
    moved = times(builder, value, node, one, torch.full_like(one, -sign * end))
    ceiling = None if low is None or high is None else high - low
    rectified = _activate(builder, node, moved, Activation(True, ceiling))
    return builder.shaped(times(builder, rectified, node, one, torch.full_like(one, end)), node)


def _negative(builder: Builder, value: Value) -> bool:
    return value.gain is not None or builder.signed(value.step)


def _activate(builder: Builder, node: fx.Node, value: Value, activation: Activation) -> Value:
    """``value`` behind an activation: as part of its step, or as a step of its own."""
    value = builder.shaped(value, node)
    if value.gain is not None:
        if activation == Activation(True) and positive(value.gain) and not shifts(value):
            inner = replace(value, gain=None, shift=None, norm=None)
            inner = _activate(builder, node, inner, activation)
            return replace(inner, gain=value.gain, shift=value.shift)
        return builder.affine_step(value, node, activation, builder.name(node))
    if activation == Activation(True) and not builder.signed(value.step):
        return value
    step = builder.steps.get(value.step)
    own = None if step is None or isinstance(step, ShortcutStep) else _activation(step)
    joined = None if own is None else _joined(own, activation)
    if value.sole and joined is not None and step is not None:
        facts: Any = step.facts
        step.facts = replace(facts, activation=joined)
        builder.nodes_of_steps.pop(step.name, None)  # that node gives the values before
        return value
    return builder.affine_step(value, node, activation, builder.name(node))


def _leaky(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """``slope * x + (1 - slope) * relu(x)``."""
    value = builder.read(arguments["self"], node)
    if operation(node).startswith("prelu"):
        slopes = builder.tensor(arguments["weight"], node)
        assert slopes is not None
        if slopes.is_meta or bool((slopes != slopes[0]).any()):
            return _leaky_by_channel(builder, node, value, slopes)
        slope = float(slopes[0])
    elif operation(node).startswith("rrelu"):
        arguments.taken.update(("training", "generator"))
        slope = (float(arguments["lower"]) + float(arguments["upper"])) / 2
    else:
        slope = float(arguments["negative_slope"])
    if not 0 <= slope < 1:
        slopes = torch.tensor([slope], device=builder.listed.example.device)
        return _leaky_by_channel(builder, node, value, slopes)
    if slope == 0:
        return _activate(builder, node, value, Activation(True))
    name = builder.name(node)
    value = builder.settled(value, node)
    if not builder.signed(value.step):
        return builder.shaped(value, node)
    part = replace(value, sole=False)
    rectified = builder.affine_step(part, node, Activation(True), builder.free_name(f"{name}.relu"))
    step = AddStep(AddFacts(name, gains=(slope, 1 - slope)))
    return builder.shaped(builder.append(name, step, value, rectified), node)


def _leaky_by_channel(builder: Builder, node: fx.Node, value: Value, slopes: Tensor) -> Value:
    """``s * x + relu((1 - s) * x)`` with a slope for each channel; ``(1 - s) * relu(x)`` from 1 on."""
    name = builder.name(node)
    slopes = slopes.float().expand(builder.maps[value.step][0])
    none = torch.zeros_like(slopes)
    part = replace(value, sole=False)
    linear = times(builder, part, node, slopes, none)
    linear = builder.settled(linear, node, builder.free_name(f"{name}.slope"))
    rest, own = 1 - slopes, builder.free_name(f"{name}.relu")
    if positive(rest):
        part = times(builder, part, node, rest, none)
        rectified = builder.affine_step(part, node, Activation(True), own)
    else:
        rectified = builder.affine_step(part, node, Activation(True), own)
        rectified = times(builder, rectified, node, rest, none)
        rectified = builder.settled(rectified, node, builder.free_name(f"{name}.rest"))
    step = AddStep(AddFacts(name))
    return builder.shaped(builder.append(name, step, linear, rectified), node)


def _extreme(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """``max(a, b) = a + relu(b - a)``, ``min(a, b) = a - relu(a - b)``; of a constant, a clamp."""
    if "other" not in arguments.values:
        raise builder.refused(node, "only the larger or smaller of two maps is supported; use amax")
    first, second = arguments["self"], arguments["other"]
    largest = operation(node).startswith("max")
    if not builder.is_value(first):
        first, second = second, first
    a = builder.read(first, node)
    if not builder.is_value(second):
        limits = _by_channel(builder, node, a, builder.values[second])
        if limits.is_meta or bool((limits != limits[0]).any()):
            raise builder.refused(node, "a limit must be one number for all channels; clamp to it")
        limit = float(limits[0])
        if largest:
            return _limited(builder, node, a, limit, None)
        return _limited(builder, node, a, None, limit)
    a, b = (replace(v, sole=False) for v in (a, builder.read(second, node)))
    low, high = (a, b) if largest else (b, a)
    beyond = sum_of(builder, node, high, low, -1.0)
    beyond = _activate(builder, node, beyond, Activation(True))
    return sum_of(builder, node, a, beyond, 1.0 if largest else -1.0)


def _activation(step: Any) -> Activation | None:
    """The activation of a step; ``None`` for those that take none."""
    if isinstance(step, PoolStep) and step.facts.kind == "max":
        return None
    activation: Activation = step.facts.activation
    return activation


def _joined(first: Activation, second: Activation) -> Activation | None:
    """One activation for two, if there is one."""
    if first == NO_ACTIVATION:
        return second
    if first.relu and (second.relu or second.ceiling is not None):
        limits = [a.ceiling for a in (first, second) if a.ceiling is not None]
        return Activation(True, min(limits) if limits else None)
    return first if first == second else None


OPERATIONS: dict[str, Handler] = {
    "relu": _relu,
    "relu_": _relu,
    **dict.fromkeys(("relu6", "relu6_", "hardtanh", "hardtanh_", "clamp", "clamp_"), _clamp),
    **dict.fromkeys(
        ("clip", "clip_", "clamp_min", "clamp_min_", "clamp_max", "clamp_max_"), _clamp
    ),
    **dict.fromkeys(("threshold", "threshold_"), _clamp),
    "leaky_relu": _leaky,
    "leaky_relu_": _leaky,
    "prelu": _leaky,
    "rrelu": _leaky,
    "rrelu_": _leaky,
    **dict.fromkeys(("maximum", "minimum", "max", "min"), _extreme),
    **dict.fromkeys(("add", "add_", "sub", "sub_", "rsub"), _constant_or_sum),
    "mul": _product,
    "mul_": _product,
    "div": _product,
    "div_": _product,
    "neg": _negated,
}
