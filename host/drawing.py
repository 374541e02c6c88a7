"""Getting a digit into the shape that the network was trained on: from a canvas, a file, a camera.

MNIST's digits are white on black, fit a 20 x 20 box and are centred by their mass in 28 x 28; the
same is done here, for any input size of one channel.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import io
import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CANVAS_PIXELS = 196
_BOX_SHARE = 20 / 28
_INK = 32
_SIZE_LIMIT = 16 << 20


def normalise(ink: NDArray[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A drawing as the network's input.

    :param ink: 2-D, 0 … 255, bright ink on dark ground, any size.
    :param size: ``(H, W)`` of the input.
    :returns: uint8 ``(1, H, W)``; all 0 where there is no ink.
    :raises InputError: if ``ink`` is not 2-D.
    """
    if ink.ndim != 2:
        raise InputError(f"drawing: must have 2 dimensions, not shape {ink.shape}")
    height, width = size
    result = np.zeros((1, height, width), np.uint8)
    rows, columns = np.nonzero(ink >= _INK)
    if not len(rows):
        return result
    crop = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.float64)
    scale = _BOX_SHARE * min(size) / max(crop.shape)
    box = resize(crop, tuple(max(1, round(length * scale)) for length in crop.shape))
    mass = box.sum() or 1.0
    corner = [
        round(length / 2 - float((box.sum(1 - axis) * np.arange(box.shape[axis])).sum() / mass))
        for axis, length in enumerate(size)
    ]
    top = min(max(corner[0], 0), height - box.shape[0])
    left = min(max(corner[1], 0), width - box.shape[1])
    result[0, top : top + box.shape[0], left : left + box.shape[1]] = np.rint(box).astype(np.uint8)
    return result


def resize(image: NDArray[np.float64], size: tuple[int, ...]) -> NDArray[np.float64]:
    """``image`` at another size: every new pixel is the mean of the area that it covers.

    >>> resize(np.array([[0.0, 2.0, 4.0, 6.0]]), (1, 2)).tolist()
    [[1.0, 5.0]]
    """
    for axis, length in enumerate(size):
        image = np.moveaxis(_resize_rows(np.moveaxis(image, axis, 0), length), 0, axis)
    return image


def _resize_rows(image: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Area average along the first axis: differences of the running sum at the new borders."""
    borders = np.linspace(0, len(image), length + 1)
    total = np.concatenate([np.zeros((1, *image.shape[1:])), np.cumsum(image, axis=0)])
    low = np.minimum(borders.astype(int), len(image) - 1)
    part = (borders - low).reshape(-1, *[1] * (image.ndim - 1))
    at_border = total[low] + part * image[low]
    return np.asarray(np.diff(at_border, axis=0) / np.diff(borders)[0])


def read_picture(content: bytes, *, dark_ink: bool = True) -> NDArray[np.uint8]:
    """A picture file as ink, 2-D: photographs of dark ink on paper are turned around.

    :param content: ``.npy`` of uint8, or any format that Pillow reads, where it is installed.
    :raises InputError: if it is no picture.
    """
    if len(content) > _SIZE_LIMIT:
        raise InputError(f"picture: {len(content)} bytes exceed {_SIZE_LIMIT}")
    try:
        if content.startswith(b"\x93NUMPY"):
            grey = np.load(io.BytesIO(content), allow_pickle=False)
        else:
            grey = _open_with_pillow(content)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"picture: cannot be read: {error}") from error
    if grey.ndim != 2 or grey.dtype != np.uint8:
        raise InputError(f"picture: must be uint8 and grey, not {grey.dtype} of shape {grey.shape}")
    if not dark_ink:
        return np.asarray(grey)
    # paper is rarely white: what is as bright as the median is ground
    ground = float(np.median(grey))
    return np.clip((ground - grey.astype(np.float64)) * 255 / max(ground, 1), 0, 255).astype(
        np.uint8
    )


def _open_with_pillow(content: bytes) -> NDArray[np.uint8]:
    pillow = _optional("PIL.Image", "picture: needs Pillow, 'pip install pillow', or an .npy file")
    with pillow.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("L"))


def _optional(module: str, missing: str) -> Any:
    """A module that only some uses need.

    :raises InputError: with the text ``missing`` where it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(missing) from error


def camera_picture(index: int = 0) -> NDArray[np.uint8]:
    """One grey picture, 2-D uint8, from a USB camera.

    :raises InputError: if OpenCV or the camera is missing.
    """
    remedy = "camera: needs OpenCV, 'pip install opencv-python-headless'; or upload a picture"
    cv2 = _optional("cv2", remedy)
    camera = cv2.VideoCapture(index)
    try:
        taken, frame = camera.read()
    finally:
        camera.release()
    if not taken:
        raise InputError(f"camera: number {index} gives no picture; is it plugged in?")
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))


def decode_canvas(text: str) -> NDArray[np.uint8]:
    """The canvas's text, ``{"w":…, "h":…, "ink": base64}``, as 2-D ink.

    :raises InputError: if it is anything else.
    """
    try:
        facts = json.loads(text)
        height, width = int(facts["h"]), int(facts["w"])
        pixels = np.frombuffer(base64.b64decode(facts["ink"], validate=True), np.uint8)
        if min(height, width) < 1 or height * width != len(pixels):
            raise ValueError(f"{len(pixels)} pixels for {height} x {width}")
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise InputError(f"canvas: sent something else than a drawing: {error}") from error
    return pixels.reshape(height, width)


_CANVAS = """
<canvas id="{id}" width="{n}" height="{n}"
 style="border:1px solid #888;background:#000;touch-action:none;cursor:crosshair"></canvas>
<script>
(function () {{
  const canvas = document.getElementById("{id}"), pen = canvas.getContext("2d");
  let last = null;
  function place(e) {{
    const box = canvas.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  }}
  function send(ink) {{
    const field = document.querySelector(".{id} input, .{id} textarea");
    if (!field) return;
    field.value = ink;
    field.dispatchEvent(new Event("input", {{bubbles: true}}));
    field.dispatchEvent(new Event("change", {{bubbles: true}}));
  }}
  function drawn() {{
    const rgba = pen.getImageData(0, 0, canvas.width, canvas.height).data;
    let text = "";
    for (let i = 0; i < rgba.length; i += 4) text += String.fromCharCode(rgba[i]);
    send(JSON.stringify({{w: canvas.width, h: canvas.height, ink: btoa(text)}}));
  }}
  canvas.onpointerdown = e => {{ last = place(e); canvas.setPointerCapture(e.pointerId); }};
  canvas.onpointermove = e => {{
    if (!last) return;
    const next = place(e);
    pen.strokeStyle = "#fff"; pen.lineWidth = {pen}; pen.lineCap = "round";
    pen.beginPath(); pen.moveTo(...last); pen.lineTo(...next); pen.stroke();
    last = next;
  }};
  canvas.onpointerup = () => {{ if (last) {{ last = null; drawn(); }} }};
  canvas.ondblclick = () => {{ pen.clearRect(0, 0, canvas.width, canvas.height); drawn(); }};
}})();
</script>
"""


class DigitCanvas:
    """A canvas to draw on with mouse, pen or finger; a double click clears it.

    The drawing reaches Python through a hidden ipywidgets text field, so that no widget beyond
    ipywidgets needs to be installed.

    :param size: ``(H, W)`` of the network's input.
    :param on_image: called with the normalised uint8 ``(1, H, W)`` after every stroke.
    """

    def __init__(
        self, size: tuple[int, int], on_image: Callable[[NDArray[np.uint8]], None]
    ) -> None:
        ipywidgets = _optional("ipywidgets", "canvas: needs ipywidgets, 'pip install ipywidgets'")
        self._size, self._on_image = size, on_image
        name = f"pyadmm-{uuid.uuid4().hex[:8]}"
        self.html = _CANVAS.format(id=name, n=CANVAS_PIXELS, pen=CANVAS_PIXELS // 12)
        self.field = ipywidgets.Textarea(layout=ipywidgets.Layout(display="none"))
        self.field.add_class(name)
        self.field.observe(self._changed, names="value")

    def _changed(self, change: dict[str, Any]) -> None:
        self._on_image(normalise(decode_canvas(change["new"]), self._size))

    def show(self) -> None:
        """Display the canvas in a notebook."""
        notebook = _optional("IPython.display", "canvas: can only be shown in a notebook")
        notebook.display(self.field, notebook.HTML(self.html))
