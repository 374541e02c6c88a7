"""Random residual networks with awkward shapes, for the tests of the back ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pyadmm.hardware.plan import KernelConfig, index_width
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
from tests.unit.models import U4, random_layer

S4 = QFormat(4, True)
S6 = QFormat(6, True)
FORMATS = (U4, S4, S6, QFormat(1, False), QFormat(8, False), QFormat(12, True))


class Graph:
    """A network that grows node by node; every method returns the new node's name."""

    def __init__(self, input_spec: InputSpec, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.model_input = input_spec
        self.nodes: list[Node] = []

    @property
    def model(self) -> CompressedModel:
        return CompressedModel("graph", self.model_input, tuple(self.nodes))

    def shape(self, source: str) -> tuple[int, int, int]:
        return self.model_input.shape if source == INPUT else self.model.shape_of(source)

    def format(self, source: str) -> QFormat:
        return self.model_input.format if source == INPUT else self.model.format_of(source)

    def _add(self, node: Node) -> str:
        self.nodes.append(node)
        return node.name

    def _name(self, kind: str) -> str:
        return f"{kind}{len(self.nodes)}"

    def conv(
        self,
        source: str,
        outputs: int,
        kernel: tuple[int, int] = (3, 3),
        stride: int = 1,
        padding: int = 1,
        *,
        groups: int = 1,
        output: QFormat | None = U4,
        density: float = 0.4,
    ) -> str:
        shape = self.shape(source)
        weight = (outputs, shape[0] // groups, *kernel)
        spec = LayerSpec(self._name("conv"), "conv", weight, shape, stride, padding, groups)
        return self._weighted(spec, source, output, density)

    def linear(self, source: str, outputs: int) -> str:
        shape = self.shape(source)
        spec = LayerSpec(self._name("fc"), "linear", (outputs, int(np.prod(shape))), shape)
        return self._weighted(spec, source, None, 0.6)

    def _weighted(
        self, spec: LayerSpec, source: str, output: QFormat | None, density: float
    ) -> str:
        x = self.format(source).max_magnitude
        bits = int(self.rng.integers(1, 6))
        layer = random_layer(
            self.rng, spec, source, density=density, weight_bits=bits, output=output, x_magnitude=x
        )
        return self._add(layer)

    def option_a(self, source: str, outputs: int, stride: int) -> str:
        """Every ``stride``-th pixel, zero channels around: a 1x1 convolution of ones."""
        shape = self.shape(source)
        spec = LayerSpec(self._name("skip"), "conv", (outputs, shape[0], 1, 1), shape, stride)
        codes = np.zeros(spec.weight_shape, np.int16)
        kept = np.arange(shape[0])
        codes[kept + (outputs - shape[0]) // 2, kept] = 1
        bias = np.zeros(outputs, np.int64)
        form = self.format(source)
        return self._add(CompressedLayer(spec, source, codes, 1, bias, Requant(), form))

    def add(self, a: str, b: str, output: QFormat = U4) -> str:
        mult = tuple(int(m) for m in self.rng.integers(1, 2**14, 2))
        peak = mult[0] * self.format(a).max_magnitude + mult[1] * self.format(b).max_magnitude
        shift = max(int(peak // (2 * output.hi + 1)).bit_length(), 1)
        return self._add(Add(self._name("add"), (a, b), (mult[0], mult[1]), shift, output))

    def maxpool(self, source: str, kernel: int, stride: int) -> str:
        return self._add(MaxPool(self._name("maxpool"), source, kernel, stride))

    def avgpool(self, source: str, kernel: int, stride: int, output: QFormat = U4) -> str:
        mult, shift = 2**14 // kernel**2 + int(self.rng.integers(0, 9)), 14
        node = AvgPool(
            self._name("avgpool"), source, kernel, stride, Requant((mult,), shift), output
        )
        return self._add(node)

    def block(
        self, x: str, outputs: int, stride: int, shortcut: str, *, groups: int = 1, depth: int = 2
    ) -> str:
        """``depth`` convolutions beside a shortcut: ``identity``, ``option a`` or ``conv``."""
        y = x
        for index in range(depth):
            step = {"stride": stride, "groups": groups} if index == 0 else {}
            y = self.conv(y, outputs, output=S6 if index == depth - 1 else U4, **step)
        if shortcut == "option a":
            x = self.option_a(x, outputs, stride)
        elif shortcut == "conv":
            x = self.conv(x, outputs, (1, 1), stride, 0, output=S4)
        return self.add(y, x)


def residual_network(seed: int = 0) -> CompressedModel:
    """Every kind of shortcut on a non-square map, the first on the input; pools behind sums."""
    graph = Graph(InputSpec((3, 9, 6), S4, offset=(128, 100, 90), shift=4), seed)
    x = graph.block(INPUT, 3, 1, "identity")
    x = graph.block(x, 4, 2, "option a", depth=1)
    x = graph.block(x, 4, 1, "conv", groups=2, depth=1)
    x = graph.maxpool(x, 2, 1)
    x = graph.avgpool(graph.add(x, x, S6), 2, 1)
    graph.linear(x, 3)
    return graph.model


def branching_network(seed: int = 0) -> CompressedModel:
    """Three readers of the input and of a node, a sum of a node with itself, pools in a row."""
    graph = Graph(InputSpec((2, 11, 6), QFormat(3, False), shift=5), seed)
    a = graph.conv(INPUT, 3, (5, 3), 4, 2)
    b = graph.avgpool(INPUT, 3, 2, S4)
    c = graph.conv(graph.maxpool(INPUT, 2, 1), 2, (2, 2), 2, 2)
    d = graph.add(c, c, S6)
    e = graph.maxpool(graph.maxpool(c, 2, 1), 3, 2)
    ends = [graph.linear(x, 4) for x in (a, b, d, e)]
    total = ends[0]
    for other in ends[1:]:
        total = graph.add(total, other, QFormat(14, True))
    return graph.model


def random_network(seed: int) -> CompressedModel:
    """Two residual blocks between random layers and pools, on a random map."""
    rng = np.random.default_rng(seed)
    form = FORMATS[int(rng.integers(3))]
    shape = (int(rng.integers(1, 4)), int(rng.integers(6, 15)), int(rng.integers(5, 15)))
    graph = Graph(InputSpec(shape, form, shift=8 - form.bits), seed)
    kernel = (int(rng.integers(1, 6)), int(rng.integers(1, 6)))
    x = graph.conv(INPUT, 2 * int(rng.integers(1, 4)), kernel, int(rng.choice([1, 1, 2, 4])), 2)
    x = _pooled(graph, x, rng)
    for _ in range(2):
        channels = graph.shape(x)[0]
        outputs = 2 * int(rng.integers((channels + 1) // 2, channels // 2 + 3))
        stride = int(rng.integers(1, 3))
        plain = outputs == channels and stride == 1
        shortcut = "identity" if plain else str(rng.choice(["option a", "conv"]))
        groups = 2 if channels % 2 == 0 and rng.random() < 0.5 else 1
        x = _pooled(graph, graph.block(x, outputs, stride, shortcut, groups=groups), rng)
    if rng.random() < 0.7:
        graph.linear(x, int(rng.integers(1, 6)))
    return graph.model


def _pooled(graph: Graph, x: str, rng: np.random.Generator) -> str:
    """``x`` behind a random pool, or as it is."""
    smallest = min(graph.shape(x)[1:])
    kernel, stride = int(rng.integers(1, smallest + 1)), int(rng.integers(1, 4))
    kind = rng.random()
    if kind < 0.3:
        return graph.maxpool(x, kernel, stride)
    if kind < 0.6:
        return graph.avgpool(x, kernel, stride, FORMATS[int(rng.integers(len(FORMATS)))])
    return x


def rescaled(model: CompressedModel) -> CompressedModel:
    """The same network with other scales of its sums and average pools."""
    return replace(model, nodes=tuple(_rescaled(node) for node in model.nodes))


def _rescaled(node: Node) -> Node:
    if isinstance(node, Add):
        return replace(node, mult=(node.mult[1], node.mult[0] + 1), shift=node.shift + 1)
    if isinstance(node, AvgPool):
        return replace(node, requant=Requant((node.requant.mult[0] + 3,), 13))
    return node


def random_configs(model: CompressedModel, seed: int) -> dict[str, KernelConfig]:
    """Any kernel that every layer can take."""
    rng = np.random.default_rng(seed)
    return {layer.name: random_config(rng, layer) for layer in model.layers}


def random_config(rng: np.random.Generator, layer: CompressedLayer) -> KernelConfig:
    """Any kernel that ``layer`` can take."""
    spec = layer.spec
    rows = int(rng.integers(1, min(spec.output_shape[1], 3) + 1))
    groups = int(rng.integers(1, min(spec.outputs, 2) + 1))
    if rng.random() < 0.25 and spec.groups == 1:
        return random_balanced(rng, layer, rows, groups)
    if rng.random() < 0.4 and (spec.groups == 1 or spec.outputs // spec.groups % groups == 0):
        return KernelConfig("dense", rows, groups)
    limit = index_width(spec.input_shape[0])
    return KernelConfig("sparse", rows, groups, int(rng.integers(min(1, limit), limit + 1)))


def random_balanced(
    rng: np.random.Generator, layer: CompressedLayer, rows: int, groups: int
) -> KernelConfig:
    """Any balanced kernel of ``groups`` groups that ``layer`` can take."""
    spec = layer.spec
    channels, *size = spec.input_shape
    single = size == [1, 1] and spec.kernel == (1, 1)
    most = channels if single else spec.kernel[1]
    window = int(rng.integers(1, most + 1)) if spec.square_stride == 1 else 1
    limit = index_width(-(-channels // window) if single else channels)
    bits = int(rng.integers(min(1, limit), limit + 1))
    walkers = int(rng.choice([n for n in range(1, groups + 1) if groups % n == 0]))
    return KernelConfig("balanced", rows, groups, bits, window=window, walkers=walkers)
