"""The shipped models decode to networks that do what their manifest says, on the whole test set."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pyadmm import container
from pyadmm.datasets import mnist

MODELS = Path(__file__).parents[2] / "models"
BESIDE = Path(__file__).parents[3] / "shared" / "data" / "mnist"
ENTRIES: list[dict[str, Any]] = json.loads((MODELS / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def data() -> mnist.Mnist:
    found = mnist.load(BESIDE if BESIDE.is_dir() else None)
    if not found.complete:
        pytest.skip(f"the full MNIST is not to be had here, only {found.source}")
    return found


def test_every_model_is_listed() -> None:
    files = sorted(path.name for path in MODELS.glob("*.admm"))
    assert files == sorted(entry["file"] for entry in ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["file"])
def test_a_shipped_model_does_what_is_said(entry: dict[str, Any], data: mnist.Mnist) -> None:
    content = (MODELS / entry["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    assert len(content) == entry["bytes"]
    model = container.decode(content)
    assert model.nnz == entry["nnz"]
    accuracy = model.accuracy(data.test_images, data.test_labels)
    assert accuracy == pytest.approx(entry["test_accuracy"], abs=1e-9)
