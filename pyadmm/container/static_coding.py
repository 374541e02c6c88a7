"""Gaps and levels of a large matrix by tables of frequencies, in a few array operations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyadmm.container.budget import Budget
from pyadmm.container.geometry import Codes, Geometry, Ints
from pyadmm.container.range_coder import Coder, Sizes
from pyadmm.core.errors import PyadmmError

_SHORTEST_TABLE, _LONGEST_TABLE = 16, 2048
_TABLE_BITS = 12


def code_static(coder: Coder, geometry: Geometry, matrix: Codes | None, budget: Budget) -> Codes:
    """Code the active rows and columns, then gaps and levels of these, row by row."""
    width = geometry.columns
    at = None if matrix is None else np.flatnonzero(matrix)
    rows = _code_active(coder, geometry.rows, None if at is None else at // width)
    columns = _code_active(coder, width, None if at is None else at % width)
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


def _code_active(coder: Coder, size: int, active: Ints | None) -> Ints:
    """Which of ``size`` rows or columns hold a weight, ascending."""
    flags = None
    if active is not None:
        flags = np.zeros(size, np.int32)
        flags[active] = 1
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
