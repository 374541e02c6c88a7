"""From any chain-shaped torch module to a :class:`~pyadmm.network.Network`.

Traced with ``torch.fx``. Supported: Conv2d, Linear, BatchNorm (folded into the layer before it),
ReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d(1), Flatten, Dropout and Identity (no effect here),
and their functional forms. Everything else is refused by name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from pyadmm.errors import PyadmmError
from pyadmm.model import InputSpec
from pyadmm.network import LayerFacts, Network, PoolFacts, PoolStep, Step, WeightedStep
from pyadmm.spec import LayerSpec

SUPPORTED = (
    "Conv2d, Linear, BatchNorm, ReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d(1), Flatten, "
    "Dropout, Identity"
)
_IGNORED = (nn.Dropout, nn.Dropout2d, nn.Identity, nn.Flatten)
_FLATTEN: tuple[Any, ...] = (torch.flatten, "flatten", "view", "reshape")


def trace(model: nn.Module, input_spec: InputSpec) -> Network:
    """The :class:`Network` that computes what ``model`` computes in evaluation mode.

    :raises PyadmmError: for an operation or a topology that is not supported; it names the node.
    """
    model = model.eval()
    try:
        graph = fx.symbolic_trace(model)
        with torch.no_grad():
            ShapeProp(graph).propagate(torch.zeros(1, *input_spec.shape))
    except (TypeError, RuntimeError, ValueError, torch.fx.proxy.TraceError) as error:
        raise PyadmmError(
            f"model {type(model).__name__}: cannot be traced on an input of shape "
            f"{input_spec.shape}: {str(error).splitlines()[0]}"
        ) from error
    builder = _Builder(input_spec)
    previous: fx.Node | None = None
    for node in graph.graph.nodes:
        if node.op == "placeholder" and previous is None:
            previous = node
        elif node.op == "output":
            break
        elif isinstance(node.meta.get("tensor_meta"), fx.passes.shape_prop.TensorMetadata):
            _require_chain(node, previous)
            builder.add(node, graph)
            previous = node
    return builder.finish()


def _require_chain(node: fx.Node, previous: fx.Node | None) -> None:
    tensors = [n for n in node.all_input_nodes if "tensor_meta" in n.meta]
    if tensors != [previous]:
        raise PyadmmError(
            f"node {node.name}: only a chain of layers is supported, but it reads "
            f"{', '.join(n.name for n in tensors) or 'no earlier layer'}"
        )


class _Builder:
    """Collects steps while the nodes of the graph go by."""

    def __init__(self, input_spec: InputSpec) -> None:
        self.input = input_spec
        self.steps: list[Step] = []
        self.shape: tuple[int, ...] = input_spec.shape
        self.fresh = False
        """Whether the last node was a convolution or linear layer (a BatchNorm may follow)."""

    def add(self, node: fx.Node, graph: fx.GraphModule) -> None:
        """Take one node of the chain."""
        module = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        name = str(node.target) if module is not None else node.name
        fresh, self.fresh = self.fresh, False
        if isinstance(module, nn.Conv2d | nn.Linear):
            self._weighted(name, module)
            self.fresh = True
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            if not fresh:
                raise PyadmmError(
                    f"layer {name}: a BatchNorm must directly follow Conv2d or Linear"
                )
            _fold_batch_norm(self.steps[-1], module)
        elif isinstance(module, nn.ReLU) or node.target in (F.relu, torch.relu, "relu"):
            self._relu(name)
        elif (pool := _pool_facts(name, node, module, self.shape)) is not None:
            self._pool(pool)
        elif isinstance(module, _IGNORED) or node.target is F.dropout:
            self.fresh = fresh
        elif module is None and node.target in _FLATTEN:
            pass
        else:
            kind = type(module).__name__ if module is not None else str(node.target)
            raise PyadmmError(f"layer {name}: {kind} is not supported; supported are: {SUPPORTED}")
        shape = tuple(node.meta["tensor_meta"].shape[1:])
        if len(shape) == 3 or isinstance(module, nn.Linear):
            self.shape = shape
        elif len(shape) != 1:
            raise PyadmmError(f"layer {name}: gives shape {shape}; flatten to a vector instead")

    def finish(self) -> Network:
        """The network; its last step must be a weighted layer without ReLU."""
        last = self.steps[-1] if self.steps else None
        if not isinstance(last, WeightedStep) or last.facts.relu or last.facts.pool:
            raise PyadmmError("model: must end with a Conv2d or Linear that gives the logits")
        last.facts = replace(last.facts, last=True)
        return Network(self.input, self.steps)

    def _weighted(self, name: str, module: nn.Conv2d | nn.Linear) -> None:
        shape = self.shape if len(self.shape) == 3 else (self.shape[0], 1, 1)
        weight_shape = tuple(module.weight.shape)
        if isinstance(module, nn.Linear):
            spec = LayerSpec(name, "linear", weight_shape, shape)
        else:
            stride, padding = _square(name, "stride", module.stride), module.padding
            if isinstance(padding, str) or module.padding_mode != "zeros":
                raise PyadmmError(f"layer {name}: padding must be a number of zeros, not {padding}")
            if _square(name, "dilation", module.dilation) != 1:
                raise PyadmmError(f"layer {name}: dilation is not supported; use 1")
            padded = _square(name, "padding", padding)
            spec = LayerSpec(name, "conv", weight_shape, shape, stride, padded, module.groups)
        bias = module.bias if module.bias is not None else torch.zeros(len(module.weight))
        self.steps.append(WeightedStep(LayerFacts(spec), module.weight, bias))

    def _relu(self, name: str) -> None:
        last = self.steps[-1] if self.steps else None
        if last is None or (isinstance(last, PoolStep) and last.facts.kind == "max"):
            raise PyadmmError(f"layer {name}: a ReLU must follow a weighted layer or its pool")
        last.facts = replace(last.facts, relu=True)

    def _pool(self, pool: PoolFacts) -> None:
        last = self.steps[-1] if self.steps else None
        if pool.kind == "max" and isinstance(last, WeightedStep) and last.facts.pool is None:
            last.facts = replace(last.facts, pool=pool)
        else:
            self.steps.append(PoolStep(pool))


def _fold_batch_norm(step: Step, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    """``gamma (w x + b - mean) / sqrt(var + eps) + beta`` as new weight and bias."""
    assert isinstance(step, WeightedStep)
    if norm.running_mean is None or norm.running_var is None:
        raise PyadmmError(f"layer {step.name}: its BatchNorm keeps no running statistics")
    gamma = norm.weight if norm.weight is not None else torch.ones_like(norm.running_var)
    beta = norm.bias if norm.bias is not None else torch.zeros_like(norm.running_mean)
    factor = (gamma / torch.sqrt(norm.running_var + norm.eps)).detach()
    with torch.no_grad():
        step.weight.mul_(factor.reshape(-1, *[1] * (step.weight.ndim - 1)))
        step.bias.copy_((step.bias - norm.running_mean) * factor + beta)


def _pool_facts(
    name: str, node: fx.Node, module: nn.Module | None, shape: tuple[int, ...]
) -> PoolFacts | None:
    """The pool that ``node`` is, if it is one."""
    if isinstance(module, nn.AdaptiveAvgPool2d):
        if module.output_size not in (1, (1, 1)) or shape[1] != shape[2]:
            raise PyadmmError(f"layer {name}: only a square map can be averaged, to 1x1")
        return PoolFacts(name, "avg", shape[1], shape[1])
    kinds: dict[Any, str] = {F.max_pool2d: "max", F.avg_pool2d: "avg"}
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        kind = "max" if isinstance(module, nn.MaxPool2d) else "avg"
        options = {k: getattr(module, k, None) for k in ("kernel_size", "stride", "padding")}
        options |= {k: getattr(module, k, d) for k, d in (("dilation", 1), ("ceil_mode", False))}
    elif node.target in kinds:
        kind = kinds[node.target]
        given = dict(zip(("kernel_size", "stride", "padding"), node.args[1:], strict=False))
        options = {"stride": None, "padding": 0, **given, **node.kwargs}
    else:
        return None
    kernel = _square(name, "kernel_size", options["kernel_size"])
    stride = kernel if not options["stride"] else _square(name, "stride", options["stride"])
    plain = (options.get("dilation", 1), options.get("ceil_mode", False)) == (1, False)
    if _square(name, "padding", options["padding"]) != 0 or not plain:
        raise PyadmmError(f"layer {name}: a pool must have no padding, dilation or ceil_mode")
    return PoolFacts(name, kind, kernel, stride)


def _square(name: str, field: str, value: Any) -> int:
    """The one number that a square ``value`` is made of."""
    numbers = set(value) if isinstance(value, tuple | list) else {value}
    if len(numbers) != 1 or not isinstance(number := numbers.pop(), int):
        raise PyadmmError(f"layer {name}: {field} must be the same in both directions, not {value}")
    return number
