"""The best scale of many weights: branch and bound instead of a sweep over all breakpoints.

``E(q) = sum_i min_c (a_i - q c)**2`` over the codes ``c = 1 … M/2`` is continuous in ``q`` and a
parabola between two breakpoints ``a_i / (c + 1/2)``, with ``E' = 2 (q S2 - S1)``, ``S1 = sum a c``
and ``S2 = sum c**2`` at the nearest codes. Both sums only grow as ``q`` falls, so their values at
the ends of an interval bound ``E'``, and thereby ``E``, on all of it. From sorted magnitudes and
sums of blocks of them, ``S1`` and ``S2`` at any ``q`` take ``M`` binary searches. Intervals that
cannot hold the minimum are dropped, the others divided, until few breakpoints are left; those are
swept exactly. Time ``O(n log n)`` for one sort, whatever ``M``; memory one copy of the magnitudes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PARTS = 16
_ROUNDS = 10
"""Of division at most: equal magnitudes make breakpoints that no interval parts."""
_SLACK = 1e-11
"""Rounding of ``E`` that the bounds allow for, as a share of ``sum a**2``."""

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Effort:
    """Sizes of the search; they decide its time and memory, and never its result.

    :param block: magnitudes whose sum is kept.
    :param intervals: first intervals of the scale.
    :param few: breakpoints that are swept at once.
    """

    block: int = 512
    intervals: int = 256
    few: int = 1 << 16


@dataclass(frozen=True)
class _At:
    """The nearest codes at some ``q``, falling: where each code ends in the magnitudes, and sums.

    :param ends: ``(Q, levels - 1)``: this many magnitudes have at most the code of the column.
    """

    q: Floats
    ends: Counts
    s1: Floats
    s2: Floats

    def __getitem__(self, rows: Any) -> _At:
        return _At(self.q[rows], self.ends[rows], self.s1[rows], self.s2[rows])


class _Magnitudes:
    """Sorted magnitudes, answering for any scale.

    :param values: positive, ascending.
    :param levels: ``M/2``, the largest code, at least 2.
    :param block: magnitudes whose sum is kept.
    """

    def __init__(self, values: NDArray[Any], levels: int, block: int) -> None:
        self.values = values
        self.block = block
        self.code = np.arange(1, levels, dtype=np.float64)
        starts = np.arange(0, len(values), block)
        sums = np.add.reduceat(values, starts, dtype=np.float64)
        self.below = np.concatenate([[0.0], np.cumsum(sums)])
        """Sum of all before each block."""
        squares = (np.dot(part, part) for part in self._parts())
        self.energy = float(sum(squares))

    def _parts(self) -> list[Floats]:
        step = 1 << 16
        return [
            self.values[i : i + step].astype(np.float64) for i in range(0, len(self.values), step)
        ]

    def at(self, q: Floats) -> _At:
        """The nearest codes at every ``q``; at a breakpoint the smaller one."""
        bounds = q[:, None] * (self.code + 0.5)
        keys = bounds.astype(self.values.dtype)
        lower = np.nextafter(keys, self.values.dtype.type(0))
        keys = np.where(keys > bounds, lower, keys)  # no magnitude lies between it and the bound
        ends = np.searchsorted(self.values, keys, side="right")
        count = len(self.values)
        above = self.below[-1] - self._sums_before(ends)
        s1 = self.below[-1] + above.sum(1)
        s2 = count + ((count - ends) * (2 * self.code + 1)).sum(1)
        return _At(q, ends, s1, s2)

    def _sums_before(self, ends: Counts) -> Floats:
        """For each entry of ``ends``, the sum of that many first magnitudes."""
        unique, back = np.unique(ends, return_inverse=True)
        sums = np.array(
            [self.values[e - e % self.block : e].sum(dtype=np.float64) for e in unique.tolist()]
        )
        return (sums + self.below[unique // self.block])[back].reshape(ends.shape)

    def may_hold_the_best(self, high: _At, low: _At, least: float) -> NDArray[np.bool_]:
        """Whether ``E`` can be as small as ``least`` for a ``q`` from ``low.q`` to ``high.q``."""
        width = high.q - low.q
        falls = np.maximum(0.0, 2 * (high.q * low.s2 - high.s1)) * width
        rises = np.minimum(0.0, 2 * (low.q * high.s2 - low.s1)) * width
        bound = np.maximum(self.error(high) - falls, self.error(low) + rises)
        return bound <= least + _SLACK * self.energy

    def error(self, at: _At) -> Floats:
        """``E`` at every ``q``."""
        return self.energy - at.q * (2 * at.s1 - at.q * at.s2)

    def least_error(self, at: _At) -> float:
        """The least squared error of any of the code vectors, each with its best scale."""
        return self.energy - float((at.s1 * at.s1 / at.s2).max())

    def sweep(self, high: _At, low: _At) -> tuple[float, float]:
        """Exactly: the largest ``S1**2 / S2`` of the code vectors of an interval, and its scale."""
        slices = [
            self.values[a:b].astype(np.float64)
            for a, b in zip(low.ends[0], high.ends[0], strict=True)
        ]
        code = np.repeat(self.code, [len(part) for part in slices])
        magnitude = np.concatenate(slices)
        order = np.argsort(-magnitude / (code + 0.5), kind="stable")
        s1 = high.s1 + np.concatenate([[0.0], np.cumsum(magnitude[order])])
        s2 = high.s2 + np.concatenate([[0.0], np.cumsum(2 * code[order] + 1)])
        gain = s1 * s1 / s2
        best = int(gain.argmax())
        return float(gain[best]), float(s1[best] / s2[best])


def best_scale(magnitudes: NDArray[Any], levels: int, effort: Effort = Effort()) -> float:
    """The ``q > 0`` that minimises ``sum (a - q c)**2`` with the nearest codes ``1 … levels``.

    :param magnitudes: in any order, some of them positive; zeros do not count. Sorted in place.
    :param levels: at least 2.
    """
    magnitudes.sort()
    magnitudes = magnitudes[np.searchsorted(magnitudes, 0, side="right") :]
    table = _Magnitudes(magnitudes, levels, effort.block)
    # The best scale is S1 / S2, which lies between a / c of the least and of the largest magnitude.
    top, bottom = float(magnitudes[-1]), float(magnitudes[0]) / levels
    grid = np.geomspace(top * (1 + 1e-9), bottom * (1 - 1e-9), effort.intervals + 1)
    at = table.at(grid)
    high, low = at[:-1], at[1:]
    least = table.least_error(at)
    for _ in range(_ROUNDS):
        chosen = table.may_hold_the_best(high, low, least)
        high, low = high[chosen], low[chosen]
        if int((high.ends - low.ends).sum()) <= effort.few:
            break
        share = np.arange(_PARTS + 1) / _PARTS
        parts = table.at((high.q[:, None] + (low.q - high.q)[:, None] * share).reshape(-1))
        least = min(least, table.least_error(parts))
        place = np.arange(len(high.q) * (_PARTS + 1)).reshape(-1, _PARTS + 1)
        high, low = parts[place[:, :-1].reshape(-1)], parts[place[:, 1:].reshape(-1)]
    found = [table.sweep(high[i : i + 1], low[i : i + 1]) for i in range(len(high.q))]
    return max(found, key=lambda gain_and_scale: gain_and_scale[0])[1]
