"""Projections against brute force on small vectors."""

from __future__ import annotations

import itertools

import pytest
import torch

from pyadmm.admm import projections as project
from pyadmm.admm.projections import (
    Kept,
    crowded_mask,
    joint_scale,
    keep_joint,
    keep_largest,
    level_codes,
    level_gain,
    optimal_scale,
    project_cardinality,
    project_joint,
    project_levels,
    row_mask,
    top_mask,
)
from pyadmm.core.errors import PyadmmError


def _vectors(count: int, size: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(size, generator=generator) for _ in range(count)]


def _error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).double().square().sum())


def _levels(q: float, bits: int) -> list[float]:
    half = 1 << (bits - 1)
    return [q * c for c in (*range(-half, 0), *range(1, half + 1))]


@pytest.mark.parametrize("count", [0, 1, 3, 6])
def test_cardinality_is_optimal(count: int) -> None:
    for w in _vectors(20, 6):
        z = project_cardinality(w, count)
        assert int(torch.count_nonzero(z)) == count
        best = min(
            _error(w, w * torch.tensor([i in kept for i in range(6)]))
            for kept in itertools.combinations(range(6), count)
        )
        assert _error(w, z) == pytest.approx(best)


def test_cardinality_refuses_more_than_there_is() -> None:
    with pytest.raises(PyadmmError, match="cannot keep 7 of 6"):
        project_cardinality(torch.ones(6), 7)


def test_ties_keep_the_exact_count() -> None:
    assert int(top_mask(torch.ones(100), 37).sum()) == 37


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_levels_are_the_nearest(bits: int) -> None:
    for w in _vectors(10, 8):
        z = project_levels(w, 0.4, bits)
        levels = torch.tensor(_levels(0.4, bits))
        nearest = (w[:, None] - levels).abs().min(1).values
        assert torch.allclose((w - z).abs(), nearest, atol=1e-6)


def test_codes_have_no_zero_level() -> None:
    codes = level_codes(torch.tensor([0.0, 1e-9, -1e-9, 100.0]), 1.0, 3)
    assert codes.tolist() == [1, 1, -1, 4]


@pytest.mark.parametrize("bits", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_joint_is_optimal_for_its_scale(bits: int, count: int) -> None:
    choices = [0.0, *_levels(0.5, bits)]
    grid = torch.tensor(list(itertools.product(choices, repeat=4)))
    grid = grid[(grid != 0).sum(1) <= count]
    for w in _vectors(10, 4):
        z = project_joint(w, count, 0.5, bits)
        assert int(torch.count_nonzero(z)) <= count
        best = float((grid - w).double().square().sum(1).min())
        assert _error(w, z) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_joint_is_optimal_in_a_metric(count: int) -> None:
    """Whatever the weights of the squared distance, brute force finds nothing nearer."""
    choices = [0.0, *_levels(0.5, 2)]
    grid = torch.tensor(list(itertools.product(choices, repeat=4)))
    grid = grid[(grid != 0).sum(1) <= count]
    metric = torch.tensor([0.1, 1.0, 7.0, 2.0])
    for w in _vectors(10, 4):
        z = keep_joint(w, count, 0.5, 2, metric).dense()
        assert int(torch.count_nonzero(z)) <= count
        found = float((metric * (w - z).square()).double().sum())
        best = float((metric * (grid - w).square()).double().sum(1).min())
        assert found == pytest.approx(best, abs=1e-6)
        free = keep_largest(w, count, metric).dense()
        dropped = (metric * w.square()).sort(descending=True).values[count:].sum()
        assert float((metric * (w - free).square()).sum()) == pytest.approx(float(dropped))


def test_joint_ranks_by_gain_not_by_magnitude() -> None:
    # the largest magnitude is beyond the only level, so keeping it saves less: 9-4=5 against 6.25
    w = torch.tensor([1.45, 1.0, -0.2])
    far = torch.tensor([0.45, 1.0, 0.0])
    assert project_joint(w, 1, 1.0, 1).tolist() == [1.0, 0.0, 0.0]
    assert project_joint(far, 1, 1.0, 1).tolist() == [0.0, 1.0, 0.0]
    q, bits = 1.0, 2
    w = torch.tensor([1.51, 1.49, 0.9])
    by_magnitude = project_levels(w, q, bits) * top_mask(w.abs(), 2)
    by_gain = project_joint(w, 2, q, bits)
    assert _error(w, by_gain) <= _error(w, by_magnitude)


def test_joint_drops_what_costs_more_to_keep() -> None:
    assert project_joint(torch.tensor([0.4, -0.1]), 2, 1.0, 2).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_scale_sweep_is_the_global_optimum(bits: int) -> None:
    half = 1 << (bits - 1)
    codes = torch.cartesian_prod(*[torch.arange(1.0, half + 1, dtype=torch.float64)] * 5)
    for w in _vectors(25, 5):
        magnitude = w.abs().double()
        best = float(
            magnitude.square().sum() - ((codes @ magnitude) ** 2 / (codes**2).sum(1)).max()
        )
        swept = _error(w, project_levels(w, optimal_scale(w, bits), bits))
        assert swept == pytest.approx(best, abs=1e-6)


def test_scale_of_exact_levels_is_found() -> None:
    w = 0.3 * torch.tensor([1.0, -2.0, 4.0, 3.0, -4.0, 0.0])
    assert optimal_scale(w, 3) == pytest.approx(0.3)


def test_scale_needs_a_weight() -> None:
    with pytest.raises(PyadmmError, match="no scale"):
        optimal_scale(torch.zeros(3), 2)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_joint_scale_beats_a_grid_search_or_ties(bits: int) -> None:
    for w in _vectors(10, 60):
        found = _error(w, project_joint(w, 12, joint_scale(w, 12, bits), bits))
        grid = min(
            _error(w, project_joint(w, 12, float(q), bits)) for q in torch.linspace(0.02, 3, 300)
        )
        assert found <= grid * 1.05


def test_row_mask_keeps_the_rows_with_the_most_energy() -> None:
    w = torch.tensor([[3.0, 0.1], [1.0, 1.0], [0.0, 5.0]])
    assert row_mask(w, 3, 2).flatten().tolist() == [True, False, True]


def test_crowding_moves_weights_into_shared_rows_and_columns() -> None:
    """The more it counts, the fewer rows and columns the same number of weights occupies."""
    w = torch.randn(40, 30, generator=torch.Generator().manual_seed(5))
    lines = []
    for strength in (0.0, 0.25, 1.0):
        mask = crowded_mask(w, 60, strength)
        assert int(mask.sum()) == 60
        lines.append(int(mask.any(1).sum() + mask.any(0).sum()))
    assert torch.equal(crowded_mask(w, 60, 0.0), top_mask(w.abs(), 60))
    assert lines[0] > lines[1] > lines[2]


def test_projection_is_idempotent() -> None:
    for w in _vectors(10, 30):
        z = project_joint(w, 9, 0.5, 3)
        assert torch.equal(project_joint(z, 9, 0.5, 3), z)


LONG = 2 * project.CHUNK + 6_007


def _long(kind: str) -> torch.Tensor:
    """A vector that counts as long, of several pieces."""
    w = torch.randn(LONG, generator=torch.Generator().manual_seed(0))
    return {
        "normal": w,
        "ties": (4 * w).floor(),
        "sorted": w.sort().values,
        "zeros": w * (w.abs() > 2),
    }[kind]


KINDS = ("normal", "ties", "sorted", "zeros")
COUNTS = (1, 17, 900, 30_000, LONG - 1, LONG)


@pytest.mark.parametrize("kind", KINDS)
def test_selection_from_a_long_vector(kind: str) -> None:
    """By sampling: exactly ``count``, the largest, of equal ones the first."""
    w = _long(kind)
    for score in (torch.abs, torch.neg):
        order = torch.sort(score(w), descending=True, stable=True).indices
        for count in COUNTS:
            golden = torch.zeros(len(w), dtype=torch.bool)
            golden[order[:count]] = True
            assert torch.equal(top_mask(w, count, score), golden), count
            assert torch.equal(top_mask(score(w), count), golden), count


@pytest.mark.parametrize("kind", KINDS)
def test_piecewise_projections_of_a_long_vector(kind: str) -> None:
    """Compact or not, in pieces or at once: the same bits, and no zero counts as kept."""
    w = _long(kind).reshape(-1, LONG)
    for count in COUNTS:
        largest, joint = keep_largest(w, count), keep_joint(w, count, 0.5, 3)
        assert torch.equal(largest.dense(), w * top_mask(w.abs(), count))
        gain = level_gain(w, 0.5, 3)
        golden = project_levels(w, 0.5, 3) * (top_mask(gain, count) & (gain > 0))
        assert torch.equal(joint.dense(), golden)
        for kept in (largest, joint):
            assert torch.equal(kept.mask, kept.dense() != 0)
            assert torch.equal(torch.cat(list(kept.parts())), kept.dense().reshape(-1))
            assert torch.equal(Kept.of(kept.dense()).values, kept.values)


def test_a_long_vector_with_what_is_no_number_is_refused() -> None:
    w = _long("normal")
    w[5::7] = float("nan")
    with pytest.raises(PyadmmError, match="must be numbers"):
        keep_largest(w, LONG - 1_000)
