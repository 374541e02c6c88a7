"""Design-space search: fits, is the fastest it lists, and says why nothing fits."""

from __future__ import annotations

import time

import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.design_space import SearchResult, search
from pyadmm.hardware.mapping import plan_accelerator
from tests.unit.models import random_lenet5

pytestmark = pytest.mark.slow

BOARD = load_board("pynq-z2")


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
