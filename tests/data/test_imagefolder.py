"""Folders of pictures: what is read, what is refused, and that the cache is kept honest."""

from __future__ import annotations

import os
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


def test_an_absurdly_large_picture_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "large.png")
    with pytest.raises(PyadmmError, match="it has 20 x 20 pixels"):
        imagefolder.picture(tmp_path / "large.png", 7, most_pixels=100)


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
        (
            _without_validation,
            "has no folder test or .* val or valid or validation; .* folders there are: elsewhere",
        ),
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

    def slow(path: Path, size: int, channels: int) -> np.ndarray:
        reads.append(path)
        time.sleep(0.02)
        return plain(path, size, channels)

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


def _pictures(folder: Path, count: int = 2, ending: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (20, 20), (40 * number, 90, 200)).save(folder / f"{number}.{ending}")


def _small(root: Path, test: str = "test", classes: tuple[str, ...] = ("a", "b")) -> Path:
    for part in ("train", test):
        for name in classes:
            _pictures(root / part / name)
    return root


@pytest.mark.parametrize("test", ["val", "valid", "validation", "testing", "Test", "VAL"])
def test_the_usual_names_of_the_test_folder(tmp_path: Path, test: str) -> None:
    assert len(imagefolder.load(_small(tmp_path / "d", test), 14).test_labels) == 4


def test_a_folder_that_is_not_used_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = _small(tmp_path / "d", "test")
    _pictures(root / "val" / "a", 1)
    found = imagefolder.load(root, 14)
    assert found.notes == ("folder val is not used; the test images are those of test",)
    assert "folder val is not used" in capsys.readouterr().err
    # As in ImageNet, whose test pictures have no classes: then val is the test set.
    imagenet = _small(tmp_path / "imagenet", "val")
    _pictures(imagenet / "test", 3)
    assert len(imagefolder.load(imagenet, 14).test_labels) == 4


def test_hidden_folders_and_those_of_archives_are_ignored(tmp_path: Path) -> None:
    root = _small(tmp_path / "d")
    for hidden in (".ipynb_checkpoints", "__MACOSX"):
        for part in ("", "train", "test", "train/a"):
            _pictures(root / part / hidden, 1)
    (root / "train" / "a" / ".DS_Store").write_bytes(b"0")
    found = imagefolder.load(root, 14)
    assert (found.classes, len(found.train_labels), found.notes) == (("a", "b"), 4, ())


def test_folders_in_folders(tmp_path: Path) -> None:
    root = _small(tmp_path / "unpacked" / "pictures")
    _pictures(root / "train" / "a" / "more" / "and more", 3)
    found = imagefolder.load(tmp_path / "unpacked", 14)
    assert found.train_labels.tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert found.name == "pictures"


def test_skipped_files_are_counted_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = _small(tmp_path / "d")
    for name in ("1.heic", "2.HEIC", "notes.txt"):
        (root / "train" / "b" / name).write_bytes(b"0")
    (root / "test" / "list.csv").write_text("")
    _pictures(root / "train", 1)
    said = imagefolder.load(root, 14).notes[0]
    assert said.startswith("5 files are no known pictures and were skipped: 2 .heic")
    assert "1 .txt" in said
    assert "1 .csv" in said
    assert "1 pictures outside of the class folders of train" in said
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["tif", "TIFF", "gif", "pgm", "JPG"])
def test_pictures_of_every_usual_ending(tmp_path: Path, ending: str) -> None:
    root = _small(tmp_path / "d")
    Image.new("L", (20, 20), 77).save(root / "train" / "a" / f"z.{ending}")
    found = imagefolder.load(root, 14)
    assert found.notes == ()
    assert abs(int(found.train_images[2].mean()) - 77) <= 1


def test_dangling_links_are_named(tmp_path: Path) -> None:
    root = _small(tmp_path / "d")
    (root / "test" / "b" / "gone.jpg").symlink_to("/nowhere/gone.jpg")
    with pytest.raises(PyadmmError, match=r"picture .*test/b/gone\.jpg: cannot be read .* link"):
        imagefolder.load(root, 14)


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((14, 28, 3), np.uint8)
    pixels[:, :14] = 200  # left half bright
    turned = Image.fromarray(pixels)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(tmp_path / "t.png", exif=exif)
    square = imagefolder.picture(tmp_path / "t.png", 14)
    assert square[:, :5].min() > 150
    assert square[:, -5:].max() < 50


def test_deep_grey_pictures_are_scaled(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 14 * 14).reshape(14, 14)
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray((ramp / 257).astype(np.uint8)).save(tmp_path / "flat.png")
    Image.fromarray(ramp.astype(np.uint16)).save(tmp_path / "deep.tif")
    flat = imagefolder.picture(tmp_path / "flat.png", 14, 1).astype(int)
    for name in ("deep.png", "deep.tif"):
        deep = imagefolder.picture(tmp_path / name, 14, 1)
        assert deep.shape == (1, 14, 14)
        assert np.abs(deep - flat).max() <= 1
    Image.fromarray(ramp.astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(PyadmmError, match=r"float\.tif: .* its pixels are floats"):
        imagefolder.picture(tmp_path / "float.tif", 14)
    Image.fromarray((ramp * 1000).astype(np.int32)).save(tmp_path / "wide.tif")
    with pytest.raises(PyadmmError, match=r"wide\.tif: .* more than 16 bits"):
        imagefolder.picture(tmp_path / "wide.tif", 14)


def test_grey_pictures_for_grey_networks(tmp_path: Path) -> None:
    found = datasets.load("imagefolder", _small(tmp_path / "d"), (1, 14, 14))
    assert found.train_images.shape == (4, 1, 14, 14)
    with pytest.raises(PyadmmError, match="1 or 3 channels, not 4"):
        imagefolder.load(tmp_path / "d", 14, 4)


def test_moved_pictures_are_the_same_data_and_a_copy_with_an_old_date_is_not(
    tmp_path: Path,
) -> None:
    root = _small(tmp_path / "d")
    before = datasets.load("imagefolder", root, (3, 14, 14)).digest
    root.rename(tmp_path / "moved")
    moved = tmp_path / "moved"
    assert datasets.load("imagefolder", moved, (3, 14, 14)).digest == before
    assert len(list((tmp_path / "cache" / "imagefolder").glob("*.npy"))) == 2
    picture = moved / "train" / "a" / "0.png"
    facts, size = picture.stat(), picture.stat().st_size
    Image.new("RGB", (20, 20), (1, 91, 199)).save(picture)
    assert picture.stat().st_size == size
    os.utime(picture, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert datasets.load("imagefolder", moved, (3, 14, 14)).digest != before
