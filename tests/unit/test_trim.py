"""Trimming to a number of bytes: who goes, how many, and that all others stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pyadmm import container
from pyadmm.compression import calibrate, to_network
from pyadmm.convert import to_compressed
from pyadmm.errors import PyadmmError
from pyadmm.network import Network
from pyadmm.settings import from_dict
from pyadmm.training import Images
from pyadmm.trim import trim

torch.set_num_threads(1)
BLANK = 3
"""Rows of every image that are 0: weights on them change nothing."""


def _images() -> Images:
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (300, 1, 8, 8), dtype=np.uint8)
    pixels[:, :, :BLANK] = 0
    return Images.from_numpy(pixels, random.integers(0, 10, 300))


def _network(images: Images) -> Network:
    """A linear layer at 3-bit levels."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    network = to_network(model, from_dict({"weight_bits": 3, "layers": []}), (1, 8, 8))
    for layer in network.layers.values():
        layer.fit_weight_scale()
    calibrate(network, images)
    network.quantized = True
    return network


def _codes(network: Network) -> np.ndarray:
    (layer,) = to_compressed(network, "model").layers
    return layer.codes.reshape(10, 8, 8)


def _size(network: Network) -> int:
    return len(container.encode(to_compressed(network, "model")))


def test_a_network_that_fits_stays() -> None:
    network = _network(_images())
    assert trim(network, _images(), 0, _size, _size(network)) is network


@pytest.mark.parametrize("less", [1, 10])
def test_weights_that_change_nothing_go_first_and_the_others_stay(less: int) -> None:
    images = _images()
    network = _network(images)
    before, most = _codes(network), _size(network) - less
    trimmed = trim(network, images, 0, _size, most)
    after = _codes(trimmed)
    gone = (before != 0) & (after == 0)
    assert _size(trimmed) <= most
    assert 0 < gone.sum() < before[:, :BLANK].size
    assert not gone[:, BLANK:].any()
    assert np.array_equal(after[~gone], before[~gone])
    assert np.array_equal(_codes(network), before)


def test_no_more_weights_go_than_must() -> None:
    """With a size that counts weights, exactly the surplus goes, the least ``w^2 F`` of all."""
    images = _images()
    network = _network(images)
    before = _codes(network)
    surplus = BLANK * 8 * 10 + 20
    trimmed = trim(network, images, 0, lambda n: n.nnz, network.nnz - surplus)
    gone = (before != 0) & (_codes(trimmed) == 0)
    assert gone.sum() == surplus
    assert gone[:, :BLANK].all()
    visible = gone[:, BLANK:]
    magnitudes = np.abs(before[:, BLANK:])
    assert magnitudes[visible].mean() < magnitudes[~visible].mean()


def test_what_is_out_of_reach_is_said() -> None:
    network = _network(_images())
    with pytest.raises(PyadmmError, match="trim: a file of 60 bytes is out of reach"):
        trim(network, _images(), 0, _size, 60)
