"""Convolutions and matrix products, which become layers with weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from pyadmm.core.errors import PyadmmError
from pyadmm.model.types import LayerSpec, Pair, Sides, pair
from pyadmm.network.exported import Arguments, operation
from pyadmm.network.facts import LayerFacts
from pyadmm.network.layers import WeightedStep
from pyadmm.network.tracing.builder import Builder, Handler
from pyadmm.network.tracing.normalisation import spread
from pyadmm.network.tracing.permutations import channels_last
from pyadmm.network.tracing.values import NO_PADDING, Shape, Value, numbers, shifts


def _convolution(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    value = builder.read(arguments["input"], node)
    weight, bias = (builder.tensor(arguments[key], node) for key in ("weight", "bias"))
    assert weight is not None
    lines = weight.ndim == 3
    if lines:
        weight = weight[:, :, None]
    sizes = [numbers(arguments[key], 2 - lines) for key in ("stride", "dilation")]
    stride, dilation = (pair(([1] if lines else []) + size) for size in sizes)
    padding = _padding(arguments["padding"], tuple(weight.shape[2:]), dilation, lines)
    groups = arguments["groups"]
    wide = tuple(p + q for p, q in zip(padding, value.padding, strict=True))
    builder.map_of(value, node)
    if any(wide) and shifts(value):
        value = builder.settled_affine(value, node)
    value, shape = replace(value, padding=NO_PADDING), builder.maps[value.step]
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    if value.gain is not None:
        weight, bias = _taken_up(value, weight, bias, groups)
    name = builder.name(node)
    spec = LayerSpec(name, "conv", tuple(weight.shape), shape, stride, wide, groups, dilation)
    return _weighted(builder, node, spec, weight, bias, reads=value)


def _linear(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    weight = builder.tensor(arguments["weight"], node)
    bias = builder.tensor(arguments["bias"], node)
    assert weight is not None
    return _fully_connected(builder, node, arguments["input"], weight, bias)


def _matmul(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    name = operation(node)
    first, second = {"addmm": ("mat1", "mat2"), "mm": ("self", "mat2")}.get(name, ("self", "other"))
    weight = builder.tensor(arguments[second], node)
    bias = builder.tensor(arguments["self"], node) if name == "addmm" else None
    if weight is None or weight.ndim != 2:
        raise builder.refused(node, "only a constant matrix can be multiplied with")
    if bias is not None:
        bias = bias.broadcast_to((1, weight.shape[1]))[0].clone()
    return _fully_connected(builder, node, arguments[first], weight.t().contiguous(), bias)


def _gathered(value: Value, weight: Tensor, channels: int) -> Tensor:
    """The weight that reads a map instead of its averages over windows."""
    assert value.resample is not None
    rows, columns = (matrix.to(weight.dtype) for matrix in value.resample)
    whole = weight.reshape(len(weight), channels, len(rows), len(columns))
    return torch.einsum("ocij,ih,jw->ochw", whole, rows, columns).flatten(1)


def _in_order(places: Tensor, weight: Tensor) -> Tensor:
    """The weight that reads a map's values in their own order instead of those at ``places``."""
    moved = torch.empty_like(weight)
    moved[:, places.to(weight.device)] = weight
    return moved


def _fully_connected(
    builder: Builder, node: fx.Node, read: Any, weight: Tensor, bias: Tensor | None
) -> Value:
    value = builder.read(read, node)
    if value.padding != NO_PADDING:
        value = builder.settled(value, node)
    shape = builder.maps[value.step]
    if value.resample is not None:
        weight = _gathered(value, weight, shape[0])
        value = replace(value, resample=None, shape=(weight.shape[1],))
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    last = value.shape[-1] if value.shape else 0
    if math.prod(value.shape) != math.prod(shape) or last != math.prod(shape):
        if value.places is not None and last == shape[0]:
            return _pointwise(builder, node, value, weight, bias)
        raise builder.refused(
            node,
            f"reads shape {value.shape}; flatten it to a vector of {math.prod(shape)}, or use a "
            "Conv2d with kernel 1",
        )
    if value.places is not None:
        weight, value = _in_order(value.places, weight), replace(value, places=None)
    if value.gain is not None:
        weight, bias = _taken_up(value, weight, bias, 1)
    spec = LayerSpec(builder.name(node), "linear", tuple(weight.shape), shape)
    return _weighted(builder, node, spec, weight, bias, reads=value)


def _pointwise(
    builder: Builder, node: fx.Node, value: Value, weight: Tensor, bias: Tensor
) -> Value:
    """A Linear on the channels of every place of a map whose channels come last."""
    shape = builder.maps[value.step]
    assert value.places is not None
    if not torch.equal(value.places, channels_last(shape)):
        raise builder.refused(
            node, "reads a map whose axes were moved; move only its channels last"
        )
    spec = LayerSpec(builder.name(node), "conv", (*weight.shape, 1, 1), shape)
    reads = replace(value, places=None)
    made = _weighted(builder, node, spec, weight[:, :, None, None], bias, reads=reads)
    return replace(made, places=channels_last((len(weight), *shape[1:])))


def _weighted(
    builder: Builder, node: fx.Node, spec: LayerSpec, weight: Tensor, bias: Tensor, *, reads: Value
) -> Value:
    for what, tensor in (("weight", weight), ("bias", bias)):
        if not tensor.is_meta and not bool(torch.isfinite(tensor).all()):
            raise PyadmmError(
                f"layer {spec.name}: its {what} has values that are not finite; train it anew"
            )
    step = WeightedStep(LayerFacts(spec), weight.float(), bias.float())
    return builder.shaped(builder.append(spec.name, step, replace(reads, gain=None)), node)


def _padding(padding: Any, kernel: Shape, dilation: Pair, lines: bool) -> Sides:
    """Padding of all sides; that of ``same`` has its odd one at the end."""
    if padding == "valid":
        return NO_PADDING
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        top, left = (t // 2 for t in total)
        return top, left, total[0] - top, total[1] - left
    rows, columns = pair(([0] if lines else []) + numbers(padding, 2 - lines))
    return rows, columns, rows, columns


def _taken_up(value: Value, weight: Tensor, bias: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Weight and bias that read a step's very output instead of ``gain * output + shift``."""
    assert value.gain is not None
    assert value.shift is not None
    gain, shift = value.gain, value.shift
    inputs = weight.shape[1] * groups
    gain, shift = (spread(t, inputs, inputs // len(t)) for t in (gain, shift))
    outputs = len(weight) // groups
    by_group = [t.reshape(groups, 1, -1).expand(groups, outputs, -1) for t in (gain, shift)]
    factor, offset = (t.reshape(len(weight), -1, *[1] * (weight.ndim - 2)) for t in by_group)
    return weight * factor, bias + (weight * offset).flatten(1).sum(1)


OPERATIONS: dict[str, Handler] = {
    "conv1d": _convolution,
    "conv2d": _convolution,
    "linear": _linear,
    "addmm": _matmul,
    "mm": _matmul,
    "matmul": _matmul,
}
