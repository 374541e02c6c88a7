"""Occupancy of window-balanced patterns: counts of groups in windows, then places in each window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyadmm.container.budget import Budget
from pyadmm.container.geometry import Geometry, Ints
from pyadmm.container.line_coding import USUAL_EVENNESS, Lines, Stretch, places_of_lines
from pyadmm.container.range_coder import Adaptive, Coder, Sizes
from pyadmm.core.errors import PyadmmError
from pyadmm.model.windows import (
    WINDOW_LIMIT,
    Windows,
    find_windows,
    window_bounds,
    window_counts,
)

_WINDOW_WORK = 4
_FULL = 15.0
"""How much likelier it is at first that a row has its group's number of non-zeros."""


def code_balanced(
    coder: Coder,
    geometry: Geometry,
    active: NDArray[np.bool_],
    occupied: NDArray[np.bool_] | None,
    budget: Budget,
) -> NDArray[np.bool_]:
    """Code where the non-zeros are in windows in which the rows of a group hold equally many.

    :param active: the columns that are coded.
    :param occupied: all columns, ``(O, columns)``.
    :returns: those of the columns that are coded.
    """
    windows = None if occupied is None else find_windows(occupied, geometry.window)
    windows = _code_windows(coder, geometry, windows)
    bounds = window_bounds(geometry.window, windows.size, active)
    part = None if occupied is None else occupied[:, active]
    counts = None if part is None else window_counts(part, bounds)
    most = None if counts is None else windows.group_most(counts).astype(np.int64)
    groups = -(-geometry.rows // windows.rows)
    most = _code_most(coder, groups, np.diff(bounds), most, budget)
    promised = most.repeat(windows.rows, 0)[: geometry.rows]
    # Each of these weights is placed by a short computation of its own.
    work = _WINDOW_WORK * int(promised.sum())
    if not budget.affords(work, geometry.rows, int(bounds[-1])):
        raise PyadmmError("a layer takes too long to decode")
    return _code_in_windows(coder, geometry, bounds, _code_lacks(coder, promised, counts), part)


def _code_in_windows(
    coder: Coder,
    geometry: Geometry,
    bounds: Ints,
    counts: Ints,
    occupied: NDArray[np.bool_] | None,
) -> NDArray[np.bool_]:
    """Code the places in every window, given how many there are: ``counts``, (rows, windows)."""
    lines = Lines(geometry.rows, int(bounds[-1]), geometry.taps, geometry.window[3])
    result = np.zeros((lines.lines, lines.cells), bool)
    if not counts.any():
        return result
    even = coder.symbol(USUAL_EVENNESS, None if occupied is None else lines.evenness(occupied))
    places = None if occupied is None else places_of_lines(occupied)
    seen = np.zeros(lines.cells, np.int64)
    for row in np.flatnonzero(counts.any(1)).tolist():
        stretch = Stretch(lines.odds(seen, even), lines.taps, lines.side, coder)
        given = None if places is None else places[row]
        result[row, stretch.code_windows(bounds, counts[row], given)] = True
        seen += result[row]
    return result


def _code_windows(coder: Coder, geometry: Geometry, windows: Windows | None) -> Windows:
    """Columns of a window and rows of a group."""
    size = coder.number(WINDOW_LIMIT, None if windows is None else windows.size - 1) + 1
    rows = Sizes("rows of a group", geometry.rows, likely=4).code(
        coder, None if windows is None else windows.rows
    )
    if rows < 1:
        raise PyadmmError("a group of a balanced layer has no rows")
    return Windows(size, rows)


def _code_most(coder: Coder, groups: int, cells: Ints, most: Ints | None, budget: Budget) -> Ints:
    """The groups' numbers, ``(groups, windows)``: which are not zero, then how large these are."""
    used = Lines(groups, len(cells), 1, 1).code(coder, None if most is None else most > 0, budget)
    numbers = Adaptive(np.ones(int(cells.max(initial=1))))
    result = used.astype(np.int64)
    for group, window in np.argwhere(used).tolist():
        number = None if most is None else int(most[group, window]) - 1
        result[group, window] = numbers.code(coder, number) + 1
    if np.any(result > cells):
        raise PyadmmError("a window has more non-zeros than cells")
    return result


def _code_lacks(coder: Coder, promised: Ints, counts: Ints | None) -> Ints:
    """Non-zeros of each row in each window, ``(rows, windows)``: rarely fewer than ``promised``."""
    result = promised.copy()
    likely = (np.array([_FULL, *[1.0] * top]) for top in range(int(promised.max(initial=0)) + 1))
    lacks = [Adaptive(prior) for prior in likely]
    for row, window in np.argwhere(promised).tolist():
        top = int(promised[row, window])
        lack = None if counts is None else top - int(counts[row, window])
        result[row, window] -= lacks[top].code(coder, lack)
    return result
