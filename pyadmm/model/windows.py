"""Window-balanced patterns of a layer, found from its occupancy.

The file's position coding, the order of channels and the kernels in lock step use them. A window
holds neighbouring columns of one kernel row (of one row where the kernel is a single place); in
every window all rows of a group hold equally many non-zeros, as
:class:`pyadmm.admm.balanced.BalancedPattern` demands. A projection on levels may leave some rows of
a group with fewer, so a share of such exceptions is admitted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Counts = NDArray[np.integer[Any]]

WINDOW_LIMIT = 32
"""Most columns of a window."""
_WINDOWS = (1, 2, 3, 4, 8, 16, 32)
"""Sizes of windows that are tried, besides a whole kernel row."""
_MOST_ROWS = 64
"""Largest group of rows that is looked for."""
_NONZERO_LIMIT = 1 << 16
"""Layers with more are not examined: the balanced coding of them would take too long anyway."""
_EQUAL_SHARE = 0.2
"""Neighbouring rows of a balanced pattern agree in at least this share of their used windows."""
_EXCEPTIONS = 0.05
"""Used windows in which a row has fewer weights than its group's number: at most this share of
them, and of the layer's zeros, which tells a balanced pattern from one with few zeros."""
_ALIKE = 0.8
"""Rows of a group share at least this part of their weights' windows."""
_MOST_COMPARISONS = 1 << 31
"""Rows * rows * windows up to which similar rows are grouped."""
_LEAST_WINDOWS = 2
"""Rows that use fewer windows on average, as those of an identity do, show no balance."""


@dataclass(frozen=True)
class Windows:
    """A division of a layer's matrix.

    :param size: columns of a window, ``1 … WINDOW_LIMIT``.
    :param rows: rows of a group.
    """

    size: int
    rows: int

    def group_most(self, counts: Counts) -> Counts:
        """The largest count of each group in each window, from ``(rows, windows)``."""
        padded = np.pad(counts, ((0, -len(counts) % self.rows), (0, 0)))
        return np.asarray(padded.reshape(-1, self.rows, counts.shape[1]).max(1))


def window_bounds(shape: tuple[int, int, int, int], size: int, active: Bools) -> Ints:
    """First columns of all windows and the end, counted among the columns that are ``active``.

    Windows without such a column are left out.

    :param shape: ``(O, C, KH, KW)``.
    :param active: which of the ``C * KH * KW`` columns are coded.

    >>> window_bounds((1, 1, 2, 5), 3, np.ones(10, bool)).tolist()
    [0, 3, 5, 8, 10]
    """
    _, channels, height, width = shape
    line = channels if height == width == 1 else width
    columns = channels * height * width
    starts = np.arange(0, columns, line)[:, None] + np.arange(0, line, size)
    before = np.concatenate([[0], np.cumsum(active)])
    return np.unique(before[np.append(starts, columns)])


def window_counts(occupied: Bools, bounds: Ints) -> Ints:
    """Non-zeros of every row in every window, ``(rows, windows)``."""
    before = np.pad(np.cumsum(occupied, axis=1, dtype=np.int64), ((0, 0), (1, 0)))
    return np.diff(before[:, bounds], axis=1)


def find_windows(occupied: Bools, shape: tuple[int, int, int, int]) -> Windows | None:
    """The windows and groups in which a pattern is balanced, or ``None``.

    Of several, the one whose positions take the fewest bits by a simple estimate.

    :param occupied: where the non-zeros are, ``(O, C * KH * KW)``.
    :param shape: ``(O, C, KH, KW)``.

    >>> balanced = np.kron(np.eye(2), [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 0, 1]]) > 0
    >>> find_windows(balanced, (6, 8, 1, 1))
    Windows(size=2, rows=3)
    >>> find_windows(np.eye(8) > 0, (8, 8, 1, 1)) is None
    True
    """
    at, columns = np.nonzero(occupied)
    if not 0 < len(at) <= _NONZERO_LIMIT or len(at) == occupied.size:
        return None
    best, least = None, math.inf
    for size in _sizes(shape):
        bounds = window_bounds(shape, size, np.ones(occupied.shape[1], bool))
        window = np.searchsorted(bounds, columns, side="right") - 1
        if not _rows_alike(at, window, len(bounds)):
            continue
        counts = window_counts(occupied, bounds).astype(np.int8)
        places = _place_bits(np.diff(bounds), counts)
        for rows in range(2, min(_MOST_ROWS, len(occupied)) + 1):
            windows = Windows(size, rows)
            bits = places + _count_bits(windows, counts, occupied.size - len(at))
            if bits < least:
                best, least = windows, bits
    return best


def find_groups(occupied: Bools, shape: tuple[int, int, int, int]) -> list[list[int]] | None:
    """The groups of rows in which a pattern is balanced, wherever these rows are, or ``None``.

    Rows of a group use the same windows. Of several divisions, the one of the fewest bits.

    :param occupied: where the non-zeros are, ``(O, C * KH * KW)``; no row is empty.
    :param shape: ``(O, C, KH, KW)``.

    >>> balanced = np.kron(np.eye(2), [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 0, 1]]) > 0
    >>> find_groups(balanced[[0, 3, 1, 4, 2, 5]], (6, 8, 1, 1))
    [[0, 2, 4], [1, 3, 5]]
    """
    nonzeros = int(np.count_nonzero(occupied))
    if not 0 < nonzeros <= _NONZERO_LIMIT or nonzeros == occupied.size:
        return None
    best, least = None, math.inf
    for size in _sizes(shape):
        bounds = window_bounds(shape, size, np.ones(occupied.shape[1], bool))
        counts = window_counts(occupied, bounds).astype(np.int8)
        places = _place_bits(np.diff(bounds), counts)
        for rows in range(2, _alike_rows(counts) + 1):
            groups = similar_rows(counts, rows)
            ordered = counts[[row for group in groups for row in group]]
            windows = Windows(size, rows)
            bits = places + _count_bits(windows, ordered, occupied.size - nonzeros)
            if bits < least:
                best, least = groups, bits
    return best


def _alike_rows(counts: Counts) -> int:
    """The most frequent number of similar rows, which bounds the size of groups; 1 where few rows are similar."""
    if counts.shape[0] * counts.size > _MOST_COMPARISONS:
        return 1
    shared = np.zeros((len(counts), len(counts)), np.float32)
    for number in range(1, int(counts.max()) + 1):
        at_least = (counts >= number).astype(np.float32)
        shared += at_least @ at_least.T
    sizes = np.diag(shared)
    alike = (shared >= _ALIKE * np.maximum.outer(sizes, sizes)).sum(1)
    alike = np.minimum(alike, _MOST_ROWS)
    return int(np.bincount(alike).argmax())


def similar_rows(counts: Counts, size: int) -> list[list[int]]:
    """All rows in groups of ``size`` that share windows, so that lock step wastes little.

    A group starts with the row of most weights; each further one is the one whose weights are in
    windows of the group already, as far as possible (ties go to the lower row). Only the last group
    may lack rows. Of large layers the rows are taken in order.

    :param counts: weights of every row in every window, ``(rows, windows)``.

    >>> similar_rows(np.array([[1, 0], [0, 2], [1, 0], [0, 2]]), 2)
    [[1, 3], [0, 2]]
    """
    rows = len(counts)
    if rows * counts.size > _MOST_COMPARISONS or size == 1:
        return [list(range(row, min(row + size, rows))) for row in range(0, rows, size)]
    left = np.argsort(-counts.sum(1), kind="stable")
    groups = []
    while len(left):
        members, left = [int(left[0])], left[1:]
        most = counts[members[0]]
        while len(members) < size and len(left):
            shared = np.minimum(counts[left], most).sum(1)
            nearest = int(np.lexsort((left, -shared))[0])
            members.append(int(left[nearest]))
            most = np.maximum(most, counts[left[nearest]])
            left = np.delete(left, nearest)
        groups.append(members)
    return groups


def _sizes(shape: tuple[int, int, int, int]) -> list[int]:
    """Sizes of windows that are tried."""
    _, channels, height, width = shape
    longest = channels if height == width == 1 else width
    return sorted({min(size, longest) for size in _WINDOWS})


def _rows_alike(rows: Ints, windows: Ints, across: int) -> bool:
    """Whether rows use several windows and resemble the next row enough for groups of any size.

    :param rows: the row of each non-zero, ``windows`` its window, of which there are ``across``.
    """
    used, counts = np.unique(rows * across + windows, return_counts=True)
    if len(used) < _LEAST_WINDOWS * len(np.unique(rows)):
        return False
    below = np.minimum(np.searchsorted(used, used + across), len(used) - 1)
    both = used[below] == used + across
    equal = int((both & (counts == counts[below])).sum())
    return equal > _EQUAL_SHARE * (2 * len(used) - int(both.sum()))


def _place_bits(cells: Ints, counts: Counts) -> float:
    """Bits of the places in the windows, given how many there are in each."""
    top = int(cells.max())
    table = np.array([[math.comb(n, k) or 1 for k in range(top + 1)] for n in range(top + 1)])
    return float(np.log2(table.astype(np.float64))[cells, counts].sum())


def _count_bits(windows: Windows, counts: Counts, zeros: int) -> float:
    """Bits of the groups' numbers and of the exceptions; infinite where these are too many.

    :param zeros: of the layer.
    """
    most = windows.group_most(counts)
    promised = most.repeat(windows.rows, 0)[: len(counts)]
    used = int(np.count_nonzero(promised))
    fewer = int(np.count_nonzero(promised != counts))
    if fewer > _EXCEPTIONS * min(used, zeros):
        return math.inf
    return _entropy(np.bincount(most.reshape(-1))) + _entropy(np.array([fewer, used - fewer]))


def _entropy(found: Counts) -> float:
    """Bits of symbols that occur ``found`` times each."""
    some = found[found > 0]
    return float((some * np.log2(some.sum() / some)).sum())
