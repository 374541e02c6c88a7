"""Networks train where they are: the whole pipeline on a device that refuses the CPU's tensors.

No GPU takes part. What CUDA does differently (sums in another order, its kernels, its generators)
is not tested here; that nothing stays behind on the CPU is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pyadmm.core.errors import PyadmmError
from pyadmm.training import devices
from pyadmm.training.checkpoint import Checkpoint

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STOP_AFTER = "retrain-1"


def child(*arguments: str, module: str = "child") -> str:
    """What a process of its own prints: torch knows a new device for good."""
    process = subprocess.run(
        [sys.executable, "-m", f"tests.devices.{module}", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout


@pytest.fixture(scope="module")
def on_the_cpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cpu")
    child("cpu", str(out))
    return out


def assert_equal(found: Path, golden: Path) -> None:
    for name in ("model.admm", "rounded.admm"):
        assert (found / name).read_bytes() == (golden / name).read_bytes(), name


def test_a_device_gives_what_the_cpu_gives(tmp_path: Path, on_the_cpu: Path) -> None:
    operations = int(child("pretend", str(tmp_path)))
    assert operations > 10_000
    assert_equal(tmp_path, on_the_cpu)
    losses = [json.loads((out / "losses.json").read_text()) for out in (tmp_path, on_the_cpu)]
    assert losses[0] == losses[1]
    assert {phase for phase, _, _ in losses[0]} >= {"dense", "admm-2", "quantize-norms", "quantize"}


@pytest.mark.parametrize("order", [("pretend", "cpu"), ("cpu", "pretend")])
def test_another_device_goes_on_from_a_checkpoint(
    order: tuple[str, str], tmp_path: Path, on_the_cpu: Path
) -> None:
    child(order[0], str(tmp_path), STOP_AFTER)
    assert not (tmp_path / "model.admm").exists()
    assert (tmp_path / "checkpoints" / f"{STOP_AFTER}.pt").exists()
    child(order[1], str(tmp_path))
    assert_equal(tmp_path, on_the_cpu)
    losses = json.loads((tmp_path / "losses.json").read_text())
    assert STOP_AFTER not in {phase for phase, _, _ in losses}


def test_the_device_refuses_tensors_of_the_cpu() -> None:
    assert child(module="strangers").splitlines() == [
        "sum: refused",
        "convolution: refused",
        "index of the cpu's tensor: refused",
        "numpy: refused",
        "number: allowed",
        "index by the cpu's tensor: allowed",
        "crossings: 5",
    ]


def test_a_checkpoint_holds_tensors_of_the_cpu(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, "phase", "digest")
    held = {"deep": [{"tensor": torch.ones(2)}, (torch.zeros(1), "text", 3)]}
    checkpoint.save({"epoch": 1, "part": held})
    state = checkpoint.load()
    assert state is not None
    assert torch.equal(state["part"]["deep"][0]["tensor"], torch.ones(2))
    assert state["part"]["deep"][1][1:] == ("text", 3)


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.choose("cpu") == torch.device("cpu")
    with pytest.raises(PyadmmError, match="must be one of cpu, cuda, not 'tpu'"):
        devices.choose("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PyadmmError, match="finds 0; use --device cpu"):
        devices.choose("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(PyadmmError, match="process 2 of this machine .* finds 2"):
        devices.choose("cuda", {"LOCAL_RANK": "2"})
    with pytest.raises(PyadmmError, match="LOCAL_RANK: must be a number from 0, not 'x'"):
        devices.choose("cuda", {"LOCAL_RANK": "x"})


def test_every_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    assert devices.choose("cuda", {"LOCAL_RANK": "1"}) == torch.device("cuda", 1)
    assert chosen == [1]
    assert not torch.backends.cudnn.allow_tf32
