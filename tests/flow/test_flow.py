"""The whole flow as its users start it: by command line, by YAML, interrupted and resumed."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pyadmm import container
from pyadmm.eda.reports import SynthesisReport
from pyadmm.report.record import load_record
from tests.flow.driver import TINY, made_up_digits

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.flow.driver", *arguments]


def flow(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=cwd, text=True, capture_output=True, timeout=TIMEOUT_S, check=False
    )


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "board": "pynq-z2",
                "seed": 5,
                "break_even": False,
                "synthesis": False,
                "compress": TINY,
            }
        )
    )
    return path


@pytest.fixture(scope="module")
def finished(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of an undisturbed run."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    done = flow("--config", str(config), "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_a_run_leaves_a_proven_accelerator_and_a_report(finished: Path) -> None:
    record = load_record(finished / "record.json")
    model = container.load(finished / "lenet5.admm")
    assert record.nnz == model.nnz <= 43_050
    data = made_up_digits()
    accuracy = record.accuracies.integer_test
    assert accuracy is not None
    assert accuracy.value == model.accuracy(data.test_images, data.test_labels)
    assert accuracy.value > 0.5
    assert {check.result for check in record.checks} == {"pass"}
    assert record.checks[0].images == 200
    assert record.file is not None
    assert record.file.bytes == record.file.itemised == (finished / "lenet5.admm").stat().st_size
    assert {epoch.step for epoch in record.history} == {"dense", "prune", "retrain", "quantize"}
    for name in (
        "report.html",
        "report.xlsx",
        "build/hls/src/top.cpp",
        "build/hls/data/weights.bin",
    ):
        assert (finished / name).stat().st_size > 0
    assert "subset" in record.notes[0]
    assert record.dataset.name == "MNIST, subset"
    assert [design.name for design in record.designs] == ["sparse", "dense", "dense, compact"]
    for design in record.designs:
        assert design.cycles_per_image.basis == "modelled"
        assert [each.layer for each in design.layers] == [layer.name for layer in record.layers]
    assert {layer.kernel.cycles.basis for layer in record.layers if layer.kernel} == {"cosim"}
    counted = SynthesisReport.from_json((finished / "cosim.json").read_text())
    cycles = record.hardware.cycles_per_image
    assert cycles is not None
    assert (counted.stage, counted.interval.average) == ("cosim", round(cycles.value))
    assert [module.name for module in counted.modules] == [layer.name for layer in record.layers]


def test_a_second_run_takes_everything_from_the_store(config: Path, finished: Path) -> None:
    before = (finished / "lenet5.admm").read_bytes()
    done = flow("--config", str(config), "--out", str(finished))
    assert done.returncode == 0, done.stderr
    steps = [line for line in done.stdout.splitlines() if line.lstrip().startswith("[")]
    assert steps
    assert all(line.endswith("(stored)") for line in steps)
    assert (finished / "lenet5.admm").read_bytes() == before


def test_damaged_results_are_made_again(config: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    good = (out / "lenet5.admm").read_bytes()
    (out / "lenet5.admm").write_bytes(good[:-7])
    (out / "build" / "hls" / "src" / "top.cpp").unlink()
    done = flow("--config", str(config), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert (out / "lenet5.admm").read_bytes() == good
    assert (out / "build" / "hls" / "src" / "top.cpp").is_file()


def test_a_damaged_checkpoint_is_named(config: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "steps" / "quantize.json").unlink()
    checkpoint = out / "checkpoints" / "quantize.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    done = flow("--config", str(config), "--out", str(out))
    assert done.returncode == 2
    assert "quantize.pt" in done.stderr
    assert "delete it to train again" in done.stderr
    assert "Traceback" not in done.stderr


def test_killed_at_any_moment_it_goes_on_to_the_same_result(
    config: Path, finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments = command("--config", str(config), "--out", str(out))
    for epochs in (1, 4, 8):
        with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            wait_for_epochs(out, epochs, process)
            process.send_signal(signal.SIGKILL)
    done = flow("--config", str(config), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert (out / "lenet5.admm").read_bytes() == (finished / "lenet5.admm").read_bytes()
    undisturbed, resumed = (load_record(run / "record.json") for run in (finished, out))
    assert resumed.accuracies == undisturbed.accuracies
    assert [e.loss for e in resumed.history] == [e.loss for e in undisturbed.history]


def wait_for_epochs(out: Path, epochs: int, process: subprocess.Popen[bytes]) -> None:
    """Until ``epochs`` checkpoints have been written in this process, roughly."""
    seen: set[tuple[str, int]] = set()
    deadline = time.monotonic() + TIMEOUT_S
    while len(seen) < epochs and process.poll() is None:
        assert time.monotonic() < deadline
        folder = out / "checkpoints"
        for path in folder.glob("*") if folder.is_dir() else []:
            with contextlib.suppress(FileNotFoundError):  # finished rounds' phases are deleted
                if not path.name.startswith(".") and path.is_file():
                    seen.add((path.name, path.stat().st_mtime_ns))
        time.sleep(0.01)


def test_until_runs_a_prefix(config: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = flow("--config", str(config), "--out", str(out), "--until", "dense")
    assert done.returncode == 0, done.stderr
    assert sorted(path.stem for path in (out / "steps").iterdir()) == ["data", "dense"]
    assert not (out / "report.html").exists()
    stored = json.loads((out / "steps" / "dense.json").read_text())
    same = json.loads((finished / "steps" / "dense.json").read_text())
    assert stored["facts"]["validation_accuracy"] == same["facts"]["validation_accuracy"]


def test_dry_run_does_nothing(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = flow("--config", str(config), "--out", str(out), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "xc7z020clg400-1" in done.stdout
    assert "csim" in done.stdout
    assert not out.exists()


def test_without_a_compiler_the_rest_is_done_and_said(
    config: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "steps" / "csim.json").unlink()
    monkeypatch.setenv("CXX", "no-such-compiler")
    done = flow("--config", str(config), "--out", str(out))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "no-such-compiler" in done.stdout
    record = load_record(out / "record.json")
    assert [(c.name, c.result) for c in record.checks if c.result != "pass"] == [
        ("csim", "skipped")
    ]
