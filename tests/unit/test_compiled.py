"""Training through ``torch.compile``: the same step up to rounding, and refusals that say why."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._inductor import config as inductor

from pyadmm.compression.pipeline import quantize, to_network
from pyadmm.core.errors import PyadmmError
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings, from_dict
from pyadmm.training.data import Data, Images
from pyadmm.zoo.resnet import CifarBlock

pytestmark = pytest.mark.slow

torch.set_num_threads(1)
_SHAPE = (3, 8, 8)


class _Residual(nn.Module):
    """A block whose shortcut halves the map and adds channels, as in ResNet-20."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.block = CifarBlock(4, 8, 2)
        self.pool = nn.AvgPool2d(4)
        self.linear = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.pool(self.block(self.stem(x))).flatten(1))


def _settings(*, compiled: bool) -> CompressSettings:
    phase = {"epochs": 1, "lr": 1e-2, "batch_size": 32, "optimizer": "sgd", "shift_pixels": 1}
    return from_dict(
        {
            "weight_bits": 4,
            "filters_kept": 1,
            "neurons_kept": 1,
            "layers": [],
            "quantize_norms": {**phase, "precision": "float32", "flip": True},
            "quantize": {"epochs": 0, "lr": 1e-3},
            "compiled": compiled,
        }
    )


def _data() -> Data:
    """Three whole batches and one of 4 images."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (100, *_SHAPE), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 4, (100,), generator=generator)
    return Data(Images(images, labels), Images(images[:20], labels[:20]))


def _trained(*, compiled: bool) -> tuple[float, Network]:
    """Loss of an epoch with norms and weights at their levels, and the network after it."""
    settings, data = _settings(compiled=compiled), _data()
    torch.manual_seed(3)
    dense = to_network(_Residual(), settings, _SHAPE)
    pruned = dense.copy()
    for layer in pruned.layers.values():
        weight = layer.weight.detach()
        layer.apply_mask((weight.abs() > weight.abs().median()).float())
    result = quantize(pruned, settings, data, teacher=dense)
    return result.records[0].loss, result.network


def compare() -> None:
    """A compiled phase equals a plain one up to rounding."""
    (loss, plain), (other_loss, other) = _trained(compiled=False), _trained(compiled=True)
    assert other_loss == pytest.approx(loss, rel=1e-4)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_a_compiled_phase_equals_a_plain_one_up_to_rounding() -> None:
    """In a process of its own: what torch.compile keeps is global to a process."""
    root = Path(__file__).parents[2]
    line = [sys.executable, "-c", "from tests.unit.test_compiled import compare; compare()"]
    done = subprocess.run(line, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_bias_before_a_norm_gets_no_gradient() -> None:
    network = to_network(_Residual(), _settings(compiled=False), _SHAPE)
    network.train()(network.encode(_data().train.images)).square().sum().backward()
    for layer in network.layers.values():
        assert (layer.bias.grad is None) == (layer.norm is not None), layer.name


def test_without_a_compiler_it_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    settings = replace(_settings(compiled=True), seed=1)
    with (
        inductor.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(PyadmmError, match=r"settings, compiled: torch\.compile failed .* \$CXX"),
    ):
        to_network(_Residual(), settings, _SHAPE)
