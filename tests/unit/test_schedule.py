"""Allocation, targets, and the break-even rule ``ratio == 1 or ratio >= floor``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from pyadmm.compression.schedule import (
    NEAR,
    Decision,
    allocate,
    keep,
    layer_targets,
    partial_ratio,
    plan_ratios,
    round_ratios,
    search_hardware_aware,
)
from pyadmm.core.errors import PyadmmError
from pyadmm.model.types import LayerSpec
from pyadmm.settings import CompressSettings, from_dict

_SPECS = [
    LayerSpec("conv1", "conv", (20, 1, 5, 5), (1, 28, 28)),
    LayerSpec("conv2", "conv", (50, 20, 5, 5), (20, 12, 12)),
    LayerSpec("fc1", "linear", (500, 800), (50, 4, 4)),
    LayerSpec("fc2", "linear", (10, 500), (500, 1, 1)),
]
_WEIGHTS = {spec.name: spec.weights for spec in _SPECS}


def _settings(**values: Any) -> CompressSettings:
    return from_dict({"preset": "quick", **values})


def test_patterns_apply_in_order_and_keep_what_they_do_not_say() -> None:
    targets = layer_targets(
        _SPECS,
        _settings(
            pruning_ratio=85,
            weight_bits=4,
            filters_kept=1,
            neurons_kept=1,
            layers=[
                {"pattern": "*", "activation_bits": 5},
                {"pattern": "fc?", "weight_bits": 2, "ratio": 100},
                {"pattern": "fc2", "ratio": 10, "outputs": 8},
            ],
        ),
    )
    assert [t.weight_bits for t in targets.values()] == [4, 4, 2, 2]
    assert [t.ratio for t in targets.values()] == [None, None, 100, 10]
    assert [t.outputs for t in targets.values()] == [None, None, None, 8]
    assert {t.activation_bits for t in targets.values()} == {5}


def test_hidden_layers_keep_a_share_of_their_outputs() -> None:
    layers = [{"pattern": "conv1", "ratio": 1}, {"pattern": "conv2", "outputs": 40}]
    targets = layer_targets(_SPECS, _settings(filters_kept=0.5, neurons_kept=0.125, layers=layers))
    assert [t.outputs for t in targets.values()] == [None, 40, 63, None]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layers": [{"pattern": "fc3", "ratio": 2}]}, "layer 'fc3' is unknown.*conv1, conv2, fc1"),
        ({"break_even": {"fc9": 2}}, "layer 'fc9' is unknown"),
        ({"layers": [{"pattern": "conv1", "ratio": 501}]}, "conv1: .*would leave none of its 500"),
        ({"pruning_ratio": 430_500}, "leaves 1 weights for conv1, conv2, fc1, fc2"),
        (
            {"pruning_ratio": 400, "layers": [{"pattern": "conv2", "ratio": 10}]},
            "use a lower pruning_ratio",
        ),
    ],
)
def test_impossible_targets_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(PyadmmError, match=message):
        layer_targets(_SPECS, _settings(**values))


def test_rounds_are_geometric_and_end_at_the_target() -> None:
    assert round_ratios(10, 160, 1) == [160.0]
    assert round_ratios(200, 160, 2) == [160.0, 160.0]
    ratios = round_ratios(8, 167.5, 4)
    assert ratios[0] == 8
    assert ratios[-1] == 167.5
    assert ratios == sorted(ratios)
    assert partial_ratio(16, 0.5) == 4
    assert keep(10, 1000) == 1


def test_allocation_is_the_global_top() -> None:
    generator = torch.Generator().manual_seed(1)
    saliency = {
        "a": torch.rand(10, 10, generator=generator),
        "b": torch.rand(400, generator=generator) * 0.9,
    }
    counts = allocate(saliency, 50)
    threshold = torch.cat([s.flatten() for s in saliency.values()]).sort(descending=True).values[49]
    assert counts == {name: int((s >= threshold).sum()) for name, s in saliency.items()}


def test_allocation_starves_nobody() -> None:
    saliency = {"a": torch.ones(5) * 9, "b": torch.zeros(5), "c": torch.zeros(5)}
    assert allocate(saliency, 4) == {"a": 2, "b": 1, "c": 1}


@pytest.mark.parametrize("total", [1, 11])
def test_allocation_refuses_what_cannot_be(total: int) -> None:
    with pytest.raises(PyadmmError, match="cannot share"):
        allocate({"a": torch.ones(5), "b": torch.ones(5)}, total)


def _holds(ratios: Mapping[str, float], floors: Mapping[str, float]) -> bool:
    return all(ratios[n] == 1 or ratios[n] >= floor - 1e-9 for n, floor in floors.items())


def test_layers_below_break_even_stay_dense() -> None:
    ratios = {"conv1": 5.0, "conv2": 18.8, "fc1": 500.0, "fc2": 14.0}
    decisions = plan_ratios(_WEIGHTS, ratios, {"conv1": 6.0, "conv2": 2.2})
    chosen = {d.layer: d.ratio for d in decisions}
    assert chosen == {"conv1": 1.0, "conv2": 18.8, "fc1": 500.0, "fc2": 14.0}
    reasons = {d.layer: d.reason for d in decisions}
    assert "stays dense: 5 is below its break-even of 6" in reasons["conv1"]
    assert "no break-even is known" in reasons["fc1"]


def test_dead_outputs_of_a_dense_layer_stay_dead() -> None:
    ratios = {"conv1": 5.0, "conv2": 18.8, "fc1": 500.0, "fc2": 14.0}
    active = {**_WEIGHTS, "conv1": 11 * 25, "conv2": 28 * 500}
    decisions = plan_ratios(_WEIGHTS, ratios, {"conv1": 6.0, "conv2": 2.2}, 165, active=active)
    chosen = {d.layer: d for d in decisions}
    assert chosen["conv1"].dense
    assert keep(500, chosen["conv1"].ratio) == 275
    assert "its active outputs keep all their weights, 55% of all" in chosen["conv1"].reason
    assert not chosen["conv2"].dense
    total = sum(keep(_WEIGHTS[name], decision.ratio) for name, decision in chosen.items())
    assert 0.98 * 430_500 / 165 <= total <= 430_500 / 165


def test_a_layer_just_below_is_raised_where_the_network_gains() -> None:
    ratios = {"conv1": 5.0, "conv2": 18.8, "fc1": 500.0, "fc2": 14.0}
    floors = {"conv1": 6.0, "conv2": 2.2}
    asked: list[Sequence[Decision]] = []

    def cycles(decisions: Sequence[Decision]) -> float:
        asked.append(decisions)
        return 500.0 if decisions[0].dense else 400.0

    raised, *_ = plan_ratios(_WEIGHTS, ratios, floors, 165, cycles=cycles)
    assert (raised.ratio, raised.dense) == (6.0, False)
    assert "an image takes 400 cycles (modelled), not 500 as with the layer dense" in raised.reason
    for decisions in asked:
        total = sum(keep(_WEIGHTS[d.layer], d.ratio) for d in decisions)
        assert 0.98 * 430_500 / 165 <= total <= 430_500 / 165


def test_a_layer_stays_dense_where_raising_it_gains_nothing_or_costs_too_much() -> None:
    ratios = {"conv1": 5.0, "conv2": 18.8, "fc1": 500.0, "fc2": 14.0}
    kept, *_ = plan_ratios(_WEIGHTS, ratios, {"conv1": 6.0}, cycles=lambda _: 400.0)
    assert kept.dense
    assert "raised to it, an image would take 400 cycles (modelled), not 400" in kept.reason
    far = {"conv1": 1.01 * NEAR * ratios["conv1"]}
    kept, *_ = plan_ratios(_WEIGHTS, ratios, far, cycles=lambda plan: 1 / plan[0].ratio)
    assert kept.dense
    assert "raised" not in kept.reason


def test_others_are_pruned_further_until_the_total_holds() -> None:
    ratios = {"conv1": 5.0, "conv2": 18.8, "fc1": 500.0, "fc2": 14.0}
    floors = {"conv1": 6.0, "conv2": 2.2, "fc1": 3.0, "fc2": 2.0}
    decisions = plan_ratios(_WEIGHTS, ratios, floors, total_ratio=165)
    chosen = {d.layer: d.ratio for d in decisions}
    kept = sum(keep(_WEIGHTS[n], r) for n, r in chosen.items())
    assert chosen["conv1"] == 1.0
    assert _holds(chosen, floors)
    assert 0.98 * 430_500 / 165 <= kept <= 430_500 / 165
    assert all("further to make up" in d.reason for d in decisions if d.ratio > 1)


def test_a_layer_too_large_to_stay_dense_is_raised_to_its_floor() -> None:
    ratios = {"conv1": 2.0, "conv2": 15.0, "fc1": 500.0, "fc2": 14.0}
    floors = {"conv1": 1.5, "conv2": 20.0}
    decisions = plan_ratios(_WEIGHTS, ratios, floors, total_ratio=150)
    conv2 = next(d for d in decisions if d.layer == "conv2")
    assert conv2.ratio >= 20
    assert "raised to its break-even" in conv2.reason


def test_an_impossible_total_is_refused() -> None:
    with pytest.raises(PyadmmError, match="cannot be reached"):
        plan_ratios({"a": 10, "b": 10}, {"a": 1.0, "b": 2.0}, {"a": 100.0}, total_ratio=15)


def test_search_pushes_as_far_as_accuracy_allows() -> None:
    calls = []

    def evaluate(ratios: Mapping[str, float]) -> float:
        calls.append(dict(ratios))
        return 0.99 if ratios["fc1"] <= 1300 else 0.95

    ratios = {"conv1": 2.0, "conv2": 18.8, "fc1": 500.0, "fc2": 14.0}
    found = search_hardware_aware(
        _WEIGHTS, ratios, {"conv1": 6.0, "conv2": 3.0}, evaluate, least_accuracy=0.98
    )
    chosen = {d.layer: d.ratio for d in found.decisions}
    assert chosen["conv1"] == 1.0
    assert 1250 <= chosen["fc1"] <= 1300
    assert chosen["conv2"] / 18.8 == pytest.approx(chosen["fc1"] / 500)
    assert found.accuracy == 0.99
    assert len(found.trials) == len(calls)
    assert all(_holds(c, {"conv1": 6.0, "conv2": 3.0}) for c in calls)


def test_search_fails_loudly_when_the_start_is_too_bad() -> None:
    with pytest.raises(PyadmmError, match="below the least of"):
        search_hardware_aware({"a": 9}, {"a": 3.0}, {}, lambda _: 0.1, least_accuracy=0.9)
