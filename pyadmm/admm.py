"""The ADMM loop. It knows tensors and projections, not layers, losses or boards.

Problem (ADMM-NN section 3): minimise ``f(W) + sum_i g_i(Z_i)`` subject to ``W_i = Z_i``, where
``g_i`` is 0 on layer i's constraint set and infinite elsewhere. In scaled form, with dual ``U``::

    W-step   W := argmin f(W) + sum_i rho/2 |W_i - Z_i + U_i|^2      (stochastic gradient)
    Z-step   Z := proj(W + U)
    U-step   U := U + W - Z
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyadmm.errors import PyadmmError

Projection = Callable[[Tensor], Tensor]
_CHUNK = 1 << 20


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


class Admm:
    """State of the method for some weights: ``Z``, ``U``, ``rho``; the W-step is its caller's.

    >>> w = nn.Parameter(torch.tensor([3.0, 1.0]))
    >>> admm = Admm([w], [lambda v: v * torch.tensor([1.0, 0.0])], rho=0.5)
    >>> admm.z[0].tolist()
    [3.0, 0.0]
    """

    def __init__(
        self,
        weights: Sequence[nn.Parameter],
        projections: Sequence[Projection],
        rho: float,
        growth: float = 1.0,
    ) -> None:
        self.weights = list(weights)
        self.projections = list(projections)
        self.rho = rho
        self.growth = growth
        self.z = [project(w.detach()) for project, w in zip(projections, weights, strict=True)]
        self.u = [torch.zeros_like(w) for w in self.weights]
        self._change = 0.0
        self._pull: list[Tensor] = []

    def _penalty_pull(self) -> list[Tensor]:
        """``rho (Z - U)``: the part of the penalty's gradient that a W-step does not change.

        Made when a W-step first asks, so that a Z- and U-step needs no memory for it.
        """
        if not self._pull:
            self._pull = list(torch._foreach_mul(torch._foreach_sub(self.z, self.u), self.rho))
        return self._pull

    def add_penalty_gradient(self) -> None:
        """``grad += rho (W - Z + U)``, in place, after ``backward()`` of ``f`` alone.

        This is the gradient of ``rho/2 |W - Z + U|^2`` (squared norm), without a graph.
        """
        gradients = [w.grad for w in self.weights if w.grad is not None]
        torch._foreach_add_(gradients, [w.detach() for w in self.weights], alpha=self.rho)
        torch._foreach_sub_(gradients, self._penalty_pull())

    @torch.no_grad()
    def z_step(self) -> None:
        """``Z := proj(W + U)``, one layer after the other, so that one layer's copies live."""
        self._pull = []
        change = 0.0
        for i, (w, project) in enumerate(zip(self.weights, self.projections, strict=True)):
            z = project(w.detach() + self.u[i])
            change += _squares(z, self.z[i])
            self.z[i] = z
        self._change = math.sqrt(change)

    @torch.no_grad()
    def u_step(self) -> Residuals:
        """``U := U + W - Z``; then ``rho`` grows, and ``U``, the multiplier over rho, with it."""
        primal = size = 0.0
        for weight, z, u in zip(self.weights, self.z, self.u, strict=True):
            w_minus_z = weight.detach() - z
            primal += _squares(w_minus_z)
            size += _squares(weight.detach())
            u.add_(w_minus_z).div_(self.growth)
        norm = max(math.sqrt(size), torch.finfo(torch.float32).tiny)
        residuals = Residuals(math.sqrt(primal) / norm, self._change / norm, self.rho)
        self.rho *= self.growth
        self._pull = []
        return residuals

    def state_dict(self) -> dict[str, Any]:
        """``Z``, ``U`` and ``rho``."""
        return {"z": list(self.z), "u": list(self.u), "rho": self.rho}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        shapes = [tuple(w.shape) for w in self.weights]
        for name in ("z", "u"):
            if [tuple(t.shape) for t in state[name]] != shapes:
                raise PyadmmError(f"ADMM state: {name} does not fit weights of shapes {shapes}")
        self.z = [z.clone() for z in state["z"]]
        self.u = [u.clone() for u in state["u"]]
        self.rho = float(state["rho"])
        self._pull = []


def _squares(tensor: Tensor, minus: Tensor | None = None) -> float:
    """Sum of squares of ``tensor`` (less another), in double precision without a double copy."""
    parts = tensor.reshape(-1).split(_CHUNK)
    if minus is None:
        return sum(float(part.double().square().sum()) for part in parts)
    others = minus.reshape(-1).split(_CHUNK)
    return sum(float((a - b).double().square().sum()) for a, b in zip(parts, others, strict=True))
