"""Labelled byte images: what networks are trained, validated and tested on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
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
            raise PyadmmError(
                "data: the loader gives no batches; a generator can be read once only, so give a "
                "list or a DataLoader with images in it"
            )
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
            f"data: the loader failed ({type(error).__name__}: {_said(error)}); it must give "
            "batches (images, labels)"
        ) from error


def _said(error: Exception) -> str:
    """What an exception says in a line: of one from a worker process, the line that it ended with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason"]
    return lines[-1] if lines[0].startswith("Caught ") else lines[0]


def _batch(item: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(item, tuple | list) or len(item) != 2:
        what = type(item).__name__
        if isinstance(item, tuple | list):
            what = f"{what}s of {len(item)}"
        elif isinstance(item, Mapping):
            what = f"{what}s of {', '.join(map(str, list(item)[:4]))}"
        raise PyadmmError(
            f"data: the loader must give pairs (images, labels), not {what}; wrap it in a "
            "generator that gives just these"
        )
    images, labels = _tensor(item[0], "images"), _tensor(item[1], "labels")
    if images.ndim == 3 and labels.ndim == 0:
        images, labels = images[None], labels[None]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    _require_shapes(images, labels)
    whole = labels.long()
    if labels.is_complex() or not bool((labels == whole).all()):
        raise PyadmmError(f"data: labels must be whole numbers, not {labels.dtype} with fractions")
    return _as_bytes(images), whole


_WORDS = {
    "images": "no numbers; give the data set a transform such as ToTensor",
    "labels": "no numbers; give the number of the class, from 0",
}


def _tensor(part: Any, what: str) -> Tensor:
    try:
        tensor = torch.as_tensor(part)
    except Exception as error:  # of nested lists of anything
        raise PyadmmError(
            f"data: the loader gives {what} of type {type(part).__name__}, which are {_WORDS[what]}"
        ) from error
    unsigned = tensor.dtype in (torch.uint16, torch.uint32, torch.uint64)
    return tensor.to(torch.int64) if unsigned else tensor  # torch computes little with these


_REMEDIES = {
    2: "make vectors maps of one value: images[:, :, None, None]",
    3: "give pictures a channel: images.unsqueeze(1), and lines (N, C, L) a row: unsqueeze(2)",
}


def _require_shapes(images: Tensor, labels: Tensor) -> None:
    if images.ndim != 4 or tuple(labels.shape) != (len(images),):
        remedy = _REMEDIES.get(images.ndim, "give as many labels as images")
        if labels.ndim == 2 and len(labels) == len(images):
            remedy = "give the numbers of the classes: labels.argmax(1)"
        raise PyadmmError(
            f"data: batches must be images (N, C, H, W) and labels (N,), not {tuple(images.shape)} "
            f"and {tuple(labels.shape)}; {remedy}"
        )
    channels, height, width = images.shape[1:]
    if width in _COLOURS and channels == height and channels > max(_COLOURS):
        raise PyadmmError(
            f"data: images of shape {tuple(images.shape[1:])} look like (H, W, C); give them as "
            "(C, H, W): images.permute(0, 3, 1, 2)"
        )


_COLOURS = (1, 3, 4)
"""Channels of pictures."""


def _as_bytes(images: Tensor) -> Tensor:
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        numbers = images.dtype != torch.bool and not images.is_complex()
        if numbers and images.numel() and int(images.min()) >= 0 and int(images.max()) <= 255:
            return images.to(torch.uint8)
        raise PyadmmError(
            f"data: images of {images.dtype} must be whole numbers from 0 to 255; convert them to "
            "uint8 (signed ones plus 128, with offset 128 in the settings' input)"
        )
    odd = int((~images.isfinite()).sum())
    if odd:
        raise PyadmmError(
            f"data: {odd:,} of {images.numel():,} values of images are not finite (NaN or "
            "infinite); replace them (torch.nan_to_num) or leave these images out"
        )
    nearness = 0.01 if images.element_size() > 2 else 0.2  # floats of 16 bits are rounded
    scaled = images.float() * 255
    rounded = scaled.round()
    near = bool(((scaled - rounded).abs() <= nearness).all())
    if not near or not bool(((rounded >= 0) & (rounded <= 255)).all()):
        raise PyadmmError(
            f"data: float images must be bytes / 255, in 0 to 1, not normalised; these go from "
            f"{float(images.min()):.4g} to {float(images.max()):.4g}; give bytes, and describe "
            "offset and scale in the settings' input"
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
