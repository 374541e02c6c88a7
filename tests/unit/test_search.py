"""Design-space search: fits, is the fastest it lists, and says why nothing fits."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pyadmm import container
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.cost import sparse_engine_cycles
from pyadmm.hardware.design_space import LayerKernel, SearchResult, search
from pyadmm.hardware.lowering import hardware_form
from pyadmm.hardware.mapping import layer_links, plan_accelerator, plan_stage
from pyadmm.hardware.plan import InputStream, KernelConfig
from tests.unit.models import random_lenet5

pytestmark = pytest.mark.slow

BOARD = load_board("pynq-z2")
RECORD = Path(__file__).parents[2] / "models" / "lenet5-record-352-seed31.admm"


@pytest.fixture(scope="module")
def result() -> SearchResult:
    return search(random_lenet5(), BOARD)


def test_lenet_fits_and_reaches_the_interval(result: SearchResult) -> None:
    assert result.best.resources.fits(BOARD.resources.scaled(0.8))
    assert result.best.interval <= 1000
    assert set(result.configs) == {"conv1", "conv2", "fc1", "fc2"}
    assert plan_accelerator(random_lenet5(), BOARD, result.configs).stage("conv2").groups > 1


def test_runners_up_are_not_faster_and_all_are_listed(result: SearchResult) -> None:
    assert result.runners_up
    assert all(choice.interval >= result.best.interval for choice in result.runners_up)
    table = result.table()
    assert "modelled" in table
    assert table.count("runner-up") == len(result.runners_up)
    assert f"set by {result.best.slowest}" in table


def test_sparse_beats_dense_on_the_same_chip(result: SearchResult) -> None:
    dense = search(random_lenet5(), BOARD, family="dense")
    assert {config.family for config in dense.configs.values()} == {"dense"}
    assert dense.best.interval > 2 * result.best.interval


def test_unrolled_kernels_are_offered_only_when_asked() -> None:
    model = random_lenet5(kept=(60, 300, 200, 100))
    result = search(model, BOARD)
    assert "unrolled" not in {config.family for config in result.configs.values()}
    asked = search(model, BOARD, unrolled=True)
    assert "unrolled" in {config.family for config in asked.configs.values()}
    assert asked.best.interval <= result.best.interval
    assert asked.configs["fc2"].family != "unrolled"
    assert asked.best.resources.fits(BOARD.resources.scaled(0.8))


def test_it_takes_seconds() -> None:
    start = time.process_time()
    search(random_lenet5(seed=1), load_board("zcu104"))
    assert time.process_time() - start < 10


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(PyadmmError, match=r"lut: needs .*limit .*largest part that fits: "):
        search(random_lenet5(), load_board("zybo-z7-10"), share=0.05)


def test_balanced_kernels_are_taken_only_when_asked() -> None:
    model = random_lenet5(0)
    plain = search(model, BOARD)
    assert {config.family for config in plain.configs.values()} <= {"sparse", "dense"}
    balanced = search(model, BOARD, family="balanced")
    assert {config.family for config in balanced.configs.values()} == {"balanced"}
    plan = plan_accelerator(model, BOARD, balanced.configs)
    for stage in plan.stages:
        chosen = balanced.best.kernels[stage.name]
        assert chosen.stage.entry_capacity == stage.entry_capacity
    assert search(model, BOARD, family="any").best.interval <= plain.best.interval


def test_a_frame_is_written_and_read_in_turn() -> None:
    """Simulation counts 105 cycles with 5 groups for fc1, 98 with 6 (unrolled.csv)."""
    model = hardware_form(container.load(RECORD))
    best = search(model, BOARD, unrolled=True, stream=InputStream(True, 32), luts_alone=True).best
    assert best.interval == 98
    assert max(best.waits.values()) <= 98
    for groups, interval in ((5, 105), (6, 98)):
        config = KernelConfig("sparse", 1, groups, 2)
        stage = plan_stage(model, layer_links(model)[2], config)
        cycles = sparse_engine_cycles(model.layer("fc1"), stage)
        other = best.with_kernel("fc1", LayerKernel.of(stage, cycles))
        assert other.kernels["fc1"].cycles <= 101
        assert (other.interval, other.slowest) == (interval, "the frame of fc1")


def test_luts_alone_find_a_smaller_accelerator() -> None:
    model = hardware_form(container.load(RECORD))
    stream = InputStream(True, 32)
    usual = search(model, BOARD, unrolled=True, stream=stream)
    found = search(model, BOARD, unrolled=True, stream=stream, luts_alone=True)
    assert found.best.interval == usual.best.interval
    by_luts = [
        min(r.best.resources.lut, *(c.resources.lut for c in r.runners_up)) for r in (found, usual)
    ]
    assert by_luts[0] <= by_luts[1]
