"""ADMM-NN's table 9: who stays dense, what that gains, on synthetic areas."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from experiments.admm_nn_table9 import Effect, hardware_effect, main
from pyadmm.breakeven import LayerCase, Measured
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.plan import StagePlan
from pyadmm.model.types import LayerSpec, Resources

CASES = [
    LayerCase(
        "small", LayerSpec("conv1", "conv", (8, 3, 5, 5), (3, 17, 17), stride=2), 5, 8, False
    ),
    LayerCase(
        "small", LayerSpec("conv2", "conv", (24, 16, 3, 3), (16, 7, 7), padding=1), 5, 8, False
    ),
    LayerCase(
        "small", LayerSpec("conv3", "conv", (32, 16, 3, 3), (16, 7, 7), padding=1), 5, 8, False
    ),
]


def areas(sparse_luts: int) -> object:
    """Areas of 60 LUTs a dense lane and ``sparse_luts`` a sparse one; equal memories."""

    def measure(stages: Sequence[StagePlan], _: Board) -> list[Measured]:
        def one(stage: StagePlan) -> Measured:
            lane = sparse_luts if stage.config.family == "sparse" else 60
            lut = lane * stage.lanes * stage.groups
            return Measured(Resources(lut=lut, bram18=250), 8.0, "post-synthesis", "test", "1")

        return [one(stage) for stage in stages]

    return measure


@pytest.fixture(scope="module")
def effect() -> Effect:
    return hardware_effect(load_board("pynq-z2"), areas(64), CASES)  # type: ignore[arg-type]


def test_layers_under_their_break_even_stay_dense_and_the_others_go_further(
    effect: Effect,
) -> None:
    assert list(effect.macs) == ["conv1", "conv2", "conv3"]
    published, restored, pushed = effect.variants
    floor = effect.break_evens["conv1"]
    assert published.ratios["conv1"] == pytest.approx(1 / 0.81)
    assert floor is None or floor > published.ratios["conv1"]
    assert published.speedups["conv1"] < 1
    for variant in (restored, pushed):
        assert variant.ratios["conv1"] == variant.speedups["conv1"] == 1
    assert effect.overall(restored) > effect.overall(published)
    for name in ("conv2", "conv3"):
        assert restored.ratios[name] == published.ratios[name]
        assert pushed.ratios[name] > restored.ratios[name]
        assert pushed.speedups[name] > restored.speedups[name] > 1


def test_the_mean_is_weighted_by_operations(effect: Effect) -> None:
    variant = effect.variants[1]
    total = sum(effect.macs.values())
    time = sum(effect.macs[n] / total / variant.speedups[n] for n in effect.macs)
    assert effect.overall(variant) == pytest.approx(1 / time)
    rows = effect.table().splitlines()
    assert all(row.count("|") == 6 for row in rows)
    assert rows[2].startswith("| break-even (ADMM-NN: 2.22×")
    assert "| dense |" in rows[5]


def test_what_does_not_fit_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--board", "zybo-z7-10"]) == 2
    assert "alexnet.conv1 on zybo-z7-10: not even the smallest" in capsys.readouterr().err
    with pytest.raises(PyadmmError, match="cannot be reached"):
        hardware_effect(load_board("pynq-z2"), areas(10**6), CASES)  # type: ignore[arg-type]
