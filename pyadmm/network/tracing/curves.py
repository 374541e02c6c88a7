"""Activations that are no clamp, and products of two maps."""

from __future__ import annotations

from typing import Any

from torch import fx

from pyadmm.network.curves import CURVES, Curve
from pyadmm.network.exported import Arguments, operation
from pyadmm.network.facts import ProductFacts
from pyadmm.network.steps import ProductStep
from pyadmm.network.tracing.builder import Builder, Handler
from pyadmm.network.tracing.values import Value

_OPTIONS = ("alpha", "beta", "threshold", "lambd", "exponent")
"""Parameters of activations, of the same names in PyTorch's functions."""
_GATED = {"sigmoid": "silu", "hardsigmoid": "hardswish"}
"""What ``x * f(x)`` is, by ``f``."""
LAZY = ("sigmoid", "tanh", "log_sigmoid")
"""Activations that are left out at the end of a network (:mod:`pyadmm.network.tracing.views`)."""


def _curve(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    value = builder.read(arguments["self"], node)
    name = operation(node).rstrip("_")
    if arguments.get("approximate") == "tanh":
        name = f"{name}_tanh"
    exponent = arguments.values.get("exponent", 2)
    if not isinstance(exponent, int | float) or exponent < 1 or exponent != int(exponent):
        raise builder.refused(node, f"the exponent must be a whole number from 1, not {exponent}")
    given = {key: float(arguments[key]) for key in _OPTIONS if key in arguments.values}
    return builder.curve(value, node, Curve(name, given))


def product(builder: Builder, node: fx.Node, first: Any, second: Any) -> Value:
    """A product of two maps, or of a map and one value for each of its channels."""
    gated = _gate(builder, node, first, second) or _gate(builder, node, second, first)
    if gated is not None:
        return gated
    a, b = builder.read(first, node), builder.read(second, node)
    name = builder.name(node)
    a, b = (builder.settled(v, node, f"{name}.{side}") for v, side in ((a, "a"), (b, "b")))
    if _by_channel(builder, a, b):
        a, b = b, a
    maps = builder.maps[a.step], builder.maps[b.step]
    if not (a.shape == b.shape and maps[0] == maps[1]) and not _by_channel(builder, b, a):
        raise builder.refused(
            node,
            f"multiplies maps of shapes {a.shape} and {b.shape}; they must be equal, or one of "
            "them must have one value for each channel of the other",
        )
    step = ProductStep(ProductFacts(name, builder.signed(a.step) or builder.signed(b.step)))
    return builder.shaped(builder.append(name, step, a, b), node)


def _by_channel(builder: Builder, factor: Value, of: Value) -> bool:
    """Whether ``factor`` has one value for each channel of the map ``of``, which has several."""
    whole = builder.maps[of.step]
    single = (whole[0], 1, 1)
    return whole != single and of.shape == whole and factor.shape == single


def _gate(builder: Builder, node: fx.Node, read: Any, gate: Any) -> Value | None:
    """``x * sigmoid(x)`` and ``x * hardsigmoid(x)`` as the one activation that they are."""
    x, factor = builder.values.get(read), builder.values.get(gate)
    if not isinstance(x, Value) or not isinstance(factor, Value) or not isinstance(gate, fx.Node):
        return None
    name = operation(gate).rstrip("_")
    if name not in _GATED or not gate.all_input_nodes or gate.all_input_nodes[0] is not read:
        return None
    return builder.curve(builder.read(read, node), node, Curve(_GATED[name], {}))


OPERATIONS: dict[str, Handler] = {
    name: _curve for stem in CURVES if stem not in LAZY for name in (stem, f"{stem}_")
}
