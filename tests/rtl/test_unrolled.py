"""Unrolled stages: adder graphs are the weights; the Verilated top gives the model's integers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pyadmm.codegen.rtl import TOP_FILE, generate_rtl
from pyadmm.core.errors import PyadmmError
from pyadmm.eda.rtl_simulation import cosim
from pyadmm.eda.verilator import build_simulator, lint
from pyadmm.hardware.weight_image import weight_image
from tests.rtl.designs import Design
from tests.rtl.unrolled_designs import (
    blocks_to_blocks,
    small_lenet,
    strides_padding_and_signs,
    without_pools,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "case", [small_lenet, strides_padding_and_signs, blocks_to_blocks, without_pools]
)
def test_logits_are_bit_exact(case: Callable[[], Design], simulators: Path) -> None:
    built = case()
    build = generate_rtl(built.plan, model=built.model)
    build.write(simulators / built.model.name)
    sources = sorted((simulators / built.model.name / "rtl").iterdir())
    for stage in built.plan.stages:
        if stage.constants is not None:
            lint(sources, f"constants_{stage.name}", simulators / "lint.log")
    simulator = build_simulator(build, built.plan, simulators)
    images = built.images(9)
    golden = built.model.run(images)
    free = cosim(simulator, built.weights, images)
    np.testing.assert_array_equal(free.logits, golden)
    stalled = cosim(simulator, built.weights, images, stalls=(4, 0.3, 0.3))
    np.testing.assert_array_equal(stalled.logits, golden)


def test_the_weight_image_holds_no_constants() -> None:
    built = small_lenet()
    loadable = built.plan.stages[::2]
    assert len(built.weights) == sum(stage.weight_words for stage in loadable)
    assert ".STAGES(2)" in str(generate_rtl(built.plan, model=built.model).files[TOP_FILE])


def test_other_weights_are_refused() -> None:
    built, other = small_lenet(), small_lenet(seed=1)
    with pytest.raises(PyadmmError, match="layer1: its weights are part of the hardware"):
        weight_image(other.model, built.plan)
    with pytest.raises(PyadmmError, match="layer1: other weights than the unrolled kernel"):
        generate_rtl(built.plan, model=other.model)
    with pytest.raises(PyadmmError, match="generate it with the model"):
        generate_rtl(built.plan)
