"""Options that would change nothing are refused, with what they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyadmm.cli.main import main
from pyadmm.core.errors import PyadmmError
from pyadmm.flow.config import FlowConfig
from pyadmm.flow.runner import selected_steps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "m:f", "measure": True}, "measure has no effect: it needs break_even: true"),
        ({"array": "2x32"}, "array has no effect: it needs architecture: sequential or auto"),
        ({"simulate_board": True, "until": "csim"}, "simulate_board has no effect: .*after csim"),
        ({"compare": True, "until": "cosim"}, "compare has no effect: .*after cosim"),
    ],
    ids=str,
)
def test_an_option_without_effect_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PyadmmError, match=f"^field {message}.*; leave it out"):
        selected_steps(FlowConfig(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"model": "m:f", "measure": True, "break_even": True},
        {"measure": True},
        {"array": "2x32", "architecture": "auto"},
        {"simulate_board": True},
        {"compare": True, "until": "compare"},
    ],
    ids=str,
)
def test_the_same_option_with_an_effect_is_taken(options: dict[str, Any]) -> None:
    assert selected_steps(FlowConfig(**options))


NETWORKS = """
from torch import nn
def bend(): return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Hardswish(), nn.Flatten(), nn.Linear(144, 3))
def line(): return nn.Sequential(nn.Conv1d(8, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3))
def two_channels(): return nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten(), nn.Linear(24, 3))
"""


@pytest.mark.parametrize(
    "case",
    [
        ("bends:bend", 0, "pynq-z2 at a pruning ratio of 2, which trials will choose anew"),
        ("bends:line", 0, "bends:line for pynq-z2 (xc7z020clg400-1)"),
        ("bends:two_channels", 2, "give lines (N, C, L), or maps of one row (N, C, 1, L), with"),
        ("bends", 2, "or give your own: module:callable, FILE.onnx or FILE.admm"),
    ],
)
def test_a_dry_run_says_what_keeps_a_network_from_hardware(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: tuple[str, int, str],
) -> None:
    model, status, words = case
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "bends.py").write_text(NETWORKS)
    x, y = np.random.default_rng(0).integers(0, 256, (24, 8, 8)).astype("u1"), np.arange(24) % 3
    np.savez("own.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    assert main(["run", "--model", model, "--data", "own.npz", "--dry-run"]) == status
    said = capsys.readouterr()
    assert words in " ".join((said.out + said.err).split())
