"""The ADMM loop. It knows tensors and projections, not layers, losses or boards.

Problem (ADMM-NN section 3): minimise ``f(W) + sum_i g_i(Z_i)`` subject to ``W_i = Z_i``, where
``g_i`` is 0 on layer i's constraint set and infinite elsewhere. In scaled form, with dual ``U``::

    W-step   W := argmin f(W) + sum_i rho/2 |W_i - Z_i + U_i|^2      (stochastic gradient)
    Z-step   Z := proj(W + U)
    U-step   U := U + W - Z

The W-step has its penalty in one of two ways: as a gradient that is added to that of ``f``, or, in
the metric of the optimizer, by its proximal map after every step of it (:meth:`Admm.pull`).

With over-relaxation ``a``, ``a W + (1 - a) Z`` takes the place of ``W`` in the last two (Boyd et
al., Foundations and Trends in Machine Learning 3, 2011, section 3.4.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyadmm.admm.projections import Kept, pieces
from pyadmm.core.errors import PyadmmError

Projection = Callable[[Tensor], Kept]
_UNBALANCED = 10.0
"""Ratio of the residuals from which on ``rho`` changes."""


@dataclass(frozen=True)
class Residuals:
    """Residuals after a Z- and U-step, over all layers, relative to ``|W|``.

    :param primal: ``|W - Z|``.
    :param dual: ``|Z - previous Z|``.
    :param rho: penalty that the W-step used.
    """

    primal: float
    dual: float
    rho: float

    def below(self, tolerance: float) -> bool:
        """Whether the iteration has converged."""
        return max(self.primal, self.dual) <= tolerance

    def verdict(self, tolerance: float) -> str:
        """``converged``, or how far the iteration is from it.

        >>> Residuals(0.1, 0.03125, 1.0).verdict(1e-3)
        'not converged: primal 0.1, dual 0.0312, above 0.001'
        """
        if self.below(tolerance):
            return "converged"
        return f"not converged: primal {self.primal:.3g}, dual {self.dual:.3g}, above {tolerance:g}"


class Admm:
    """State of the method for some weights: ``Z``, ``U``, ``rho``; the W-step is its caller's.

    ``Z`` is held as its non-zeros (:class:`~pyadmm.admm.projections.Kept`).

    :param projections: may be others for every Z-step, as where the constraint tightens.
    :param growth: of ``rho`` at every Z- and U-step.
    :param relaxation: ``a`` of over-relaxation, 1 to 2.
    :param follow: between Z-steps the non-zeros of ``Z`` follow ``W``, the best that a set which
        limits only where they are allows; :meth:`pull` then moves all other weights alone.
    :param balance: above 1, ``rho`` grows (shrinks) by this factor where the primal residual is
        more than ten times the dual one (or the other way round; Boyd et al., section 3.4.1).
    :param memory: share of ``U`` that a U-step keeps; 0 leaves a penalty without multipliers.

    >>> w = nn.Parameter(torch.tensor([3.0, 1.0]))
    >>> admm = Admm([w], [lambda v: Kept.of(v * torch.tensor([1.0, 0.0]))], rho=0.5)
    >>> admm.z[0].dense().tolist()
    [3.0, 0.0]
    """

    def __init__(
        self,
        weights: Sequence[nn.Parameter],
        projections: Sequence[Projection],
        rho: float,
        growth: float = 1.0,
        *,
        relaxation: float = 1.0,
        balance: float = 1.0,
        memory: float = 1.0,
        follow: bool = False,
    ) -> None:
        self.weights = list(weights)
        self.projections = list(projections)
        self.rho = rho
        self.growth = growth
        self.relaxation = relaxation
        self.balance = balance
        self.memory = memory
        self.follow = follow
        self.z = [project(w.detach()) for project, w in zip(projections, weights, strict=True)]
        self.u = [torch.zeros(w.shape, dtype=w.dtype, device=w.device) for w in self.weights]
        self._forget()

    def _forget(self) -> None:
        """Drop what W-steps derived from ``Z`` and ``U``, which are about to change."""
        self._scaled: list[Tensor] = []
        self._goals: list[Tensor] = []
        self._pulled: list[Tensor] = []

    def _goal(self) -> list[Tensor]:
        """``Z - U``, to which the penalty draws ``W``.

        Made when a W-step first asks, so that a Z- and U-step needs no memory for it.
        """
        return [z.dense().sub_(u) for z, u in zip(self.z, self.u, strict=True)]

    def add_penalty_gradient(self) -> None:
        """``grad += rho (W - Z + U)``, in place, after ``backward()`` of ``f`` alone.

        This is the gradient of ``rho/2 |W - Z + U|^2`` (squared norm), without a graph.
        """
        if not self._scaled:
            self._scaled = [goal.mul_(self.rho) for goal in self._goal()]
        gradients = [w.grad for w in self.weights if w.grad is not None]
        torch._foreach_add_(gradients, [w.detach() for w in self.weights], alpha=self.rho)
        torch._foreach_sub_(gradients, self._scaled)

    @torch.no_grad()
    def pull(self, step: float) -> None:
        """``W := argmin |X - W|^2 / (2 step) + rho/2 |X - Z + U|^2`` over ``X``, in place.

        The proximal map of the penalty, after a step of ``f`` alone; no ``rho`` is too large for
        it. An optimizer that scales its steps, as Adam does, has a metric of its own; distances are
        measured in it, as with decoupled weight decay (Loshchilov & Hutter 2019).

        :param step: of the optimizer, its learning rate.
        """
        if not self._goals:
            self._goals = self._goal()
            self._pulled = [(~z.mask).to(z.values.dtype) for z in self.z] if self.follow else []
        share = step * self.rho / (1 + step * self.rho)
        weights = [w.detach() for w in self.weights]
        if self.follow:
            torch._foreach_lerp_(weights, self._goals, torch._foreach_mul(self._pulled, share))
        else:
            torch._foreach_lerp_(weights, self._goals, share)

    @torch.no_grad()
    def z_and_u_step(self) -> Residuals:
        """``Z := proj(W + U)``, ``U := U + W - Z``; then ``rho`` may change.

        ``V = W + U`` is formed in the memory of ``U``, which becomes ``V - Z`` behind the
        projection, so that no copy of a layer is made. ``U`` is the multiplier over ``rho``, so it
        shrinks as ``rho`` grows.
        """
        self._forget()
        primal = dual = size = 0.0
        for i, project in enumerate(self.projections):
            w, v = self.weights[i].detach(), self._relaxed(i)
            kept = project(v)
            parts = zip(pieces(w), pieces(v), kept.parts(), self.z[i].parts(), strict=True)
            for w_part, v_part, z, before in parts:
                v_part.sub_(z).div_(self.growth).mul_(self.memory)
                dual += _squares(before.sub_(z))
                primal += _squares(z.sub_(w_part))
                size += _squares(w_part)
            self.z[i] = kept
        norm = max(math.sqrt(size), torch.finfo(torch.float32).tiny)
        residuals = Residuals(math.sqrt(primal) / norm, math.sqrt(dual) / norm, self.rho)
        self.rho *= self.growth
        self._balance(residuals)
        return residuals

    def _relaxed(self, i: int) -> Tensor:
        """``a W + (1 - a) Z + U`` of one layer, in the memory of its ``U``."""
        v = self.u[i].add_(self.weights[i].detach(), alpha=self.relaxation)
        if self.relaxation != 1:
            v.add_(self.z[i].dense(), alpha=1 - self.relaxation)
        return v

    def _balance(self, residuals: Residuals) -> None:
        """Change ``rho`` if one residual is much larger; the multipliers stay as they are."""
        factor = 1.0
        if residuals.primal > _UNBALANCED * residuals.dual:
            factor = self.balance
        elif residuals.dual > _UNBALANCED * residuals.primal:
            factor = 1 / self.balance
        if factor != 1:
            self.rho *= factor
            torch._foreach_div_(self.u, factor)

    def state_dict(self) -> dict[str, Any]:
        """``Z``, ``U`` and ``rho``."""
        return {"z": [z.dense() for z in self.z], "u": list(self.u), "rho": self.rho}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the state that :meth:`state_dict` gave."""
        shapes = [tuple(w.shape) for w in self.weights]
        for name in ("z", "u"):
            if [tuple(t.shape) for t in state[name]] != shapes:
                raise PyadmmError(f"ADMM state: {name} does not fit weights of shapes {shapes}")
        places = [w.device for w in self.weights]
        self.z = [Kept.of(z.to(place)) for z, place in zip(state["z"], places, strict=True)]
        self.u = [u.clone().to(place) for u, place in zip(state["u"], places, strict=True)]
        self.rho = float(state["rho"])
        self._forget()


def _squares(part: Tensor) -> float:
    """Sum of squares in double precision."""
    return float(torch.linalg.vector_norm(part, dtype=torch.float64)) ** 2
