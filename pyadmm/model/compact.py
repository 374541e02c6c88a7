"""The network that hardware is made for: without inactive channels, with the same logits.

:func:`~pyadmm.model.folding.fold_inactive` empties the channels that no logit depends on; :func:`compact` takes
them out of the shapes, so that they cost no frame row, no entry, no tile and no drain cycle. A
model of other shapes still runs on an accelerator that is at least as wide: :func:`widen` adds
empty channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.model.folding import fold_inactive, read_channels
from pyadmm.model.input_spec import INPUT
from pyadmm.model.integer import CompressedModel, Node
from pyadmm.model.joins import Add, Concat
from pyadmm.model.pointwise import Lookup, Product
from pyadmm.model.pooling import AvgPool, MaxPool
from pyadmm.model.requant import Requant
from pyadmm.model.types import LayerSpec
from pyadmm.model.weighted_layer import CompressedLayer

Flags = NDArray[np.bool_]
Places = NDArray[np.int64]


def compact(model: CompressedModel) -> CompressedModel:
    """``model`` folded and without the channels that no logit depends on; the same logits.

    The input and the network's outputs keep all channels, and so do the input and the output of a
    convolution with groups, whose channels must divide evenly, unless it is depthwise. Every node
    keeps at least one.
    """
    folded = fold_inactive(model)
    kept = {name: np.flatnonzero(flags) for name, flags in _kept(folded).items()}
    return replace(folded, nodes=tuple(_narrowed(node, kept) for node in folded.nodes))


def compact_shapes(model: CompressedModel) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Per layer, the weight's shape ``(O, C, KH, KW)`` in ``model`` and in its compact form."""
    return {
        layer.name: (layer.spec.window_shape, small.spec.window_shape)
        for layer, small in zip(model.layers, compact(model).layers, strict=True)
    }


def widen(model: CompressedModel, outputs: Mapping[str, int]) -> CompressedModel:
    """``model`` with empty channels added behind those it has: the same logits.

    :param outputs: output channels by layer; a layer that is not named keeps its own.
    :raises PyadmmError: for fewer channels than a layer has, more classes, or channels that a
        convolution with groups or a residual sum cannot take.
    """
    sizes = {INPUT: model.input.shape[0]}
    nodes: list[Node] = []
    for node in model.nodes:
        has, inputs = model.shape_of(node.name)[0], sizes[node.sources[0]]
        if isinstance(node, Concat):
            _require_narrow(model, node, sizes)
            sizes[node.name] = has
            nodes.append(node)
            continue
        own_width = isinstance(node, CompressedLayer) and not node.spec.depthwise
        wants = outputs.get(node.name, has) if own_width else inputs
        if wants < has or (node is model.nodes[-1] and wants != has):
            raise PyadmmError(
                f"{node.name}: {has} channels of model {model.name} do not fit {wants}; "
                "prune further or generate an accelerator for this model"
            )
        if any(sizes[source] != inputs for source in node.sources):
            raise PyadmmError(
                f"{node.name}: its sources must have the same channels, not "
                f"{' and '.join(str(sizes[source]) for source in node.sources)}"
            )
        nodes.append(_widened(node, wants, inputs))
        sizes[node.name] = wants
    return replace(model, nodes=tuple(nodes))


def _require_narrow(model: CompressedModel, node: Concat, sizes: Mapping[str, int]) -> None:
    """Raise where widening a source would shift the channels of the next source."""
    for source in node.sources:
        if sizes[source] != model.shape_of(source)[0]:
            raise PyadmmError(
                f"{node.name}: joins the channels of {source}, which cannot become more; generate "
                "an accelerator for this model"
            )


def _kept(model: CompressedModel) -> dict[str, Flags]:
    """Channels of every node that stay."""
    kept = {name: flags.copy() for name, flags in read_channels(model).items()}
    kept[INPUT][:] = True
    for node in model.nodes:
        if isinstance(node, CompressedLayer) and node.spec.groups > 1 and not node.spec.depthwise:
            kept[node.name][:] = True
            kept[node.source][:] = True
    for flags in kept.values():
        flags[0] |= not flags.any()
    while _share(model, kept):
        pass
    return kept


def _share(model: CompressedModel, kept: Mapping[str, Flags]) -> bool:
    """Make nodes that pass channels on keep the channels of their sources, and vice versa.

    :returns: whether anything changed.
    """
    changed = False
    for node in model.nodes:
        if not isinstance(node, CompressedLayer) or node.spec.depthwise:
            own, sources = kept[node.name], [kept[name] for name in node.sources]
            for group in _same_channels(node, own, sources):
                union = np.logical_or.reduce(group)
                changed |= any(not np.array_equal(flags, union) for flags in group)
                for flags in group:
                    flags[:] = union
    return changed


def _same_channels(node: Node, own: Flags, sources: Sequence[Flags]) -> list[list[Flags]]:
    """Groups of flags, views of those given, that are of the same channels."""
    if not isinstance(node, Concat):
        return [[own, *sources]]
    parts = np.split(own, np.cumsum([len(flags) for flags in sources])[:-1])
    return [[part, flags] for part, flags in zip(parts, sources, strict=True)]


def _narrowed(node: Node, kept: Mapping[str, Places]) -> Node:
    own = kept[node.name]
    if isinstance(node, CompressedLayer):
        return _narrow_layer(node, own, kept[node.source])
    if isinstance(node, AvgPool):
        return replace(node, requant=_requant_of(node.requant, own))
    return node


def _narrow_layer(layer: CompressedLayer, outputs: Places, inputs: Places) -> CompressedLayer:
    window = layer.window_codes[outputs]
    if layer.spec.groups == 1:
        window = window[:, inputs]
    spec, scale = _resized(layer.spec, len(outputs), len(inputs)), layer.weight_scale
    return replace(
        layer,
        spec=spec,
        codes=window.reshape(spec.weight_shape),
        bias=layer.bias[outputs],
        requant=_requant_of(layer.requant, outputs),
        weight_scale=scale if len(scale) == 1 else tuple(scale[o] for o in outputs.tolist()),
    )


def _requant_of(requant: Requant, channels: Places) -> Requant:
    if len(requant.mult) == 1:
        return requant
    return replace(requant, mult=tuple(requant.mult[o] for o in channels.tolist()))


def _resized(spec: LayerSpec, outputs: int, inputs: int) -> LayerSpec:
    """``spec`` with other numbers of output and input channels."""
    channels = (inputs, *spec.input_shape[1:])
    rest = spec.weight_shape[1:]
    if spec.kind == "linear":
        rest = (int(np.prod(channels)),)
    elif spec.groups == 1:
        rest = (inputs, *rest[1:])
    groups = outputs if spec.depthwise else spec.groups
    return replace(spec, weight_shape=(outputs, *rest), input_shape=channels, groups=groups)


def _widened(node: Node, outputs: int, inputs: int) -> Node:
    if isinstance(node, Add | MaxPool | Concat | Lookup | Product):
        return node
    if isinstance(node, AvgPool):
        return replace(node, requant=_padded_requant(node.requant, outputs))
    return _widen_layer(node, outputs, inputs)


def _widen_layer(layer: CompressedLayer, outputs: int, inputs: int) -> CompressedLayer:
    spec = layer.spec
    if (outputs, inputs) == (spec.outputs, spec.input_shape[0]):
        return layer
    if spec.groups > 1 and not spec.depthwise:
        raise PyadmmError(
            f"{layer.name}: a convolution with groups keeps its channels; "
            "generate an accelerator for this model"
        )
    more = outputs - spec.outputs
    more_inputs = 0 if spec.depthwise else inputs - spec.input_shape[0]
    extra = ((0, more), (0, more_inputs), (0, 0), (0, 0))
    wide, scale = _resized(spec, outputs, inputs), layer.weight_scale
    return replace(
        layer,
        spec=wide,
        codes=np.pad(layer.window_codes, extra).reshape(wide.weight_shape),
        bias=np.pad(layer.bias, (0, more)),
        requant=_padded_requant(layer.requant, outputs),
        weight_scale=scale if len(scale) == 1 else (*scale, *scale[:1] * more),
    )


def _padded_requant(requant: Requant, channels: int) -> Requant:
    if len(requant.mult) == 1:
        return requant
    more = channels - len(requant.mult)
    return replace(requant, mult=(*requant.mult, *requant.mult[:1] * more))
