"""Nodes whose inputs are all constants: they are evaluated when the file is read."""

from __future__ import annotations

import math

import numpy as np

from pyadmm.model.onnx import package
from pyadmm.network.onnx_ops.node import Operator
from pyadmm.network.onnx_ops.quantisation import bit_width, quantised_constant
from pyadmm.network.onnx_ops.quantizer import Array

_CONSTANT_LIMIT = 1 << 26
"""Most values that one folded constant may have."""
_FOLDED = frozenset(
    {"Cast", "CastLike", "Identity", "Constant", "ConstantOfShape", "Reshape", "Transpose"}
    | {"Squeeze", "Unsqueeze", "Flatten", "Gather", "Concat", "Slice", "Split", "Expand", "Range"}
    | {"Mul", "Add", "Sub", "Div", "Sqrt", "Neg", "Abs", "Pow", "Exp", "Log", "Reciprocal"}
    | {"Floor", "Ceil", "Round", "Clip", "Max", "Min", "Equal", "Where", "MatMul", "Gemm"}
    | {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "Shape", "Size"}
    | {"QuantizeLinear", "DequantizeLinear"}
)
_REARRANGED = ("Transpose", "Reshape", "Identity", "Cast", "Squeeze", "Unsqueeze", "Flatten")
"""Operators that keep the values of a constant."""


def folds(op: Operator) -> bool:
    """Whether the node gives a constant."""
    if op.kind == "Shape" and op.node.input[0] in op.builder.values:
        shape = op.example(0).shape
        start, end = op.facts.get("start", 0), op.facts.get("end", len(shape))
        op.builder.constants[op.node.output[0]] = np.array(shape[start:end], np.int64)
        op.builder.readers[op.node.input[0]] -= 1
        op.node = op.builder.onnx.helper.make_node(
            "Identity", [op.node.output[0]], [op.node.output[0]]
        )
        op.kind = "Identity"
        return True
    constant = all(name in op.builder.constants for name in op.node.input if name)
    return constant and op.known_domain and (op.kind in _FOLDED or op.kind == "Quant")


def fold(op: Operator) -> None:
    """Evaluate a node whose inputs are all constants; its outputs become constants."""
    builder = op.builder
    inputs = {name: builder.constants[name] for name in op.node.input if name}
    _fold_width(op)
    if op.kind == "Quant":
        builder.constants[op.node.output[0]] = quantised_constant(op)
        return
    _limit_constants(op, list(inputs.values()))
    opsets = {**builder.opsets, "": builder.opsets.get("", builder.opsets.get("ai.onnx", 17))}
    evaluator = package("onnx.reference").ReferenceEvaluator(op.node, opsets=opsets)
    results = evaluator.run(None, inputs)
    builder.constants.update(zip(op.node.output, results, strict=True))


def _fold_width(op: Operator) -> None:
    """Bits of a constant that is quantised, or that holds the values of one that is."""
    read = op.node.input[0] if op.node.input else ""
    if op.kind == "Quant":
        width = bit_width(op)
    elif op.kind == "DequantizeLinear":
        width = op.builder.constants[read].dtype.itemsize * 8
    elif op.kind in _REARRANGED and read in op.builder.widths:
        width = op.builder.widths[read]
    else:
        return
    op.builder.widths[op.node.output[0]] = width


def _limit_constants(op: Operator, inputs: list[Array]) -> None:
    """Refuse constants whose folding would need memory out of proportion to the file."""
    size = 0
    if op.kind in ("Expand", "ConstantOfShape"):
        size = math.prod(int(n) for n in inputs[-1].reshape(-1)[:16])
    elif op.kind == "Range":
        start, limit, delta = (float(x) for x in inputs)
        size = int((limit - start) / delta) if delta else 0
    elif inputs and op.kind not in ("Concat", "Gather", "Slice"):
        try:
            size = math.prod(np.broadcast_shapes(*(x.shape for x in inputs)))
        except ValueError:
            size = 0
    if not -_CONSTANT_LIMIT <= size <= _CONSTANT_LIMIT:
        raise op.error(f"gives a constant of {size} values; at most {_CONSTANT_LIMIT} are read")
