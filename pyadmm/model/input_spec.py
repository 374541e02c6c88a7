"""The network's input: shape of an image, and the integers that its bytes stand for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.model.types import (
    QFormat,
)

INPUT = "input"
"""Name under which the nodes refer to the network's input."""


@dataclass(frozen=True)
class InputSpec:
    """Encoding of the data ``(N, C, H, W)``, one byte a value, as the network's input integers.

    ``x = saturate((byte - offset[c]) >> shift)``. The data are ``uint8`` or, with ``signed``,
    ``int8``. :attr:`unsigned` is the equivalent for the hardware, which has no signed bytes.

    :param shape: ``(C, H, W)`` of one image.
    :param format: number format of the input integers.
    :param offset: one value for all channels, or one per channel.
    :param shift: arithmetic right shift, 0 to 7.
    """

    shape: tuple[int, int, int]
    format: QFormat
    offset: tuple[int, ...] = (0,)
    shift: int = 0
    signed: bool = False

    def __post_init__(self) -> None:
        if len(self.offset) not in (1, self.shape[0]):
            raise PyadmmError(f"input: {len(self.offset)} offsets for {self.shape[0]} channels")
        lowest, highest = (-128, 127) if self.signed else (0, 255)
        if not 0 <= self.shift <= 7 or any(not lowest <= o <= highest for o in self.offset):
            raise PyadmmError(
                f"input: shift must be 0 to 7 and offsets {lowest} to {highest} for data of type "
                f"{self.dtype}, not {self.shift} and {self.offset}"
            )

    @property
    def dtype(self) -> np.dtype:
        """Type of the input data, ``uint8`` or ``int8``."""
        return np.dtype(np.int8 if self.signed else np.uint8)

    @property
    def unsigned(self) -> InputSpec:
        """The same for ``uint8`` data: for signed ones, each with its sign bit inverted.

        >>> InputSpec((1, 1, 1), QFormat(8, True), signed=True).unsigned.offset
        (128,)
        """
        if not self.signed:
            return self
        return replace(self, offset=tuple(o + 128 for o in self.offset), signed=False)

    def bytes_of(self, data: NDArray[np.uint8] | NDArray[np.int8]) -> NDArray[np.uint8]:
        """``data`` of type :attr:`dtype` as the bytes that :attr:`unsigned` takes.

        >>> InputSpec((1, 1, 1), QFormat(8, True), signed=True).bytes_of(np.int8([-128, 0, 127]))
        array([  0, 128, 255], dtype=uint8)
        """
        if data.dtype != self.dtype:
            raise PyadmmError(f"input: data must be {self.dtype}, not {data.dtype}")
        return data.view(np.uint8) ^ np.uint8(128 if self.signed else 0)

    def quantize(self, images: NDArray[np.uint8] | NDArray[np.int8]) -> NDArray[np.int64]:
        """Network input integers of ``images`` of shape ``(N, C, H, W)`` and type :attr:`dtype`."""
        if images.dtype != self.dtype or images.shape[1:] != self.shape:
            raise PyadmmError(
                f"input: images must be {self.dtype} of shape "
                f"(N, {', '.join(map(str, self.shape))}), "
                f"not {images.dtype} of shape {images.shape}"
            )
        offset = np.array(self.offset, np.int64).reshape(1, -1, 1, 1)
        return self.format.saturate((images.astype(np.int64) - offset) >> self.shift)
