"""CIFAR-10 from a folder: the official python batches, or a lossless packing of them.

The official batches are pickles. They are read without pickle's power to call anything: the
reader knows stand-ins for the few names that a plain array of bytes needs, and no others.
"""

from __future__ import annotations

import io
import lzma
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import cache_dir, write_atomic
from pyadmm.datasets.fetch import notice, read_bounded, sha256

PER_BATCH = 10_000
IMAGE_SHAPE = (3, 32, 32)
TRAIN_SHA256 = "1e91790dbaf241617ca1f29a9aba08eb9a62df84cc90676b47edd05ad2ab3c94"
TEST_SHA256 = "9a4c74f5c8b6f2c4e13d3a1dfb43a5a8cda8a9da515e99fd620d2013a1a6287a"
"""Of the pixels followed by the labels, as bytes."""
REMEDY = "unpack the official cifar-10-python archive there"

_BATCHES = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")
_PACKED = (*(f"train{k}" for k in range(5)), "test")
_LARGEST = 4
"""No file of a batch has more bytes, in units of those of its pixels."""
_LABEL_FILE_LIMIT = 1 << 17

Batch = tuple[NDArray[np.uint8], NDArray[np.uint8]]
Numbers = NDArray[np.int16]


@dataclass(frozen=True)
class Cifar10:
    """Images ``(N, 3, 32, 32)`` uint8 (planes red, green, blue) and labels ``(N,)`` int64."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    source: str


def load(data_dir: Path | None = None) -> Cifar10:
    """CIFAR-10 from ``data_dir`` (or ``PYADMM_DATA``).

    :raises PyadmmError: where there is no such folder, or a file of it is missing or bad.
    """
    named = data_dir if data_dir is not None else os.environ.get("PYADMM_DATA") or None
    if named is None:
        raise PyadmmError(
            "CIFAR-10: no folder is named; give --data-dir or PYADMM_DATA: it is not fetched"
        )
    for folder in _choices(Path(named).expanduser()):
        if (folder / "data_batch_1").is_file():
            return _checked([_read_batch(folder / name) for name in _BATCHES], folder)
        if (folder / "labels.npz").is_file():
            return _load_packed(folder)
    raise PyadmmError(f"CIFAR-10 folder {named}: holds no data_batch_1; {REMEDY}")


def _choices(named: Path) -> list[Path]:
    return [
        base / inside
        for base in (named, named / "cifar10")
        for inside in ("", "cifar-10-batches-py")
    ]


def _checked(batches: list[Batch], folder: Path) -> Cifar10:
    """The batches, the last of which is the test set, after a check of every byte."""
    sets = []
    for what, parts, expected in (
        ("training", batches[:-1], TRAIN_SHA256),
        ("test", batches[-1:], TEST_SHA256),
    ):
        images = np.concatenate([images for images, _ in parts])
        labels = np.concatenate([labels for _, labels in parts])
        digest = sha256(images.tobytes() + labels.tobytes())
        if digest != expected:
            raise PyadmmError(
                f"CIFAR-10 folder {folder}: sha256 of the {what} set must be {expected[:16]}…, "
                f"not {digest[:16]}…; {REMEDY}"
            )
        sets.append((images, labels.astype(np.int64)))
    (train, train_labels), (test, test_labels) = sets
    return Cifar10(train, train_labels, test, test_labels, f"folder {folder}")


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return read_bounded(file, limit, f"CIFAR-10 file {path}")
    except OSError as error:
        raise PyadmmError(
            f"CIFAR-10 file {path}: cannot be read ({error.strerror}); {REMEDY}"
        ) from error


def _parsed(path: Path, parse: Callable[[], Any]) -> Any:
    """``parse()``; foreign bytes can make a parser raise nearly anything, MemoryError included."""
    try:
        return parse()
    except Exception as error:
        raise PyadmmError(
            f"CIFAR-10 file {path}: is damaged or truncated ({type(error).__name__}: {error}); "
            f"{REMEDY}"
        ) from error


# --- official batches --------------------------------------------------------------------------


class _Array:
    """Stand-in for a pickled numpy array: keeps what describes it."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def pixels(self) -> NDArray[np.uint8]:
        """The array, if it is one of ``PER_BATCH`` rows of bytes, in C or Fortran order."""
        _, shape, dtype, fortran, data = self.state
        if tuple(shape) != (PER_BATCH, int(np.prod(IMAGE_SHAPE))):
            raise ValueError(f"field data has shape {shape}")
        if not isinstance(dtype, _Dtype) or dtype.code not in (b"u1", "u1"):
            raise ValueError("field data is not of type uint8")
        if not isinstance(data, bytes):
            raise ValueError("field data holds no bytes")
        rows = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")
        return rows.reshape(PER_BATCH, *IMAGE_SHAPE)


class _Dtype:
    """Stand-in for a pickled numpy dtype."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        """The byte order and flags do not matter to bytes."""


def _array(*_: Any) -> _Array:
    return _Array()


def _encoded(text: Any, encoding: Any) -> bytes:
    """How protocols below 3 write bytes in Python 3."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise ValueError(f"encoding {encoding!r}")
    return text.encode("latin1")


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encoded,
}


class _Unpickler(pickle._Unpickler):
    """Reads pickles that name nothing but :data:`_KNOWN`.

    The Python version of the class: its memo is a dictionary, so that a file cannot make it
    allocate by naming a large index.
    """

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of ``module.name``."""
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch needs")
        return _KNOWN[module, name]


def _read_batch(path: Path) -> Batch:
    data = _read(path, _LARGEST * _batch_bytes())

    def parse() -> Batch:
        batch = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        if not isinstance(batch, dict) or not isinstance(batch.get(b"data"), _Array):
            raise ValueError("field data is missing")
        return batch[b"data"].pixels(), _labels(batch.get(b"labels"))

    parsed: Batch = _parsed(path, parse)
    return parsed


def _labels(values: Any) -> NDArray[np.uint8]:
    if not isinstance(values, list) or len(values) != PER_BATCH:
        raise ValueError(f"field labels is no list of {PER_BATCH}")
    if not all(type(value) is int and 0 <= value <= 9 for value in values):
        raise ValueError("field labels must hold 0 to 9")
    return np.array(values, np.uint8)


# --- packed form -------------------------------------------------------------------------------


def _load_packed(folder: Path) -> Cifar10:
    """The packed form; decoding takes a while, so the pixels are kept in the cache."""
    labels = _parsed(folder / "labels.npz", lambda: packed_labels(folder))
    kept = cache_dir() / "cifar10" / "pixels"
    whole = 6 * _batch_bytes()
    if kept.is_file() and kept.stat().st_size == whole:
        pixels = np.frombuffer(_read(kept, whole), np.uint8).reshape(6, PER_BATCH, *IMAGE_SHAPE)
        try:
            return _checked(list(zip(pixels, labels, strict=True)), folder)
        except PyadmmError as error:
            notice(f"the cached pixels do not fit and are decoded again: {error}")
    images = [read_packed(folder / f"{name}.xz") for name in _PACKED]
    result = _checked(list(zip(images, labels, strict=True)), folder)
    try:
        write_atomic(kept, b"".join(batch.tobytes() for batch in images))
    except OSError as error:
        notice(f"CIFAR-10: the cache {kept} cannot be written ({error.strerror}); going on without")
    return result


def _batch_bytes() -> int:
    """Bytes of the pixels of one batch."""
    return PER_BATCH * int(np.prod(IMAGE_SHAPE))


def packed_labels(folder: Path) -> NDArray[np.uint8]:
    """Labels of the packed data in ``folder``, ``(6, images of a batch)``."""
    data = _read(folder / "labels.npz", _LABEL_FILE_LIMIT)
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        labels = np.concatenate([arrays["y_train"], arrays["y_test"]])
    if labels.dtype != np.uint8:
        raise ValueError(f"labels are of type {labels.dtype}")
    return labels.reshape(6, PER_BATCH)


def read_packed(path: Path) -> NDArray[np.uint8]:
    """Images ``(N, 3, 32, 32)`` of one packed batch."""
    data = _read(path, _LARGEST * _batch_bytes())

    def parse() -> NDArray[np.uint8]:
        size = _batch_bytes()
        residuals = lzma.LZMADecompressor().decompress(data, size + 1)
        if len(residuals) != size:
            raise ValueError(f"it holds {len(residuals)} bytes, not {size}")
        return unpack(np.frombuffer(residuals, np.uint8).reshape(3, PER_BATCH, 32, 32))

    parsed: NDArray[np.uint8] = _parsed(path, parse)
    return parsed


def unpack(residuals: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images ``(N, 3, 32, 32)`` of prediction residuals ``(3, N, 32, 32)``, modulo 256.

    The planes are green, red − green and blue − green. A pixel's prediction is the median of its
    left neighbour, the one above, and left + above − corner; on the border, what there is of them.
    """
    planes = np.zeros((33, 33, *residuals.shape[:2]), np.int16)
    rest = residuals.transpose(2, 3, 0, 1).astype(np.int16)
    for row in range(1, 33):
        for column in range(1, 33):
            guess = _guess(planes, row, column)
            planes[row, column] = (rest[row - 1, column - 1] + guess) & 255
    green, red, blue = planes[1:, 1:].transpose(2, 3, 0, 1)
    rgb = np.stack([red + green, green, blue + green], axis=1) & 255
    return rgb.astype(np.uint8)


def _guess(planes: Numbers, row: int, column: int) -> Numbers:
    """Prediction of one pixel of all planes; row and column 0 lie outside the image."""
    left, above = planes[row, column - 1], planes[row - 1, column]
    if row == 1 or column == 1:
        return left if row == 1 else above
    low, high = np.minimum(left, above), np.maximum(left, above)
    return np.clip(left + above - planes[row - 1, column - 1], low, high)
