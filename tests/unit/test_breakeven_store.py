"""Break-even records are found by all that decides them, and by nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pyadmm.breakeven import LayerCase, LayerFormat, Measured, measurements, network_cases
from pyadmm.breakeven.settings import Settings
from pyadmm.breakeven.store import digest_of, known, remember
from pyadmm.core.errors import MissingToolError
from pyadmm.eda import yosys
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.plan import StagePlan
from pyadmm.model.types import LayerSpec, Resources

BOARD = load_board("pynq-z2")
CASE = LayerCase("net", LayerSpec("c.1", "conv", (8, 4, 3, 3), (4, 8, 8)), 3, 4, resident=True)


def by_lanes(stages: Sequence[StagePlan], board: Board) -> list[Measured]:
    """10 LUTs a lane."""
    lanes = [10 * stage.lanes * stage.groups for stage in stages]
    return [Measured(Resources(lut=n, ff=n), 8.0, "post-synthesis", "yosys", "1") for n in lanes]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path))
    monkeypatch.setattr(yosys, "tool_version", lambda: "1")


def test_a_record_is_taken_under_the_name_of_whoever_asks() -> None:
    found = measurements([CASE], BOARD, measure=by_lanes)
    assert found.sources == ("measured",)
    assert found.origin == "1 measured now"
    remember(CASE, BOARD, Settings(), found.results[0])
    other = replace(CASE, model="else", spec=replace(CASE.spec, name="abc"))
    again = measurements([other], load_board("pynq-z1"))
    assert again.sources == ("cache",)
    (result,) = again.results
    assert (result.layer, result.name, result.board) == ("else.abc", "abc", "pynq-z1")
    assert result.ratio == found.results[0].ratio
    assert again.floors == {"abc": result.ratio}


@pytest.mark.parametrize(
    "change",
    [
        {"weight_bits": 2},
        {"activation_bits": 5},
        {"layers_on_chip": 2},
        {"resident": False},
        {"spec": LayerSpec("c.1", "conv", (8, 4, 3, 3), (4, 8, 8), padding=1)},
    ],
)
def test_what_decides_a_record_is_in_its_digest(change: dict) -> None:
    plain = digest_of(CASE, BOARD, Settings(), "1")
    assert digest_of(replace(CASE, **change), BOARD, Settings(), "1") != plain
    assert digest_of(CASE, load_board("kv260"), Settings(), "1") != plain
    assert digest_of(CASE, BOARD, Settings(logic_share=0.2), "1") != plain
    assert digest_of(CASE, BOARD, Settings(), "2") != plain
    renamed = replace(CASE, model="x", spec=replace(CASE.spec, name="y"))
    assert digest_of(renamed, BOARD, Settings(), "1") == plain


def test_a_damaged_record_is_measured_again(tmp_path: Path) -> None:
    record = measurements([CASE], BOARD, measure=by_lanes).results[0]
    remember(CASE, BOARD, Settings(), record)
    (file,) = (tmp_path / "breakeven").iterdir()
    file.write_text(file.read_text()[:-20])
    assert known(CASE, BOARD, Settings()) is None


def test_asked_to_measure_it_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    record = measurements([CASE], BOARD, measure=by_lanes).results[0]
    remember(CASE, BOARD, Settings(), replace(record, ratio=9.0))
    told: list[str] = []
    found = measurements([CASE], BOARD, measure=by_lanes, anew=True, progress=told.append)
    assert found.results[0].ratio == record.ratio
    assert told == ["net.c.1"]

    def missing() -> str:
        raise MissingToolError("yosys: the package pyosys is not installed")

    monkeypatch.setattr(yosys, "tool_version", missing)
    with pytest.raises(MissingToolError, match="pyosys"):
        measurements([replace(CASE, weight_bits=2)], BOARD)


def test_cases_follow_the_network_and_the_board() -> None:
    small = LayerSpec("abc", "linear", (10, 64), (64, 1, 1))
    (case,) = network_cases("net", [LayerFormat(small, 2, 6)], BOARD)
    assert (case.label, case.weight_bits, case.activation_bits) == ("net.abc", 2, 6)
    assert (case.resident, case.layers_on_chip) == (True, 1)
    large = LayerSpec("fc6", "linear", (4096, 9216), (256, 6, 6))
    formats = [LayerFormat(large, 3, 8), LayerFormat(small, 3, 8)]
    assert [c.resident for c in network_cases("net", formats, BOARD)] == [False, False]
    assert [c.layers_on_chip for c in network_cases("net", formats, BOARD)] == [1, 1]
    assert [c.layers_on_chip for c in network_cases("net", formats[1:] * 2, BOARD)] == [2, 2]
    wide = LayerSpec("w", "conv", (4, 4, 3, 3), (4, 32, 32), padding=1)
    many = network_cases("net", [LayerFormat(wide, 4, 8)] * 20, BOARD)
    assert {(c.resident, c.layers_on_chip) for c in many} == {(False, 1)}
