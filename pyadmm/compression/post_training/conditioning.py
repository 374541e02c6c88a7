"""The damping of a layer's least-squares problem, chosen by cross validation.

With few images and many inputs, undamped least squares overfits. The damping pulls the weights to
their trained values. Weights are fitted to one half of the images with each of several dampings; the
damping with the least error on the other half is taken.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pyadmm.admm.projections import top_mask
from pyadmm.compression.post_training.moments import Folds, Moments
from pyadmm.compression.post_training.problem import Problem, least_squares, make_problem

SHARES = (1e-3, 1e-2, 1e-1, 0.5, 2.5)
"""Dampings that are tried, relative to the mean input variance."""
_ENOUGH_SAMPLES = 64
"""Samples per input from which on the least damping is taken."""
_OUTPUTS = 64
"""Outputs of a group on which the error is measured, at most."""
_TOLERANCE = 1e-2
_LEAST_VARIANCE = 1e-8
_DOUBLE_UP_TO = 700
"""Inputs of a layer whose problem is solved in float64; larger ones in float32."""


def problem_of(
    moments: Moments, dense: Tensor, share: float, bits: int, metric: Tensor | None = None
) -> Problem:
    """The problem of a layer with all its weights.

    :param dense: ``w0``, ``(g, K, O)``.
    :param share: damping, relative to the mean variance of a group's inputs.
    :param metric: of the damping, ``(g, K, K)`` of mean diagonal 1; ``None``: the identity.
    """
    hessian, cross = moments.centred()
    kind = torch.float64 if hessian.shape[1] <= _DOUBLE_UP_TO else torch.float32
    variance = hessian.diagonal(dim1=1, dim2=2).mean(1, keepdim=True)
    size = (share * variance).clamp(min=_LEAST_VARIANCE)
    plain = torch.diag_embed(size.expand(hessian.shape[:2]))
    damping = plain if metric is None else size.unsqueeze(2) * metric
    return make_problem(
        (hessian.to(kind), cross.to(kind)),
        dense.to(kind),
        damping.to(kind),
        count=dense.numel(),
        bits=bits,
    )


def choose_damping(folds: Folds, dense: Tensor, kept: float, metric: Tensor | None = None) -> float:
    """The share of :data:`SHARES` whose pruned weights have the least error on the other half.

    :param kept: share of the weights that stay.
    :param metric: as in :func:`problem_of`.
    """
    inputs = dense.shape[1]
    if min(folds.first.count, folds.second.count) == 0:
        return SHARES[-1]
    if folds.count >= _ENOUGH_SAMPLES * inputs:
        return SHARES[0]
    halves = [(folds.first, folds.second), (folds.second, folds.first)]
    shown = [(_some_outputs(a), _some_outputs(b)) for a, b in halves]
    part = dense[:, :, :_OUTPUTS]

    def error(share: float) -> float:
        return sum(
            _error(problem_of(fit, part, share, 8, metric), test, kept) for fit, test in shown
        )

    return min(SHARES, key=error)


def _some_outputs(moments: Moments) -> Moments:
    return replace(
        moments,
        origin=(moments.origin[0], moments.origin[1][:, :_OUTPUTS]),
        y=moments.y[:, :_OUTPUTS],
        xy=moments.xy[:, :, :_OUTPUTS],
    )


def _error(problem: Problem, test: Moments, kept: float) -> float:
    """Squared error of weights fitted to one half on the other, but for a constant."""
    count = max(1, round(kept * problem.target.numel()))
    mask = top_mask(problem.diagonal * problem.target.square(), count)
    weights = least_squares(problem, mask, problem.target, _TOLERANCE)
    hessian, cross = (part.to(weights) for part in test.centred())
    return float((weights * (hessian @ weights - 2 * cross)).sum())
