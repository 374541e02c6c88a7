"""One's own data in a ``.npz`` file: what the bytes mean, what is refused, what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.datasets import Encoding, arrays, load_own, load_test
from pyadmm.training.data import Data, Images

LABELS = np.arange(12) % 3


def write(path: Path, x: np.ndarray, y: np.ndarray = LABELS, **more: Any) -> Path:
    np.savez(path, x_train=x, y_train=y, x_test=x[:6], y_test=y[:6], **more)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.npz"


def draw(*shape: int, lo: int = 0, hi: int = 256, kind: str = "u1") -> np.ndarray:
    return np.random.default_rng(3).integers(lo, hi, shape).astype(kind)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((12, 2, 5, 9), (2, 5, 9)),
        ((12, 5, 9), (1, 5, 9)),
        ((12, 40), (40, 1, 1)),
        ((12, 3, 3, 3), (3, 3, 3)),
        ((12, 6, 100, 1), (6, 100, 1)),
    ],
)
def test_bytes_of_any_shape(
    file: Path, shape: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    x = draw(*shape)
    found = arrays.load(write(file, x))
    assert found.shape == expected
    np.testing.assert_array_equal(found.train_images.reshape(shape), x)
    np.testing.assert_array_equal(found.test_labels, LABELS[:6])
    assert (found.name, found.encoding, found.notes) == ("mine", None, ())


def test_channels_at_the_end_come_to_the_front_and_it_is_said(file: Path) -> None:
    x = draw(12, 8, 8, 3)
    found = arrays.load(write(file, x))
    np.testing.assert_array_equal(found.train_images, x.transpose(0, 3, 1, 2))
    assert "(N, H, W, C)" in found.notes[0]


def test_signed_bytes_are_bytes_with_offset_128(file: Path) -> None:
    x = draw(12, 1, 4, 4, lo=-128, hi=128, kind="i1")
    found = arrays.load(write(file, x))
    assert found.encoding == Encoding(128, 1 / 128)
    np.testing.assert_array_equal(found.train_images.astype(int) - 128, x)
    assert arrays.load(write(file, x, scale=0.5)).encoding == Encoding(128, 0.5)


def test_floats_with_a_stated_step(file: Path) -> None:
    codes = draw(12, 1, 4, 4, lo=-128, hi=128, kind="i1")
    noise = np.random.default_rng(0).uniform(-0.4, 0.4, codes.shape)
    found = arrays.load(write(file, 0.05 * (codes + noise), scale=0.05, name="windows"))
    assert found.encoding == Encoding(128, 0.05)
    np.testing.assert_array_equal(found.train_images.astype(int) - 128, codes)
    assert found.name == "windows"
    assert "steps of 0.05" in found.notes[0]
    positive = arrays.load(write(file, draw(12, 4, 4) * 0.25, scale=0.25))
    assert positive.encoding == Encoding(0, 0.25)


def test_floats_that_are_bytes_need_no_step(file: Path) -> None:
    x = draw(12, 4, 4)
    found = arrays.load(write(file, (x / 255).astype(np.float32)))
    np.testing.assert_array_equal(found.train_images[:, 0], x)
    assert found.encoding is None


def test_whole_numbers_of_other_types(file: Path) -> None:
    x = draw(12, 4, 4, kind="i8")
    np.testing.assert_array_equal(arrays.load(write(file, x)).train_images[:, 0], x)


def test_medmnist_names_and_columns_of_labels(file: Path) -> None:
    x = draw(12, 28, 28)
    np.savez(
        file,
        train_images=x,
        train_labels=LABELS[:, None],
        test_images=x,
        test_labels=LABELS[:, None],
    )
    np.testing.assert_array_equal(arrays.load(file).train_labels, LABELS)


def test_labels_from_1_are_counted_from_0_and_it_is_said(file: Path) -> None:
    found = arrays.load(write(file, draw(12, 4, 4), LABELS + 1.0))
    np.testing.assert_array_equal(found.train_labels, LABELS)
    assert found.notes == ("labels 1 to 3 are counted from 0",)


X = draw(12, 4, 4)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X / 255 * 3, LABELS, r"floats need their step: add scale .* scale=0\.01\d+ would hold"),
        (X * 1.0 - 90, LABELS, "floats need their step"),
        (X.astype(int) * 2, LABELS, "of 192 values lie outside .* make them bytes, or give floats"),
        (X.astype(float), LABELS, "floats need their step: .* scale=[01][.0-9]* would hold all"),
        (X * np.nan, LABELS, "x_train: 192 of 192 values are not finite .*; replace them"),
        (X.astype(complex), LABELS, "must be numbers, not complex"),
        (X.astype(str), LABELS, "must be numbers"),
        (X[:, 0, 0], LABELS, r"must be of shape \(N, C, H, W\)"),
        (X, LABELS[:9], "x_train has 12 images, but y_train 9 labels"),
        (X, np.eye(12), r"one whole number per image.* labels\.argmax\(1\)"),
        (X, LABELS + 0.5, "must be whole numbers, .*; give class numbers"),
        (X, LABELS - 1, "must be 0 or more, not -1; count the classes from 0"),
        (X, LABELS.astype(str), r"not <U.* of shape \(12,\); .*return_inverse=True"),
        (X, LABELS.astype(object), "arrays of Python objects, .*numbers"),
        (X[:0], LABELS[:0], r"x_train: holds no images, its shape is \(0"),
        (X, LABELS + 10**9, "must be class numbers"),
    ],
)
def test_what_is_refused(file: Path, x: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(PyadmmError, match=message):
        arrays.load(write(file, x, y))


def test_values_outside_of_the_stated_step_name_one_that_holds_them(file: Path) -> None:
    x = np.linspace(-3, 3, 12 * 4).reshape(12, 2, 2)
    with pytest.raises(PyadmmError, match=r"lie outside .* scale 0\.023\d+ would hold all"):
        arrays.load(write(file, x, scale=0.01))


@pytest.mark.parametrize("scale", [0, -1, float("nan"), [1, 2], "a"])
def test_a_bad_step_is_refused(file: Path, scale: object) -> None:
    with pytest.raises(PyadmmError, match="scale must be one positive number"):
        arrays.load(write(file, X, scale=scale))


def test_files_that_are_none(file: Path) -> None:
    with pytest.raises(PyadmmError, match="No such file"):
        arrays.load(file)
    np.savez(file, x_train=X, y_train=LABELS, images=X)
    with pytest.raises(PyadmmError, match="no array x_test, only images, x_train, y_train"):
        arrays.load(file)
    np.savez(file, x_train=np.array([{}], object))
    with pytest.raises(PyadmmError, match="arrays of Python objects"):
        arrays.load(file)
    file.write_bytes(b"PK\3\4 and so on")
    with pytest.raises(PyadmmError, match="mine.npz: is damaged or incomplete .*; get or write it"):
        arrays.load(file)
    file.write_bytes(b"hello")
    with pytest.raises(PyadmmError, match="mine.npz: is no .npz file; write it by numpy.savez"):
        arrays.load(file)
    with file.open("wb") as single:
        np.save(single, X)
    with pytest.raises(PyadmmError, match="is one array, as numpy.save writes it"):
        arrays.load(file)


def test_the_place_is_named_once(file: Path, tmp_path: Path) -> None:
    with pytest.raises(PyadmmError, match="leave --data-dir out"):
        load_own(str(write(file, X)), tmp_path)


def test_a_handful_of_images_is_too_few_to_choose_on(file: Path) -> None:
    found = arrays.load(write(file, X[:11], LABELS[:11]))
    with pytest.raises(PyadmmError, match="11 training images are too few: .* give 12 or more"):
        Data.split(Images.from_numpy(found.train_images, found.train_labels))


def test_damaged_files_never_crash(file: Path) -> None:
    whole = write(file, X, scale=1.0).read_bytes()
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(damaged), 6):
            damaged[place] = rng.integers(0, 256)
        file.write_bytes(bytes(damaged[: rng.integers(1, len(damaged) + 1)]))
        try:
            assert load_own(str(file)) is not None
        except PyadmmError:
            refused += 1
    assert refused > 30


def test_the_digest_is_of_the_content(file: Path, tmp_path: Path) -> None:
    first = arrays.load(write(file, X)).digest
    assert arrays.load(write(tmp_path / "other.npz", X)).digest == first
    changed = X.copy()
    changed[11, 3, 3] ^= 1
    assert arrays.load(write(file, changed)).digest != first
    assert arrays.load(write(file, X, (LABELS + 1) % 3)).digest != first
    assert arrays.load(write(file, X, scale=0.5)).digest != first


def test_images_without_training_ones_and_without_labels(tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    x = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)
    np.savez(path, images=x)
    found = load_test(str(path), None, (4, 1, 1))
    assert found.labels is None
    assert found.encoding == Encoding(128, 1 / 128)
    np.testing.assert_array_equal(found.images[..., 0, 0], x.astype(int) + 128)
    np.savez(path, x=x, y=np.arange(3))
    with pytest.raises(PyadmmError, match="x has 4 images, but y 3 labels"):
        load_test(str(path), None, (4, 1, 1))
    np.savez(path, z=x)
    with pytest.raises(PyadmmError, match="no array x_test or x, only z"):
        load_test(str(path), None, (4, 1, 1))


@pytest.mark.parametrize("shape", [(12, 9, 11, 3), (12, 9, 11, 4), (12, 6, 6, 4)])
def test_channels_of_oblong_and_transparent_pictures_come_to_the_front(
    file: Path, shape: tuple[int, ...]
) -> None:
    found = arrays.load(write(file, draw(*shape), LABELS))
    assert found.train_images.shape == (12, shape[3], shape[1], shape[2])
    assert "(N, H, W, C)" in found.notes[0]


def test_floats_of_16_bits_and_yes_or_no_labels(file: Path) -> None:
    exact = draw(12, 4, 4)
    found = arrays.load(write(file, (exact / 255).astype(np.float16), LABELS > 0))
    np.testing.assert_array_equal(found.train_images, exact[:, None])
    assert set(found.train_labels.tolist()) == {0, 1}


def test_classes_without_training_images_are_named(file: Path) -> None:
    odd = np.where(LABELS == 1, 5, LABELS)
    (said,) = arrays.load(write(file, X, odd)).notes
    assert said == "3 of 6 classes have no training images: 1, 3, 4"
    (said,) = arrays.load(write(file, X, LABELS * 0)).notes
    assert "nothing to tell apart" in said


@pytest.mark.parametrize(
    ("stored", "shape"),
    [((2, 32), (2, 1, 32)), ((32, 2), (2, 1, 32)), ((32,), (1, 1, 32)), ((1, 6), (6, 1, 1))],
)
def test_lines_and_vectors_are_read_as_the_network_reads_them(
    file: Path, stored: tuple[int, ...], shape: tuple[int, int, int]
) -> None:
    x = draw(12, *stored)
    data = arrays.load(write(file, x))
    read = data.read_as(shape)
    assert read.shape == shape
    wanted = x.swapaxes(1, 2) if stored == (32, 2) else x
    np.testing.assert_array_equal(read.test_images, wanted[:6].reshape(6, *shape))
    assert data.read_as((3, 1, 32)) is data


def test_pictures_are_not_taken_for_lines(file: Path) -> None:
    data = arrays.load(write(file, draw(12, 8, 8)))
    assert data.read_as((1, 8, 8)) is data
    assert data.read_as((2, 4, 8)) is data
