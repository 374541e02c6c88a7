"""Random augmentation of training images, batch by batch."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pyadmm.cpu_kernels.warp import moved
from pyadmm.settings import TrainSettings
from pyadmm.training import distributed
from pyadmm.training.data import Images
from pyadmm.training.devices import CPU

_BOX_BITS = 16
"""Whole numbers, so that patches lie at the same pixels on every device."""


@dataclass(frozen=True)
class Augmentation:
    """The random augmentations of a phase, as in ``TrainSettings``.

    :param native: images are distorted by compiled code, on the CPU, which may round otherwise.
    """

    shift_pixels: int = 0
    flip: bool = False
    distort: float = 0.0
    cutmix: float = 0.0
    native: bool = False

    @classmethod
    def of(cls, train: TrainSettings, *, native: bool = False) -> Augmentation:
        """The augmentation that the settings of a phase ask for."""
        return cls(train.shift_pixels, train.flip, train.distort, train.cutmix, native)

    @property
    def more_than_shifts(self) -> bool:
        """Whether images are augmented by more than shifts."""
        return self.flip or self.distort > 0 or self.cutmix > 0


PLAIN = Augmentation()
"""Images as they are."""


@dataclass(frozen=True)
class Batch:
    """Some training images: bytes, labels, and where they come from (for the teacher's logits).

    :param index: their rows of the pool.
    :param shift: of each image, as in :func:`shifted`.
    :param varied: whether images may be more than shifted, so that their logits are not kept.
    :param weight: of these images in the mean over the batch of all processes.
    :param counted: images that they stand for in sums over all processes.
    :param key: of the :class:`AugmentationSample` that was applied.
    """

    images: Tensor
    labels: Tensor
    index: Tensor
    shift: Tensor
    varied: bool = False
    weight: float = 1.0
    counted: float = 0.0
    key: Hashable = None


@dataclass(frozen=True)
class Patches:
    """Rectangles of other images that cover a part of some (CutMix: Yun et al. 2019, section 3).

    :param rows: int64 ``(N,)``, of the pool, on the CPU as it is: where patches come from, which
        lie at the same place there.
    :param box: int64 ``(N, 4)``: first row and column, and the ones behind the last, which are the
        first ones where an image stays whole; in units of ``2**-_BOX_BITS`` of a side.
    """

    rows: Tensor
    box: Tensor

    @classmethod
    def draw(
        cls, count: int, generator: torch.Generator, *, share: float, among: Tensor
    ) -> Patches:
        """Draw patches for ``count`` images, of which a ``share`` get one; its area is uniform in 0
        to 1.
        """
        rows = among[torch.randint(len(among), (count,), generator=generator)]
        area, chance, *middle = torch.rand(4, count, generator=generator)
        half = torch.where(chance < share, area.sqrt() / 2, 0.0)
        ends = torch.stack([m + sign * half for sign in (-1, 1) for m in middle], 1)
        return cls(rows, (ends.clamp(0, 1) * 2**_BOX_BITS).long())

    def to(self, device: torch.device) -> Patches:
        """The same patches on another device, without the rows."""
        return Patches(self.rows, self.box.to(device))

    def over(self, images: Tensor, places: Tensor) -> Tensor:
        """Which pixels of ``images``, at ``places``, are covered: boolean ``(K, 1, H, W)``."""
        height, width = images.shape[2:]
        top, left, bottom, right = self.box[places, :, None].unbind(1)

        def inside(size: int, first: Tensor, behind: Tensor) -> Tensor:
            at = torch.arange(size, device=images.device) * 2**_BOX_BITS
            return (at >= first * size) & (at < behind * size)

        return (
            inside(height, top, bottom)[:, None, :, None]
            & inside(width, left, right)[:, None, None, :]
        )


@dataclass(frozen=True)
class AugmentationSample:
    """The augmentation of every training image in one epoch: shift, mirror, distortion, patch.

    :param how: which of the following augmentations are applied.
    :param shift: int64 ``(N,)``, as in :func:`shifted`.
    :param mirrored: boolean ``(N,)``.
    :param maps: float32 ``(N, 2, 2)``, as in :func:`distorted`.
    :param patches: what covers a part of them; ``None``: nothing does.
    :param key: identifies the sample, where several epochs use the same one.
    """

    how: Augmentation
    shift: Tensor
    mirrored: Tensor
    maps: Tensor
    patches: Patches | None = None
    key: Hashable = None

    @classmethod
    def draw(
        cls, count: int, generator: torch.Generator, how: Augmentation, among: Tensor
    ) -> AugmentationSample:
        """Draw the augmentation of ``count`` images; shifts do not depend on what else is done.

        :param among: rows of the pool that patches are taken from.
        """
        shift = torch.randint((2 * how.shift_pixels + 1) ** 2, (count,), generator=generator)
        mirrored = torch.rand(count, generator=generator) < 0.5
        maps = torch.eye(2) + how.distort * (2 * torch.rand(count, 2, 2, generator=generator) - 1)
        patches = None
        if how.cutmix:
            patches = Patches.draw(count, generator, share=how.cutmix, among=among)
        return cls(how, shift, mirrored, maps, patches)

    def to(self, device: torch.device) -> AugmentationSample:
        """The same augmentation on another device."""
        patches = None if self.patches is None else self.patches.to(device)
        shift, mirrored = self.shift.to(device), self.mirrored.to(device)
        return AugmentationSample(
            self.how, shift, mirrored, self.maps.to(device), patches, self.key
        )

    def of(self, pool: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        """Images of ``pool``, augmented like those at ``places``, on the device of the augmentation."""
        there = places.to(self.shift.device)
        images = self._augmented(pool, rows, there)
        if self.patches is None:
            return images
        others = self._augmented(pool, self.patches.rows[places], there)
        return torch.where(self.patches.over(images, there), others, images)

    def _augmented(self, pool: Tensor, rows: Tensor, places: Tensor) -> Tensor:
        shift, pixels = self.shift[places], self.how.shift_pixels
        if self.how.native and self.how.distort:
            images = moved(pool.contiguous(), rows, shift, pixels, self.maps[places])
        else:
            images = shifted(pool[rows].to(shift.device), pixels, shift)
            if self.how.distort:
                images = distorted(images, self.maps[places])
        if self.how.flip:
            which = self.mirrored[places, None, None, None]
            images = torch.where(which, images.flip(3), images)
        return images


def batches(
    data: Images,
    size: int,
    seed: int,
    how: Augmentation = PLAIN,
    *,
    device: torch.device = CPU,
    sample: AugmentationSample | None = None,
) -> Iterator[Batch]:
    """All of ``data`` once; ``seed`` decides their order and what ``how`` does to each.

    :param device: where they go, batch by batch; the random numbers are the same everywhere.
    :param sample: of all rows of the pool, instead of one that ``seed`` decides.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(data), generator=generator)
    drawn = sample or AugmentationSample.draw(len(data), generator, how, data.all_rows)
    drawn, labels, varied = drawn.to(device), data.labels.to(device), how.more_than_shifts
    for whole in order.split(size):
        chosen, weight = distributed.share(whole)
        rows = data.rows(chosen)
        which = chosen if sample is None else rows
        images, shift = drawn.of(data.pool, rows, which), drawn.shift[which.to(device)]
        index, places = rows.to(device), chosen.to(device)
        counted = weight * len(whole)
        yield Batch(images, labels[places], index, shift, varied, weight, counted, drawn.key)


def shifted(images: Tensor, pixels: int, shift: Tensor) -> Tensor:
    """Images shifted by ``shift`` (``0 … (2 pixels + 1)**2 - 1``, row-major), with zeros from outside."""
    if pixels == 0:
        return images
    span = 2 * pixels + 1
    height, width = images.shape[2:]
    windows = F.pad(images, (pixels,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    each = torch.arange(len(images), device=images.device)
    return windows[each, :, shift // span, shift % span]


def distorted(images: Tensor, maps: Tensor) -> Tensor:
    """Byte images under linear maps about their centre, with zeros outside.

    :param maps: ``(N, 2, 2)``, from a place in the result to the place in the image that is shown
        there, interpolated between its four neighbours.
    """
    grid = F.affine_grid(F.pad(maps, (0, 1)), list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, align_corners=False).round_().to(torch.uint8)
