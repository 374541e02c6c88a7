"""From a torch module to a :class:`~pyadmm.network.graph.Network`.

The module's operations (:mod:`pyadmm.network.exported`) become steps one by one. What is affine
per channel (batch norms, ``(x - mean) / std``) and zeros around a map wait until the operation that
reads them can take them up; where it cannot, they become steps of their own. The network is then
compared with the module, step by step (:mod:`pyadmm.network.comparison`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx, nn

from pyadmm.core.errors import PyadmmError
from pyadmm.model import INPUT, InputSpec
from pyadmm.model.types import LayerSpec, Pair, Sides, pair, positions
from pyadmm.network.comparison import compare
from pyadmm.network.exported import (
    Arguments,
    Listing,
    bound,
    calling_module,
    example_of,
    listing,
    operation,
)
from pyadmm.network.graph import Network
from pyadmm.network.layers import (
    NO_ACTIVATION,
    Activation,
    AddFacts,
    AddStep,
    AffineFacts,
    AffineStep,
    ConcatFacts,
    ConcatStep,
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
from pyadmm.network.names import step_name

SUPPORTED = (
    "Conv1d, Conv2d, Linear, BatchNorm, ReLU, ReLU6, Hardtanh, LeakyReLU, MaxPool2d, AvgPool2d, "
    "adaptive pools, sums, concatenated channels, constant padding with zeros, constants per "
    "channel, Flatten, Dropout, and a softmax or sigmoid at the end"
)
Shape = tuple[int, ...]
Map = tuple[int, int, int]
NO_PADDING: Sides = (0, 0, 0, 0)
LOGIT_BITS = 16
"""Width of logits that a step without weights gives."""


def trace(model: nn.Module, input_spec: InputSpec) -> Network:
    """The :class:`Network` that computes what ``model`` computes in evaluation mode.

    It is on the model's device. :attr:`Network.notes` says what was left out.

    :raises PyadmmError: for an operation that is not supported, naming the layer, and where the
        network does not compute what the module does.
    """
    listed = listing(model, example_of(model, input_spec.shape))
    builder = _Builder(input_spec, listed)
    network = builder.build()
    compare(network, listed, builder.nodes_of_steps, builder.logits)
    return network


@dataclass(frozen=True)
class _Value:
    """What a node of the graph gives: ``pad(gain * output + shift)`` of a step.

    :param shape: of the tensor, without the batch; values are in the order of the step's map.
    :param gain: by channel of the map, or by value of a flattened map.
    :param norm: the batch norm that gain and shift are, if they are just that.
    :param padding: zeros around the map, after gain and shift.
    :param sole: nothing else reads the step's output.
    :param ended: the operation at the end that does not change the order of logits.
    """

    step: str
    shape: Shape
    gain: Tensor | None = None
    shift: Tensor | None = None
    norm: Norm | None = None
    padding: Sides = NO_PADDING
    sole: bool = True
    ended: str = ""

    @property
    def plain(self) -> bool:
        """Whether it is the step's very output."""
        return self.gain is None and self.padding == NO_PADDING


class _Builder:
    """Collects steps while the operations go by."""

    def __init__(self, input_spec: InputSpec, listed: Listing) -> None:
        self.input = input_spec
        self.listed = listed
        self.steps: dict[str, Step] = {}
        self.sources: dict[str, tuple[str, ...]] = {}
        self.maps: dict[str, Map] = {INPUT: input_spec.shape}
        self.flat: set[str] = set()
        """Steps whose outputs are vectors ``(N, K)``, not maps."""
        self.values: dict[fx.Node, Any] = {}
        """A :class:`_Value`, a list of them, or a constant."""
        self.nodes_of_steps: dict[str, fx.Node] = {}
        """The last node that gives a step's very output."""
        self.logits: fx.Node
        self.notes: list[str] = []
        owners = (self._owner(node) for node in listed.graph.nodes)
        self.taken = {step_name(name, ()) for name in owners if name}
        """Names of steps, of pools within them, and of weighted layers to come."""

    # --- the walk ----------------------------------------------------------------------------

    def build(self) -> Network:
        """The network; its last step gives the logits."""
        for node in self.listed.graph.nodes:
            if node.op == "placeholder":
                self._placeholder(node)
            elif node.op == "output":
                self._finish(node)
            elif node.users or operation(node).endswith("_"):
                self._operation(node)
        self._prune()
        steps = list(self.steps.values())
        return Network(self.input, steps, sources=self.sources, notes=tuple(self.notes))

    def _placeholder(self, node: fx.Node) -> None:
        if node.name == self.listed.input:
            self.values[node] = _Value(INPUT, _shape(node))
        elif node.name in self.listed.constants:
            self.values[node] = self.listed.constants[node.name].detach()
        else:
            raise PyadmmError(f"model: forward takes {node.name} too; it must take one tensor")

    def _operation(self, node: fx.Node) -> None:
        if node.op != "call_function":
            raise PyadmmError(f"model: {node.name} ({node.op}) is not supported in a forward")
        if not any(self._is_value(read) for read in node.all_input_nodes):
            self.values[node] = self._constant(node)
            return
        name = operation(node)
        handler = _OPERATIONS.get(name)
        if handler is None:
            raise self._unsupported(node)
        if name == "getitem":
            arguments = Arguments({"list": node.args[0], "place": node.args[1]}, {})
        else:
            arguments = bound(node)
        made = handler(self, node, arguments)
        unread = arguments.unread()
        if unread:
            listed = ", ".join(f"{key}={value}" for key, value in unread.items())
            raise self._refused(node, f"{listed} is not supported")
        if isinstance(made, _Value):
            if name.endswith("_") and isinstance(node.args[0], fx.Node):
                self.values[node.args[0]] = made  # who reads it later reads the changed tensor
            if made.plain and not made.ended:
                self.nodes_of_steps[made.step] = node
        self.values[node] = made

    def _constant(self, node: fx.Node) -> Any:
        """What an operation on constants gives."""
        values = fx.map_arg((node.args, node.kwargs), lambda read: self.values[read])
        return node.target(*values[0], **values[1])  # type: ignore[operator]

    def _is_value(self, node: Any) -> bool:
        return isinstance(node, fx.Node) and isinstance(self.values.get(node), _Value | list)

    def _read(self, node: Any, reader: fx.Node) -> _Value:
        """The value of an argument, which must be computed from the input."""
        value = self.values.get(node) if isinstance(node, fx.Node) else None
        if not isinstance(value, _Value):
            raise self._refused(reader, "reads a constant where a map must be")
        if value.ended:
            raise self._refused(reader, f"follows {value.ended}, which may only end the network")
        return replace(value, sole=value.sole and len(node.users) == 1)

    def _owner(self, node: fx.Node) -> str:
        """Name of the layer that a node's weight belongs to; empty for other nodes."""
        if node.op != "call_function" or operation(node) not in _WEIGHTED:
            return ""
        weight = bound(node).values.get("weight")
        name = self.listed.owners.get(weight.name, "") if isinstance(weight, fx.Node) else ""
        return name.removesuffix("weight").rstrip(".")

    # --- names and errors --------------------------------------------------------------------

    def _name(self, node: fx.Node) -> str:
        """A step's name: its weight's owner, its module, or the operation within its module."""
        owner = self._owner(node)
        if owner:
            return step_name(owner, ())
        path, kind = calling_module(node)
        stem = operation(node).rstrip("_")
        wanted = path if path and kind.startswith("torch.nn.modules.") else f"{path}.{stem}"
        return step_name(wanted.lstrip("."), self.taken)

    def _refused(self, node: fx.Node, reason: str) -> PyadmmError:
        path, kind = calling_module(node)
        leaf = bool(path) and kind.startswith("torch.nn.modules.")
        name = path if leaf else f"{path}.{operation(node)}".lstrip(".")
        return PyadmmError(f"layer {name}: {reason}")

    def _unsupported(self, node: fx.Node) -> PyadmmError:
        path, kind = calling_module(node)
        leaf = bool(path) and kind.startswith("torch.nn.modules.")
        what = kind.rpartition(".")[2] if leaf else operation(node)
        if what.lower() in _ACTIVATIONS:
            return self._refused(node, f"{what} is not supported; use ReLU, ReLU6 or LeakyReLU")
        return self._refused(node, f"{what} is not supported; supported are: {SUPPORTED}")

    # --- steps -------------------------------------------------------------------------------

    def _append(self, name: str, step: Step, *read: _Value) -> _Value:
        """A new step that reads plain values."""
        if name in self.steps:
            raise PyadmmError(f"layer {name}: is used twice; a layer must be used once")
        self.steps[name] = step
        self.taken.add(name)
        self.sources[name] = tuple(value.step for value in read)
        self.maps[name] = _output_map(step.facts, [self.maps[value.step] for value in read])
        linear = isinstance(step, WeightedStep) and step.facts.spec.kind == "linear"
        if linear or (
            not isinstance(step, WeightedStep) and any(v.step in self.flat for v in read)
        ):
            self.flat.add(name)
        return _Value(name, self.maps[name])

    def _shaped(self, value: _Value, node: fx.Node) -> _Value:
        """``value`` as the tensor that ``node`` gives."""
        return replace(value, shape=_shape(node))

    def _free(self, wanted: str) -> str:
        """A step's name that is free."""
        name = step_name(wanted, self.taken)
        self.taken.add(name)
        return name

    def _settled(self, value: _Value, node: fx.Node, name: str = "") -> _Value:
        """``value`` as a step's very output: what waits becomes steps of its own."""
        value = self._settled_affine(value, node, name)
        if value.padding == NO_PADDING:
            return value
        made = self._free(f"{name or self._name(node)}.pad")
        facts = ShortcutFacts(made, self.maps[value.step], padding=value.padding)
        plain = replace(value, padding=NO_PADDING)
        return replace(self._append(made, ShortcutStep(facts), plain), shape=value.shape)

    def _settled_affine(self, value: _Value, node: fx.Node, name: str = "") -> _Value:
        """``value`` without gain and shift; its padding goes on waiting."""
        if value.gain is None:
            return value
        name = self._free(name or f"{self._name(node)}.in")
        return self._affine_step(value, node, NO_ACTIVATION, name)

    def _affine_step(
        self, value: _Value, node: fx.Node, activation: Activation, name: str
    ) -> _Value:
        """A step of gain, shift and an activation; the padding goes on waiting."""
        shape = self.maps[value.step]
        if value.gain is not None and len(value.gain) != shape[0]:
            raise self._refused(
                node,
                "reads a flattened map that has a factor for every value, which only a Linear "
                "takes; use one for every channel",
            )
        norm = value.norm
        if norm is not None:
            norm = _copied(norm, "linear" if value.step in self.flat else "conv")
        step = AffineStep(AffineFacts(name, shape, activation), value.gain, value.shift, norm)
        step.to(self.listed.example.device)
        plain = replace(value, gain=None, padding=NO_PADDING)
        return replace(self._append(name, step, plain), shape=value.shape, padding=value.padding)

    def _signed(self, name: str) -> bool:
        """Whether the output of step ``name`` has negative values."""
        step = self.steps.get(name)
        if step is None:
            return self.input.format.signed
        if isinstance(step, ShortcutStep) or step.output is None:
            return self._signed(self.sources[name][0])
        return step.output.signed

    # --- weighted layers -----------------------------------------------------------------------

    def _convolution(self, node: fx.Node, arguments: Arguments) -> _Value:
        value = self._read(arguments["input"], node)
        weight, bias = (self._tensor(arguments[key], node) for key in ("weight", "bias"))
        assert weight is not None
        lines = weight.ndim == 3
        if lines:
            weight = weight[:, :, None]
        sizes = [_numbers(arguments[key], 2 - lines) for key in ("stride", "dilation")]
        stride, dilation = (pair(([1] if lines else []) + size) for size in sizes)
        padding = self._padding(arguments["padding"], tuple(weight.shape[2:]), dilation, lines)
        groups = arguments["groups"]
        wide = tuple(p + q for p, q in zip(padding, value.padding, strict=True))
        self._map(value, node)
        if any(wide) and _shifts(value):
            value = self._settled_affine(value, node)
        value, shape = replace(value, padding=NO_PADDING), self.maps[value.step]
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        if value.gain is not None:
            weight, bias = _taken_up(value, weight, bias, groups)
        name = self._name(node)
        spec = LayerSpec(name, "conv", tuple(weight.shape), shape, stride, wide, groups, dilation)
        return self._weighted(node, spec, weight, bias, value)

    def _linear(self, node: fx.Node, arguments: Arguments) -> _Value:
        weight = self._tensor(arguments["weight"], node)
        bias = self._tensor(arguments["bias"], node)
        assert weight is not None
        return self._fully_connected(node, arguments["input"], weight, bias)

    def _matmul(self, node: fx.Node, arguments: Arguments) -> _Value:
        name = operation(node)
        first, second = {"addmm": ("mat1", "mat2"), "mm": ("self", "mat2")}.get(
            name, ("self", "other")
        )
        weight = self._tensor(arguments[second], node)
        bias = self._tensor(arguments["self"], node) if name == "addmm" else None
        if weight is None or weight.ndim != 2:
            raise self._refused(node, "only a constant matrix can be multiplied with")
        if bias is not None:
            bias = bias.broadcast_to((1, weight.shape[1]))[0].clone()
        return self._fully_connected(node, arguments[first], weight.t().contiguous(), bias)

    def _fully_connected(
        self, node: fx.Node, read: Any, weight: Tensor, bias: Tensor | None
    ) -> _Value:
        value = self._read(read, node)
        if value.padding != NO_PADDING:
            value = self._settled(value, node)
        shape = self.maps[value.step]
        if value.shape != (math.prod(shape),):
            raise self._refused(
                node, f"reads shape {value.shape}; flatten it to a vector of {math.prod(shape)}"
            )
        bias = weight.new_zeros(len(weight)) if bias is None else bias
        if value.gain is not None:
            weight, bias = _taken_up(value, weight, bias, 1)
        spec = LayerSpec(self._name(node), "linear", tuple(weight.shape), shape)
        return self._weighted(node, spec, weight, bias, value)

    def _weighted(
        self, node: fx.Node, spec: LayerSpec, weight: Tensor, bias: Tensor, value: _Value
    ) -> _Value:
        for what, tensor in (("weight", weight), ("bias", bias)):
            if not tensor.is_meta and not bool(torch.isfinite(tensor).all()):
                raise PyadmmError(
                    f"layer {spec.name}: its {what} has values that are not finite; train it anew"
                )
        step = WeightedStep(LayerFacts(spec), weight.float(), bias.float())
        return self._shaped(self._append(spec.name, step, replace(value, gain=None)), node)

    def _padding(self, padding: Any, kernel: Shape, dilation: Pair, lines: bool) -> Sides:
        """Padding of all sides; that of ``same`` has its odd one at the end."""
        if padding == "valid":
            return NO_PADDING
        if padding == "same":
            total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
            top, left = (t // 2 for t in total)
            return top, left, total[0] - top, total[1] - left
        rows, columns = pair(([0] if lines else []) + _numbers(padding, 2 - lines))
        return rows, columns, rows, columns

    def _map(self, value: _Value, node: fx.Node) -> Map:
        """The map that ``value`` is; refused where it is another view of the step's values."""
        shape = self.maps[value.step]
        top, left, bottom, right = value.padding
        whole = (shape[0], shape[1] + top + bottom, shape[2] + left + right)
        given = value.shape
        if len(given) == 2 and whole[1] == 1:  # a line is a map of one row
            given = (given[0], 1, given[1])
        if given != whole:
            raise self._refused(
                node,
                f"reads a map of {shape} as if it were one of {value.shape}; only flatten "
                "before a Linear is supported",
            )
        return shape

    def _tensor(self, node: Any, reader: fx.Node) -> Tensor | None:
        """A constant argument."""
        if node is None:
            return None
        value = self.values.get(node) if isinstance(node, fx.Node) else None
        if not isinstance(value, Tensor):
            raise self._refused(reader, "its weights must not depend on the input")
        return value

    # --- what is affine per channel --------------------------------------------------------------

    def _batch_norm(self, node: fx.Node, arguments: Arguments) -> _Value:
        value = self._read(arguments["input"], node)
        mean, var = (self._tensor(arguments[f"running_{key}"], node) for key in ("mean", "var"))
        arguments.taken.add("cudnn_enabled")
        if mean is None or var is None or arguments["training"]:
            raise self._refused(
                node, "the BatchNorm keeps no running statistics; let it track them"
            )
        norm = new_norm("conv", len(mean), arguments["eps"], arguments["momentum"])
        norm = norm.to(mean.device)
        weight, bias = (self._tensor(arguments[key], node) for key in ("weight", "bias"))
        given = {"running_mean": mean, "running_var": var, "weight": weight, "bias": bias}
        for key, tensor in given.items():
            if tensor is not None:
                getattr(norm, key).data.copy_(tensor)
        norm.eval()
        step = self.steps.get(value.step)
        if value.padding != NO_PADDING:
            value = self._settled(value, node)
        fits = value.plain and value.sole and isinstance(step, WeightedStep)
        if fits and isinstance(step, WeightedStep) and _bare(step) and step.norm is None:
            step.norm = _copied(norm, step.facts.spec.kind)
            return self._shaped(value, node)
        factor, shift = _factors(norm)
        made = self._times(value, node, factor, shift)
        if value.gain is None and made.gain is not None and len(made.gain) == len(factor):
            made = replace(made, norm=norm)
        return made

    def _times(self, value: _Value, node: fx.Node, gain: Tensor, shift: Tensor) -> _Value:
        """``gain * value + shift``, both by channel or by value of a flattened map."""
        if value.padding != NO_PADDING and _any(shift):
            value = self._settled(value, node)
        size = {len(gain), len(shift)} | ({len(value.gain)} if value.gain is not None else set())
        if len(size) > 1:
            per = math.prod(self.maps[value.step]) // min(size)
            gain, shift = (_spread(t, max(size), per) for t in (gain, shift))
            if value.gain is not None and value.shift is not None:
                value = replace(
                    value,
                    gain=_spread(value.gain, max(size), per),
                    shift=_spread(value.shift, max(size), per),
                )
        if value.gain is not None and value.shift is not None:
            gain, shift = value.gain * gain, value.shift * gain + shift
        step = self.steps.get(value.step)
        mine = value.plain and value.sole and isinstance(step, WeightedStep) and _bare(step)
        if mine and isinstance(step, WeightedStep) and len(gain) == len(step.bias):
            _scale_outputs(step, gain, shift)
            self.nodes_of_steps.pop(step.name, None)  # that node gives the values before
            return value
        return replace(value, gain=gain, shift=shift, norm=None)

    def _constant_or_sum(self, node: fx.Node, arguments: Arguments) -> _Value:
        """``add`` or ``sub``, of two maps or of a map and a constant."""
        sign = -1.0 if operation(node).rstrip("_") in ("sub", "rsub") else 1.0
        sign *= float(arguments["alpha"])
        first, second = arguments["self"], arguments["other"]
        if operation(node) == "rsub":
            first, second = second, first
        if self._is_value(first) and self._is_value(second):
            return self._sum(node, self._read(first, node), self._read(second, node), sign)
        if self._is_value(first):
            return self._with_constant(
                node, first, second, lambda c: (torch.ones_like(c), sign * c)
            )
        return self._with_constant(node, second, first, lambda c: (torch.full_like(c, sign), c))

    def _product(self, node: fx.Node, arguments: Arguments) -> _Value:
        """``mul`` or ``div`` of a map and a constant."""
        first, second = arguments["self"], arguments["other"]
        divides = operation(node).startswith("div")
        if self._is_value(first) and self._is_value(second):
            raise self._refused(node, "maps that depend on the input cannot be multiplied")
        if divides and not self._is_value(first):
            raise self._refused(node, "a constant cannot be divided by a map")
        if not self._is_value(first):
            first, second = second, first
        return self._with_constant(
            node, first, second, lambda c: (1 / c if divides else c, torch.zeros_like(c))
        )

    def _negated(self, node: fx.Node, arguments: Arguments) -> _Value:
        return self._with_constant(
            node, arguments["self"], -1.0, lambda c: (c, torch.zeros_like(c))
        )

    def _with_constant(
        self, node: fx.Node, read: Any, constant: Any, of: Callable[[Tensor], tuple[Tensor, Tensor]]
    ) -> _Value:
        value = self._read(read, node)
        constant = self.values[constant] if isinstance(constant, fx.Node) else constant
        gain, shift = of(self._by_channel(node, value, constant))
        return self._shaped(self._times(value, node, gain, shift), node)

    def _by_channel(self, node: fx.Node, value: _Value, constant: Any) -> Tensor:
        """A constant as one number for each channel (or value of a vector)."""
        like = self.listed.example
        tensor = torch.as_tensor(constant, dtype=torch.float32, device=like.device)
        shape = _shape(node)
        if shape != value.shape:
            raise self._refused(node, f"a constant makes shape {shape} of {value.shape}")
        try:
            rows = tensor.broadcast_to((1, *shape))[0].reshape(shape[0], -1)
        except RuntimeError as error:
            raise self._refused(
                node, f"a constant of shape {tuple(tensor.shape)} is not one per channel"
            ) from error
        if not rows.is_meta and not bool((rows == rows[:, :1]).all()):
            raise self._refused(node, "a constant must be one number, or one per channel")
        return rows[:, 0].clone()

    # --- activations -------------------------------------------------------------------------------

    def _relu(self, node: fx.Node, arguments: Arguments) -> _Value:
        return self._activate(node, self._read(arguments["self"], node), Activation(relu=True))

    def _clamp(self, node: fx.Node, arguments: Arguments) -> _Value:
        """ReLU6, Hardtanh and clamp."""
        value = self._read(arguments["self"], node)
        if operation(node).rstrip("_") == "relu6":
            low, high = 0.0, 6.0
        else:
            keys = ("min_val", "max_val") if "min_val" in arguments.values else ("min", "max")
            low, high = (arguments[key] for key in keys)
        if isinstance(low, fx.Node) or isinstance(high, fx.Node):
            raise self._refused(node, "must clamp to numbers, not to tensors")
        if low is None and high is not None and not self._negative(value):
            low = 0.0
        if low == 0 and (high is None or high > 0):
            return self._activate(node, value, Activation(True, high))
        if low is not None and high is not None and low == -high and high > 0:
            return self._activate(node, value, Activation(False, high))
        raise self._refused(
            node, f"clamps to {low} … {high}; the lower end must be 0 or minus the upper end"
        )

    def _negative(self, value: _Value) -> bool:
        return value.gain is not None or self._signed(value.step)

    def _activate(self, node: fx.Node, value: _Value, activation: Activation) -> _Value:
        """``value`` behind an activation: as part of its step, or as a step of its own."""
        value = self._shaped(value, node)
        if value.gain is not None:
            if activation == Activation(True) and _positive(value.gain) and not _shifts(value):
                inner = replace(value, gain=None, shift=None, norm=None)
                inner = self._activate(node, inner, activation)
                return replace(inner, gain=value.gain, shift=value.shift)
            return self._affine_step(value, node, activation, self._name(node))
        if activation == Activation(True) and not self._signed(value.step):
            return value
        step = self.steps.get(value.step)
        own = None if step is None or isinstance(step, ShortcutStep) else _activation(step)
        joined = None if own is None else _joined(own, activation)
        if value.sole and joined is not None and step is not None:
            facts: Any = step.facts
            step.facts = replace(facts, activation=joined)
            return value
        return self._affine_step(value, node, activation, self._name(node))

    def _leaky(self, node: fx.Node, arguments: Arguments) -> _Value:
        """``slope * x + (1 - slope) * relu(x)``."""
        value = self._read(arguments["self"], node)
        if operation(node).startswith("prelu"):
            slopes = self._tensor(arguments["weight"], node)
            assert slopes is not None
            if slopes.is_meta or bool((slopes != slopes[0]).any()):
                raise self._refused(node, "a PReLU must have one slope for all channels")
            slope = float(slopes[0])
        else:
            slope = float(arguments["negative_slope"])
        if not 0 <= slope < 1:
            raise self._refused(node, f"the slope below 0 must be 0 to 1, not {slope}")
        if slope == 0:
            return self._activate(node, value, Activation(True))
        name = self._name(node)
        value = self._settled(value, node)
        if not self._signed(value.step):
            return self._shaped(value, node)
        part = replace(value, sole=False)
        positive = self._affine_step(part, node, Activation(True), self._free(f"{name}.relu"))
        step = AddStep(AddFacts(name, gains=(slope, 1 - slope)))
        return self._shaped(self._append(name, step, value, positive), node)

    # --- pools ---------------------------------------------------------------------------------------

    def _max_pool(self, node: fx.Node, arguments: Arguments) -> _Value:
        value = self._read(arguments["self"], node)
        window = self._window(node, arguments, value)
        if value.gain is not None and not _positive(value.gain):
            value = self._settled_affine(value, node)
        zeros_count = self._signed(value.step) or value.gain is not None
        if value.padding != NO_PADDING and (zeros_count or self._overhangs(window, value)):
            value = self._settled(value, node)
        padding = _plus(window.padding, value.padding)
        pool = PoolFacts(self._name(node), "max", window.kernel, window.stride, padding)
        return self._maximum(node, value, pool)

    def _maximum(self, node: fx.Node, value: _Value, pool: PoolFacts) -> _Value:
        """A max-pool, in the stage of the layer before it where nothing else reads that."""
        step, plain = self.steps.get(value.step), replace(value, gain=None, padding=NO_PADDING)
        if value.sole and isinstance(step, WeightedStep) and step.facts.pool is None:
            step.facts = replace(step.facts, pool=pool)
            self.taken.add(pool.name)
            self.maps[step.name] = _output_map(step.facts, [])
            made = plain
        else:
            pool = replace(pool, signed=self._signed(value.step))
            made = self._append(pool.name, PoolStep(pool), plain)
        return self._shaped(replace(made, gain=value.gain, shift=value.shift), node)

    @staticmethod
    def _overhangs(window: _Window, value: _Value) -> bool:
        """Whether a window may lie outside the map, on zeros only."""
        padding = _plus(window.padding, value.padding)
        return any(p >= k for p, k in zip(padding, window.kernel * 2, strict=True))

    def _average_pool(self, node: fx.Node, arguments: Arguments) -> _Value:
        value = self._read(arguments["self"], node)
        window = self._window(node, arguments, value)
        if value.padding != NO_PADDING and self._overhangs(window, value):
            value = self._settled(value, node)
        counted = window.declared if arguments["count_include_pad"] else NO_PADDING
        padding, border = _plus(window.padding, value.padding), _plus(counted, value.padding)
        pool = PoolFacts(self._name(node), "avg", window.kernel, window.stride, padding)
        divisor = arguments.get("divisor_override")
        if divisor is not None:
            pool = replace(pool, divisor=int(divisor))
        elif border != padding:
            pool = replace(pool, border=border)
        return self._average(node, value, pool)

    def _average(self, node: fx.Node, value: _Value, pool: PoolFacts) -> _Value:
        """An average pool; it commutes with gains, and with shifts where it counts all values."""
        whole = pool.divisor is None and pool.padding == NO_PADDING
        if _shifts(value) and not whole:
            value = self._settled_affine(value, node)
        if value.gain is not None and len(value.gain) != self.maps[value.step][0]:
            value = self._settled_affine(value, node)
        pool = replace(pool, signed=self._signed(value.step))
        plain = replace(value, gain=None, padding=NO_PADDING)
        made = self._append(pool.name, PoolStep(pool), plain)
        return self._shaped(replace(made, gain=value.gain, shift=value.shift), node)

    def _window(self, node: fx.Node, arguments: Arguments, value: _Value) -> _Window:
        """Kernel, stride and padding of a pool with what ``ceil_mode`` adds at the ends."""
        shape = self._map(value, node)
        lines = "1d" in operation(node)
        first = [1] if lines else []
        kernel = pair(first + _numbers(arguments["kernel_size"], 2 - lines))
        strides = arguments["stride"]
        stride = pair(first + _numbers(strides, 2 - lines)) if strides else kernel
        around = pair(([0] if lines else []) + _numbers(arguments["padding"], 2 - lines))
        if set(_numbers(arguments.get("dilation", 1), 2 - lines)) != {1}:
            raise self._refused(node, "a pool must have dilation 1")
        declared: Sides = (*around, *around)
        whole = [
            size + value.padding[axis] + value.padding[axis + 2]
            for axis, size in enumerate(shape[1:])
        ]
        extra = [0, 0]
        if arguments["ceil_mode"]:
            extra = [
                _beyond(size, p, k, s)
                for size, p, k, s in zip(whole, around, kernel, stride, strict=True)
            ]
        padding = _plus(declared, (0, 0, extra[0], extra[1]))
        return _Window(kernel, stride, padding, declared)

    def _adaptive(self, node: fx.Node, arguments: Arguments) -> Any:
        """An adaptive pool whose windows have one size and one distance."""
        value = self._read(arguments["self"], node)
        if value.padding != NO_PADDING:
            value = self._settled(value, node)
        shape = self._map(value, node)
        lines = "1d" in operation(node)
        wanted = arguments["output_size"]
        size = list(wanted) if isinstance(wanted, list | tuple) else [wanted] * (2 - lines)
        size = ([1] if lines else []) + size
        kinds = [
            _even_windows(n, n if k is None else k) for n, k in zip(shape[1:], size, strict=True)
        ]
        if any(kind is None for kind in kinds):
            raise self._refused(
                node,
                f"windows of different sizes make {tuple(size)} of {shape[1:]}; choose a size "
                "that divides the map",
            )
        kernel, stride = (pair([kind[i] for kind in kinds if kind]) for i in (0, 1))
        maximum = operation(node).startswith("adaptive_max")
        return self._windows(node, value, kernel, stride, "max" if maximum else "avg")

    def _windows(
        self, node: fx.Node, value: _Value, kernel: Pair, stride: Pair, kind: str
    ) -> _Value:
        """A pool without padding; nothing where its windows hold one value."""
        if kernel == (1, 1):
            return self._shaped(value, node)
        facts = PoolFacts(self._name(node), kind, kernel, stride)
        if kind == "avg":
            return self._average(node, value, facts)
        if value.gain is not None and not _positive(value.gain):
            value = self._settled_affine(value, node)
        return self._maximum(node, value, facts)

    def _mean(self, node: fx.Node, arguments: Arguments) -> _Value:
        """``mean``, ``sum`` or ``amax`` over rows, columns or both."""
        value = self._read(arguments["self"], node)
        arguments.taken.add("keepdim")
        if value.padding != NO_PADDING:
            value = self._settled(value, node)
        shape = self.maps[value.step]
        axes = arguments["dim"]
        axes = [axes] if isinstance(axes, int) else list(axes or [])
        rank = 1 + len(value.shape)
        axes = sorted(axis % rank for axis in axes)
        if value.shape == (shape[0], shape[1] * shape[2]) and axes == [2]:
            kernel = (shape[1], shape[2])
        elif value.shape == shape and axes and set(axes) <= {2, 3}:
            kernel = (shape[1] if 2 in axes else 1, shape[2] if 3 in axes else 1)
        else:
            raise self._refused(node, "only rows and columns of a map can be averaged")
        name = operation(node)
        if name == "amax":
            return self._windows(node, value, kernel, kernel, "max")
        if name == "sum" and kernel != (1, 1):
            pool = PoolFacts(self._name(node), "avg", kernel, kernel, divisor=1)
            return self._average(node, value, pool)
        return self._windows(node, value, kernel, kernel, "avg")

    # --- graphs --------------------------------------------------------------------------------------

    def _sum(self, node: fx.Node, a: _Value, b: _Value, sign: float) -> _Value:
        if a.shape != b.shape:
            raise self._refused(node, f"cannot add maps of shapes {a.shape}, {b.shape}")
        if a.step == b.step and a.plain and b.plain:
            twice = torch.full((self.maps[a.step][0],), 1 + sign, device=self.listed.example.device)
            return self._times(replace(a, sole=False), node, twice, torch.zeros_like(twice))
        if sign < 0:
            channels = self.maps[b.step][0]
            factor = torch.full((channels,), sign, device=self.listed.example.device)
            b, sign = self._times(b, node, factor, torch.zeros_like(factor)), 1.0
        name = self._name(node)
        a, b = (self._settled(v, node, f"{name}.{side}") for v, side in ((a, "a"), (b, "b")))
        if self.maps[a.step] != self.maps[b.step]:
            raise self._refused(
                node, f"cannot add views of maps of {self.maps[a.step]} and {self.maps[b.step]}"
            )
        step = AddStep(AddFacts(name, gains=(1.0, sign)))
        return self._shaped(self._append(name, step, a, b), node)

    def _concat(self, node: fx.Node, arguments: Arguments) -> _Value:
        read = [self._read(part, node) for part in arguments["tensors"]]
        rank = 1 + len(read[0].shape)
        if arguments["dim"] % rank != 1:
            raise self._refused(
                node, f"only channels can be concatenated, not dim {arguments['dim']}"
            )
        name = self._name(node)
        parts = [self._settled(v, node, f"{name}.{i}") for i, v in enumerate(read)]
        maps = [self.maps[part.step] for part in parts]
        if len({shape[1:] for shape in maps}) > 1:
            raise self._refused(
                node, f"joins maps of {', '.join(map(str, maps))}; sizes must agree"
            )
        signed = any(self._signed(part.step) for part in parts)
        step = ConcatStep(ConcatFacts(name, signed))
        return self._shaped(self._append(name, step, *parts), node)

    def _slice(self, node: fx.Node, arguments: Arguments) -> _Value:
        """Every n-th row or column, or some of the channels."""
        value = self._read(arguments["self"], node)
        rank = 1 + len(value.shape)
        axis = arguments["dim"] % rank
        start, end, step = (arguments[key] for key in ("start", "end", "step"))
        size = self.listed.example.shape[0] if axis == 0 else value.shape[axis - 1]
        start, end, step = slice(start, end, step).indices(size)
        if (start, end, step) == (0, size, 1):
            return value
        if axis in (2, 3) and start == 0 and end == size and len(value.shape) == 3:
            stride = (step, 1) if axis == 2 else (1, step)
            return self._shaped(self._move(node, value, stride=stride), node)
        if axis == 1 and step == 1 and value.shape[0] == self.maps[value.step][0]:
            moved = self._move(node, value, before=-start, after=end - size)
            return self._shaped(moved, node)
        raise self._refused(
            node,
            "only channels, or every n-th row and column of a map from the first on, can be taken",
        )

    def _split(self, node: fx.Node, arguments: Arguments) -> list[_Value]:
        """Channels in parts."""
        value = self._read(arguments["self"], node)
        if arguments["dim"] % (1 + len(value.shape)) != 1:
            raise self._refused(node, "only channels can be split")
        arguments.taken.update(arguments.values)
        parts, start = [], 0
        for piece in node.meta["val"]:
            end = start + int(piece.shape[1])
            part = replace(value, sole=False)
            moved = self._move(node, part, before=-start, after=end - value.shape[0])
            parts.append(replace(moved, shape=tuple(piece.shape[1:])))
            start = end
        return parts

    def _getitem(self, node: fx.Node, arguments: Arguments) -> _Value:
        parts, place = self.values[arguments["list"]], arguments["place"]
        if isinstance(parts, _Value) and place == 0:  # values of a maximum, without their places
            return self._read(arguments["list"], node)
        if not isinstance(parts, list):
            raise self._unsupported(node)
        part: _Value = parts[place]
        return part

    def _move(
        self,
        node: fx.Node,
        value: _Value,
        *,
        stride: Pair = (1, 1),
        before: int = 0,
        after: int = 0,
    ) -> _Value:
        """Append a shortcut, or widen the one that it goes on."""
        moves = bool(before or after)
        if value.padding != NO_PADDING or (value.gain is not None and moves):
            value = self._settled(value, node)
        step = self.steps.get(value.step)
        if isinstance(step, ShortcutStep) and value.sole:
            facts = step.facts
            if not moves:
                rows, columns = (a * b for a, b in zip(facts.stride, stride, strict=True))
                return self._widened(value, step, replace(facts, stride=(rows, columns)))
            if (facts.before, facts.after, stride) == (0, 0, (1, 1)):
                return self._widened(value, step, replace(facts, before=before, after=after))
        facts = ShortcutFacts(self._name(node), self.maps[value.step], stride, before, after)
        made = self._append(facts.name, ShortcutStep(facts), replace(value, gain=None))
        return replace(made, gain=value.gain, shift=value.shift)

    def _widened(self, value: _Value, step: ShortcutStep, facts: ShortcutFacts) -> _Value:
        step.facts = facts
        self.maps[step.name] = _output_map(facts, [facts.input_shape])
        return replace(value, shape=self.maps[step.name])

    def _pad(self, node: fx.Node, arguments: Arguments) -> _Value:
        """Zeros around a map, or channels of zeros before and after its own."""
        value = self._read(arguments["self"], node)
        sizes = [*arguments["pad"], *[0] * 8][:8]
        if arguments.get("mode", "constant") != "constant" or (arguments["value"] or 0) != 0:
            raise self._refused(node, "only zeros can be padded")
        if len(value.shape) == 2 and self.maps[value.step][1] == 1:  # a line has no rows
            sizes = [*sizes[:2], 0, 0, *sizes[2:6]]
        left, right, top, bottom, before, after, *rest = sizes
        if min(left, right, top, bottom) < 0 or any(rest):
            raise self._refused(node, f"only rows, columns and channels can be padded, not {sizes}")
        if before or after:
            value = self._move(node, value, before=before, after=after)
        if any((top, left, bottom, right)):
            self._map(value, node)
            if _shifts(value):
                value = self._settled_affine(value, node)
            value = replace(value, padding=_plus(value.padding, (top, left, bottom, right)))
        return self._shaped(value, node)

    def _same_values(self, node: fx.Node, arguments: Arguments) -> _Value:
        """Another shape for the same values in the same order, or no effect at all."""
        arguments.taken.update(arguments.values)
        value = self._read(node.all_input_nodes[0], node)
        meta = node.meta["val"]
        shape = tuple(meta.shape[1:])
        if meta.shape[0] != len(self.listed.example):
            raise self._refused(
                node, f"gives shape {tuple(meta.shape)}; the batch must stay the first axis"
            )
        if not meta.is_floating_point():
            raise self._refused(node, f"makes values of type {meta.dtype}; leave them floats")
        if value.padding != NO_PADDING and shape != value.shape:
            value = self._settled(value, node)
        return replace(value, shape=shape)

    def _dropout(self, node: fx.Node, arguments: Arguments) -> _Value:
        """No effect; one that is on in evaluation mode is switched off, with a note."""
        if arguments["train"]:
            self.notes.append(
                f"{operation(node)} is on in evaluation mode; it was left out (pass self.training)"
            )
            node.args = (*node.args[:2], False)
        return self._same_values(node, arguments)

    def _ending(self, node: fx.Node, arguments: Arguments) -> _Value:
        """A softmax, sigmoid or tanh, which does not change the order of the logits."""
        value = self._read(arguments["self"], node)
        arguments.taken.update(arguments.values)
        dim = arguments.values.get("dim")
        path, kind = calling_module(node)
        what = kind.rpartition(".")[2] if kind.startswith("torch.nn.modules.") else operation(node)
        if dim is not None and dim % (1 + len(value.shape)) != 1:
            raise self._refused(node, f"{what} must go over the classes, dim 1, not {dim}")
        return replace(value, ended=f"{what} ({path})" if path else what)

    # --- the end ---------------------------------------------------------------------------------------

    def _finish(self, output: fx.Node) -> None:
        results = output.all_input_nodes
        values = [self.values[node] for node in results]
        if len(values) != 1 or not isinstance(values[0], _Value):
            raise PyadmmError("model: must give one tensor of logits that depends on its input")
        value, node = values[0], results[0]
        if value.ended:
            self.notes.append(f"{value.ended} at the end does not change the order; left out")
            while value.ended:
                node = node.all_input_nodes[0]
                value = self.values[node]
        if not any(isinstance(step, WeightedStep) for step in self.steps.values()):
            raise PyadmmError("model: has no Conv2d or Linear; there is nothing to compress")
        if not value.plain:
            value = self._settled(value, node, "logits")
            self.nodes_of_steps[value.step] = node
        self.logits = node
        self._end(value.step)

    def _end(self, name: str) -> None:
        """Make a step give the logits; it becomes the last one."""
        last = self.steps[name]
        readers = [step for step, read in self.sources.items() if name in read]
        if readers:
            raise PyadmmError(f"layer {name}: gives the logits, but {readers[0]} reads it too")
        self.steps[name] = self.steps.pop(name)
        if isinstance(last, WeightedStep) and _bare(last):
            last.facts = replace(last.facts, last=True)
            if last.norm is not None:  # the logits have one scale, not one per channel
                weight, bias = last.folded()
                last.weight.data.copy_(weight)
                last.bias.data.copy_(bias)
                last.norm = None
        elif (
            isinstance(last, PoolStep)
            and last.facts.kind == "avg"
            and (last.facts.border is None and last.facts.activation == NO_ACTIVATION)
        ):
            last.facts = replace(last.facts, last=True)
        elif not isinstance(last, ShortcutStep):
            facts: Any = last.facts
            last.facts = replace(facts, activation_bits=LOGIT_BITS)

    def _prune(self) -> None:
        """Leave out steps whose output the logits do not depend on."""
        last = list(self.steps)[-1]
        needed = {last}
        for name in reversed(list(self.steps)):
            if name in needed:
                needed.update(self.sources[name])
        for name in set(self.steps) - needed:
            del self.steps[name], self.sources[name]
            self.nodes_of_steps.pop(name, None)


@dataclass(frozen=True)
class _Window:
    """Windows of a pool; ``declared`` is the padding without what ``ceil_mode`` adds."""

    kernel: Pair
    stride: Pair
    padding: Sides
    declared: Sides


Handler = Callable[[_Builder, fx.Node, Arguments], Any]
_WEIGHTED = ("conv1d", "conv2d", "linear", "convolution")
_ACTIVATIONS = (
    "gelu",
    "silu",
    "silu_",
    "elu",
    "elu_",
    "selu",
    "selu_",
    "celu",
    "hardswish",
    "hardswish_",
    "hardsigmoid",
    "mish",
    "softplus",
    "prelu",
    "rrelu",
)
_OPERATIONS: dict[str, Handler] = {
    "conv1d": _Builder._convolution,
    "conv2d": _Builder._convolution,
    "linear": _Builder._linear,
    "addmm": _Builder._matmul,
    "mm": _Builder._matmul,
    "matmul": _Builder._matmul,
    "batch_norm": _Builder._batch_norm,
    "relu": _Builder._relu,
    "relu_": _Builder._relu,
    "relu6": _Builder._clamp,
    "relu6_": _Builder._clamp,
    "hardtanh": _Builder._clamp,
    "hardtanh_": _Builder._clamp,
    "clamp": _Builder._clamp,
    "clamp_": _Builder._clamp,
    "leaky_relu": _Builder._leaky,
    "leaky_relu_": _Builder._leaky,
    "prelu": _Builder._leaky,
    "max_pool1d": _Builder._max_pool,
    "max_pool2d": _Builder._max_pool,
    "max_pool2d_with_indices": _Builder._max_pool,
    "avg_pool1d": _Builder._average_pool,
    "avg_pool2d": _Builder._average_pool,
    "adaptive_avg_pool1d": _Builder._adaptive,
    "adaptive_avg_pool2d": _Builder._adaptive,
    "adaptive_max_pool1d": _Builder._adaptive,
    "adaptive_max_pool2d": _Builder._adaptive,
    "mean": _Builder._mean,
    "sum": _Builder._mean,
    "amax": _Builder._mean,
    "add": _Builder._constant_or_sum,
    "add_": _Builder._constant_or_sum,
    "sub": _Builder._constant_or_sum,
    "sub_": _Builder._constant_or_sum,
    "rsub": _Builder._constant_or_sum,
    "mul": _Builder._product,
    "mul_": _Builder._product,
    "div": _Builder._product,
    "div_": _Builder._product,
    "neg": _Builder._negated,
    "cat": _Builder._concat,
    "concat": _Builder._concat,
    "slice": _Builder._slice,
    "split": _Builder._split,
    "split_with_sizes": _Builder._split,
    "chunk": _Builder._split,
    "getitem": _Builder._getitem,
    "pad": _Builder._pad,
    "constant_pad_nd": _Builder._pad,
    **dict.fromkeys(
        (
            "view",
            "reshape",
            "flatten",
            "unflatten",
            "squeeze",
            "unsqueeze",
            "_unsafe_view",
            "contiguous",
            "clone",
            "alias",
            "detach",
            "detach_",
            "to",
            "_to_copy",
            "lift_fresh_copy",
            "squeeze_",
            "unsqueeze_",
            "view_as",
            "reshape_as",
        ),
        _Builder._same_values,
    ),
    **dict.fromkeys(
        (
            "dropout",
            "dropout_",
            "feature_dropout",
            "feature_dropout_",
            "alpha_dropout",
            "alpha_dropout_",
            "feature_alpha_dropout",
            "feature_alpha_dropout_",
        ),
        _Builder._dropout,
    ),
    **dict.fromkeys(
        ("log_softmax", "softmax", "sigmoid", "sigmoid_", "log_sigmoid", "tanh", "tanh_"),
        _Builder._ending,
    ),
}


def _shape(node: fx.Node) -> Shape:
    """Shape of what ``node`` gives, the batch left out."""
    meta = node.meta["val"]
    first = meta[0] if isinstance(meta, tuple | list) else meta
    return tuple(int(size) for size in first.shape[1:])


def _numbers(value: Any, count: int) -> list[int]:
    """``count`` numbers; one stands for all."""
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    return [int(n) for n in (numbers * count if len(numbers) == 1 else numbers)]


def _plus(a: Sequence[int], b: Sequence[int]) -> Sides:
    top, left, bottom, right = (x + y for x, y in zip(a, b, strict=True))
    return top, left, bottom, right


def _beyond(size: int, padding: int, kernel: int, stride: int) -> int:
    """How far the last window of ``ceil_mode`` reaches beyond the padded map.

    >>> _beyond(8, 0, 3, 2), _beyond(7, 0, 3, 2), _beyond(5, 1, 2, 4)
    (1, 0, 0)
    """
    last = -(-(size + 2 * padding - kernel) // stride)
    if last * stride >= size + padding:  # it must start on the map or before it
        last -= 1
    return max(0, last * stride + kernel - size - 2 * padding)


def _even_windows(size: int, count: int) -> Pair | None:
    """Size and distance of an adaptive pool's windows, where all have the same.

    >>> _even_windows(7, 7), _even_windows(8, 2), _even_windows(7, 3), _even_windows(8, 3)
    ((1, 1), (4, 4), (3, 2), None)
    """
    spans = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
    kernels = {last - first for first, last in spans}
    strides = {b[0] - a[0] for a, b in pairwise(spans)} or kernels
    if len(kernels) > 1 or len(strides) > 1 or 0 in strides:
        return None
    return min(kernels), min(strides)


def _output_map(facts: Any, inputs: Sequence[Map]) -> Map:
    """Shape of what a step gives."""
    if isinstance(facts, LayerFacts):
        shape = facts.spec.output_shape
        return shape if facts.pool is None else _output_map(facts.pool, [shape])
    first = inputs[0]
    if isinstance(facts, ConcatFacts):
        return sum(shape[0] for shape in inputs), *first[1:]
    if isinstance(facts, PoolFacts):
        return first[0], *_places(first[1:], facts.padding, facts.kernel, facts.stride)
    if isinstance(facts, ShortcutFacts):
        size = _places(first[1:], facts.padding, (1, 1), facts.stride)
        return facts.before + first[0] + facts.after, *size
    return first


def _places(size: Sequence[int], padding: Sides, kernel: Pair, stride: Pair) -> Pair:
    rows, columns = (
        positions(size[axis], (padding[axis], padding[axis + 2]), kernel[axis], stride[axis])
        for axis in (0, 1)
    )
    return rows, columns


def _any(values: Tensor) -> bool:
    """Whether any is not 0; those on the meta device may be anything."""
    return values.is_meta or bool((values != 0).any())


def _positive(values: Tensor) -> bool:
    return not values.is_meta and bool((values > 0).all())


def _shifts(value: _Value) -> bool:
    """Whether something is added to a step's output."""
    return value.shift is not None and value.gain is not None and _any(value.shift)


def _bare(step: WeightedStep) -> bool:
    """Whether nothing follows the products of ``step`` yet but a norm."""
    return step.facts.activation == NO_ACTIVATION and step.facts.pool is None


def _activation(step: Any) -> Activation | None:
    """The activation of a step; ``None`` for those that take none."""
    if isinstance(step, PoolStep) and step.facts.kind == "max":
        return None
    activation: Activation = step.facts.activation
    return activation


def _joined(first: Activation, second: Activation) -> Activation | None:
    """One activation for two, if there is one."""
    if first == NO_ACTIVATION:
        return second
    if first.relu and (second.relu or second.ceiling is not None):
        limits = [a.ceiling for a in (first, second) if a.ceiling is not None]
        return Activation(True, min(limits) if limits else None)
    return first if first == second else None


def _factors(norm: Norm) -> tuple[Tensor, Tensor]:
    """Gain and shift by channel that a batch norm is in evaluation mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()
    return gain, norm.bias.detach() - norm.running_mean * gain


def _copied(norm: Norm, kind: str) -> Norm:
    """``norm`` for the outputs of a ``conv`` or ``linear`` layer."""
    copied = new_norm(kind, len(norm.weight), norm.eps, norm.momentum).to(norm.weight.device)
    copied.load_state_dict(norm.state_dict())
    return copied.eval()


def _spread(values: Tensor, size: int, per: int) -> Tensor:
    """``values`` by channel as values of a flattened map with ``per`` in each channel."""
    return values if len(values) == size else values.repeat_interleave(per)


def _taken_up(value: _Value, weight: Tensor, bias: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Weight and bias that read a step's very output instead of ``gain * output + shift``."""
    assert value.gain is not None
    assert value.shift is not None
    gain, shift = value.gain, value.shift
    inputs = weight.shape[1] * groups
    gain, shift = (_spread(t, inputs, inputs // len(t)) for t in (gain, shift))
    outputs = len(weight) // groups
    by_group = [t.reshape(groups, 1, -1).expand(groups, outputs, -1) for t in (gain, shift)]
    factor, offset = (t.reshape(len(weight), -1, *[1] * (weight.ndim - 2)) for t in by_group)
    return weight * factor, bias + (weight * offset).flatten(1).sum(1)


@torch.no_grad()
def _scale_outputs(step: WeightedStep, gain: Tensor, shift: Tensor) -> None:
    """Make ``gain * y + shift`` of what ``step`` computes, in its norm or its weights."""
    if step.norm is not None:
        step.norm.weight.mul_(gain)
        step.norm.bias.mul_(gain).add_(shift)
        return
    step.weight.mul_(gain.reshape(-1, *[1] * (step.weight.ndim - 1)))
    step.bias.mul_(gain).add_(shift)
