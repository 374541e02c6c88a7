"""One node of an ONNX graph, with the interface that the handlers of operators use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from pyadmm.core.errors import PyadmmError
from pyadmm.network.onnx_ops.builder import GraphBuilder
from pyadmm.network.onnx_ops.quantizer import Array

QONNX_DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas")
"""Domains of the operators of QONNX, old and new."""


_KEEP_VALUES = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Dropout")


class Operator:
    """One ONNX node with its attributes, and what the builder knows about its inputs."""

    def __init__(self, builder: GraphBuilder, node: Any) -> None:
        self.builder = builder
        self.node = node
        self.kind: str = node.op_type
        self.facts = {a.name: builder.onnx.helper.get_attribute_value(a) for a in node.attribute}
        self.name: str = node.name or (node.output[0] if node.output else node.op_type)

    def error(self, text: str) -> PyadmmError:
        """The error that says ``text`` about this node."""
        return PyadmmError(f"{self.builder.path}: node {self.name}: {text}")

    @property
    def known_domain(self) -> bool:
        """Whether the operator is ONNX' own or QONNX'."""
        if self.kind == "Quant":
            return self.node.domain in QONNX_DOMAINS
        return self.node.domain in ("", "ai.onnx")

    @property
    def tensor_inputs(self) -> list[str]:
        """Inputs that are not constants."""
        return [name for name in self.node.input if name and name not in self.builder.constants]

    def value(self, place: int) -> fx.Node:
        """The ``fx`` node of an input that is no constant."""
        name = self.node.input[place]
        found = self.builder.values.get(name)
        if found is None:
            if name in self.builder.pending:
                raise self.error(
                    f"reads the integers {name!r}; a QuantizeLinear must be followed by a "
                    "DequantizeLinear, other integer operators are not supported"
                )
            raise self.error(f"reads {name!r}, which no earlier node gives")
        return found

    def example(self, place: int) -> Tensor:
        """A tensor of the shape of an input, without data."""
        example: Tensor = self.value(place).meta["example"]
        return example

    def constant(self, place: int, what: str) -> Array | None:
        """A constant input; ``None`` where it is left out."""
        if place >= len(self.node.input) or not self.node.input[place]:
            return None
        name = self.node.input[place]
        if name not in self.builder.constants:
            raise self.error(f"its {what} must be a constant, but {name!r} is computed")
        return self.builder.constants[name]

    def weights(self, place: int, what: str) -> Tensor | None:
        """A constant input in float32, its own memory."""
        values = self.constant(place, what)
        return None if values is None else torch.from_numpy(np.array(values, np.float32))

    def numbers(self, name: str, place: int) -> list[int] | None:
        """Whole numbers that are an attribute in old operator sets and an input in new ones."""
        if name in self.facts:
            given = self.facts[name]
            return list(given) if isinstance(given, Sequence) else [given]
        found = self.constant(place, name)
        return None if found is None else [int(v) for v in np.asarray(found).reshape(-1)]

    def give(self, value: fx.Node) -> None:
        """Set the node's output."""
        self.builder.values[self.node.output[0]] = value

    def layer(self, module: nn.Module, *, suffix: str = "") -> None:
        """Give what ``module`` makes of the first input."""
        self.give(self.builder.module(self.name + suffix, module, self.value(0)))

    @property
    def at_end(self) -> bool:
        """Whether the node gives the network's output, perhaps in another shape or type."""
        name = self.node.output[0]
        while name != self.builder.output:
            readers = [node for node in self.builder.proto.graph.node if name in node.input]
            if len(readers) != 1 or readers[0].op_type not in _KEEP_VALUES:
                return False
            name = readers[0].output[0]
        return True


Handler = Callable[[Operator], None]
"""Adds what an operator becomes to the builder; raises ``PyadmmError`` where it is not supported."""
