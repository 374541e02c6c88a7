"""Distillation on the calibration images: the quantised network learns the dense one's outputs."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pyadmm.compression.post_training.pipeline import Calibration
from pyadmm.network.graph import Network
from pyadmm.training.seeds import seed_of

_BATCH = 25
_STEP = 0.03
"""Of a weight in one update, in units of its level."""
_BIAS_STEP = 0.01
"""Of a bias, in units of its layer's output step."""
_SHIFT = 16
"""Images are moved by at most this fraction of their size."""


def finetune(network: Network, calibration: Calibration, epochs: int, seed: int = 0) -> Network:
    """A copy with other levels and biases, whose outputs are closer to the dense network's.

    The loss is the Kullback-Leibler divergence of the dense network's classes from its own, no label
    is used. Pruned weights stay pruned. Images are moved by some pixels, and mirrored where they
    have three channels. Weights move in units of their levels, by Adam. Where that did not help on
    the calibration images, ``network`` itself is given back.

    :param network: quantised, as :func:`~pyadmm.compression.post_training.pipeline.\
compress_post_training` gives it.
    """
    student, teacher = network.copy(), calibration.network
    images = calibration.images
    generator = torch.Generator().manual_seed(seed_of(seed, "post-training-finetune"))
    optimizer = torch.optim.Adam(_groups(student), betas=(0.9, 0.99))
    first = [group["lr"] for group in optimizer.param_groups]
    steps = epochs * -(-len(images) // _BATCH)
    done = 0
    for _ in range(epochs):
        for part in torch.randperm(len(images), generator=generator).split(_BATCH):
            shown = _moved(images[part], generator)
            with torch.no_grad():
                wanted = teacher(teacher.encode(shown)).log_softmax(1)
            found = student(student.encode(shown)).log_softmax(1)
            loss = F.kl_div(found, wanted, reduction="batchmean", log_target=True)
            optimizer.zero_grad()
            loss.backward()
            for group, start in zip(optimizer.param_groups, first, strict=True):
                group["lr"] = start * (1 + math.cos(math.pi * done / steps)) / 2
            optimizer.step()
            done += 1
    return min(network, student, key=lambda made: divergence(made, calibration))


@torch.no_grad()
def divergence(network: Network, calibration: Calibration) -> float:
    """Mean Kullback-Leibler divergence of the dense network's classes from those of ``network``."""
    total, teacher = 0.0, calibration.network
    for part in calibration.images.split(_BATCH):
        wanted = teacher(teacher.encode(part)).log_softmax(1)
        found = network(network.encode(part)).log_softmax(1)
        total += float(F.kl_div(found, wanted, reduction="sum", log_target=True))
    return total / len(calibration.images)


def _groups(network: Network) -> list[dict[str, object]]:
    groups: list[dict[str, object]] = []
    for layer in network.layers.values():
        level = float(layer.log_q.detach().exp().mean())
        step = float(layer.log_s.detach().exp())
        groups.append({"params": [layer.weight], "lr": _STEP * level})
        groups.append({"params": [layer.bias], "lr": _BIAS_STEP * step})
    return groups


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images moved as one, edges repeated, and mirrored at random."""
    most = [max(1, size // _SHIFT) for size in images.shape[2:]]
    down, right = (int(torch.randint(-m, m + 1, (1,), generator=generator)) for m in most)
    rows = (torch.arange(images.shape[2]) + down).clamp(0, images.shape[2] - 1)
    columns = (torch.arange(images.shape[3]) + right).clamp(0, images.shape[3] - 1)
    if images.shape[1] == 3 and bool(torch.rand(1, generator=generator) < 0.5):
        columns = columns.flip(0)
    return images[:, :, rows][:, :, :, columns]
