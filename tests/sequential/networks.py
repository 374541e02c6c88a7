"""Small integer networks of awkward shapes for the sequential array, and published shapes."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from pyadmm.model import (
    INPUT,
    Add,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    Concat,
    InputSpec,
    MaxPool,
    Node,
    Requant,
)
from pyadmm.model.types import LayerSpec, QFormat

Shape = tuple[int, int, int]


def weighted(
    rng: np.random.Generator,
    spec: LayerSpec,
    source: str,
    density: float,
    *,
    bits: int = 8,
    output: QFormat | None = None,
) -> CompressedLayer:
    """A layer with random codes at ``density`` and a requantisation that uses the output's range."""
    top = 1 << (bits - 1)
    codes = rng.integers(1, top + 1, spec.weight_shape) * rng.choice([-1, 1], spec.weight_shape)
    codes[rng.random(spec.weight_shape) >= density] = 0
    bias = rng.integers(-2000, 2000, spec.outputs)
    fan_in = max(float(np.count_nonzero(codes)) / spec.outputs, 1.0)
    shift = max(1, round(np.log2(256 * top * np.sqrt(fan_in) / 128)) + 14)
    count = int(rng.choice([1, spec.outputs]))
    mult = tuple(int(m) for m in rng.integers(1 << 13, 1 << 15, count))
    output = output or QFormat(8, False)
    return CompressedLayer(
        spec,
        source,
        codes.astype(np.int16),
        bits,
        bias.astype(np.int64),
        Requant(mult, min(shift, 46)),
        output,
    )


def images_of(rng: np.random.Generator, model: CompressedModel, count: int) -> NDArray[np.uint8]:
    """Random bytes of the input's shape."""
    return rng.integers(0, 256, (count, *model.input.shape)).astype(np.uint8)


@st.composite
def inner_formats(draw: st.DrawFn) -> QFormat:
    signed = draw(st.booleans())
    return QFormat(draw(st.integers(1 + signed, 8)), signed)


@st.composite
def layers(
    draw: st.DrawFn, rng: np.random.Generator, name: str, source: str, shape: Shape
) -> CompressedLayer:
    channels, height, width = shape
    density = draw(st.sampled_from([0.0, 0.03, 0.2, 1.0]))
    output = draw(inner_formats())
    bits = draw(st.integers(1, 8))
    if draw(st.integers(0, 4)) == 0 and height * width <= 64:
        spec = LayerSpec(
            name, "linear", (draw(st.integers(1, 12)), channels * height * width), shape
        )
        return weighted(rng, spec, source, density, bits=bits, output=output)
    padding = tuple(draw(st.integers(0, 2)) for _ in range(4))
    dilation = draw(st.sampled_from([1, 1, 2]))
    sizes = (height + padding[0] + padding[2], width + padding[1] + padding[3])
    kernel = tuple(draw(st.integers(1, min(5, (size - 1) // dilation + 1))) for size in sizes)
    groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    outputs = groups * draw(st.integers(1, 8 if groups == 1 else 2))
    stride = draw(st.sampled_from([1, 1, 2, 3, (1, 2), (2, 1)]))
    weight = (outputs, channels // groups, *kernel)
    spec = LayerSpec(name, "conv", weight, shape, stride, padding, groups, dilation)
    return weighted(rng, spec, source, density, bits=bits, output=output)


@st.composite
def nodes(
    draw: st.DrawFn,
    rng: np.random.Generator,
    name: str,
    shapes: dict[str, Shape],
    source: tuple[str, bool],
) -> Node:
    """A node on a map; a sum or a concatenation takes earlier maps of its size too.

    :param source: name of ``last`` and whether it is signed.
    """
    last, signed = source
    shape = shapes[last]
    kind = draw(st.sampled_from(["layer", "layer", "layer", "max", "avg", "add", "cat"]))
    if kind == "cat":
        peers = [peer for peer in shapes if shapes[peer][1:] == shape[1:]]
        sources = (last, *draw(st.lists(st.sampled_from(peers), min_size=1, max_size=2)))
        scales = tuple(Requant((draw(st.integers(1, 65535)),), 15) for _ in sources)
        return Concat(name, sources, scales, draw(inner_formats()))
    if kind == "add":
        peer = draw(st.sampled_from([p for p in shapes if shapes[p] == shape]))
        mult = (draw(st.integers(1, 65535)), draw(st.sampled_from([1, 64, 128, 129, 40000])))
        return Add(name, (last, peer), mult, draw(st.integers(1, 20)), draw(inner_formats()))
    kernel = tuple(draw(st.integers(1, min(3, size))) for size in shape[1:])
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, size - 1)) for size in (*kernel, *kernel))
    if kind == "max":
        return MaxPool(name, last, kernel, stride, 0 if signed else padding)
    if kind == "avg":
        requant = Requant((draw(st.integers(1, 65535)),), draw(st.integers(8, 20)))
        return AvgPool(name, last, kernel, stride, requant, draw(inner_formats()), padding)
    return draw(layers(rng, name, last, shape))


@st.composite
def networks(draw: st.DrawFn, largest: int = 14) -> CompressedModel:
    """Up to six nodes in a chain with residual sums, then a classifier of wide logits or none."""
    size = st.integers(1, largest)
    shape = (draw(st.integers(1, 5)), draw(size), draw(size))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shapes: dict[str, Shape] = {INPUT: shape}
    made: list[Node] = []
    last = INPUT
    held = draw(inner_formats())
    signed = held.signed
    for number in range(draw(st.integers(1, 6))):
        node = draw(nodes(rng, f"node{number}", shapes, (last, signed)))
        last = node.name
        signed = signed if isinstance(node, MaxPool) else node.output.signed
        shapes[last] = node.output_shape([shapes[s] for s in node.sources])
        made.append(node)
    channels, height, width = shapes[last]
    if height * width <= 64 and draw(st.booleans()):
        spec = LayerSpec("logits", "linear", (10, channels * height * width), shapes[last])
        made.append(weighted(rng, spec, last, 0.5, output=QFormat(draw(st.integers(9, 20)), True)))
    shift = 1
    if isinstance(made[0], CompressedLayer) and not any(INPUT in n.sources for n in made[1:]):
        held, shift = draw(st.sampled_from([(held, 1), (QFormat(9, True), 0)]))
    entry = InputSpec(shape, held, (draw(st.integers(0, 128)),), shift)
    return CompressedModel("net", entry, tuple(made))
