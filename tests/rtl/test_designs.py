"""Awkward designs on every option of the RTL, bit-exact, each with and without stalls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pyadmm.codegen.rtl import RtlOptions, generate_rtl
from pyadmm.eda.rtl_simulation import LiveTop, cosim, infer, load_weights
from pyadmm.eda.verilator import build_simulator
from pyadmm.model import InputSpec
from pyadmm.model.types import QFormat
from tests.hls.chains import Recipe
from tests.rtl.designs import Design, balanced, dense, design, sparse

pytestmark = pytest.mark.slow

U8 = QFormat(8, False)
Case = tuple[Design, Mapping[str, RtlOptions]]


def columns_behind_the_multipliers() -> Case:
    """Signed input, whole maps as tiles, overlapping pools, scales per channel."""
    recipes = [
        Recipe(
            5, (3, 3), padding=1, density=0.5, pool=(3, 2), weight_bits=4, output=U8,
            per_channel=True,
        ),
        Recipe(4, (2, 2), padding=1, weight_bits=5, output=QFormat(6, True)),
    ]  # fmt: skip
    spec = InputSpec((3, 7, 6), QFormat(8, True), offset=(128, 100, 90))
    options = {
        "layer0": RtlOptions(acc_mux=True, drain_beats=7),
        "layer1": RtlOptions(acc_mux=True, drain_beats=1, shift_range=(12, 12)),
    }
    return design("columns", spec, recipes, [sparse(7, 2, 2), sparse(2, 3, 2)]), options


def strides_and_ragged_tiles() -> Case:
    """Rows that split words, strides, tiles that reach below the map, 1 and 8 weight bits."""
    recipes = [
        Recipe(5, (5, 3), stride=2, padding=2, density=0.5, pool=(2, 2), weight_bits=2, output=U8),
        Recipe(7, (2, 2), output=U8, pool=(2, 1), weight_bits=1),
        Recipe(3, output=None, weight_bits=8),
    ]
    spec = InputSpec((2, 13, 11), QFormat(8, False))
    options = {"layer0": RtlOptions(drain_beats=3), "layer1": RtlOptions(fifo_depth=2)}
    configs = [sparse(3, 2, 1), sparse(1, 2, 3), sparse(1, 3, 2)]
    return design("ragged", spec, recipes, configs), options


def convolution_groups_and_dsp() -> Case:
    """Grouped convolutions on both families, part of the lanes in DSP blocks."""
    recipes = [
        Recipe(8, (3, 3), padding=1, groups=2, density=0.6, weight_bits=6, output=U8),
        Recipe(6, (3, 3), padding=1, groups=2, output=U8, pool=(3, 3)),
        Recipe(9, weight_bits=7, output=QFormat(12, True)),
    ]
    spec = InputSpec((4, 6, 6), QFormat(4, False), shift=4)
    options = {
        "layer0": RtlOptions(drain_beats=2, dsp_groups=2),
        "layer1": RtlOptions(acc_mux=True, dsp_groups=1, shift_range=(10, 13)),
    }
    return design("grouped", spec, recipes, [dense(6, 4), sparse(3, 4, 2), dense(1, 4)]), options


def two_lanes_in_a_dsp_block() -> Case:
    """Odd and even widths, tiles in parts, overlapping pools; frames in block RAM or UltraRAM."""
    recipes = [
        Recipe(5, (3, 2), density=0.6, pool=(3, 2), weight_bits=3, output=QFormat(6, False)),
        Recipe(6, (2, 2), padding=1, weight_bits=4, output=QFormat(5, False)),
        Recipe(4, output=None, weight_bits=2),
    ]
    spec = InputSpec((2, 10, 12), QFormat(4, False), shift=4)
    configs = [
        replace(sparse(4, 3, 1), dsp_groups=2, block_frame=True),
        replace(dense(2, 3), dsp_groups=3, ultra_frame=True),
        replace(sparse(1, 2, 2), dsp_groups=1, block_frame=True),
    ]
    built = design("pairs", spec, recipes, configs)
    assert all(stage.paired for stage in built.plan.stages)
    assert [stage.spec.output_shape[2] % 2 for stage in built.plan.stages[:2]] == [1, 0]
    return built, {"layer0": RtlOptions(drain_beats=2)}


def windows_in_lock_step() -> Case:
    """Whole rows and parts of them chosen before and behind multipliers; bridged gaps; walkers."""
    recipes = [
        Recipe(7, (3, 5), padding=2, density=0.3, weight_bits=5, output=U8, pool=(2, 2)),
        Recipe(6, (3, 3), padding=1, density=0.1, weight_bits=4, output=QFormat(6, True)),
        Recipe(9, density=0.3, weight_bits=3, output=U8),
        Recipe(5, density=0.2, weight_bits=1, output=U8),
        Recipe(4, output=None, weight_bits=8),
    ]
    spec = InputSpec((3, 10, 12), QFormat(8, True), offset=(128, 100, 90))
    configs = [
        balanced(3, 3, 2, 3),
        balanced(5, 4, 1, 3, walkers=2),
        balanced(1, 4, 1, 4, walkers=2),
        balanced(1, 2, 1, 4),
        balanced(1, 3, 1, 2, walkers=3),
    ]
    options = {
        "layer0": RtlOptions(acc_mux=True, drain_beats=3),
        "layer1": RtlOptions(acc_mux=False, fifo_depth=2),
    }
    return design("lockstep", spec, recipes, configs), options


def windows_in_dsp_blocks() -> Case:
    """Strides with windows of one place; lanes in DSP blocks, in pairs and beside others."""
    recipes = [
        Recipe(5, (5, 3), stride=2, padding=2, density=0.5, pool=(2, 2), weight_bits=2, output=U8),
        Recipe(6, (2, 2), density=0.6, weight_bits=3, output=QFormat(5, False)),
        Recipe(3, output=None, weight_bits=3),
    ]
    spec = InputSpec((2, 13, 11), QFormat(4, False), shift=4)
    configs = [
        replace(balanced(2, 2, 1, 1), dsp_groups=1),
        replace(balanced(1, 4, 3, 2, walkers=2), dsp_groups=3, block_frame=True),
        replace(balanced(1, 2, 3, 1), ultra_frame=True),
    ]
    return design("lockstepdsp", spec, recipes, configs), {"layer1": RtlOptions(acc_mux=True)}


@pytest.mark.parametrize(
    "case",
    [
        windows_in_lock_step,
        windows_in_dsp_blocks,
        columns_behind_the_multipliers,
        strides_and_ragged_tiles,
        convolution_groups_and_dsp,
        two_lanes_in_a_dsp_block,
    ],
)
def test_logits_are_bit_exact(case: Callable[[], Case], simulators: Path) -> None:
    built, options = case()
    build = generate_rtl(built.plan, options, built.model)
    simulator = build_simulator(build, built.plan, simulators)
    images = built.images(5)
    golden = built.model.run(images)
    free = cosim(simulator, built.weights, images)
    np.testing.assert_array_equal(free.logits, golden)
    stalled = cosim(simulator, built.weights, images, stalls=(4, 0.3, 0.3))
    np.testing.assert_array_equal(stalled.logits, golden)


@pytest.mark.parametrize("case", [strides_and_ragged_tiles, windows_in_lock_step])
@pytest.mark.parametrize(
    ("source", "sink"), [(0.9, 0.0), (0.0, 0.9), (0.6, 0.6), (0.2, 0.9), (0.97, 0.97)]
)
def test_stalls_lose_and_double_no_word(
    case: Callable[[], Case], source: float, sink: float, simulators: Path
) -> None:
    """Weights in, weights back, images in, logits out, all stalled at random: every word comes once, in
    order, TLAST with the last one, nothing after it, and no input word is left or taken too much.
    """
    built, options = case()
    build = generate_rtl(built.plan, options, built.model)
    images = built.images(6)
    with LiveTop(build_simulator(build, built.plan, simulators)) as live:
        for seed in range(1, 4):
            live.stall(seed, source, sink)
            load_weights(live, built.weights)
            np.testing.assert_array_equal(infer(live, images).logits, built.model.run(images))
            live.advance(2000)
            status = live.status()
            assert (status.offered, status.waiting) == (0, 0)
