"""ADMM-NN Figure 5 by short trials on a small synthetic task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pyadmm.compression.budgets import planned_ratios
from pyadmm.compression.hardware_aware import (
    LARGEST_FACTOR,
    RatioPlan,
    forecast,
    pinned,
    plan,
    raise_ratios,
)
from pyadmm.compression.pipeline import admm_phase, to_network
from pyadmm.compression.schedule import keep
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings, LayerTarget, from_dict
from pyadmm.training.data import Data, Images

torch.set_num_threads(1)
FLOORS = {"0": 30.0}


@pytest.fixture(scope="module")
def data() -> Data:
    generator = torch.Generator().manual_seed(4)

    def draw(count: int) -> Images:
        labels = torch.randint(0, 2, (count,), generator=generator)
        images = torch.randint(0, 90, (count, 1, 6, 6), generator=generator)
        images[labels == 1, 0, :3] += 120
        return Images(images.to(torch.uint8), labels)

    return Data(draw(160), draw(80))


@pytest.fixture(scope="module")
def network(data: Data) -> Network:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 12), nn.ReLU()
    return to_network(nn.Sequential(*layers, nn.Linear(12, 2)), settings(), (1, 6, 6))


def settings() -> CompressSettings:
    phase = {"epochs": 1, "batch_size": 32, "shift_pixels": 0}
    admm = {"rounds": 2, "iterations": 1, "retrain_epochs": 1, "batch_size": 32, "rho": 0.1}
    return from_dict(
        {
            "pruning_ratio": 4,
            "filters_kept": 1,
            "neurons_kept": 1,
            "break_even": FLOORS,
            "admm": {**admm, "first_ratio": 2},
            "continuous": {"epochs": 0},
            "retrain": phase,
        }
    )


@pytest.fixture(scope="module")
def ratio_plan(network: Network, data: Data, tmp_path_factory: pytest.TempPathFactory) -> RatioPlan:
    """With a loss of 1 every push is accepted."""
    folder: Path = tmp_path_factory.mktemp("trials")
    found = raise_ratios(network, settings(), data, loss=1.0, checkpoint_dir=folder)
    assert len(list(folder.glob("trial-*"))) == len(found.trials)
    return found


def test_layers_under_break_even_are_restored_and_the_others_pruned_further(
    ratio_plan: RatioPlan, network: Network, data: Data
) -> None:
    before = planned_ratios(network, settings(), data)
    decisions = {decision.layer: decision for decision in ratio_plan.decisions}
    assert decisions["0"].ratio == 1
    assert "below its break-even of 30" in decisions["0"].reason
    factor = max(factor for factor, _ in ratio_plan.trials)
    assert LARGEST_FACTOR / 2 < factor < LARGEST_FACTOR
    assert decisions["3"].ratio == pytest.approx(before["3"] * factor)
    assert f"pruned {factor:.3g}x further" in decisions["3"].reason


def test_the_compression_that_follows_has_the_ratios_found(
    ratio_plan: RatioPlan, network: Network, data: Data
) -> None:
    layers = admm_phase(network, ratio_plan.settings, data).network.layers
    for decision in ratio_plan.decisions:
        layer = layers[decision.layer]
        assert layer.nnz <= max(1, int(layer.facts.spec.weights / decision.ratio + 1e-6))
    assert ratio_plan.settings.break_even == {}


def test_pinned_settings_have_the_total_of_their_ratios() -> None:
    found = pinned(settings(), {"a": 100, "b": 60}, {"a": 10.0, "b": 1.0})
    assert found.pruning_ratio == pytest.approx(160 / 70)
    assert {entry.pattern: entry.ratio for entry in found.layers} == {"a": 10.0, "b": 1.0}


def test_a_forecast_is_pruned_as_the_network_will_be(network: Network, data: Data) -> None:
    wanted = replace(settings(), filters_kept=0.5, layers=(LayerTarget("0", ratio=2.0),))
    model = forecast(network, wanted, data)
    first, hidden, last = model.layers
    assert first.spec.outputs <= 2
    assert first.nnz == first.spec.weights
    assert 0.8 * network.weights / 4 <= sum(layer.nnz for layer in model.layers)
    assert first.nnz + hidden.nnz + last.nnz <= network.weights / 4


def test_a_layer_is_raised_if_its_forecast_is_faster(network: Network, data: Data) -> None:
    before = planned_ratios(network, settings(), data)["0"]
    near = replace(settings(), break_even={"0": 1.2 * before})
    found = plan(network, near, data, lambda model: model.layers[0].nnz)
    assert found.decisions[0].ratio == pytest.approx(1.2 * before)
    assert not found.decisions[0].dense
    stays = plan(network, near, data, lambda model: -model.layers[0].nnz)
    assert stays.decisions[0].dense
    total = sum(keep(network.layers[d.layer].facts.spec.weights, d.ratio) for d in found.decisions)
    assert total <= network.weights / settings().pruning_ratio
