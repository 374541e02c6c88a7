"""``pyadmm cosim`` counts the wrong images of every model that it is given."""

from __future__ import annotations

import json
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
from tests.sequential.conftest import SMALL

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


def signed_file(folder: Path) -> Path:
    """A network of int8 data, padded and pooled, with an offset."""
    spec = InputSpec((2, 7, 6), QFormat(9, True), (-20, 7), signed=True)
    recipes = [
        Recipe(3, (3, 3), 2, padding=1, density=0.4, pool=(2, 2)),
        Recipe(4, density=0.4, weight_bits=2, output=None),
    ]
    container.save(
        random_chain("signed", spec, recipes, np.random.default_rng(5)), folder / "signed.admm"
    )
    return folder / "signed.admm"


@pytest.mark.parametrize("family", ["sparse", "dense", "balanced"])
def test_signed_data_of_ones_own_in_rtl_and_c(
    here: Path, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(-128, 128, (20, 2, 7, 6)).astype(np.int8)
    data[0], data[1] = -128, 127
    np.savez(here / "windows.npz", x=data)
    line = [str(signed_file(here)), "--csim", "--family", family, "--data"]
    assert cosim.main([*line, str(here / "windows.npz")]) == 0
    out = capsys.readouterr().out
    assert "20 images, 0 with wrong logits; latency" in out
    assert "csim: 20 images, 0 with wrong logits" in out
    np.savez(here / "bytes.npz", x=data.view(np.uint8))
    assert cosim.main([*line, str(here / "bytes.npz")]) == 2
    assert "has unsigned bytes, but signed takes signed ones" in capsys.readouterr().err


def test_a_file_of_another_shape_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(here / "small.npz", x_test=np.zeros((3, 1, 8, 8), np.uint8))
    assert cosim.main([str(here / "1.admm"), "--data", str(here / "small.npz")]) == 2
    said = capsys.readouterr().err
    assert "data small: has images of shape (1, 8, 8), but tiny takes (1, 28, 28)" in said


def test_programs_of_the_sequential_array_run_in_rtl_and_c(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a small array: the one of a board takes minutes to compile."""
    monkeypatch.setattr(cosim, "largest_array", lambda board: SMALL)
    line = [str(here / "1.admm"), "--architecture", "sequential", "--csim", "--json"]
    assert cosim.main([*line, "--stall", "0.2"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert (facts["images"], facts["wrong_images"], facts["wrong_images_csim"]) == (30, 0, 0)
    assert facts["array"] == "2x32"
    starts = -(-30 // facts["images_per_start"])
    images = starts * facts["images_per_start"]
    assert facts["interval_cycles"] == facts["total_cycles"] / images
    assert cosim.main([*line, "--unrolled"]) == 2
    assert "belong to dataflow engines" in capsys.readouterr().err
