"""Requantisation: the only way in which the integer network changes a scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.model.types import (
    IntArray,
    QFormat,
)

MULT_LIMIT = 1 << 16
"""Multipliers of a :class:`Requant` stay below this (one DSP operand)."""
SHIFT_LIMIT = 48


@dataclass(frozen=True)
class Requant:
    """``y = clamp((acc * mult + (1 << (shift - 1))) >> shift, lo, hi)``, integers only.

    :param mult: one multiplier for the layer, or one per output channel; ``1 <= mult < 2**16``.
    :param shift: arithmetic right shift, ``1 … 48``. ``mult = 2, shift = 1`` is the identity.
    """

    mult: tuple[int, ...] = (2,)
    shift: int = 1

    def __post_init__(self) -> None:
        if not self.mult or any(not 1 <= m < MULT_LIMIT for m in self.mult):
            raise PyadmmError(f"requantise: mult must be 1 to {MULT_LIMIT - 1}, not {self.mult}")
        if not 1 <= self.shift <= SHIFT_LIMIT:
            raise PyadmmError(f"requantise: shift must be 1 to {SHIFT_LIMIT}, not {self.shift}")

    def apply(self, acc: IntArray, output: QFormat) -> NDArray[np.int64]:
        """Requantise accumulators ``acc`` of shape ``(N, O, …)`` to the format ``output``.

        >>> Requant((3,), 2).apply(np.array([[-5, 1, 2, 100]]), QFormat(4, False)).tolist()
        [[0, 1, 2, 15]]
        """
        mult = np.array(self.mult, np.int64).reshape(1, -1, *[1] * (acc.ndim - 2))
        y = acc.astype(np.int64)
        y *= mult
        y += 1 << (self.shift - 1)
        y >>= self.shift
        return np.clip(y, output.lo, output.hi, out=y)

    def output_scale(self, unit: float) -> float:
        """Real value of one output step, if one step of the accumulator is worth ``unit``.

        >>> Requant((3,), 2).output_scale(0.75)
        1.0
        """
        return unit * 2.0**self.shift / self.mult[0]

    def channel_scales(self, first: float, outputs: int) -> tuple[float, ...]:
        """Weight scales of all ``outputs`` channels, given the scale ``first`` of channel 0.

        All channels have one output step.

        Exact, whatever the order of the channels, where a scale per unit of ``mult`` is a float32.

        >>> Requant((4, 6), 3).channel_scales(0.5, 2)
        (0.5, 0.75)
        """
        mult = self.mult if len(self.mult) > 1 else self.mult * outputs
        return tuple(first / self.mult[0] * m for m in mult)
