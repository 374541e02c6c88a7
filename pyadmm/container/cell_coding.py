"""Occupancy of small, rather dense matrices, cell by cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyadmm.container.budget import Budget
from pyadmm.container.geometry import Geometry
from pyadmm.container.range_coder import Coder
from pyadmm.core.errors import PyadmmError

_PATTERNS = 32
"""Kinds of a cell's neighbourhood, see :func:`_pattern`."""
_PATTERN_TRUST = 60
"""A pattern's own density counts as much as the layer's after this many cells."""
_UNIT = 1 << 16
"""Probability one."""


def code_cells(
    coder: Coder,
    geometry: Geometry,
    columns: int,
    occupied: NDArray[np.bool_] | None,
    budget: Budget,
) -> NDArray[np.bool_]:
    """Code an occupancy matrix ``(O, columns)`` cell by cell, down to the last row with a non-zero.

    The odds of a cell are those of the row before times those of its pattern over those of the
    layer, all as seen so far; rows that come sorted by their counts make the first a good guess.
    """
    if not budget.affords_cells(geometry.rows * columns):
        raise PyadmmError("a layer takes too long to decode")
    last = None
    if occupied is not None:
        last = int(np.flatnonzero(occupied.any(1)).max(initial=-1)) + 1
    last = coder.number(geometry.rows + 1, last)
    seen, ones, row_ones = 0, 0, -1
    patterns = [[0, 0] for _ in range(_PATTERNS)]
    result = np.zeros((geometry.rows, columns), bool)
    for row in range(last):
        line = [False] * columns
        known = None if occupied is None else occupied[row].tolist()
        before = row_ones
        for cell in range(columns):
            layer = (2 * ones + 1) * _UNIT // (2 * seen + 4)
            whole = layer if before < 0 else (before * _UNIT + layer) // (columns + 1)
            pattern = patterns[_pattern(line, cell, geometry.taps, geometry.window[3])]
            local = (pattern[0] * _UNIT + _PATTERN_TRUST * layer) // (pattern[1] + _PATTERN_TRUST)
            miss = (_UNIT - whole) * (_UNIT - local) * layer
            hit = whole * local * (_UNIT - layer)
            value = None if known is None else int(known[cell])
            value = coder.symbol(np.array([miss + 1, hit + 1], np.float64), value)
            line[cell] = bool(value)
            ones, seen = ones + value, seen + 1
            pattern[0] += value
            pattern[1] += 1
        row_ones = sum(line)
        result[row] = line
    return result


def _pattern(line: list[bool], cell: int, taps: int, side: int) -> int:
    """The pattern of a cell: which earlier neighbours in its kernel exist, and which are occupied."""
    if taps == 1:
        return 0
    row, column = divmod(cell % taps, side)
    left = column > 0 and line[cell - 1]
    result = 16 * (column > 0) + left
    if row:
        corners = (column > 0 and line[cell - side - 1]) + (
            column + 1 < side and line[cell - side + 1]
        )
        result += 2 * line[cell - side] + 4 * corners
    return result
