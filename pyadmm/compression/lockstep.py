"""Balanced projections of whole layers, whose blocks consist of similar rows.

The hardware takes a layer's outputs in any order (:func:`pyadmm.hardware.balanced.group_words`), so the
rows of a block of a :class:`~pyadmm.admm.balanced.BalancedPattern` need not be neighbours. Rows whose
largest weights lie in the same windows lose least when they must keep equally many per window.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyadmm.admm.balanced import (
    BalancedPattern,
    balanced_joint_scale,
    balanced_mask,
    keep_balanced,
    keep_balanced_joint,
    steps_of,
)
from pyadmm.admm.projections import (
    Kept,
    optimal_scale,
    project_levels,
    row_mask,
    top_mask,
)
from pyadmm.admm.solver import Projection
from pyadmm.compression.schedule import Target
from pyadmm.model.windows import similar_rows
from pyadmm.settings import AdmmSettings


def alike_rows(gain: Tensor, pattern: BalancedPattern, count: int) -> Tensor:
    """An order of the rows that puts similar rows into the same block of ``pattern``.

    :param gain: ``(O, C, KH, KW)``; rows are similar where their entries among the ``count`` largest
        share windows.
    """
    if pattern.lockstep == 1:
        return torch.arange(len(gain), device=gain.device)
    kept = top_mask(gain, min(count, gain.numel()))
    counts = pattern.windows(kept.float()).sum(2).cpu().numpy().astype("int64")
    blocks = similar_rows(counts, pattern.lockstep)
    return torch.tensor([row for block in blocks for row in block], device=gain.device)


def alike_mask(
    gain: Tensor, pattern: BalancedPattern, weights: int, alike: int | None = None
) -> Tensor:
    """:func:`~pyadmm.admm.balanced.balanced_mask` with alike rows in the blocks.

    :param alike: number of largest gains by which rows are compared; ``None``: ``weights``.
    """
    order = alike_rows(gain, pattern, weights if alike is None else alike)
    mask = torch.zeros(gain.shape, dtype=torch.bool, device=gain.device)
    mask[order] = balanced_mask(gain[order], pattern, weights=weights)
    return mask


def step_gains(gain: Tensor, pattern: BalancedPattern, weights: int) -> Tensor:
    """The mean gain of the weights of a step, for each weight of that step.

    A step of an array in lock step keeps a weight of every row of its block, so a layer keeps some
    small weights for the sake of large ones. Layers that share a number of weights compare these
    means with the gains of unstructured ones.

    :param gain: ``(O, C, KH, KW)``, at least 0.
    :param weights: number of largest gains by which rows are compared.
    """
    order = alike_rows(gain, pattern, weights)
    ranked, places = pattern.windows(gain[order]).sort(dim=2, descending=True, stable=True)
    some = ranked > 0
    mean = pattern.blocks(ranked) / pattern.blocks(some.float()).clamp(min=1)
    mean = mean.repeat_interleave(pattern.lockstep, 0)[: len(gain)] * some
    windows = torch.zeros_like(ranked).scatter_(2, places, mean)
    result = torch.zeros_like(gain)
    result[order] = pattern.unwindowed(windows, gain.shape)
    return result


def fewest_steps(mask: Tensor, pattern: BalancedPattern) -> int:
    """Steps of an array in lock step with alike rows in its blocks; ``mask`` is boolean."""
    return steps_of(mask[alike_rows(mask.float(), pattern, int(mask.sum()))], pattern)


def balanced_projection(
    count: int, target: Target, matters: Tensor, joint: bool, settings: AdmmSettings
) -> Projection:
    """The projection of one layer on its window-balanced set, and levels if ``joint``.

    Blocks and windows are those of the channels that are left, as the hardware sees them; pruned
    outputs take no place in a block.

    :param matters: ``(O, C, KH, KW)``.
    """
    bits, rows, pattern = target.weight_bits, target.outputs, target.balanced
    assert pattern is not None

    def project(w: Tensor) -> Kept:
        if joint and count == w.numel():
            return Kept.of(project_levels(w, optimal_scale(w, bits), bits))
        every = torch.ones(len(w), dtype=torch.bool, device=w.device)
        bounded = rows is not None and rows < len(w)
        active = row_mask(w, count, rows).flatten() if bounded and rows is not None else every
        order = torch.nonzero(active).flatten()
        places = w.reshape(matters.shape)
        ranked = (places * matters if settings.curvature > 0 else places).square()
        order = order[alike_rows(ranked[order], pattern, count)]
        places = places[order]
        if settings.curvature > 0:
            places = places * balanced_mask(ranked[order], pattern, weights=count)
        if joint:
            q = balanced_joint_scale(places, count, bits, pattern)
            kept = keep_balanced_joint(places, count, q, bits, pattern)
        else:
            kept = keep_balanced(places, count, pattern)
        dense = torch.zeros(matters.shape, dtype=w.dtype, device=w.device)
        dense[order] = kept.dense()
        return Kept.of(dense.reshape(w.shape))

    return project
