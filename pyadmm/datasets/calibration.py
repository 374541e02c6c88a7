"""Unlabelled images to calibrate with: an ``.npz`` file or a folder of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pyadmm.core.errors import PyadmmError
from pyadmm.datasets.dataset import laid_out, whole_labels
from pyadmm.datasets.imagefolder import ENDINGS, eight_bits

_NAMES = ("x", "images", "x_train", "x_test")
FITS = ("stretch", "crop")


@dataclass(frozen=True, eq=False)
class Calibration:
    """Images as bytes ``(N, C, H, W)``, uint8 or int8, and labels where the file has some.

    :param skipped: files of a folder that are no pictures.
    """

    images: NDArray[np.uint8] | NDArray[np.int8]
    labels: NDArray[np.int64] | None = None
    skipped: int = 0


def read_calibration(
    path: Path, shape: tuple[int, int, int], *, fit: str = "stretch", limit: int | None = None
) -> Calibration:
    """The images of a file or folder, in the shape that the network reads.

    :param shape: ``(C, H, W)``.
    :param fit: how pictures of a folder get their size: ``stretch``, or ``crop`` out of the middle.
    :param limit: read at most this many images.
    :raises PyadmmError: for a path without images, images of another shape or type, or a picture
        that cannot be read.
    """
    if path.is_dir():
        return _of_folder(path, shape, fit, limit)
    if not path.is_file():
        raise PyadmmError(f"{path}: there is no such file or folder; give calibration images")
    return _of_file(path, shape, limit)


def _of_file(path: Path, shape: tuple[int, int, int], limit: int | None) -> Calibration:
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
    except Exception as error:  # a damaged file makes zipfile and numpy raise nearly anything
        raise PyadmmError(f"{path}: is no .npz file of arrays: {error}") from error
    name = next((name for name in _NAMES if name in arrays), None)
    if name is None:
        raise PyadmmError(
            f"{path}: must hold images as x, but has {', '.join(sorted(arrays)) or 'nothing'}"
        )
    images = _as_bytes(path, _channels_first(path, arrays[name][:limit], shape))
    labels = next((arrays[n] for n in ("y", "labels", "y_train", "y_test") if n in arrays), None)
    if labels is not None:
        labels = whole_labels(labels[:limit], str(path))
        if labels.shape != (len(images),):
            raise PyadmmError(f"{path}: {len(images)} images have labels of shape {labels.shape}")
    return Calibration(images, labels)


def _channels_first(
    path: Path, images: NDArray[np.generic], shape: tuple[int, int, int]
) -> NDArray[np.generic]:
    """Images as ``(N, C, H, W)``, also where the file has ``(N, H, W, C)`` or ``(N, H, W)``."""
    channels, height, width = shape
    found = images.shape[1:]
    if found == shape:
        return images
    if found == (height, width, channels):
        return images.transpose(0, 3, 1, 2)
    if channels == 1 and found == (height, width):
        return images[:, None]
    lines = laid_out(images, shape)
    if lines is not None:
        return lines
    raise PyadmmError(
        f"{path}: images must have shape (N, {channels}, {height}, {width}), not {images.shape}; "
        "give images of the network's input size"
    )


def _as_bytes(path: Path, images: NDArray[np.generic]) -> NDArray[np.uint8] | NDArray[np.int8]:
    if len(images) == 0:
        raise PyadmmError(f"{path}: holds no images")
    if images.dtype in (np.uint8, np.int8):
        return np.ascontiguousarray(images)
    if not np.issubdtype(images.dtype, np.number) or not bool(np.isfinite(images).all()):
        raise PyadmmError(f"{path}: images must be numbers, but some are not (NaN, infinite, text)")
    whole = np.asarray(images, np.float64)
    if whole.min() < 0 or whole.max() > 255 or bool((whole != np.round(whole)).any()):
        raise PyadmmError(
            f"{path}: images must be bytes, 0 to 255, not {images.dtype} from {whole.min():g} to "
            f"{whole.max():g}; store pixels before normalisation and give --mean and --std"
        )
    return whole.astype(np.uint8)


def _of_folder(path: Path, shape: tuple[int, int, int], fit: str, limit: int | None) -> Calibration:
    if fit not in FITS:
        raise PyadmmError(f"calibration: fit must be {' or '.join(FITS)}, not {fit!r}")
    hidden = [p for p in sorted(path.rglob("*")) if p.is_file() and not p.name.startswith(".")]
    files = [p for p in hidden if p.suffix.lower() in ENDINGS]
    if not files:
        raise PyadmmError(f"{path}: holds no pictures ({', '.join(sorted(ENDINGS))})")
    images = np.stack([_picture(file, shape, fit) for file in files[:limit]])
    return Calibration(images, skipped=len(hidden) - len(files))


def _picture(path: Path, shape: tuple[int, int, int], fit: str) -> NDArray[np.uint8]:
    channels, height, width = shape
    if channels not in (1, 3):
        raise PyadmmError(
            f"{path}: pictures have 1 or 3 channels, but the network reads {channels}"
        )
    try:
        with Image.open(path) as opened:
            turned = ImageOps.exif_transpose(opened)
            picture = eight_bits(turned, "L" if channels == 1 else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PyadmmError(f"{path}: cannot be read as a picture: {error}") from error
    sized = fitted(picture, height, width, fit)
    pixels = np.asarray(sized, np.uint8).reshape(height, width, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def fitted(picture: Image.Image, height: int, width: int, fit: str) -> Image.Image:
    """A picture in another size: stretched, or its middle, which is not scaled if large enough."""
    if fit == "stretch":
        return picture.resize((width, height), Image.Resampling.BILINEAR)
    larger = max(width / picture.width, height / picture.height)
    if larger > 1:
        size = (
            max(width, round(picture.width * larger)),
            max(height, round(picture.height * larger)),
        )
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))
