"""``pyadmm.deploy.simulated_board.run``: what the flow calls, here with the stand-in core."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pyadmm.core.errors import PyadmmError, ToolError
from pyadmm.deploy import simulated_board as simboard
from pyadmm.deploy.bundle import ModelPack, add_model, plan_deploy
from pyadmm.deploy.simulated_board import environment
from pyadmm.deploy.simulated_board.run import STAND_IN_BASIS
from pyadmm.deploy.simulated_board.stage import Stage
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.lowering import hardware_form
from pyadmm.model import CompressedModel
from pyadmm.model.types import QFormat

from .models import small_design, small_model, small_pack


def test_images_go_through_the_host_code(stage: Stage, deploy: Path) -> None:
    model = small_model(1, "first")
    pack = small_pack(model, 30)
    golden = model.run(pack.images)
    wrong_golden = golden.copy()
    wrong_golden[3] += 1
    result = simboard.run(deploy, None, pack.images, wrong_golden, pack.labels)
    assert result.basis == STAND_IN_BASIS
    assert "simulated" in result.device
    assert (result.images, result.wrong, result.equal) == (30, 1, False)
    assert result.accuracy == 1
    assert result.single_cycles is None
    assert result.images_per_s is None
    assert result.to_dict()["equal"] is False


def test_a_failing_host_shows_its_last_words(stage: Stage, deploy: Path, tmp_path: Path) -> None:
    model = small_model(1, "first")
    images = np.zeros((2, 1, 3, 3), np.uint8)
    with pytest.raises(ToolError, match=r"InputError: images: must have the shape \(N, 1, 9, 7\)"):
        simboard.run(deploy, None, images, model.run(small_pack(model, 2).images))


def test_images_and_results_must_match(deploy: Path) -> None:
    with pytest.raises(PyadmmError, match="2 images and 3 golden results"):
        simboard.run(deploy, None, np.zeros((2, 1, 9, 7), np.uint8), np.zeros((3, 5), np.int64))


def test_a_missing_environment_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYADMM_HOST_PYTHON", raising=False)
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path))
    with pytest.raises(ToolError, match=r"python -m pyadmm\.deploy\.simulated_board\.environment"):
        environment.host_python(create=False)
    monkeypatch.setenv("PYADMM_HOST_PYTHON", str(tmp_path / "python"))
    with pytest.raises(ToolError, match="cannot import pynq"):
        environment.host_python()


@pytest.mark.parametrize("board", ["kv260", "zcu104"])
def test_ultrascale_boards_never_run_faster_than_timed(
    board: str, tmp_path: Path, stage: Stage
) -> None:
    model = small_model(1, "first")
    pack = small_pack(model)
    deploy = tmp_path / "deploy"
    plan_deploy(small_design(model, board), [pack]).write(deploy)
    result = simboard.run(deploy, None, pack.images, model.run(pack.images))
    assert result.equal
    assert result.device == f"simulated {board}"
    wanted = load_board(board).clock_mhz
    assert 0.9 * wanted < result.clock_mhz <= wanted  # pynq alone would take 214 MHz for 200


def signed_model() -> CompressedModel:
    """The small model on int8 data."""
    model = small_model(1, "signed")
    return replace(model, input=replace(model.input, format=QFormat(8, True), signed=True))


def test_signed_images_go_through_the_host_code(stage: Stage, tmp_path: Path) -> None:
    model = signed_model()
    rng = np.random.default_rng(7)
    images = rng.integers(-128, 128, (12, *model.input.shape)).astype(np.int8)
    golden = model.run(images)
    pack = ModelPack(model, images, golden.argmax(1))
    plan_deploy(small_design(hardware_form(model)), [pack]).write(tmp_path)
    result = simboard.run(tmp_path, None, images, golden, pack.labels)
    assert (result.images, result.wrong, result.equal) == (12, 0, True)
    with pytest.raises(ToolError, match=r"must be a numpy array of int8, not uint8"):
        simboard.run(tmp_path, None, images.view(np.uint8), golden)
    unsigned = small_model(2, "second", 0.3)
    with pytest.raises(PyadmmError, match="second takes uint8 images, the bundle int8"):
        add_model(tmp_path, small_pack(unsigned))
