"""The CIFAR-10 loader: both forms, and files that are damaged or hostile."""

from __future__ import annotations

import io
import lzma
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.datasets import cifar10, fetch

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
ROWS = 20


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> np.ndarray:
    """The loader for 6 batches of 20 images that it takes for the official ones; their pixels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, ROWS, 3, 32, 32), np.uint8)
    monkeypatch.setattr(cifar10, "PER_BATCH", ROWS)
    labels = labels_of()
    for name, part in (("TRAIN_SHA256", slice(5)), ("TEST_SHA256", slice(5, 6))):
        digest = fetch.sha256(pixels[part].tobytes() + labels[part].tobytes())
        monkeypatch.setattr(cifar10, name, digest)
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PYADMM_DATA", raising=False)
    return pixels


def labels_of() -> np.ndarray:
    return (np.arange(6 * ROWS, dtype=np.uint8) % 10).reshape(6, ROWS)


def batch(pixels: np.ndarray, labels: np.ndarray) -> dict[bytes, Any]:
    return {b"data": pixels.reshape(ROWS, 3072), b"labels": [int(label) for label in labels]}


def write_batches(folder: Path, pixels: np.ndarray, protocol: int = 2) -> Path:
    folder.mkdir(parents=True)
    for name, part, labels in zip(cifar10._BATCHES, pixels, labels_of(), strict=True):
        (folder / name).write_bytes(pickle.dumps(batch(part, labels), protocol))
    return folder


def pack(pixels: np.ndarray) -> np.ndarray:
    """Residuals of images, by the definition of the prediction, pixel by pixel."""
    red, green, blue = pixels.transpose(1, 0, 2, 3).astype(int)
    planes = np.stack([green, (red - green) & 255, (blue - green) & 255])
    result = np.zeros(planes.shape, np.uint8)
    for i in range(32):
        for j in range(32):
            left = planes[..., i, j - 1] if j else 0
            up = planes[..., i - 1, j] if i else 0
            corner = planes[..., i - 1, j - 1] if i and j else None
            if corner is None:
                guess = left if i == 0 else up
            else:
                guess = np.median([left, up, left + up - corner], axis=0).astype(int)
            result[..., i, j] = (planes[..., i, j] - guess) & 255
    return result


def write_packed(folder: Path, pixels: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for name, part in zip(cifar10._PACKED, pixels, strict=True):
        (folder / f"{name}.xz").write_bytes(lzma.compress(pack(part).tobytes(), preset=0))
    labels = labels_of().reshape(-1)
    np.savez(folder / "labels.npz", y_train=labels[: 5 * ROWS], y_test=labels[5 * ROWS :])
    return folder


def check(data: cifar10.Cifar10, pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(data.train_images, pixels[:5].reshape(-1, 3, 32, 32))
    np.testing.assert_array_equal(data.test_images, pixels[5])
    np.testing.assert_array_equal(data.train_labels, labels_of()[:5].reshape(-1))
    np.testing.assert_array_equal(data.test_labels, labels_of()[5])
    assert data.test_labels.dtype == np.int64


def test_real_cifar10() -> None:
    """The real test set in its packed form (all six parts take a quarter of a minute)."""
    folder = Path(os.environ.get("PYADMM_DATA") or SHARED) / "cifar10"
    if not (folder / "test.xz").is_file():
        pytest.skip(f"real CIFAR-10 is not here: no {folder / 'test.xz'}")
    images = cifar10.read_packed(folder / "test.xz")
    labels = cifar10.packed_labels(folder)[5]
    assert images.shape == (10000, 3, 32, 32)
    assert fetch.sha256(images.tobytes() + labels.tobytes()) == cifar10.TEST_SHA256
    assert np.bincount(labels).tolist() == [1000] * 10


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("inside", ["", "cifar-10-batches-py", "cifar10"])
def test_official_batches(small: np.ndarray, tmp_path: Path, inside: str, protocol: int) -> None:
    write_batches(tmp_path / "d" / inside, small, protocol)
    check(cifar10.load(tmp_path / "d"), small)


def test_fortran_order_and_python_2(small: np.ndarray, tmp_path: Path) -> None:
    """The official files name ``numpy.core``; some unpacked ones hold arrays in Fortran order."""
    folder = write_batches(tmp_path / "d", small)
    for name, part, labels in zip(cifar10._BATCHES, small, labels_of(), strict=True):
        made = batch(part, labels)
        made[b"data"] = np.asfortranarray(made[b"data"])
        old = pickle.dumps(made, 2).replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")
        (folder / name).write_bytes(old)
    check(cifar10.load(folder), small)


def test_packed_form_and_its_cache(
    small: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PYADMM_DATA", str(write_packed(tmp_path / "d" / "cifar10", small)))
    check(cifar10.load(), small)
    kept = tmp_path / "cache" / "cifar10" / "pixels"
    assert kept.read_bytes() == small.tobytes()
    with monkeypatch.context() as patch:
        patch.setattr(cifar10, "unpack", None)
        check(cifar10.load(), small)
    kept.write_bytes(bytes(kept.stat().st_size))
    check(cifar10.load(), small)
    assert "decoded again" in capsys.readouterr().err


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch owned",))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pickle.dumps({b"data": Hostile()}), "asks for (posix|nt).system"),
        (pickle.dumps({b"data": b"x", b"labels": []}), "field data is missing"),
        (pickle.dumps([1, 2]), "field data is missing"),
        (
            pickle.dumps({b"data": np.zeros((ROWS, 3072), np.int8), b"labels": []}),
            "not of type uint8",
        ),
        (pickle.dumps({b"data": np.zeros((ROWS, 9), np.uint8)}), "has shape"),
        (pickle.dumps(batch(np.zeros((ROWS, 3072), np.uint8), np.full(ROWS, 10))), "hold 0 to 9"),
        (pickle.dumps(batch(np.zeros((ROWS, 3072), np.uint8), np.zeros(3))), "no list of 20"),
        (pickle.dumps(batch(np.zeros((ROWS, 3072), np.uint8), np.zeros(ROWS))), "sha256"),
        (b"\x80\x02r\xff\xff\xff\x7f.", "damaged or truncated"),
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x00", "damaged or truncated"),
        (b"", "damaged or truncated"),
        (b"x" * (4 * ROWS * 3072 + 1), "holds more than"),
    ],
)
def test_bad_batches(
    small: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_batches(tmp_path / "d", small)
    (folder / "data_batch_3").write_bytes(content)
    with pytest.raises(PyadmmError, match=reason):
        cifar10.load(folder)
    assert not (tmp_path / "owned").exists()


def test_truncated_batches(small: np.ndarray, tmp_path: Path) -> None:
    folder = write_batches(tmp_path / "d", small)
    whole = (folder / "test_batch").read_bytes()
    for length in range(0, len(whole) - 1, 997):
        (folder / "test_batch").write_bytes(whole[:length])
        with pytest.raises(PyadmmError, match=r"test_batch.*damaged or truncated"):
            cifar10.load(folder)
    (folder / "test_batch").unlink()
    with pytest.raises(PyadmmError, match=r"test_batch: cannot be read"):
        cifar10.load(folder)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("train2.xz", b"no xz", "damaged or truncated"),
        ("train2.xz", lzma.compress(bytes(ROWS * 3072 - 1)), "bytes, not 61440"),
        ("train2.xz", lzma.compress(bytes(1 << 26)), "bytes, not 61440"),
        ("train2.xz", lzma.compress(bytes(ROWS * 3072)), "sha256"),
        ("labels.npz", b"PK", "damaged or truncated"),
        ("labels.npz", bytes(1 << 18), "holds more than"),
    ],
)
def test_bad_packed_files(
    small: np.ndarray, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    folder = write_packed(tmp_path / "d", small)
    (folder / name).write_bytes(content)
    with pytest.raises(PyadmmError, match=reason):
        cifar10.load(folder)


def test_pickled_labels_are_not_read(small: np.ndarray, tmp_path: Path) -> None:
    folder = write_packed(tmp_path / "d", small)
    out = io.BytesIO()
    np.savez(out, y_train=np.array([Hostile()], object), y_test=np.zeros(1))
    (folder / "labels.npz").write_bytes(out.getvalue())
    with pytest.raises(PyadmmError, match="labels.npz: is damaged"):
        cifar10.load(folder)


def test_no_folder(small: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(PyadmmError, match="no folder is named"):
        cifar10.load()
    with pytest.raises(PyadmmError, match="holds no data_batch_1"):
        cifar10.load(tmp_path)
