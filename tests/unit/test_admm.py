"""The ADMM state: gradient, updates, convergence on problems with a known solution."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pyadmm.admm.projections import Kept, keep_largest
from pyadmm.admm.solver import Admm, Residuals
from pyadmm.core.errors import PyadmmError


def _problem(growth: float = 1.0) -> tuple[nn.Parameter, Admm]:
    w = nn.Parameter(torch.tensor([3.0, -2.0, 0.5, 0.1]))
    return w, Admm([w], [lambda v: keep_largest(v, 2)], rho=0.7, growth=growth)


def test_penalty_gradient_is_that_of_the_squared_norm() -> None:
    w, admm = _problem()
    admm.u = [torch.tensor([0.3, -0.1, 0.2, 0.4])]
    admm.load_state_dict(admm.state_dict())
    loss = (w * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum()
    penalty = 0.7 / 2 * (w - admm.z[0].dense() + admm.u[0]).square().sum()
    (expected,) = torch.autograd.grad(loss + penalty, w)
    loss = (w * torch.tensor([1.0, 2.0, 3.0, 4.0])).sum()
    loss.backward()
    admm.add_penalty_gradient()
    assert w.grad is not None
    assert torch.allclose(w.grad, expected)


def test_z_and_u_steps_follow_the_equations() -> None:
    w, admm = _problem()
    u = torch.tensor([0.0, 0.0, 2.0, 0.0])
    admm.u = [u.clone()]
    residuals = admm.z_and_u_step()
    assert torch.allclose(admm.z[0].dense(), torch.tensor([3.0, 0.0, 2.5, 0.0]))
    assert torch.allclose(admm.u[0], u + w.detach() - admm.z[0].dense())
    norm = float(w.detach().norm())
    assert residuals.primal == pytest.approx(math.sqrt(4 + 4 + 0.01) / norm)
    assert residuals.dual == pytest.approx(math.sqrt(4 + 2.5**2) / norm)


def test_growing_rho_keeps_the_multiplier() -> None:
    w, admm = _problem(growth=1.3)
    admm.u = [torch.ones(4)]
    residuals = admm.z_and_u_step()
    multiplier = 0.7 * (torch.ones(4) + w.detach() - admm.z[0].dense())
    assert residuals.rho == 0.7
    assert admm.rho == pytest.approx(0.91)
    assert torch.allclose(admm.rho * admm.u[0], multiplier)


def test_converges_to_the_sparse_solution_of_a_quadratic() -> None:
    goal = torch.tensor([2.0, -1.0, 0.3, 0.2])
    w = nn.Parameter(goal.clone())
    admm = Admm([w], [lambda v: keep_largest(v, 2)], rho=1.0)
    residuals = Residuals(1.0, 1.0, 1.0)
    for _ in range(100):
        # W-step in closed form: argmin 1/2 |W - goal|^2 + rho/2 |W - Z + U|^2
        w.data = (goal + admm.rho * (admm.z[0].dense() - admm.u[0])) / (1 + admm.rho)
        residuals = admm.z_and_u_step()
    assert residuals.below(1e-5)
    assert torch.allclose(w.detach(), torch.tensor([2.0, -1.0, 0.0, 0.0]), atol=1e-4)


@pytest.mark.parametrize(
    ("rho", "options"),
    [
        (1.0, {}),
        (20.0, {}),
        (1.0, {"relaxation": 1.6}),
        (0.05, {"balance": 2.0}),
        (0.05, {"balance": 2.0, "relaxation": 1.6}),
    ],
)
def test_reaches_the_known_optimum_of_a_convex_problem(
    rho: float, options: dict[str, float]
) -> None:
    """Least squares with weights that must not be negative, against its optimality conditions."""
    generator = torch.Generator().manual_seed(3)
    matrix = torch.randn(12, 6, generator=generator, dtype=torch.float64)
    goal = torch.randn(12, generator=generator, dtype=torch.float64)
    hessian, linear = matrix.T @ matrix, matrix.T @ goal
    w = nn.Parameter(torch.zeros(6, dtype=torch.float64))
    admm = Admm([w], [lambda v: Kept.of(v.clamp(min=0))], rho, **options)
    history = []
    for _ in range(3000):
        system = hessian + admm.rho * torch.eye(6, dtype=torch.float64)
        w.data = torch.linalg.solve(system, linear + admm.rho * (admm.z[0].dense() - admm.u[0]))
        history.append(admm.z_and_u_step())
        if history[-1].below(1e-9):
            break
    assert history[-1].below(1e-9)
    assert history[-1].verdict(1e-9) == "converged"
    z = admm.z[0].dense()
    slope = hessian @ z - linear
    assert 0 < int((z == 0).sum()) < 6, "some bounds bind and some do not"
    assert bool((z >= 0).all())
    assert bool((slope >= -1e-6).all())
    assert float((slope * z).abs().max()) < 1e-6
    if "balance" in options:
        assert len(history) < 1000, "a poor penalty is mended"


def test_a_pull_is_the_proximal_map_of_the_penalty() -> None:
    """The gradient of ``|X - W|^2 / (2 step) + rho/2 |X - Z + U|^2`` vanishes where it ends."""
    w, admm = _problem()
    admm.u = [torch.tensor([0.3, -0.1, 0.2, 0.4])]
    before, step = w.detach().clone(), 0.05
    admm.pull(step)
    after = w.detach()
    slope = (after - before) / step + 0.7 * (after - admm.z[0].dense() + admm.u[0])
    assert torch.allclose(slope, torch.zeros(4), atol=1e-5)
    admm.rho = 1e9
    admm.pull(step)
    assert torch.allclose(w.detach(), admm.z[0].dense() - admm.u[0], atol=1e-6)


def test_what_follows_is_not_pulled() -> None:
    """The penalty on weights outside ``Z`` alone."""
    w = nn.Parameter(torch.tensor([3.0, -2.0, 0.5, 0.1]))
    admm = Admm([w], [lambda v: keep_largest(v, 2)], rho=0.7, follow=True)
    admm.z_and_u_step()
    w.data += 1.0
    admm.pull(1.0)
    # a share of 0.7 / 1.7 of the way to -U
    assert torch.allclose(w.detach()[:2], torch.tensor([4.0, -1.0]))
    assert torch.allclose(w.detach()[2:], torch.tensor([1.5 - 0.5 * 0.7, 1.1 - 0.1 * 0.7]) / 1.7)


def test_a_share_of_the_multipliers_is_kept() -> None:
    """Without memory the penalty draws to ``Z`` alone."""
    for memory in (1.0, 0.25, 0.0):
        w = nn.Parameter(torch.tensor([3.0, -2.0, 0.5, 0.1]))
        admm = Admm([w], [lambda v: keep_largest(v, 2)], rho=0.7, memory=memory)
        admm.z_and_u_step()
        assert torch.allclose(admm.u[0], memory * torch.tensor([0.0, 0.0, 0.5, 0.1]))
        w.data *= 2.0
        admm.z_and_u_step()
        rest = memory * (2 + memory) * torch.tensor([0.5, 0.1])
        assert torch.allclose(admm.u[0][2:], rest)


def test_gradient_steps_and_pulls_reach_the_known_optimum() -> None:
    """W-steps that are not exact, as in training; least squares with two weights at most."""
    goal = torch.tensor([2.0, -1.0, 0.3, 0.2])
    w = nn.Parameter(torch.zeros(4))
    admm = Admm([w], [lambda v: keep_largest(v, 2)], rho=1.0)
    residuals = Residuals(1.0, 1.0, 1.0)
    for _ in range(400):
        for _ in range(5):
            w.data -= 0.1 * (w.data - goal)
            admm.pull(0.1)
        residuals = admm.z_and_u_step()
    assert residuals.verdict(1e-5) == "converged"
    assert torch.allclose(admm.z[0].dense(), torch.tensor([2.0, -1.0, 0.0, 0.0]), atol=1e-3)


def test_state_survives_a_round_trip() -> None:
    w, admm = _problem(growth=1.3)
    w.data += torch.tensor([0.1, 0.5, -0.7, 2.0])
    admm.z_and_u_step()
    _, other = _problem(growth=1.3)
    other.load_state_dict(admm.state_dict())
    for state in (admm, other):
        state.weights[0].grad = torch.zeros(4)
    other.weights[0].data = w.data.clone()
    admm.add_penalty_gradient()
    other.add_penalty_gradient()
    first, second = admm.weights[0].grad, other.weights[0].grad
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)


def test_state_of_other_shapes_is_refused() -> None:
    _, admm = _problem()
    with pytest.raises(PyadmmError, match="does not fit"):
        admm.load_state_dict({"z": [torch.zeros(3)], "u": [torch.zeros(3)], "rho": 1.0})
