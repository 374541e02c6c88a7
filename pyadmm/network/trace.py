"""From a torch module to a :class:`~pyadmm.network.graph.Network`.

The module's operations (:mod:`pyadmm.network.exported`) become steps one by one. Affine operations per
channel (batch norms, ``(x - mean) / std``) and padding are merged into the operation that reads them;
where this is not possible, they become steps of their own. The network is then compared with the
module, step by step (:mod:`pyadmm.network.comparison`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from torch import fx, nn

from pyadmm.core.errors import PyadmmError
from pyadmm.model import INPUT, InputSpec
from pyadmm.network.comparison import compare
from pyadmm.network.exported import Arguments, bound, example_of, listing, operation
from pyadmm.network.facts import NO_ACTIVATION
from pyadmm.network.graph import Network
from pyadmm.network.layers import WeightedStep
from pyadmm.network.steps import PoolStep, ShortcutStep
from pyadmm.network.tracing import (
    curves,
    elementwise,
    joins,
    normalisation,
    permutations,
    pools,
    views,
    weighted,
)
from pyadmm.network.tracing.builder import Builder, Handler, bare
from pyadmm.network.tracing.values import Value, shape_of

LOGIT_BITS = 16
"""Width of logits that a step without weights gives."""
_OPERATIONS: dict[str, Handler] = {
    **weighted.OPERATIONS,
    **normalisation.OPERATIONS,
    **elementwise.OPERATIONS,
    **pools.OPERATIONS,
    **views.OPERATIONS,
    **joins.OPERATIONS,
    **permutations.OPERATIONS,
    **curves.OPERATIONS,
}


def trace(model: nn.Module, input_spec: InputSpec) -> Network:
    """The :class:`Network` that computes what ``model`` computes in evaluation mode.

    It is on the model's device. :attr:`Network.notes` says what was left out.

    :raises PyadmmError: for an operation that is not supported, naming the layer, and where the
        network does not compute what the module does.
    """
    listed = listing(model, example_of(model, input_spec.shape))
    builder = Builder(input_spec, listed)
    builder.notes += [listed.note] if listed.note else []
    network = _build(builder)
    compare(network, listed, builder.nodes_of_steps, builder.logits)
    return network


def _build(builder: Builder) -> Network:
    """The network; its last step gives the logits."""
    for node in builder.listed.graph.nodes:
        if node.op == "placeholder":
            _placeholder(builder, node)
        elif node.op == "output":
            _finish(builder, node)
        elif node.users or operation(node).endswith("_"):
            _operation(builder, node)
    _prune(builder)
    steps = list(builder.steps.values())
    return Network(
        builder.input,
        steps,
        sources=builder.sources,
        notes=tuple(builder.notes),
        ending=builder.ending,
    )


def _placeholder(builder: Builder, node: fx.Node) -> None:
    if node.name == builder.listed.input:
        builder.values[node] = Value(INPUT, shape_of(node))
    elif node.name in builder.listed.constants:
        builder.values[node] = builder.listed.constants[node.name].detach()
    else:
        raise PyadmmError(f"model: forward takes {node.name} too; it must take one tensor")


def _operation(builder: Builder, node: fx.Node) -> None:
    if node.op != "call_function":
        raise PyadmmError(f"model: {node.name} ({node.op}) is not supported in a forward")
    if not any(builder.is_value(read) for read in node.all_input_nodes):
        builder.values[node] = _constant(builder, node)
        return
    name = operation(node)
    handler = _OPERATIONS.get(name)
    if handler is None:
        raise builder.unsupported(node)
    if name == "getitem":
        arguments = Arguments({"list": node.args[0], "place": node.args[1]}, {})
    else:
        arguments = bound(node)
    made = permutations.keeping_order(builder, node, arguments, handler)
    unread = arguments.unread()
    if unread:
        listed = ", ".join(f"{key}={value}" for key, value in unread.items())
        raise builder.refused(node, f"{listed} is not supported")
    if isinstance(made, Value):
        if name.endswith("_") and isinstance(node.args[0], fx.Node):
            builder.values[node.args[0]] = made  # who reads it later reads the changed tensor
        if made.plain and not made.ended:
            builder.nodes_of_steps[made.step] = node
    builder.values[node] = made


def _constant(builder: Builder, node: fx.Node) -> Any:
    """What an operation on constants gives."""
    values = fx.map_arg((node.args, node.kwargs), lambda read: builder.values[read])
    return node.target(*values[0], **values[1])  # type: ignore[operator]


def _finish(builder: Builder, output: fx.Node) -> None:
    results = output.all_input_nodes
    values = [builder.values[node] for node in results]
    if len(values) != 1 or not isinstance(values[0], Value):
        raise PyadmmError("model: must give one tensor of logits that depends on its input")
    value, node = values[0], results[0]
    shape = tuple(node.meta["val"].shape[1:])
    if not shape or math.prod(shape) != max(shape):
        raise PyadmmError(
            f"model: gives values of shape {shape} for an image; it must give one vector, a number "
            "for each class"
        )
    if value.ending is not None:
        builder.notes.append(f"{value.ended} at the end does not change the order; left out")
        builder.ending = operation(value.ending).rstrip("_")
        while value.ended:
            node = node.all_input_nodes[0]
            value = builder.values[node]
    if not any(isinstance(step, WeightedStep) for step in builder.steps.values()):
        raise PyadmmError("model: has no Conv2d or Linear; there is nothing to compress")
    if not value.plain:
        value = builder.settled(value, node, "logits")
        builder.nodes_of_steps[value.step] = node
    builder.logits = node
    _end(builder, value.step)


def _end(builder: Builder, name: str) -> None:
    """Make a step give the logits; it becomes the last one."""
    last = builder.steps[name]
    readers = [step for step, read in builder.sources.items() if name in read]
    if readers:
        raise PyadmmError(f"layer {name}: gives the logits, but {readers[0]} reads it too")
    builder.steps[name] = builder.steps.pop(name)
    if isinstance(last, WeightedStep) and bare(last):
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


def _prune(builder: Builder) -> None:
    """Leave out steps whose output the logits do not depend on."""
    last = list(builder.steps)[-1]
    needed = {last}
    for name in reversed(list(builder.steps)):
        if name in needed:
            needed.update(builder.sources[name])
    for name in set(builder.steps) - needed:
        del builder.steps[name], builder.sources[name]
        builder.nodes_of_steps.pop(name, None)
