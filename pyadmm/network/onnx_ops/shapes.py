"""Operators that keep the values and change their shape, and joins of channels."""

from __future__ import annotations

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
    if int(op.facts.get("axis", 1)) % rank != 1:
        raise op.error(f"only channels can be joined (axis 1), not axis {op.facts.get('axis')}")
    parts = [op.value(i) for i in range(len(op.node.input))]
    op.give(op.builder.function(torch.cat, parts, dim=1))


HANDLERS: dict[str, Handler] = {
    "Identity": _same,
    "Dropout": _dropout,
    "Cast": _cast,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
}
