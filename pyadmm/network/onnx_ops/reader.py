"""Reads one node of an ONNX graph: a standard torch layer, a function, or a constant.

Nodes whose inputs are all constants are evaluated at once; every other node is one call in an ``fx``
graph.
"""

from __future__ import annotations

from typing import Any

from pyadmm.core.errors import PyadmmError
from pyadmm.network.onnx_ops import (
    activations,
    arithmetic,
    pools,
    quantisation,
    shapes,
    weighted,
)
from pyadmm.network.onnx_ops.builder import GraphBuilder
from pyadmm.network.onnx_ops.folding import fold, folds
from pyadmm.network.onnx_ops.node import Handler, Operator

_HANDLERS: dict[str, Handler] = {
    **weighted.HANDLERS,
    **activations.HANDLERS,
    **pools.HANDLERS,
    **shapes.HANDLERS,
    **arithmetic.HANDLERS,
    **quantisation.HANDLERS,
}


def read_node(builder: GraphBuilder, node: Any) -> None:
    """Add one node, or fold it."""
    op = Operator(builder, node)
    constant = folds(op)
    handler = fold if constant else _handler(op)
    try:
        handler(op)
    except PyadmmError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise op.error(f"does not fit its input: {reason}") from error
    if not constant:
        _note_bits(builder, node)


_REMEDIES = {
    **dict.fromkeys(
        ("QLinearConv", "QLinearMatMul", "QLinearAdd", "ConvInteger", "MatMulInteger"),
        "quantise it in the QDQ format, with QuantizeLinear and DequantizeLinear",
    ),
    **dict.fromkeys(("LayerNormalization", "InstanceNormalization"), "use BatchNormalization"),
    **dict.fromkeys(("GroupNormalization", "LpNormalization"), "use BatchNormalization"),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "Loop", "Scan"), "use convolutions"),
}
"""What to do about an operator that is not supported."""


def _handler(op: Operator) -> Handler:
    handler = _HANDLERS.get(op.kind) if op.known_domain else None
    if handler is None:
        domain = f" of domain {op.node.domain}" if op.node.domain else ""
        remedy = _REMEDIES.get(op.kind, "supported are: " + ", ".join(sorted(_HANDLERS)))
        raise op.error(f"{op.node.op_type}{domain} is not supported; {remedy}")
    return handler


def _note_bits(builder: GraphBuilder, node: Any) -> None:
    """Remember the bits of a layer's weights, if they are quantised."""
    made = builder.values.get(node.output[0])
    if made is not None and made.op == "call_module":
        for name in node.input[1:2]:
            if name in builder.widths:
                builder.weight_bits[str(made.target)] = builder.widths[name]
