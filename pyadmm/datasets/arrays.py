"""Your own data in one file: ``FILE.npz`` with ``x_train``, ``y_train``, ``x_test``, ``y_test``.

Images are bytes, signed bytes, or floats that the file states the step of, of any shape
``(C, H, W)``: pictures, spectrograms, windows of a signal, feature vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.datasets.dataset import DataSet, Encoding, TestSet, checked_labels, whole_labels

_KEYS = {
    "x_train": ("x_train", "train_images"),
    "y_train": ("y_train", "train_labels"),
    "x_test": ("x_test", "test_images"),
    "y_test": ("y_test", "test_labels"),
}
_NEAR = 0.01
"""So near to a whole number of steps must a float be that is said to be one."""
_COLOURS = 3
_OPAQUE = 4
"""Channels of pictures with transparency."""
_HALF = 0.2
"""What :data:`_NEAR` is for floats of 16 bits, which are rounded."""

_TEST_KEYS = (*_KEYS["x_test"], "x", "images", *_KEYS["x_train"])
"""Images to run a network on, the first of them that the file has."""
_LABEL_KEYS = {"x": "y", "images": "labels", "test_images": "test_labels"}

Array = NDArray[np.generic]


def load(path: Path) -> DataSet:
    """The data in the ``.npz`` file ``path``.

    Two scalars may go with the arrays: ``scale``, the step of the values, needed for floats
    (``x = code * scale``), and ``name`` of the data set. Bytes without a ``scale`` are pixels in
    0 … 1 (step 1/255), signed bytes lie in -1 … 1 (step 1/128).

    :raises PyadmmError: for a file that cannot be read, arrays that are missing, or values that
        are no bytes.
    """
    subject = f"data {path}"
    arrays = _read(path, subject)
    train, test = (_named(arrays, key, subject) for key in ("x_train", "x_test"))
    step = _step(arrays, subject)
    encoding = _encoding(train, test, step, subject)
    notes: tuple[str, ...] = ()
    images = []
    for key, values in (("x_train", train), ("x_test", test)):
        shaped, said = _shaped(values, f"{subject}, {key}")
        images.append(_codes(shaped, encoding, step, f"{subject}, {key}"))
        notes = said
    if images[0].shape[1:] != images[1].shape[1:]:
        raise PyadmmError(
            f"{subject}: x_train and x_test must have one shape, not {images[0].shape[1:]} and "
            f"{images[1].shape[1:]}"
        )
    first, second, counted = checked_labels(
        _named(arrays, "y_train", subject), _named(arrays, "y_test", subject), subject
    )
    for key, items, labels in (("train", images[0], first), ("test", images[1], second)):
        if len(items) != len(labels):
            raise PyadmmError(
                f"{subject}: x_{key} has {len(items)} images, but y_{key} {len(labels)} labels"
            )
    if train.dtype.kind == "f" and step is not None:
        notes += (f"floats were rounded to 8 bits, steps of {step:g}",)
    name = str(arrays["name"].item()) if "name" in arrays and arrays["name"].ndim == 0 else ""
    return DataSet(
        *(images[0], first, images[1], second),
        source=f"file {path}",
        name=name[:60] or path.stem,
        encoding=encoding,
        notes=notes + counted,
    )


def load_test(path: Path) -> TestSet:
    """Images ``(N, C, H, W)`` to run a network on, their labels if the file has some.

    They are ``x_test``, else ``x`` or ``images``, else ``x_train``; signed ones are bytes with
    offset 128, as :func:`load` gives them.

    :raises PyadmmError: as :func:`load`.
    """
    subject = f"data {path}"
    arrays = _read(path, subject)
    key = next((key for key in _TEST_KEYS if key in arrays), None)
    if key is None:
        raise PyadmmError(
            f"{subject}: has no array x_test or x, only {', '.join(sorted(arrays)) or 'nothing'}"
        )
    step = _step(arrays, subject)
    encoding = _encoding(arrays[key], arrays[key], step, subject)
    shaped, _ = _shaped(arrays[key], f"{subject}, {key}")
    images = _codes(shaped, encoding, step, f"{subject}, {key}")
    named = _LABEL_KEYS.get(key, key.replace("x_", "y_"))
    if named not in arrays:
        return TestSet(images, None, f"file {path}", path.stem, encoding)
    labels = arrays[named]
    notes: tuple[str, ...] = ()
    if "y_train" in arrays:  # of all labels, one sees whether they count from 1
        _, labels, notes = checked_labels(arrays["y_train"], labels, subject)
    else:
        labels = whole_labels(labels, subject)
    if len(labels) != len(images):
        raise PyadmmError(
            f"{subject}: {key} has {len(images)} images, but {named} {len(labels)} labels"
        )
    return TestSet(images, labels, f"file {path}", path.stem, encoding, notes)


def _read(path: Path, subject: str) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except OSError as error:
        reason = error.strerror or error
        raise PyadmmError(f"{subject}: cannot be read ({reason})") from error
    except Exception as error:  # a damaged file makes zipfile and numpy raise nearly anything
        raise PyadmmError(f"{subject}: {_reason(path, error)}") from error


def _reason(path: Path, error: Exception) -> str:
    """The reason why numpy does not read ``path``, and the remedy."""
    with path.open("rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY":
        return f"is one array, as numpy.save writes it; write {', '.join(_KEYS)} by numpy.savez"
    if not start.startswith(b"PK"):
        return "is no .npz file; write it by numpy.savez"
    if "Object arrays" in str(error):
        return (
            "holds arrays of Python objects, which are not read; make images of one shape one "
            "array, and names of classes numbers (numpy.unique(labels, return_inverse=True)[1])"
        )
    said = (str(error).splitlines() or [""])[0]
    return f"is damaged or incomplete ({type(error).__name__}: {said}); get or write it again"


def _named(arrays: Mapping[str, Array], key: str, subject: str) -> Array:
    for name in _KEYS[key]:
        if name in arrays:
            return arrays[name]
    raise PyadmmError(
        f"{subject}: has no array {key}, only {', '.join(sorted(arrays)) or 'nothing'}; needed are "
        f"{', '.join(_KEYS)}"
    )


def _step(arrays: Mapping[str, Array], subject: str) -> float | None:
    if "scale" not in arrays:
        return None
    value = arrays["scale"]
    step = float(value.item()) if value.size == 1 and value.dtype.kind in "iuf" else float("nan")
    if not (np.isfinite(step) and step > 0):
        raise PyadmmError(f"{subject}: scale must be one positive number, the step of the values")
    return step


def _encoding(train: Array, test: Array, step: float | None, subject: str) -> Encoding | None:
    """Signed where a value is negative or the type is int8."""
    for key, values in (("x_train", train), ("x_test", test)):
        if not values.size:
            raise PyadmmError(f"{subject}, {key}: holds no images, its shape is {values.shape}")
        if values.dtype.kind not in "biuf":
            raise PyadmmError(
                f"{subject}, {key}: images must be numbers, not {values.dtype} of shape "
                f"{values.shape}; give bytes, or floats and their scale"
            )
        if values.dtype.kind == "f" and not bool(np.isfinite(values).all()):
            odd = int((~np.isfinite(values)).sum())
            raise PyadmmError(
                f"{subject}, {key}: {odd:,} of {values.size:,} values are not finite (NaN or "
                "infinite); replace them, as by numpy.nan_to_num, or leave these images out"
            )
    signed = np.int8 in (train.dtype, test.dtype) or bool((train < 0).any() or (test < 0).any())  # type: ignore[operator]
    if signed:
        return Encoding(128, step if step is not None else 1 / 128)
    return None if step is None else Encoding(0, step)


def _shaped(values: Array, subject: str) -> tuple[Array, tuple[str, ...]]:
    """``(N, C, H, W)``, and a note where channels were moved to the front."""
    rest = values.shape[1:]
    if len(rest) == 3:
        height, width, channels = rest
        square = height == width > _OPAQUE and channels in (1, _COLOURS, _OPAQUE)
        if square or (min(height, width) > 2 * _OPAQUE and channels in (_COLOURS, _OPAQUE)):
            moved = np.moveaxis(values, -1, 1)
            return moved, ("images were taken as (N, H, W, C) and turned to (N, C, H, W)",)
        return values, ()
    if len(rest) == 2:
        return values[:, None], ()
    if len(rest) == 1:
        return values[:, :, None, None], ()
    raise PyadmmError(
        f"{subject}: must be of shape (N, C, H, W), (N, H, W) or (N, K), not {values.shape}"
    )


def _codes(
    values: Array, encoding: Encoding | None, step: float | None, subject: str
) -> NDArray[np.uint8]:
    """Bytes of ``values``.

    :raises PyadmmError: where a value has none; it says what would fit.
    """
    lo, hi = (0, 255) if encoding is None or not encoding.offset else (-128, 127)
    if values.dtype == (np.uint8 if lo == 0 else np.int8):
        return np.ascontiguousarray(values.view(np.uint8) ^ np.uint8(128 if lo else 0))
    if values.dtype.kind == "f":
        nearness = _HALF if values.dtype.itemsize == 2 else _NEAR
        codes = _rounded(values.astype(np.float64), step, subject, nearness)
    else:
        codes = values.astype(np.float64)
    outside = int(((codes < lo) | (codes > hi)).sum())
    if outside:
        reach = float(np.abs(codes).max()) * (step or 1)
        fits = f"scale {reach / max(hi, 1):.6g} would hold all"
        if values.dtype.kind != "f":
            fits = f"their range is {codes.min():g} to {codes.max():g}; make them bytes, or give floats and a scale"
        raise PyadmmError(
            f"{subject}: {outside:,} of {codes.size:,} values lie outside of the {hi - lo + 1} "
            f"steps from {lo} to {hi}; {fits}"
        )
    return np.ascontiguousarray(codes - (lo if lo < 0 else 0), dtype=np.uint8)


def _rounded(
    values: NDArray[np.float64], step: float | None, subject: str, nearness: float
) -> NDArray[np.float64]:
    if step is not None:
        return np.floor(values / step + 0.5)
    scaled = values * 255
    rounded = np.round(scaled)
    near = bool((np.abs(scaled - rounded) <= nearness).all())
    if not near or not 0 <= values.min() <= values.max() <= 1:
        reach = float(np.abs(values).max()) or 1.0
        most = 127 if bool((values < 0).any()) else 255
        raise PyadmmError(
            f"{subject}: floats need their step: add scale to the file, x = code * scale; "
            f"scale={reach / most:.6g} would hold all values"
        )
    return rounded
