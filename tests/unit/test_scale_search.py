"""The scale of many weights against the sweep over all breakpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyadmm.admm import projections as project
from pyadmm.admm.projections import optimal_scale
from pyadmm.admm.scale_search import Effort, best_scale
from pyadmm.core.errors import PyadmmError

_KINDS = ("normal", "equal", "heavy", "wide", "two clusters", "near levels", "one level")


def _weights(kind: str, count: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=count)
    if kind == "equal":
        values = np.round(values * 3) / 7
    elif kind == "heavy":
        values = values / rng.uniform(0.001, 1, count)
    elif kind == "wide":
        values = values * 10 ** rng.uniform(-30, 4, count)
    elif kind == "two clusters":
        values = np.where(rng.random(count) < 0.3, 0.01, 1.0) * (1 + 0.02 * values)
    elif kind == "near levels":
        values = 0.37 * rng.integers(1, 9, count) * rng.choice([-1, 1], count) + 1e-4 * values
    elif kind == "one level":
        values = np.full(count, 0.625)
    return torch.from_numpy(values.astype(np.float32))


def _error(w: torch.Tensor, q: float, bits: int) -> float:
    return float((w.double() - project.project_levels(w.double(), q, bits)).square().sum())


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(_KINDS),
    st.integers(1, 600),
    st.integers(2, 8),
    st.integers(0, 10_000),
    st.integers(0, 40),
)
def test_equals_the_sweep_over_all_breakpoints(
    kind: str, count: int, bits: int, seed: int, few: int
) -> None:
    w = _weights(kind, count, seed)
    w = w[w != 0] if bool((w != 0).any()) else torch.ones(1)
    found = best_scale(w.abs().numpy().copy(), 1 << (bits - 1), Effort(16, 8, few))
    least = _error(w, optimal_scale(w, bits), bits)
    assert _error(w, found, bits) <= least + 1e-12 * float(w.double().square().sum())


@pytest.mark.parametrize("bits", [4, 6])
def test_many_weights_take_the_search_and_get_the_scale_of_the_sweep(bits: int) -> None:
    w = torch.randn(80_000, generator=torch.Generator().manual_seed(bits))
    w[::3] = 0
    swept = optimal_scale(w, bits)
    searched = optimal_scale(w.reshape(200, 400), bits, most_breakpoints=1 << 10)
    assert searched == pytest.approx(swept, rel=1e-12)
    w[5] = float("nan")
    with pytest.raises(PyadmmError, match="finite"):
        optimal_scale(w, bits, most_breakpoints=1 << 10)
