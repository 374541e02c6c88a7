"""The record command: seeds, plan, resuming, and that the test set is read only when asked for."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments import lenet5_records as record
from pyadmm import container, settings
from pyadmm.compression.schedule import round_ratios
from pyadmm.core.errors import PyadmmError
from pyadmm.datasets import mnist

pytestmark = pytest.mark.slow


@pytest.fixture
def short_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record presets, with next to no epochs."""
    tiny = {
        "dense": {"epochs": 1, "shift_pixels": 0},
        "admm": {"iterations": 1, "retrain_epochs": 0, "first_ratio": 40.0, "rounds": 2},
        "retrain": {"epochs": 1},
        "quantize": {"epochs": 1},
        "local_search": {"cycles": 0},
    }
    one_answer = {"distill": {"averaged_shifts": 0}}
    search = {
        "regrow": {"cycles": 1, "grow_epochs": 1, "prune_epochs": 1},
        "local_search": {"cycles": 1, "epochs": 1},
    }
    rounding = {"rounding": {"candidates": 1, "images": 100}}
    wanted = {name: settings.preset(name) for name in record.NAMES}
    short = {
        name: settings.override(
            config,
            tiny
            | (one_answer if config.distill.weight else {})
            | (search if config.regrow.cycles else {})
            | (rounding if config.rounding.candidates else {}),
            name,
        )
        for name, config in wanted.items()
    }
    monkeypatch.setattr(record, "preset", short.__getitem__)


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> mnist.Mnist:
    """240 images of noise in the shape of MNIST."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (240, 1, 28, 28), dtype=np.uint8)
    labels = random.integers(0, 10, 240)
    data = mnist.Mnist(images, labels, images[:40], labels[:40], complete=False, source="noise")
    monkeypatch.setattr(mnist, "load", lambda folder: data)
    return data


@pytest.mark.usefixtures("short_chain")
def test_files_are_made_kept_and_tested_only_when_asked(
    few_images: mnist.Mnist, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--seeds", "7", "--until", record.LAST, "--out", str(tmp_path)]
    assert record.main(command) == 0
    assert "not read" in capsys.readouterr().out
    files = sorted(tmp_path.glob("*.admm"))
    names = record.CHAINS[-1]
    assert [file.stem for file in files] == [f"lenet5-{name}-seed7" for name in names]
    before = [file.stat().st_mtime_ns for file in files]
    facts = json.loads(files[0].with_suffix(".json").read_text())
    assert "test_accuracy" not in facts
    model = container.load(files[0])
    assert (facts["nnz"], facts["bytes"]) == (model.nnz, files[0].stat().st_size)
    for name, file in zip(names, files, strict=True):
        config = settings.preset(name)
        finer = {target.pattern: target.weight_bits for target in config.layers}
        assert container.load(file).nnz <= 430_500 // config.pruning_ratio
        for layer in container.load(file).layers:
            assert layer.weight_bits == finer.get(layer.name, config.weight_bits)

    assert record.main([*command, "--test"]) == 0
    out = capsys.readouterr().out
    assert "| record-300 | 1 |" in out
    assert "not read" not in out
    assert [file.stat().st_mtime_ns for file in files] == before
    facts = json.loads(files[0].with_suffix(".json").read_text())
    found = model.accuracy(few_images.test_images, few_images.test_labels)
    assert facts["test_accuracy"] == pytest.approx(found)


@pytest.mark.usefixtures("short_chain", "few_images")
def test_the_last_preset_may_train_on_all_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--seeds", "7", "--until", "record-352", "--out", str(tmp_path), "--all-images"]
    assert record.main(command) == 0
    out = capsys.readouterr().out
    assert "record-369: regrow, 1 epochs" in out
    assert "record-369: quantize, 1 epochs" in out
    assert "record-352: rounding, 1 epochs" in out
    assert "record-352: local-search, 1 epochs" in out
    assert "record-352: quantize" not in out
    rows = [line for line in out.splitlines() if line.startswith("| record")]
    assert ["trained on" in row for row in rows] == [False, False, False, False, True]
    names = [name for name, _ in record.chain(7, "record-352")]
    facts = [
        json.loads((tmp_path / f"lenet5-{name}-seed7.json").read_text(encoding="utf-8"))
        for name in names
    ]
    assert [known["training_images"] for known in facts] == [220, 220, 220, 220, 240]
    assert all(known["validation_accuracy"] is not None for known in facts[:4])
    assert facts[4]["validation_accuracy"] is facts[4]["float_validation_accuracy"] is None


@pytest.mark.usefixtures("short_chain", "few_images")
def test_a_row_is_written_for_every_file(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    command = ["--seeds", "3", "--until", "admm-nn-85", "--out", str(tmp_path), "--csv", str(table)]
    assert record.main(command) == 0
    (row,) = csv.DictReader(table.open(encoding="utf-8"))
    assert tuple(row) == record.COLUMNS
    model = container.load(tmp_path / "lenet5-admm-nn-85-seed3.admm")
    assert int(row["nnz"]) == model.nnz
    assert int(row["weight_bytes"]) == model.nnz, "eight bits a weight"
    assert int(row["bytes"]) == (tmp_path / "lenet5-admm-nn-85-seed3.admm").stat().st_size
    assert row["test_accuracy"] == ""
    assert "converged" in row["pruning"]


def test_a_dry_run_touches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record.main(["--dry-run", "--seeds", "1,3-4", "--out", str(tmp_path / "x")]) == 0
    out = capsys.readouterr().out
    assert "seeds 1, 3, 4" in out
    assert all(name in out for name in record.CHAINS[-1])
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "a"], "seeds must be like"),
        (["--seeds", "3-"], "seeds must be like"),
        (["--seeds", "5-3"], "holds no seed"),
        (["--until", "record-9"], "preset 'record-9' is unknown"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert record.main([*arguments, "--dry-run"]) == 1
    assert message in capsys.readouterr().err


def test_damaged_facts_are_refused(tmp_path: Path) -> None:
    file = record.RecordFile.of(tmp_path, "record-85", 0)
    assert file.facts() is None
    for text in ("{", "[1]", "{}"):
        file.facts_path.write_text(text)
        with pytest.raises(PyadmmError, match="record .*seed0.json"):
            file.facts()


@pytest.mark.parametrize("names", record.CHAINS)
def test_each_preset_goes_on_from_what_the_one_before_left(names: tuple[str, ...]) -> None:
    steps = record.chain(5, names[-1])
    assert tuple(name for name, _ in steps) == names
    ratios = [config.pruning_ratio for _, config in steps]
    for before, (name, config) in zip(ratios, steps[1:], strict=False):
        admm = config.admm
        rounds = round_ratios(admm.first_ratio, config.pruning_ratio, admm.rounds)
        if name == "record-352":  # regrowing brings weights back
            assert before > config.pruning_ratio
            assert config.regrow.cycles > 0
            assert rounds == [352.0] * admm.rounds
            continue
        assert before < rounds[0] < rounds[-1] == pytest.approx(config.pruning_ratio)
        assert rounds[1] / rounds[0] == pytest.approx(rounds[0] / before)
    for _, config in steps:
        assert config.seed == 5
        assert config.dense == steps[0][1].dense
        assert config.input == steps[0][1].input
        common = replace(config.distill, weight=steps[0][1].distill.weight)
        assert common == steps[0][1].distill, "one teacher serves the whole chain"
