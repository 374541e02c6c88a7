"""Sums, differences, products, quotients, powers and extremes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from pyadmm.network.onnx_ops.node import Handler, Operator


def _arithmetic(function: Callable[..., Any]) -> Handler:
    def handle(op: Operator) -> None:
        if len(op.tensor_inputs) == 1 and function is operator.add and _as_bias(op):
            return
        inputs = [_operand(op, place) for place in range(2)]
        op.give(op.builder.function(function, *inputs))

    return handle


def _operand(op: Operator, place: int) -> Any:
    """An input of an arithmetic operator: a value, a number, or a constant per channel."""
    name = op.node.input[place]
    if name not in op.builder.constants:
        return op.value(place)
    values = op.builder.constants[name]
    if values.size == 1:
        return float(values.reshape(()))
    return op.builder.buffer(f"{op.name}_constant", values)


def _as_bias(op: Operator) -> bool:
    """Add a constant vector to the bias of the layer before, if nothing else reads that layer."""
    place = 0 if op.node.input[1] in op.builder.constants else 1
    x, values = op.value(place), op.weights(1 - place, "summand")
    module = op.builder.modules.get(str(x.target)) if x.op == "call_module" else None
    single = op.builder.readers[op.node.input[place]] == 1
    weighted = isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
    if module is None or not weighted or not single or values is None:
        return False
    outputs = len(module.weight)
    axes = [1] * values.ndim
    channel = 1 if isinstance(module, nn.Linear) else module.weight.ndim - 1
    if values.ndim >= channel:
        axes[-channel] = outputs
    if values.numel() > 1 and tuple(values.shape) != tuple(axes):
        return False
    added = values.reshape(-1).expand(outputs)
    module.bias = nn.Parameter(added.clone() if module.bias is None else module.bias + added)
    op.give(x)
    return True


def _negated(op: Operator) -> None:
    op.give(op.builder.function(operator.neg, op.value(0)))


def _of_all(function: Callable[..., Any]) -> Handler:
    """A sum, maximum or minimum of any number of inputs."""

    def handle(op: Operator) -> None:
        inputs = [_tensor(op, place) for place in range(len(op.node.input))]
        made = inputs[0]
        for other in inputs[1:]:
            made = op.builder.function(function, made, other)
        op.give(made)

    return handle


def _tensor(op: Operator, place: int) -> fx.Node:
    """An input of an operator that takes no numbers."""
    name = op.node.input[place]
    if name not in op.builder.constants:
        return op.value(place)
    return op.builder.buffer(f"{op.name}_constant", op.builder.constants[name])


def _pow(op: Operator) -> None:
    exponent = op.constant(1, "exponent")
    if exponent is None or exponent.size != 1:
        raise op.error("its exponent must be one number")
    op.give(op.builder.function(operator.pow, op.value(0), float(exponent.reshape(()))))


HANDLERS: dict[str, Handler] = {
    "Add": _arithmetic(operator.add),
    "Sub": _arithmetic(operator.sub),
    "Mul": _arithmetic(operator.mul),
    "Div": _arithmetic(operator.truediv),
    "Neg": _negated,
    "Pow": _pow,
    "Sum": _of_all(torch.add),
    "Max": _of_all(torch.maximum),
    "Min": _of_all(torch.minimum),
}
