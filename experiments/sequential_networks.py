"""Published networks as integer models with random weights, for counting cycles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

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

_BYTE = QFormat(8, False)


@dataclass(frozen=True)
class Density:
    """Share of the weights that is left, and bits, by layer; ``"*"`` is any other layer.

    :param source: where the shares are from.
    """

    kept: Mapping[str, float]
    conv_bits: int
    linear_bits: int
    source: str


DENSITIES = {
    "alexnet": Density(
        {
            **{"conv1": 0.81, "conv2": 0.20, "conv3": 0.19, "conv4": 0.20, "conv5": 0.20},
            **{"fc6": 0.028, "fc7": 0.059, "fc8": 0.093},
        },
        5,
        3,
        "ADMM-NN, AlexNet: per-layer shares, 5-bit convolutions, 3-bit fully connected layers",
    ),
    "vgg16": Density({"*": 6.9 / 138}, 5, 3, "ADMM-NN, VGG-16: 6.9 M of 138 M, shared out evenly"),
    "resnet50": Density({"*": 3.6 / 25.6}, 6, 6, "ADMM-NN, ResNet-50: 3.6 M of 25.6 M, evenly"),
    "resnet8": Density({"*": 1.0}, 8, 8, "MLPerf Tiny, dense"),
    "ds-cnn": Density({"*": 1.0}, 8, 8, "MLPerf Tiny, dense"),
    "vww-mobilenet": Density({"*": 1.0}, 8, 8, "MLPerf Tiny, dense"),
    "mobilenet-v2": Density({"*": 1.0}, 8, 8, "dense"),
    "squeezenet": Density(
        {"*": 0.334}, 8, 8, "Deep Compression's SqueezeNet: 415,921 of 1,244,448"
    ),
}


class _Builder:
    """Grows a model node by node; the last node is the source of the next."""

    def __init__(self, name: str, shape: tuple[int, int, int], density: Density) -> None:
        self.name, self.density = name, density
        self.input = InputSpec(shape, _BYTE)
        self.nodes: list[Node] = []
        self.shapes = {INPUT: shape}
        self.last = INPUT
        self.rng = np.random.default_rng(0)

    def _take(self, node: Node) -> str:
        self.nodes.append(node)
        self.shapes[node.name] = node.output_shape([self.shapes[s] for s in node.sources])
        self.last = node.name
        return node.name

    def conv(
        self,
        name: str,
        outputs: int,
        kernel: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | Sequence[int] = 0,
        groups: int = 1,
        source: str | None = None,
    ) -> str:
        """A convolution with a ReLU; ``groups = 0`` makes it depthwise."""
        source = source or self.last
        shape = self.shapes[source]
        groups = groups or shape[0]
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        weight = (outputs, shape[0] // groups, *size)
        spec = LayerSpec(name, "conv", weight, shape, stride, padding, groups)
        return self._take(self._layer(spec, source, self.density.conv_bits, _BYTE))

    def linear(self, name: str, outputs: int, last: bool = False) -> str:
        """A fully connected layer; the last one gives 24-bit logits."""
        shape = self.shapes[self.last]
        spec = LayerSpec(name, "linear", (outputs, int(np.prod(shape))), shape)
        output = QFormat(24, True) if last else _BYTE
        return self._take(self._layer(spec, self.last, self.density.linear_bits, output))

    def _layer(self, spec: LayerSpec, source: str, bits: int, output: QFormat) -> CompressedLayer:
        rng, top = self.rng, 1 << (bits - 1)
        share = self.density.kept.get(spec.name, self.density.kept.get("*", 1.0))
        codes = np.zeros(spec.weights, np.int16)
        kept = np.flatnonzero(rng.random(spec.weights, np.float32) < share)
        codes[kept] = rng.integers(1, top + 1, len(kept)) * rng.choice([-1, 1], len(kept))
        # Sums of n products spread like sqrt(n): this shift uses the range of the output.
        fan_in = max(len(kept) / spec.outputs, 1.0)
        shift = max(1, round(np.log2(64 * top * np.sqrt(fan_in) / 128)) + 15)
        requant = Requant() if output.bits > 8 else Requant((40000,), shift)
        bias = rng.integers(-64 * top, 64 * top, spec.outputs)
        shaped = codes.reshape(spec.weight_shape)
        return CompressedLayer(spec, source, shaped, bits, bias, requant, output)

    def max_pool(self, name: str, kernel: int, stride: int, padding: int = 0) -> str:
        """A maximum pool."""
        return self._take(MaxPool(name, self.last, kernel, stride, padding))

    def average(self, name: str) -> str:
        """The average of the whole map."""
        size = self.shapes[self.last][1:]
        mult = round((1 << 18) / (size[0] * size[1]))
        return self._take(AvgPool(name, self.last, size, size, Requant((mult,), 18), _BYTE))

    def add(self, name: str, a: str, b: str) -> str:
        """The rounded mean of two maps."""
        return self._take(Add(name, (a, b), (1, 1), 1, _BYTE))

    def concat(self, name: str, *sources: str) -> str:
        """The channels of all sources."""
        return self._take(Concat(name, sources, (Requant(),) * len(sources), _BYTE))

    def model(self) -> CompressedModel:
        """What has been built."""
        return CompressedModel(self.name, self.input, tuple(self.nodes))


def _alexnet(density: Density) -> CompressedModel:
    net = _Builder("alexnet", (3, 227, 227), density)
    net.conv("conv1", 96, 11, stride=4)
    net.max_pool("pool1", 3, 2)
    net.conv("conv2", 256, 5, padding=2, groups=2)
    net.max_pool("pool2", 3, 2)
    net.conv("conv3", 384, 3, padding=1)
    net.conv("conv4", 384, 3, padding=1, groups=2)
    net.conv("conv5", 256, 3, padding=1, groups=2)
    net.max_pool("pool5", 3, 2)
    net.linear("fc6", 4096)
    net.linear("fc7", 4096)
    net.linear("fc8", 1000, last=True)
    return net.model()


def _vgg16(density: Density) -> CompressedModel:
    net = _Builder("vgg16", (3, 224, 224), density)
    for block, (channels, convs) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        for conv in range(convs):
            net.conv(f"conv{block + 1}_{conv + 1}", channels, 3, padding=1)
        net.max_pool(f"pool{block + 1}", 2, 2)
    net.linear("fc6", 4096)
    net.linear("fc7", 4096)
    net.linear("fc8", 1000, last=True)
    return net.model()


def _resnet50(density: Density) -> CompressedModel:
    net = _Builder("resnet50", (3, 224, 224), density)
    net.conv("conv1", 64, 7, stride=2, padding=3)
    source = net.max_pool("pool1", 3, 2, 1)
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            name, stride = f"layer{stage + 1}.{block}", 2 if stage and not block else 1
            skip = source
            net.conv(f"{name}.conv1", width, 1, source=source)
            net.conv(f"{name}.conv2", width, 3, stride=stride, padding=1)
            main = net.conv(f"{name}.conv3", 4 * width, 1)
            if not block:
                skip = net.conv(f"{name}.skip", 4 * width, 1, stride=stride, source=source)
            source = net.add(f"{name}.add", main, skip)
    net.average("pool")
    net.linear("fc", 1000, last=True)
    return net.model()


def _resnet8(density: Density) -> CompressedModel:
    net = _Builder("resnet8", (3, 32, 32), density)
    source = net.conv("conv1", 16, 3, padding=1)
    for stage, width in enumerate((16, 32, 64)):
        stride, sides = (2, (0, 0, 1, 1)) if stage else (1, (1, 1, 1, 1))
        net.conv(f"stage{stage}.conv1", width, 3, stride=stride, padding=sides, source=source)
        main = net.conv(f"stage{stage}.conv2", width, 3, padding=1)
        skip = source
        if stage:
            skip = net.conv(f"stage{stage}.skip", width, 1, stride=stride, source=source)
        source = net.add(f"stage{stage}.add", main, skip)
    net.average("pool")
    net.linear("fc", 10, last=True)
    return net.model()


def _ds_cnn(density: Density) -> CompressedModel:
    net = _Builder("ds-cnn", (1, 49, 10), density)
    net.conv("conv1", 64, (10, 4), stride=2, padding=(4, 1, 5, 1))
    for block in range(4):
        net.conv(f"depthwise{block}", 64, 3, padding=1, groups=0)
        net.conv(f"pointwise{block}", 64, 1)
    net.average("pool")
    net.linear("fc", 12, last=True)
    return net.model()


def _vww(density: Density) -> CompressedModel:
    net = _Builder("vww-mobilenet", (3, 96, 96), density)
    net.conv("conv1", 8, 3, stride=2, padding=(0, 0, 1, 1))
    blocks = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5]
    for block, (width, stride) in enumerate([*blocks, (256, 2), (256, 1)]):
        channels = net.shapes[net.last][0]
        sides = (0, 0, 1, 1) if stride == 2 else (1, 1, 1, 1)
        name = f"depthwise{block}"
        net.conv(name, channels, 3, stride=stride, padding=sides, groups=0)
        net.conv(f"pointwise{block}", width, 1)
    net.average("pool")
    net.linear("fc", 2, last=True)
    return net.model()


def _mobilenet_v2(density: Density) -> CompressedModel:
    net = _Builder("mobilenet-v2", (3, 224, 224), density)
    source = net.conv("conv1", 32, 3, stride=2, padding=(0, 0, 1, 1))
    stages = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
    for stage, (grow, width, blocks, step) in enumerate((*stages, (6, 160, 3, 2), (6, 320, 1, 1))):
        for block in range(blocks):
            name, stride = f"block{stage}.{block}", 1 if block else step
            skip = source
            if grow > 1:
                net.conv(f"{name}.expand", grow * net.shapes[source][0], 1)
            sides = (0, 0, 1, 1) if stride == 2 else (1, 1, 1, 1)
            net.conv(
                f"{name}.depthwise",
                net.shapes[net.last][0],
                3,
                stride=stride,
                padding=sides,
                groups=0,
            )
            source = net.conv(f"{name}.project", width, 1)
            if block:
                source = net.add(f"{name}.add", source, skip)
    net.conv("conv2", 1280, 1)
    net.average("pool")
    net.linear("fc", 1000, last=True)
    return net.model()


def _squeezenet(density: Density) -> CompressedModel:
    net = _Builder("squeezenet", (3, 227, 227), density)
    net.conv("conv1", 96, 7, stride=2)
    net.max_pool("pool1", 3, 2)
    for number, width in enumerate((16, 16, 32, 32, 48, 48, 64, 64), 2):
        squeezed = net.conv(f"fire{number}.squeeze", width, 1)
        single = net.conv(f"fire{number}.expand1", 4 * width, 1)
        wide = net.conv(f"fire{number}.expand3", 4 * width, 3, padding=1, source=squeezed)
        net.concat(f"fire{number}", single, wide)
        if number in {4, 8}:
            net.max_pool(f"pool{number}", 3, 2)
    net.conv("conv10", 1000, 1, padding=1)
    net.average("pool10")
    return net.model()


SHAPES: Mapping[str, Callable[[Density], CompressedModel]] = {
    "alexnet": _alexnet,
    "vgg16": _vgg16,
    "resnet50": _resnet50,
    "resnet8": _resnet8,
    "ds-cnn": _ds_cnn,
    "vww-mobilenet": _vww,
    "mobilenet-v2": _mobilenet_v2,
    "squeezenet": _squeezenet,
}


def random_network(name: str, dense: bool = False) -> CompressedModel:
    """The network ``name`` with random weights at its density, or at every position."""
    density = DENSITIES[name]
    if dense:
        density = Density({}, density.conv_bits, density.linear_bits, "dense")
    return SHAPES[name](density)
