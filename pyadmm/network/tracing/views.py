"""Parts of maps, padding, other shapes, constants, and operations without effect."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import torch
from torch import Tensor, fx

from pyadmm.model.types import Pair, Sides
from pyadmm.network.exported import Arguments, calling_module, operation
from pyadmm.network.facts import ConcatFacts, ShortcutFacts
from pyadmm.network.layers import WeightedStep
from pyadmm.network.steps import ConcatStep, ShortcutStep
from pyadmm.network.tracing.builder import Builder, Handler, output_map
from pyadmm.network.tracing.normalisation import times
from pyadmm.network.tracing.values import NO_PADDING, Value, plus, shape_of, shifts


def _repeated(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """All channels several times, or one channel as several."""
    value = builder.read(arguments["self"], node)
    arguments.taken.update(arguments.values)
    wanted = shape_of(node)
    if wanted == value.shape:
        return value
    channels = builder.map_of(value, node)[0]
    same = len(wanted) == len(value.shape) and wanted[1:] == value.shape[1:]
    if not same or (operation(node) == "expand" and channels > 1):
        raise builder.refused(node, "only channels can be repeated")
    name = builder.name(node)
    part = builder.settled(replace(value, sole=False), node, f"{name}.part")
    step = ConcatStep(ConcatFacts(name, builder.signed(part.step)))
    return builder.shaped(builder.append(name, step, *[part] * (wanted[0] // channels)), node)


def _slice(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """Every n-th row or column, or some of the channels."""
    value = builder.read(arguments["self"], node)
    rank = 1 + len(value.shape)
    axis = arguments["dim"] % rank
    start, end, step = (arguments[key] for key in ("start", "end", "step"))
    size = builder.listed.example.shape[0] if axis == 0 else value.shape[axis - 1]
    start, end, step = slice(start, end, step).indices(size)
    if (start, end, step) == (0, size, 1):
        return value
    if axis == 1 and step == 1 and value.shape[0] == builder.maps[value.step][0]:
        moved = move(builder, node, value, before=-start, after=end - size)
        return builder.shaped(moved, node)
    if axis in (2, 3) and start < end:
        return builder.shaped(_cropped(builder, node, value, axis, (start, end, step)), node)
    raise builder.refused(node, "only channels, rows and columns of a map can be taken")


def _select(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """One channel, row or column."""
    value = builder.read(arguments["self"], node)
    axis, index = arguments["dim"] % (1 + len(value.shape)), arguments["index"]
    if axis == 0:
        raise builder.refused(node, "takes some of the images; leave the batch as it is")
    size = value.shape[axis - 1]
    index %= size
    if axis > 1:
        made = _cropped(builder, node, value, axis, (index, index + 1, 1))
    else:
        if size != builder.maps[value.step][0]:
            builder.map_of(value, node)
        made = move(builder, node, value, before=-index, after=index + 1 - size)
    return builder.shaped(made, node)


def _cropped(
    builder: Builder, node: fx.Node, value: Value, axis: int, part: tuple[int, int, int]
) -> Value:
    """Rows (axis 2) or columns ``start:end:step`` of a map; of a line, axis 2 are the columns."""
    shape = builder.map_of(value, node)
    columns = axis == 3 or len(value.shape) == 2
    start, end, step = part
    whole = shape[1 + columns] + value.padding[columns] + value.padding[2 + columns]
    sides: Sides = (0, start, 0, whole - end) if columns else (start, 0, whole - end, 0)
    if step == 1 and _narrowed(builder, value, sides):
        return replace(value, shape=builder.maps[value.step])
    stride = (1, step) if columns else (step, 1)
    top, left, bottom, right = sides
    return move(builder, node, value, stride=stride, padding=(-top, -left, -bottom, -right))


def _narrowed(builder: Builder, value: Value, cut: Sides) -> bool:
    """Take rows and columns off a convolution's result by less padding, where that is the same."""
    step = builder.steps.get(value.step)
    fits = value.sole and value.padding == NO_PADDING and isinstance(step, WeightedStep)
    if not fits or not isinstance(step, WeightedStep) or step.facts.pool is not None:
        return False
    spec = step.facts.spec
    taken = tuple(c * s for c, s in zip(cut, spec.stride * 2, strict=True))
    padding = plus(spec.padding, [-rows for rows in taken])
    if spec.kind != "conv" or min(padding) < 0:
        return False
    step.facts = replace(step.facts, spec=replace(spec, padding=padding))
    builder.maps[step.name] = output_map(step.facts, [])
    builder.nodes_of_steps.pop(step.name, None)  # that node gives what is cut off, too
    return True


def _split(builder: Builder, node: fx.Node, arguments: Arguments) -> list[Value]:
    """Channels in parts."""
    value = builder.read(arguments["self"], node)
    if arguments["dim"] % (1 + len(value.shape)) != 1:
        raise builder.refused(node, "only channels can be split")
    arguments.taken.update(arguments.values)
    parts, start = [], 0
    for piece in node.meta["val"]:
        end = start + (1 if operation(node) == "unbind" else int(piece.shape[1]))
        part = replace(value, sole=False)
        moved = move(builder, node, part, before=-start, after=end - value.shape[0])
        parts.append(replace(moved, shape=tuple(piece.shape[1:])))
        start = end
    return parts


def _getitem(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    parts, place = builder.values[arguments["list"]], arguments["place"]
    if isinstance(parts, Value) and place == 0:  # values of a maximum, without their places
        return builder.read(arguments["list"], node)
    if not isinstance(parts, list):
        raise builder.unsupported(node)
    part: Value = parts[place]
    return part


def move(
    builder: Builder,
    node: fx.Node,
    value: Value,
    *,
    stride: Pair = (1, 1),
    before: int = 0,
    after: int = 0,
    padding: Sides = NO_PADDING,
) -> Value:
    """Append a shortcut, or widen the one that it goes on."""
    moves = bool(before or after or any(padding))
    if value.padding != NO_PADDING or (value.gain is not None and moves):
        value = builder.settled(value, node)
    step = builder.steps.get(value.step)
    if isinstance(step, ShortcutStep) and value.sole:
        facts = step.facts
        if not moves:
            rows, columns = (a * b for a, b in zip(facts.stride, stride, strict=True))
            return _widened(builder, value, step, replace(facts, stride=(rows, columns)))
        if (facts.before, facts.after, *stride) == (0, 0, 1, 1) and not any(padding):
            return _widened(builder, value, step, replace(facts, before=before, after=after))
    shape = builder.maps[value.step]
    facts = ShortcutFacts(builder.name(node), shape, stride, before, after, padding)
    made = builder.append(facts.name, ShortcutStep(facts), replace(value, gain=None))
    return replace(made, gain=value.gain, shift=value.shift)


def _widened(builder: Builder, value: Value, step: ShortcutStep, facts: ShortcutFacts) -> Value:
    step.facts = facts
    builder.maps[step.name] = output_map(facts, [facts.input_shape])
    return replace(value, shape=builder.maps[step.name])


def _pad(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """Zeros around a map, or channels of zeros before and after its own."""
    value = builder.read(arguments["self"], node)
    sizes = [*arguments["pad"], *[0] * 8][:8]
    mode, filling = arguments.get("mode", "constant"), float(arguments["value"] or 0)
    if mode != "constant" or not math.isfinite(filling):
        raise builder.refused(
            node,
            f"pads by {filling if mode == 'constant' else mode}, which no layer can give; only a "
            "constant can be padded, such as zeros",
        )
    if filling:
        value = builder.settled_affine(_plus(builder, node, value, -filling), node)
    if len(value.shape) == 2 and builder.maps[value.step][1] == 1:  # a line has no rows
        sizes = [*sizes[:2], 0, 0, *sizes[2:6]]
    left, right, top, bottom, before, after, *rest = sizes
    if filling and (before or after):
        raise builder.refused(node, f"only zeros can be padded to the channels, not {filling:g}")
    if any(rest):
        raise builder.refused(node, f"only rows, columns and channels can be padded, not {sizes}")
    if min(left, right, top, bottom) < 0:
        builder.map_of(value, node)
        value = move(builder, node, value, padding=(top, left, bottom, right))
        left = right = top = bottom = 0
    if before or after:
        value = move(builder, node, value, before=before, after=after)
    if any((top, left, bottom, right)):
        builder.map_of(value, node)
        if shifts(value):
            value = builder.settled_affine(value, node)
        value = replace(value, padding=plus(value.padding, (top, left, bottom, right)))
    if filling:
        value = _plus(builder, node, builder.settled(value, node), filling)
    return builder.shaped(value, node)


def _plus(builder: Builder, node: fx.Node, value: Value, constant: float) -> Value:
    one = torch.ones(builder.maps[value.step][0], device=builder.listed.example.device)
    return times(builder, value, node, one, torch.full_like(one, constant))


def _filled(builder: Builder, node: fx.Node, arguments: Arguments) -> Tensor:
    """A constant of the shape of a map, as ``zeros_like`` makes it."""
    arguments.taken.update(arguments.values)
    fill = {"zeros": 0, "ones": 1}.get(re.split("_|new_", operation(node).removeprefix("new_"))[0])
    fill = arguments["fill_value"] if fill is None else fill
    return torch.full(tuple(node.meta["val"].shape), fill, device=builder.listed.example.device)


def _same_values(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """Another shape for the same values in the same order, or no effect at all."""
    arguments.taken.update(arguments.values)
    value = builder.read(node.all_input_nodes[0], node)
    meta = node.meta["val"]
    shape = tuple(meta.shape[1:])
    if meta.shape[0] != len(builder.listed.example):
        raise builder.refused(
            node, f"gives shape {tuple(meta.shape)}; the batch must stay the first axis"
        )
    if not meta.is_floating_point():
        raise builder.refused(node, f"makes values of type {meta.dtype}; leave them floats")
    if value.padding != NO_PADDING and shape != value.shape:
        value = builder.settled(value, node)
    return replace(value, shape=shape)


def _dropout(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """No effect; one that is on in evaluation mode is switched off, with a note."""
    if arguments["train"]:
        builder.notes.append(
            f"{operation(node)} is on in evaluation mode; it was left out (pass self.training)"
        )
        node.args = (*node.args[:2], False)
    return _same_values(builder, node, arguments)


def _ending(builder: Builder, node: fx.Node, arguments: Arguments) -> Value:
    """A softmax, sigmoid or tanh, which does not change the order of the logits at the end."""
    value = builder.read(arguments["self"], node)
    arguments.taken.update(arguments.values)
    dim = arguments.values.get("dim")
    path, kind = calling_module(node)
    what = kind.rpartition(".")[2] if kind.startswith("torch.nn.modules.") else operation(node)
    axis = 1 if dim is None else dim % (1 + len(value.shape))
    if axis == 0 or (axis > 1 and value.shape[axis - 1] != math.prod(value.shape)):
        raise builder.refused(node, f"{what} must go over the classes, dim 1, not {dim}")
    return replace(value, ended=f"{what} ({path})" if path else what, ending=node)


OPERATIONS: dict[str, Handler] = {
    "repeat": _repeated,
    "expand": _repeated,
    "slice": _slice,
    "select": _select,
    "unbind": _split,
    "split": _split,
    "split_with_sizes": _split,
    "chunk": _split,
    "getitem": _getitem,
    **dict.fromkeys(("zeros_like", "ones_like", "full_like"), _filled),
    **dict.fromkeys(("new_zeros", "new_ones", "new_full"), _filled),
    "pad": _pad,
    "constant_pad_nd": _pad,
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
        _same_values,
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
        _dropout,
    ),
    **dict.fromkeys(
        ("log_softmax", "softmax", "sigmoid", "sigmoid_", "log_sigmoid", "tanh", "tanh_"), _ending
    ),
}
