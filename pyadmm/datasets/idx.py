"""Data sets in IDX files, the format of MNIST: Fashion-MNIST, EMNIST, KMNIST and your own.

The files are told by what their names say (``train`` or ``t10k``/``test``, ``images`` or
``labels``), because mirrors spell them in many ways: ``train-images.idx3-ubyte`` on Kaggle,
``emnist-letters-train-images-idx3-ubyte.gz``, or a folder of the same name around the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.datasets.dataset import DataSet, Encoding, checked_labels
from pyadmm.datasets.fetch import gunzip_bounded, read_bounded

ROLES = ("train images", "train labels", "test images", "test labels")
_NAME = re.compile(
    r"(?P<set>.*?)[-_. ]*(?P<part>train(?:ing)?|t10k|test(?:ing)?|valid(?:ation)?|val)[-_. ]*"
    r"(?P<kind>image|img|label|lbl)s?[-_. ]*(?:idx|ubyte).*",
    re.IGNORECASE,
)
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_LIMIT = 1 << 31
"""Most bytes of one file, unpacked."""
_DEPTH = 2
_REMEDY = "take the set's own files, gzipped or not"

Files = Mapping[str, Path]


def find(named: Path) -> Files:
    """Role → file of the one IDX data set at ``named``; empty where there is none.

    :param named: a folder, or a folder and the first letters of the files' names, such as
        ``emnist/emnist-letters``.
    :raises PyadmmError: where there are several sets, or a set without some of its files.
    """
    folder, prefix = (named, "") if named.is_dir() else (named.parent, named.name.lower())
    if not folder.is_dir():
        return {}
    found: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in _visible(folder, _DEPTH):
        match = _NAME.fullmatch(path.name)
        if match is None or not path.name.lower().startswith(prefix):
            continue
        role = _role(match)
        # A folder may be called like the file that it holds; then the set is the folder above.
        home = path.parent.parent if _NAME.fullmatch(path.parent.name) else path.parent
        files = found.setdefault((home, match["set"].lower()), {})
        if role not in files or _rank(path) < _rank(files[role]):
            files[role] = path
    return _only(found, named)


def _visible(folder: Path, depth: int) -> Iterable[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_file():
            yield path
        elif path.is_dir() and depth:
            yield from _visible(path, depth - 1)


def _role(match: re.Match[str]) -> str:
    part = "train" if match["part"].lower().startswith("train") else "test"
    kind = "images" if match["kind"].lower().startswith("im") else "labels"
    return f"{part} {kind}"


def _rank(path: Path) -> tuple[bool, int, str]:
    """Plain files before gzipped ones, shallow before deep ones."""
    return path.suffix.lower() == ".gz", len(path.parts), path.name


def _only(found: Mapping[tuple[Path, str], dict[str, Path]], named: Path) -> Files:
    whole = {key: files for key, files in found.items() if len(files) == len(ROLES)}
    if len(whole) == 1:
        return next(iter(whole.values()))
    if whole:
        shallow = min(len(home.parts) for home, _ in whole)
        top = [files for (home, _), files in whole.items() if len(home.parts) == shallow]
        if len(top) == 1:
            return top[0]
        names = sorted(str(home / name) for home, name in whole)
        raise PyadmmError(
            f"IDX data {named}: holds several sets; name one of them: --data {names[0]} "
            f"({', '.join(names)})"
        )
    for files in found.values():
        missing = [role for role in ROLES if role not in files]
        raise PyadmmError(
            f"IDX data {named}: {next(iter(files.values())).name} is there, but no file with "
            f"{' and '.join(missing)}; {_REMEDY}"
        )
    return {}


def load(named: Path) -> DataSet:
    """The IDX data set at ``named``.

    :raises PyadmmError: where a file is missing, damaged or of a type that has no bytes.
    """
    files = find(named)
    if not files:
        raise PyadmmError(
            f"IDX data {named}: holds no files such as train-images-idx3-ubyte; {_REMEDY}"
        )
    arrays = {role: read(path) for role, path in files.items()}
    subject = f"IDX data {named}"
    train, test = (_images(arrays[f"{part} images"], subject) for part in ("train", "test"))
    if train.shape[1:] != test.shape[1:]:
        raise PyadmmError(
            f"{subject}: training and test images must have one shape, not {train.shape[1:]} and "
            f"{test.shape[1:]}"
        )
    kinds = {str(arrays[f"{part} images"].dtype) for part in ("train", "test")}
    if len(kinds) > 1:
        raise PyadmmError(
            f"{subject}: training and test images must both be signed or unsigned bytes"
        )
    signed = kinds == {"int8"}
    labels = checked_labels(arrays["train labels"], arrays["test labels"], subject)
    for part, images, classes in (("train", train, labels[0]), ("test", test, labels[1])):
        if len(images) != len(classes):
            raise PyadmmError(f"{subject}: {part}: {len(images)} images, {len(classes)} labels")
    return DataSet(
        train,
        labels[0],
        test,
        labels[1],
        f"IDX files {named}",
        name=named.name or named.resolve().name,
        encoding=Encoding(128, 1 / 128) if signed else None,
        notes=labels[2],
    )


def _images(array: NDArray[np.generic], subject: str) -> NDArray[np.uint8]:
    if array.ndim not in (2, 3, 4) or array.dtype not in (np.uint8, np.int8) or not len(array):
        raise PyadmmError(
            f"{subject}: images must be bytes of shape (N, H, W), not {array.dtype} of shape "
            f"{array.shape}"
        )
    items, *rest = array.shape
    shape = {1: (*rest, 1, 1), 2: (1, *rest), 3: tuple(rest)}[len(rest)]
    images = array.reshape(items, *shape)
    signed = images.dtype == np.int8
    return np.bitwise_xor(images.view(np.uint8), np.uint8(128 if signed else 0))


def read(path: Path) -> NDArray[np.generic]:
    """The array in one IDX file, gzipped or not (told by its first bytes).

    :raises PyadmmError: names the file and the field that is wrong.
    """
    subject = f"IDX file {path}"
    try:
        with path.open("rb") as file:
            data = read_bounded(file, _LIMIT, subject)
    except OSError as error:
        raise PyadmmError(f"{subject}: cannot be read ({error.strerror}); {_REMEDY}") from error
    if data[:2] == b"\x1f\x8b":
        data = gunzip_bounded(data, _LIMIT, subject)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or not 1 <= data[3] <= 4:
        raise PyadmmError(f"{subject}: magic number is not that of an IDX file; {_REMEDY}")
    kind, start = np.dtype(_TYPES[data[2]]), 4 + 4 * data[3]
    sizes = [int.from_bytes(data[place : place + 4], "big") for place in range(4, start, 4)]
    count = math.prod(sizes)
    if len(data) - start != count * kind.itemsize:
        raise PyadmmError(
            f"{subject}: length must be {start + count * kind.itemsize} bytes for its sizes "
            f"{sizes}, not {len(data)}; {_REMEDY}"
        )
    array = np.frombuffer(data, kind, offset=start).reshape(sizes)
    return array.astype(kind.newbyteorder("="))
