"""Occupancy of a matrix line by line: counts of non-zeros, then their places, given the counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pyadmm.container.budget import LINE_LIMIT, Budget
from pyadmm.container.geometry import Ints
from pyadmm.container.range_coder import Coder, Sizes
from pyadmm.core.errors import PyadmmError

_EVENNESS = (3, 10, 28, 80)
"""Constants of a cell's odds: the higher, the less a column's past says about its future."""
USUAL_EVENNESS = np.array([1.0, 2.0, 4.0, 1.0])
_LARGE = 1 << 20
_SURVIVAL_BITS = 20
_MOST_ALIKE = 256
"""Longer runs of lines with equal counts are treated as if they were so long."""
_EXACT_COUNT = 32
"""Most non-zeros of a stretch that is coded by :func:`_code_sparse`; longer ones are halved."""
DENSE = 16
"""Stretches with fewer cells per non-zero are coded cell by cell."""
_ODDS_BITS = 12
_TAIL_BITS = 36
_WEIGHT_BITS = 24


@dataclass(frozen=True)
class Lines:
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
        places = None if occupied is None else places_of_lines(occupied)
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
        even = coder.symbol(USUAL_EVENNESS, None if occupied is None else self.evenness(occupied))
        seen = np.zeros(self.cells, np.int64)
        before: list[int] = []
        alike = _alike(counts) if descending else [1] * self.lines
        for line, count in enumerate(counts):
            if count == 0:
                continue
            first = before[0] if descending and len(before) == count else 0
            stretch = Stretch(self.odds(seen, even), self.taps, self.side, coder)
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
            return int(USUAL_EVENNESS.argmax())
        lines = occupied[live].astype(np.float64)
        seen = np.cumsum(lines, axis=0) - lines
        kernel = seen.reshape(len(lines), -1, self.taps).sum(2)
        shared = 16 * seen + ((24 * kernel + 64) / self.taps).repeat(self.taps, 1)
        bits = []
        for even in _EVENNESS:
            odds = shared + even
            places = lines.sum(1) * np.log2(odds.sum(1)) - (lines * np.log2(odds)).sum(1)
            bits.append(float(places.sum()))
        return int(np.argmin(bits - np.log2(USUAL_EVENNESS)))


def places_of_lines(occupied: NDArray[np.bool_]) -> list[list[int]]:
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


class Stretch:
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
        if cells < DENSE * count:
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
