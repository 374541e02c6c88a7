"""Folders of pictures, one per class, as ImageNet and many other data sets are kept.

``train/CLASS/*.jpg`` and ``test/CLASS/*.jpg`` (or ``val``, ``valid``, ``validation``), pictures of
a class in folders of their own too. Every picture is turned as its EXIF orientation says and
brought to one size once: its shorter side to 8/7 of the size, then the middle square of it
(Krizhevsky et al. 2012, section 2, with today's usual proportion 256 : 224). The pixels are kept in
the cache, as bytes. Hidden files and folders are ignored; every other file that is no picture is
counted and said.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import cache_dir
from pyadmm.datasets.fetch import notice

ENDINGS = frozenset(
    {".bmp", ".gif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
SIZE_LIMIT = 1024
_TRAIN = ("train", "training")
_TEST = ("test", "testing", "val", "valid", "validation")
_MODES = {1: "L", 3: "RGB"}
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I")
"""Modes that Pillow gives greyscale pictures of 16 bits, which ``convert`` would clip."""
PIXEL_LIMIT = 89_000_000
"""Most pixels of one picture: more is a mistake or an attack. Pillow warns from little more on."""
_DEEPEST = 65_535
_LAYOUT = 2
"""Version of what the cache holds; another one is not read."""
_OFTEN = 10_000
_AT_ONCE = 256
"""Pictures that wait to be written."""


@dataclass(frozen=True)
class ImageFolder:
    """Images ``(N, C, size, size)`` uint8 and labels ``(N,)`` int64.

    :param classes: names of the class folders; a label is a place in this list.
    :param notes: what was left out.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    source: str
    name: str = "pictures"
    notes: tuple[str, ...] = ()


def load(data_dir: Path | None, size: int, channels: int = 3) -> ImageFolder:
    """The pictures under ``data_dir`` (or ``PYADMM_DATA``), cropped to ``size``.

    :param channels: 3 for RGB, 1 for grey.

    :raises PyadmmError: for a missing folder, classes that differ, or a picture that cannot be
        read; it names the file.
    """
    if not 1 <= size <= SIZE_LIMIT:
        raise PyadmmError(f"image folder: the image size must be 1 to {SIZE_LIMIT}, not {size}")
    if channels not in _MODES:
        raise PyadmmError(f"image folder: pictures have 1 or 3 channels, not {channels}")
    root = _root(data_dir)
    parts, classes, notes = _parts(root)
    lists = [_files(part, classes) for part in parts]
    left_out = sum((skipped for _, _, skipped in lists), Counter[str]())
    if left_out:
        kinds = ", ".join(f"{count:,} {ending}" for ending, count in left_out.most_common(6))
        notes += (f"{left_out.total():,} files are no known pictures and were skipped: {kinds}",)
    for text in notes:
        notice(f"image folder {root}: {text}")
    train, test = (_cached_pixels(root, files, size, channels) for files, _, _ in lists)
    labels = [np.array(labels, np.int64) for _, labels, _ in lists]
    source = f"image folder {root}"
    name = root.name or root.resolve().name
    return ImageFolder(train, labels[0], test, labels[1], classes, source, name, notes)


def classes_of(data_dir: Path | None) -> tuple[str, ...]:
    """Names of the classes under ``data_dir`` (or ``PYADMM_DATA``); no picture is read.

    :raises PyadmmError: as :func:`load`.
    """
    return _parts(_root(data_dir))[1]


def is_one(folder: Path) -> bool:
    """Whether ``folder``, or the only folder in it, holds a folder ``train``."""
    return folder.is_dir() and bool(_named(_inner(folder), _TRAIN))


def _root(data_dir: Path | None) -> Path:
    named = data_dir if data_dir is not None else os.environ.get("PYADMM_DATA") or None
    if named is None:
        raise PyadmmError("image folder: no folder is named; give --data-dir or PYADMM_DATA")
    root = Path(named).expanduser()
    if not root.is_dir():
        raise PyadmmError(f"image folder {root}: is no folder; name the one that holds train")
    return _inner(root)


def _inner(root: Path) -> Path:
    """``root``, or its only folder where an archive was unpacked into one."""
    folders = _folders(root)
    alone = len(folders) == 1 and not _named(root, _TRAIN)
    return folders[0] if alone and _named(folders[0], _TRAIN) else root


def _folders(root: Path) -> list[Path]:
    """Folders in ``root``, sorted, without hidden ones and those of macOS archives."""
    found = (f for f in root.iterdir() if f.is_dir() and not _hidden(f.name))
    return sorted(found, key=lambda folder: folder.name)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _named(root: Path, names: Sequence[str]) -> list[Path]:
    """The folders of ``root`` called like one of ``names``, in the order of these."""
    by_name = {folder.name.lower(): folder for folder in _folders(root)}
    return [by_name[name] for name in names if name in by_name]


def _parts(root: Path) -> tuple[tuple[Path, Path], tuple[str, ...], tuple[str, ...]]:
    """The folders to train and to test on, the classes of both, and what is left out."""
    train = _part(root, _TRAIN, ())[0]
    tests = _part(root, _TEST, (train,))
    labelled = [part for part in tests if _folders(part)]
    test, notes = (labelled or tests)[0], []
    for other in tests:
        if other != test:
            notes.append(
                f"folder {other.name} is not used; the test images are those of {test.name}"
            )
    classes = _classes(train)
    if _classes(test) != classes:
        odd = sorted(set(_classes(test)) ^ set(classes))
        raise PyadmmError(
            f"image folder {root}: {train.name} and {test.name} must have the same classes; "
            f"only one has {', '.join(odd[:4])}"
        )
    return (train, test), classes, tuple(notes)


def _part(root: Path, names: Sequence[str], beside: Sequence[Path]) -> list[Path]:
    found = _named(root, names)
    if not found:
        there = ", ".join(f.name for f in _folders(root) if f not in beside) or "none"
        raise PyadmmError(
            f"image folder {root}: has no folder {' or '.join(names)}; expected are "
            f"train/CLASS/*.jpg and test/CLASS/*.jpg; the folders there are: {there}"
        )
    return found


def _classes(part: Path) -> tuple[str, ...]:
    classes = tuple(folder.name for folder in _folders(part))
    if not classes:
        raise PyadmmError(f"image folder {part}: has no class folders")
    return classes


def _files(part: Path, classes: Sequence[str]) -> tuple[list[Path], list[int], Counter[str]]:
    """Pictures, labels, and how many other files there are by their ending."""
    files: list[Path] = []
    labels: list[int] = []
    skipped = Counter(f.suffix.lower() or f.name for f in _plain(part) if not _is_picture(f))
    stray = sum(_is_picture(f) for f in _plain(part))
    if stray:
        skipped[f"pictures outside of the class folders of {part.name}"] = stray
    for label, name in enumerate(classes):
        inside = sorted(_visible(part / name))
        found = [file for file in inside if _is_picture(file)]
        skipped.update(f.suffix.lower() or f.name for f in inside if not _is_picture(f))
        if not found:
            raise PyadmmError(
                f"image folder {part / name}: holds no pictures; known are "
                f"{', '.join(sorted(ENDINGS))}"
            )
        files += found
        labels += [label] * len(found)
    return files, labels, skipped


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in ENDINGS


def _plain(folder: Path) -> list[Path]:
    return [f for f in folder.iterdir() if not f.is_dir() and not _hidden(f.name)]


def _visible(folder: Path) -> Iterator[Path]:
    """All files under ``folder``, dangling links included, without hidden ones."""
    yield from _plain(folder)
    for inner in _folders(folder):
        yield from _visible(inner)


def _cached_pixels(
    root: Path, files: Sequence[Path], size: int, channels: int
) -> NDArray[np.uint8]:
    """Pixels of ``files`` from the cache, which is filled if it does not hold them."""
    kept = cache_dir() / "imagefolder" / f"{_digest(root, files, size, channels)}.npy"
    if not kept.is_file():
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with _alone(kept.parent.with_suffix(".lock")):
                if not kept.is_file():
                    _fill(kept, files, size, channels)
        except OSError as error:
            raise PyadmmError(f"image folder: cannot write the cache {kept}: {error}") from error
    try:
        pixels: NDArray[np.uint8] = np.load(kept, mmap_mode="c")
    except (OSError, ValueError) as error:
        raise PyadmmError(
            f"image folder: cache file {kept} cannot be read ({error}); delete it"
        ) from error
    if pixels.shape != (len(files), channels, size, size) or pixels.dtype != np.uint8:
        raise PyadmmError(f"image folder: cache file {kept} is damaged; delete it")
    return pixels


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other process of the run fills the cache."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill(kept: Path, files: Sequence[Path], size: int, channels: int) -> None:
    """Read all pictures, several at a time: decoding and resizing run outside Python's lock."""
    partial = kept.with_suffix(f".{os.getpid()}.partial")
    try:
        shape = (len(files), channels, size, size)
        pixels = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(files), _AT_ONCE):
                some = files[start : start + _AT_ONCE]
                squares = pool.map(lambda file: picture(file, size, channels), some)
                for place, square in enumerate(squares, start):
                    pixels[place] = square
                read = start + len(some)
                if read // _OFTEN > start // _OFTEN:
                    notice(f"{read:,} of {len(files):,} pictures read")
        pixels.flush()
        partial.replace(kept)
    finally:
        partial.unlink(missing_ok=True)


def _digest(root: Path, files: Sequence[Path], size: int, channels: int) -> str:
    """Of names and what the system knows of each file, so that a changed picture is read again.

    The time of the inode's change counts, which a copy with the old date does not keep.
    """
    sha = hashlib.sha256(f"{_LAYOUT} {size} {channels} {len(files)}".encode())
    for path in files:
        try:
            facts = path.stat()
        except OSError as error:
            raise PyadmmError(
                f"picture {path}: cannot be read ({error.strerror}); is it a link to a file that "
                "is gone? Replace it or delete it"
            ) from error
        times = facts.st_mtime_ns, facts.st_ctime_ns
        name = path.relative_to(root)
        sha.update(f"{name}\0{facts.st_ino}\0{facts.st_size}\0{times}\n".encode())
    return sha.hexdigest()[:32]


def picture(
    path: Path, size: int, channels: int = 3, *, most_pixels: int = PIXEL_LIMIT
) -> NDArray[np.uint8]:
    """One picture, ``(channels, size, size)``, turned upright, resized and cropped.

    Greyscale pictures of 16 bits are scaled to 8.

    :raises PyadmmError: where it is damaged, truncated or absurdly large.
    """
    try:
        with Image.open(path) as opened:
            width, height = opened.size
            if width * height > most_pixels:
                raise ValueError(f"it has {width} x {height} pixels")
            upright = eight_bits(ImageOps.exif_transpose(opened), _MODES[channels])
        width, height = upright.size
    except Exception as error:  # decoders raise whatever the damage happens to hit
        raise PyadmmError(
            f"picture {path}: cannot be read ({type(error).__name__}: {error}); replace it or "
            "delete it"
        ) from error
    side = round(size * 8 / 7)
    scale = side / min(width, height)
    whole = max(side, round(width * scale)), max(side, round(height * scale))
    left, top = (whole[0] - size) // 2, (whole[1] - size) // 2
    resized = upright.resize(whole, Image.Resampling.BILINEAR)
    square = resized.crop((left, top, left + size, top + size))
    return np.asarray(square, np.uint8).reshape(size, size, channels).transpose(2, 0, 1)


def eight_bits(opened: Image.Image, mode: str) -> Image.Image:
    """``opened`` in ``mode``, with 8 bits a channel: greyscale pictures of 16 are scaled.

    :raises ValueError: for pixels that are neither of 8 nor of 16 bits.
    """
    if opened.mode == "F":
        raise ValueError("its pixels are floats; save it with 8 or 16 bits")
    if opened.mode in _DEEP:
        pixels = np.asarray(opened).astype(np.int64)
        if int(pixels.min()) < 0 or int(pixels.max()) > _DEEPEST:
            raise ValueError("its pixels have more than 16 bits; save it with 8 or 16")
        opened = Image.fromarray((pixels * 255 // _DEEPEST).astype(np.uint8))
    return opened.convert(mode)
