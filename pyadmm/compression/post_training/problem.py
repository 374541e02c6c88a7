"""The problem of one layer: few weights, at levels, whose outputs are close to the dense layer's.

With inputs ``X`` of the compressed network and outputs ``Y`` of the dense one,

    minimise  sum_o r_o ||X w_o + b_o - y_o||^2   over b and w: at levels, at most ``count`` non-zeros.

The best bias for any ``w`` is ``mean(y) - mean(x) w``, so only centred second moments matter:
``G = cov(x, x)``, ``C = cov(x, y)``. The damping ``(w - w0)' L (w - w0)`` keeps weights near their
trained values ``w0`` where the calibration data do not determine them. The problem then is
``(w - w*)' H (w - w*)`` with ``H = G + L``, ``w* = H^-1 (C + L w0)``.

Tensors are ``(g, K, O)``: groups of a convolution, inputs of one group, outputs of one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyadmm.admm.projections import top_mask
from pyadmm.core.errors import PyadmmError

_SCALES = 32
"""Candidates of a scale, from the largest magnitude downwards."""
_LEAST_SCALE = 2.0**-8
"""Of an output's scale, relative to the largest of its layer: multipliers have 16 bits for all."""
_BLOCK = 64
"""Inputs whose changes reach the other inputs' gradients together."""
_SMALLEST = 1e-12


@dataclass(frozen=True, eq=False)
class Problem:
    """``min sum_o r_o (w_o - w*_o)' H (w_o - w*_o)`` over weights at levels.

    :param hessian: ``H``, ``(g, K, K)``, symmetric, positive definite.
    :param target: ``w*``, ``(g, K, O)``.
    :param count: non-zeros that may be left, in all groups together.
    :param bits: of a level: codes are ``±1 … ±2**(bits-1)``.
    :param rows: ``r``, how much each output matters, ``(g, 1, O)``, mean 1.
    :param shared: all outputs share one scale.
    """

    hessian: Tensor
    target: Tensor
    count: int
    bits: int
    rows: Tensor
    shared: bool = False

    @property
    def diagonal(self) -> Tensor:
        """The diagonal of the Hessian, ``(g, K, 1)``."""
        return self.hessian.diagonal(dim1=1, dim2=2).unsqueeze(2)

    @property
    def largest_code(self) -> int:
        """Largest level code, ``2**(bits - 1)``."""
        return 1 << (self.bits - 1)

    def objective(self, weights: Tensor) -> float:
        """The value that is minimised."""
        return float(self.objectives(weights).sum())

    def objectives(self, weights: Tensor) -> Tensor:
        """What every output adds to the :meth:`objective`, ``(g, 1, O)``."""
        difference = weights - self.target
        return self.rows * (difference * (self.hessian @ difference)).sum(1, keepdim=True)

    def relative(self, weights: Tensor) -> float:
        """The :meth:`objective`, relative to that of a layer without weights."""
        return self.objective(weights) / max(self.objective(torch.zeros_like(weights)), _SMALLEST)


@dataclass(frozen=True, eq=False)
class Levels:
    """Weights ``codes * scales``: codes are integers, ``(g, K, O)``, 0 where pruned.

    :param scales: ``(g, 1, O)``, equal where outputs share one.
    """

    codes: Tensor
    scales: Tensor

    @property
    def weights(self) -> Tensor:
        """The real weights, ``codes * scales``."""
        return self.codes * self.scales

    @property
    def nnz(self) -> int:
        """Number of weights that are not zero."""
        return int(torch.count_nonzero(self.codes))


def make_problem(
    moments: tuple[Tensor, Tensor],
    dense: Tensor,
    damping: Tensor,
    *,
    count: int,
    bits: int,
    rows: Tensor | None = None,
    shared: bool = False,
) -> Problem:
    """The problem of a layer.

    :param moments: ``G`` of shape ``(g, K, K)`` and ``C`` of shape ``(g, K, O)``, per sample.
    :param dense: ``w0``, ``(g, K, O)``.
    :param damping: ``L``, ``(g, K, K)``; more is taken where ``H`` could not be factorised.
    :raises PyadmmError: where the moments are no numbers.
    """
    if not all(bool(part.isfinite().all()) for part in (*moments, damping)):
        raise PyadmmError(
            "post-training: a layer's inputs are no finite numbers; check the network's weights and "
            "the scale of its input"
        )
    covariance, cross = moments
    hessian = covariance + damping
    factor, failed = torch.linalg.cholesky_ex(hessian)
    while bool(failed.any()):  # rounding made a covariance indefinite
        damping = torch.where((failed > 0)[:, None, None], 4 * damping, damping)
        hessian = covariance + damping
        factor, failed = torch.linalg.cholesky_ex(hessian)
    target = torch.cholesky_solve(cross + damping @ dense, factor)
    if rows is None:
        rows = dense.new_ones(dense.shape[0], 1, dense.shape[2])
    return Problem(hessian, target, count, bits, rows, shared)


def fit_scales(
    problem: Problem, weights: Tensor, mask: Tensor, candidates: int = _SCALES
) -> Tensor:
    """Per output, the scale of least squared error of its levels, weighted by ``H``'s diagonal.

    :param mask: entries that count; where an output has none, its scale is the largest one.
    """
    kept = torch.where(mask, weights, 0)
    weight = torch.where(mask, problem.diagonal * problem.rows, 0)
    axes = (0, 1, 2) if problem.shared else (1,)
    peak = kept.abs().amax(axes, keepdim=True).expand(len(kept), 1, kept.shape[2])
    best, least = peak / problem.largest_code, torch.full_like(peak, torch.inf)
    for step in range(candidates):
        scale = (peak / problem.largest_code) * (1.1 - step / candidates)
        error = nearest_levels(kept, scale, problem.bits).sub_(kept).square_().mul_(weight)
        total = error.sum(axes, keepdim=True).expand_as(peak)
        best, least = torch.where(total < least, scale, best), torch.minimum(total, least)
    return limited_scales(best)


def limited_scales(scales: Tensor) -> Tensor:
    """Scales within what the multipliers of one layer can hold."""
    largest = scales.max().clamp(min=_SMALLEST)
    return torch.where(scales > 0, scales, largest).clamp(min=float(largest) * _LEAST_SCALE)


def nearest_codes(weights: Tensor, scales: Tensor, bits: int) -> Tensor:
    """Nearest integers within ``±2**(bits-1)``; zero is allowed: it is a pruned weight."""
    limit = 1 << (bits - 1)
    return (weights / scales.clamp(min=_SMALLEST)).round_().clamp_(-limit, limit)


def nearest_levels(weights: Tensor, scales: Tensor, bits: int) -> Tensor:
    """The nearest level of every weight, as a real number."""
    return nearest_codes(weights, scales, bits).mul_(scales)


def project(problem: Problem, weights: Tensor, scales: Tensor) -> Levels:
    """The joint projection in the norm of ``H``'s diagonal: ``count`` entries, all at levels.

    Those of the largest gain ``d (w**2 - (w - level)**2)`` stay, as far as it is positive.
    """
    codes = nearest_codes(weights, scales, problem.bits)
    if problem.count >= codes.numel():
        return Levels(codes, scales)
    error = (weights - scales * codes).square()
    gain = problem.diagonal * problem.rows * (weights.square() - error)
    mask = top_mask(gain, problem.count) & (gain > 0)
    return Levels(torch.where(mask, codes, 0), scales)


def refit_scales(problem: Problem, levels: Levels) -> Levels:
    """The best scales for given codes, exactly: ``c'Hw* / c'Hc`` per output, or for all.

    The objective never rises. A scale that would not be positive stays as it is.
    """
    reached = problem.hessian @ levels.codes
    upper = problem.rows * (reached * problem.target).sum(1, keepdim=True)
    lower = problem.rows * (reached * levels.codes).sum(1, keepdim=True)
    if problem.shared:
        upper, lower = upper.sum().expand_as(upper), lower.sum().expand_as(lower)
    best = upper / lower.clamp(min=_SMALLEST)
    least = float(levels.scales.max()) * _LEAST_SCALE
    usable = (lower > 0) & (best >= least)
    return Levels(levels.codes, torch.where(usable, best, levels.scales))


def descend(problem: Problem, levels: Levels, mask: Tensor, sweeps: int) -> Levels:
    """Coordinate descent over codes: every weight in turn takes the best level, others fixed.

    Weights outside ``mask`` stay as they are. Each move lowers the objective. Sweeps end early where
    nothing moves; scales are refitted after each.
    """
    for _ in range(sweeps):
        moved = _sweep(problem, levels, mask)
        same = bool((moved.codes == levels.codes).all())
        levels = refit_scales(problem, moved)
        if same:
            break
    return levels


def _sweep(problem: Problem, levels: Levels, mask: Tensor) -> Levels:
    hessian, scales = problem.hessian, levels.scales
    codes = levels.codes.clone()
    gradient = hessian @ (codes * scales - problem.target)
    limit = float(problem.largest_code)
    diagonal = problem.diagonal
    for start in range(0, codes.shape[1], _BLOCK):
        end = min(start + _BLOCK, codes.shape[1])
        block = hessian[:, start:end, start:end]
        before = codes[:, start:end].clone()
        local = gradient[:, start:end].clone()
        for k in range(end - start):
            old = codes[:, start + k]
            wanted = old - local[:, k] / (diagonal[:, start + k] * scales[:, 0])
            rounded = torch.round(wanted).clamp_(-limit, limit)
            new = torch.where(mask[:, start + k], rounded, old)
            change = (new - old) * scales[:, 0]
            local += block[:, :, k].unsqueeze(2) * change.unsqueeze(1)
            codes[:, start + k] = new
        change = (codes[:, start:end] - before) * scales
        gradient += hessian[:, :, start:end] @ change
    return Levels(codes, scales)


def round_sequentially(problem: Problem, weights: Tensor, mask: Tensor, scales: Tensor) -> Levels:
    """Second-order rounding (GPTQ): each input's error is compensated by the inputs after it.

    ``weights`` that are not in ``mask`` become 0, with the same compensation.
    """
    upper = _inverse_factor(problem.hessian)
    left = weights.clone()
    codes = torch.zeros_like(left)
    for start in range(0, left.shape[1], _BLOCK):
        end = min(start + _BLOCK, left.shape[1])
        errors = torch.empty_like(left[:, start:end])
        for k in range(start, end):
            own = left[:, k]
            code = nearest_codes(own, scales[:, 0], problem.bits) * mask[:, k]
            codes[:, k] = code
            error = (own - code * scales[:, 0]) / upper[:, k, k].unsqueeze(1)
            row = upper[:, k, k + 1 : end].unsqueeze(2)
            left[:, k + 1 : end] -= row * error.unsqueeze(1)
            errors[:, k - start] = error
        left[:, end:] -= upper[:, start:end, end:].transpose(1, 2) @ errors
    return Levels(codes, scales)


def round_at_scales(
    problem: Problem, weights: Tensor, mask: Tensor, scales: Tensor, factors: Sequence[float]
) -> list[Levels]:
    """:func:`round_sequentially` at several multiples of ``scales``, all in one pass."""
    count = len(factors)
    tried = torch.cat([limited_scales(factor * scales) for factor in factors], 2)
    tiles = (1, 1, count)
    found = round_sequentially(problem, weights.repeat(tiles), mask.repeat(tiles), tried)
    parts = zip(found.codes.chunk(count, 2), found.scales.chunk(count, 2), strict=True)
    return [refit_scales(problem, Levels(*part)) for part in parts]


def best_levels(problem: Problem, candidates: Sequence[Levels]) -> Levels:
    """Of each output the best of some candidates; of all where the outputs share a scale."""
    values = torch.stack([problem.objectives(levels.weights) for levels in candidates])
    if problem.shared:
        return candidates[int(values.sum((1, 2, 3)).argmin())]
    chosen = values.argmin(0, keepdim=True)

    def pick(parts: list[Tensor]) -> Tensor:
        return torch.stack(parts).gather(0, chosen.expand(1, *parts[0].shape))[0]

    scales = pick([levels.scales for levels in candidates])
    return Levels(pick([levels.codes for levels in candidates]), scales)


def _inverse_factor(hessian: Tensor) -> Tensor:
    """The upper triangular ``U`` with ``H^-1 = U'U``."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    return torch.linalg.cholesky(inverse, upper=True)


def least_squares(problem: Problem, mask: Tensor, start: Tensor, tolerance: float) -> Tensor:
    """The best real weights on a support, by conjugate gradients for all outputs together.

    :param mask: the support, ``(g, K, O)``.
    :param start: where to start; entries outside the support do not count.
    :param tolerance: of the residual's norm, relative to that of no weights.
    """
    hessian, keep = problem.hessian, mask.to(problem.target.dtype)
    inverse = 1 / problem.diagonal
    goal = hessian @ problem.target
    weights = start * keep
    residual = (goal - hessian @ weights) * keep
    limit = tolerance * float((goal * keep).norm())
    ahead = inverse * residual
    direction = ahead
    size = (residual * ahead).sum(1, keepdim=True)
    for _ in range(4 * problem.target.shape[1]):
        if float(residual.norm()) <= limit:
            break
        reached = (hessian @ direction) * keep
        step = size / (direction * reached).sum(1, keepdim=True).clamp(min=_SMALLEST**2)
        weights = weights + step * direction
        residual = residual - step * reached
        ahead = inverse * residual
        new_size = (residual * ahead).sum(1, keepdim=True)
        direction = ahead + new_size / size.clamp(min=_SMALLEST**2) * direction
        size = new_size
    return weights
