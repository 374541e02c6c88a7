"""Layer names of any kind give C++ and Verilog that compile and compute the model's integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pyadmm.codegen.hls import generate, identifiers
from pyadmm.codegen.rtl import generate_rtl
from pyadmm.eda import gxx
from pyadmm.eda.rtl_simulation import cosim
from pyadmm.eda.verilator import build_simulator
from pyadmm.hardware.weight_image import weight_image
from pyadmm.model import INPUT, Add, CompressedLayer, CompressedModel, InputSpec, MaxPool
from pyadmm.model.types import LayerSpec
from tests.unit.models import U4, planned, random_images, random_layer

pytestmark = pytest.mark.slow

NAMES = [
    ["0", "3", "1x1", "0.0", "logits"],
    ["in", "class", "input_", "module", "always"],
    ["a b", "größe", "日本", "層", "a-b"],
    ["second", "frame", "of_frame", "copy0_frame", "frame_1"],
]


def named(names: list[str]) -> CompressedModel:
    """A convolution that two layers read, their sum, a pool and a linear layer."""
    rng = np.random.default_rng(22)
    first, left, right, total, last = names

    def conv(name: str, source: str, weight: tuple[int, ...], shape: tuple[int, int, int]):
        return random_layer(rng, LayerSpec(name, "conv", weight, shape), source, density=0.8)

    nodes = (
        conv(first, INPUT, (3, 1, 3, 3), (1, 6, 6)),
        conv(left, first, (2, 3, 1, 1), (3, 4, 4)),
        conv(right, first, (2, 3, 1, 1), (3, 4, 4)),
        Add(total, (left, right), (2, 3), 2, U4),
        MaxPool("pool" if "pool" not in names else "p", total, 2, 2),
        random_layer(
            rng, LayerSpec(last, "linear", (3, 8), (2, 2, 2)), "pool", density=0.8, output=None
        ),
    )
    assert all(isinstance(node, CompressedLayer | Add | MaxPool) for node in nodes)
    return CompressedModel(names[0], InputSpec((1, 6, 6), U4, shift=4), nodes)


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0])
def test_any_name_compiles(names: list[str], tmp_path: Path, simulators: Path) -> None:
    model = named(names)
    plan = planned(model)
    images = random_images(np.random.default_rng(0), 5, (1, 6, 6))
    golden = model.run(images)
    assert len(np.unique(golden)) > 3
    generate(model, plan, images[:1]).write(tmp_path)
    np.testing.assert_array_equal(gxx.csim(tmp_path, plan, images), golden)
    simulator = build_simulator(generate_rtl(plan, model=model), plan, simulators)
    result = cosim(simulator, weight_image(model, plan), images)
    np.testing.assert_array_equal(result.logits, golden)


def test_identifiers_differ_and_are_no_keywords() -> None:
    made = identifiers([INPUT, *(name for names in NAMES for name in names), "layer_0", "layer"])
    assert len(set(made.values())) == len(made)
    assert made[INPUT] == "input"
    assert all(name.isidentifier() and name.isascii() for name in made.values())
    assert not {"in", "class", "module", "always", "case", "logits"} & set(made.values()) - {"in"}
