"""Images as the input integers of the network, and as the bytes of the input stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .manifest import Manifest

if TYPE_CHECKING:
    from numpy.typing import NDArray


def input_integers(images: NDArray[Any], manifest: Manifest) -> NDArray[np.int64]:
    """``clamp((byte - offset[c]) >> shift, lo, hi)`` of ``images`` ``(N, C, H, W)``.

    :param images: of the manifest's type; :meth:`Manifest.stream_bytes` makes bytes of them.
    """
    offset = np.array(manifest.input_offset, np.int64).reshape(1, -1, 1, 1)
    x = (manifest.stream_bytes(images).astype(np.int64) - offset) >> manifest.input_shift
    return np.clip(x, manifest.input_lo, manifest.input_hi)


def fill_stream(images: NDArray[Any], manifest: Manifest, stream: NDArray[np.uint8]) -> None:
    """Write ``images`` into the ``stream`` ``(N, bytes of an image)``, zeros behind each image.

    A packed stream takes the network's integers, ``pixel_bits`` each, the first in the low bits;
    otherwise the accelerator converts bytes itself.
    """
    count = len(images)
    if manifest.packed:
        share = 8 // manifest.pixel_bits
        integers = _integers_by_table(images, manifest).reshape(count, -1)
        fields = np.pad(integers, ((0, 0), (0, -integers.shape[1] % share)))
        fields = fields.reshape(count, -1, share)
        flat = fields[:, :, 0].copy()
        for place in range(1, share):
            flat |= fields[:, :, place] << np.uint8(place * manifest.pixel_bits)
    else:
        flat = manifest.stream_bytes(images).reshape(count, -1)
    stream[:, : flat.shape[1]] = flat
    stream[:, flat.shape[1] :] = 0


def _integers_by_table(images: NDArray[Any], manifest: Manifest) -> NDArray[np.uint8]:
    """The low ``pixel_bits`` of all integers: looked up, as a pixel has only 256 values."""
    channels = len(manifest.input_offset)
    values = np.arange(256, dtype=np.uint8).astype(images.dtype).reshape(1, 1, 256, 1)
    table = input_integers(np.repeat(values, channels, axis=1), manifest)[0, :, :, 0]
    table = (table & ((1 << manifest.pixel_bits) - 1)).astype(np.uint8)
    pixels = images.view(np.uint8)
    found = [table[c % channels][pixels[:, c]] for c in range(images.shape[1])]
    return np.stack(found, axis=1)
