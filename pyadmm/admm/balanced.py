"""Euclidean projections on window-balanced sets, which an array in lock step runs without gaps.

A weight is seen as ``(rows, windows, places)``: a window holds up to ``window`` neighbouring places
of one kernel row, or as many input channels where the kernel is a single place. The rows are the
output channels, in blocks of ``lockstep`` that run together. In window ``w`` every row of block
``b`` keeps at most ``N[b, w]`` weights; the numbers ``N`` are free, and their sum, the *steps* that
the array takes, is bounded.

The projection is exact. Given ``N``, every row keeps the largest gains of each window, so the
``j``-th weight of a window adds the block's sum of ``j``-th largest gains. These sums fall with
``j``; the ``s`` largest of all therefore are the best ``s`` steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pyadmm.admm.projections import (
    Kept,
    level_gain,
    optimal_scale,
    project_levels,
    top_mask,
)
from pyadmm.core.errors import PyadmmError

_JOINT_SWEEPS = 20


@dataclass(frozen=True)
class BalancedPattern:
    """A window-balanced constraint set: equally many weights in every window of a block of rows.

    :param window: places of a window, at least 1; 1 makes the rows of a block share all positions.
    :param lockstep: rows that keep equally many weights in each window, at least 1.
    :param fill: share of the places of all steps that a bounded number of weights fills, in (0, 1];
        below 1 rows may keep fewer weights than their block's number, and there are more steps.
    """

    window: int
    lockstep: int
    fill: float = 1.0

    def __post_init__(self) -> None:
        for name in ("window", "lockstep"):
            if getattr(self, name) < 1:
                raise PyadmmError(
                    f"balanced pattern: {name} must be at least 1, not {getattr(self, name)}"
                )
        if not 0 < self.fill <= 1:
            raise PyadmmError(f"balanced pattern: fill must be in (0, 1], not {self.fill}")

    def windows(self, tensor: Tensor) -> Tensor:
        """``(O, C, KH, KW)`` as ``(O, windows, places)``, padded with zeros to whole windows.

        >>> BalancedPattern(3, 1).windows(torch.arange(5.0).reshape(1, 1, 1, 5)).tolist()
        [[[0.0, 1.0, 2.0], [3.0, 4.0, 0.0]]]
        """
        rows, _, height, width = tensor.shape
        line = tensor.reshape(rows, 1, -1) if height == width == 1 else tensor.flatten(1, 2)
        padded = F.pad(line, (0, -line.shape[2] % self.window))
        return padded.reshape(rows, -1, self.window)

    def unwindowed(self, windows: Tensor, shape: torch.Size) -> Tensor:
        """Inverse of :meth:`windows` for a tensor of ``shape``."""
        rows, channels, height, width = shape
        lines, length = (1, channels) if height == width == 1 else (channels * height, width)
        return windows.reshape(rows, lines, -1)[:, :, :length].reshape(shape)

    def blocks(self, windows: Tensor) -> Tensor:
        """``(O, windows, places)`` summed over the rows of each block."""
        padded = F.pad(windows, (0, 0, 0, 0, 0, -len(windows) % self.lockstep))
        return padded.reshape(-1, self.lockstep, *windows.shape[1:]).sum(1)


def steps_of(mask: Tensor, pattern: BalancedPattern) -> int:
    """Steps of an array in lock step: over blocks and windows, the fullest row's weights.

    :param mask: boolean ``(O, C, KH, KW)``.
    """
    counts = pattern.windows(mask.float()).sum(2)
    padded = F.pad(counts, (0, 0, 0, -len(counts) % pattern.lockstep))
    return int(padded.reshape(-1, pattern.lockstep, counts.shape[1]).amax(1).sum())


def balanced_mask(
    gain: Tensor, pattern: BalancedPattern, *, steps: int | None = None, weights: int | None = None
) -> Tensor:
    """Mask of the window-balanced pattern with the largest summed ``gain``.

    Only positive gains are kept, so a row may hold fewer weights than its block's number.

    :param gain: ``(O, C, KH, KW)``: what each weight adds if it is kept.
    :param steps: bound of the steps; the mask is the best one within it.
    :param weights: instead, a bound of the kept weights: the mask is the best one of as many steps
        as keep within it, or a part of the best step where that alone exceeds the bound. With
        ``fill`` below 1 there are as many steps as have ``weights / fill`` places, and the largest
        gains in them are kept.
    """
    ranked, order = pattern.windows(gain).clamp(min=0).sort(dim=2, descending=True, stable=True)
    totals = pattern.blocks(ranked)
    sums, places = totals.flatten().sort(dim=0, descending=True, stable=True)
    useful = int((sums > 0).sum())
    if weights is not None:
        costs = pattern.blocks((ranked > 0).float()).flatten()[places]
        if pattern.fill < 1:
            costs = torch.full_like(costs, pattern.lockstep)
        useful = min(useful, int((costs.double().cumsum(0) <= weights / pattern.fill).sum()))
        useful = max(useful, 1)
    if steps is not None:
        useful = min(useful, steps)
    numbers = torch.zeros_like(totals).flatten()
    numbers[places[:useful]] = 1
    allowed = numbers.reshape(totals.shape).sum(2).repeat_interleave(pattern.lockstep, 0)
    rank = torch.arange(pattern.window, device=gain.device)
    chosen = (rank < allowed[: len(gain), :, None]) & (ranked > 0)
    mask = pattern.unwindowed(torch.zeros_like(chosen).scatter_(2, order, chosen), gain.shape)
    if weights is not None and int(mask.sum()) > weights:  # fill, or not even one whole step
        mask = mask & top_mask(torch.where(mask, gain, -torch.ones_like(gain)), weights)
    return mask


def keep_balanced(w: Tensor, count: int, pattern: BalancedPattern) -> Kept:
    """Nearest tensor of a window-balanced pattern with at most ``count`` non-zeros.

    :param w: ``(O, C, KH, KW)``.
    """
    mask = balanced_mask(w.square(), pattern, weights=count)
    return Kept(mask, w[mask])


def keep_balanced_joint(
    w: Tensor, count: int, q: float, bits: int, pattern: BalancedPattern
) -> Kept:
    """:func:`keep_balanced` whose non-zeros are levels of scale ``q``."""
    mask = balanced_mask(level_gain(w, q, bits), pattern, weights=count)
    return Kept(mask, project_levels(w[mask], q, bits))


def balanced_joint_scale(w: Tensor, count: int, bits: int, pattern: BalancedPattern) -> float:
    """A scale for :func:`keep_balanced_joint`, by descent on support and scale in turn.

    The support may take another number of steps with every scale, so the error may rise; the scale
    of the least error met is returned.
    """
    q = optimal_scale(keep_balanced(w, count, pattern).values, bits)
    met: dict[float, float] = {}
    for _ in range(_JOINT_SWEEPS):
        kept = keep_balanced_joint(w, count, q, bits, pattern)
        met[q] = float((w - kept.dense()).square().sum())
        q = optimal_scale(w[kept.mask], bits)
        if q in met:
            break
    return min(met, key=lambda scale: met[scale])
