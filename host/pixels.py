"""Images as the input integers of the network, and as the bytes of the input stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .manifest import DataflowManifest, InputFact

if TYPE_CHECKING:
    from numpy.typing import NDArray


def input_integers(images: NDArray[Any], entry: InputFact) -> NDArray[np.int64]:
    """``clamp((byte - offset[c]) >> shift, lo, hi)`` of ``images`` ``(N, C, H, W)``.

    :param images: of the model's type; :meth:`InputFact.stream_bytes` makes bytes of them.
    """
    offset = np.array(entry.offset, np.int64).reshape(1, -1, 1, 1)
    x = (entry.stream_bytes(images).astype(np.int64) - offset) >> entry.shift
    return np.clip(x, entry.lo, entry.hi)


def input_table(entry: InputFact) -> NDArray[np.int64]:
    """The integers of all 256 bytes ``(1 or C, 256)``, as a lookup is faster than arithmetic.

    Rows are of channels, columns of the pixels' bytes before :meth:`InputFact.stream_bytes`.
    """
    values = np.arange(256, dtype=np.uint8).view(entry.dtype).reshape(1, 1, 256, 1)
    return input_integers(np.repeat(values, len(entry.offset), axis=1), entry)[0, :, :, 0]


def look_up(images: NDArray[Any], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The table's entries for ``images`` ``(N, C, H, W)``."""
    pixels = images.view(np.uint8)
    found = [table[c % len(table)][pixels[:, c]] for c in range(images.shape[1])]
    return np.stack(found, axis=1)


def fill_stream(
    images: NDArray[Any], manifest: DataflowManifest, entry: InputFact, stream: NDArray[np.uint8]
) -> None:
    """Write ``images`` into the ``stream`` ``(N, bytes of an image)``, zeros behind each image.

    A packed stream takes the network's integers, ``pixel_bits`` each, the first in the low bits;
    otherwise the accelerator converts bytes itself.
    """
    count = len(images)
    if manifest.packed:
        share = 8 // manifest.pixel_bits
        table = (input_table(entry) & ((1 << manifest.pixel_bits) - 1)).astype(np.uint8)
        integers = look_up(images, table).reshape(count, -1)
        fields = np.pad(integers, ((0, 0), (0, -integers.shape[1] % share)))
        fields = fields.reshape(count, -1, share)
        flat = fields[:, :, 0].copy()
        for place in range(1, share):
            flat |= fields[:, :, place] << np.uint8(place * manifest.pixel_bits)
    else:
        flat = entry.stream_bytes(images).reshape(count, -1)
    stream[:, : flat.shape[1]] = flat
    stream[:, flat.shape[1] :] = 0
