"""A step whose failure waits: the others run first, nothing of it is stored, the run fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.flow import runner
from pyadmm.flow.config import FlowConfig
from pyadmm.flow.session import Session
from pyadmm.flow.steps import Outcome, Step


def test_a_failure_waits_for_the_other_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def too_large(_: Session) -> Outcome:
        ran.append("too large")
        return Outcome("much", failure="lut: needs 9, limit 8")

    def after(_: Session) -> Outcome:
        ran.append("after")
        return Outcome("done")

    steps = (
        Step("large", "does not fit", (), lambda _: None, too_large),
        Step("after", "does not need it", (), lambda _: None, after),
    )
    monkeypatch.setattr(runner, "STEPS", steps)
    config = FlowConfig(out=str(tmp_path / "run"), until="after")
    for _ in range(2):
        with pytest.raises(PyadmmError, match="step large: lut: needs 9, limit 8"):
            runner.run(config)
    assert ran == ["too large", "after", "too large"]
    assert not (tmp_path / "run" / "steps" / "large.json").exists()
