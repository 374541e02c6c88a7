"""Folders of pictures, one per class, as ImageNet and many data sets of one's own are kept.

``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg`` (or ``test``). Every picture is brought to one size
once: its shorter side to 8/7 of the size, then the middle square of it (Krizhevsky et al. 2012,
section 2, with today's usual proportion 256 : 224). The pixels are kept in the cache, as bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import cache_dir
from pyadmm.datasets.fetch import notice

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp"})
SIZE_LIMIT = 1024
_TRAIN = ("train",)
_TEST = ("val", "test")
_PIXEL_LIMIT = 89_000_000
"""Most pixels of one picture: more is a mistake or an attack. Pillow warns from little more on."""
_OFTEN = 10_000
_AT_ONCE = 256
"""Pictures that wait to be written."""


@dataclass(frozen=True)
class ImageFolder:
    """Images ``(N, 3, size, size)`` uint8 and labels ``(N,)`` int64.

    :param classes: names of the class folders; a label is a place in this list.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    source: str


def load(data_dir: Path | None, size: int) -> ImageFolder:
    """The pictures under ``data_dir`` (or ``PYADMM_DATA``), in RGB and cropped to ``size``.

    :raises PyadmmError: for a missing folder, classes that differ, or a picture that cannot be
        read; it names the file.
    """
    named = data_dir if data_dir is not None else os.environ.get("PYADMM_DATA") or None
    if named is None:
        raise PyadmmError("image folder: no folder is named; give --data-dir or PYADMM_DATA")
    if not 1 <= size <= SIZE_LIMIT:
        raise PyadmmError(f"image folder: the image size must be 1 to {SIZE_LIMIT}, not {size}")
    root = Path(named).expanduser()
    train, test = _part(root, _TRAIN), _part(root, _TEST)
    classes = _classes(train)
    if _classes(test) != classes:
        odd = sorted(set(_classes(test)) ^ set(classes))
        raise PyadmmError(
            f"image folder {root}: {train.name} and {test.name} must have the same classes; "
            f"only one has {', '.join(odd[:4])}"
        )
    sets = [_images(part, classes, size) for part in (train, test)]
    (train_images, train_labels), (test_images, test_labels) = sets
    source = f"image folder {root}"
    return ImageFolder(train_images, train_labels, test_images, test_labels, classes, source)


def _part(root: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise PyadmmError(
        f"image folder {root}: has no folder {' or '.join(names)}; expected are train/CLASS/*.jpg "
        "and val/CLASS/*.jpg"
    )


def _classes(part: Path) -> tuple[str, ...]:
    classes = tuple(sorted(folder.name for folder in part.iterdir() if folder.is_dir()))
    if not classes:
        raise PyadmmError(f"image folder {part}: has no class folders")
    return classes


def _images(
    part: Path, classes: Sequence[str], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = [f for f in (part / name).iterdir() if f.suffix.lower() in ENDINGS]
        if not found:
            raise PyadmmError(
                f"image folder {part / name}: holds no pictures; known are "
                f"{', '.join(sorted(ENDINGS))}"
            )
        files += sorted(found)
        labels += [label] * len(found)
    return _cached_pixels(files, size), np.array(labels, np.int64)


def _cached_pixels(files: Sequence[Path], size: int) -> NDArray[np.uint8]:
    """Pixels of ``files`` from the cache, which is filled if it does not hold them."""
    kept = cache_dir() / "imagefolder" / f"{_digest(files, size)}.npy"
    if not kept.is_file():
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with _alone(kept.parent.with_suffix(".lock")):
                if not kept.is_file():
                    _fill(kept, files, size)
        except OSError as error:
            raise PyadmmError(f"image folder: cannot write the cache {kept}: {error}") from error
    try:
        pixels: NDArray[np.uint8] = np.load(kept, mmap_mode="c")
    except (OSError, ValueError) as error:
        raise PyadmmError(
            f"image folder: cache file {kept} cannot be read ({error}); delete it"
        ) from error
    if pixels.shape != (len(files), 3, size, size) or pixels.dtype != np.uint8:
        raise PyadmmError(f"image folder: cache file {kept} is damaged; delete it")
    return pixels


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other process fills the cache: those of one run all want the same file."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill(kept: Path, files: Sequence[Path], size: int) -> None:
    """Read all pictures, several at a time: decoding and resizing run outside Python's lock."""
    partial = kept.with_suffix(f".{os.getpid()}.partial")
    try:
        shape = (len(files), 3, size, size)
        pixels = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(files), _AT_ONCE):
                some = files[start : start + _AT_ONCE]
                for place, square in enumerate(pool.map(picture, some, repeat(size)), start):
                    pixels[place] = square
                read = start + len(some)
                if read // _OFTEN > start // _OFTEN:
                    notice(f"{read:,} of {len(files):,} pictures read")
        pixels.flush()
        partial.replace(kept)
    finally:
        partial.unlink(missing_ok=True)


def _digest(files: Sequence[Path], size: int) -> str:
    """Of names, sizes and times of the files, so that a changed picture is read again."""
    sha = hashlib.sha256(f"{size} {len(files)}".encode())
    for path in files:
        facts = path.stat()
        sha.update(f"{path.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return sha.hexdigest()[:32]


def picture(path: Path, size: int) -> NDArray[np.uint8]:
    """One picture, ``(3, size, size)``, resized and cropped.

    :raises PyadmmError: where it is damaged, truncated or absurdly large.
    """
    try:
        with Image.open(path) as opened:
            width, height = opened.size
            if width * height > _PIXEL_LIMIT:
                raise ValueError(f"it has {width} x {height} pixels")
            rgb = opened.convert("RGB")
    except Exception as error:  # decoders raise whatever the damage happens to hit
        raise PyadmmError(
            f"picture {path}: cannot be read ({type(error).__name__}: {error}); replace it or "
            "delete it"
        ) from error
    side = round(size * 8 / 7)
    scale = side / min(width, height)
    whole = max(side, round(width * scale)), max(side, round(height * scale))
    left, top = (whole[0] - size) // 2, (whole[1] - size) // 2
    resized = rgb.resize(whole, Image.Resampling.BILINEAR)
    square = resized.crop((left, top, left + size, top + size))
    return np.asarray(square, np.uint8).transpose(2, 0, 1)
