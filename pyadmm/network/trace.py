"""From a torch module to a :class:`~pyadmm.network.graph.Network`.

Traced with ``torch.fx``. Supported: Conv2d, Linear, BatchNorm (right after one of these), ReLU,
MaxPool2d, AvgPool2d, AdaptiveAvgPool2d to 1x1, residual sums, shortcuts that subsample and pad
channels with zeros, Flatten, Dropout and Identity (no effect here), and their functional forms.
Everything else is refused by name.
"""

from __future__ import annotations

import contextlib
import io
import operator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata

from pyadmm.core.errors import PyadmmError
from pyadmm.model import INPUT, InputSpec
from pyadmm.model.types import LayerSpec
from pyadmm.network.graph import Network
from pyadmm.network.layers import (
    AddFacts,
    AddStep,
    LayerFacts,
    Norm,
    PoolFacts,
    PoolStep,
    ShortcutFacts,
    ShortcutStep,
    Step,
    WeightedStep,
    new_norm,
)
from pyadmm.training.devices import device_of

SUPPORTED = (
    "Conv2d, Linear, BatchNorm, ReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d(1), residual sums, "
    "subsampling and zero-padded channels, Flatten, Dropout, Identity"
)
Shape = tuple[int, int, int]

_IGNORED = (nn.Dropout, nn.Dropout2d, nn.Identity, nn.Flatten)
_FLATTEN: tuple[Any, ...] = (torch.flatten, "flatten", "view", "reshape", "contiguous", "squeeze")
_ADD: tuple[Any, ...] = (operator.add, operator.iadd, torch.add, "add", "add_")
_RELU: tuple[Any, ...] = (F.relu, torch.relu, "relu", "relu_")


def trace(model: nn.Module, input_spec: InputSpec) -> Network:
    """The :class:`Network` that computes what ``model`` computes in evaluation mode.

    It is on the model's device.

    :raises PyadmmError: for an operation or a topology that is not supported; it names the node.
    """
    model = model.eval()
    try:
        graph = fx.symbolic_trace(model)
        # torch prints its own traceback of a node that fails.
        with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):
            _Recorder(graph).propagate(torch.zeros(1, *input_spec.shape, device=device_of(model)))
        _with_numbers(graph)
    except (TypeError, RuntimeError, ValueError, torch.fx.proxy.TraceError) as error:
        raise PyadmmError(
            f"model {type(model).__name__}: cannot be traced on an input of shape "
            f"{input_spec.shape}: {str(error).splitlines()[0]}"
        ) from error
    return _Builder(input_spec, graph).build()


class _Recorder(ShapeProp):
    """Notes the shape of every tensor and the value of every number, such as ``x.size(3)``."""

    def run_node(self, n: fx.Node) -> Any:
        """Run one node on the example."""
        try:
            result = super().run_node(n)
        except RuntimeError as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise RuntimeError(f"layer {n.target}: {reason}") from error
        n.meta["number"] = result if isinstance(result, int | tuple) else None
        return result


def _with_numbers(graph: fx.GraphModule) -> None:
    """Put the numbers that the example gave into the arguments, where nodes computed them."""
    for node in graph.graph.nodes:
        if "tensor_meta" in node.meta:
            numbers = fx.map_arg((node.args, node.kwargs), _number)
            node.args, node.kwargs = numbers


def _number(node: fx.Node) -> Any:
    number = node.meta.get("number")
    return node if not isinstance(number, int) else number


class _Builder:
    """Collects steps while the nodes of the graph go by."""

    def __init__(self, input_spec: InputSpec, graph: fx.GraphModule) -> None:
        self.input = input_spec
        self.graph = graph
        self.steps: dict[str, Step] = {}
        self.sources: dict[str, tuple[str, ...]] = {}
        self.made: dict[fx.Node, str] = {}
        """The step (or the input) whose output a node of the graph is."""
        self.maps: dict[str, Shape] = {INPUT: input_spec.shape}
        """``(C, H, W)`` of every step's output; flattening does not change it."""

    def build(self) -> Network:
        """The network; its last step must be a weighted layer without ReLU."""
        for node in self.graph.graph.nodes:
            if node.op == "placeholder" and not self.made:
                self.made[node] = INPUT
            elif node.op == "output":
                self._finish(node)
            elif isinstance(node.meta.get("tensor_meta"), TensorMetadata):
                self._add_node(node)
        return Network(self.input, list(self.steps.values()), sources=self.sources)

    def _finish(self, output: fx.Node) -> None:
        ends = [self.made[node] for node in output.all_input_nodes if node in self.made]
        last = self.steps.get(ends[0]) if len(ends) == 1 else None
        if not isinstance(last, WeightedStep) or last.facts.relu or last.facts.pool:
            raise PyadmmError("model: must end with a Conv2d or Linear that gives the logits")
        self._check_padded_pools()
        unread = set(self.steps) - {s for read in self.sources.values() for s in read}
        if unread != {last.name}:
            raise PyadmmError(f"layer {min(unread - {last.name})}: nothing reads its output")
        last.facts = replace(last.facts, last=True)
        if last.norm is not None:  # the logits have one scale, so the norm cannot stay per channel
            weight, bias = last.folded()
            last.weight.data.copy_(weight)
            last.bias.data.copy_(bias)
            last.norm = None

    def _check_padded_pools(self) -> None:
        """A maximum pads with zeros, which must not win over negative values."""
        for name, step in self.steps.items():
            if isinstance(step, WeightedStep):
                pool, signed = step.facts.pool, not step.facts.relu
            else:
                pool = step.facts if isinstance(step, PoolStep) else None
                signed = self._signed(self.sources[name][0])
            if pool is not None and pool.padding and signed:
                raise PyadmmError(f"layer {pool.name}: a padded maximum must have a ReLU before it")

    def _add_node(self, node: fx.Node) -> None:
        module = self.graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        name = str(node.target) if module is not None else self._name(node)
        read = [n for n in node.all_input_nodes if n in self.made]
        if node.target in _ADD and module is None:
            self._sum(name, node, read)
            return
        if len(read) != 1:
            what = ", ".join(n.name for n in node.all_input_nodes) or "no earlier layer"
            raise PyadmmError(
                f"node {name}: reads {what}; only a residual sum may join maps, and every layer "
                f"must read the input or an earlier layer"
            )
        (before,) = read
        if isinstance(module, nn.Conv2d | nn.Linear):
            self._append(node, _weighted(name, module, self.maps[self.made[before]]), before)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            self._norm(name, module, before)
        elif isinstance(module, nn.ReLU) or node.target in _RELU:
            self._relu(name, before)
        elif (shortcut := _shortcut(name, node, before)) is not None:
            self._shortcut(node, shortcut, before)
        elif (pool := _pool_facts(name, node, module, _shape(before))) is not None:
            self._pool(node, pool, before)
        elif not self._has_no_effect(node, module, before):
            kind = type(module).__name__ if module is not None else _function_name(node.target)
            raise PyadmmError(f"layer {name}: {kind} is not supported; supported are: {SUPPORTED}")
        self.made.setdefault(node, self.made[before])
        shape = _shape(node)
        if len(shape) not in (1, 3):
            raise PyadmmError(f"layer {name}: gives shape {shape}; flatten to a vector instead")
        if len(shape) == 3:
            self.maps[self.made[node]] = shape

    def _name(self, node: fx.Node) -> str:
        """A name for a function: its own, within the module that calls it."""
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path = stack[-1][0] if stack and isinstance(stack[-1], tuple) else ""
        stem = _function_name(node.target)
        wanted = f"{path}.{stem}" if path else node.name
        taken = {*self.steps, INPUT}
        number = 1
        name = wanted
        while name in taken:
            number += 1
            name = f"{wanted}{number}"
        return name

    def _append(self, node: fx.Node, step: Step, *before: fx.Node) -> None:
        if step.name in self.steps:
            raise PyadmmError(f"layer {step.name}: is used twice; a layer must be used once")
        self.steps[step.name] = step
        self.sources[step.name] = tuple(self.made[n] for n in before)
        self.made[node] = step.name
        shape = _shape(node)
        self.maps[step.name] = (*shape, *[1] * (3 - len(shape)))  # type: ignore[assignment]

    def _sole(self, name: str, before: fx.Node) -> Step | None:
        """The step that gives ``before``, which nothing but the present node may read."""
        users = [user for user in before.users if "tensor_meta" in user.meta]
        step = self.steps.get(self.made[before])
        if step is not None and len(users) > 1:
            raise PyadmmError(
                f"layer {name}: follows {step.name}, whose output is also read by "
                f"{', '.join(user.name for user in users[1:])}; both must read the same values"
            )
        return step

    def _norm(self, name: str, module: Norm, before: fx.Node) -> None:
        step = self._sole(name, before)
        plain = isinstance(step, WeightedStep) and step.norm is None
        if not isinstance(step, WeightedStep) or not plain or step.facts.relu or step.facts.pool:
            raise PyadmmError(f"layer {name}: a BatchNorm must directly follow Conv2d or Linear")
        step.norm = _copied_norm(step, module)

    def _relu(self, name: str, before: fx.Node) -> None:
        step = self._sole(name, before)
        maximum = isinstance(step, PoolStep) and step.facts.kind == "max"
        if step is None or maximum or isinstance(step, ShortcutStep):
            raise PyadmmError(
                f"layer {name}: a ReLU must follow a weighted layer, its pool or a sum"
            )
        step.facts = replace(step.facts, relu=True)

    def _pool(self, node: fx.Node, pool: PoolFacts, before: fx.Node) -> None:
        step = self.steps.get(self.made[before])
        users = [user for user in before.users if "tensor_meta" in user.meta]
        merges = isinstance(step, WeightedStep) and step.facts.pool is None and len(users) == 1
        if pool.kind == "max" and merges and isinstance(step, WeightedStep):
            step.facts = replace(step.facts, pool=pool)
            return
        signed = self._signed(self.made[before])
        self._append(node, PoolStep(replace(pool, signed=signed)), before)

    def _signed(self, name: str) -> bool:
        """Whether the output of step ``name`` has negative values."""
        step = self.steps.get(name)
        if step is None:
            return self.input.format.signed
        if step.output is None:
            return self._signed(self.sources[name][0])
        return step.output.signed

    def _sum(self, name: str, node: fx.Node, read: list[fx.Node]) -> None:
        if len(node.args) != 2 or len(read) != 2 or node.kwargs:
            raise PyadmmError(
                f"layer {name}: only the plain sum of two different maps can be added"
            )
        shapes = [_shape(n) for n in read]
        if shapes[0] != shapes[1]:
            raise PyadmmError(f"layer {name}: cannot add maps of shapes {shapes[0]}, {shapes[1]}")
        self._append(node, AddStep(AddFacts(name)), *read)

    def _shortcut(self, node: fx.Node, facts: ShortcutFacts, before: fx.Node) -> None:
        """Append a shortcut, or widen the one that it goes on."""
        step = self.steps.get(self.made[before])
        if isinstance(step, ShortcutStep) and len(before.users) == 1:
            step.facts = replace(
                step.facts,
                stride=step.facts.stride * facts.stride,
                before=step.facts.before + facts.before,
                after=step.facts.after + facts.after,
            )
        else:
            self._append(node, ShortcutStep(facts), before)

    def _has_no_effect(self, node: fx.Node, module: nn.Module | None, before: fx.Node) -> bool:
        if isinstance(module, _IGNORED) or node.target is F.dropout:
            return True
        if module is None and node.target in _FLATTEN:
            return True
        return isinstance(module, nn.AdaptiveAvgPool2d) and _shape(node) == _shape(before)


def _shape(node: fx.Node) -> tuple[int, ...]:
    """Shape of what ``node`` gives, the batch left out."""
    return tuple(node.meta["tensor_meta"].shape[1:])


def _function_name(target: Any) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


def _weighted(name: str, module: nn.Conv2d | nn.Linear, shape: Shape) -> Step:
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
    bias = module.bias if module.bias is not None else module.weight.new_zeros(len(module.weight))
    return WeightedStep(LayerFacts(spec), module.weight, bias)


@torch.no_grad()
def _copied_norm(step: WeightedStep, norm: Norm) -> Norm:
    """``norm`` with all its tensors, for ``step``."""
    if norm.running_mean is None or norm.running_var is None:
        raise PyadmmError(f"layer {step.name}: its BatchNorm keeps no running statistics")
    copied = new_norm(step.facts.spec.kind, len(step.bias), norm.eps, norm.momentum)
    for name, value in norm.state_dict().items():
        copied.state_dict()[name].copy_(value)
    return copied


def _shortcut(name: str, node: fx.Node, before: fx.Node) -> ShortcutFacts | None:
    """The shortcut that ``node`` is, if it is one: ``x[:, :, ::s, ::s]`` or padded channels."""
    shape = _shape(before)
    if len(shape) != 3:
        return None
    if node.target is operator.getitem:
        return _subsampling(name, node.args[1], shape)
    if node.target is F.pad:
        return _padded_channels(name, node, shape)
    return None


def _subsampling(name: str, index: Any, shape: Shape) -> ShortcutFacts:
    every = slice(None)
    parts = list(index) if isinstance(index, tuple) else [index]
    parts += [every] * (4 - len(parts))
    stride = parts[-1].step if isinstance(parts[-1], slice) else None
    if parts != [every, every, *[slice(None, None, stride)] * 2]:
        raise PyadmmError(f"layer {name}: only x[:, :, ::s, ::s] can be taken of a map")
    return ShortcutFacts(name, shape, stride=stride or 1)


def _padded_channels(name: str, node: fx.Node, shape: Shape) -> ShortcutFacts:
    names = ("input", "pad", "mode", "value")
    given: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    pad = [*given["pad"], *[0] * 8][:8]
    plain = given.get("mode", "constant") == "constant" and (given.get("value") or 0) == 0
    if not plain or any(pad[:4]) or any(pad[6:]) or min(pad) < 0:
        raise PyadmmError(f"layer {name}: only channels of zeros can be padded, not {given['pad']}")
    return ShortcutFacts(name, shape, before=pad[4], after=pad[5])


def _pool_facts(
    name: str, node: fx.Node, module: nn.Module | None, shape: tuple[int, ...]
) -> PoolFacts | None:
    """The pool that ``node`` is, if it is one."""
    if (target := _adaptive_size(node, module)) is not None:
        if target == shape[1:]:
            return None
        if target != (1, 1) or len(shape) != 3 or shape[1] != shape[2]:
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
    padding = _square(name, "padding", options["padding"])
    if (options.get("dilation", 1), options.get("ceil_mode", False)) != (1, False):
        raise PyadmmError(f"layer {name}: a pool must have no dilation or ceil_mode")
    if padding and kind == "avg":
        raise PyadmmError(f"layer {name}: an average must have no padding")
    return PoolFacts(name, kind, kernel, stride, padding=padding)


def _adaptive_size(node: fx.Node, module: nn.Module | None) -> tuple[int, int] | None:
    """Size of the map that an adaptive or whole-map average gives; ``None`` for other nodes."""
    size: Any
    if isinstance(module, nn.AdaptiveAvgPool2d):
        size = module.output_size
    elif node.target is F.adaptive_avg_pool2d:
        size = node.kwargs.get("output_size", node.args[-1])
    elif node.target in ("mean", torch.mean):
        axes = node.kwargs.get("dim", node.args[-1])
        whole = axes in ((2, 3), [2, 3], (-2, -1), [-2, -1], (-1, -2), [-1, -2])
        size = 1 if whole else 0
    else:
        return None
    return tuple(size) if isinstance(size, tuple | list) else (size, size)


def _square(name: str, field: str, value: Any) -> int:
    """The one number that a square ``value`` is made of."""
    numbers = set(value) if isinstance(value, tuple | list) else {value}
    if len(numbers) != 1 or not isinstance(number := numbers.pop(), int):
        raise PyadmmError(f"layer {name}: {field} must be the same in both directions, not {value}")
    return number
