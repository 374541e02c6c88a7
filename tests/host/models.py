"""Small models and bundles for the tests of the board side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyadmm.deploy.bundle import Design, ModelPack
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import AcceleratorPlan, InputStream, KernelConfig
from pyadmm.model import CompressedLayer, CompressedModel, InputSpec, MaxPool, Requant
from pyadmm.model.types import LayerSpec, QFormat

DIGEST = "0123456789abcdef" * 4
SHAPE = (1, 9, 7)
CLASSES = 5


def small_model(seed: int, name: str, density: float = 0.5) -> CompressedModel:
    """A convolution, a pool and a linear layer with random codes; 63 bytes an image."""
    rng = np.random.default_rng(seed)

    def codes(*shape: int) -> NDArray[np.int16]:
        values = rng.choice([-2, -1, 1, 2], shape) * (rng.random(shape) < density)
        return values.astype(np.int16)

    activation = QFormat(4, False)
    conv = CompressedLayer(
        LayerSpec("conv1", "conv", (3, 1, 2, 2), SHAPE),
        "input",
        codes(3, 1, 2, 2),
        2,
        rng.integers(-20, 20, 3),
        Requant((300,), 10),
        activation,
    )
    linear = CompressedLayer(
        LayerSpec("fc1", "linear", (CLASSES, 36), (3, 4, 3)),
        "pool1",
        codes(CLASSES, 36),
        2,
        rng.integers(-20, 20, CLASSES),
        Requant(),
        QFormat(12, True),
    )
    nodes = (conv, MaxPool("pool1", "conv1", 2, 2), linear)
    return CompressedModel(name, InputSpec(SHAPE, QFormat(8, False)), nodes)


def small_plan(
    model: CompressedModel, board: str = "pynq-z2", stream: InputStream | None = None
) -> AcceleratorPlan:
    """An accelerator with room for other models of the same shapes."""
    configs = {
        "conv1": KernelConfig("sparse", 2, 2, entry_capacity=16, slot_capacity=3),
        "fc1": KernelConfig("sparse", 1, 2, 2, entry_capacity=200, slot_capacity=5),
    }
    stream = stream or InputStream()
    return plan_accelerator(model, load_board(board), configs, spare_acc_bits=4, stream=stream)


def small_pack(model: CompressedModel, count: int = 12) -> ModelPack:
    """Random images with the model's own classes as labels."""
    images = np.random.default_rng(7).integers(0, 256, (count, *SHAPE), np.uint8)
    return ModelPack(model, images, model.run(images).argmax(1))


def small_design(model: CompressedModel, board: str = "pynq-z2") -> Design:
    """The design of :func:`small_plan`, with no bitstream."""
    return Design(small_plan(model, board), DIGEST, "rtl")
