"""The hardware-aware schedule (ADMM-NN section 5, Figure 5).

:func:`plan` restores layers below their break-even pruning ratio to dense. It raises a layer that is
just below it to the ratio instead, if this makes the network faster. :func:`raise_ratios` then prunes
the other layers further by a binary search, as far as the accuracy on the validation images allows. A
trial is a short compression in floats: few rounds or epochs of ADMM and a short masked retraining.
Trials only rank ratios; the accuracy of the result is that of the full compression that follows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from pyadmm.admm.projections import project_cardinality, row_mask
from pyadmm.compression.budgets import active_weights, planned_ratios
from pyadmm.compression.lockstep import alike_mask
from pyadmm.compression.pipeline import admm_phase, retrain
from pyadmm.compression.schedule import (
    Cycles,
    Decision,
    Target,
    keep,
    layer_targets,
    plan_ratios,
    search_hardware_aware,
)
from pyadmm.hardware.lowering import hardware_form
from pyadmm.model import CompressedModel
from pyadmm.network.activation_scales import calibrate
from pyadmm.network.execution import Numerics
from pyadmm.network.graph import Network
from pyadmm.network.to_integer import snap_scales, to_compressed
from pyadmm.settings import CompressSettings, LayerTarget, RegrowSettings
from pyadmm.training.checkpoint import Progress
from pyadmm.training.data import Data, accuracy

TRIAL_ROUNDS = 3
TRIAL_EPOCHS = 3
SEARCH_STEPS = 4
LARGEST_FACTOR = 4.0


@dataclass(frozen=True)
class RatioPlan:
    """The result of the search for pruning ratios.

    :param settings: the given ones with the ratios that were decided.
    :param trials: ``(factor, validation accuracy)`` in the order of the search, if there was one.
    """

    settings: CompressSettings
    decisions: tuple[Decision, ...]
    trials: tuple[tuple[float, float], ...]


def plan(
    network: Network,
    settings: CompressSettings,
    data: Data,
    speed: Callable[[CompressedModel], float] | None = None,
) -> RatioPlan:
    """Settings whose layers obey ``settings.break_even`` at the same total ratio, without trials.

    :param speed: cycles between two images that a model's accelerator takes.
    """
    weights = _weights(network)
    decisions = plan_ratios(
        weights,
        planned_ratios(network, settings, data),
        settings.break_even,
        settings.pruning_ratio,
        active=active_weights(network, settings),
        cycles=_judge(network, settings, data, speed),
    )
    return RatioPlan(_fixed(settings, decisions), tuple(decisions), ())


def raise_ratios(
    network: Network,
    settings: CompressSettings,
    data: Data,
    *,
    loss: float,
    speed: Callable[[CompressedModel], float] | None = None,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
) -> RatioPlan:
    """Ratios that obey ``settings.break_even`` and are as large as the accuracy allows.

    :param loss: share of the validation images that pushing may lose, against the restored ratios
        in a trial of the same length.
    :param speed: as for :func:`plan`.
    """
    weights = _weights(network)
    known: dict[str, float] = {}

    def evaluate(ratios: Mapping[str, float]) -> float:
        key = hashlib.sha256(json.dumps(ratios, sort_keys=True).encode()).hexdigest()[:12]
        if key not in known:
            folder = None if checkpoint_dir is None else checkpoint_dir / f"trial-{key}"
            exact = pinned(settings, weights, ratios)
            known[key] = trial_accuracy(network, exact, data, folder, progress)
        return known[key]

    ratios = planned_ratios(network, settings, data)
    active = active_weights(network, settings)
    search = partial(
        search_hardware_aware,
        weights,
        ratios,
        settings.break_even,
        evaluate,
        active=active,
        cycles=_judge(network, settings, data, speed),
    )
    restored = search(least_accuracy=0.0, steps=0)
    found = search(
        least_accuracy=restored.accuracy - loss,
        largest_factor=LARGEST_FACTOR,
        steps=SEARCH_STEPS,
    )
    final = pinned(settings, weights, {d.layer: d.ratio for d in found.decisions})
    return RatioPlan(final, tuple(found.decisions), tuple(found.trials))


def pinned(
    settings: CompressSettings, weights: Mapping[str, int], ratios: Mapping[str, float]
) -> CompressSettings:
    """``settings`` with exactly these ratios.

    :param weights: layer -> weights of the dense layer.
    """
    left = sum(keep(weights[name], ratio) for name, ratio in ratios.items())
    targets = tuple(LayerTarget(name, ratio=ratio) for name, ratio in ratios.items())
    return replace(
        settings,
        pruning_ratio=max(1.0, sum(weights.values()) / left),
        layers=(*settings.layers, *targets),
        break_even={},
    )


def forecast(network: Network, settings: CompressSettings, data: Data) -> CompressedModel:
    """The integer model of ``network`` pruned as ``settings`` say in one shot, untrained.

    Outputs are pruned first, then weights of the active outputs. The pattern resembles that of the
    compressed network, so hardware can be estimated for it. The model is not trained: its logits mean
    nothing.
    """
    specs = [layer.facts.spec for layer in network.layers.values()]
    targets = layer_targets(specs, settings)
    pruned = network.fold_norms()
    ratios = planned_ratios(pruned, settings, data)
    for name, layer in pruned.layers.items():
        w, rows = layer.weight.detach(), targets[name].outputs
        count = keep(layer.facts.spec.weights, ratios[name])
        layer.apply_mask(row_mask(w, count, rows or len(w)))
    pruned = pruned.shrink()
    ratios = planned_ratios(pruned, settings, data)
    for name, layer in pruned.layers.items():
        w, count = layer.weight.detach(), keep(layer.facts.spec.weights, ratios[name])
        layer.apply_mask(_kept(w, min(count, w.numel()), targets[name]))
    pruned = pruned.shrink()
    for layer in pruned.layers.values():
        layer.fit_weight_scale()
    calibrate(pruned, data.train)
    pruned = pruned.at(Numerics.INTEGER)
    snap_scales(pruned, settings.mult_bits)
    return hardware_form(to_compressed(pruned, "forecast"))


def _kept(w: Tensor, count: int, target: Target) -> Tensor:
    """Mask of the ``count`` largest weights, or of a layer's balanced pattern with at most as many."""
    if target.balanced is None:
        return project_cardinality(w, count) != 0
    places = w.reshape(len(w), -1, 1, 1) if w.ndim == 2 else w
    return alike_mask(places.square(), target.balanced, count).reshape(w.shape)


def _judge(
    network: Network,
    settings: CompressSettings,
    data: Data,
    speed: Callable[[CompressedModel], float] | None,
) -> Cycles | None:
    if speed is None:
        return None
    known: dict[tuple[LayerTarget, ...], float] = {}

    def cycles(decisions: Sequence[Decision]) -> float:
        chosen = _fixed(settings, decisions)
        key = chosen.layers
        if key not in known:
            known[key] = speed(forecast(network, chosen, data))
        return known[key]

    return cycles


def _fixed(settings: CompressSettings, decisions: Sequence[Decision]) -> CompressSettings:
    """``settings`` with the ratios of fixed layers."""
    fixed = tuple(LayerTarget(d.layer, ratio=d.ratio) for d in decisions if d.fixed)
    return replace(settings, layers=(*settings.layers, *fixed))


def _weights(network: Network) -> dict[str, int]:
    return {name: layer.facts.spec.weights for name, layer in network.layers.items()}


def _trial(settings: CompressSettings) -> CompressSettings:
    admm, continuous, retraining = settings.admm, settings.continuous, settings.retrain
    return replace(
        settings,
        admm=replace(admm, rounds=min(TRIAL_ROUNDS, admm.rounds)),
        continuous=replace(continuous, epochs=min(TRIAL_EPOCHS, continuous.epochs)),
        regrow=RegrowSettings(),
        retrain=replace(retraining, epochs=min(TRIAL_EPOCHS, retraining.epochs)),
    )


def trial_accuracy(
    network: Network,
    settings: CompressSettings,
    data: Data,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
) -> float:
    """Validation accuracy of ``network`` after a short compression as ``settings`` say, in floats.

    :param checkpoint_dir: where the trial can be resumed from.
    :param progress: called after every epoch.
    """
    settings = _trial(settings)
    common: dict[str, Any] = {"checkpoint_dir": checkpoint_dir, "progress": progress}
    pruned = admm_phase(network, settings, data, **common)
    tuned = retrain(pruned.network, settings, data, teacher=network, **common).network
    return accuracy(lambda images: tuned(tuned.encode(images)), data.validation)
