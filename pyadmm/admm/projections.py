"""Euclidean projections of the Z-step: cardinality, quantisation levels, both at once.

Levels are those of ADMM-NN section 3.4.2: ``±q, ±2q … ±(M/2) q`` with ``M = 2**bits``; zero is not
a level, it means "pruned". All functions take a tensor of any shape and return the same shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyadmm.admm.scale_search import best_scale
from pyadmm.core.errors import PyadmmError

_JOINT_SWEEPS = 20
_LARGE = 1 << 17
"""From this many entries on, selection by sampling is faster than ``torch.topk``."""
_SAMPLE = 1 << 14
CHUNK = 1 << 16
"""Entries of a long tensor that are worked on at a time, so that temporaries stay in the cache."""
_CROWDING_SWEEPS = 3
MOST_BREAKPOINTS = 1 << 18
"""More are not sorted all, which would take time and memory."""
Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Kept:
    """Result of a projection in compact form: a byte for every entry and the kept values.

    :param mask: boolean, of the tensor's shape.
    :param values: the entries under ``mask``, in row-major order; all others are 0.

    >>> Kept.of(torch.tensor([[0.0, -3.0], [2.0, 0.0]])).values.tolist()
    [-3.0, 2.0]
    """

    mask: Tensor
    values: Tensor

    @classmethod
    def of(cls, dense: Tensor) -> Kept:
        """The non-zeros of ``dense``."""
        mask = dense != 0
        return cls(mask, dense[mask])

    def dense(self) -> Tensor:
        """The projected tensor itself."""
        zeros = torch.zeros(self.mask.shape, dtype=self.values.dtype, device=self.values.device)
        return zeros.masked_scatter_(self.mask, self.values)

    def parts(self) -> Iterator[Tensor]:
        """:meth:`dense`, flat, in pieces of :data:`CHUNK` entries."""
        done = 0
        for mask in pieces(self.mask):
            part = self.values.new_zeros(len(mask))
            count = int(mask.sum())
            yield part.masked_scatter_(mask, self.values[done : done + count])
            done += count


def pieces(tensor: Tensor) -> tuple[Tensor, ...]:
    """The tensor, flat, in pieces of :data:`CHUNK` entries."""
    return tensor.reshape(-1).split(CHUNK)


def top_mask(values: Tensor, count: int, score: Score | None = None) -> Tensor:
    """Boolean mask of the ``count`` entries of ``values`` with the largest ``score``.

    :param score: of every entry by itself; ``None``: the entry is its own score.
    """
    if not 0 <= count <= values.numel():
        raise PyadmmError(f"projection: cannot keep {count} of {values.numel()} entries")
    score = score or (lambda part: part)
    if values.device.type == "cpu" and values.numel() >= _LARGE and count > 0:
        return _large_top_mask(values.reshape(-1), count, score).reshape(values.shape)
    mask = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
    mask[torch.topk(score(values.reshape(-1)), count, sorted=False).indices] = True
    return mask.reshape(values.shape)


def _large_top_mask(values: Tensor, count: int, score: Score) -> Tensor:
    """:func:`top_mask` of a long vector in one pass, with the mask as the only long temporary.

    A sample brackets the ``count``-th largest score; the pass marks what lies above the bracket and
    collects what lies inside, where the limit is found exactly. A bracket that misses is made
    wider. Of equal entries at the limit the first ones are kept.
    """
    sample = score(values[:: max(1, len(values) // _SAMPLE)]).sort(descending=True).values
    centre = count * len(sample) / len(values)
    margin = 4 * math.sqrt(centre + 1) + 4
    mask = np.empty(len(values), np.bool_)
    while True:
        first, last = math.floor(centre - margin), math.ceil(centre + margin)
        high = float(sample[first]) if first >= 0 else math.inf
        low = float(sample[last]) if last < len(sample) else -math.inf
        if _mark(mask, values, count, score, (low, high)):
            return torch.from_numpy(mask)
        if first < 0 and last >= len(sample):
            raise PyadmmError("projection: weights must be numbers, but some are not (NaN)")
        margin *= 4


def _mark(
    mask: NDArray[np.bool_],
    values: Tensor,
    count: int,
    score: Score,
    bracket: tuple[float, float],
) -> bool:
    """Fill ``mask`` with the ``count`` largest, if the smallest of them lies in ``bracket``."""
    low, high = bracket
    above = 0
    inside: list[NDArray[np.float32]] = []
    places: list[NDArray[np.int64]] = []
    for start in range(0, len(values), CHUNK):
        scores = score(values[start : start + CHUNK]).numpy()
        chosen = mask[start : start + CHUNK]
        np.greater(scores, high, out=chosen)
        above += int(np.count_nonzero(chosen))
        # Of many entries that equal the lower bound, zeros above all, none is stored.
        held = np.flatnonzero((scores > low) & (scores <= high))
        inside.append(scores[held])
        places.append(held + start)
    candidates, where = np.concatenate(inside), np.concatenate(places)
    missing = count - above
    if missing < 1:
        return False
    if missing <= len(candidates):
        limit = np.partition(candidates, -missing)[-missing]
        greater = candidates > limit
        mask[where[greater]] = True
        mask[where[candidates == limit][: missing - np.count_nonzero(greater)]] = True
        return True
    mask[where] = True
    missing -= len(candidates)
    for start in range(0, len(values), CHUNK):
        equal = np.flatnonzero(score(values[start : start + CHUNK]).numpy() == low)[:missing]
        mask[start + equal] = True
        missing -= len(equal)
        if missing == 0:
            return True
    return False


def keep_largest(w: Tensor, count: int, metric: Tensor | None = None) -> Kept:
    """:func:`project_cardinality` in compact form.

    :param metric: weights ``h > 0`` of the distance ``sum h (w - z)**2``; ``None``: all are 1.
    """
    if metric is None:
        return _kept(w, top_mask(w, count, torch.abs))
    return _kept(w, top_mask(metric * w.square(), count))


def _kept(w: Tensor, mask: Tensor) -> Kept:
    """The entries of ``w`` under ``mask``, zeros left out."""
    values = w[mask]
    if bool((values == 0).any()):
        mask = mask & (w != 0)
        values = w[mask]
    return Kept(mask, values)


def project_cardinality(w: Tensor, count: int) -> Tensor:
    """Nearest tensor with at most ``count`` non-zeros: the largest magnitudes stay.

    >>> project_cardinality(torch.tensor([1.0, -3.0, 2.0]), 2).tolist()
    [0.0, -3.0, 2.0]
    """
    return w * top_mask(w, count, torch.abs)


def row_mask(w: Tensor, count: int, rows: int) -> Tensor:
    """Boolean mask ``(O, 1, …)`` of the ``rows`` outputs that hold most of the ``count`` largest entries.

    Fewer active outputs make positions cheap to store. The outputs that stay active are those whose
    entries among the ``count`` largest have the largest sum of squares.
    """
    energy = (w * top_mask(w, min(count, w.numel()), torch.abs)).square().flatten(1).sum(1)
    mask = top_mask(energy, min(rows, len(energy)))
    return mask.reshape(-1, *[1] * (w.ndim - 1))


def crowded_mask(w: Tensor, count: int, strength: float) -> Tensor:
    """Mask of the ``count`` entries with the largest ``|w| (rows * columns)**strength``.

    ``rows`` and ``columns`` count the non-zeros (plus one) that share the entry's output or its
    input and place in the kernel. An entropy coder spends about ``-log2`` of their product on a
    position, so this trades magnitude for bytes, and whole rows and columns become empty.

    >>> crowded_mask(torch.tensor([[3.0, 2.0], [2.1, 0.0]]), 2, 0.0).tolist()
    [[True, False], [True, False]]
    """
    magnitude = w.abs().flatten(1)
    mask = top_mask(magnitude, count)
    for _ in range(_CROWDING_SWEEPS if strength > 0 else 0):
        mask = top_mask(magnitude * crowd(mask) ** strength, count)
    return mask.reshape(w.shape)


def crowd(mask: Tensor) -> Tensor:
    """``(rows + 1) (columns + 1)`` of :func:`crowded_mask` for every entry of ``mask``.

    >>> crowd(torch.tensor([[True, True], [False, True]])).tolist()
    [[6, 9], [4, 6]]
    """
    flat = mask.flatten(1)
    return ((flat.sum(1, keepdim=True) + 1) * (flat.sum(0, keepdim=True) + 1)).reshape(mask.shape)


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


def optimal_scale(w: Tensor, bits: int, most_breakpoints: int = MOST_BREAKPOINTS) -> float:
    """The ``q > 0`` that minimises ``||w - project_levels(w, q, bits)||``, exactly.

    With all codes fixed the best scale is ``S1/S2``, ``S1 = sum |w| c``, ``S2 = sum c**2``, and
    leaves ``sum w**2 - S1**2/S2``. As ``q`` falls from infinity the codes change at the breakpoints
    ``|w|/(c + 1/2)`` only, so a sorted sweep with cumulative sums meets every code vector that any
    ``q`` can give, the optimal one among them. Time ``O(n M log(n M))``; of many breakpoints
    :func:`~pyadmm.admm.scale_search.best_scale` sweeps those only that may be the best.

    :param most_breakpoints: that are swept one by one.
    :raises PyadmmError: if ``w`` has no non-zero entry, or many of which some are not finite.
    """
    count = int(torch.count_nonzero(w))
    if count == 0:
        raise PyadmmError("quantisation: a tensor without non-zero weights has no scale")
    levels = 1 << (bits - 1)
    if count * (levels - 1) > most_breakpoints:
        magnitudes = w.detach().abs().reshape(-1)
        if not bool(magnitudes.isfinite().all()):
            raise PyadmmError("quantisation: weights must be finite numbers, but some are not")
        return best_scale(magnitudes.cpu().numpy(), levels)
    magnitude = w.detach()[w != 0].abs().double()
    code = torch.arange(1, levels, dtype=torch.float64, device=w.device)
    breakpoints = (magnitude[:, None] / (code + 0.5)).reshape(-1)
    order = torch.argsort(breakpoints, descending=True, stable=True)
    steps1 = magnitude[:, None].expand(-1, len(code)).reshape(-1)[order]
    steps2 = (2 * code + 1).expand(len(magnitude), -1).reshape(-1)[order]
    s1 = torch.cat([magnitude.sum().reshape(1), steps1]).cumsum(0)
    s2 = torch.cat([magnitude.new_full((1,), magnitude.numel()), steps2]).cumsum(0)
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
    return keep_joint(w, count, q, bits).dense()


def keep_joint(w: Tensor, count: int, q: float, bits: int, metric: Tensor | None = None) -> Kept:
    """:func:`project_joint` in compact form.

    :param metric: weights ``h > 0`` of the distance ``sum h (w - z)**2``; the gains count as often.
    """
    if metric is None:
        mask = top_mask(w, count, lambda part: level_gain(part, q, bits))
    else:
        mask = top_mask(metric * level_gain(w, q, bits), count)
    values = w[mask]
    gainful = level_gain(values, q, bits) > 0
    if not bool(gainful.all()):
        mask = mask.masked_scatter(mask, gainful)
        values = values[gainful]
    return Kept(mask, project_levels(values, q, bits))


def joint_scale(w: Tensor, count: int, bits: int, metric: Tensor | None = None) -> float:
    """A scale for :func:`project_joint`, by descent on support and scale in turn.

    Given the scale the support is optimal (largest gains), given the support the scale is
    (:func:`optimal_scale`); the squared error falls at every turn until neither changes.

    :param metric: decides the support, as in :func:`keep_joint`; the scale is that of the Euclidean
        distance on it.
    """
    q = optimal_scale(keep_largest(w, count, metric).values, bits)
    for _ in range(_JOINT_SWEEPS):
        refined = optimal_scale(w[keep_joint(w, count, q, bits, metric).mask], bits)
        if refined == q:
            break
        q = refined
    return q
