"""Operators with weights: convolutions, matrix products, batch norms."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn

from pyadmm.network.onnx_ops.node import Handler, Operator
from pyadmm.network.onnx_ops.windows import pads_of, per_axis, zeros_around


def _conv(op: Operator) -> None:
    weight, bias = op.weights(1, "weight"), op.weights(2, "bias")
    if weight is None or weight.ndim not in (3, 4):
        shape = None if weight is None else tuple(weight.shape)
        raise op.error(f"only convolutions of lines and maps are supported, not weight {shape}")
    outputs, channels, *kernel = weight.shape
    groups = int(op.facts.get("group", 1))
    strides, dilations = (per_axis(op, name, len(kernel)) for name in ("strides", "dilations"))
    before, behind = pads_of(op, kernel, strides, dilations)
    kind: Any = nn.Conv1d if len(kernel) == 1 else nn.Conv2d
    module = kind(
        *(channels * groups, outputs, tuple(kernel), strides),
        *(before if before == behind else 0, dilations, groups),
        bias=bias is not None,
        device="meta",
    )
    module.weight = nn.Parameter(weight)
    if bias is not None:
        module.bias = nn.Parameter(bias)
    x = op.value(0)
    if before != behind:
        x = op.builder.module(f"{op.name}_pad", zeros_around(before, behind), x)
    op.give(op.builder.module(op.name, module, x))


def _gemm(op: Operator) -> None:
    weight, bias = op.weights(1, "weight"), op.weights(2, "bias")
    if weight is None or weight.ndim != 2 or op.facts.get("transA", 0):
        raise op.error("its weight must be a constant matrix and its input not transposed")
    weight = weight if op.facts.get("transB", 0) else weight.T
    weight = weight * float(op.facts.get("alpha", 1.0))
    if bias is not None:
        bias = bias.reshape(-1).expand(len(weight)) * float(op.facts.get("beta", 1.0))
    _linear(op, weight, bias, op.value(0))


def _linear(op: Operator, weight: Tensor, bias: Tensor | None, x: fx.Node) -> None:
    module = nn.Linear(weight.shape[1], len(weight), bias=bias is not None, device="meta")
    module.weight = nn.Parameter(weight.contiguous())
    if bias is not None:
        module.bias = nn.Parameter(bias.clone())
    op.give(op.builder.module(op.name, module, x))


def _matmul(op: Operator) -> None:
    weight = op.weights(1, "second factor")
    if weight is None or weight.ndim != 2 or op.example(0).ndim < 2:
        raise op.error("only activations times a constant matrix are supported")
    _linear(op, weight.T, None, op.value(0))


def _batch_norm(op: Operator) -> None:
    gamma, beta, mean, variance = (
        op.weights(i, what) for i, what in enumerate(("scale", "bias", "mean", "variance"), 1)
    )
    if gamma is None or beta is None or mean is None or variance is None:
        raise op.error("must have scale, bias, mean and variance")
    if op.facts.get("training_mode", 0):
        raise op.error("is in training mode; export the network in evaluation mode")
    if bool((variance < 0).any()):
        raise op.error(f"its variance must not be negative, as {float(variance.min()):.3g} is")
    kind = nn.BatchNorm2d if op.example(0).ndim == 4 else nn.BatchNorm1d
    module = kind(len(gamma), eps=float(op.facts.get("epsilon", 1e-5)))
    module.weight, module.bias = nn.Parameter(gamma), nn.Parameter(beta)
    module.running_mean, module.running_var = mean, variance
    op.layer(module)


HANDLERS: dict[str, Handler] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
}
