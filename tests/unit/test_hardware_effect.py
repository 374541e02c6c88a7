"""ADMM-NN's table 9: who stays dense, what that gains, on synthetic areas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments.admm_nn_table9 import Effect, hardware_effect, main, recorded_effect
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
    published, restored, further = effect.variants
    floor = effect.break_evens["conv1"]
    assert published.ratios["conv1"] == pytest.approx(1 / 0.81)
    assert floor is None or floor > published.ratios["conv1"]
    assert published.speedups["conv1"] < 1
    for variant in (restored, further):
        assert variant.ratios["conv1"] == variant.speedups["conv1"] == 1
    assert effect.overall(restored) > effect.overall(published)
    for name in ("conv2", "conv3"):
        assert restored.ratios[name] == published.ratios[name]
        assert further.ratios[name] > restored.ratios[name]
        assert further.speedups[name] > restored.speedups[name] > 1


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


def test_recorded_families_give_the_table_without_synthesis(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of every layer the fastest family at each portion; all by the operations."""
    rows = ["board,layer,family,ratio,basis,version,curve"]
    for number in range(1, 6):
        curve = "0.19:1.2 0.8:4.5 0.81:4.6 0.9:8"
        rows.append(f"pynq-z2,alexnet.conv{number},shared,1.1,post-synthesis,Yosys 1,{curve}")
        curve = "0.8:5 0.81:5 0.9:7" if number > 1 else ""
        rows.append(f"pynq-z2,alexnet.conv{number},sparse,,post-synthesis,Yosys 1,{curve}")
    table = tmp_path / "breakeven.csv"
    table.write_text("\n".join(rows) + "\n")
    assert main(["--records", str(table)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| pynq-z2, post-synthesis, Yosys 1 | conv1 |")
    assert "| 1.20 | 5.00 | 5.00 | 5.00 | 5.00 | " in lines[4]
    assert "| shared | sparse | sparse | sparse | sparse |" in lines[5]
    assert "| shared | shared | shared | shared | shared |" in lines[8]
    found = recorded_effect(table, load_board("pynq-z2"))
    first, second = found.variants
    macs = found.macs
    time = macs["conv1"] / 1.2 + (sum(macs.values()) - macs["conv1"]) / 8
    assert found.overall(second) == pytest.approx(sum(macs.values()) / time)
    assert found.overall(second) > found.overall(first)
    table.write_text("\n".join(rows[:-3]) + "\n")
    assert main(["--records", str(table)]) == 2
    assert "no kernel of conv5 is recorded at 5.00x" in capsys.readouterr().err
