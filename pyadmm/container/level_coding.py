"""Signs and magnitudes of the level codes at known places."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyadmm.container.geometry import Codes, Geometry
from pyadmm.container.line_coding import places_of_lines
from pyadmm.container.range_coder import Adaptive, Coder, Contexts

_SIGN_TRUST = 10
"""Magnitudes of one sign count as much as those of both after this many weights."""


def code_levels(
    coder: Coder, geometry: Geometry, occupied: NDArray[np.bool_], matrix: Codes | None
) -> Codes:
    """Signs, given those of the neighbours before them in the kernel, and magnitudes by sign."""
    top = 1 << (geometry.weight_bits - 1)
    signs = [Adaptive(np.ones(2)) for _ in range(5)]
    magnitudes = Contexts(top, 2, _SIGN_TRUST)
    result = np.zeros((geometry.rows, geometry.columns), np.int16)
    for row, places in enumerate(places_of_lines(occupied)):
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
