"""What keeps a network from hardware is said before it is trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pyadmm import compression, zoo
from pyadmm.flow.forecast import MOST_WEIGHTS, obstacle, sketch
from pyadmm.hardware.boards import load_board
from pyadmm.settings import from_dict

pytestmark = pytest.mark.slow


def _asked(model: nn.Module, shape: tuple[int, int, int], board: str = "pynq-z2", **more: object):
    settings = from_dict({"preset": "quick", **more})
    network = compression.to_network(model, settings, shape)
    return obstacle(network, settings, load_board(board)), sketch(network, settings)


def test_a_network_that_fits_has_no_obstacle() -> None:
    torch.manual_seed(0)
    said, model = _asked(zoo.build("lenet5"), (1, 28, 28))
    assert said == ""
    assert model.nnz < 430_500 / 20
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 28, 28)).astype(np.uint8)
    assert model.run(images).shape == (2, 10)


def test_a_network_without_room_names_the_boards_that_have_it() -> None:
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(784, 800), nn.ReLU(), nn.Linear(800, 500), nn.ReLU()]
    dense = {"pruning_ratio": 1.0, "weight_bits": 8}
    said, _ = _asked(nn.Sequential(*layers, nn.Linear(500, 10)), (1, 28, 28), **dense)
    assert "no accelerator for pynq-z2 at a pruning ratio of 1 (modelled)" in said
    assert "fit" in said


def test_an_operation_that_no_kernel_has_is_named() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, stride=(2, 1)), nn.Flatten(), nn.Linear(200, 3))
    said, _ = _asked(model, (1, 12, 12), pruning_ratio=2.0)
    assert "0: a kernel has one stride and one padding for all sides, not (2, 1)" in said
    assert said.endswith("no board here takes it")


def test_of_large_networks_only_the_memory_is_looked_at() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 1400), nn.ReLU(), nn.Linear(1400, 10))
    settings = from_dict({"preset": "quick", "pruning_ratio": 2.0})
    network = compression.to_network(model, settings, (1, 28, 28))
    assert network.weights > MOST_WEIGHTS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyadmm.flow.forecast.sketch", lambda *_: pytest.fail("was sketched"))
        assert obstacle(network, settings, load_board("pynq-z2")) == ""
        dense = from_dict({"pruning_ratio": 1.0, "weight_bits": 8})
        said = obstacle(network, dense, load_board("pynq-z2"))
    assert "and a frame of each layer's input take 1,087 KiB, and the chip has 630 KiB" in said
    assert "; the memory would do on " in said
    assert "kv260" in said
