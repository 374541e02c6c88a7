"""A run whose layers are window-balanced: its file has the coding of such layers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pyadmm import compression, container
from pyadmm.cli.run import main
from pyadmm.container import codec
from pyadmm.flow.config import FlowConfig
from pyadmm.flow.console import Reporter
from pyadmm.flow.session import Session
from pyadmm.model.windows import find_windows
from tests.unit.quarters import quarter_images

NETWORK = """
from torch import nn


def net():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(),
        nn.Linear(72, 96), nn.ReLU(), nn.Linear(96, 4),
    )
"""
BRIEF = {"batch_size": 32, "shift_pixels": 0}
VALUES: dict[str, Any] = {
    "model": "balanced_net:net",
    "data": "quarters.npz",
    "out": "run",
    "until": "test",
    "compress": {
        "pruning_ratio": 5,
        "filters_kept": 1,
        "neurons_kept": 1,
        "dense": {"epochs": 4, "lr": 5e-3, **BRIEF},
        "admm": {"lr": 3e-3, "first_ratio": 2, **BRIEF},
        "continuous": {"epochs": 4},
        "quantize": {"epochs": 2, **BRIEF},
        "distill": {"weight": 0},
        "layers": [{"pattern": "4", "sparsity": "balanced", "window": 3, "lockstep": 4}],
    },
}


def test_the_saved_file_codes_balanced_layers_by_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "balanced_net.py").write_text(NETWORK)
    monkeypatch.delitem(sys.modules, "balanced_net", raising=False)
    train, test = quarter_images(600, 1), quarter_images(100, 2)
    np.savez(
        tmp_path / "quarters.npz",
        x_train=train.images.numpy(),
        y_train=train.labels.numpy(),
        x_test=test.images.numpy(),
        y_test=test.labels.numpy(),
    )
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(VALUES))
    assert main(["--config", "c.yaml"]) == 0
    data = (tmp_path / "run" / "balanced_net-net.admm").read_bytes()
    assert data[:1] == codec.BALANCED
    saved = container.decode(data)
    layer = saved.layer("4")
    found = find_windows(layer.codes != 0, layer.spec.window_shape)
    assert found is not None
    assert found.rows == 4
    session = Session(FlowConfig(**VALUES), Reporter())
    network = session.quantized.network
    trained = compression.to_integer(network, session.data, session.target.name).model
    images = test.images.numpy()
    np.testing.assert_array_equal(saved.run(images), trained.run(images))
    assert len(data) < len(codec.encode_as(saved, codec.MAGIC)[0])
    assert len(data) < len(container.encode(trained))
