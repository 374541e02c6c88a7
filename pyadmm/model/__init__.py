"""The network in integers, numpy only; :meth:`CompressedModel.run` is the golden reference."""

from __future__ import annotations

from pyadmm.model.input_spec import INPUT, InputSpec
from pyadmm.model.integer import ACCUMULATOR_BITS_LIMIT, CompressedModel, Node
from pyadmm.model.joins import Add, Concat
from pyadmm.model.pointwise import Lookup, Product
from pyadmm.model.pooling import AvgPool, MaxPool
from pyadmm.model.requant import MULT_LIMIT, SHIFT_LIMIT, Requant
from pyadmm.model.weighted_layer import CompressedLayer

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
    "Lookup",
    "MaxPool",
    "Node",
    "Product",
    "Requant",
]
