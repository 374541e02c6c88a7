"""IDX data sets with the names that mirrors and archives give their files."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.datasets import Encoding, idx, load_own, own_instead_of_mnist

KINDS = {"u1": 8, "i1": 9, "i4": 12, "f4": 13}
OFFICIAL = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes((0, 0, KINDS[array.dtype.str[1:]], array.ndim))
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def contents(kind: str = "u1", first_label: int = 0) -> list[bytes]:
    rng = np.random.default_rng(7)
    lo = -128 if kind == "i1" else 0
    made = []
    for count in (20, 10):
        made.append(rng.integers(lo, lo + 256, (count, 6, 5)).astype(kind))
        made.append((np.arange(count) % 4 + first_label).astype("u1"))
    return [idx_bytes(array) for array in made]


def write(folder: Path, names: tuple[str, ...], files: list[bytes]) -> Path:
    for name, data in zip(names, files, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


NAMES = {
    "official": OFFICIAL,
    "gzipped": tuple(f"{name}.gz" for name in OFFICIAL),
    "Kaggle": tuple(name.replace("-idx", ".idx") for name in OFFICIAL),
    "folders": tuple(f"{name}/{name}" for name in OFFICIAL),
    "raw": tuple(f"FashionMNIST/raw/{name}" for name in OFFICIAL),
    "EMNIST": tuple(f"gzip/emnist-letters-{name.replace('t10k', 'test')}.gz" for name in OFFICIAL),
    "upper": tuple(name.upper() for name in OFFICIAL),
    "underlined": tuple(name.replace("-", "_") for name in OFFICIAL),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_files_are_found_however_they_are_spelt(tmp_path: Path, names: tuple[str, ...]) -> None:
    files = contents()
    found = load_own(str(write(tmp_path / "clothes", names, files)))
    assert found is not None
    assert found.shape == (1, 6, 5)
    assert found.train_images.tobytes() == files[0][16:]
    assert found.test_labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert (found.name, found.encoding, found.notes) == ("clothes", None, ())


def test_the_plain_file_comes_before_its_packed_copy(tmp_path: Path) -> None:
    write(tmp_path, OFFICIAL, contents())
    write(tmp_path, NAMES["gzipped"], [b"damaged"] * 4)
    assert idx.load(tmp_path).shape == (1, 6, 5)


def test_one_of_several_sets_is_named_by_its_first_letters(tmp_path: Path) -> None:
    for number, split in enumerate(("emnist-balanced", "emnist-letters")):
        names = tuple(f"{split}-{name}" for name in OFFICIAL)
        write(tmp_path, names, contents(first_label=number))
    with pytest.raises(PyadmmError, match=r"several sets; name one .*emnist-balanced.*letters"):
        load_own(str(tmp_path))
    found = load_own(str(tmp_path / "emnist-letters"))
    assert found is not None
    assert (found.name, found.notes) == ("emnist-letters", ("labels 1 to 4 are counted from 0",))
    assert found.train_labels.max() == 3


def test_signed_bytes(tmp_path: Path) -> None:
    files = contents("i1")
    found = idx.load(write(tmp_path, OFFICIAL, files))
    assert found.encoding == Encoding(128, 1 / 128)
    signed = np.frombuffer(files[0], "i1", offset=16).astype(int)
    np.testing.assert_array_equal(found.train_images.ravel().astype(int) - 128, signed)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    write(tmp_path, OFFICIAL, contents())
    (tmp_path / OFFICIAL[3]).rename(tmp_path / "elsewhere")
    with pytest.raises(PyadmmError, match="but no file with test labels"):
        idx.load(tmp_path)
    write(tmp_path, OFFICIAL, contents("f4"))
    with pytest.raises(PyadmmError, match="must be bytes of shape .N, H, W., not float32"):
        idx.load(tmp_path)
    files = contents()
    for data, words in (
        (files[1][:-3], "length must be 28 bytes .* not 25"),
        (b"PNG" + files[1], "magic number is not that of an IDX file"),
        (b"", "magic number"),
        (files[1][:6], "length must be"),
        (contents()[3], "20 images, 10 labels"),
    ):
        write(tmp_path, OFFICIAL, [files[0], data, *files[2:]])
        with pytest.raises(PyadmmError, match=words):
            idx.load(tmp_path)


def test_a_folder_without_such_files_is_unknown_data(tmp_path: Path) -> None:
    with pytest.raises(PyadmmError, match=r"is unknown; choose one of: mnist, .* or give a FILE"):
        load_own(str(tmp_path))
    with pytest.raises(PyadmmError, match="holds no files such as train-images-idx3-ubyte"):
        load_own("idx", tmp_path)


def test_fashion_mnist_in_mnists_files_is_no_mnist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYADMM_DATA", raising=False)
    assert own_instead_of_mnist(None) is None
    folder = write(tmp_path / "fashion", OFFICIAL, contents())
    assert own_instead_of_mnist(folder) == str(folder)
    monkeypatch.setenv("PYADMM_DATA", str(folder))
    assert own_instead_of_mnist(None) == str(folder)
    (folder / OFFICIAL[0]).write_bytes(b"damaged")  # MNIST's loader says what is wrong with it
    assert own_instead_of_mnist(folder) is None
