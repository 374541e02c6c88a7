"""A warning when a network has lost most of its accuracy, with the setting to relax."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST_POINTS = 0.05
"""A loss below five points is no collapse, whatever the share."""
_MOST = 0.5


def collapse(
    dense: float, integer: float, labels: NDArray[np.int64], pruned: float | None = None
) -> str | None:
    """A warning where the integer network kept less than half of the dense network's knowledge.

    The knowledge of a network is its accuracy above that of always giving the most frequent class.

    :param dense: accuracy of the dense network.
    :param integer: of the integer network, on the same images.
    :param labels: of these images.
    :param pruned: accuracy after pruning and before quantisation; tells which of the two it was.

    >>> labels = np.arange(100) % 4
    >>> collapse(0.95, 0.93, labels) is None
    True
    >>> collapse(0.95, 0.25, labels)[:70]
    'most of the accuracy is lost: 25.00 % of the integer network against 9'
    >>> "pruning_ratio" in collapse(0.95, 0.30, labels, pruned=0.31)
    True
    >>> "weight_bits" in collapse(0.95, 0.30, labels, pruned=0.94)
    True
    """
    chance = float(np.bincount(labels).max()) / len(labels)
    lost = dense - integer
    if lost < _LEAST_POINTS or lost < _MOST * (dense - chance):
        return None
    by_levels = pruned is not None and dense - pruned < lost / 2
    relax = (
        "raise weight_bits or activation_bits, or give quantize more epochs; it was still "
        f"{100 * pruned:.2f} % after pruning"
        if by_levels and pruned is not None
        else "lower pruning_ratio, raise filters_kept and neurons_kept, or give admm and retrain "
        "more epochs"
    )
    return (
        f"most of the accuracy is lost: {100 * integer:.2f} % of the integer network against "
        f"{100 * dense:.2f} % of the dense one (the most frequent class alone gives "
        f"{100 * chance:.2f} %); {relax}"
    )


def untrained(dense: float, labels: NDArray[np.int64]) -> str | None:
    """A warning where the dense network is not better than always giving the most frequent class.

    "No better" is within two standard errors of it.

    >>> untrained(0.26, np.arange(400) % 4)[:47]
    'the dense network has learnt nothing: 26.00 % o'
    >>> untrained(0.9, np.arange(400) % 4) is None
    True
    """
    chance = float(np.bincount(labels).max()) / len(labels)
    if dense > chance + 2 * (chance * (1 - chance) / len(labels)) ** 0.5:
        return None
    return (
        f"the dense network has learnt nothing: {100 * dense:.2f} % on images of which the most "
        f"frequent class has {100 * chance:.2f} %; give dense more epochs or another lr, and check "
        "the labels"
    )
