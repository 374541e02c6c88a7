"""Cost of a weight in the ``.admm`` file: the rate term of a projection that aims at bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_COLUMN_PRIORS = (3 / 16, 10 / 16, 28 / 16, 80 / 16)
_KERNEL_SHARE = 3 / 2
_KERNEL_PRIOR = 4.0


def position_bits(kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Bits of the position of each weight: for kept weights now, for the others if they were kept.

    The coder knows how many weights each row has, and learns how often each column is occupied. So
    one more weight in column ``k`` of a row with ``t`` others costs about

        ``log2(sum of all odds) - log2(odds_k) - log2(t + 1)``

    with a column's odds its occupied cells (in other rows), plus a share of its kernel's, plus
    one of four constants, as in :mod:`pyadmm.container.sparse`. Crowded rows and columns are cheap,
    empty ones expensive. Other costs of a row's first weight (bias, readers) are not counted.

    :param kept: occupancy ``(O, C, KH, KW)``, or ``(O, K)`` for a plain matrix.
    :returns: bits, of the same shape.

    >>> kept = np.zeros((4, 8), bool)
    >>> kept[:, 0] = kept[0, :2] = True
    >>> position_bits(kept)[3].round(1).tolist()
    [1.9, 1.7, 2.4, 2.4, 2.4, 2.4, 2.4, 2.4]
    """
    matrix = kept.reshape(len(kept), kept.shape[1], -1).astype(np.float64)
    taps = matrix.shape[2]
    others = matrix.sum(0, keepdims=True) - matrix
    kernel = matrix.sum((0, 2), keepdims=True) - matrix
    shared = others + (_KERNEL_SHARE * kernel + _KERNEL_PRIOR) / taps
    in_row = matrix.sum((1, 2), keepdims=True) - matrix
    choices = [_bits(shared + prior, in_row) for prior in _COLUMN_PRIORS]
    return min(choices, key=lambda bits: float(bits[matrix > 0].sum())).reshape(kept.shape)


def _bits(odds: NDArray[np.float64], in_row: NDArray[np.float64]) -> NDArray[np.float64]:
    total = odds.sum((1, 2), keepdims=True)
    return np.log2(total) - np.log2(odds) - np.log2(in_row + 1)
