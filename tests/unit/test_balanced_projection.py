"""Projections on window-balanced sets against brute force, and their way through a compression."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch

from pyadmm.admm.balanced import (
    BalancedPattern,
    balanced_joint_scale,
    balanced_mask,
    keep_balanced,
    keep_balanced_joint,
    steps_of,
)
from pyadmm.admm.projections import keep_joint, keep_largest, level_gain, optimal_scale
from pyadmm.compression.lockstep import (
    alike_mask,
    balanced_projection,
    fewest_steps,
    step_gains,
)
from pyadmm.compression.pipeline import compress, train_dense
from pyadmm.compression.schedule import Target, layer_targets
from pyadmm.core.errors import PyadmmError
from pyadmm.model.compact import compact
from pyadmm.model.types import LayerSpec
from pyadmm.settings import CompressSettings, from_dict
from tests.unit.quarters import quarter_data, quarter_model


def _weights(shape: tuple[int, ...], count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def _best_gain(gain: torch.Tensor, pattern: BalancedPattern, steps: int) -> float:
    """The largest sum of gains over every choice of numbers ``N`` with ``steps`` in all."""
    windows = pattern.windows(gain)
    blocks = -(-len(gain) // pattern.lockstep)
    cells = blocks * windows.shape[1]
    best = 0.0
    for numbers in itertools.product(range(pattern.window + 1), repeat=cells):
        if sum(numbers) <= steps:
            best = max(best, sum(_kept(windows, pattern, numbers)))
    return best


def _kept(
    windows: torch.Tensor, pattern: BalancedPattern, numbers: tuple[int, ...]
) -> Iterator[float]:
    """Every row's best gain in every window, by trying all subsets."""
    for row, part in enumerate(windows.tolist()):
        for place, window in enumerate(part):
            most = numbers[row // pattern.lockstep * windows.shape[1] + place]
            yield max(
                sum(chosen)
                for size in range(most + 1)
                for chosen in itertools.combinations(window, size)
            )


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5])
@pytest.mark.parametrize(
    ("shape", "window", "lockstep"),
    [((3, 1, 1, 5), 3, 2), ((2, 4, 1, 1), 2, 2), ((4, 1, 2, 2), 1, 2), ((2, 2, 1, 3), 3, 1)],
)
def test_best_of_all_patterns(
    shape: tuple[int, ...], window: int, lockstep: int, steps: int
) -> None:
    pattern = BalancedPattern(window, lockstep)
    for w in _weights(shape, 4):
        for gain in (w.square(), level_gain(w, 0.7, 2)):
            mask = balanced_mask(gain, pattern, steps=steps)
            assert steps_of(mask, pattern) <= steps
            assert float(gain[mask].sum()) == pytest.approx(_best_gain(gain, pattern, steps))


@pytest.mark.parametrize("count", [1, 4, 9, 17])
def test_bound_of_weights_is_the_best_pattern_of_its_steps(count: int) -> None:
    pattern = BalancedPattern(2, 2)
    for w in _weights((4, 2, 1, 3), 10):
        kept = keep_balanced(w, count, pattern)
        assert int(kept.mask.sum()) <= count
        steps = steps_of(kept.mask, pattern)
        if count == 1:  # a part of one step
            assert steps == 1
            assert float(w[kept.mask].square().sum()) > 0
            continue
        assert torch.equal(kept.mask, balanced_mask(w.square(), pattern, steps=steps))
        more = balanced_mask(w.square(), pattern, steps=steps + 1)
        assert int(more.sum()) > count


@pytest.mark.parametrize("fill", [0.8, 0.5])
def test_as_many_weights_in_more_steps_keep_more(fill: float) -> None:
    full, pattern = BalancedPattern(3, 2), BalancedPattern(3, 2, fill)
    for w in _weights((6, 4, 1, 6), 5):
        kept = keep_balanced(w, 40, pattern)
        whole = keep_balanced(w, 40, full)
        assert int(kept.mask.sum()) == int(whole.mask.sum()) == 40
        assert steps_of(whole.mask, full) == 20
        assert 20 < steps_of(kept.mask, full) <= 20 / fill
        assert float(kept.values.square().sum()) > float(whole.values.square().sum())


def test_single_rows_and_places_are_unstructured() -> None:
    pattern = BalancedPattern(1, 1)
    for w in _weights((3, 2, 2, 3), 5):
        assert torch.equal(keep_balanced(w, 7, pattern).dense(), keep_largest(w, 7).dense())
        joint = keep_balanced_joint(w, 7, 0.5, 2, pattern).dense()
        assert torch.equal(joint, keep_joint(w, 7, 0.5, 2).dense())


def test_joint_scale_does_not_raise_the_error() -> None:
    pattern = BalancedPattern(3, 4)

    def error(w: torch.Tensor, q: float) -> float:
        return float((w - keep_balanced_joint(w, 90, q, 3, pattern).dense()).square().sum())

    for w in _weights((8, 3, 3, 5), 5):
        first = optimal_scale(keep_balanced(w, 90, pattern).values, 3)
        q = balanced_joint_scale(w, 90, 3, pattern)
        assert error(w, q) <= error(w, first)
        assert error(w, q) < 1.05 * min(error(w, s * q) for s in (0.8, 0.9, 1.1, 1.25))


def test_windows_of_a_vector_are_neighbouring_channels() -> None:
    pattern = BalancedPattern(3, 2)
    w = torch.arange(1.0, 11.0).reshape(2, 5, 1, 1)
    assert pattern.windows(w)[0].tolist() == [[1, 2, 3], [4, 5, 0]]
    assert torch.equal(pattern.unwindowed(pattern.windows(w), w.shape), w)


def test_pruned_weights_stay_pruned() -> None:
    w = torch.zeros(2, 1, 1, 3)
    w[0, 0, 0, 1] = 2.0
    kept = keep_balanced(w, 6, BalancedPattern(3, 2))
    assert kept.values.tolist() == [2.0]


def test_refuses_an_empty_window() -> None:
    with pytest.raises(PyadmmError, match="window must be at least 1, not 0"):
        BalancedPattern(0, 4)


def test_alike_rows_run_in_lock_step_wherever_they_are() -> None:
    """A balanced tensor stays as it is in any order of its rows; neighbours alone would lose."""
    pattern, generator = BalancedPattern(3, 2), torch.Generator().manual_seed(1)
    w = torch.randn((12, 20, 1, 6), generator=generator)
    w *= balanced_mask(torch.rand(w.shape, generator=generator), pattern, weights=90)
    shuffled = w[torch.randperm(12, generator=generator)]
    count = int((w != 0).sum())
    target = Target(None, 3, 4, 0, None, "balanced", 3, 2)
    project = balanced_projection(count, target, torch.ones_like(w), False, _settings().admm)
    assert torch.equal(project(shuffled).dense(), shuffled)
    steps = steps_of(w != 0, pattern)
    assert fewest_steps(shuffled != 0, pattern) == steps
    assert torch.equal(alike_mask(shuffled.square(), pattern, count), shuffled != 0)
    assert int(balanced_mask(shuffled.square(), pattern, steps=steps).sum()) < count


def test_gains_of_a_step_are_shared() -> None:
    """Two rows in lock step: their largest weights of a window are kept together or not at all."""
    gain = torch.tensor([[9.0, 4.0, 0.0], [1.0, 3.0, 0.0]]).reshape(2, 1, 1, 3)
    shared = step_gains(gain, BalancedPattern(3, 2), 2)
    assert shared.flatten().tolist() == [6.0, 2.5, 0.0, 2.5, 6.0, 0.0]
    for g in (w.square() for w in _weights((7, 3, 1, 5), 4)):
        assert torch.equal(step_gains(g, BalancedPattern(3, 1), 20), g)
        mean = step_gains(g, BalancedPattern(3, 2), 20)
        assert float(mean.sum()) == pytest.approx(float(g.sum()))


@pytest.mark.parametrize("outputs", [None, 5])
def test_alike_rows_keep_more(outputs: int | None) -> None:
    """Grouping by likeness loses less than the given order, also of the outputs that may live."""
    pattern, admm = BalancedPattern(2, 3), _settings().admm
    target = Target(None, 3, 4, 0, outputs, "balanced", 2, 3)
    energy = {"alike": 0.0, "given": 0.0}
    for w in _weights((9, 6, 1, 4), 8):
        kept = balanced_projection(40, target, torch.ones_like(w), False, admm)(w)
        assert int(kept.mask.sum()) <= 40
        assert torch.equal(kept.dense()[kept.mask], w[kept.mask])
        assert outputs is None or int(kept.mask.flatten(1).any(1).sum()) <= outputs
        energy["alike"] += float(kept.values.square().sum())
        energy["given"] += float(keep_balanced(w, 40, pattern).values.square().sum())
    assert outputs is not None or energy["alike"] > energy["given"]


def _settings(**values: object) -> CompressSettings:
    plain = {"batch_size": 32, "lr": 3e-3}
    pattern = {"sparsity": "balanced", "lockstep": 4} if "sparsity" not in values else {}
    return from_dict(
        {
            "preset": "quick",
            "pruning_ratio": 6,
            "filters_kept": 1,
            "neurons_kept": 1,
            **pattern,
            "dense": {"epochs": 3, "batch_size": 32, "lr": 5e-3, "shift_pixels": 0},
            "continuous": {"epochs": 0},
            "admm": {
                "rounds": 2,
                "first_ratio": 3,
                "iterations": 2,
                "rho": 0.1,
                "curvature": 0,
                **plain,
            },
            "retrain": {"epochs": 2, **plain},
            "quantize": {"epochs": 3, **plain},
            **values,
        }
    )


@pytest.mark.parametrize(("kept", "fuller"), [(1.0, 1.4), (0.5, 1.15)])
def test_a_compressed_network_is_balanced(kept: float, fuller: float) -> None:
    """Nearly every step of the arrays in lock step has work for all rows, of those that live."""
    filled = {}
    for sparsity in ("balanced", "unstructured"):
        pattern = {} if sparsity == "balanced" else {"sparsity": sparsity}
        settings = _settings(**pattern, filters_kept=kept, neurons_kept=kept)
        data = quarter_data()
        model = quarter_model()
        train_dense(model, settings, data)
        compressed = compress(model, settings, data.train, data.validation)
        assert compressed.pruning_ratio >= 6
        accuracy = compressed.accuracy(
            data.validation.images.numpy(), data.validation.labels.numpy()
        )
        assert accuracy > 0.9
        steps = [
            fewest_steps(torch.from_numpy(layer.window_codes != 0), BalancedPattern(3, 4))
            for layer in compact(compressed).layers
        ]
        filled[sparsity] = compressed.nnz / (4 * sum(steps))
    assert filled["balanced"] > fuller * filled["unstructured"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"regrow": {"cycles": 1}}, "set cycles to 0, or sparsity to unstructured"),
        (
            {"admm": {"rounds": 2, "crowding": 0.3}},
            "set crowding to 0, or sparsity to unstructured",
        ),
        ({"sparsity": "blocked"}, "sparsity must be unstructured or balanced, not 'blocked'"),
        ({"window": 0}, "window must be at least 1, not 0"),
        ({"fill": 0}, r"fill must be in \(0, 1\], not 0"),
    ],
)
def test_settings_that_balanced_patterns_exclude(values: dict[str, object], message: str) -> None:
    with pytest.raises(PyadmmError, match=message):
        _settings(**values)


def test_convolution_groups_are_refused() -> None:
    spec = LayerSpec("conv1", "conv", (4, 2, 3, 3), (4, 6, 6), groups=2)
    with pytest.raises(PyadmmError, match="layer conv1: balanced patterns take no convolution"):
        layer_targets([spec], _settings(pruning_ratio=2))
