"""Runs on one's own data and code: what is named, what is done again, what is refused at once."""

from __future__ import annotations

import importlib
import json
import random
import string
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pyadmm import container
from pyadmm.cli.main import main
from pyadmm.core.schema import from_plain
from pyadmm.flow.facts import DataFacts
from pyadmm.flow.summary import dataset_record
from pyadmm.report.html import render_html
from pyadmm.report.reference import comparison
from tests.data.test_idx import OFFICIAL, idx_bytes
from tests.unit.report_fixture import lenet_record

NETWORK = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, outputs=3, drop=0.0):
        super().__init__(nn.Flatten(), nn.Dropout(drop), nn.Linear(24, outputs))


def two():
    return Net(2)
"""
BRIEF: dict[str, Any] = {
    "pruning_ratio": 2,
    "filters_kept": 1,
    "neurons_kept": 1,
    "dense": {"epochs": 8, "lr": 3e-2, "batch_size": 16},
    "continuous": {"epochs": 0},
    "admm": {"rounds": 1, "iterations": 1, "retrain_epochs": 1, "first_ratio": 1.5},
    "retrain": {"epochs": 2},
    "quantize": {"epochs": 2},
}


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Signed windows ``(2, 4, 3)`` of three kinds that are easy to tell."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    x = rng.integers(-30, 30, (count, 2, 4, 3))
    x[np.arange(count), 0, labels] += 80
    return x.astype(np.int8), labels


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PYADMM_DATA", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith("ownnet")]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "ownnet.py").write_text(NETWORK)
    save(tmp_path / "ecg.npz")
    settings(tmp_path)
    return tmp_path


def save(path: Path, seed: int = 1, **more: Any) -> None:
    x, y = draw(120, seed)
    test, answers = draw(60, seed + 1)
    np.savez(path, x_train=x, y_train=y, x_test=test, y_test=answers, **more)


def settings(folder: Path, **changes: Any) -> None:
    content = {"model": "ownnet:Net", "synthesis": False, "compress": {**BRIEF, **changes}}
    (folder / "c.yaml").write_text(yaml.safe_dump(content))


LINE = ["run", "--config", "c.yaml", "--data", "ecg.npz", "--out", "r", "--until"]


def steps(capsys: pytest.CaptureFixture[str]) -> dict[str, bool]:
    """Step → whether its stored result was shown, of what was printed."""
    lines = [line for line in capsys.readouterr().out.splitlines() if "/" in line.split("]")[0]]
    return {line.split()[1]: line.endswith("(stored)") for line in lines}


def test_signed_data_become_signed_integers_and_are_named(here: Path) -> None:
    assert main([*LINE, "test"]) == 0
    model = container.load(here / "r" / "ownnet-Net.admm")
    assert (model.input.shape, model.input.offset, model.input.shift) == ((2, 4, 3), (128,), 0)
    assert model.input.format.scale == pytest.approx(1 / 128)
    x, y = draw(60, 2)
    pixels = (x.astype(int) + 128).astype(np.uint8)
    np.testing.assert_array_equal(model.input.quantize(pixels), x)
    step = json.loads((here / "r" / "steps" / "test.json").read_text())
    assert step["facts"]["accuracy"] == model.accuracy(pixels, y) > 0.9
    assert step["warning"] is None
    data = json.loads((here / "r" / "steps" / "data.json").read_text())["facts"]
    assert data["name"] == "ecg"


def test_other_content_under_the_same_name_is_trained_anew(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*LINE, "dense"]) == 0
    assert steps(capsys) == {"data": False, "dense": False}
    assert main([*LINE, "dense"]) == 0
    assert steps(capsys) == {"data": True, "dense": True}
    (here / "ecg.npz").rename(here / "moved.npz")
    save(here / "ecg.npz", seed=5)
    assert main([*LINE, "dense"]) == 0
    assert steps(capsys) == {"data": False, "dense": False}
    (here / "ecg.npz").unlink()
    (here / "elsewhere").mkdir()
    (here / "moved.npz").rename(here / "elsewhere" / "ecg.npz")
    moved = [word.replace("ecg.npz", "elsewhere/ecg.npz") for word in LINE]
    assert main([*moved, "dense"]) == 0
    assert steps(capsys) == {"data": False, "dense": False}
    assert main([*moved, "dense"]) == 0
    assert steps(capsys) == {"data": True, "dense": True}


def test_a_changed_source_file_is_trained_anew(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dropout is in no weight and in no traced layer: only the source tells."""
    found = []
    for number, drop in enumerate(("0.0", "0.5", "0.0")):
        name = f"ownnet{number}"
        (here / f"{name}.py").write_text(NETWORK.replace("drop=0.0", f"drop={drop}"))
        line = [*LINE, "dense", "--model", f"{name}:Net"]
        assert main(line) == 0
        found.append(steps(capsys)["dense"])
    assert found == [False, False, False]
    assert main(line) == 0
    assert steps(capsys)["dense"] is True
    (here / "ownnet3.py").write_text(NETWORK)  # as ownnet2: names do not count
    assert main([*LINE, "dense", "--model", "ownnet3:Net"]) == 0
    assert steps(capsys)["dense"] is True


def test_a_changed_file_beside_the_source_is_trained_anew(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dropout comes from a module that the named one imports."""
    source = "from ownnet_part import DROP, used\n" + NETWORK.replace("drop=0.0", "drop=DROP")
    (here / "ownnet_whole.py").write_text(source)
    found = []
    for drop in (0.0, 0.5, 0.5):
        (here / "ownnet_part.py").write_text(f"DROP = {drop}\n\n\ndef used(): pass\n")
        for name in ("ownnet_part", "ownnet_whole"):  # as in another process
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        assert main([*LINE, "dense", "--model", "ownnet_whole:Net"]) == 0
        found.append(steps(capsys)["dense"])
    assert found == [False, False, True]


ODD = """
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(24, 3)


class Softmax(Base):
    def forward(self, x):
        return self.fc(x.flatten(1)).softmax(1)


class Sigmoid(Base):
    def forward(self, x):
        return torch.sigmoid(self.fc(x.flatten(1)))


class Named(Base):
    def forward(self, x):
        return {"logits": self.fc(x.flatten(1))}


class Auxiliary(Base):
    def forward(self, x):
        y = self.fc(x.flatten(1))
        return (y, y) if self.training else y


class Half(Base):
    def __init__(self):
        super().__init__()
        self.half()

    def forward(self, x):
        return self.fc(x.flatten(1))


class Fails(Base):
    def forward(self, x):
        if self.training:
            raise KeyError("boom")
        return self.fc(x.flatten(1))


def exported():
    return torch.export.export(Named().eval(), (torch.zeros(2, 2, 4, 3),))


made = Auxiliary()
"""


@pytest.mark.parametrize("name", ["Softmax", "Sigmoid", "Named", "Auxiliary", "Half", "made"])
def test_results_of_every_kind_are_trained_by_their_logits(here: Path, name: str) -> None:
    (here / "ownnet_odd.py").write_text(ODD)
    assert main([*LINE, "test", "--model", f"ownnet_odd:{name}"]) == 0
    facts = json.loads((here / "r" / "steps" / "test.json").read_text())["facts"]
    assert facts["dense_accuracy"] > 0.9
    assert facts["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Fails", "model Fails: its forward fails in training mode on a batch of shape (16, 2, 4"),
        ("exported", "an exported module cannot be trained; give the module from which it was"),
    ],
)
def test_a_module_that_cannot_be_trained_is_one_line(
    here: Path, name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "ownnet_odd.py").write_text(ODD)
    assert main([*LINE, "dense", "--model", f"ownnet_odd:{name}"]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_a_run_directory_is_used_again_with_other_settings(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*LINE, "quantize"]) == 0
    first = (here / "r" / "ownnet-Net.admm").read_bytes()
    capsys.readouterr()
    settings(here, pruning_ratio=3)
    assert main([*LINE, "quantize"]) == 0
    done = steps(capsys)
    assert (done["data"], done["dense"], done["prune"], done["quantize"]) == (
        *(True, True),
        *(False, False),
    )
    assert container.load(here / "r" / "ownnet-Net.admm").pruning_ratio == pytest.approx(3, 0.1)
    settings(here)
    assert main([*LINE, "quantize"]) == 0
    assert (here / "r" / "ownnet-Net.admm").read_bytes() == first


@pytest.mark.parametrize("more", [["--until", "dense"], ["--dry-run"]])
def test_too_few_outputs_are_refused_at_once(
    here: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*LINE[:-1], "--model", "ownnet:two", *more]) == 2
    error = capsys.readouterr().err
    assert "has 2 outputs, but the data have 3 classes" in error
    assert not (here / "r").exists()


def test_a_collapse_ends_with_a_warning_in_the_report_too(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings(here, pruning_ratio=70)
    assert main([*LINE, "test"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1].startswith("! Warning: most of the accuracy is lost")
    assert "pruning_ratio" in out[-1]
    assert main([*LINE, "test"]) == 0  # a stored result still says so
    assert "pruning_ratio" in capsys.readouterr().out.splitlines()[-1]


def test_the_report_names_the_data_and_compares_only_with_its_own_kind(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fashion-MNIST's files are called like MNIST's."""
    images = np.zeros((60, 28, 28), "u1")
    labels = (np.arange(60) % 10).astype("u1")
    (here / "Fashion-MNIST").mkdir()
    for name, array in zip(OFFICIAL, (images, labels, images[:20], labels[:20]), strict=True):
        (here / "Fashion-MNIST" / name).write_bytes(idx_bytes(array))
    line = ["run", "--data-dir", "Fashion-MNIST", "--out", "r", "--until", "data"]
    assert main(line) == 0
    assert "IDX files Fashion-MNIST" in capsys.readouterr().out
    facts = json.loads((here / "r" / "steps" / "data.json").read_text())["facts"]
    assert dataset_record(from_plain(DataFacts, facts, "data")).name == "Fashion-MNIST"
    record = lenet_record()
    assert len(comparison(record)) > 1
    own = replace(record, dataset=replace(record.dataset, name="Fashion-MNIST"))
    assert [row.ours for row in comparison(own)] == [True]
    assert "Fashion-MNIST" in render_html(own)


def test_an_unwritable_run_directory_is_one_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "r").write_text("in the way")
    assert main([*LINE, "data"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: r: cannot be written: ")
    assert error.count("\n") == 1
    assert (here / "r").read_text() == "in the way"


WORDS = [
    "",
    "0",
    "-1",
    "1e400",
    "nan",
    "x",
    "[",
    "{a: b}",
    "~",
    "true",
    "mnist",
    "ecg.npz",
    "ü",
    "c.yaml",
]
OPTIONS = ["--board", "--model", "--weights", "--teacher", "--teacher-weights", "--data"]
OPTIONS += ["--image-size", "--preset", "--config", "--data-dir", "--out", "--seed", "--device"]
OPTIONS += ["--until", "--hardware-aware", "--no-synthesis", "--dry-run"]
FIELDS = ["board", "model", "data", "image_size", "preset", "seed", "until", "compress", "weights"]


def run_quietly(line: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    try:
        status = main(line)
    except SystemExit as leaving:
        status = int(str(leaving.code))
    return status, capsys.readouterr().err


@pytest.mark.parametrize("seed", range(60))
def test_no_command_line_gives_a_traceback(
    here: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(seed)
    line = ["run", "--until", "data"]
    for option in rng.sample(OPTIONS, rng.randrange(1, 4)):
        line += (
            [option] if option in ("--no-synthesis", "--dry-run") else [option, rng.choice(WORDS)]
        )
    status, error = run_quietly(line, capsys)
    assert status in (0, 2, 3), line
    assert "Traceback" not in error
    assert "fault of pyadmm" not in error, (line, error)


@pytest.mark.parametrize("seed", range(60))
def test_no_configuration_file_gives_a_traceback(
    here: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(seed)
    values: list[Any] = [None, 1, -1, 1.5, True, "x", [], {}, [1], {"a": 1}, 10**30, "mnist"]
    content = {field: rng.choice(values) for field in rng.sample(FIELDS, rng.randrange(1, 4))}
    if rng.random() < 0.5:
        content["compress"] = {
            field: rng.choice(values)
            for field in rng.sample(["pruning_ratio", "dense", "layers", "input", "admm"], 2)
        }
    text = yaml.safe_dump(content)
    if rng.random() < 0.3:
        text = text[: rng.randrange(len(text))] + rng.choice(string.printable)
    (here / "odd.yaml").write_text(text)
    line = ["run", "--config", "odd.yaml", "--dry-run"]
    status, error = run_quietly(line, capsys)
    assert status in (0, 2, 3), text
    assert "Traceback" not in error
    assert "fault of pyadmm" not in error, (text, error)
