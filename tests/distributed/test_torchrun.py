"""``torchrun -m pyadmm.flow``: a killed process, the command again, what one process gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from pyadmm import container

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIG = {
    "until": "quantize",
    "break_even": False,
    "compress": {
        "pruning_ratio": 10,
        "dense": {"epochs": 1, "batch_size": 32},
        "continuous": {"epochs": 0},
        "admm": {
            **{"rounds": 1, "iterations": 2, "retrain_epochs": 1, "batch_size": 32},
            **{"lr": 1e-3, "curvature": 0.0},
        },
        "retrain": {"epochs": 1},
        "quantize": {"epochs": 1, "lr": 1e-3},
    },
}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def flow(config: Path, out: Path, launcher: list[str], **variables: str) -> tuple[int, str]:
    """Exit status and standard error of the flow."""
    facts = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYADMM_TIMEOUT_S": "120"}
    line = ["-m", "tests.distributed.flow_child", "--config", str(config), "--out", str(out)]
    done = subprocess.run(
        [sys.executable, *launcher, *line],
        cwd=ROOT,
        env={**os.environ, **facts, **variables},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    return done.returncode, done.stderr


def test_torchrun_loses_a_process_goes_on_and_gives_what_one_process_gives(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    one, two = tmp_path / "one", tmp_path / "two"
    first = two / "checkpoints" / "admm-1.pt"

    status, said = flow(config, two, TORCHRUN, DOOMED_AFTER=str(first))
    assert status != 0
    assert "error: distributed: process 0 of 2: " in said
    assert "give the same command again to go on from it" in said
    assert first.exists()
    assert not (two / "lenet5.admm").exists()

    for out, start in ((two, TORCHRUN), (one, [])):
        status, said = flow(config, out, start)
        assert status == 0, said
    alone, together = (container.load(out / "lenet5.admm") for out in (one, two))
    assert together.nnz == alone.nnz
    for a, b in zip(alone.layers, together.layers, strict=True):
        # The order of sums differs, which may turn a weight that lies between two levels.
        assert np.count_nonzero(a.codes != b.codes) <= 0.002 * a.nnz + 1, a.name
