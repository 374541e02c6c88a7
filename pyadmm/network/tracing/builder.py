"""The steps of a network while its operations are read one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, fx

from pyadmm.core.errors import PyadmmError
from pyadmm.model import INPUT, InputSpec
from pyadmm.model.types import Pair, Sides, positions
from pyadmm.network.curves import CURVES, Curve
from pyadmm.network.exported import Arguments, Listing, bound, calling_module, operation
from pyadmm.network.facts import (
    NO_ACTIVATION,
    Activation,
    AffineFacts,
    ConcatFacts,
    CurveFacts,
    LayerFacts,
    PoolFacts,
    ShortcutFacts,
)
from pyadmm.network.layers import Norm, WeightedStep, new_norm
from pyadmm.network.names import step_name
from pyadmm.network.steps import AffineStep, CurveStep, ShortcutStep, Step
from pyadmm.network.tracing.values import NO_PADDING, Map, Value, shape_of

SUPPORTED = (
    "Conv1d, Conv2d, Linear, BatchNorm, ReLU, ReLU6, Hardtanh, LeakyReLU, Sigmoid, Tanh, SiLU, "
    "Hardswish, GELU and their like, MaxPool2d, AvgPool2d, adaptive pools, sums, products of maps, "
    "concatenated and shuffled channels, constant padding with zeros, constants per channel, "
    "Flatten, Dropout, and a softmax at the end"
)
_WEIGHTED = ("conv1d", "conv2d", "linear", "convolution")
_TAKE_RESAMPLED = (
    *("linear", "addmm", "mm", "matmul", "view", "reshape", "flatten", "_unsafe_view"),
    *(
        "getitem",
        "contiguous",
        "clone",
        "dropout",
        "dropout_",
        "feature_dropout",
        "feature_dropout_",
    ),
)
_KEEP_ENDED = tuple(name for name in _TAKE_RESAMPLED[4:] if name != "getitem")
"""Operations behind a softmax or sigmoid that leave it the end of the network."""
_TAKE_MOVED = (
    *_TAKE_RESAMPLED,
    *("permute", "transpose", "swapaxes", "swapdims", "t", "mean", "sum", "amax"),
)
_REMEDIES = {
    **dict.fromkeys(("InstanceNorm1d", "InstanceNorm2d", "GroupNorm", "LayerNorm"), "BatchNorm"),
    **dict.fromkeys(("instance_norm", "group_norm", "layer_norm"), "BatchNorm"),
    **dict.fromkeys(("ConvTranspose2d", "Upsample"), "a network that only shrinks its maps"),
}
"""What to use in place of an operation."""
_ACTIVATIONS = ("glu", "softsign")


class Builder:
    """Collects the steps of a network while its operations are read."""

    def __init__(self, input_spec: InputSpec, listed: Listing) -> None:
        self.input = input_spec
        self.listed = listed
        self.steps: dict[str, Step] = {}
        self.sources: dict[str, tuple[str, ...]] = {}
        self.maps: dict[str, Map] = {INPUT: input_spec.shape}
        self.flat: set[str] = set()
        """Steps whose outputs are vectors ``(N, K)``, not maps."""
        self.values: dict[fx.Node, Any] = {}
        """A :class:`Value`, a list of them, or a constant."""
        self.nodes_of_steps: dict[str, fx.Node] = {}
        """The last node that gives a step's very output."""
        self.logits: fx.Node
        self.notes: list[str] = []
        self.ending = ""
        self.curves: dict[fx.Node, Value] = {}
        """Sigmoids and the like that did not end the network, by their node."""
        owners = (self.owner(node) for node in listed.graph.nodes)
        self.taken = {step_name(name, ()) for name in owners if name}
        """Names of steps, of pools within them, and of weighted layers to come."""

    def is_value(self, node: Any) -> bool:
        """Whether ``node`` is computed from the input."""
        return isinstance(node, fx.Node) and isinstance(self.values.get(node), Value | list)

    def read(self, node: Any, reader: fx.Node) -> Value:
        """The value of an argument, which must be computed from the input."""
        value = self.values.get(node) if isinstance(node, fx.Node) else None
        if not isinstance(value, Value):
            raise self.refused(reader, "reads a constant where a map must be")
        if value.ending is not None and operation(reader) not in _KEEP_ENDED:
            value = self._inside(value, value.ending, reader)
        if value.resample is not None and operation(reader) not in _TAKE_RESAMPLED:
            raise self.refused(
                reader,
                "follows an adaptive pool whose windows differ in size, behind which only flatten, "
                "dropout and Linear can come; choose a size that divides the map",
            )
        if value.places is not None and operation(reader) not in _TAKE_MOVED:
            raise self.refused(
                reader,
                "reads a map whose axes were moved, behind which only flatten, activations, "
                "dropout and Linear can come; keep channels first",
            )
        return replace(value, sole=value.sole and len(node.users) == 1)

    def _inside(self, value: Value, ending: fx.Node, reader: fx.Node) -> Value:
        """The step of a sigmoid or tanh that does not end the network."""
        name = operation(ending).rstrip("_")
        if name not in CURVES:
            raise self.refused(reader, f"follows {value.ended}, which may only end the network")
        if ending not in self.curves:
            plain = replace(value, ended="", ending=None, shape=shape_of(ending))
            made = self.curve(plain, ending, Curve(name, {}))
            self.nodes_of_steps[made.step] = ending
            self.curves[ending] = made
        return replace(self.curves[ending], shape=value.shape, sole=len(ending.users) == 1)

    def curve(self, value: Value, node: fx.Node, curve: Curve) -> Value:
        """A step of an activation that is no clamp."""
        name = self.name(node)
        value = self.settled(value, node, f"{name}.in")
        return self.shaped(self.append(name, CurveStep(CurveFacts(name, curve)), value), node)

    def tensor(self, node: Any, reader: fx.Node) -> Tensor | None:
        """The value of a constant argument."""
        if node is None:
            return None
        value = self.values.get(node) if isinstance(node, fx.Node) else None
        if not isinstance(value, Tensor):
            raise self.refused(reader, "its weights must not depend on the input")
        return value

    def owner(self, node: fx.Node) -> str:
        """Name of the layer that a node's weight belongs to; empty for other nodes."""
        if node.op != "call_function" or operation(node) not in _WEIGHTED:
            return ""
        weight = bound(node).values.get("weight")
        name = self.listed.owners.get(weight.name, "") if isinstance(weight, fx.Node) else ""
        return name.removesuffix("weight").rstrip(".")

    def name(self, node: fx.Node) -> str:
        """A step's name: its weight's owner, its module, or the operation within its module."""
        owner = self.owner(node)
        if owner:
            return step_name(owner, ())
        path, kind = calling_module(node)
        stem = operation(node).rstrip("_")
        wanted = path if path and kind.startswith("torch.nn.modules.") else f"{path}.{stem}"
        return step_name(wanted.lstrip("."), self.taken)

    def refused(self, node: fx.Node, reason: str) -> PyadmmError:
        """The error that refuses ``node`` for ``reason``, by the name of its layer."""
        path, kind = calling_module(node)
        leaf = bool(path) and kind.startswith("torch.nn.modules.")
        name = path if leaf else f"{path}.{operation(node)}".lstrip(".")
        return PyadmmError(f"layer {name}: {reason}")

    def unsupported(self, node: fx.Node) -> PyadmmError:
        """The error for an operation that is not supported."""
        path, kind = calling_module(node)
        leaf = bool(path) and kind.startswith("torch.nn.modules.")
        what = kind.rpartition(".")[2] if leaf else operation(node)
        if what.lower() in _ACTIVATIONS:
            return self.refused(node, f"{what} is not supported; use ReLU, SiLU or Hardswish")
        if what in _REMEDIES:
            return self.refused(node, f"{what} is not supported; use {_REMEDIES[what]}")
        return self.refused(node, f"{what} is not supported; supported are: {SUPPORTED}")

    def append(self, name: str, step: Step, *read: Value) -> Value:
        """A new step that reads plain values."""
        if name in self.steps:
            raise PyadmmError(
                f"layer {name}: is used twice; a layer must be used once, so give each use a layer "
                "of its own (copy.deepcopy)"
            )
        self.steps[name] = step
        self.taken.add(name)
        self.sources[name] = tuple(value.step for value in read)
        self.maps[name] = output_map(step.facts, [self.maps[value.step] for value in read])
        linear = isinstance(step, WeightedStep) and step.facts.spec.kind == "linear"
        if linear or (
            not isinstance(step, WeightedStep) and any(v.step in self.flat for v in read)
        ):
            self.flat.add(name)
        return Value(name, self.maps[name])

    def shaped(self, value: Value, node: fx.Node) -> Value:
        """``value`` as the tensor that ``node`` gives."""
        return replace(value, shape=shape_of(node))

    def free_name(self, wanted: str) -> str:
        """A step's name that is free."""
        name = step_name(wanted, self.taken)
        self.taken.add(name)
        return name

    def settled(self, value: Value, node: fx.Node, name: str = "") -> Value:
        """``value`` as the output of a step: pending gains, shifts and padding become steps."""
        if value.places is not None or value.resample is not None:
            raise self.refused(node, "moves or averages values as only a Linear can take them up")
        value = self.settled_affine(value, node, name)
        if value.padding == NO_PADDING:
            return value
        made = self.free_name(f"{name or self.name(node)}.pad")
        facts = ShortcutFacts(made, self.maps[value.step], padding=value.padding)
        plain = replace(value, padding=NO_PADDING)
        return replace(self.append(made, ShortcutStep(facts), plain), shape=value.shape)

    def settled_affine(self, value: Value, node: fx.Node, name: str = "") -> Value:
        """``value`` without gain and shift; its padding goes on waiting."""
        if value.gain is None:
            return value
        name = self.free_name(name or f"{self.name(node)}.in")
        return self.affine_step(value, node, NO_ACTIVATION, name)

    def affine_step(self, value: Value, node: fx.Node, activation: Activation, name: str) -> Value:
        """A step of gain, shift and an activation; the padding goes on waiting."""
        shape = self.maps[value.step]
        if value.gain is not None and len(value.gain) != shape[0]:
            raise self.refused(
                node,
                "reads a flattened map that has a factor for every value, which only a Linear "
                "takes; use one for every channel",
            )
        norm = value.norm
        if norm is not None:
            norm = copied_norm(norm, "linear" if value.step in self.flat else "conv")
        step = AffineStep(AffineFacts(name, shape, activation), value.gain, value.shift, norm)
        step.to(self.listed.example.device)
        plain = replace(value, gain=None, padding=NO_PADDING)
        return replace(self.append(name, step, plain), shape=value.shape, padding=value.padding)

    def signed(self, name: str) -> bool:
        """Whether the output of step ``name`` has negative values."""
        step = self.steps.get(name)
        if step is None:
            return self.input.format.signed
        if isinstance(step, ShortcutStep) or step.output is None:
            return self.signed(self.sources[name][0])
        return step.output.signed

    def map_of(self, value: Value, node: fx.Node) -> Map:
        """The map that ``value`` is; refused where it is another view of the step's values."""
        shape = self.maps[value.step]
        top, left, bottom, right = value.padding
        whole = (shape[0], shape[1] + top + bottom, shape[2] + left + right)
        given = value.shape
        if len(given) == 2 and whole[1] == 1:  # a line is a map of one row
            given = (given[0], 1, given[1])
        if given != whole:
            raise self.refused(
                node,
                f"reads a map of {shape} as if it were one of {value.shape}; only flatten "
                "before a Linear is supported",
            )
        return shape


def output_map(facts: Any, inputs: Sequence[Map]) -> Map:
    """Shape of what a step gives."""
    if isinstance(facts, LayerFacts):
        shape = facts.spec.output_shape
        return shape if facts.pool is None else output_map(facts.pool, [shape])
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


def bare(step: WeightedStep) -> bool:
    """Whether nothing follows the products of ``step`` yet but a norm."""
    return step.facts.activation == NO_ACTIVATION and step.facts.pool is None


def copied_norm(norm: Norm, kind: str) -> Norm:
    """``norm`` for the outputs of a ``conv`` or ``linear`` layer."""
    copied = new_norm(kind, len(norm.weight), norm.eps, norm.momentum).to(norm.weight.device)
    copied.load_state_dict(norm.state_dict())
    return copied.eval()


Handler = Callable[[Builder, fx.Node, Arguments], Any]
"""What an operation does: it may append steps, and returns what its node gives."""
