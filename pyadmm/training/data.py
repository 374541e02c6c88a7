"""Labelled byte images: what networks are trained, validated and tested on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyadmm.core.errors import PyadmmError
from pyadmm.training.seeds import seed_of

EVALUATION_BATCH = 500
EVALUATION_BYTES = 1 << 23
"""Of the images that are evaluated together: their maps take some hundred times as much."""
VALIDATION_IMAGES = 5_000
VALIDATION_SHARE = 12
"""At most one training image in this many is held out, which matters for small data sets."""


@dataclass(frozen=True)
class Images:
    """Labelled byte images, in memory or in a mapped file: some or all rows of ``pool``.

    Parts of one data set share its pool, so that splitting it copies nothing.

    :param pool: uint8, ``(M, C, H, W)``.
    :param labels: int64, ``(N,)``.
    :param places: int64, ``(N,)``, rows of the pool; ``None``: all of them, in order.
    """

    pool: Tensor
    labels: Tensor
    places: Tensor | None = None

    def __post_init__(self) -> None:
        if self.pool.dtype != torch.uint8 or self.pool.ndim != 4:
            raise PyadmmError(
                f"data: images must be uint8 of shape (N, C, H, W), not {self.pool.dtype} "
                f"of shape {tuple(self.pool.shape)}"
            )
        count = len(self.pool if self.places is None else self.places)
        if tuple(self.labels.shape) != (count,) or self.labels.dtype != torch.int64:
            raise PyadmmError("data: labels must be int64, one per image")
        if count == 0:
            raise PyadmmError("data: there are no images")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image, ``(C, H, W)``."""
        channels, height, width = self.pool.shape[1:]
        return channels, height, width

    @property
    def images(self) -> Tensor:
        """All images, in memory if they are only some of the pool: for small sets."""
        return self.at(slice(None))

    def at(self, index: Tensor | slice) -> Tensor:
        """The images at ``index``, ``(K, C, H, W)``."""
        return self.pool[index if self.places is None else self.places[index]]

    def rows(self, index: Tensor) -> Tensor:
        """Rows of the pool that the images at ``index`` are."""
        return index if self.places is None else self.places[index]

    @property
    def all_rows(self) -> Tensor:
        """Rows of the pool that the images are."""
        return self.rows(torch.arange(len(self)))

    def parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All images and labels, in order, up to :data:`EVALUATION_BATCH` at a time."""
        size = self.evaluated_together(EVALUATION_BATCH)
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            yield self.at(rows), self.labels[rows]

    def evaluated_together(self, most: int) -> int:
        """Images per evaluation batch: ``most``, or as many as :data:`EVALUATION_BYTES` hold."""
        return max(1, min(most, EVALUATION_BYTES // math.prod(self.shape)))

    def take(self, rows: Tensor) -> Images:
        """Some of the images, of the same pool."""
        return Images(self.pool, self.labels[rows], self.rows(rows))

    @classmethod
    def of(cls, loader: Images | Iterable[tuple[Tensor, Tensor]]) -> Images:
        """The data of a DataLoader or any iterable of batches, read once into memory.

        A data set of single images ``(image, label)`` is read too. Images must be bytes, whole
        numbers in 0 … 255, or floats in 0 … 1 that are bytes over 255 (as ``ToTensor`` gives).

        :raises PyadmmError: for anything else, and where the loader itself fails.
        """
        if isinstance(loader, Images):
            return loader
        pairs = list(_pairs(loader))
        if not pairs:
            raise PyadmmError("data: the loader gives no batches")
        shapes = {tuple(images.shape[1:]) for images, _ in pairs}
        if len(shapes) > 1:
            raise PyadmmError(f"data: images must have one shape, not {sorted(shapes)[:3]}")
        return cls(torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs]))

    def require_labels(self, outputs: int, what: str) -> None:
        """Refuse labels that a network of ``outputs`` outputs has no answer for.

        :param what: which images they are, for the error.
        """
        lowest, highest = int(self.labels.min()), int(self.labels.max())
        if lowest < 0 or highest >= outputs:
            wrong = lowest if lowest < 0 else highest
            raise PyadmmError(
                f"data: {what} labels must be 0 to {outputs - 1}, as the model has {outputs} "
                f"outputs, not {wrong}; give the model an output per class, or count the labels "
                "from 0"
            )

    @classmethod
    def from_numpy(cls, images: np.ndarray, labels: np.ndarray) -> Images:
        """From numpy arrays, which must not change later; a mapped file stays one."""
        pool = images if images.flags.writeable else images.copy()
        return cls(torch.from_numpy(pool), torch.from_numpy(labels.astype(np.int64)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all bytes, computed once."""
        sha = hashlib.sha256(repr((len(self), *self.shape)).encode())
        for images, _ in self.parts():
            sha.update(images.numpy().tobytes())
        sha.update(self.labels.numpy().tobytes())
        return sha.hexdigest()


def _pairs(loader: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of bytes and labels from a user's loader, which may raise anything."""
    try:
        items: Any = loader
        if not hasattr(loader, "__iter__") and hasattr(loader, "__len__"):
            items = map(loader.__getitem__, range(len(loader)))
        for item in items:
            yield _batch(item)
    except PyadmmError:
        raise
    except Exception as error:
        raise PyadmmError(
            f"data: the loader failed ({type(error).__name__}: {error}); it must give batches "
            "(images, labels)"
        ) from error


def _batch(item: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise PyadmmError(
            f"data: the loader must give pairs (images, labels), not {type(item).__name__}"
        )
    try:
        images, labels = (torch.as_tensor(part) for part in item)
    except Exception as error:
        raise PyadmmError(
            f"data: the loader gives {type(item[0]).__name__} and {type(item[1]).__name__}, which "
            "are no tensors; give the data set a transform such as ToTensor"
        ) from error
    if images.ndim == 3 and labels.ndim == 0:
        images, labels = images[None], labels[None]
    if images.ndim != 4 or tuple(labels.shape) != (len(images),):
        raise PyadmmError(
            f"data: batches must be images (N, C, H, W) and labels (N,), not {tuple(images.shape)} "
            f"and {tuple(labels.shape)}"
        )
    whole = labels.long()
    if labels.is_complex() or not bool((labels == whole).all()):
        raise PyadmmError(f"data: labels must be whole numbers, not {labels.dtype} with fractions")
    return _as_bytes(images), whole


def _as_bytes(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        numbers = images.dtype != torch.bool and not images.is_complex()
        if numbers and int(images.min()) >= 0 and int(images.max()) <= 255:
            return images.to(torch.uint8)
        raise PyadmmError(
            f"data: images of {images.dtype} must be whole numbers from 0 to 255; convert them to "
            "uint8 (signed ones plus 128, with offset 128 in the settings' input)"
        )
    scaled = images.float() * 255
    rounded = scaled.round()
    if not bool(((scaled - rounded).abs() < 0.01).all() and (rounded >= 0).all()) or bool(
        (rounded > 255).any()
    ):
        raise PyadmmError(
            "data: float images must be bytes / 255, in 0 to 1, not normalised; give bytes, and "
            "describe offset and scale in the settings' input"
        )
    return rounded.to(torch.uint8)


@dataclass(frozen=True)
class Data:
    """The training images and the validation split that every choice is made on."""

    train: Images
    validation: Images

    @classmethod
    def split(cls, everything: Images) -> Data:
        """Training images with up to 5,000 held out to choose on, the same ones every time."""
        count = min(VALIDATION_IMAGES, len(everything) // VALIDATION_SHARE)
        if count == 0:
            raise PyadmmError(
                f"data: {len(everything)} training images are too few: one in {VALIDATION_SHARE} "
                f"is held out to choose on; give {VALIDATION_SHARE} or more"
            )
        generator = torch.Generator().manual_seed(seed_of(0, "validation split"))
        order = torch.randperm(len(everything), generator=generator)
        held_out, kept = order[:count], order[count:]
        return cls(everything.take(kept), everything.take(held_out))

    def require_labels(self, outputs: int) -> None:
        """Refuse labels that a network of ``outputs`` outputs has no answer for."""
        self.train.require_labels(outputs, "training")
        self.validation.require_labels(outputs, "validation")

    @property
    def digests(self) -> tuple[str, str]:
        """Digests of the training and of the validation images."""
        return self.train.digest, self.validation.digest


@torch.no_grad()
def accuracy(forward: Callable[[Tensor], Tensor], data: Images) -> float:
    """Share of right answers of ``forward``, which takes byte images."""
    right = sum(
        int((forward(images).argmax(1).cpu() == labels).sum()) for images, labels in data.parts()
    )
    return right / len(data)
