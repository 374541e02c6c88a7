"""The layers whose break-even is asked for: shapes, number formats, random patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import Board
from pyadmm.hardware.cost import fabric_lane
from pyadmm.hardware.plan import KernelConfig, StagePlan
from pyadmm.model import CompressedLayer, Requant
from pyadmm.model.types import LayerSpec, QFormat, signed_bits

_BRAM18_BITS = 18 * 1024
LOGIC_SHARE = 0.35
"""Share of the chip's LUTs and flip-flops that one layer's dense kernel may take."""
MEMORY_SHARE = 0.8
"""Share of the chip's block RAM."""
SEED = 20190413
"""Of the random patterns: the same for every density, board and tool."""


@dataclass(frozen=True)
class LayerCase:
    """One layer with the number formats that its kernels are built for.

    :param model: name of the network, or empty for a layer of the user's own.
    :param weight_bits: ``n``; a dense kernel holds ``n + 1`` bits to have a zero.
    :param resident: whether the layer's weights stay on chip; streamed from DDR otherwise.
    :param layers_on_chip: kernels that share the chip with this one, itself included.
    """

    model: str
    spec: LayerSpec
    weight_bits: int
    activation_bits: int
    resident: bool
    layers_on_chip: int = 1

    @property
    def label(self) -> str:
        """Network and layer, such as ``alexnet.conv4``."""
        return f"{self.model}.{self.spec.name}" if self.model else self.spec.name

    @property
    def lane_luts(self) -> float:
        """LUTs of a fabric lane (modelled)."""
        return fabric_lane(self.stage(KernelConfig("dense", 1, 1), 1, 1)).lut

    @property
    def acc_bits(self) -> int:
        """Accumulator width that no weights of these formats can overflow, bias included."""
        window = self.spec.weights // self.spec.outputs
        largest = window * (1 << (self.weight_bits - 1)) * ((1 << self.activation_bits) - 1)
        return signed_bits(largest) + 1

    def stage(self, config: KernelConfig, entry_capacity: int, slot_capacity: int) -> StagePlan:
        """This layer alone on the kernel ``config``."""
        activation = QFormat(self.activation_bits, signed=False)
        return StagePlan(
            spec=self.spec,
            config=config,
            input=activation,
            output=activation,
            weight_bits=self.weight_bits,
            acc_bits=self.acc_bits,
            pool=None,
            node=self.spec.name,
            entry_capacity=entry_capacity,
            slot_capacity=slot_capacity,
        )

    def pruned_layer(self, pruned: float) -> CompressedLayer:
        """The layer with the portion ``pruned`` of its weights gone, at random positions.

        Positions are uniform over the whole layer, exactly ``round((1 - pruned) * weights)`` stay,
        codes are uniform. One permutation serves every portion, so that a sparser pattern is a
        subset of a denser one and curves do not jitter.
        """
        if not 0 <= pruned < 1:
            raise PyadmmError(f"{self.label}: pruned portion must be in 0 to 1, not {pruned}")
        rng = np.random.default_rng(SEED)
        order = rng.permutation(self.spec.weights)
        magnitude = rng.integers(1, (1 << (self.weight_bits - 1)) + 1, self.spec.weights)
        sign = rng.integers(0, 2, self.spec.weights) * 2 - 1
        kept = order[: max(round((1 - pruned) * self.spec.weights), 1)]
        codes = np.zeros(self.spec.weights, np.int16)
        codes[kept] = (magnitude * sign)[kept]
        return CompressedLayer(
            spec=self.spec,
            source="input",
            codes=codes.reshape(self.spec.weight_shape),
            weight_bits=self.weight_bits,
            bias=np.zeros(self.spec.outputs, np.int64),
            requant=Requant(),
            output=QFormat(self.activation_bits, signed=False),
        )


@dataclass(frozen=True)
class LayerFormat:
    """One weighted layer of a network with the number formats that it is compressed to."""

    spec: LayerSpec
    weight_bits: int
    activation_bits: int


def network_cases(name: str, layers: Sequence[LayerFormat], board: Board) -> tuple[LayerCase, ...]:
    """Every layer of any network, in order.

    All layers share the chip, and their weights stay on it, where the dense weights fit
    :data:`MEMORY_SHARE` of the block RAM and every layer has room for one row of lanes in its part of
    :data:`LOGIC_SHARE` of the LUTs. Else each layer has the chip to itself and streams its weights.
    """

    def cases(together: bool) -> tuple[LayerCase, ...]:
        sharing = len(layers) if together else 1
        return tuple(
            LayerCase(name, layer.spec, layer.weight_bits, layer.activation_bits, together, sharing)
            for layer in layers
        )

    bits = sum(layer.spec.weights * (layer.weight_bits + 1) for layer in layers)
    room = LOGIC_SHARE * board.resources.lut / len(layers)
    widest = max(case.spec.output_shape[2] * case.lane_luts for case in cases(True))
    memory = MEMORY_SHARE * board.resources.bram18 * _BRAM18_BITS
    return cases(bits <= memory and widest <= room)


def _conv(name: str, shape: tuple[int, int, int, int], size: int, **geometry: int) -> LayerSpec:
    channels = shape[1] * geometry.get("groups", 1)
    return LayerSpec(name, "conv", shape, (channels, size, size), **geometry)


def _linear(name: str, outputs: int, input_shape: tuple[int, int, int]) -> LayerSpec:
    return LayerSpec(name, "linear", (outputs, int(np.prod(input_shape))), input_shape)


_LAYERS: dict[str, tuple[LayerSpec, ...]] = {
    # Caffe's LeNet-5, 430,500 weights.
    "lenet5": (
        _conv("conv1", (20, 1, 5, 5), 28),
        _conv("conv2", (50, 20, 5, 5), 12),
        _linear("fc1", 500, (50, 4, 4)),
        _linear("fc2", 10, (500, 1, 1)),
    ),
    # Krizhevsky et al. 2012, with its two groups, as in Caffe.
    "alexnet": (
        _conv("conv1", (96, 3, 11, 11), 227, stride=4),
        _conv("conv2", (256, 48, 5, 5), 27, padding=2, groups=2),
        _conv("conv3", (384, 256, 3, 3), 13, padding=1),
        _conv("conv4", (384, 192, 3, 3), 13, padding=1, groups=2),
        _conv("conv5", (256, 192, 3, 3), 13, padding=1, groups=2),
        _linear("fc6", 4096, (256, 6, 6)),
        _linear("fc7", 4096, (4096, 1, 1)),
        _linear("fc8", 1000, (4096, 1, 1)),
    ),
}
# Bits of the papers' joint results (ADMM-NN table 5; arXiv 1811.01907 table 3): convolutions,
# linear layers. Activations: what pyadmm's own LeNet-5 uses, and 8 for AlexNet. AlexNet's 61 M
# weights fit no chip here, so its layers are loaded from DDR while they run.
_WEIGHT_BITS = {"lenet5": (3, 2), "alexnet": (5, 3)}
_ACTIVATION_BITS = {"lenet5": 4, "alexnet": 8}
_RESIDENT = {"lenet5": True, "alexnet": False}


def model_names() -> list[str]:
    """Networks whose layers are known here."""
    return sorted(_LAYERS)


def model_cases(model: str) -> tuple[LayerCase, ...]:
    """Every weighted layer of ``model``, in order.

    :raises PyadmmError: for an unknown name.
    """
    if model not in _LAYERS:
        raise PyadmmError(f"model {model!r} is unknown; choose one of: {', '.join(model_names())}")
    conv_bits, linear_bits = _WEIGHT_BITS[model]
    return tuple(
        LayerCase(
            model,
            spec,
            conv_bits if spec.kind == "conv" else linear_bits,
            _ACTIVATION_BITS[model],
            _RESIDENT[model],
            len(_LAYERS[model]) if _RESIDENT[model] else 1,
        )
        for spec in _LAYERS[model]
    )


def layer_case(label: str) -> LayerCase:
    """The layer called ``label``, for example ``alexnet.conv4``.

    :raises PyadmmError: for an unknown name; it lists the known ones.
    """
    model, _, name = label.partition(".")
    cases = model_cases(model)
    for case in cases:
        if case.spec.name == name:
            return case
    known = ", ".join(case.label for case in cases)
    raise PyadmmError(f"layer {label!r} is unknown; choose one of: {known}")
