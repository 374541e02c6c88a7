"""Modelled cycles and resources of planned accelerators, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.cost import (
    initiation_interval,
    memory_resources,
    plan_resources,
    stage_cycles,
    stage_resources,
)
from pyadmm.hardware.design_space import search
from pyadmm.hardware.mapping import best_index_bits, plan_accelerator
from pyadmm.hardware.plan import HEADER_WORDS, AcceleratorPlan, KernelConfig
from pyadmm.hardware.weight_image import weight_image
from pyadmm.model import INPUT, AvgPool, CompressedModel, InputSpec, MaxPool, Requant
from pyadmm.model.types import QFormat, Resources
from tests.hls.chains import Recipe, random_chain
from tests.unit.models import U4, planned, random_lenet5

BOARD = load_board("pynq-z2")
LENET = random_lenet5()
SEARCHED = search(LENET, BOARD).configs


def cycles_of(model: CompressedModel, plan: AcceleratorPlan) -> int:
    return initiation_interval(
        plan, {s.name: stage_cycles(model.layer(s.name), s) for s in plan.stages}
    )


def test_sparse_cycles_are_the_largest_group_of_the_image_times_tiles() -> None:
    plan = plan_accelerator(LENET, BOARD, search(LENET, BOARD, family="sparse").configs)
    image = weight_image(LENET, plan)
    start = 0
    for stage in plan.stages:
        rows = image[start : start + stage.weight_words].reshape(stage.groups, -1)
        start += stage.weight_words
        assert stage.config.family == "sparse"
        assert HEADER_WORDS == 2
        want = stage.tiles * int(rows[:, 0].max())
        assert stage_cycles(LENET.layer(stage.name), stage).engine == want


def test_dense_cycles() -> None:
    configs = {name: KernelConfig("dense", 1, 5) for name in ("conv1", "conv2", "fc1", "fc2")}
    plan = plan_accelerator(LENET, BOARD, configs)
    engine = {s.name: stage_cycles(LENET.layer(s.name), s).engine for s in plan.stages}
    assert engine == {
        "conv1": 4 * 25 * 24,
        "conv2": 10 * 500 * 8,
        "fc1": 100 * 800,
        "fc2": 2 * 500,
    }


def test_index_bits_minimise_cycles_times_width() -> None:
    layer = LENET.layer("fc1")
    chosen = best_index_bits(layer, 4)

    def product(bits: int) -> int:
        configs = {**SEARCHED, "fc1": KernelConfig("sparse", 1, 4, bits)}
        stage = plan_accelerator(LENET, BOARD, configs).stage("fc1")
        return stage_cycles(layer, stage).engine * stage.weight_word_bits

    assert product(chosen) == min(product(bits) for bits in range(1, 7))


def test_searched_kernels_fit_the_board_and_are_balanced() -> None:
    plan = planned(LENET)
    assert plan_resources(plan).fits(BOARD.resources)
    # A single group of one-row tiles needs every entry of conv2 on every row.
    slow = plan_accelerator(
        LENET,
        BOARD,
        {s.name: KernelConfig("sparse", 1, 1, s.config.index_bits) for s in plan.stages},
    )
    assert cycles_of(LENET, plan) * 5 < cycles_of(LENET, slow)


def test_a_larger_board_is_not_slower() -> None:
    small, large = (cycles_of(LENET, planned(LENET, name)) for name in ("zybo-z7-10", "zcu104"))
    assert large <= small


def test_too_small_a_board_is_an_error_with_figures() -> None:
    tiny = replace(BOARD, resources=Resources(100, 100, 1, 1, 0))
    with pytest.raises(PyadmmError, match=r"does not fit pynq-z2 .*lut: needs .*, limit 80"):
        search(LENET, tiny)


def test_more_lanes_cost_more() -> None:
    plan = planned(LENET)
    stage = plan.stage("conv2")
    wide = replace(stage, config=replace(stage.config, groups=2 * stage.groups))
    assert stage_resources(wide).lut > stage_resources(stage).lut


def test_memories_follow_the_primitives() -> None:
    assert memory_resources(64, 3) == Resources(lut=4)
    assert memory_resources(512, 36) == Resources(bram18=1)
    assert memory_resources(512, 72) == Resources(bram18=2)
    assert memory_resources(0, 0) == Resources()


def model_of(recipes: list[Recipe]) -> CompressedModel:
    spec = InputSpec((2, 6, 6), U4, shift=4)
    return random_chain("small", spec, recipes, np.random.default_rng(0))


def test_nodes_that_kernels_cannot_take_are_named() -> None:
    model = model_of([Recipe(2, (3, 3), padding=1)])
    dead = (*model.nodes, MaxPool("p1", "layer0", 2, 2), MaxPool("p2", "layer0", 2, 2))
    with pytest.raises(PyadmmError, match="p1: no node reads it, but only p2 may end"):
        plan_accelerator(CompressedModel("m", model.input, dead), BOARD, {})
    per_channel = AvgPool("mean", "layer0", 2, 2, Requant((3, 5), 2), U4)
    with pytest.raises(
        PyadmmError, match="mean: an average pool of the kernels has one mult, not 2"
    ):
        plan_accelerator(CompressedModel("m", model.input, (*model.nodes, per_channel)), BOARD, {})
    pool = MaxPool("pool", INPUT, 2, 2)
    with pytest.raises(PyadmmError, match="need at least one weighted layer"):
        plan_accelerator(CompressedModel("m", model.input, (pool,)), BOARD, {})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (KernelConfig("sparse", 7, 1, 1), "layer0: tile_rows must be at most the 6"),
        (KernelConfig("sparse", 1, 5, 1), "layer0: groups must be at most the 4"),
        (KernelConfig("sparse", 1, 1, 2), "layer0: index_bits must be 1 to 1"),
        (KernelConfig("sparse", 1, 1, 0), "layer0: index_bits must be 1 to 1"),
        (KernelConfig("dense", 1, 4), "layer0: groups of a dense kernel must divide the 2"),
    ],
)
def test_impossible_configs_are_refused(config: KernelConfig, message: str) -> None:
    model = model_of([Recipe(4, (3, 3), padding=1, groups=2)])
    with pytest.raises(PyadmmError, match=message):
        plan_accelerator(model, BOARD, {"layer0": config})


def test_configs_must_name_every_layer() -> None:
    with pytest.raises(PyadmmError, match="configs must name every layer; odd: conv1"):
        plan_accelerator(LENET, BOARD, {})


def test_wide_accumulators_are_refused() -> None:
    model = model_of([Recipe(2, (3, 3), output=QFormat(40, False))])
    with pytest.raises(PyadmmError, match="layer0: outputs of 40 bits"):
        plan_accelerator(model, BOARD, {"layer0": KernelConfig("sparse", 1, 1, 1)})
    with pytest.raises(PyadmmError, match="layer0: an accumulator of"):
        plan_accelerator(
            model_of([Recipe(2, (3, 3))]),
            BOARD,
            {"layer0": KernelConfig("sparse", 1, 1, 1)},
            spare_acc_bits=30,
        )
