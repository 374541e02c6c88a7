"""Folders of pictures: what is read, what is refused, and that the cache is kept honest."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyadmm import datasets
from pyadmm.core.errors import PyadmmError
from pyadmm.datasets import imagefolder
from pyadmm.training.data import Images


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path / "cache"))


def _tree(root: Path, *, size: tuple[int, int] = (30, 20)) -> Path:
    rng = np.random.default_rng(1)
    for part, count in (("train", 3), ("val", 2)):
        for name, colour in (("apple", 0), ("pear", 1)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 60, (size[1], size[0], 3)).astype(np.uint8)
                pixels[..., colour] += 150
                Image.fromarray(pixels).save(folder / f"{number}.png")
            (folder / "notes.txt").write_text("no picture")
    return root


def test_pictures_become_squares_with_labels(tmp_path: Path) -> None:
    found = datasets.load("imagefolder", _tree(tmp_path), (3, 14, 14))
    assert found.train_images.shape == (6, 3, 14, 14)
    assert found.test_images.shape == (4, 3, 14, 14)
    assert found.train_images.dtype == np.uint8
    np.testing.assert_array_equal(found.train_labels, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(found.test_labels, [0, 0, 1, 1])
    brightest = found.train_images.mean((2, 3)).argmax(1)
    np.testing.assert_array_equal(brightest, found.train_labels)
    assert "image folder" in found.source


def test_the_middle_is_what_is_left(tmp_path: Path) -> None:
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:, 16:32] = 200
    Image.fromarray(pixels).save(tmp_path / "p.png")
    square = imagefolder.picture(tmp_path / "p.png", 14)
    assert square.shape == (3, 14, 14)
    assert (square == 200).all()


def test_grey_pictures_and_palettes_are_read_as_colour(tmp_path: Path) -> None:
    Image.fromarray(np.full((9, 9), 77, np.uint8)).save(tmp_path / "grey.png")
    assert (imagefolder.picture(tmp_path / "grey.png", 7) == 77).all()
    Image.new("P", (9, 9), 3).save(tmp_path / "palette.png")
    assert imagefolder.picture(tmp_path / "palette.png", 7).shape == (3, 7, 7)


def test_a_changed_picture_is_read_again(tmp_path: Path) -> None:
    root = _tree(tmp_path)
    before = imagefolder.load(root, 14)
    kept = list((tmp_path / "cache" / "imagefolder").glob("*"))
    assert len(kept) == 2
    again = imagefolder.load(root, 14)
    np.testing.assert_array_equal(before.train_images, again.train_images)
    Image.new("RGB", (20, 20), (1, 2, 3)).save(root / "train" / "pear" / "0.png")
    changed = imagefolder.load(root, 14)
    assert (changed.train_images[3] == np.array([1, 2, 3]).reshape(3, 1, 1)).all()


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    root = _tree(tmp_path)
    file = root / "train" / "pear" / "1.png"
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(PyadmmError, match=r"picture .*pear/1\.png: cannot be read .* replace it"):
        imagefolder.load(root, 14)
    assert not list((tmp_path / "cache" / "imagefolder").glob("*.partial"))


def test_an_absurdly_large_picture_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagefolder, "_PIXEL_LIMIT", 100)
    Image.new("RGB", (20, 20)).save(tmp_path / "large.png")
    with pytest.raises(PyadmmError, match="it has 20 x 20 pixels"):
        imagefolder.picture(tmp_path / "large.png", 7)


def _without_validation(root: Path) -> None:
    (root / "val").rename(root / "elsewhere")


def _other_class(root: Path) -> None:
    (root / "val" / "pear").rename(root / "val" / "plum")


def _empty_class(root: Path) -> None:
    for file in (root / "train" / "apple").glob("*.png"):
        file.unlink()


def _no_classes(root: Path) -> None:
    for part in ("train", "val"):
        (root / part).rename(root / f"old-{part}")
        (root / part).mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_validation, "has no folder val or test"),
        (_other_class, "must have the same classes; only one has pear, plum"),
        (_empty_class, "apple: holds no pictures"),
        (_no_classes, "has no class folders"),
    ],
)
def test_what_is_no_image_folder_is_refused(tmp_path: Path, damage: object, message: str) -> None:
    root = _tree(tmp_path)
    assert callable(damage)
    damage(root)
    with pytest.raises(PyadmmError, match=message):
        imagefolder.load(root, 14)


def test_the_folder_must_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PYADMM_DATA", raising=False)
    with pytest.raises(PyadmmError, match="give --data-dir"):
        imagefolder.load(None, 14)
    with pytest.raises(PyadmmError, match="must be 1 to 1024, not 4096"):
        imagefolder.load(tmp_path, 4096)


def test_shapes_of_data_sets() -> None:
    assert datasets.shape_of("mnist") == (1, 28, 28)
    assert datasets.shape_of("cifar10") == (3, 32, 32)
    assert datasets.shape_of("imagefolder", 96) == (3, 96, 96)
    with pytest.raises(
        PyadmmError, match="'svhn' is unknown; choose one of: mnist, cifar10, image"
    ):
        datasets.shape_of("svhn")
    with pytest.raises(PyadmmError, match="needs an image size"):
        datasets.shape_of("imagefolder")
    with pytest.raises(PyadmmError, match="leave the image size out"):
        datasets.shape_of("mnist", 28)


def test_processes_that_want_the_same_pictures_read_them_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _tree(tmp_path)
    reads: list[Path] = []
    plain = imagefolder.picture

    def slow(path: Path, size: int) -> np.ndarray:
        reads.append(path)
        time.sleep(0.02)
        return plain(path, size)

    monkeypatch.setattr(imagefolder, "picture", slow)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: imagefolder.load(root, 14), range(3)))
    assert sorted(reads) == sorted(set(reads))
    assert len(reads) == 10
    for one in found:
        np.testing.assert_array_equal(one.train_images, found[0].train_images)


def test_mapped_pictures_are_not_copied(tmp_path: Path) -> None:
    found = imagefolder.load(_tree(tmp_path), 14)
    assert isinstance(found.train_images, np.memmap)
    images = Images.from_numpy(found.train_images, found.train_labels)
    assert images.pool.data_ptr() == found.train_images.ctypes.data
    part = images.take(torch.tensor([4, 1])).take(torch.tensor([1]))
    assert part.pool.data_ptr() == images.pool.data_ptr()
    np.testing.assert_array_equal(part.images[0].numpy(), found.train_images[1])
    assert part.labels.tolist() == [0]
    assert part.digest == Images(images.pool[1:2].clone(), images.labels[1:2]).digest


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    root = _tree(tmp_path)
    (tmp_path / "cache").write_text("a file where a folder must be")
    with pytest.raises(PyadmmError, match="cannot write the cache"):
        imagefolder.load(root, 14)


def test_a_truncated_cache_is_named(tmp_path: Path) -> None:
    root = _tree(tmp_path)
    imagefolder.load(root, 14)
    for kept in (tmp_path / "cache" / "imagefolder").glob("*.npy"):
        kept.write_bytes(kept.read_bytes()[:200])
    with pytest.raises(PyadmmError, match=r"cache file .*\.npy cannot be read .*; delete it"):
        imagefolder.load(root, 14)
