"""The pattern of every layer by cycles and short trials, on a small synthetic task."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch

from pyadmm.admm.balanced import BalancedPattern
from pyadmm.compression import patterns
from pyadmm.compression.hardware_aware import forecast
from pyadmm.compression.lockstep import fewest_steps
from pyadmm.compression.patterns import choose_patterns
from pyadmm.compression.schedule import layer_targets
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings, LayerTarget
from pyadmm.training.data import Data

from .test_hardware_aware import data, network, settings  # noqa: F401

torch.set_num_threads(1)


def wanted() -> CompressSettings:
    return replace(settings(), break_even={}, window=3, lockstep=2)


def balanced_layers(chosen: CompressSettings, network: Network) -> list[str]:  # noqa: F811
    specs = [layer.facts.spec for layer in network.layers.values()]
    return [n for n, t in layer_targets(specs, chosen).items() if t.balanced is not None]


def test_a_layer_that_makes_nothing_faster_is_not_tried(network: Network, data: Data) -> None:  # noqa: F811
    found = choose_patterns(network, wanted(), data, loss=1.0, speed=lambda model: 100.0)
    assert [trial.accuracy for trial in found.trials] == [None] * 3
    assert not balanced_layers(found.settings, network)
    assert found.cycles == 100


def test_faster_layers_are_balanced_as_far_as_accuracy_allows(
    network: Network,  # noqa: F811
    data: Data,  # noqa: F811
    tmp_path: Path,
) -> None:
    falling = count(100, -1)
    found = choose_patterns(
        network,
        wanted(),
        data,
        loss=1.0,
        speed=lambda model: next(falling),
        checkpoint_dir=tmp_path,
    )
    assert [(trial.cycles, trial.lockstep) for trial in found.trials] == [(99, 2), (98, 2), (97, 2)]
    assert balanced_layers(found.settings, network) == list(network.layers)
    assert len(list(tmp_path.glob("pattern-*"))) == 4
    falling = count(100, -1)
    refused = choose_patterns(
        network,
        wanted(),
        data,
        loss=-2.0,
        speed=lambda model: next(falling),
        checkpoint_dir=tmp_path,
    )
    assert next(t.accuracy for t in refused.trials) == found.trials[0].accuracy
    assert not balanced_layers(refused.settings, network)


def test_the_fastest_lock_step_that_accuracy_allows_is_taken(
    network: Network,  # noqa: F811
    data: Data,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eight rows of the first layer are fastest but lose too much; two are not faster than none."""
    accuracy = iter([0.9, 0.7, 0.85])
    monkeypatch.setattr(patterns, "trial_accuracy", lambda *arguments: next(accuracy))
    cycles = iter([100.0, 60.0, 70.0, 110.0, *[90.0] * 6])
    found = choose_patterns(
        network,
        replace(wanted(), lockstep=8),
        data,
        loss=0.1,
        speed=lambda model: next(cycles),
    )
    first = found.trials[0].layer
    assert [(t.layer == first, t.lockstep, t.accuracy, t.balanced) for t in found.trials] == [
        (True, 8, 0.7, False),
        (True, 4, 0.85, True),
        (False, 2, None, False),
        (False, 2, None, False),
    ]
    assert found.settings.layers[-1] == LayerTarget(first, sparsity="balanced", lockstep=4)


def test_the_forecast_has_the_pattern(network: Network, data: Data) -> None:  # noqa: F811
    free = forecast(network, wanted(), data)
    model = forecast(network, replace(wanted(), sparsity="balanced"), data)
    pattern = BalancedPattern(3, 2)

    def steps(codes: object) -> int:
        return fewest_steps(torch.from_numpy(codes != 0), pattern)  # type: ignore[arg-type]

    assert model.nnz <= free.nnz
    for layer in model.layers:
        assert steps(layer.window_codes) * 2 >= layer.nnz
    assert sum(steps(la.window_codes) / la.nnz for la in model.layers) < sum(
        steps(la.window_codes) / la.nnz for la in free.layers
    )
