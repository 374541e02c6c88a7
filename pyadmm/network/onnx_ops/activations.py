"""Activation functions, and those at the end of a network, which are dropped."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from pyadmm.network.onnx_ops.node import Handler, Operator

_TAILS = ("Softmax", "LogSoftmax", "Sigmoid", "ArgMax")
"""Operators that are dropped at the end of a network: they keep the order of the logits."""


def _clip(op: Operator) -> None:
    lo, hi = (_limit(op, place, name) for place, name in ((1, "min"), (2, "max")))
    op.layer(_clamp(lo, hi))


def _limit(op: Operator, place: int, name: str) -> float:
    found = op.constant(place, name)
    value = op.facts.get(name) if found is None else float(np.asarray(found).reshape(()))
    missing = -math.inf if name == "min" else math.inf
    limit = missing if value is None else float(value)
    return missing if abs(limit) >= float(np.finfo(np.float32).max) else limit


def _clamp(lo: float, hi: float) -> nn.Module:
    if (lo, hi) == (0.0, math.inf):
        return nn.ReLU()
    if (lo, hi) == (0.0, 6.0):
        return nn.ReLU6()
    return nn.Identity() if (lo, hi) == (-math.inf, math.inf) else nn.Hardtanh(lo, hi)


def _leaky(op: Operator) -> None:
    op.layer(nn.LeakyReLU(float(op.facts.get("alpha", 0.01))))


def _prelu(op: Operator) -> None:
    slope = op.weights(1, "slope")
    if slope is None:
        raise op.error("must have a slope")
    module = nn.PReLU(slope.numel())
    module.weight = nn.Parameter(slope.reshape(-1))
    op.layer(module)


def _curve(make: Callable[..., nn.Module], **defaults: float) -> Handler:
    """An activation with parameters, which ONNX and torch call alike.

    :param defaults: those of ONNX.
    """

    def handle(op: Operator) -> None:
        given = {key: float(op.facts.get(key, value)) for key, value in defaults.items()}
        op.layer(make(**given))

    return handle


def _selu(op: Operator) -> None:
    """torch's SELU has the constants of the paper, ONNX' may have others."""
    own = {"alpha": 1.6732632, "gamma": 1.0507010}
    for key, value in own.items():
        if abs(float(op.facts.get(key, value)) - value) > 1e-6:
            raise op.error(f"{key} must be {value}, as in torch, not {op.facts[key]}")
    op.layer(nn.SELU())


def _hard_sigmoid(op: Operator) -> None:
    """``clamp(alpha x + beta, 0, 1)``; torch's own has ``alpha`` 1/6."""
    alpha, beta = float(op.facts.get("alpha", 0.2)), float(op.facts.get("beta", 0.5))
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        op.layer(nn.Hardsigmoid())
        return
    scaled = op.builder.function(operator.mul, op.value(0), alpha)
    moved = op.builder.function(operator.add, scaled, beta)
    op.give(op.builder.module(op.name, nn.Hardtanh(0.0, 1.0), moved))


def _gelu(op: Operator) -> None:
    op.layer(nn.GELU(approximate=op.facts.get("approximate", b"none").decode()))


def _softplus(op: Operator) -> None:
    """torch's is linear above its threshold, ONNX' nowhere; 30 makes no difference in float32."""
    op.layer(nn.Softplus(threshold=30.0))


def _pointwise(function: Callable[..., Any]) -> Handler:
    return lambda op: op.give(op.builder.function(function, op.value(0)))


def _simple(make: Callable[[], nn.Module]) -> Handler:
    return lambda op: op.layer(make())


def _tail(op: Operator) -> None:
    """An activation behind the logits, which is dropped; elsewhere only a sigmoid is a layer."""
    if op.at_end:
        op.builder.tail.append(op.kind)
        op.builder.notes.append(
            f"{op.kind} at the end is left out: the network gives the logits before it"
        )
        op.give(op.value(0))
    elif op.kind == "Sigmoid":
        op.layer(nn.Sigmoid())
    else:
        raise op.error(f"{op.kind} is supported at the end of a network only")


HANDLERS: dict[str, Handler] = {
    "Relu": _simple(nn.ReLU),
    "Clip": _clip,
    "LeakyRelu": _leaky,
    "PRelu": _prelu,
    "Tanh": _simple(nn.Tanh),
    "HardSwish": _simple(nn.Hardswish),
    "HardSigmoid": _hard_sigmoid,
    "Mish": _simple(nn.Mish),
    "Gelu": _gelu,
    "Elu": _curve(nn.ELU, alpha=1.0),
    "Celu": _curve(nn.CELU, alpha=1.0),
    "Selu": _selu,
    "Softplus": _softplus,
    "Erf": _pointwise(torch.erf),
    "Abs": _pointwise(torch.abs),
    "Exp": _pointwise(torch.exp),
    "Sin": _pointwise(torch.sin),
    "Cos": _pointwise(torch.cos),
    **dict.fromkeys(_TAILS, _tail),
}
