"""The hardware-aware schedule by trial (ADMM-NN section 5, Figure 5).

Prune; restore the layers under their break-even pruning ratio to dense; push the others further by
a binary search, as far as the accuracy on the validation images allows. A trial is a short
compression: few ADMM rounds and a short masked retraining, in floats. It ranks ratios; the accuracy
of the result is that of the full compression that follows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyadmm.compression import admm_phase, living_weights, planned_ratios, retrain
from pyadmm.network import Network
from pyadmm.schedule import Decision, keep, search_hardware_aware
from pyadmm.settings import CompressSettings, LayerTarget
from pyadmm.training import Data, Progress, accuracy

TRIAL_ROUNDS = 3
TRIAL_EPOCHS = 3
SEARCH_STEPS = 4
LARGEST_FACTOR = 4.0


@dataclass(frozen=True)
class Pushed:
    """What the search decided.

    :param settings: the given ones with a ratio for every layer; no break-even is left in them.
    :param trials: ``(factor, validation accuracy)`` in the order of the search.
    """

    settings: CompressSettings
    decisions: tuple[Decision, ...]
    trials: tuple[tuple[float, float], ...]


def push(
    network: Network,
    settings: CompressSettings,
    data: Data,
    *,
    loss: float,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
) -> Pushed:
    """Ratios that obey ``settings.break_even`` and are as large as the accuracy allows.

    :param loss: share of the validation images that pushing may lose, against the restored ratios
        in a trial of the same length.
    """
    weights = {name: layer.facts.spec.weights for name, layer in network.layers.items()}
    known: dict[str, float] = {}

    def evaluate(ratios: Mapping[str, float]) -> float:
        key = hashlib.sha256(json.dumps(ratios, sort_keys=True).encode()).hexdigest()[:12]
        if key not in known:
            folder = None if checkpoint_dir is None else checkpoint_dir / f"trial-{key}"
            trial = _trial(pinned(settings, weights, ratios))
            known[key] = _accuracy(network, trial, data, folder, progress)
        return known[key]

    ratios = planned_ratios(network, settings, data)
    living = living_weights(network, settings)
    restored = search_hardware_aware(
        weights, ratios, settings.break_even, evaluate, least_accuracy=0.0, steps=0, living=living
    )
    found = search_hardware_aware(
        weights,
        ratios,
        settings.break_even,
        evaluate,
        least_accuracy=restored.accuracy - loss,
        largest_factor=LARGEST_FACTOR,
        steps=SEARCH_STEPS,
        living=living,
    )
    final = pinned(settings, weights, {d.layer: d.ratio for d in found.decisions})
    return Pushed(final, tuple(found.decisions), tuple(found.trials))


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


def _trial(settings: CompressSettings) -> CompressSettings:
    admm, retraining = settings.admm, settings.retrain
    return replace(
        settings,
        admm=replace(admm, rounds=min(TRIAL_ROUNDS, admm.rounds)),
        retrain=replace(retraining, epochs=min(TRIAL_EPOCHS, retraining.epochs)),
    )


def _accuracy(
    network: Network,
    settings: CompressSettings,
    data: Data,
    checkpoint_dir: Path | None,
    progress: Progress | None,
) -> float:
    common: dict[str, Any] = {"checkpoint_dir": checkpoint_dir, "progress": progress}
    pruned = admm_phase(network, settings, data, **common)
    tuned = retrain(pruned.network, settings, data, teacher=network, **common).network
    return accuracy(lambda images: tuned(tuned.encode(images)), data.validation)
