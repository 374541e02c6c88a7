"""Random integer models for the tests of every room."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pyadmm.hardware.boards import load_board
from pyadmm.hardware.design_space import search
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import AcceleratorPlan
from pyadmm.model import INPUT, CompressedLayer, CompressedModel, InputSpec, MaxPool, Requant
from pyadmm.model.types import LayerSpec, QFormat, signed_bits

U4 = QFormat(4, False)


def random_layer(
    rng: np.random.Generator,
    spec: LayerSpec,
    source: str,
    *,
    density: float,
    weight_bits: int = 2,
    output: QFormat | None = U4,
    x_magnitude: int = 15,
    per_channel: bool = False,
) -> CompressedLayer:
    """A layer with random codes; ``output=None`` keeps the raw accumulators (logits)."""
    half = 1 << (weight_bits - 1)
    levels = np.array([*range(-half, 0), *range(1, half + 1)])
    kept = rng.random(spec.weight_shape) < density
    codes = np.where(kept, rng.choice(levels, spec.weight_shape), 0).astype(np.int16)
    bias = rng.integers(-20, 21, spec.outputs).astype(np.int64)
    per_output = np.abs(codes.reshape(spec.outputs, -1)).sum(1)
    peak = int((per_output * x_magnitude).max()) + 20
    if output is None:
        return CompressedLayer(
            spec, source, codes, weight_bits, bias, Requant(), QFormat(signed_bits(peak), True)
        )
    shift = 12
    channels = spec.outputs if per_channel else 1
    centre = min(max(4 * output.hi * 2**shift // peak, 2), 2**15)
    mult = tuple(int(m) for m in rng.integers(centre // 2, centre + 1, channels))
    return CompressedLayer(spec, source, codes, weight_bits, bias, Requant(mult, shift), output)


def random_lenet5(seed: int = 0, kept: tuple[int, ...] = (100, 1330, 800, 350)) -> CompressedModel:
    """Caffe LeNet-5 with about ``kept`` random weights per layer, 4-bit activations."""
    rng = np.random.default_rng(seed)
    specs = [
        LayerSpec("conv1", "conv", (20, 1, 5, 5), (1, 28, 28)),
        LayerSpec("conv2", "conv", (50, 20, 5, 5), (20, 12, 12)),
        LayerSpec("fc1", "linear", (500, 800), (50, 4, 4)),
        LayerSpec("fc2", "linear", (10, 500), (500, 1, 1)),
    ]
    sources = [INPUT, "pool1", "pool2", "fc1"]
    bits = [3, 3, 2, 3]
    layers = [
        random_layer(
            rng,
            spec,
            source,
            density=count / spec.weights,
            weight_bits=n,
            output=None if spec.name == "fc2" else U4,
            x_magnitude=255 if spec.name == "conv1" else 15,
        )
        for spec, source, count, n in zip(specs, sources, kept, bits, strict=True)
    ]
    pools = [MaxPool("pool1", "conv1", 2, 2), MaxPool("pool2", "conv2", 2, 2)]
    nodes = (layers[0], pools[0], layers[1], pools[1], layers[2], layers[3])
    return CompressedModel("lenet5", InputSpec((1, 28, 28), QFormat(8, False)), nodes)


def planned(model: CompressedModel, board: str = "pynq-z2") -> AcceleratorPlan:
    """The accelerator of ``model`` on the kernels that the design-space search chooses."""
    facts = load_board(board)
    return plan_accelerator(model, facts, search(model, facts).configs)


def random_images(rng: np.random.Generator, count: int, shape: tuple[int, int, int]) -> np.ndarray:
    """``count`` uint8 images of ``shape``."""
    return rng.integers(0, 256, (count, *shape)).astype(np.uint8)


def random_data(rng: np.random.Generator, count: int, entry: InputSpec) -> np.ndarray:
    """``count`` images of the type and shape that ``entry`` takes."""
    limits = np.iinfo(entry.dtype)
    return rng.integers(limits.min, limits.max + 1, (count, *entry.shape)).astype(entry.dtype)


def shipped_models(data: str) -> list[Path]:
    """The files in ``models/`` for the data set ``data``, by the manifest."""
    folder = Path(__file__).parents[2] / "models"
    entries = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return [folder / entry["file"] for entry in entries if entry.get("data", "mnist") == data]
