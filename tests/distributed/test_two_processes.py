"""Two gloo processes train what one does; a process that dies ends the run with one message."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from pyadmm.core.errors import PyadmmError
from pyadmm.training import distributed

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def launch(out: Path, count: int, *flags: str) -> list[subprocess.CompletedProcess[str]]:
    """Run ``count`` children to their end.

    They meet at a store of this process, as they would at torchrun's: no port can be taken between
    its choice and its use.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    out.mkdir(exist_ok=True)
    children = []
    for rank in range(count):
        facts = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYADMM_TIMEOUT_S": "60"}
        if count > 1:
            facts |= {"RANK": str(rank), "WORLD_SIZE": str(count)}
            facts |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
            facts |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}
        children.append(
            subprocess.Popen(
                [sys.executable, "-m", "tests.distributed.child", str(out), *flags],
                cwd=ROOT,
                env={**os.environ, **facts},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    done = []
    for child in children:
        stdout, stderr = child.communicate(timeout=240)
        done.append(subprocess.CompletedProcess([], child.returncode, stdout, stderr))
    return done


def states(out: Path, rank: int) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(out / f"rank{rank}.pt", weights_only=True)
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("alone")
    (process,) = launch(out, 1)
    assert process.returncode == 0, process.stderr
    return states(out, 0)


def assert_alike(found: dict[str, Any], golden: dict[str, Any]) -> None:
    """Same masks and codes, weights and losses within what the order of sums changes."""
    torch.testing.assert_close(found["losses"], golden["losses"], rtol=1e-3, atol=1e-4)
    for name in ("masks", "codes", "rounded"):
        for a, b in zip(found[name], golden[name], strict=True):
            assert torch.equal(a, b), name
    for a, b in zip(found["weights"], golden["weights"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


def test_two_processes_give_what_one_gives(tmp_path: Path, alone: dict[str, Any]) -> None:
    for process in launch(tmp_path, 2):
        assert process.returncode == 0, process.stderr
    first, second = states(tmp_path, 0), states(tmp_path, 1)
    for name in ("masks", "weights", "codes", "rounded"):
        assert all(torch.equal(a, b) for a, b in zip(first[name], second[name], strict=True)), name
    assert 0 < sum(int(mask.sum()) for mask in first["masks"]) <= (72 + 96) // 4
    assert_alike(first, alone)


def test_a_dead_process_ends_the_run_which_goes_on_later(
    tmp_path: Path, alone: dict[str, Any]
) -> None:
    survivor, dead = launch(tmp_path, 2, "die")
    assert dead.returncode == 9
    assert survivor.returncode == 2, survivor.stderr
    assert survivor.stderr.count("error: distributed: process 0 of 2: another process ended") == 1
    assert "give the same command again" in survivor.stderr
    assert "Traceback" not in survivor.stderr
    assert (tmp_path / "checkpoints" / "admm-1.pt").exists()
    for process in launch(tmp_path, 2):
        assert process.returncode == 0, process.stderr
    assert_alike(states(tmp_path, 0), alone)


def test_a_single_process_is_left_alone() -> None:
    assert not distributed.start({})
    index = torch.arange(5)
    part, weight = distributed.share(index)
    assert part is index
    assert (weight, distributed.size(), distributed.rank()) == (1.0, 1, 0)


def test_incomplete_variables_are_named() -> None:
    with pytest.raises(PyadmmError, match="RANK, MASTER_PORT is not; start with torchrun"):
        distributed.start({"WORLD_SIZE": "2", "MASTER_ADDR": "x"})
    facts = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "1"}
    with pytest.raises(PyadmmError, match="PYADMM_TIMEOUT_S: must be 1 to 86400 seconds, not 'so'"):
        distributed.start({**facts, "PYADMM_TIMEOUT_S": "so"})
