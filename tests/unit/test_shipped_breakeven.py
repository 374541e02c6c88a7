"""The break-even records of the package belong to the present kernels and cover the shipped networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pyadmm.breakeven import measurements
from pyadmm.breakeven.measure import Measured
from pyadmm.breakeven.store import shipped_records
from pyadmm.flow.config import FlowConfig, read_config
from pyadmm.flow.console import Reporter
from pyadmm.flow.session import Session
from pyadmm.hardware.boards import Board, board_names
from pyadmm.hardware.plan import StagePlan

RECIPE = Path(__file__).parents[2] / "recipes" / "resnet20-cifar10.yaml"
NO_ROOM = {"zybo-z7-10": {"lenet5.fc1"}}
"""Layers without a record: no dense kernel fits their share of the chip."""


def refuse(stages: Sequence[StagePlan], board: Board) -> list[Measured]:
    raise AssertionError(f"a record is missing for {stages[0].name} on {board.name}")


def require_records(config: FlowConfig, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this fails, kernels have changed: python -m experiments.shipped_breakeven."""
    monkeypatch.setenv("PYADMM_CACHE", str(cache))
    session = Session(config, Reporter())
    found = measurements(session.layer_cases, session.board, measure=refuse)
    assert set(found.sources) == {"package"}
    assert {gap.layer for gap in found.missing} == NO_ROOM.get(config.board, set())
    for record in found.results:
        assert record.basis == "post-synthesis"
        assert record.ratio is None or record.ratio >= 1


@pytest.mark.parametrize("preset", ["quick", "standard"])
@pytest.mark.parametrize("board", board_names())
def test_a_run_of_lenet5_measures_nothing(
    board: str, preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_records(FlowConfig(board=board, preset=preset), tmp_path, monkeypatch)


@pytest.mark.parametrize("board", ["kv260", "pynq-z1", "pynq-z2", "zybo-z7-20"])
def test_a_run_of_resnet20_measures_nothing(
    board: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_config(RECIPE).override({"board": board}, "test")
    require_records(config, tmp_path, monkeypatch)


def test_every_layer_of_the_default_run_has_a_ratio() -> None:
    session = Session(FlowConfig(), Reporter())
    found = measurements(session.layer_cases, session.board, measure=refuse)
    assert set(found.floors) == {"conv1", "conv2", "fc1", "fc2"}


def test_the_default_run_shows_all_families_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this fails, kernels have changed, or the table has records that nothing reads."""
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path))
    records = shipped_records().values()
    shipped = sorted((r.family, r.name) for r in records if r.family != "sparse")
    shown = Session(FlowConfig(), Reporter()).family_records
    assert sorted((r.family, r.name) for r in shown if r.family != "sparse") == shipped
    assert {family for family, _ in shipped} == {"balanced", "shared"}
