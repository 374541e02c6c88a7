"""On-chip plans: counts are those of the layouts, memories hold them, bounds are kept."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from experiments import onchip_plans as onchip
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.cost import stage_resources
from pyadmm.hardware.mapping import layer_links
from pyadmm.hardware.plan import KernelConfig, StagePlan
from pyadmm.hardware.weight_image import Positions
from pyadmm.model.types import Resources
from tests.unit.models import random_lenet5

ZCU104 = load_board("zcu104")
MODEL = random_lenet5()


def test_entries_and_memories_are_those_of_the_layout() -> None:
    plan = onchip.plan(MODEL, ZCU104, "sparse")
    assert plan.holds_all
    assert plan.on_chip_bits == plan.all_bits
    for layer, found in zip(MODEL.layers, plan.layers, strict=True):
        entries = int(Positions.of(layer).entries_per_output(found.index_bits).sum())
        assert found.entries == entries
        capacity = found.bram18 * 18 * 1024 + found.uram * 4096 * 72
        assert found.where == "lutram" or capacity >= found.bits
    assert plan.interval == max(layer.cycles for layer in plan.layers)
    assert plan.images_per_second == pytest.approx(ZCU104.clock_mhz * 1e6 / plan.interval)


def test_sparse_is_faster_than_dense_on_the_same_board() -> None:
    sparse, dense = (onchip.plan(MODEL, ZCU104, family) for family in ("sparse", "dense"))
    assert sparse.interval is not None
    assert dense.interval is not None
    assert dense.interval > sparse.interval


def test_what_does_not_fit_on_chip_is_streamed() -> None:
    few = replace(ZCU104.resources, bram18=60, uram=0)
    narrow = replace(ZCU104, resources=few, memory_bandwidth_mb_s=1.0)
    plan = onchip.plan(MODEL, narrow, "dense")
    streamed = [layer for layer in plan.layers if layer.where == "streamed"]
    assert "fc1" in {layer.name for layer in streamed}
    bits = sum(layer.bits for layer in streamed)
    assert plan.slowest == "weights from memory"
    assert plan.interval == round(bits / (8 / narrow.clock_mhz))


def test_a_board_that_is_too_small_is_unknown_with_a_reason() -> None:
    tiny = replace(ZCU104, resources=Resources(lut=500, ff=500, dsp=4, bram18=4))
    plan = onchip.plan(MODEL, tiny, "sparse")
    assert plan.interval is None
    assert plan.images_per_second is None
    assert "limit" in plan.reason


def test_uram_words_hold_whole_entries() -> None:
    link = next(li for li in layer_links(MODEL) if li.layer.name == "fc1")
    for option in onchip.options(MODEL, link, "sparse"):
        per_word = 72 // option.stage.weight_word_bits
        words = math.ceil(option.depth / per_word)
        assert option.uram == math.ceil(words / 4096) * option.stage.groups


def test_unknown_networks_are_refused() -> None:
    with pytest.raises(PyadmmError, match="no densities for 'lenet5'; have alexnet"):
        onchip.random_model("lenet5")


def test_frames_move_to_ultra_ram_where_block_ram_is_short() -> None:
    few = replace(ZCU104.resources, bram18=12, uram=40)
    plan = onchip.plan(MODEL, replace(ZCU104, resources=few), "sparse")
    without = onchip.plan(MODEL, replace(ZCU104, resources=replace(few, uram=0)), "sparse")
    assert plan.interval is not None
    assert "uram" in {layer.frame for layer in plan.layers}
    assert without.interval is None or without.interval > plan.interval
    assert "uram" not in {layer.frame for layer in without.layers}
    stage = onchip.options(MODEL, layer_links(MODEL)[1], "sparse")[-1].with_frame_in_uram.stage
    assert stage_resources(stage).uram > 0
    assert stage_resources(stage).bram18 < stage_resources(_in_blocks(stage)).bram18


def _in_blocks(stage: StagePlan) -> StagePlan:
    return replace(stage, config=replace(stage.config, ultra_frame=False, block_frame=True))


def test_a_frame_is_of_one_kind() -> None:
    with pytest.raises(PyadmmError, match="block_frame or ultra_frame, not both"):
        KernelConfig("sparse", 1, 1, block_frame=True, ultra_frame=True)
