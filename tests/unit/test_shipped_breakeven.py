"""The break-even records of the package belong to the present kernels and cover the default run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyadmm.breakeven import Settings
from pyadmm.breakeven.store import known
from pyadmm.flow.config import FlowConfig, read_config
from pyadmm.flow.console import Reporter
from pyadmm.flow.session import Session

RECIPE = Path(__file__).parents[2] / "recipes" / "resnet20-cifar10.yaml"


@pytest.mark.parametrize(
    "config",
    [FlowConfig(), FlowConfig(preset="standard"), read_config(RECIPE)],
    ids=["default", "standard", "resnet20"],
)
def test_a_run_on_pynq_z2_measures_nothing(
    config: FlowConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this fails, kernels have changed: python -m experiments.shipped_breakeven."""
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path))
    session = Session(config, Reporter())
    for case in session.layer_cases:
        found = known(case, session.board, Settings())
        assert found is not None, f"{case.label} has no record in the package"
        record, source = found
        assert source == "package"
        assert record.basis == "post-synthesis"
        assert record.ratio is not None
        assert record.ratio >= 1
