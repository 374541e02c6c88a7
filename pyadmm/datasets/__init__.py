"""Labelled images: known data sets by name, or your own data by path."""

from __future__ import annotations

import os
from pathlib import Path

from pyadmm.core.errors import PyadmmError
from pyadmm.datasets import arrays, cifar10, idx, imagefolder, mnist
from pyadmm.datasets.dataset import DataSet, Encoding, TestSet

__all__ = [
    "NAMES",
    "DataSet",
    "Encoding",
    "TestSet",
    "label_count",
    "load",
    "load_own",
    "load_test",
    "own_instead_of_mnist",
    "shape_of",
]

NAMES = ("mnist", "cifar10", "imagefolder", "idx")
_CLASSES = 10
"""Of MNIST and of CIFAR-10."""


def shape_of(name: str, size: int | None = None, channels: int = 3) -> tuple[int, int, int]:
    """``(C, H, W)`` of the images of data set ``name``.

    :param size: height and width that image folders are cropped to.
    :param channels: that the pictures of image folders are converted to.
    :raises PyadmmError: for an unknown name, or a size where it is not wanted or missing.
    """
    if name not in NAMES:
        raise _unknown(name)
    if name == "imagefolder":
        if size is None:
            raise PyadmmError("data imagefolder: needs an image size, such as --image-size 224")
        return (channels, size, size)
    if size is not None:
        raise PyadmmError(f"data {name}: has images of one size; leave the image size out")
    if name == "idx":
        raise PyadmmError("data idx: needs the folder of its files: --data-dir DIR")
    return mnist.IMAGE_SHAPE if name == "mnist" else cifar10.IMAGE_SHAPE


def load(name: str, data_dir: Path | None, shape: tuple[int, int, int]) -> DataSet:
    """The data set ``name`` from ``data_dir``; ``None``: from where that data set is looked for.

    :param shape: of :func:`shape_of`.
    :raises PyadmmError: where it cannot be had, or is damaged.
    """
    found: mnist.Mnist | cifar10.Cifar10 | imagefolder.ImageFolder
    notes: tuple[str, ...] = ()
    if name == "mnist":
        found = mnist.load(data_dir)
        title = "MNIST" if found.complete else "MNIST, subset"
    elif name == "cifar10":
        found, title = cifar10.load(data_dir), "CIFAR-10"
    else:
        found = imagefolder.load(data_dir, shape[1], shape[0])
        title, notes = found.name, found.notes
    return DataSet(
        found.train_images,
        found.train_labels,
        found.test_images,
        found.test_labels,
        found.source,
        found.complete if isinstance(found, mnist.Mnist) else True,
        title,
        notes=notes,
    )


def label_count(name: str, data_dir: Path | None) -> int | None:
    """Number of classes of data set ``name``, without reading an image; ``None`` where it is unknown."""
    if name != "imagefolder":
        return _CLASSES
    if data_dir is None and not os.environ.get("PYADMM_DATA"):
        return None
    return len(imagefolder.classes_of(data_dir))


def load_own(place: str, data_dir: Path | None = None) -> DataSet | None:
    """The data in the file or folder ``place``; ``None`` for a folder of pictures.

    :param place: ``FILE.npz``, or a folder with IDX files (with or without the first letters of
        their names), or ``idx`` for those in ``data_dir``.
    :raises PyadmmError: where there is no such data, or it is damaged.
    """
    if place == "idx":
        named = data_dir if data_dir is not None else os.environ.get("PYADMM_DATA") or None
        if named is None:
            raise PyadmmError("data idx: no folder is named; give --data-dir or PYADMM_DATA")
        return idx.load(Path(named).expanduser())
    if data_dir is not None:
        raise PyadmmError(
            f"data {place}: names the place of the data already; leave --data-dir out"
        )
    path = Path(place).expanduser()
    if path.suffix.lower() == ".npz":
        return arrays.load(path)
    if imagefolder.is_one(path):
        return None
    if not path.is_file() and path.parent.is_dir() and idx.find(path):
        return idx.load(path)
    raise _unknown(place)


def load_test(place: str, data_dir: Path | None, shape: tuple[int, int, int]) -> TestSet:
    """The test images of the data set or the place ``place``; of a file, its images alone.

    :param shape: ``(C, H, W)`` that pictures of folders are brought to.
    :raises PyadmmError: as :func:`load` and :func:`load_own`.
    """
    path = Path(place).expanduser()
    if path.suffix.lower() == ".npz" and data_dir is None:
        return arrays.load_test(path)
    if place == "idx" or place not in NAMES:
        own = load_own(place, data_dir)
        if own is not None:
            return own.test
        place, data_dir = "imagefolder", path
    if place == "imagefolder" and shape[1] != shape[2]:
        raise PyadmmError(
            f"data {data_dir}: pictures are cropped to squares, but the network takes {shape}; "
            "give an .npz file"
        )
    elif place != "imagefolder" and shape_of(place) != shape:
        raise PyadmmError(
            f"data {place}: has images of shape {shape_of(place)}, but the network takes {shape}; "
            "give your own data"
        )
    return load(place, data_dir, shape).test


def own_instead_of_mnist(data_dir: Path | None) -> str | None:
    """The folder of ``data_dir`` (or ``PYADMM_DATA``), if its IDX files are sound but not MNIST's.

    Fashion-MNIST, KMNIST and others have files of the same names. Labels tell them apart: a folder
    with MNIST's labels and other images is MNIST, damaged.
    """
    named = data_dir if data_dir is not None else os.environ.get("PYADMM_DATA") or None
    if named is None:
        return None
    folder = Path(named).expanduser()
    try:
        files = idx.find(folder)
        if not files or any(mnist.are_labels(files[role]) for role in files):
            return None
        idx.load(folder)
    except PyadmmError:
        return None  # what is wrong with it, MNIST's own loader says
    return str(folder)


def _unknown(name: str) -> PyadmmError:
    return PyadmmError(
        f"data {name!r} is unknown; choose one of: {', '.join(NAMES)}, or give a FILE.npz with "
        "x_train, y_train, x_test and y_test, or a folder of pictures or IDX files"
    )
