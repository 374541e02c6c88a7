"""Euclidean projections of the Z-step: cardinality, quantisation levels, both at once.

Levels are those of ADMM-NN section 3.4.2: ``±q, ±2q … ±(M/2) q`` with ``M = 2**bits``; zero is not
a level, it means "pruned". All functions take a tensor of any shape and return the same shape.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyadmm.errors import PyadmmError

_JOINT_SWEEPS = 20
_LARGE = 1 << 21
"""From so many entries on, selection by sampling is faster than ``torch.topk``."""
_SAMPLE = 1 << 16
_CHUNK = 1 << 20
_CROWDING_SWEEPS = 3


def top_mask(score: Tensor, count: int) -> Tensor:
    """Boolean mask of the ``count`` largest entries of ``score``."""
    if not 0 <= count <= score.numel():
        raise PyadmmError(f"projection: cannot keep {count} of {score.numel()} entries")
    if score.device.type == "cpu" and score.numel() >= _LARGE and count > 0:
        return _large_top_mask(score.reshape(-1), count).reshape(score.shape)
    mask = torch.zeros(score.numel(), dtype=torch.bool, device=score.device)
    mask[torch.topk(score.reshape(-1), count, sorted=False).indices] = True
    return mask.reshape(score.shape)


def _large_top_mask(score: Tensor, count: int) -> Tensor:
    """:func:`top_mask` of a long vector, in linear time and with little memory.

    A sample brackets the ``count``-th largest value; one pass counts what lies above the bracket
    and collects what lies inside, where the value is found exactly. A bracket that misses is made
    wider. Of equal entries at the limit the first ones are kept.
    """
    limit = _kth_largest(score, count)
    mask = score > limit
    missing = count - int(mask.sum())
    for scores, chosen in zip(score.split(_CHUNK), mask.split(_CHUNK), strict=True):
        if missing == 0:
            break
        equal = torch.nonzero(scores == limit)[:missing, 0]
        chosen[equal] = True
        missing -= len(equal)
    return mask


def _kth_largest(score: Tensor, count: int) -> Tensor:
    sample = score[:: max(1, score.numel() // _SAMPLE)].sort(descending=True).values
    centre = count * len(sample) / score.numel()
    margin = 4 * math.sqrt(centre + 1) + 4
    while True:
        first, last = math.floor(centre - margin), math.ceil(centre + margin)
        bounded_above, bounded_below = first >= 0, last < len(sample)
        inside, above = [], 0
        for part in score.split(_CHUNK):
            held = torch.ones(len(part), dtype=torch.bool)
            if bounded_above:
                greater = part > sample[first]
                above += int(greater.sum())
                held = ~greater
            if bounded_below:
                held &= part >= sample[last]
            inside.append(part[held])
        candidates = torch.cat(inside)
        if above < count <= above + len(candidates):
            return torch.topk(candidates, count - above).values[-1]
        margin *= 4


def project_cardinality(w: Tensor, count: int) -> Tensor:
    """Nearest tensor with at most ``count`` non-zeros: the largest magnitudes stay.

    >>> project_cardinality(torch.tensor([1.0, -3.0, 2.0]), 2).tolist()
    [0.0, -3.0, 2.0]
    """
    return w * top_mask(w.abs(), count)


def row_mask(w: Tensor, count: int, rows: int) -> Tensor:
    """Mask ``(O, 1, …)`` of the ``rows`` outputs that hold most of the ``count`` largest entries.

    Fewer living outputs make positions cheap to store; the energy of the entries that would stay
    anyway decides who lives.
    """
    energy = (w * top_mask(w.abs(), min(count, w.numel()))).square().flatten(1).sum(1)
    mask = top_mask(energy, min(rows, len(energy)))
    return mask.reshape(-1, *[1] * (w.ndim - 1))


def crowded_mask(w: Tensor, count: int, strength: float) -> Tensor:
    """Mask of the ``count`` entries with the largest ``|w| (rows * columns)**strength``.

    ``rows`` and ``columns`` count the non-zeros (plus one) that share the entry's output or its
    input and place in the kernel. An entropy coder spends about ``-log2`` of their product on a
    position, so this trades magnitude for bytes, and whole rows and columns die.

    >>> crowded_mask(torch.tensor([[3.0, 2.0], [2.1, 0.0]]), 2, 0.0).tolist()
    [[True, False], [True, False]]
    """
    magnitude = w.abs().flatten(1)
    mask = top_mask(magnitude, count)
    for _ in range(_CROWDING_SWEEPS if strength > 0 else 0):
        crowd = (mask.sum(1, keepdim=True) + 1) * (mask.sum(0, keepdim=True) + 1)
        mask = top_mask(magnitude * crowd**strength, count)
    return mask.reshape(w.shape)


def level_codes(w: Tensor, q: float | Tensor, bits: int) -> Tensor:
    """Codes ``±1 … ±2**(bits-1)`` of the level nearest to each ``w`` (0 maps to +1).

    >>> level_codes(torch.tensor([0.1, -0.7, 9.0]), 0.5, 2).tolist()
    [1.0, -1.0, 2.0]
    """
    magnitude = torch.floor(w.abs() / q + 0.5).clamp_(1, 1 << (bits - 1))
    return torch.where(w < 0, -magnitude, magnitude)


def project_levels(w: Tensor, q: float, bits: int) -> Tensor:
    """Nearest levels ``q * level_codes(w, q, bits)``."""
    return q * level_codes(w, q, bits)


def optimal_scale(w: Tensor, bits: int) -> float:
    """The ``q > 0`` that minimises ``||w - project_levels(w, q, bits)||``, exactly.

    With all codes fixed the best scale is ``S1/S2``, ``S1 = sum |w| c``, ``S2 = sum c**2``, and
    leaves ``sum w**2 - S1**2/S2``. As ``q`` falls from infinity the codes change at the breakpoints
    ``|w|/(c + 1/2)`` only, so a sorted sweep with cumulative sums meets every code vector that any
    ``q`` can give, the optimal one among them. Time ``O(n M log(n M))``.

    :raises PyadmmError: if ``w`` has no non-zero entry.
    """
    magnitude = w.detach().abs().reshape(-1).double()
    magnitude = magnitude[magnitude > 0]
    if magnitude.numel() == 0:
        raise PyadmmError("quantisation: a tensor without non-zero weights has no scale")
    code = torch.arange(1, 1 << (bits - 1), dtype=torch.float64, device=w.device)
    breakpoints = (magnitude[:, None] / (code + 0.5)).reshape(-1)
    order = torch.argsort(breakpoints, descending=True, stable=True)
    steps1 = magnitude[:, None].expand(-1, len(code)).reshape(-1)[order]
    steps2 = (2 * code + 1).expand(len(magnitude), -1).reshape(-1)[order]
    s1 = torch.cat([magnitude.sum().reshape(1), steps1]).cumsum(0)
    s2 = torch.cat([torch.tensor([float(magnitude.numel())], device=w.device), steps2]).cumsum(0)
    best = torch.argmax(s1 * s1 / s2)
    return float(s1[best] / s2[best])


def level_gain(w: Tensor, q: float, bits: int) -> Tensor:
    """``w**2 - (w - nearest level)**2``: what keeping an entry saves over pruning it."""
    return w.square() - (w - project_levels(w, q, bits)).square()


def project_joint(w: Tensor, count: int, q: float, bits: int) -> Tensor:
    """Nearest tensor with at most ``count`` non-zeros, all of them levels of scale ``q``.

    The entries with the largest :func:`level_gain` stay, so far as it is positive; ranking by
    magnitude would not be optimal.

    >>> project_joint(torch.tensor([1.1, 0.3, 2.4]), 1, 1.0, 1).tolist()
    [0.0, 0.0, 1.0]
    """
    gain = level_gain(w, q, bits)
    return project_levels(w, q, bits) * (top_mask(gain, count) & (gain > 0))


def joint_scale(w: Tensor, count: int, bits: int) -> float:
    """A scale for :func:`project_joint`, by descent on support and scale in turn.

    Given the scale the support is optimal (largest gains), given the support the scale is
    (:func:`optimal_scale`); the squared error falls at every turn until neither changes.
    """
    q = optimal_scale(project_cardinality(w, count), bits)
    for _ in range(_JOINT_SWEEPS):
        support = project_joint(w, count, q, bits) != 0
        refined = optimal_scale(w * support, bits)
        if refined == q:
            break
        q = refined
    return q
