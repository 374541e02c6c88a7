"""The ``fx`` graph that grows as the nodes of an ONNX graph are read.

Shapes are followed on torch's ``meta`` device, so a graph that asks for huge maps allocates nothing.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from pyadmm.core.errors import PyadmmError
from pyadmm.network.onnx_ops.quantizer import Array, Quantizer

_MAP_LIMIT = 1 << 28
"""Most values that one feature map may have."""


class GraphBuilder:
    """Facts of an ONNX graph, and the ``fx`` graph that is built from it.

    :param onnx: the package.
    :param proto: the model, external data loaded.
    :param path: for messages.
    """

    def __init__(self, onnx: Any, proto: Any, path: str) -> None:
        self.onnx = onnx
        self.path = path
        self.proto = proto
        self.opsets = {entry.domain: entry.version for entry in proto.opset_import}
        self.output = proto.graph.output[0].name if proto.graph.output else ""
        self.constants: dict[str, Array] = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer
        }
        self.values: dict[str, fx.Node] = {}
        self.pending: dict[str, tuple[str, Quantizer]] = {}
        """Outputs of ``QuantizeLinear``: the tensor that it reads, and the quantiser."""
        self.widths: dict[str, int] = {}
        """Bits of quantised constants."""
        self.weight_bits: dict[str, int] = {}
        """Bits of the weights of layers."""
        self.notes: list[str] = []
        self.tail: list[str] = []
        self.readers: dict[str, int] = {}
        for node in proto.graph.node:
            for name in node.input:
                self.readers[name] = self.readers.get(name, 0) + 1
        self.graph = fx.Graph()
        self.modules: dict[str, Any] = {}

    def start(self, name: str, shape: Sequence[int], rank: int, channels_last: bool) -> None:
        """Place the input ``(N, C, H, W)``, and read it as the graph does.

        :param rank: of the graph's input: 4 for maps, 3 for lines, 2 for vectors.
        :param channels_last: whether its last axis are the channels.
        """
        node = self.graph.placeholder("input")
        node.meta["example"] = torch.empty(*shape, device="meta")
        if rank == 2:
            node = self.module("input_flatten", nn.Flatten(1), node)
        elif rank == 3:
            node = self.module("input_lines", nn.Flatten(2), node)
        if channels_last:
            node = self.function(torch.permute, node, (0, *range(2, rank), 1))
        self.values[name] = node

    def finish(self) -> fx.GraphModule:
        """The module; the graph's output must have been made."""
        if self.output not in self.values:
            raise PyadmmError(
                f"{self.path}: no node gives the output {self.output!r}; export the network again"
            )
        self.graph.output(self.values[self.output])
        module = fx.GraphModule(self.modules, self.graph)
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise PyadmmError(
                    f"{self.path}: {name} must hold finite numbers, but some are NaN or infinite"
                )
        module.meta["tail"] = self.tail
        module.meta["weight_bits"] = self.weight_bits
        module.graph.eliminate_dead_code()
        module.recompile()
        return module

    def module(self, name: str, module: nn.Module, *inputs: fx.Node) -> fx.Node:
        """A call of a layer."""
        target = self._free_name(name)
        self.modules[target] = module
        made = self.graph.call_module(target, inputs)
        return self._followed(made, module, inputs)

    def function(self, function: Callable[..., Any], *inputs: Any, **options: Any) -> fx.Node:
        """A call of a function; nodes and numbers are its arguments."""
        made = self.graph.call_function(function, inputs, options)
        arguments = fx.map_arg(inputs, lambda node: node.meta["example"])
        made.meta["example"] = _small(function(*arguments, **options))
        return made

    def buffer(self, name: str, values: Array) -> fx.Node:
        """A constant that takes part in arithmetic."""
        target = self._free_name(name)
        tensor = torch.from_numpy(np.array(values, np.float32))
        self.modules[target] = tensor
        made = self.graph.get_attr(target)
        made.meta["example"] = tensor.to("meta")
        return made

    def _followed(self, made: fx.Node, module: nn.Module, inputs: Sequence[fx.Node]) -> fx.Node:
        state = {k: v.to("meta") for k, v in module.state_dict().items()}
        examples = tuple(node.meta["example"] for node in inputs)
        module.eval()
        made.meta["example"] = _small(torch.func.functional_call(module, state, examples))
        return made

    def _free_name(self, wanted: str) -> str:
        """A module path that Python and torch can hold, close to ``wanted``, not used yet."""
        parts = [_identifier(part) for part in re.sub(r"[^\w.]+", "_", wanted).split(".") if part]
        name = ".".join(parts) or "layer"
        if self._clashes(name):
            name = name.replace(".", "_")
        stem, number = name, 1
        while self._clashes(name):
            number += 1
            name = f"{stem}_{number}"
        return name

    def _clashes(self, name: str) -> bool:
        return any(
            name == other or name.startswith(f"{other}.") or other.startswith(f"{name}.")
            for other in self.modules
        )


_TAKEN = frozenset(dir(fx.GraphModule))


def _identifier(part: str) -> str:
    """``part`` such that it is neither a keyword nor something that modules have already."""
    return f"{part}_" if part in _TAKEN or keyword.iskeyword(part) else part


def _small(example: Tensor) -> Tensor:
    if example.numel() > _MAP_LIMIT:
        raise ValueError(f"a map of shape {tuple(example.shape)} is too large")
    return example
