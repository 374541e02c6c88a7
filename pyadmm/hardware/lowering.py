"""A network in the operations that the kernels have: the same logits, bit for bit.

The kernels compute square strides and paddings, pools without padding, and sums. This module turns
the other operations of the integer model into layers of ones and zeros, which cost entries but no new
hardware. A dilated or unevenly padded kernel becomes a larger kernel with zeros. A padded maximum reads
a padded copy. An average with padding becomes a depthwise convolution of ones. A concatenation becomes
a sum of maps that lie in different channels. The kernels read unsigned bytes; signed bytes come with
their sign bit inverted.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.model import (
    Add,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    Concat,
    MaxPool,
    Node,
    Requant,
)
from pyadmm.model.compact import compact
from pyadmm.model.types import LayerSpec, QFormat, Sides

_IDENTITY = Requant()


def hardware_form(model: CompressedModel) -> CompressedModel:
    """The model that an accelerator of ``model`` computes: compact and lowered."""
    return lowered(compact(model))


def lowered(model: CompressedModel) -> CompressedModel:
    """``model`` in the operations of the kernels, as far as they can express it.

    Its input is what :meth:`~pyadmm.model.InputSpec.bytes_of` makes of the data of ``model``.
    Operations that the kernels do not have stay as they are, and
    :func:`pyadmm.hardware.mapping.layer_links` names them.
    """
    names = {node.name for node in model.nodes}
    nodes = [part for node in model.nodes for part in _lowered(model, node, names)]
    same = len(nodes) == len(model.nodes) and all(map(operator.is_, nodes, model.nodes))
    if same and not model.input.signed:
        return model
    return replace(model, input=model.input.unsigned, nodes=tuple(nodes))


def _lowered(model: CompressedModel, node: Node, names: set[str]) -> Iterator[Node]:
    """The nodes that take the place of ``node``; the last one has its name."""
    if isinstance(node, CompressedLayer):
        yield _square_layer(node)
    elif isinstance(node, MaxPool):
        yield from _max_pool(model, node, names)
    elif isinstance(node, AvgPool):
        yield _average(model, node)
    elif isinstance(node, Concat):
        yield from _concat(model, node, names)
    else:
        yield node


def _square_layer(layer: CompressedLayer) -> CompressedLayer:
    """``layer`` with one padding for all sides and no dilation: its kernel has zeros instead."""
    spec = layer.spec
    if spec.kind == "linear" or (len({*spec.padding}) == 1 and spec.dilation == (1, 1)):
        return layer
    padding = max(spec.padding)
    top, left, bottom, right = (padding - side for side in spec.padding)
    rows, columns = spec.dilation
    codes = layer.window_codes
    spans = [(k - 1) * d + 1 for k, d in zip(spec.kernel, spec.dilation, strict=True)]
    kernel = (spans[0] + top + bottom, spans[1] + left + right)
    wide = np.zeros((*codes.shape[:2], *kernel), np.int16)
    inner = wide[:, :, top : top + spans[0], left : left + spans[1]]
    inner[:, :, ::rows, ::columns] = codes
    shape = spec.weight_shape[:2]
    square = LayerSpec(
        spec.name, "conv", (*shape, *kernel), spec.input_shape, spec.stride, padding, spec.groups
    )
    return replace(layer, spec=square, codes=wide)


def _max_pool(model: CompressedModel, pool: MaxPool, names: set[str]) -> Iterator[Node]:
    """A pool without padding, over a map that a layer of ones pads with zeros.

    Zeros do not change the maximum of unsigned values.
    """
    form = model.format_of(pool.source)
    if not any(pool.padding) or form.signed:
        yield pool
        return
    shape = model.shape_of(pool.source)
    name = _free(f"{pool.name}.pad", names)
    ones = np.ones((shape[0], 1, 1, 1), np.int16)
    yield _square_layer(_ones(name, pool.source, ones, shape, form, padding=pool.padding))
    yield MaxPool(pool.name, name, pool.kernel, pool.stride)


def _average(model: CompressedModel, pool: AvgPool) -> Node:
    """A depthwise convolution of ones, where the kernels have no such average."""
    square = len({*pool.kernel}) == len({*pool.stride}) == 1 and not any(pool.padding)
    if pool.border is not None or (square and len(pool.requant.mult) == 1):
        return pool
    shape = model.shape_of(pool.source)
    stride = pool.stride
    if model.shape_of(pool.name)[1:] == (1, 1):  # a single window: its stride does not matter
        stride = (1, 1)
    spec = LayerSpec(
        pool.name, "conv", (shape[0], 1, *pool.kernel), shape, stride, pool.padding, shape[0]
    )
    if spec.output_shape != model.shape_of(pool.name):
        return pool
    codes, bias = np.ones(spec.weight_shape, np.int16), np.zeros(shape[0], np.int64)
    layer = CompressedLayer(spec, pool.source, codes, 1, bias, pool.requant, pool.output)
    return _square_layer(layer)


def _concat(model: CompressedModel, concat: Concat, names: set[str]) -> Iterator[Node]:
    """Every source in its place among channels of zeros, then their sum."""
    total, start = model.shape_of(concat.name)[0], 0
    parts: list[str] = []
    for source, requant in zip(concat.sources, concat.requants, strict=True):
        shape = model.shape_of(source)
        codes = np.eye(total, shape[0], -start, dtype=np.int16)[:, :, None, None]
        start += shape[0]
        single = len(concat.sources) == 1
        name = concat.name if single else _free(f"{concat.name}.{len(parts)}", names)
        yield _ones(name, source, codes, shape, concat.output, requant=requant)
        parts.append(name)
    so_far = parts[0]
    for place, part in enumerate(parts[1:], 1):
        end = place == len(parts) - 1
        name = concat.name if end else _free(f"{concat.name}.sum{place}", names)
        yield Add(name, (so_far, part), (2, 2), 1, concat.output)
        so_far = name


def _ones(
    name: str,
    source: str,
    codes: NDArray[np.int16],
    shape: tuple[int, int, int],
    output: QFormat,
    *,
    padding: Sides = (0, 0, 0, 0),
    requant: Requant = _IDENTITY,
) -> CompressedLayer:
    """A 1x1 convolution of ones and zeros."""
    groups = shape[0] // codes.shape[1]
    spec = LayerSpec(name, "conv", codes.shape, shape, 1, padding, groups)
    bias = np.zeros(spec.outputs, np.int64)
    return CompressedLayer(spec, source, codes, 1, bias, requant, output)


def _free(wanted: str, names: set[str]) -> str:
    name, number = wanted, 1
    while name in names:
        number += 1
        name = f"{wanted}{number}"
    if len(name.encode()) > 255:
        raise PyadmmError(f"{wanted}: its name is too long for a name of its parts; shorten it")
    names.add(name)
    return name
