"""Unrolled stages: adder graphs are the weights; the Verilated top gives the model's integers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pyadmm.errors import PyadmmError
from pyadmm.layout import weight_image
from pyadmm.model import InputSpec
from pyadmm.plan import KernelConfig
from pyadmm.rtlgen import TOP_FILE, generate_rtl
from pyadmm.spec import QFormat
from pyadmm.tools.verilator import build_simulator, cosim, lint
from tests.hls.chains import Recipe
from tests.rtl.designs import Design, dense, design, sparse

U8 = QFormat(8, False)


def unrolled(outputs: int, pixels: int = 1, rows: int = 1) -> KernelConfig:
    """An unrolled kernel."""
    return KernelConfig("unrolled", rows, outputs, pixels=pixels)


def small_lenet(seed: int = 0) -> Design:
    """Two unrolled convolutions with pools, then both other families."""
    recipes = [
        Recipe(4, (3, 3), density=0.5, pool=(2, 2)),
        Recipe(6, (2, 2), density=0.4, pool=(2, 2), per_channel=True),
        Recipe(8),
        Recipe(5, output=None, density=0.6),
    ]
    spec = InputSpec((1, 12, 12), QFormat(4, False), shift=4)
    configs = [unrolled(4, 3, 2), unrolled(6, 2, 4), sparse(1, 2, 1), dense(1, 2)]
    return design("mixed", spec, recipes, configs, seed)


def strides_padding_and_signs() -> Design:
    """Signed input, strides, padding, overlapping pools, pixels that do not divide a row."""
    recipes = [
        Recipe(5, (5, 3), stride=2, padding=2, density=0.4, pool=(3, 2), weight_bits=5, output=U8),
        Recipe(4, (2, 2), padding=1, weight_bits=1, output=QFormat(6, True), pool=(2, 1)),
        Recipe(3, density=0.1, weight_bits=8, output=QFormat(12, True)),
        Recipe(3, output=None),
    ]
    spec = InputSpec((2, 13, 11), QFormat(8, True), offset=(128, 100))
    configs = [unrolled(5, 3), unrolled(4, 1), unrolled(3), sparse(1, 1, 1)]
    return design("awkward", spec, recipes, configs)


def groups_and_loadable_first() -> Design:
    """A loadable stage in front, convolution groups, a kernel narrower than its stride, logits."""
    recipes = [
        Recipe(4, (3, 3), padding=1, output=U8),
        Recipe(6, (3, 1), stride=2, groups=2, density=0.5, output=U8),
        Recipe(9, density=0.3, weight_bits=7, output=None),
    ]
    spec = InputSpec((2, 6, 6), QFormat(4, False), shift=4)
    return design("grouped", spec, recipes, [sparse(2, 2, 1), unrolled(6, 3, 2), unrolled(9)])


@pytest.mark.parametrize(
    "case", [small_lenet, strides_padding_and_signs, groups_and_loadable_first]
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
    loadable = built.plan.stages[2:]
    assert len(built.weights) == sum(stage.weight_words for stage in loadable)
    assert ".STAGES(2)" in str(generate_rtl(built.plan, model=built.model).files[TOP_FILE])


def test_other_weights_are_refused() -> None:
    built, other = small_lenet(), small_lenet(seed=1)
    with pytest.raises(PyadmmError, match="layer0: its weights are part of the hardware"):
        weight_image(other.model, built.plan)
    with pytest.raises(PyadmmError, match="layer0: other weights than the unrolled kernel"):
        generate_rtl(built.plan, model=other.model)
    with pytest.raises(PyadmmError, match="generate it with the model"):
        generate_rtl(built.plan)
