"""``QuantizeLinear``/``DequantizeLinear`` pairs and QONNX ``Quant`` nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pyadmm.network.onnx_ops.node import Handler, Operator
from pyadmm.network.onnx_ops.quantizer import Array, Quantizer

_WIDEST = 32
"""Most bits of a quantiser."""
_QONNX_ROUNDINGS = {"ROUND": "even", "FLOOR": "floor", "CEIL": "ceil", "ROUND_TO_ZERO": "trunc"}


def _quantize_linear(op: Operator) -> None:
    scale, zero = op.constant(1, "scale"), op.constant(2, "zero point")
    if scale is None:
        raise op.error("must have a scale")
    kind = np.dtype(np.uint8) if zero is None else zero.dtype
    if kind.kind not in "iu":
        raise op.error(f"only integers can be quantised to, not {kind}")
    facts = np.iinfo(kind)
    shape = [1] * op.example(0).ndim
    if scale.size > 1:
        shape[int(op.facts.get("axis", 1))] = scale.size
    zeros = np.zeros(1) if zero is None else zero
    sizes = [np.asarray(v, np.float32).reshape(shape if v.size > 1 else 1) for v in (scale, zeros)]
    quantizer = Quantizer(sizes[0], sizes[1], int(facts.min), int(facts.max))
    op.builder.pending[op.node.output[0]] = op.node.input[0], quantizer


def _dequantize_linear(op: Operator) -> None:
    found = op.builder.pending.get(op.node.input[0])
    if found is None:
        raise op.error("reads integers that no QuantizeLinear gives")
    source, quantizer = found
    scale = op.constant(1, "scale")
    if scale is None or not np.array_equal(scale.reshape(-1), quantizer.scale.numpy().reshape(-1)):
        raise op.error("its scale must be that of the QuantizeLinear before it")
    op.give(op.builder.module(op.name, quantizer, op.builder.values[source]))


def _quant(op: Operator) -> None:
    op.layer(_qonnx_quantizer(op))


def _qonnx_quantizer(op: Operator) -> Quantizer:
    """That of a QONNX ``Quant`` node: inputs x, scale, zero point, bit width."""
    scale, zero = op.constant(1, "scale"), op.constant(2, "zero point")
    if scale is None or zero is None:
        raise op.error("must have a scale, a zero point and a bit width")
    bits = bit_width(op)
    mode = op.facts.get("rounding_mode", b"ROUND").decode().upper()
    if mode not in _QONNX_ROUNDINGS:
        raise op.error(f"rounding mode {mode} is not supported")
    lo, hi = quant_range(bits, op.facts)
    rounding = _QONNX_ROUNDINGS[mode]
    return Quantizer(scale, zero, lo, hi, rounding=rounding, late_zero=False)


def quant_range(bits: int, facts: Mapping[str, Any]) -> tuple[int, int]:
    """The least and the greatest integer of a ``Quant`` node with attributes ``facts``.

    >>> quant_range(4, {}), quant_range(4, {"signed": 0}), quant_range(4, {"narrow": 1})
    ((-8, 7), (0, 15), (-7, 7))
    """
    signed, narrow = bool(facts.get("signed", 1)), bool(facts.get("narrow", 0))
    steps = 1 << (bits - signed)
    return -steps + narrow if signed else 0, steps - 1 - (narrow and not signed)


def bit_width(op: Operator) -> int:
    """The bit width of a ``Quant`` node; an error where it is not a whole number up to 32."""
    width = op.constant(3, "bit width")
    bits = None if width is None else float(np.asarray(width).reshape(-1)[0])
    if bits is None or not (1 <= bits <= _WIDEST and bits == int(bits)):
        raise op.error(f"its bit width must be a whole number from 1 to {_WIDEST}, not {bits}")
    return int(bits)


def quantised_constant(op: Operator) -> Array:
    """What a ``Quant`` node makes of a constant tensor, float32."""
    values = op.weights(0, "tensor")
    assert values is not None
    result: Array = _qonnx_quantizer(op)(values).numpy()
    return result


HANDLERS: dict[str, Handler] = {
    "QuantizeLinear": _quantize_linear,
    "DequantizeLinear": _dequantize_linear,
    "Quant": _quant,
}
