"""``pyadmm compile`` writes a program and the facts that a driver needs of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyadmm import container
from pyadmm.cli.main import main
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.hardware.sequential.program import check_image
from tests.sequential.bundles import network


def test_the_program_is_for_the_array_and_the_images_that_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = network("wide")
    container.save(model, tmp_path / "wide.admm")
    line = ["compile", str(tmp_path / "wide.admm"), "--out", str(tmp_path / "build")]
    assert main([*line, "--array", "2x32", "--start-images", "3"]) == 0
    assert "3 images per start" in capsys.readouterr().out
    check_image((tmp_path / "build" / "wide.seq").read_bytes(), SequentialArray(2, 32))
    facts = json.loads((tmp_path / "build" / "wide.json").read_text())
    assert facts["start_images"] == 3
    assert tuple(facts["input"]["shape"]) == model.input.shape


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--array", "4"], "--array must be groups x lanes, such as 4x64"),
        (["--array", "4x63"], "lanes must be 32 or 64, not 63"),
        (["--csim", "-1"], "--csim must be at least 0, not -1"),
        (["--bytes-per-cycle", "25"], "--bytes-per-cycle must be above 0, at most 24; not 25.0"),
    ],
)
def test_wrong_options_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    container.save(network("wide"), tmp_path / "wide.admm")
    assert main(["compile", str(tmp_path / "wide.admm"), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line
