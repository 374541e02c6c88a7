"""One command, one convention: help that teaches, errors in one line, the same exit statuses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyadmm import container
from pyadmm.cli.command import CHECK_FAILED, ERROR, INTERRUPTED, SKIPPED, guarded
from pyadmm.cli.main import COMMANDS, command, main, usage
from pyadmm.core.errors import CheckError, MissingToolError, PyadmmError
from tests.unit.models import random_lenet5


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_teaches(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([name, "--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: pyadmm {name}" in text
    assert f"  pyadmm {name} " in text.partition("examples:")[2]
    assert "exit status: 0 done" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_models_of_the_examples_exist(name: str) -> None:
    root = Path(__file__).parents[2]
    for model in re.findall(
        r"models/[\w.-]+\.admm", command(name).parser().format_help() + usage()
    ):
        assert (root / model).is_file(), model


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_option_is_one_line_and_status_2(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([name, "--no-such-option"])
    assert leaving.value.code == ERROR
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in COMMANDS)
    for name in COMMANDS:
        assert command(name).name == name
        assert command(name).help == COMMANDS[name][1]


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspct"]) == ERROR
    assert capsys.readouterr().err == (
        "error: pyadmm has no command 'inspct'; did you mean inspect?\n"
    )


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (PyadmmError("conv1: no"), ERROR, "error: conv1: no"),
        (CheckError("a logit differs"), CHECK_FAILED, "a logit differs"),
        (MissingToolError("yosys: not installed"), SKIPPED, "yosys: not installed"),
        (FileNotFoundError(2, "No such file or directory", "x.bit"), ERROR, "x.bit: No such file"),
        (ZeroDivisionError("division\nby zero"), ERROR, "ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
    ],
)
def test_every_exception_is_one_line_and_a_status(
    error: BaseException, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        raise error

    assert guarded(work) == status
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_traceback_is_shown_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYADMM_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("pyadmm", ""),
        ("pyadmm.export", "export"),
        ("pyadmm.cosim", "cosim"),
        ("pyadmm.reports", "reports"),
        ("pyadmm.breakeven", "breakeven"),
        ("pyadmm.container", "inspect"),
        ("pyadmm.report", "report"),
    ],
)
def test_old_names_work_and_say_the_new_one(module: str, name: str) -> None:
    line = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert f"usage: pyadmm {name}".rstrip() in done.stdout
    note = f"note: python -m {module} is now called: pyadmm {name}\n"
    assert done.stderr == (note if name else "")


def test_cosim_of_any_network_says_whose_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.admm"
    container.save(random_lenet5(), path)
    assert main(["cosim", str(path), "--data", "cifar10", "--images", "2"]) == ERROR
    assert "but the network takes (1, 28, 28); give your own data" in capsys.readouterr().err


def test_export_does_not_write_over_its_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.admm"
    container.save(random_lenet5(), path)
    before = path.read_bytes()
    assert main(["export", str(path), str(path)]) == ERROR
    assert "give the graph another name" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_boards_are_listed_and_own_files_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["boards"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("pynq-z2", "ultra96-v2", "xc7z020clg400-1", "DS190"))
    own = tmp_path / "mine.json"
    own.write_text((Path("boards") / "pynq-z2.json").read_text().replace("pynq-z2", "mine", 1))
    assert main(["boards", str(own), "--json"]) == 0
    assert '"name": "mine"' in capsys.readouterr().out
    own.write_text("{}")
    assert main(["boards", str(own)]) == ERROR
    assert "board file mine.json: field name must be present" in capsys.readouterr().err
