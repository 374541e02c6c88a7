"""Labelled images by the name of their data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.datasets import cifar10, imagefolder, mnist

NAMES = ("mnist", "cifar10", "imagefolder")


@dataclass(frozen=True)
class DataSet:
    """Images ``(N, C, H, W)`` uint8 and labels ``(N,)`` int64, the test images apart.

    :param source: where they came from, for the report.
    :param complete: whether they are the whole official data set.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    source: str
    complete: bool = True


def shape_of(name: str, size: int | None = None) -> tuple[int, int, int]:
    """``(C, H, W)`` of the images of data set ``name``.

    :param size: height and width that image folders are cropped to.
    :raises PyadmmError: for an unknown name, or a size where it is not wanted or missing.
    """
    if name not in NAMES:
        raise PyadmmError(f"data {name!r} is unknown; choose one of: {', '.join(NAMES)}")
    if name == "imagefolder":
        if size is None:
            raise PyadmmError("data imagefolder: needs an image size, such as --image-size 224")
        return (3, size, size)
    if size is not None:
        raise PyadmmError(f"data {name}: has images of one size; leave the image size out")
    return mnist.IMAGE_SHAPE if name == "mnist" else cifar10.IMAGE_SHAPE


def load(name: str, data_dir: Path | None, shape: tuple[int, int, int]) -> DataSet:
    """Data set ``name`` from ``data_dir`` (``None``: where that data set is looked for).

    :param shape: of :func:`shape_of`.
    :raises PyadmmError: where it cannot be had, or is damaged.
    """
    found: mnist.Mnist | cifar10.Cifar10 | imagefolder.ImageFolder
    if name == "mnist":
        found = mnist.load(data_dir)
    elif name == "cifar10":
        found = cifar10.load(data_dir)
    else:
        found = imagefolder.load(data_dir, shape[1])
    complete = found.complete if isinstance(found, mnist.Mnist) else True
    return DataSet(
        found.train_images,
        found.train_labels,
        found.test_images,
        found.test_labels,
        found.source,
        complete,
    )
