"""The network in integers, numpy only; :meth:`CompressedModel.run` is the golden reference."""

from __future__ import annotations

from pyadmm.model.integer import (
    ACCUMULATOR_BITS_LIMIT,
    INPUT,
    MULT_LIMIT,
    SHIFT_LIMIT,
    Add,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    Concat,
    InputSpec,
    MaxPool,
    Node,
    Requant,
)

__all__ = [
    "ACCUMULATOR_BITS_LIMIT",
    "INPUT",
    "MULT_LIMIT",
    "SHIFT_LIMIT",
    "Add",
    "AvgPool",
    "CompressedLayer",
    "CompressedModel",
    "Concat",
    "InputSpec",
    "MaxPool",
    "Node",
    "Requant",
]
