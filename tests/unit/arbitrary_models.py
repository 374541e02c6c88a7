"""Hypothesis strategy for every kind of :class:`CompressedModel`, and their exact comparison."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from hypothesis import strategies as st

from pyadmm.model import (
    INPUT,
    Add,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    InputSpec,
    MaxPool,
    Node,
    Requant,
)
from pyadmm.model.types import LayerSpec, QFormat

Shape = tuple[int, int, int]

scales = st.one_of(
    st.just(1.0),
    st.integers(-1074, 1023).map(lambda e: math.ldexp(1.0, e)),
    st.floats(min_value=0, exclude_min=True, allow_infinity=False, width=32),
    st.floats(min_value=0, exclude_min=True, allow_infinity=False),
)
names = st.one_of(st.text(max_size=12), st.sampled_from(["conv1", "layer1.0.bn", "fc1", "pool2"]))
mults = st.one_of(st.integers(1, 65535), st.just(2))


@st.composite
def formats(draw: st.DrawFn) -> QFormat:
    signed = draw(st.booleans())
    return QFormat(draw(st.integers(1 + signed, 16)), signed, draw(scales))


@st.composite
def requants(draw: st.DrawFn, channels: int) -> Requant:
    count = draw(st.sampled_from([1, channels]))
    return Requant(
        tuple(draw(st.lists(mults, min_size=count, max_size=count))), draw(st.integers(1, 48))
    )


@st.composite
def specs(draw: st.DrawFn, name: str, shape: Shape) -> LayerSpec:
    channels, height, width = shape
    outputs = draw(st.integers(1, 12))
    if draw(st.booleans()):
        return LayerSpec(name, "linear", (outputs, channels * height * width), shape)
    padding = draw(st.integers(0, 2))
    kernel = (
        draw(st.integers(1, min(4, height + 2 * padding))),
        draw(st.integers(1, min(4, width + 2 * padding))),
    )
    groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    weight_shape = (outputs * groups, channels // groups, *kernel)
    stride = draw(st.integers(1, 3))
    return LayerSpec(name, "conv", weight_shape, shape, stride, padding, groups)


@st.composite
def layers(draw: st.DrawFn, name: str, source: str, shape: Shape) -> CompressedLayer:
    spec = draw(specs(name, shape))
    weight_bits = draw(st.integers(1, 8))
    density = draw(st.sampled_from([0.0, 0.02, 0.1, 0.5, 0.97, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    top = 1 << (weight_bits - 1)
    codes = rng.integers(1, top + 1, spec.weight_shape) * rng.choice([-1, 1], spec.weight_shape)
    codes[rng.random(spec.weight_shape) >= density] = 0
    if draw(st.booleans()):
        codes[rng.random(spec.outputs) < 0.5] = 0
    span = 1 << draw(st.sampled_from([1, 5, 12, 30]))
    bias = rng.integers(-span, span, spec.outputs) << draw(st.sampled_from([0, 3]))
    bias[rng.random(spec.outputs) < 0.3] = 0
    scale_count = draw(st.sampled_from([1, spec.outputs]))
    weight_scale = tuple(draw(st.lists(scales, min_size=scale_count, max_size=scale_count)))
    return CompressedLayer(
        spec,
        source,
        codes.astype(np.int16),
        weight_bits,
        bias.astype(np.int64),
        draw(requants(spec.outputs)),
        draw(formats()),
        weight_scale,
    )


@st.composite
def nodes(draw: st.DrawFn, name: str, shapes: dict[str, Shape]) -> Node:
    source = draw(st.sampled_from(list(shapes)))
    shape = shapes[source]
    kind = draw(st.sampled_from(["layer", "layer", "max", "avg", "add"]))
    if kind == "layer":
        return draw(layers(name, source, shape))
    if kind == "add":
        peers = [peer for peer in shapes if shapes[peer] == shape]
        sources = (source, draw(st.sampled_from(peers)))
        mult = (draw(mults), draw(mults))
        return Add(name, sources, mult, draw(st.integers(1, 48)), draw(formats()))
    kernel = draw(st.integers(1, min(shape[1:])))
    stride = draw(st.integers(1, 4))
    if kind == "max":
        return MaxPool(name, source, kernel, stride)
    return AvgPool(name, source, kernel, stride, draw(requants(shape[0])), draw(formats()))


@st.composite
def models(draw: st.DrawFn) -> CompressedModel:
    """Up to six nodes of all kinds, any names, any wiring."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    offsets = draw(st.sampled_from([1, shape[0]]))
    offset = tuple(draw(st.lists(st.integers(0, 255), min_size=offsets, max_size=offsets)))
    entry = InputSpec(shape, draw(formats()), offset, draw(st.integers(0, 7)))
    shapes: dict[str, Shape] = {INPUT: shape}
    made: list[Node] = []
    for _ in range(draw(st.integers(1, 6))):
        name = draw(names.filter(lambda n: n not in shapes))
        node = draw(nodes(name, shapes))
        shapes[name] = node.output_shape([shapes[s] for s in node.sources])
        made.append(node)
    return CompressedModel(draw(names), entry, tuple(made))


def assert_same(a: CompressedModel, b: CompressedModel) -> None:
    """Every field of every node equal, arrays by value and type."""
    assert (a.name, a.input, len(a.nodes)) == (b.name, b.input, len(b.nodes))
    for x, y in zip(a.nodes, b.nodes, strict=True):
        assert type(x) is type(y)
        for field in dataclasses.fields(x):
            left, right = getattr(x, field.name), getattr(y, field.name)
            if isinstance(left, np.ndarray):
                assert left.dtype == right.dtype, field.name
                np.testing.assert_array_equal(left, right)
            else:
                assert left == right, (x.name, field.name)
