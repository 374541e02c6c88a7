"""Batch norms and other factors and offsets by channel."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, fx

from pyadmm.network.exported import Arguments
from pyadmm.network.layers import Norm, WeightedStep, new_norm
from pyadmm.network.tracing.builder import Builder, Handler, bare, copied_norm
from pyadmm.network.tracing.values import NO_PADDING, Value, any_of


def _batch_norm(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    value = builder.read(arguments["input"], node)
    mean, var = (builder.tensor(arguments[f"running_{key}"], node) for key in ("mean", "var"))
    arguments.taken.add("cudnn_enabled")
    if mean is None or var is None:
        raise builder.refused(node, "the BatchNorm keeps no running statistics; let it track them")
    if arguments["training"]:
        raise builder.refused(
            node,
            "the BatchNorm is in training mode for good; export the module behind model.eval(), "
            "and let it track statistics",
        )
    norm = new_norm("conv", len(mean), arguments["eps"], arguments["momentum"])
    norm = norm.to(mean.device)
    weight, bias = (builder.tensor(arguments[key], node) for key in ("weight", "bias"))
    given = {"running_mean": mean, "running_var": var, "weight": weight, "bias": bias}
    for key, tensor in given.items():
        if tensor is not None:
            getattr(norm, key).data.copy_(tensor)
    norm.eval()
    step = builder.steps.get(value.step)
    if value.padding != NO_PADDING:
        value = builder.settled(value, node)
    fits = value.plain and value.sole and isinstance(step, WeightedStep)
    if fits and isinstance(step, WeightedStep) and bare(step) and step.norm is None:
        step.norm = copied_norm(norm, step.facts.spec.kind)
        return builder.shaped(value, node)
    factor, shift = _factors(norm)
    made = times(builder, value, node, factor, shift)
    if value.gain is None and made.gain is not None and len(made.gain) == len(factor):
        made = replace(made, norm=norm)
    return made


def times(builder: Builder, value: Value, node: fx.Node, gain: Tensor, shift: Tensor) -> Value:
    """``gain * value + shift``, both by channel or by value of a flattened map."""
    if value.padding != NO_PADDING and any_of(shift):
        value = builder.settled(value, node)
    size = {len(gain), len(shift)} | ({len(value.gain)} if value.gain is not None else set())
    if len(size) > 1:
        per = math.prod(builder.maps[value.step]) // min(size)
        gain, shift = (spread(t, max(size), per) for t in (gain, shift))
        if value.gain is not None and value.shift is not None:
            value = replace(
                value,
                gain=spread(value.gain, max(size), per),
                shift=spread(value.shift, max(size), per),
            )
    if value.gain is not None and value.shift is not None:
        gain, shift = value.gain * gain, value.shift * gain + shift
    step = builder.steps.get(value.step)
    mine = value.plain and value.sole and isinstance(step, WeightedStep) and bare(step)
    if mine and isinstance(step, WeightedStep) and len(gain) == len(step.bias):
        _scale_outputs(step, gain, shift)
        builder.nodes_of_steps.pop(step.name, None)  # that node gives the values before
        return value
    return replace(value, gain=gain, shift=shift, norm=None)


def _factors(norm: Norm) -> tuple[Tensor, Tensor]:
    """Gain and shift by channel that a batch norm is in evaluation mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
    return gain, norm.bias.detach() - norm.running_mean * gain


def spread(values: Tensor, size: int, per: int) -> Tensor:
    """``values`` by channel as values of a flattened map with ``per`` in each channel."""
    return values if len(values) == size else values.repeat_interleave(per)


@torch.no_grad()
def _scale_outputs(step: WeightedStep, gain: Tensor, shift: Tensor) -> None:
    """Make ``gain * y + shift`` of what ``step`` computes, in its norm or its weights."""
    if step.norm is not None:
        step.norm.weight.mul_(gain)
        step.norm.bias.mul_(gain).add_(shift)
        return
    step.weight.mul_(gain.reshape(-1, *[1] * (step.weight.ndim - 1)))
    step.bias.mul_(gain).add_(shift)


OPERATIONS: dict[str, Handler] = {
    "batch_norm": _batch_norm,
}
