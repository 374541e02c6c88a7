"""The result of every loader: labelled byte images, the meaning of their bytes, and notes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.model import CompressedModel

_SIGN = 128
"""The byte that stands for 0 where data are signed."""


Scalar = TypeVar("Scalar", bound=np.generic)


def laid_out(images: NDArray[Scalar], shape: Sequence[int]) -> NDArray[Scalar] | None:
    """``images`` ``(N, …)`` as ``(N, C, H, W)`` of ``shape``; ``None`` where they are not of it.

    A network of lines reads maps of one row, one of vectors maps of one value. Files hold lines as
    ``(N, C, L)``, ``(N, L, C)`` or ``(N, L)``.

    >>> laid_out(np.zeros((5, 1, 2, 32), np.uint8), (2, 1, 32)).shape
    (5, 2, 1, 32)
    """
    if len(shape) != 3:
        return None
    channels, height, width = shape
    inner = tuple(size for size in images.shape[1:] if size > 1)
    if images.shape[1:] == tuple(shape):
        return images
    if height == 1 and inner == tuple(size for size in shape if size > 1):
        return images.reshape(len(images), *shape)
    if height == 1 and inner == (width, channels):
        turned = images.reshape(len(images), width, channels).swapaxes(1, 2)
        return np.ascontiguousarray(turned).reshape(len(images), *shape)
    return None


@dataclass(frozen=True)
class Encoding:
    """The real value of a byte: ``x = (byte - offset) * step``.

    :param offset: the byte that stands for 0; 128 for signed data.
    :param step: distance of two neighbouring values.
    """

    offset: int = 0
    step: float = 1 / 255


@dataclass(frozen=True)
class TestSet:
    """Images ``(N, C, H, W)`` uint8 to run a network on.

    :param labels: ``(N,)``; ``None`` where nobody knows them.
    """

    __test__ = False  # no class of tests, whatever pytest thinks of its name
    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    source: str
    name: str
    encoding: Encoding | None = None
    notes: tuple[str, ...] = ()
    complete: bool = True

    def as_read_by(self, model: CompressedModel) -> NDArray[np.uint8] | NDArray[np.int8]:
        """The images, of the type that ``model`` reads.

        :raises PyadmmError: where they have another shape, or a sign where the model has none.
        """
        images = laid_out(self.images, model.input.shape)
        if images is None:
            raise PyadmmError(
                f"data {self.name}: has images of shape {self.images.shape[1:]}, but {model.name} "
                f"takes {model.input.shape}"
            )
        signed = self.encoding is not None and self.encoding.offset == _SIGN
        if model.input.signed and not signed:
            raise PyadmmError(
                f"data {self.name}: has unsigned bytes, but {model.name} takes signed ones; give "
                "int8 arrays in an .npz file"
            )
        return (images ^ np.uint8(_SIGN)).view(np.int8) if model.input.signed else images

    def alone(self) -> DataSet:
        """The data set that has no other images.

        :raises PyadmmError: without labels.
        """
        if self.labels is None:
            raise PyadmmError(
                f"data {self.name}: has no labels; add y, one class number per image, to the file"
            )
        none = self.images[:0]
        return DataSet(
            none,
            self.labels[:0],
            self.images,
            self.labels,
            self.source,
            name=self.name,
            encoding=self.encoding,
            notes=self.notes,
            complete=self.complete,
        )


@dataclass(frozen=True)
class DataSet:
    """Images ``(N, C, H, W)`` uint8 and labels ``(N,)`` int64, the test images apart.

    :param source: where they came from, for the report.
    :param complete: whether they are the whole official data set.
    :param name: of the data set, for the report.
    :param encoding: what the bytes mean; ``None``: pixels in 0 … 1.
    :param notes: what was skipped, reordered or renamed on the way, one sentence each.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    source: str
    complete: bool = True
    name: str = "unnamed"
    encoding: Encoding | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of an image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    def read_as(self, shape: Sequence[int]) -> DataSet:
        """The same data with images of ``shape``, where they are lines or vectors that have it.

        Data of any other shape stay as they are.
        """
        parts = [laid_out(images, shape) for images in (self.train_images, self.test_images)]
        if self.shape == tuple(shape) or parts[0] is None or parts[1] is None:
            return self
        return replace(self, train_images=parts[0], test_images=parts[1])

    @property
    def pictures(self) -> bool:
        """Whether the data are pictures, which keep their class when they are shifted a little."""
        channels, height, width = self.shape
        return self.encoding is None and channels in (1, 3) and min(height, width) >= _SMALLEST

    @property
    def test(self) -> TestSet:
        """The test images with their labels and encoding."""
        return TestSet(
            self.test_images,
            self.test_labels,
            self.source,
            self.name,
            self.encoding,
            self.notes,
            self.complete,
        )

    @property
    def highest_label(self) -> int:
        """The highest label of all images."""
        return int(max(labels.max(initial=0) for labels in (self.train_labels, self.test_labels)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all pixels, labels and their encoding; names and places do not count."""
        sha = hashlib.sha256(repr(self.encoding).encode())
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            sha.update(f"{array.dtype}{array.shape}".encode())
            for row in range(0, len(array), _ROWS):
                sha.update(np.ascontiguousarray(array[row : row + _ROWS]).data)
        return sha.hexdigest()


_ROWS = 4096
_SMALLEST = 12
"""Fewer rows or columns make no picture, but features or a signal."""


def checked_labels(
    train: NDArray[np.generic], test: NDArray[np.generic], subject: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[str, ...]]:
    """Both label arrays as whole numbers from 0, and notes of what is odd about them.

    They are counted from 0 where they began at 1. Classes without training images are named.

    :raises PyadmmError: for labels that are no whole numbers of at least 0, one an image.
    """
    first, second = (whole_labels(labels, subject) for labels in (train, test))
    lowest = min(int(first.min()), int(second.min()))
    highest = max(int(first.max()), int(second.max()))
    if lowest == 1 and len(np.unique(first)) == highest:
        return first - 1, second - 1, (f"labels 1 to {highest} are counted from 0",)
    return first, second, _absent(np.unique(first), highest)


def _absent(classes: NDArray[np.int64], highest: int) -> tuple[str, ...]:
    """A note of the classes up to the ``highest`` that no training image has."""
    missing = np.setdiff1d(np.arange(highest + 1), classes)
    if len(classes) == 1:
        return (
            f"all training images have the label {classes[0]}, so there is nothing to tell apart",
        )
    if not len(missing):
        return ()
    shown = ", ".join(map(str, missing[:8])) + (" …" if len(missing) > 8 else "")
    return (f"{len(missing)} of {highest + 1} classes have no training images: {shown}",)


def whole_labels(labels: NDArray[np.generic], subject: str) -> NDArray[np.int64]:
    """Labels as whole numbers.

    :raises PyadmmError: for labels that are no whole numbers of at least 0, one an image.
    """
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.dtype.kind == "b" and flat.ndim == 1 and len(flat):
        flat = flat.astype(np.int64)
    if flat.ndim != 1 or flat.dtype.kind not in "iuf" or not len(flat):
        hint = "; give class numbers"
        if flat.ndim == 2:
            hint += ", such as labels.argmax(1)"
        elif flat.dtype.kind in "USO":
            hint += ", such as numpy.unique(labels, return_inverse=True)[1]"
        raise PyadmmError(
            f"{subject}: labels must be one whole number per image, not {labels.dtype} of shape "
            f"{labels.shape}{hint}"
        )
    whole = flat.astype(np.float64)
    if not bool(np.isfinite(whole).all()) or bool((whole != np.floor(whole)).any()):
        raise PyadmmError(
            f"{subject}: labels must be whole numbers, some are not; give class numbers from 0"
        )
    if bool((np.abs(whole) > 1 << 20).any()):
        raise PyadmmError(f"{subject}: labels must be class numbers, not {np.abs(whole).max():g}")
    if whole.min() < 0:
        raise PyadmmError(
            f"{subject}: labels must be 0 or more, not {whole.min():g}; count the classes from 0, "
            "and leave images without a class out"
        )
    return whole.astype(np.int64)
