"""A warning when a network has lost accuracy, with the setting to relax."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_POINTS = 0.02
"""A loss of two points is said, however few images there are."""
_ERRORS = 3.0
"""A loss of this many standard errors of the difference counts as well."""
_MOST = 0.5


def collapse(
    dense: float,
    integer: float,
    labels: NDArray[np.int64],
    stages: Sequence[float] | None = None,
) -> str | None:
    """A warning where the integer network is two points, or clearly, less accurate than the dense one.

    A loss counts relative to the accuracy of always giving the most frequent class.

    :param dense: accuracy of the dense network.
    :param integer: of the integer network, on the same images.
    :param labels: of these images.
    :param stages: accuracies of the dense, the pruned and the integer network on the validation
        images; they tell which of the two steps lost it.

    >>> labels = np.arange(10_000) % 4
    >>> collapse(0.95, 0.945, labels) is None
    True
    >>> collapse(0.95, 0.92, labels)[:65]
    'accuracy is lost: 92.00 % of the integer network against 95.00 % '
    >>> collapse(0.95, 0.25, labels)[:70]
    'most of the accuracy is lost: 25.00 % of the integer network against 9'
    >>> "pruning_ratio" in collapse(0.95, 0.30, labels, stages=(0.95, 0.31, 0.30))
    True
    >>> "weight_bits" in collapse(0.95, 0.30, labels, stages=(0.95, 0.94, 0.30))
    True
    """
    lost = dense - integer
    error = math.sqrt(sum(a * (1 - a) for a in (dense, integer)) / len(labels))
    if lost <= 0 or (lost < _POINTS and lost < _ERRORS * error):
        return None
    chance = float(np.bincount(labels).max()) / len(labels)
    most = lost >= _MOST * (dense - chance)
    return (
        f"{'most of the accuracy' if most else 'accuracy'} is lost: {100 * integer:.2f} % of the "
        f"integer network against {100 * dense:.2f} % of the dense one (standard error of the "
        f"difference {100 * error:.2f} points; the most frequent class alone gives "
        f"{100 * chance:.2f} %); {_relax(stages)}"
    )


def _relax(stages: Sequence[float] | None) -> str:
    """The settings to relax: of pruning, or of quantisation where that lost more."""
    if stages is not None:
        dense, pruned, integer = stages
        if dense - pruned < (dense - integer) / 2:
            return (
                "raise weight_bits or activation_bits, or give quantize more epochs; it was still "
                f"{100 * pruned:.2f} % of the validation images after pruning"
            )
    return (
        "lower pruning_ratio, raise filters_kept and neurons_kept, or give pruning (continuous or "
        "admm) and retrain more epochs"
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
