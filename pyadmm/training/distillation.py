"""Distillation: the dense network, or a larger one, is the teacher of the pruned one."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyadmm.training.augmentation import AugmentationSample, Batch, shifted
from pyadmm.training.data import EVALUATION_BATCH, Images
from pyadmm.training.devices import rounds_products

CACHE_BYTES = 1 << 28
_CACHE_SHIFTS = 9
"""Computing the logits of more shifts than this costs more than most phases have epochs."""
_MEAN = -1
"""Key of the means over shifts among numbers of pixels."""


class Teacher:
    """Teacher logits for training batches, computed once where memory allows.

    :param averaged_shifts: an image's logits are the mean over all its shifts by up to this many pixels,
        however it is mirrored or distorted.
    :param precision: of the products of ``network``, as in ``TrainSettings``.
    :param cache_bytes: of memory for logits; what does not fit is computed for every batch.
    """

    def __init__(
        self,
        network: nn.Module,
        encode: Callable[[Tensor], Tensor],
        averaged_shifts: int = 0,
        precision: str = "float32",
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.network = network.eval()
        self.encode = encode
        self.averaged_shifts = averaged_shifts
        self.precision = precision
        self.cache_bytes = cache_bytes
        self._pool: Tensor | None = None
        self._known: dict[Hashable, Tensor] = {}
        self.tables: dict[Hashable, Tensor] = {}

    @torch.no_grad()
    def prepare(self, data: Images, shift_pixels: int) -> None:
        """Compute the logits of all images in all shifts, if they fit the cache.

        They are kept by the rows of one pool, which parts of a data set share.
        """
        self._take_up(data)
        if self.averaged_shifts > 0:
            self._complete(_MEAN, data, self._mean_of)
            return
        shifts = (2 * shift_pixels + 1) ** 2
        if shifts <= _CACHE_SHIFTS and self._fits(data, shifts):
            self._complete(shift_pixels, data, lambda part: self._shifted(part, shift_pixels))

    @torch.no_grad()
    def prepare_sample(self, data: Images, sample: AugmentationSample, count: int) -> None:
        """Compute the logits of all images as ``sample`` shows them, if ``count`` samples fit."""
        self._take_up(data)
        if self._fits(data, count):
            self._complete(sample.key, data, lambda part: self._logits_of_sample(part, sample))

    def _take_up(self, data: Images) -> None:
        """Forget the logits of another pool."""
        if self._pool is not data.pool:
            self._pool, self._known, self.tables = data.pool, {}, {}

    def _fits(self, data: Images, times: int) -> bool:
        """Whether the logits of all rows of the pool may be kept this many times."""
        classes = self.network(self.encode(data.at(slice(1)))).shape[1]
        return times * len(data.pool) * classes * 4 <= self.cache_bytes

    def _complete(self, key: Hashable, data: Images, find: Callable[[Images], Tensor]) -> None:
        """Add the logits of ``data`` to a table, ``([shifts,] rows of the pool, classes)``."""
        known = self._known.setdefault(key, torch.zeros(len(data.pool), dtype=torch.bool))
        rows = data.all_rows
        new = (~known[rows]).nonzero()[:, 0]
        if not len(new):
            return
        found = find(data.take(new))
        if key not in self.tables:
            size = *found.shape[:-2], len(data.pool), found.shape[-1]
            self.tables[key] = found.new_zeros(size)
        self.tables[key][..., rows[new].to(found.device), :] = found
        known[rows[new]] = True

    def _shifted(self, data: Images, pixels: int) -> Tensor:
        shifts = range((2 * pixels + 1) ** 2)
        return torch.stack([self._logits_of(data, pixels, shift) for shift in shifts])

    def _mean_of(self, data: Images) -> Tensor:
        shifts = (2 * self.averaged_shifts + 1) ** 2
        total = self._logits_of(data, self.averaged_shifts, 0)
        for shift in range(1, shifts):
            total += self._logits_of(data, self.averaged_shifts, shift)
        return total / shifts

    def _logits_of(self, data: Images, shift_pixels: int, shift: int) -> Tensor:
        parts = [
            self.encode(shifted(part, shift_pixels, torch.full((len(part),), shift)))
            for part, _ in data.parts()
        ]
        return torch.cat([self._asked(part) for part in parts])

    def _logits_of_sample(self, data: Images, sample: AugmentationSample) -> Tensor:
        size = data.evaluated_together(EVALUATION_BATCH)
        parts = data.all_rows.split(size)
        images = (sample.of(data.pool, part, part) for part in parts)
        return torch.cat([self._asked(self.encode(part)) for part in images])

    def _asked(self, codes: Tensor, network: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        device = codes.device
        if not rounds_products(self.precision, device):
            return (network or self.network)(codes).float()
        with torch.autocast(device.type, torch.bfloat16):
            return (network or self.network)(codes).float()

    @torch.no_grad()
    def logits(
        self,
        batch: Batch,
        codes: Tensor,
        shift_pixels: int,
        network: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Logits for ``batch``, whose input codes are ``codes``.

        :param network: the teacher's own by default, or a faster equal of it.
        """
        if batch.key is not None and batch.key in self.tables:
            return self.tables[batch.key][batch.index]
        if _MEAN in self.tables:
            return self.tables[_MEAN][batch.index]
        if shift_pixels in self.tables and not batch.varied:
            return self.tables[shift_pixels][batch.shift, batch.index]
        return self._asked(codes, network)


def distillation_loss(
    logits: Tensor, labels: Tensor, teacher: Tensor | None, weight: float, temperature: float
) -> Tensor:
    """``(1 - weight) CE(logits, labels) + weight T^2 KL(teacher | logits)``."""
    loss = F.cross_entropy(logits, labels)
    if teacher is None or weight == 0:
        return loss
    target = F.softmax(teacher / temperature, 1)
    soft = F.cross_entropy(logits / temperature, target) + (target * target.log()).sum(1).mean()
    return (1 - weight) * loss + weight * temperature**2 * soft
