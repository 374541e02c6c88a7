"""The shipped models decode to networks that do what their manifest says, in every form.

MNIST models on the whole test set; CIFAR-10 ones, which take a minute there, on its first images.
The golden logits are computed once for all tests.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyadmm import container, datasets
from pyadmm.model import CompressedModel
from pyadmm.model.compact import compact
from pyadmm.model.types import IntArray

pytestmark = pytest.mark.slow

MODELS = Path(__file__).parents[2] / "models"
BESIDE = Path(__file__).parents[3] / "shared" / "data"
ENTRIES: list[dict[str, Any]] = json.loads((MODELS / "manifest.json").read_text(encoding="utf-8"))
OF_MNIST = [entry for entry in ENTRIES if entry.get("data", "mnist") == "mnist"]


@cache
def _data(name: str) -> datasets.DataSet:
    """The whole data set, or a skip that says why it is not here."""
    folder = BESIDE / name
    if name != "mnist" and not folder.is_dir():
        pytest.skip(f"{name} is not to be had here: it is not fetched")
    found = datasets.load(name, folder if folder.is_dir() else None, datasets.shape_of(name))
    if not found.complete:
        pytest.skip(f"the full {name} is not to be had here, only {found.source}")
    return found


def test_every_model_is_listed() -> None:
    files = sorted(path.name for path in MODELS.glob("*.admm"))
    assert files == sorted(entry["file"] for entry in ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["file"])
def test_a_shipped_model_is_what_is_said(entry: dict[str, Any]) -> None:
    content = (MODELS / entry["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    assert len(content) == entry["bytes"]
    assert container.decode(content).nnz == entry["nnz"]


@cache
def _model(file: str) -> CompressedModel:
    return container.load(MODELS / file)


def _images(entry: dict[str, Any]) -> tuple[IntArray, IntArray]:
    """The test images that the model is run on, and their labels."""
    data = _data(entry.get("data", "mnist"))
    first = entry.get("first", {"images": None})["images"]
    return data.test_images[:first], data.test_labels[:first]


@cache
def _golden(file: str) -> IntArray:
    """The integer model's logits of these images."""
    (entry,) = (entry for entry in ENTRIES if entry["file"] == file)
    return _model(file).run(_images(entry)[0])


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["file"])
def test_a_shipped_model_does_what_is_said(entry: dict[str, Any]) -> None:
    first = entry.get("first")
    right = _golden(entry["file"]).argmax(1) == _images(entry)[1]
    expected = entry["test_accuracy"] if first is None else first["accuracy"]
    assert right.mean() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("entry", OF_MNIST, ids=lambda entry: entry["file"])
def test_a_compact_model_keeps_every_logit(entry: dict[str, Any]) -> None:
    model = _model(entry["file"])
    small = compact(model)
    assert small.weights < model.weights / 4
    np.testing.assert_array_equal(small.run(_images(entry)[0]), _golden(entry["file"]))


@pytest.mark.parametrize("entry", OF_MNIST, ids=lambda entry: entry["file"])
def test_onnx_and_qonnx_give_every_logit(entry: dict[str, Any]) -> None:
    for package in ("onnx", "onnxruntime", "qonnx"):
        pytest.importorskip(package, reason="pip install 'pyadmm[export]'")
    # It may only be imported where these are.
    from pyadmm.model import onnx as export  # noqa: PLC0415

    model, images = _model(entry["file"]), _images(entry)[0][:2000]
    golden = _golden(entry["file"])[:2000]
    found = export.run_onnx(export.export_onnx(model), images)
    np.testing.assert_array_equal(found, golden)
    quant = export.export_qonnx(model, 100)
    np.testing.assert_array_equal(export.run_qonnx(quant, images[:100]), golden[:100])


@pytest.mark.parametrize(
    ("ratio", "most_bytes"), [(85, 4_450), (205, 1_694), (300, 1_560), (352, 1_140), (410, 1_001)]
)
def test_the_published_means_are_those_of_the_record_files(ratio: int, most_bytes: int) -> None:
    """At least five seeds at the preset's ratio; ``benchmarks/lenet5.md`` rounds nothing up."""
    records = [entry for entry in ENTRIES if f"record-{ratio}-" in entry["file"]]
    assert len(records) >= 5
    assert all(430_500 / entry["nnz"] >= ratio for entry in records)
    assert all(entry["bytes"] <= most_bytes for entry in records)
    accuracies = [100 * entry["test_accuracy"] for entry in records]
    mean, spread = statistics.mean(accuracies), statistics.stdev(accuracies)
    text = (MODELS.parent / "benchmarks" / "lenet5.md").read_text(encoding="utf-8")
    assert f"{mean:.2f} ± {spread:.2f} %" in text
    sizes = [entry["bytes"] for entry in records]
    assert f"{statistics.mean(sizes):,.0f} bytes ({min(sizes):,} to {max(sizes):,})" in text
