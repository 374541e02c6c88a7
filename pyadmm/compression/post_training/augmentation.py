"""Augmented versions of the calibration images, which are few."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pyadmm.training.seeds import seed_of

_SHIFT = 16
"""Other images are moved by at most this fraction of their size."""
_CROPPED_FROM = 64
"""Rows and columns of the smallest colour images that are cropped: smaller ones would be blurred."""
_LEAST_AREA = 0.36
"""Share of an image that a crop shows at least."""
_BLENDED = 0.5
"""Share of the cropped images that are blended with another one."""


def widened(images: Tensor, views: int, seed: int) -> Tensor:
    """Byte images ``(N, C, H, W)``, followed by ``views - 1`` augmented versions of them.

    The versions of an image have even indices if its own is even, odd ones otherwise, so that the two
    halves of the images (even and odd) stay separate.
    """
    generator = torch.Generator().manual_seed(seed_of(seed, "post-training-views"))
    shown = images[len(images) % 2 :] if len(images) > 1 else images
    versions = [augmented(shown, generator, blend=False) for _ in range(views - 1)]
    return torch.cat([images, *versions])


def augmented(images: Tensor, generator: torch.Generator, *, blend: bool = True) -> Tensor:
    """Augmented versions of byte images ``(N, C, H, W)``, one of each.

    :param blend: whether some of the large colour images are mixed with another one.
    """
    if images.shape[1] != 3:
        return _moved(images, generator)
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    turned = torch.where(mirrored.reshape(-1, 1, 1, 1), images.flip(3), images)
    if not can_be_cropped(images):
        return _moved(turned, generator)
    found = _cropped(turned, generator)
    return (_blended(found, generator) if blend else found).round().to(images.dtype)


def can_be_cropped(images: Tensor) -> bool:
    """Whether the images have three channels and are large enough to be cropped."""
    return images.shape[1] == 3 and min(images.shape[2:]) >= _CROPPED_FROM


def _cropped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random parts of the images, scaled to their size; real numbers."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(images), generator=generator)

    size, aspect = uniform(math.sqrt(_LEAST_AREA), 1.0), uniform(-0.1, 0.1).exp()
    places = torch.zeros(len(images), 2, 3)
    for axis, part in enumerate((size * aspect, size / aspect)):
        shown = part.clamp(max=1.0)
        places[:, axis, axis] = shown
        places[:, axis, 2] = (1 - shown) * uniform(-1.0, 1.0)
    grid = F.affine_grid(places, list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def _blended(images: Tensor, generator: torch.Generator) -> Tensor:
    """Some of the images mixed with another one."""
    chosen = torch.rand(len(images), generator=generator) < _BLENDED
    share = torch.where(chosen, torch.rand(len(images), generator=generator), 1.0)
    share = share.reshape(-1, 1, 1, 1)
    others = images[torch.randperm(len(images), generator=generator)]
    return share * images + (1 - share) * others


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """All images shifted by the same offset, edges repeated; an axis of few pixels is not shifted."""
    most = [size // _SHIFT for size in images.shape[2:]]
    down, right = (int(torch.randint(-m, m + 1, (1,), generator=generator)) for m in most)
    rows = (torch.arange(images.shape[2]) + down).clamp(0, images.shape[2] - 1)
    columns = (torch.arange(images.shape[3]) + right).clamp(0, images.shape[3] - 1)
    return images[:, :, rows][:, :, :, columns]
