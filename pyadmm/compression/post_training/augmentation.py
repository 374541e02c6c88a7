"""Augmented versions of the calibration images, which are few."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pyadmm.training.seeds import seed_of

_SHIFT = 10
"""Images that are not cropped are shifted by at most this fraction of their size."""
_FEW_PIXELS = 16
"""Axes with fewer pixels are neither shifted nor cut: they may be coefficients, not a direction."""
_CROPPED_FROM = 64
"""Rows and columns of the smallest colour images that are cropped: smaller ones would be blurred."""
_LEAST_AREA = 0.36
"""Share of an image that a crop shows at least."""
_BLENDED = 0.5
"""Share of the images that are blended with another one."""
_PASTED = 0.5
"""Share of the images that contain a rectangle of another one."""


def widened(images: Tensor, views: int, seed: int) -> Tensor:
    """Byte images ``(N, C, H, W)``, followed by ``views - 1`` augmented versions of them.

    The versions of an image have even indices if its own is even, odd ones otherwise, so that the two
    halves of the images (even and odd) stay separate.
    """
    generator = torch.Generator().manual_seed(seed_of(seed, "post-training-views"))
    shown = images[len(images) % 2 :] if len(images) > 1 else images
    versions = [augmented(shown, generator, mix=False) for _ in range(views - 1)]
    return torch.cat([images, *versions])


def augmented(images: Tensor, generator: torch.Generator, *, mix: bool = True) -> Tensor:
    """Augmented versions of byte images ``(N, C, H, W)``, one of each.

    :param mix: whether some are blended with another image (mixup) or contain a part of one (CutMix).
        They need no labels, because the dense network classifies them.
    """
    found = images
    if images.shape[1] == 3:
        mirrored = torch.rand(len(images), generator=generator) < 0.5
        found = torch.where(mirrored.reshape(-1, 1, 1, 1), images.flip(3), images)
    moved = _cropped if can_be_cropped(images) else _moved
    found = moved(found, generator)
    if mix:
        found = _pasted(_blended(found.float(), generator), generator)
    return found.round().to(images.dtype) if found.is_floating_point() else found


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
    """Some of the images mixed with another one (mixup)."""
    chosen = torch.rand(len(images), generator=generator) < _BLENDED
    share = torch.where(chosen, torch.rand(len(images), generator=generator), 1.0)
    share = share.reshape(-1, 1, 1, 1)
    others = images[torch.randperm(len(images), generator=generator)]
    return share * images + (1 - share) * others


def _pasted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Some of the images with a rectangle of another one (CutMix); axes of few pixels are not cut."""
    count, _, *sides = images.shape
    share = torch.rand(count, generator=generator)
    chosen = torch.rand(count, generator=generator) < _PASTED
    inside = chosen.reshape(-1, 1, 1, 1)
    for axis, side in enumerate(sides):
        length = side * (share.sqrt() if side >= _FEW_PIXELS else torch.ones(count))
        first = ((side - length) * torch.rand(count, generator=generator)).unsqueeze(1)
        places = torch.arange(side).expand(count, -1)
        within = (places >= first) & (places < first + length.unsqueeze(1))
        inside = inside & (within[:, None, :, None] if axis == 0 else within[:, None, None, :])
    return torch.where(inside, images[torch.randperm(count, generator=generator)], images)


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image shifted by its own offset, edges repeated; an axis of few pixels is not shifted."""
    places = []
    for size in images.shape[2:]:
        most = size // _SHIFT if size >= _FEW_PIXELS else 0
        by = torch.randint(-most, most + 1, (len(images), 1), generator=generator)
        places.append((torch.arange(size) + by).clamp(0, size - 1))
    rows, columns = places[0][:, None, :, None], places[1][:, None, None, :]
    every = torch.arange(len(images))[:, None, None, None]
    return images[every, torch.arange(images.shape[1])[:, None, None], rows, columns]
