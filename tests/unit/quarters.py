"""A small task for the tests of training: which quarter of the picture is bright."""

from __future__ import annotations

import torch
from torch import nn

from pyadmm.training.data import Data, Images

SHAPE = (1, 8, 8)


def quarter_images(count: int, seed: int) -> Images:
    """Four classes of 8 x 8 pictures."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=generator)
    images = torch.randint(0, 150, (count, *SHAPE), generator=generator)
    for i, label in enumerate(labels.tolist()):
        row, column = 4 * (label // 2), 4 * (label % 2)
        images[i, 0, row : row + 4, column : column + 4] += 70
    return Images(images.to(torch.uint8), labels)


def quarter_data() -> Data:
    """600 to train on, 200 to validate."""
    return Data(quarter_images(600, 1), quarter_images(200, 2))


def quarter_model(*, norm: bool = True) -> nn.Module:
    """A convolution, with a batch norm or without, and two linear layers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), *([nn.BatchNorm2d(6)] if norm else []), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(54, 24), nn.ReLU(), nn.Linear(24, 4),
    )  # fmt: skip
