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


def untrained(dense: float, labels: NDArray[np.int64], *, given: bool = False) -> str | None:
    """A warning where the dense network is not better than always giving the most frequent class.

    "No better" is within two standard errors of it.

    :param given: whether it came with its weights.

    >>> untrained(0.26, np.arange(400) % 4)[:47]
    'the dense network has learnt nothing: 26.00 % o'
    >>> untrained(0.9, np.arange(400) % 4) is None
    True
    """
    guessing = _guessing(dense, labels)
    if guessing is None:
        return None
    remedy = (
        "check what its inputs mean (compress: input) and the order of the classes"
        if given
        else "give dense more epochs or another lr, and check the labels"
    )
    return f"the dense network has learnt nothing: {guessing}; {remedy}"


def strange_data(accuracy: float, labels: NDArray[np.int64]) -> str | None:
    """A warning where a compressed model is no better than always giving the most frequent class.

    >>> strange_data(0.26, np.arange(400) % 4)[:48]
    'the model knows nothing of these data: 26.00 % o'
    """
    guessing = _guessing(accuracy, labels)
    if guessing is None:
        return None
    return f"the model knows nothing of these data: {guessing}; name its own data with --data"


def _guessing(accuracy: float, labels: NDArray[np.int64]) -> str | None:
    """The accuracy and that of guessing, in words; ``None`` where it is better."""
    chance = float(np.bincount(labels).max()) / len(labels)
    if accuracy > chance + 2 * (chance * (1 - chance) / len(labels)) ** 0.5:
        return None
    return (
        f"{100 * accuracy:.2f} % on images of which the most frequent class has "
        f"{100 * chance:.2f} %"
    )
