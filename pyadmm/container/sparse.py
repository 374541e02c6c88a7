"""Entropy coding of a sparse matrix of level codes, for :mod:`pyadmm.container.codec`.

Four ways, chosen per layer:

* *by lines* (:mod:`~pyadmm.container.line_coding`), for layers of up to some ten thousand
  non-zeros: a row's (or column's) number of non-zeros comes first; then where they are, given that
  number, with odds learnt from the lines before and from neighbours in the same kernel.
* *by cells* (:mod:`~pyadmm.container.cell_coding`), for small, rather dense layers: each cell with
  a probability from the density of the row before and from its neighbours in the kernel.
* *balanced* (:mod:`~pyadmm.container.window_coding`), for window-balanced patterns: how many
  non-zeros the rows of a group have in each window, once for all of them; then the place of each
  within its window.
* *static* (:mod:`~pyadmm.container.static_coding`), for large layers: inactive rows and columns,
  then the gaps between non-zeros and their levels, each with one table of frequencies, in a few
  array operations.

After the first three, levels follow (:mod:`~pyadmm.container.level_coding`).
"""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from pyadmm.container.budget import Budget
from pyadmm.container.cell_coding import code_cells
from pyadmm.container.geometry import Codes, Geometry
from pyadmm.container.level_coding import code_levels
from pyadmm.container.line_coding import DENSE, Lines
from pyadmm.container.range_coder import Adaptive, Coder, Encoder, Sizes
from pyadmm.container.static_coding import code_static
from pyadmm.container.window_coding import code_balanced
from pyadmm.core.errors import PyadmmError
from pyadmm.model.windows import find_windows

_SMALL = 1 << 11
"""Layers with no more cells than that are expected to be coded by cells."""


class Coding(IntEnum):
    """Coding of the positions of a layer's non-zeros are coded; the last one since version 4."""

    BY_ROWS = 0
    BY_COLUMNS = 1
    BY_CELLS = 2
    STATIC = 3
    BALANCED = 4


def code_matrix(coder: Coder, geometry: Geometry, codes: Codes | None, budget: Budget) -> Codes:
    """Code the level codes of one layer; the result has shape ``(O, columns)``."""
    matrix = None if codes is None else codes.reshape(geometry.rows, geometry.columns)
    coder.mark(f"{geometry.name}.positions")
    mode = None if matrix is None else choose_coding(geometry, matrix, budget)
    usual = np.ones(5 if geometry.balanced else 4)
    usual[_usual(geometry)] = 12.0
    mode = coder.symbol(usual, mode)
    if mode == Coding.STATIC:
        return code_static(coder, geometry, matrix, budget)
    occupied = _code_occupancy(coder, geometry, matrix, mode, budget)
    coder.mark(f"{geometry.name}.levels")
    return code_levels(coder, geometry, occupied, matrix)


def choose_coding(geometry: Geometry, matrix: Codes, budget: Budget) -> int:
    """The coding that gives the smallest file."""
    modes = _free_modes(geometry, matrix, budget)
    if geometry.balanced and Coding.STATIC not in modes and is_balanced(geometry.window, matrix):
        modes.append(Coding.BALANCED)
    if len(modes) == 1:
        return modes[0]
    return min(modes, key=lambda mode: _position_bits(geometry, matrix, mode, budget))


def is_balanced(window: tuple[int, int, int, int], codes: Codes) -> bool:
    """Whether the level codes of a layer, ``window = (O, C, KH, KW)``, have a balanced pattern."""
    return find_windows(codes.reshape(window[0], -1) != 0, window) is not None


def _free_modes(geometry: Geometry, matrix: Codes, budget: Budget) -> list[int]:
    """Modes of free patterns that may give the smallest file."""
    by_lines = Coding.BY_COLUMNS if _long(geometry) else Coding.BY_ROWS
    lines, cells = (geometry.rows, geometry.columns)[:: -1 if by_lines == Coding.BY_COLUMNS else 1]
    nonzeros = int(np.count_nonzero(matrix))
    if not Budget(budget.left).affords(nonzeros, lines, cells):
        return [Coding.STATIC]
    active = geometry.rows * geometry.active_columns
    if active > DENSE * nonzeros or not Budget(budget.left).affords_cells(
        geometry.rows * geometry.columns
    ):
        return [by_lines]
    return [by_lines, Coding.BY_CELLS]


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
    if geometry.rows * geometry.active_columns <= _SMALL:
        return Coding.BY_CELLS
    return Coding.BY_COLUMNS if _long(geometry) else Coding.BY_ROWS


def _long(geometry: Geometry) -> bool:
    """Whether a layer is coded by columns, because it has far more inputs than outputs."""
    return geometry.taps == 1 and geometry.columns > 8 * geometry.rows


def _code_occupancy(
    coder: Coder, geometry: Geometry, matrix: Codes | None, mode: int, budget: Budget
) -> NDArray[np.bool_]:
    """Code the positions of the non-zeros, ``(O, columns)``."""
    occupied = None if matrix is None else matrix != 0
    active = np.repeat(_used_channels(coder, geometry, occupied), geometry.taps)
    part = None if occupied is None else occupied[:, active]
    result = np.zeros((geometry.rows, geometry.columns), bool)
    columns = int(active.sum())
    if mode == Coding.BY_CELLS:
        coded = code_cells(coder, geometry, columns, part, budget)
    elif mode == Coding.BALANCED:
        coded = code_balanced(coder, geometry, active, occupied, budget)
    elif mode == Coding.BY_COLUMNS:
        lines = Lines(columns, geometry.rows, 1, 1)
        coded = lines.code(coder, None if part is None else part.T, budget).T
    else:
        lines = Lines(geometry.rows, columns, geometry.taps, geometry.window[3])
        coded = lines.code(coder, part, budget)
    result[:, active] = coded
    return result


def _used_channels(
    coder: Coder, geometry: Geometry, occupied: NDArray[np.bool_] | None
) -> NDArray[np.bool_]:
    """The active channels, and the inactive ones that nevertheless have weights."""
    inactive = np.flatnonzero(~geometry.active)
    odd = None
    if occupied is not None:
        used = np.any(occupied.reshape(geometry.window), axis=(0, 2, 3))
        odd = np.flatnonzero(np.take(used, inactive)).tolist()
    count = Sizes("the number of inactive channels with weights", len(inactive), likely=1).code(
        coder, None if odd is None else len(odd)
    )
    flags = Adaptive(np.array([max(len(inactive) - count, 1.0), max(count, 1.0)]), step=0)
    result = geometry.active.copy()
    for place in range(len(inactive) if count else 0):
        result[inactive[place]] = flags.code(coder, None if odd is None else int(place in odd))
    return result
