"""Stored step results are used only while their inputs and their files are unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.flow.facts import AccuracyFacts
from pyadmm.flow.outcome import Outcome
from pyadmm.flow.store import StepStore

NOTHING = Outcome("done")


def test_a_result_survives_and_is_found_again(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    (tmp_path / "out.bin").write_bytes(b"payload")
    upstream = store.save("first", "d0", 0.5, NOTHING)
    digest = store.digest("second", {"seed": 1}, [upstream])
    found = Outcome("99 %", AccuracyFacts(0.99, 100), (tmp_path / "out.bin",), warning="low")
    saved = store.save("second", digest, 1.5, found)
    assert (saved.facts, saved.warning) == (AccuracyFacts(0.99, 100), "low")
    assert StepStore(tmp_path).load("second", digest, AccuracyFacts) == saved
    assert StepStore(tmp_path).load("first", "d0", None) == upstream


def test_changed_settings_or_upstream_change_the_digest(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    one, other = (store.save("first", digest, 0.0, NOTHING) for digest in ("x", "y"))
    digests = {
        store.digest("second", settings, [upstream])
        for settings in ({"seed": 1}, {"seed": 2})
        for upstream in (one, other)
    }
    assert len(digests) == 4


@pytest.mark.parametrize(
    "damage", ["delete", "change", "truncate-record", "wrong-record", "wrong-facts"]
)
def test_a_damaged_result_is_no_result(tmp_path: Path, damage: str) -> None:
    store = StepStore(tmp_path)
    file = tmp_path / "out.bin"
    file.write_bytes(b"payload")
    store.save("step", "d", 0.0, Outcome("done", AccuracyFacts(0.5, 10), (file,)))
    record = tmp_path / "steps" / "step.json"
    if damage == "delete":
        file.unlink()
    elif damage == "change":
        file.write_bytes(b"other")
    elif damage == "truncate-record":
        record.write_bytes(record.read_bytes()[:20])
    elif damage == "wrong-facts":
        record.write_text(record.read_text().replace("0.5", '"half"'))
    else:
        record.write_text("[1, 2]")
    assert store.load("step", "d", AccuracyFacts) is None


def test_two_runs_cannot_share_a_directory(tmp_path: Path) -> None:
    with (
        StepStore(tmp_path).lock(),
        pytest.raises(PyadmmError, match="another pyadmm.flow"),
        StepStore(tmp_path).lock(),
    ):
        pass
