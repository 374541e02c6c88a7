"""Entropy coding of a sparse matrix of level codes, for :mod:`pyadmm.container.codec`.

Four ways, chosen per layer:

* *by lines*, for layers of up to some ten thousand non-zeros: a row's (or column's) number of
  non-zeros comes first; then where they are, given that number, with odds learnt from the lines
  before and from neighbours in the same kernel. Levels follow.
* *by cells*, for small, rather dense layers: each cell with a probability from the density of the
  row before and from its neighbours in the kernel. Levels follow.
* *balanced*, for window-balanced patterns: how many non-zeros the rows of a group have in each
  window, once for all of them; then the place of each within its window. Levels follow.
* *static*, for large layers: inactive rows and columns, then the gaps between non-zeros and their
  levels, each with one table of frequencies, in a few array operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pyadmm.container.range_coder import Adaptive, Coder, Contexts, Encoder, Sizes
from pyadmm.container.windows import (
    WINDOW_LIMIT,
    Windows,
    find_windows,
    window_bounds,
    window_counts,
)
from pyadmm.core.errors import PyadmmError

Codes = NDArray[np.int16]
Ints = NDArray[np.int64]

LINE_LIMIT = 1 << 14
"""Most lines, and cells of a line, of an adaptively coded layer."""
WORK_LIMIT = 1 << 22
"""Adaptive coding of a whole file, in steps of about a microsecond."""
SYMBOL_LIMIT = 1 << 28
"""Gaps of all statically coded layers."""

_BY_ROWS, _BY_COLUMNS, _BY_CELLS, _STATIC, _BALANCED = range(5)
_CELL_LIMIT = 1 << 13
"""Most cells, of active channels, of a layer that is coded by cells."""
_CELL_WORK = 4
_WINDOW_WORK = 4
_SMALL = 1 << 11
"""Layers with no more cells than that are expected to be coded by cells."""
_PATTERNS = 32
"""Kinds of a cell's neighbourhood, see :func:`_pattern`."""
_PATTERN_TRUST = 60
"""A pattern's own density counts as much as the layer's after this many cells."""
_EVENNESS = (3, 10, 28, 80)
"""Constants of a cell's odds: the higher, the less a column's past says about its future."""
_USUAL_EVENNESS = np.array([1.0, 2.0, 4.0, 1.0])
_LARGE = 1 << 20
_SIGN_TRUST = 10
"""Magnitudes of one sign count as much as those of both after this many weights."""
_FULL = 15.0
"""How much likelier it is at first that a row has its group's number of non-zeros."""
_UNIT = 1 << 16
"""Probability one."""
_SURVIVAL_BITS = 20
_MOST_ALIKE = 256
"""Longer runs of lines with equal counts are treated as if they were so long."""
_EXACT_COUNT = 32
"""Most non-zeros of a stretch that is coded by :func:`_code_sparse`; longer ones are halved."""
_DENSE = 16
"""Stretches with fewer cells per non-zero are coded cell by cell."""
_ODDS_BITS = 12
_TAIL_BITS = 36
_WEIGHT_BITS = 24
_SHORTEST_TABLE, _LONGEST_TABLE = 16, 2048
_TABLE_BITS = 12


@dataclass
class Budget:
    """Work that coding one file may still take.

    :param left: of adaptive coding, steps.
    :param symbols: of static coding.
    """

    left: int = WORK_LIMIT
    symbols: int = SYMBOL_LIMIT

    def affords(self, nonzeros: int, lines: int, cells: int) -> bool:
        """Whether a layer may be coded adaptively; if so, its work is deducted."""
        work = nonzeros * (16 + cells // 64) + lines + cells
        if max(lines, cells) > LINE_LIMIT or work > self.left:
            return False
        self.left -= work
        return True

    def affords_cells(self, cells: int) -> bool:
        """Whether a layer may be coded by cells; if so, its work is deducted."""
        work = _CELL_WORK * cells
        if cells > _CELL_LIMIT or work > self.left:
            return False
        self.left -= work
        return True

    def affords_symbols(self, count: int) -> bool:
        """Whether ``count`` more gaps may be coded; they are deducted."""
        self.symbols -= count
        return self.symbols >= 0


@dataclass(frozen=True)
class Geometry:
    """What is known of a layer's matrix before its codes.

    :param window: ``(O, C // groups, KH, KW)``; columns are ``(channel, row, column)``.
    :param alive: per channel, whether what it carries can differ from zero.
    :param balanced: whether the version of the file has the balanced coding.
    """

    name: str
    window: tuple[int, int, int, int]
    weight_bits: int
    alive: NDArray[np.bool_]
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
    def alive_columns(self) -> int:
        """Columns of channels that are alive."""
        return int(self.alive.sum()) * self.taps


def code_matrix(coder: Coder, geometry: Geometry, codes: Codes | None, budget: Budget) -> Codes:
    """Code the level codes of one layer; the result has shape ``(O, columns)``."""
    matrix = None if codes is None else codes.reshape(geometry.rows, geometry.columns)
    coder.mark(f"{geometry.name}.positions")
    mode = None if matrix is None else _choose(geometry, matrix, budget)
    usual = np.ones(5 if geometry.balanced else 4)
    usual[_usual(geometry)] = 12.0
    mode = coder.symbol(usual, mode)
    if mode == _STATIC:
        return _code_static(coder, geometry, matrix, budget)
    occupied = _code_occupancy(coder, geometry, matrix, mode, budget)
    coder.mark(f"{geometry.name}.levels")
    return _code_levels(coder, geometry, occupied, matrix)


def _choose(geometry: Geometry, matrix: Codes, budget: Budget) -> int:
    """The mode that gives the smallest file."""
    modes = _free_modes(geometry, matrix, budget)
    if geometry.balanced and _STATIC not in modes and is_balanced(geometry.window, matrix):
        modes.append(_BALANCED)
    if len(modes) == 1:
        return modes[0]
    return min(modes, key=lambda mode: _position_bits(geometry, matrix, mode, budget))


def is_balanced(window: tuple[int, int, int, int], codes: Codes) -> bool:
    """Whether the level codes of a layer, ``window = (O, C, KH, KW)``, have a balanced pattern."""
    return find_windows(codes.reshape(window[0], -1) != 0, window) is not None


def _free_modes(geometry: Geometry, matrix: Codes, budget: Budget) -> list[int]:
    """Modes of free patterns that may give the smallest file."""
    by_lines = _BY_COLUMNS if _long(geometry) else _BY_ROWS
    lines, cells = (geometry.rows, geometry.columns)[:: -1 if by_lines == _BY_COLUMNS else 1]
    nonzeros = int(np.count_nonzero(matrix))
    if not Budget(budget.left).affords(nonzeros, lines, cells):
        return [_STATIC]
    alive = geometry.rows * geometry.alive_columns
    if alive > _DENSE * nonzeros or not Budget(budget.left).affords_cells(
        geometry.rows * geometry.columns
    ):
        return [by_lines]
    return [by_lines, _BY_CELLS]


def _position_bits(geometry: Geometry, matrix: Codes, mode: int, budget: Budget) -> float:
    """Bits of the positions in ``mode``; infinite where it takes more than the budget."""
    scale = Encoder()
    scale.mark("positions")
    try:
        _code_occupancy(scale, geometry, matrix, mode, Budget(budget.left))
    except PyadmmError:
        return math.inf
    return scale.sections["positions"]


def _usual(geometry: Geometry) -> int:
    """The mode that a layer of this size is expected to take."""
    if geometry.rows * geometry.alive_columns <= _SMALL:
        return _BY_CELLS
    return _BY_COLUMNS if _long(geometry) else _BY_ROWS


def _long(geometry: Geometry) -> bool:
    """Whether a layer is coded by columns, because it has far more inputs than outputs."""
    return geometry.taps == 1 and geometry.columns > 8 * geometry.rows


# --- adaptive: occupancy -------------------------------------------------------------------------


def _code_occupancy(
    coder: Coder, geometry: Geometry, matrix: Codes | None, mode: int, budget: Budget
) -> NDArray[np.bool_]:
    """Where the non-zeros are, ``(O, columns)``."""
    occupied = None if matrix is None else matrix != 0
    alive = np.repeat(_used_channels(coder, geometry, occupied), geometry.taps)
    part = None if occupied is None else occupied[:, alive]
    result = np.zeros((geometry.rows, geometry.columns), bool)
    columns = int(alive.sum())
    if mode == _BY_CELLS:
        coded = _code_cells(coder, geometry, columns, part, budget)
    elif mode == _BALANCED:
        coded = _code_balanced(coder, geometry, alive, occupied, budget)
    elif mode == _BY_COLUMNS:
        lines = _Lines(columns, geometry.rows, 1, 1)
        coded = lines.code(coder, None if part is None else part.T, budget).T
    else:
        lines = _Lines(geometry.rows, columns, geometry.taps, geometry.window[3])
        coded = lines.code(coder, part, budget)
    result[:, alive] = coded
    return result


def _used_channels(
    coder: Coder, geometry: Geometry, occupied: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    """The active channels, and the inactive ones that nevertheless have weights."""
    dead = np.flatnonzero(~geometry.alive)
    odd = None
    if occupied is not None:
        used = np.any(occupied.reshape(geometry.window), axis=(0, 2, 3))
        odd = np.flatnonzero(np.take(used, dead)).tolist()
    count = Sizes("the number of dead channels with weights", len(dead), likely=1).code(
        coder, None if odd is None else len(odd)
    )
    flags = Adaptive(np.array([max(len(dead) - count, 1.0), max(count, 1.0)]), step=0)
    result = geometry.alive.copy()
    for place in range(len(dead) if count else 0):
        result[dead[place]] = flags.code(coder, None if odd is None else int(place in odd))
    return result


@dataclass(frozen=True)
class _Lines:
    """A binary matrix that is coded line by line.

    :param taps: cells of one kernel, ``side`` of them in a kernel row; lines hold whole kernels.
    """

    lines: int
    cells: int
    taps: int
    side: int

    def code(
        self, coder: Coder, occupied: NDArray[np.bool_] | None, budget: Budget
    ) -> NDArray[np.bool_]:
        """Code the matrix, ``(lines, cells)``."""
        if max(self.lines, self.cells) > LINE_LIMIT:
            raise PyadmmError("a layer is too large for its coding")
        places = None if occupied is None else _places(occupied)
        result = np.zeros((self.lines, self.cells), bool)
        descending = None if places is None else _descending(places)
        sorted_flag = None if descending is None else int(descending)
        descending = bool(coder.symbol(np.array([1.0, 7.0]), sorted_flag))
        counts = self._counts(
            coder, None if places is None else [len(p) for p in places], descending
        )
        if not budget.affords(sum(counts), self.lines, self.cells):
            raise PyadmmError("a layer takes too long to decode")
        if not any(counts):
            return result
        even = coder.symbol(_USUAL_EVENNESS, None if occupied is None else self.evenness(occupied))
        seen = np.zeros(self.cells, np.int64)
        before: list[int] = []
        alike = _alike(counts) if descending else [1] * self.lines
        for line, count in enumerate(counts):
            if count == 0:
                continue
            first = before[0] if descending and len(before) == count else 0
            stretch = _Stretch(self.odds(seen, even), self.taps, self.side, coder)
            before = stretch.code(
                first, self.cells, count, None if places is None else places[line], alike[line]
            )
            result[line, before] = True
            seen[before] += 1
        return result

    def _counts(self, coder: Coder, counts: list[int] | None, descending: bool) -> list[int]:
        """Non-zeros of each line."""
        sizes = Sizes("non-zeros of a line", self.cells, likely=4)
        if not descending:
            given = (None if counts is None else counts[line] for line in range(self.lines))
            return [sizes.code(coder, count) for count in given]
        result: list[int] = []
        last = self.cells
        for line in range(self.lines):
            if last > 0:
                last -= sizes.code(coder, None if counts is None else last - counts[line])
            result.append(last)
        return result

    def odds(self, seen: Ints, even: int) -> Ints:
        """Odds of the cells of the next line, from how often each was occupied so far.

        ``seen + (3/2 kernel's seen + 4) / taps + evenness/16``, in sixteenths: a cell is as likely
        as it was, plus a share of what its whole kernel saw.

        :param even: place in ``_EVENNESS``.
        """
        kernel = seen.reshape(-1, self.taps).sum(1)
        shared = (24 * kernel + 64) // self.taps + _EVENNESS[even]
        odds = 16 * seen + shared.repeat(self.taps)
        return odds >> max(0, int(odds.max()).bit_length() - _ODDS_BITS) | 1

    def evenness(self, occupied: NDArray[np.bool_]) -> int:
        """Place in ``_EVENNESS`` that gives the fewest bits, if cells were independent.

        Large matrices get the usual one: they teach the coder soon enough.
        """
        live = occupied.any(1)
        if int(live.sum()) * self.cells > _LARGE:
            return int(_USUAL_EVENNESS.argmax())
        lines = occupied[live].astype(np.float64)
        seen = np.cumsum(lines, axis=0) - lines
        kernel = seen.reshape(len(lines), -1, self.taps).sum(2)
        shared = 16 * seen + ((24 * kernel + 64) / self.taps).repeat(self.taps, 1)
        bits = []
        for even in _EVENNESS:
            odds = shared + even
            places = lines.sum(1) * np.log2(odds.sum(1)) - (lines * np.log2(odds)).sum(1)
            bits.append(float(places.sum()))
        return int(np.argmin(bits - np.log2(_USUAL_EVENNESS)))


def _places(occupied: NDArray[np.bool_]) -> list[list[int]]:
    """The occupied cells of each line."""
    lines, cells = np.nonzero(occupied)
    ends = np.searchsorted(lines, np.arange(len(occupied) + 1)).tolist()
    flat = cells.tolist()
    return [flat[start:end] for start, end in pairwise(ends)]


def _alike(counts: list[int]) -> list[int]:
    """For each line, how many lines from it on have its number of non-zeros.

    >>> _alike([5, 3, 3, 3, 0])
    [1, 3, 2, 1, 1]
    """
    result = [1] * len(counts)
    for line in range(len(counts) - 2, -1, -1):
        if counts[line] == counts[line + 1]:
            result[line] += result[line + 1]
    return result


def _descending(places: list[list[int]]) -> bool:
    """Whether lines come by falling count, and those of one count by rising first place."""
    keys = [(-len(place), place[0] if place else 0) for place in places]
    return keys == sorted(keys)


class _Stretch:
    """The non-zeros of one line, coded from left to right.

    :param odds: of each cell of the line, whole numbers of at most ``_ODDS_BITS`` bits.
    """

    def __init__(self, odds: Ints, taps: int, side: int, coder: Coder) -> None:
        self._odds = odds
        self._boosted = odds.copy()
        self._taps = taps
        self._side = side
        self._coder = coder

    def code(
        self, start: int, end: int, count: int, places: list[int] | None, alike: int = 1
    ) -> list[int]:
        """Code ``count`` places in ``start … end - 1``.

        :param alike: this is the first of this many lines with ``count`` non-zeros, sorted by their
            first places.
        :raises PyadmmError: where there are fewer cells than that.
        """
        cells = end - start
        if count > cells:
            raise PyadmmError("a line has more non-zeros than cells")
        if count == 0:
            return []
        if alike > 1 and count <= _EXACT_COUNT:
            first = self._code_least(
                start, end, count, None if places is None else places[0], alike
            )
            return [
                first,
                *self.code(first + 1, end, count - 1, None if places is None else places[1:]),
            ]
        if cells < _DENSE * count:
            return self._code_dense(start, end, count, places)
        if count <= _EXACT_COUNT:
            return self._code_sparse(start, end, count, places)
        middle = start + cells // 2
        left = None if places is None else sum(place < middle for place in places)
        left = self._coder.number(count + 1, left)
        head = self.code(start, middle, left, None if places is None else places[:left])
        return head + self.code(
            middle, end, count - left, None if places is None else places[left:]
        )

    def code_windows(self, bounds: Ints, counts: Ints, places: list[int] | None) -> list[int]:
        """Code the places of a row of windows, of which each has at least its count of cells."""
        result: list[int] = []
        for window in np.flatnonzero(counts).tolist():
            count, known = int(counts[window]), len(result)
            given = None if places is None else places[known : known + count]
            start, end = int(bounds[window]), int(bounds[window + 1])
            result += self._code_sparse(start, end, count, given)
        return result

    def _code_sparse(self, start: int, end: int, count: int, places: list[int] | None) -> list[int]:
        """One symbol per non-zero: how far it is.

        Independent cells with odds ``o``, given that ``count`` are occupied: the next one is at
        ``j`` with a probability proportional to ``o_j * e(j + 1, left - 1)``, where ``e(j, t)``
        sums the products of odds over all choices of ``t`` cells from ``j`` on.
        """
        tails = list(_tails(self._odds[start:end], count))
        result: list[int] = []
        at = start
        for left in range(count, 0, -1):
            stop = end - left + 1
            weights = self._next(at, stop, tails[left - 1][at + 1 - start : stop + 1 - start])
            step = None if places is None else places[count - left] - at
            place = at + self._coder.symbol(weights.astype(np.float64), step)
            result.append(place)
            self._boost(place)
            at = place + 1
        return result

    def _next(self, at: int, stop: int, tail: Ints) -> Ints:
        """Weights of the next place being ``at … stop - 1``, ``tail`` being what follows each."""
        tail = tail >> max(0, int(tail[0]).bit_length() - _WEIGHT_BITS)
        return self._boosted[at:stop] * tail + 1

    def _code_least(self, start: int, end: int, count: int, place: int | None, alike: int) -> int:
        """The first place of this line, the least among those of ``alike`` lines.

        It is at ``j`` with probability ``S_j**alike - S_(j+1)**alike``, with ``S_j`` the chance
        that one line starts at ``j`` or later.
        """
        stop = end - count + 1
        *_, tail = _tails(self._odds[start:end], count)
        weights = self._next(start, stop, tail[1 : stop + 1 - start])
        later = np.append(np.cumsum(weights[::-1])[::-1], 0)
        survival = (
            (later << _SURVIVAL_BITS) // int(later[0])
            if later[0] < 1 << 42
            else (later // (int(later[0]) >> _SURVIVAL_BITS))
        )
        power = _power(survival, min(alike, _MOST_ALIKE))
        chances = (power[:-1] - power[1:] + 1).astype(np.float64)
        first = start + self._coder.symbol(chances, None if place is None else place - start)
        self._boost(first)
        return first

    def _code_dense(self, start: int, end: int, count: int, places: list[int] | None) -> list[int]:
        """One yes or no per cell; certain ones take no bits."""
        rest = np.cumsum(self._odds[start:end][::-1])[::-1].tolist()
        wanted = None if places is None else set(places)
        result: list[int] = []
        for place in range(start, end):
            left, cells = count - len(result), end - place
            if left == 0:
                break
            weights = np.array(
                [rest[place - start] * (cells - left), int(self._boosted[place]) * left * cells],
                np.float64,
            )
            hit = None if wanted is None else int(place in wanted)
            if left == cells or self._coder.symbol(weights, hit):
                result.append(place)
                self._boost(place)
        return result

    def _boost(self, place: int) -> None:
        """Cells right of and below a non-zero in its kernel are likelier, and its whole kernel."""
        tap = place % self._taps
        if self._taps == 1:
            return
        if (tap + 1) % self._side:
            self._boosted[place + 1] *= 4
        if tap + self._side < self._taps:
            self._boosted[place + self._side] *= 2


def _power(base: Ints, exponent: int) -> Ints:
    """``base**exponent`` in units of ``2**-_SURVIVAL_BITS``, by squaring, rounded down."""
    result = np.full(len(base), 1 << _SURVIVAL_BITS, np.int64)
    while exponent:
        if exponent & 1:
            result = result * base >> _SURVIVAL_BITS
        base = base * base >> _SURVIVAL_BITS
        exponent >>= 1
    return result


def _tails(odds: Ints, count: int) -> Iterator[Ints]:
    """``e(j, t)`` for ``j = 0 … len(odds)`` and ``t = 0 … count - 1``, each ``t`` scaled to fit."""
    tail = np.full(len(odds) + 1, 1 << _TAIL_BITS, np.int64)
    yield tail
    for _ in range(count - 1):
        grown = np.cumsum((odds * tail[1:])[::-1])[::-1]
        tail = np.zeros(len(odds) + 1, np.int64)
        tail[:-1] = grown >> max(0, int(grown[0]).bit_length() - _TAIL_BITS)
        yield tail


def _code_balanced(
    coder: Coder,
    geometry: Geometry,
    alive: NDArray[np.bool_],
    occupied: NDArray[np.bool_] | None,
    budget: Budget,
) -> NDArray[np.bool_]:
    """Code where the non-zeros are in windows in which the rows of a group hold equally many.

    :param alive: the columns that are coded.
    :param occupied: all columns, ``(O, columns)``.
    :returns: those of the columns that are coded.
    """
    windows = None if occupied is None else find_windows(occupied, geometry.window)
    windows = _code_windows(coder, geometry, windows)
    bounds = window_bounds(geometry.window, windows.size, alive)
    part = None if occupied is None else occupied[:, alive]
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
    lines = _Lines(geometry.rows, int(bounds[-1]), geometry.taps, geometry.window[3])
    result = np.zeros((lines.lines, lines.cells), bool)
    if not counts.any():
        return result
    even = coder.symbol(_USUAL_EVENNESS, None if occupied is None else lines.evenness(occupied))
    places = None if occupied is None else _places(occupied)
    seen = np.zeros(lines.cells, np.int64)
    for row in np.flatnonzero(counts.any(1)).tolist():
        stretch = _Stretch(lines.odds(seen, even), lines.taps, lines.side, coder)
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
    used = _Lines(groups, len(cells), 1, 1).code(coder, None if most is None else most > 0, budget)
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


def _code_cells(
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
    """Which of a cell's neighbours before it in its kernel are occupied, and which there are."""
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


# --- adaptive: levels ----------------------------------------------------------------------------


def _code_levels(
    coder: Coder, geometry: Geometry, occupied: NDArray[np.bool_], matrix: Codes | None
) -> Codes:
    """Signs, given those of the neighbours before them in the kernel, and magnitudes by sign."""
    top = 1 << (geometry.weight_bits - 1)
    signs = [Adaptive(np.ones(2)) for _ in range(5)]
    magnitudes = Contexts(top, 2, _SIGN_TRUST)
    result = np.zeros((geometry.rows, geometry.columns), np.int16)
    for row, places in enumerate(_places(occupied)):
        line: dict[int, int] = {}
        for place in places:
            level = None if matrix is None else int(matrix[row, place])
            context = _lean(line, place, geometry.taps, geometry.window[3]) + 2
            negative = signs[context].code(coder, None if level is None else int(level < 0))
            magnitude = magnitudes.code(coder, negative, None if level is None else abs(level) - 1)
            magnitude += 1
            line[place] = -magnitude if negative else magnitude
        if line:
            result[row, places] = list(line.values())
    return result


def _lean(line: dict[int, int], place: int, taps: int, side: int) -> int:
    """-2 … 2: signs of the neighbours left, above (twice each) and diagonally above."""
    if taps == 1:
        return 0
    row, column = divmod(place % taps, side)
    lean = 0
    if column:
        lean += 2 * _sign(line.get(place - 1, 0))
    if row:
        lean += 2 * _sign(line.get(place - side, 0))
        lean += _sign(line.get(place - side - 1, 0)) if column else 0
        lean += _sign(line.get(place - side + 1, 0)) if column + 1 < side else 0
    return max(-2, min(2, lean))


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


# --- static --------------------------------------------------------------------------------------


def _code_static(coder: Coder, geometry: Geometry, matrix: Codes | None, budget: Budget) -> Codes:
    """Live rows and columns, then gaps and levels of what is left, row by row."""
    width = geometry.columns
    at = None if matrix is None else np.flatnonzero(matrix)
    rows = _code_live(coder, geometry.rows, None if at is None else at // width)
    columns = _code_live(coder, width, None if at is None else at % width)
    packed = None
    if at is not None:
        packed = np.searchsorted(rows, at // width) * len(columns)
        packed += np.searchsorted(columns, at % width)
    packed = _code_gaps(coder, len(rows) * len(columns), packed, budget)
    coder.mark(f"{geometry.name}.levels")
    top = 1 << (geometry.weight_bits - 1)
    levels = None
    if matrix is not None:
        values = matrix.reshape(-1)[at].astype(np.int32)
        levels = np.where(values < 0, values + top, values + top - 1)
    coded = _code_table(coder, 2 * top, len(packed), levels)
    result = np.zeros((geometry.rows, width), np.int16)
    across = max(len(columns), 1)
    flat = rows[packed // across] * width + columns[packed % across]
    result.reshape(-1)[flat] = np.where(coded < top, coded - top, coded - top + 1)
    return result


def _code_live(coder: Coder, size: int, live: Ints | None) -> Ints:
    """Which of ``size`` rows or columns hold a weight, ascending."""
    flags = None
    if live is not None:
        flags = np.zeros(size, np.int32)
        flags[live] = 1
    return np.flatnonzero(_code_table(coder, 2, size, flags))


def _code_gaps(coder: Coder, cells: int, at: Ints | None, budget: Budget) -> Ints:
    """Places of the non-zeros among ``cells``; the last symbol of the table skips without one."""
    table, symbols = None, None
    if at is not None:
        mean = cells // max(len(at), 1)
        table = min(max(_SHORTEST_TABLE, 1 << (8 * mean).bit_length()), _LONGEST_TABLE)
        symbols = _gap_symbols(at, table)
    table = 1 << Sizes("log2 of the gaps in a table", 11).code(
        coder, None if table is None else table.bit_length() - 1
    )
    if table < _SHORTEST_TABLE:
        raise PyadmmError(f"a table of gaps must have {_SHORTEST_TABLE} entries, not {table}")
    count = Sizes("the number of gaps", cells).code(
        coder, None if symbols is None else len(symbols)
    )
    if not budget.affords_symbols(count):
        raise PyadmmError("a layer has more non-zeros than a file of this length may hold")
    coded = _code_table(coder, table, count, symbols)
    skips = coded == table - 1
    places = np.cumsum(coded + ~skips, dtype=np.int64) - 1
    if count and places[-1] >= cells:
        raise PyadmmError("a non-zero lies outside its layer")
    return places[~skips]


def _gap_symbols(at: Ints, table: int) -> NDArray[np.int32]:
    gaps = np.diff(at, prepend=-1) - 1
    skips, rest = np.divmod(gaps, table - 1)
    symbols = np.full(len(at) + int(skips.sum()), table - 1, np.int32)
    symbols[np.cumsum(skips + 1) - 1] = rest
    return symbols


def _code_table(
    coder: Coder, size: int, count: int, symbols: NDArray[np.int32] | None
) -> NDArray[np.int32]:
    """``count`` symbols below ``size``: a table of frequencies, then all of them at once.

    A frequency takes ``_TABLE_BITS`` bits at most, as a share of the highest one.
    """
    weights = np.ones(size)
    scaled = None
    if symbols is not None and count:
        found = np.bincount(symbols, minlength=size).astype(np.int64)
        scaled = -(-found * ((1 << _TABLE_BITS) - 1) // max(int(found.max()), 1))
    shares = Sizes("a frequency", (1 << _TABLE_BITS) - 1)
    if count:
        for i in range(size):
            weights[i] = 1 + 16 * shares.code(coder, None if scaled is None else int(scaled[i]))
    return coder.symbols(weights, count, None if symbols is None else symbols.astype(np.int32))
