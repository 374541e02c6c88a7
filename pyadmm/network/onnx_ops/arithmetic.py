"""Sums, differences, products and quotients of two inputs."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from torch import nn

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
    if not isinstance(module, nn.Linear | nn.Conv2d) or not single or values is None:
        return False
    outputs = len(module.weight)
    axes = [1] * values.ndim
    channel = 1 if isinstance(module, nn.Linear) else 3
    if values.ndim >= channel:
        axes[-channel] = outputs
    if values.numel() > 1 and tuple(values.shape) != tuple(axes):
        return False
    added = values.reshape(-1).expand(outputs)
    module.bias = nn.Parameter(added.clone() if module.bias is None else module.bias + added)
    op.give(x)
    return True


HANDLERS: dict[str, Handler] = {
    "Add": _arithmetic(operator.add),
    "Sub": _arithmetic(operator.sub),
    "Mul": _arithmetic(operator.mul),
    "Div": _arithmetic(operator.truediv),
}
