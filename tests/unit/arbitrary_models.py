"""Hypothesis strategy for every kind of :class:`CompressedModel`, and their exact comparison."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from pyadmm.model import (
    INPUT,
    Add,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    Concat,
    InputSpec,
    Lookup,
    MaxPool,
    Node,
    Product,
    Requant,
)
from pyadmm.model.pointwise import LOOKUP_BITS, PRODUCT_BITS
from pyadmm.model.types import LayerSpec, Pair, QFormat, Sides

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
def pairs(draw: st.DrawFn, numbers: st.SearchStrategy[int]) -> Pair:
    """Numbers for rows and columns, often the same."""
    rows = draw(numbers)
    return rows, rows if draw(st.booleans()) else draw(numbers)


@st.composite
def sides(draw: st.DrawFn, largest: int) -> Sides:
    """Numbers for top, left, bottom and right, often the same."""
    number = draw(st.integers(0, largest))
    rest = [number if draw(st.booleans()) else draw(st.integers(0, largest)) for _ in range(3)]
    return number, rest[0], rest[1], rest[2]


@st.composite
def specs(draw: st.DrawFn, name: str, shape: Shape) -> LayerSpec:
    channels, height, width = shape
    outputs = draw(st.integers(1, 12))
    if draw(st.booleans()):
        return LayerSpec(name, "linear", (outputs, channels * height * width), shape)
    padding = draw(sides(2))
    dilation = (draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from([1, 1, 2])))
    size = height + padding[0] + padding[2], width + padding[1] + padding[3]
    kernel = tuple(
        draw(st.integers(1, min(4, (s - 1) // d + 1))) for s, d in zip(size, dilation, strict=True)
    )
    groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    weight_shape = (outputs * groups, channels // groups, *kernel)
    stride = draw(pairs(st.integers(1, 3)))
    return LayerSpec(name, "conv", weight_shape, shape, stride, padding, groups, dilation)


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
def nodes(draw: st.DrawFn, name: str, shapes: dict[str, Shape], forms: dict[str, QFormat]) -> Node:
    source = draw(st.sampled_from(list(shapes)))
    shape = shapes[source]
    kinds = ["layer", "layer", "max", "avg", "add", "concat"]
    kinds += ["lookup"] if forms[source].bits <= LOOKUP_BITS else []
    kinds += ["product"] if forms[source].bits <= PRODUCT_BITS else []
    kind = draw(st.sampled_from(kinds))
    if kind == "layer":
        return draw(layers(name, source, shape))
    if kind == "add":
        peers = [peer for peer in shapes if shapes[peer] == shape]
        sources = (source, draw(st.sampled_from(peers)))
        mult = (draw(mults), draw(mults))
        return Add(name, sources, mult, draw(st.integers(1, 48)), draw(formats()))
    if kind == "lookup":
        return draw(lookups(name, source, forms[source]))
    if kind == "product":
        alike = (shape, (shape[0], 1, 1))
        peers = [p for p in shapes if shapes[p] in alike and forms[p].bits <= PRODUCT_BITS]
        sources = (source, draw(st.sampled_from(peers)))
        return Product(name, sources, draw(requants(1)), draw(formats()))
    if kind == "concat":
        peers = [peer for peer in shapes if shapes[peer][1:] == shape[1:]]
        rest = draw(st.lists(st.sampled_from(peers), max_size=2))
        scaled = tuple(draw(requants(1)) for _ in [source, *rest])
        return Concat(name, (source, *rest), scaled, draw(formats()))
    return draw(pools(name, source, shape, kind))


@st.composite
def lookups(draw: st.DrawFn, name: str, source: str, form: QFormat) -> Lookup:
    """A table of any entries."""
    output = draw(formats())
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    table = tuple(rng.integers(output.lo, output.hi + 1, 1 << form.bits).tolist())
    return Lookup(name, source, form.lo, table, output)


@st.composite
def pools(draw: st.DrawFn, name: str, source: str, shape: Shape, kind: str) -> Node:
    """A pool whose windows all lie on the map, at least in part."""
    kernel = (draw(st.integers(1, min(5, shape[1]))), draw(st.integers(1, min(5, shape[2]))))
    stride = draw(pairs(st.integers(1, 4)))
    most = [k - 1 for k in (*kernel, *kernel)]
    padding = tuple(min(side, limit) for side, limit in zip(draw(sides(2)), most, strict=True))
    pool = MaxPool(name, source, kernel, stride, padding)
    assume(all(first < last for axis in pool.windows(shape[1:]) for first, last in axis))
    if kind == "max":
        return pool
    requant = draw(requants(shape[0]))
    border = draw(st.one_of(st.none(), sides(2)))
    if border is not None:
        requant = Requant(tuple(1 + m // 32 for m in requant.mult), requant.shift)
    return AvgPool(name, source, kernel, stride, requant, draw(formats()), padding, border)


@st.composite
def models(draw: st.DrawFn) -> CompressedModel:
    """Up to six nodes of all kinds, any names, any wiring."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    offsets = draw(st.sampled_from([1, shape[0]]))
    signed = draw(st.booleans())
    values = st.integers(-128, 127) if signed else st.integers(0, 255)
    offset = tuple(draw(st.lists(values, min_size=offsets, max_size=offsets)))
    entry = InputSpec(shape, draw(formats()), offset, draw(st.integers(0, 7)), signed)
    shapes: dict[str, Shape] = {INPUT: shape}
    forms = {INPUT: entry.format}
    made: list[Node] = []
    for _ in range(draw(st.integers(1, 6))):
        name = draw(names.filter(lambda n: n not in shapes))
        node = draw(nodes(name, shapes, forms))
        forms[name] = forms[node.source] if isinstance(node, MaxPool) else node.output
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
