"""Facts of a layer's matrix that writer and reader know before its codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int16]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Geometry:
    """Facts of a layer's matrix that writer and reader know before its codes.

    :param window: ``(O, C // groups, KH, KW)``; columns are ``(channel, row, column)``.
    :param active: per channel, whether what it carries can differ from zero.
    :param balanced: whether the version of the file has the balanced coding.
    """

    name: str
    window: tuple[int, int, int, int]
    weight_bits: int
    active: NDArray[np.bool_]
    balanced: bool = False

    @property
    def rows(self) -> int:
        """Number of output channels, ``O``."""
        return self.window[0]

    @property
    def taps(self) -> int:
        """Cells of one kernel, ``KH * KW``."""
        return self.window[2] * self.window[3]

    @property
    def columns(self) -> int:
        """Weights of one output channel."""
        return self.window[1] * self.taps

    @property
    def active_columns(self) -> int:
        """Columns of channels that are active."""
        return int(self.active.sum()) * self.taps
