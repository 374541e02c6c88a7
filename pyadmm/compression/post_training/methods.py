"""How one layer's problem is solved: by ADMM, and by two methods to compare it with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyadmm.admm.projections import top_mask
from pyadmm.compression.post_training.problem import (
    Levels,
    Problem,
    best_levels,
    descend,
    fit_scales,
    least_squares,
    nearest_codes,
    project,
    refit_scales,
    round_at_scales,
    round_sequentially,
)

_FIRST_RHO = 0.02
"""Relative to ``H`` with its diagonal scaled to 1."""
_GROWTH = 1.6
_ROUNDS = 10
_STEPS = 2
"""Of ADMM at each ``rho``: a factorisation is paid once a round."""
_SETTLED = 2e-3
"""Share of the codes that may still change when ADMM stops."""
_SWEEPS = 4
_TOLERANCE = 1e-3
_COARSE = 12
"""Candidates of scales while ADMM goes on."""
_FACTORS = (1.0, 1.1, 1.05, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
"""Multiples of the scales that weights are rounded at, where levels are coarse."""
_COARSE_BITS = 5


@dataclass(frozen=True, eq=False)
class Trace:
    """What ADMM did: per step ``rho``, ``||W - Z||`` and ``||dZ||``, relative to ``||W||``."""

    rho: tuple[float, ...]
    primal: tuple[float, ...]
    dual: tuple[float, ...]


def admm(problem: Problem) -> tuple[Levels, Trace]:
    """``W := (H + rho D)^-1 (H w* + rho D (Z - U))``, ``Z := project(W + U)``, ``U += W - Z``.

    ``D`` is the diagonal of ``H``, so that ``rho`` has no unit and inputs of any size count alike.
    ``rho`` grows, and ``U``, the scaled dual, shrinks by the same factor. The result is the feasible
    point with the least objective of all steps.
    """
    weights, diagonal = problem.target, problem.diagonal
    whole = torch.ones_like(weights, dtype=torch.bool)
    scales = fit_scales(problem, weights, whole)
    best = z = project(problem, weights, scales)
    scales = fit_scales(problem, weights, z.codes != 0)
    least, dual = problem.objective(z.weights), torch.zeros_like(weights)
    goal = problem.hessian @ problem.target
    trace: list[tuple[float, float, float]] = []
    rho = _FIRST_RHO
    for _ in range(_ROUNDS):
        factor = torch.linalg.cholesky(
            problem.hessian + torch.diag_embed(rho * diagonal.squeeze(2))
        )
        for _ in range(_STEPS):
            before = z
            weights = torch.cholesky_solve(goal + rho * diagonal * (z.weights - dual), factor)
            z = project(problem, weights + dual, scales)
            dual = dual + weights - z.weights
            trace.append((rho, *_residuals(weights, z, before)))
            value = problem.objective(z.weights)
            if value < least:
                best, least = z, value
        if float((z.codes != before.codes).double().mean()) < _SETTLED:
            break
        scales = fit_scales(problem, weights + dual, z.codes != 0, _COARSE)
        dual, rho = dual / _GROWTH, rho * _GROWTH
    rhos, primals, duals = zip(*trace, strict=True)
    return best, Trace(rhos, primals, duals)


def _residuals(weights: Tensor, z: Levels, before: Levels) -> tuple[float, float]:
    size = max(float(weights.norm()), 1e-30)
    primal = float((weights - z.weights).norm()) / size
    return primal, float((z.weights - before.weights).norm()) / size


def solve_admm(problem: Problem) -> Levels:
    """ADMM, least squares on its support, second-order rounding, coordinate descent."""
    found, _ = admm(problem)
    mask = _support(problem, found)
    real = least_squares(problem, mask, found.weights, _TOLERANCE)
    scales = fit_scales(problem, real, mask)
    factors = _FACTORS if problem.bits <= _COARSE_BITS else (1.0,)
    rounded = round_at_scales(problem, real, mask, scales, factors)
    start = best_levels(problem, [refit_scales(problem, found), *rounded])
    return descend(problem, start, mask, _SWEEPS)


def _support(problem: Problem, levels: Levels) -> Tensor:
    """The non-zeros of ``levels``, and the most useful other positions up to the allowed number.

    A weight that becomes non-zero lowers the objective by about ``gradient**2 / H_kk``.
    """
    gradient = problem.hessian @ (levels.weights - problem.target)
    promise = problem.rows * gradient.square() / problem.diagonal
    promise[levels.codes != 0] = torch.inf
    return top_mask(promise, min(problem.count, promise.numel()))


def solve_magnitude(problem: Problem, dense: Tensor) -> Levels:
    """Magnitude pruning of the dense weights, the others at their nearest levels."""
    mask = top_mask(dense.abs(), min(problem.count, dense.numel()))
    plain = Problem(
        torch.eye(dense.shape[1], dtype=dense.dtype).expand_as(problem.hessian),
        dense,
        problem.count,
        problem.bits,
        torch.ones_like(problem.rows),
        problem.shared,
    )
    scales = fit_scales(plain, dense, mask)
    return Levels(nearest_codes(dense, scales, problem.bits) * mask, scales)


def solve_greedy(problem: Problem) -> Levels:
    """SparseGPT: saliencies ``w**2 / [H^-1]_kk`` choose the support, then sequential rounding.

    Frantar & Alistarh, ICML 2023 (with the mask of a whole layer chosen at once), and GPTQ,
    ICLR 2023, in one pass over the inputs.
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(problem.hessian))
    saliency = problem.target.square() / inverse.diagonal(dim1=1, dim2=2).unsqueeze(2)
    mask = top_mask(saliency, min(problem.count, saliency.numel()))
    scales = fit_scales(problem, problem.target, mask)
    return round_sequentially(problem, problem.target, mask, scales)


METHODS: dict[str, Callable[[Problem, Tensor], Levels]] = {
    "admm": lambda problem, dense: solve_admm(problem),
    "magnitude": solve_magnitude,
    "greedy": lambda problem, dense: solve_greedy(problem),
}
"""By name; each takes the problem and the dense weights ``(g, K, O)``."""
