"""``pyadmm cosim`` counts the wrong images of every model that it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pyadmm import container
from pyadmm.cli import cosim
from pyadmm.datasets import mnist
from pyadmm.model import CompressedModel, InputSpec
from pyadmm.model.types import QFormat
from tests.hls.chains import Recipe, random_chain

pytestmark = pytest.mark.slow


def _model(seed: int) -> CompressedModel:
    recipes = [
        Recipe(3, (5, 5), 3, density=0.3, pool=(2, 2)),
        Recipe(4, density=0.3, weight_bits=2, output=None),
    ]
    spec = InputSpec((1, 28, 28), QFormat(4, False), shift=4)
    return random_chain("tiny", spec, recipes, np.random.default_rng(seed))


@pytest.fixture
def here(simulators: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two models; 30 made-up digits."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (30, 1, 28, 28)).astype(np.uint8)
    labels = rng.integers(0, 10, 30)
    made_up = mnist.Mnist(images, labels, images, labels, complete=False, source="made up")
    monkeypatch.setattr(mnist, "load", lambda _: made_up)
    monkeypatch.setenv("PYADMM_CACHE", str(simulators))
    for seed in (1, 2):
        container.save(_model(seed), tmp_path / f"{seed}.admm")
    return tmp_path


def test_every_model_is_simulated_in_rtl_and_c(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cosim.main([str(here / "1.admm"), str(here / "2.admm"), "--csim"]) == 0
    out = capsys.readouterr().out
    assert out.count("30 images, 0 with wrong logits; latency") == 2
    assert out.count("csim: 30 images, 0 with wrong logits") == 2
    assert out.index("1.admm: ") < out.index("2.admm: ")


def test_balanced_kernels_are_simulated_in_rtl_and_c(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cosim.main([str(here / "1.admm"), "--family", "balanced", "--csim"]) == 0
    out = capsys.readouterr().out
    assert out.count(": balanced, ") == 2
    assert "30 images, 0 with wrong logits; latency" in out
    assert "csim: 30 images, 0 with wrong logits" in out


def test_wrong_logits_are_counted(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = CompressedModel.run

    def two_off(model: CompressedModel, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        logits = golden(model, images)
        logits[::5, 1] += 1
        return logits

    monkeypatch.setattr(CompressedModel, "run", two_off)
    assert cosim.main([str(here / "1.admm"), "--csim", "--images", "10"]) == 1
    out = capsys.readouterr().out
    assert "10 images, 2 with wrong logits; latency" in out
    assert "csim: 10 images, 2 with wrong logits" in out


def test_a_file_that_is_none_is_one_line_before_any_simulation(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "2.admm").write_bytes(b"no model")
    assert cosim.main([str(here / "1.admm"), str(here / "2.admm")]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert "2.admm" in told.err
