"""Output channels shared among groups, so that all groups have about as much to do."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from pyadmm.model.types import IntArray


def assign_groups(loads: IntArray, groups: int) -> list[list[int]]:
    """Output channels of every group: longest first, each to the least loaded group.

    Ties go to the lower channel and the lower group (Graham's LPT rule: the largest load is within
    4/3 of the best possible).

    >>> assign_groups(np.array([3, 5, 4, 2]), 2)
    [[1, 3], [2, 0]]
    """
    assigned: list[list[int]] = [[] for _ in range(groups)]
    heap = [(0, group) for group in range(groups)]
    for channel in np.argsort(-loads, kind="stable").tolist():
        load, group = heap[0]
        assigned[group].append(channel)
        heapq.heapreplace(heap, (load + int(loads[channel]), group))
    return assigned


def group_loads(loads: IntArray, groups: int) -> NDArray[np.int64]:
    """Entries of every group under :func:`assign_groups`: its cycles per tile."""
    return np.array([int(loads[members].sum()) for members in assign_groups(loads, groups)])
