"""Operators that keep the values and change their shape, and joins of channels."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from pyadmm.network.onnx_ops.node import Handler, Operator


def _same(op: Operator) -> None:
    op.give(op.value(0))


def _dropout(op: Operator) -> None:
    mode = op.constant(2, "training mode")
    if mode is not None and bool(np.asarray(mode).reshape(())):
        raise op.error("is in training mode; export the network in evaluation mode")
    _same(op)


def _cast(op: Operator) -> None:
    kinds = op.builder.onnx.TensorProto
    if op.facts.get("to") not in (kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE, kinds.BFLOAT16):
        raise op.error("activations can only be cast to floating point")
    if op.facts["to"] != kinds.FLOAT:
        op.builder.notes.append(f"{op.name}: activations are computed in float32")
    _same(op)


def _flatten(op: Operator) -> None:
    if int(op.facts.get("axis", 1)) % op.example(0).ndim != 1:
        raise op.error(f"must flatten from axis 1 on, not {op.facts.get('axis')}")
    op.layer(nn.Flatten(1))


def _reshape(op: Operator) -> None:
    before = op.example(0)
    target = [int(n) for n in np.asarray(op.constant(1, "shape")).reshape(-1)]
    if not op.facts.get("allowzero", 0):
        target = [before.shape[i] if n == 0 else n for i, n in enumerate(target)]
    _to_shape(op, before.reshape(target).shape)


def _to_shape(op: Operator, shape: Sequence[int]) -> None:
    """Give the input in another ``shape``; the batch must stay first."""
    before = op.example(0).shape
    if tuple(shape) == tuple(before):
        _same(op)
    elif len(shape) == 2 and shape[0] == before[0]:
        op.layer(nn.Flatten(1))
    elif shape[0] == before[0]:
        op.give(op.builder.function(torch.reshape, op.value(0), (-1, *shape[1:])))
    else:
        raise op.error(f"the first axis must stay the batch, but {before} becomes {tuple(shape)}")


def _squeeze(op: Operator) -> None:
    shape = op.example(0).shape
    axes = op.numbers("axes", 1)
    gone = {a % len(shape) for a in axes} if axes else {i for i, n in enumerate(shape) if n == 1}
    if 0 in gone and axes is None:
        gone.discard(0)
    _to_shape(op, [n for i, n in enumerate(shape) if i not in gone])


def _unsqueeze(op: Operator) -> None:
    shape = list(op.example(0).shape)
    axes = op.numbers("axes", 1) or []
    rank = len(shape) + len(axes)
    for axis in sorted(a % rank for a in axes):
        shape.insert(axis, 1)
    _to_shape(op, shape)


def _concat(op: Operator) -> None:
    rank = op.example(0).ndim
    axis = int(op.facts.get("axis", 1)) % rank
    parts = [op.value(i) for i in range(len(op.node.input))]
    op.give(op.builder.function(torch.cat, parts, dim=axis))


def _transpose(op: Operator) -> None:
    rank = op.example(0).ndim
    axes = [int(a) % rank for a in op.facts.get("perm", range(rank)[::-1])]
    if axes[0] != 0:
        raise op.error(f"moves the batch (perm {axes}); it must stay the first axis")
    op.give(op.builder.function(torch.permute, op.value(0), axes))


def _slice(op: Operator) -> None:
    starts, ends = (op.numbers(name, i) or [] for i, name in ((1, "starts"), (2, "ends")))
    axes = op.numbers("axes", 3) or list(range(len(starts)))
    steps = op.numbers("steps", 4) or [1] * len(starts)
    parts = [slice(None)] * op.example(0).ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise op.error(f"steps must be at least 1, not {step}")
        parts[axis] = slice(start, end, step)
    op.give(op.builder.function(operator.getitem, op.value(0), tuple(parts)))


def _split(op: Operator) -> None:
    """The parts of an input, each an output."""
    axis = int(op.facts.get("axis", 0))
    size, count = op.example(0).shape[axis], len(op.node.output)
    sizes = op.numbers("split", 1) or [-(-size // count)] * (count - 1)
    sizes = sizes if len(sizes) == count else [*sizes, size - sum(sizes)]
    first = 0
    for name, length in zip(op.node.output, sizes, strict=True):
        parts = [slice(None)] * op.example(0).ndim
        parts[axis] = slice(first, first + length)
        op.builder.values[name] = op.builder.function(operator.getitem, op.value(0), tuple(parts))
        first += length


HANDLERS: dict[str, Handler] = {
    "Identity": _same,
    "Dropout": _dropout,
    "Cast": _cast,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
}
