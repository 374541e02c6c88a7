"""Drawings and photographs become what the network was trained on."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from numpy.typing import NDArray

from host.drawing import decode_canvas, normalise, read_picture, resize
from host.errors import InputError


def stroke(height: int = 100, width: int = 20) -> NDArray[np.uint8]:
    ink = np.zeros((196, 196), np.uint8)
    ink[10 : 10 + height, 150 : 150 + width] = 255
    return ink


def test_a_stroke_is_scaled_to_20_of_28_and_centred() -> None:
    image = normalise(stroke(), (28, 28))
    assert image.shape == (1, 28, 28)
    assert image.dtype == np.uint8
    rows, columns = np.nonzero(image[0])
    assert rows.max() - rows.min() + 1 == 20
    assert columns.max() - columns.min() + 1 == 4
    assert abs(rows.mean() - 13.5) <= 1
    assert abs(columns.mean() - 13.5) <= 1


@pytest.mark.parametrize("size", [(9, 7), (28, 28), (32, 16)])
def test_any_input_size_and_any_drawing_fit(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        ink = np.zeros((rng.integers(1, 60), rng.integers(1, 60)), np.uint8)
        ink[rng.integers(0, ink.shape[0]) :, rng.integers(0, ink.shape[1]) :] = 200
        image = normalise(ink, size)
        assert image.shape == (1, *size)
        assert image.max() > 0


def test_no_ink_is_a_black_image() -> None:
    assert not normalise(np.zeros((50, 50), np.uint8), (28, 28)).any()


def test_resizing_keeps_the_mean() -> None:
    image = np.random.default_rng(1).random((37, 23))
    for size in ((10, 7), (37, 23), (50, 40)):
        result = resize(image, size)
        assert result.shape == size
        assert result.mean() == pytest.approx(image.mean())


def npy(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_a_photograph_of_dark_ink_on_grey_paper_gives_the_same_digit() -> None:
    paper = np.where(stroke() > 0, 20, 180).astype(np.uint8)
    read = normalise(read_picture(npy(paper)), (28, 28))
    drawn = normalise(stroke(), (28, 28))
    np.testing.assert_array_equal(read > 100, drawn > 100)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "picture"),
        (b"no picture", "picture"),
        (npy(np.zeros((4, 4), np.float32)), "must be uint8 and grey, not float32"),
        (npy(np.zeros((4, 4, 3), np.uint8)), "of shape"),
        (npy(np.zeros((4, 4), np.uint8))[:-3], "cannot be read"),
    ],
)
def test_what_is_no_picture_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_picture(content)


def test_the_canvas_sends_its_pixels() -> None:
    ink = stroke()
    text = json.dumps({"w": 196, "h": 196, "ink": base64.b64encode(ink.tobytes()).decode()})
    np.testing.assert_array_equal(decode_canvas(text), ink)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"w": 2, "h": 2, "ink": "AA=="}', '{"w": -1, "h": -1, "ink": "AA=="}', "[]"]
)
def test_what_is_no_drawing_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="canvas: sent something else"):
        decode_canvas(text)
