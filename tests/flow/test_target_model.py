"""One's own network on one's own pictures, and networks of the zoo with weights from a file."""

from __future__ import annotations

import importlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from pyadmm import container, zoo
from pyadmm.breakeven import Settings, break_even
from pyadmm.breakeven.store import remember
from pyadmm.cli.run import main
from pyadmm.core.errors import PyadmmError
from pyadmm.eda import yosys
from pyadmm.flow.config import FlowConfig
from pyadmm.flow.console import Reporter
from pyadmm.flow.session import Session
from pyadmm.flow.target_model import resolve, teacher_of
from pyadmm.training.data import Images
from pyadmm.training.distillation import Teacher
from tests.unit.test_breakeven_store import by_lanes

NETWORK = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.block = nn.Conv2d(6, 6, 3, 1, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = (x + self.block(x)).relu()
        return self.fc(self.pool(x).flatten(1))


class Wide(Net):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, 2, 1)
        self.norm = nn.BatchNorm2d(12)
        self.block = nn.Conv2d(12, 12, 3, 1, 1)
        self.fc = nn.Linear(12, 2)


def unsupported():
    return nn.Sequential(nn.Conv2d(3, 2, 12), nn.GroupNorm(1, 2))


def broken():
    return Net(3)


class Names:
    net = Net


number = 3
"""

SMALL: dict[str, Any] = {
    "pruning_ratio": 2,
    "filters_kept": 1,
    "neurons_kept": 1,
    "input": {"bits": 8, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.2]},
    "dense": {"epochs": 12, "lr": 1e-2, "batch_size": 16, "flip": True},
    "continuous": {"epochs": 0},
    "admm": {"rounds": 1, "first_ratio": 2, "iterations": 1, "lr": 5e-3, "batch_size": 16},
    "retrain": {"epochs": 2, "lr": 5e-3, "batch_size": 16, "flip": True, "optimizer": "sgd"},
    "quantize_norms": {"epochs": 2, "lr": 3e-3, "batch_size": 16},
    "quantize": {"epochs": 2, "lr": 1e-3, "batch_size": 16},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a network and pictures of two classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mynet.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    rng = np.random.default_rng(1)
    for part, count in (("train", 48), ("val", 12)):
        for label, name in enumerate(("dark", "light")):
            folder = tmp_path / "pictures" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 150, (14, 14, 3)) + 80 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return tmp_path


def test_flow_on_an_own_network_with_a_residual_and_norms(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {
        "model": "mynet:Net",
        "data_dir": "pictures",
        "image_size": 12,
        "out": "run",
        "until": "test",
        "compress": SMALL,
    }
    (here / "run.yaml").write_text(yaml.safe_dump(config))
    assert main(["--config", "run.yaml"]) == 0
    model = container.load(here / "run" / "mynet-Net.admm")
    assert model.input.shape == (3, 12, 12)
    assert model.input.offset == (128, 102, 76)
    assert sum(type(node).__name__ == "Add" for node in model.nodes) == 1
    facts = json.loads((here / "run" / "steps" / "test.json").read_text())["facts"]
    assert facts["accuracy"] > 0.9
    assert facts["images"] == 24
    capsys.readouterr()
    assert main(["--config", "run.yaml"]) == 0
    assert "(stored)" in capsys.readouterr().out


def test_another_network_can_be_the_teacher(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(2)
    module: Any = importlib.import_module("mynet")
    torch.save(module.Wide().state_dict(), here / "wide.pt")
    line = ["--model", "mynet:Net", "--data-dir", "pictures", "--image-size", "12"]
    line += ["--config", "small.yaml", "--until", "prune"]
    brief = {**SMALL, "dense": {**SMALL["dense"], "epochs": 1}}
    (here / "small.yaml").write_text(yaml.safe_dump({"compress": brief}))
    taught = ["--teacher", "mynet:Wide", "--teacher-weights", "wide.pt"]
    losses = []
    for out, more in (("alone", []), ("taught", taught)):
        assert main([*line, "--out", out, *more]) == 0
        facts = json.loads((here / out / "steps" / "prune.json").read_text())["facts"]
        losses.append(facts["epochs"][0]["loss"])
    assert losses[0] != losses[1]
    capsys.readouterr()
    assert main([*line, "--out", "taught", *taught]) == 0
    assert capsys.readouterr().out.count("(stored)") == 3
    assert main([*line, "--out", "taught"]) == 0  # without the other teacher: pruned anew
    assert capsys.readouterr().out.count("(stored)") == 2
    facts = json.loads((here / "taught" / "steps" / "prune.json").read_text())["facts"]
    assert facts["epochs"][0]["loss"] == losses[0]


@pytest.mark.parametrize(
    ("method", "distill"),
    [("prepare", {"averaged_shifts": 1}), ("prepare_sample", {"cached_augmentations": 1})],
)
def test_the_logits_of_a_teacher_are_computed_once_for_all_phases(
    here: Path, monkeypatch: pytest.MonkeyPatch, method: str, distill: dict[str, int]
) -> None:
    computed = []
    inner = getattr(Teacher, method)

    def counted(teacher: Teacher, data: Images, *how: object) -> None:
        computed.append(not teacher.tables)
        inner(teacher, data, *how)

    monkeypatch.setattr(Teacher, method, counted)
    settings = {**SMALL, "distill": distill}
    (here / "views.yaml").write_text(yaml.safe_dump({"compress": settings}))
    line = ["--model", "mynet:Net", "--data-dir", "pictures", "--image-size", "12"]
    assert main([*line, "--config", "views.yaml", "--until", "quantize"]) == 0
    assert len(computed) > 4
    assert computed.count(True) == 1


def test_flow_with_everything_that_records_use(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {
        **SMALL,
        "admm": {**SMALL["admm"], "cutmix": 0.5},
        "regrow": {"cycles": 1, "share": 0.2, "grow_epochs": 1, "prune_epochs": 1},
        "retrain": {**SMALL["retrain"], "cutmix": 0.5},
        "rounding": {"candidates": 2},
        "distill": {"weight": 1, "cached_augmentations": 2},
        "sparse": True,
        "most_bytes": 215,
    }
    (here / "record.yaml").write_text(yaml.safe_dump({"compress": settings}))
    line = ["--model", "mynet:Net", "--data-dir", "pictures", "--image-size", "12"]
    line += ["--config", "record.yaml", "--out", "run", "--until", "test"]
    assert main(line) == 0
    file = here / "run" / "mynet-Net.admm"
    assert file.stat().st_size <= 215
    steps = {path.stem: json.loads(path.read_text()) for path in (here / "run/steps").iterdir()}
    phases = [
        record["phase"]
        for name in ("retrain", "quantize")
        for record in steps[name]["facts"]["epochs"]
    ]
    assert {"regrow", "retrain", "rounding"} <= set(phases), phases
    assert steps["test"]["facts"]["accuracy"] > 0.9
    before = file.read_bytes()
    for path in (here / "run/steps").glob("[!d]*.json"):  # all but data and dense
        path.unlink()
    capsys.readouterr()
    assert main(line) == 0  # from the checkpoints
    assert file.read_bytes() == before


def test_break_even_is_obeyed_by_every_phase(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYADMM_CACHE", str(here / "cache"))
    settings = {
        **SMALL,
        "regrow": {"cycles": 1, "share": 0.2, "grow_epochs": 1, "prune_epochs": 1},
        "rounding": {"candidates": 2},
        "most_bytes": 215,
    }
    values = {
        "model": "mynet:Net", "data_dir": "pictures", "image_size": 12, "out": "run",
        "until": "test", "break_even": True, "compress": settings,
    }  # fmt: skip
    (here / "floors.yaml").write_text(yaml.safe_dump(values))
    session = Session(FlowConfig(**values), Reporter())
    floors = dict(zip(("stem", "block", "fc"), (1.2, 2.5, 40.0), strict=True))
    for case in session.layer_cases:
        measured = break_even(case, session.board, by_lanes)
        record = replace(measured, ratio=floors[case.spec.name], version=yosys.tool_version())
        remember(case, session.board, Settings(), record)
        remember(case, session.board, Settings(), replace(record, family="shared"))
    assert session.floors == floors
    assert main(["--config", "floors.yaml"]) == 0
    said = capsys.readouterr().out
    assert "3 measured before on this machine): stem 1.20x, block 2.50x, fc 40.00x" in said
    step = json.loads((here / "run" / "steps" / "breakeven.json").read_text())
    for curves in step["facts"]["curves"].values():
        assert [curve["family"] for curve in curves] == ["sparse", "shared"]
        assert curves[0]["speedups"] == curves[1]["speedups"] != []
    model = container.load(here / "run" / "mynet-Net.admm")
    for layer in model.layers:
        ratio = layer.spec.weights / layer.nnz
        assert ratio == 1 or ratio >= floors[layer.name], (layer.name, ratio)


def test_a_teacher_needs_weights_and_the_same_images(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--model", "mynet:Net", "--data-dir", "pictures", "--image-size", "12", "--dry-run"]
    for option in (["--teacher", "mynet:Wide"], ["--teacher-weights", "wide.pt"]):
        assert main([*line, *option]) == 2
        assert "teacher and teacher_weights belong together" in capsys.readouterr().err
    torch.save({}, here / "empty.pt")
    assert main([*line, "--teacher", "mynet:Wide", "--teacher-weights", "empty.pt"]) == 2
    assert "weights empty.pt: " in capsys.readouterr().err
    named = FlowConfig(model="resnet20", teacher="resnet56", teacher_weights="w.pt")
    tutor = teacher_of(named, resolve(named))
    assert tutor is not None
    assert (tutor.name, tutor.weights, tutor.shape) == ("resnet56", Path("w.pt"), (3, 32, 32))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("mynet:unsupported", "layer 1: GroupNorm is not supported"),
        ("mynet:broken", "model mynet-broken: building it failed: TypeError"),
        ("mynet:nothing", "cannot be imported .AttributeError"),
        ("nowhere:net", "cannot be imported .ModuleNotFoundError"),
        ("mynet:number", "is not callable"),
        ("mynet:Names", "must be a callable that gives a torch.nn.Module, not Names"),
    ],
)
def test_a_bad_network_is_refused_before_training(
    here: Path, model: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", model, "--data-dir", "pictures", "--image-size", "12"]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (here / "runs").exists()


def test_target_models_of_the_zoo() -> None:
    resnet = resolve(FlowConfig(model="resnet20", weights="w.pt"))
    assert (resnet.data, resnet.shape, resnet.weights) == ("cifar10", (3, 32, 32), Path("w.pt"))
    assert resolve(FlowConfig(model="alexnet")).shape == (3, 227, 227)
    assert resolve(FlowConfig(model="vgg16", image_size=64)).shape == (3, 64, 64)
    with pytest.raises(PyadmmError, match="'svhn' is unknown"):
        resolve(FlowConfig(model="resnet20", data="svhn"))


def test_weights_of_a_file_are_taken(here: Path) -> None:
    torch.manual_seed(3)
    state = zoo.build("resnet20").state_dict()
    torch.save({"state_dict": state}, here / "w.pt")
    model = resolve(FlowConfig(model="resnet20", weights="w.pt")).module()
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    with pytest.raises(PyadmmError, match="weights w.pt: do not fit Sequential"):
        resolve(FlowConfig(model="lenet5", weights="w.pt")).module()
