"""The same pipeline on a GPU; without one these tests are skipped (``docs/scale.md``)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pyadmm.training.cuda_graph import Captured
from tests.devices.test_devices import child

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="PyTorch finds no GPU with CUDA"
)


def test_a_gpu_trains_as_the_cpu_does(tmp_path: Path) -> None:
    losses = []
    for device in ("cpu", "cuda"):
        out = tmp_path / device
        out.mkdir()
        child(device, str(out))
        assert (out / "model.admm").stat().st_size > 0
        losses.append(json.loads((out / "losses.json").read_text()))
    assert [row[:2] for row in losses[0]] == [row[:2] for row in losses[1]]
    for (phase, epoch, here), (_, _, there) in zip(*losses, strict=True):
        assert there == pytest.approx(here, rel=0.02), (phase, epoch)


def test_a_recorded_step_gives_the_gradients_and_statistics_of_a_plain_one() -> None:
    torch.manual_seed(1)
    norm = nn.BatchNorm1d(3).cuda()
    plain = nn.BatchNorm1d(3).cuda()

    def step(module: nn.Module, x: Tensor) -> Tensor:
        loss = module(x).square().mean()
        loss.backward()
        return loss.detach()

    recorded = Captured(lambda x: step(norm, x), list(norm.buffers()), norm.zero_grad)
    for _ in range(3):
        x = torch.randn(16, 3, device="cuda")
        plain.zero_grad()
        assert torch.allclose(recorded(x), step(plain, x))
        assert norm.weight.grad is not None
        assert plain.weight.grad is not None
        assert torch.allclose(norm.weight.grad, plain.weight.grad)
    assert torch.allclose(norm.running_mean, plain.running_mean)  # type: ignore[arg-type]
    assert norm.num_batches_tracked == plain.num_batches_tracked
