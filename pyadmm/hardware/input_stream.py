"""Images as the bytes of an accelerator's input stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.plan import AcceleratorPlan


def stream_bytes(images: NDArray[np.uint8], plan: AcceleratorPlan) -> NDArray[np.uint8]:
    """Bytes ``(N, image_bytes)`` of uint8 ``images`` ``(N, C, H, W)`` on the input stream.

    Pixels in row-major order: bytes as they are, or packed integers, the first in the low bits.

    :raises PyadmmError: for images of another type or shape.
    """
    if images.dtype != np.uint8 or images.shape[1:] != plan.input.shape:
        raise PyadmmError(
            f"images must be uint8 (N, {', '.join(map(str, plan.input.shape))}), "
            f"not {images.dtype} {images.shape}"
        )
    pixels = plan.input.quantize(images) if plan.stream.packed else images
    flat = pixels.reshape(len(images), -1).astype(np.int64)
    share = 8 // plan.pixel_bits
    flat = np.pad(flat, ((0, 0), (0, plan.image_bytes * share - flat.shape[1])))
    fields = flat.reshape(len(images), plan.image_bytes, share) & ((1 << plan.pixel_bits) - 1)
    shifts = plan.pixel_bits * np.arange(share)
    return np.bitwise_or.reduce(fields << shifts, axis=2).astype(np.uint8)


def stream_words(images: NDArray[np.uint8], plan: AcceleratorPlan) -> NDArray[np.uint32]:
    """The same as 32-bit words of the stream, all images one after the other."""
    return stream_bytes(images, plan).view("<u4").astype(np.uint32).ravel()
