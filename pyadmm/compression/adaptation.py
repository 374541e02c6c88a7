"""Settings of a preset for a network that it was not made for.

The preset ``quick`` is made for LeNet-5, which loses little accuracy when 99 % of its weights are
pruned. Most networks can be pruned far less. So the settings that a preset lists in ``adapt`` are
chosen for the network: rules choose bits, channels and training (:func:`adapted`), and short trials
choose the pruning ratio (:func:`choose_ratio`). Settings that the user gives are never changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pyadmm.compression.admm_rounds import AdmmRounds
from pyadmm.compression.continuous_admm import ContinuousAdmm
from pyadmm.compression.phase import PhaseContext, run_phases
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings
from pyadmm.training.checkpoint import Progress
from pyadmm.training.data import Data, Images
from pyadmm.training.distillation import Teacher
from pyadmm.training.seeds import seed_of

_LENET5 = ((20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500))
"""Weights of the network that ``quick`` is made for."""
_BY_RULE = {"filters_kept": 1.0, "neurons_kept": 1.0, "weight_bits": 6, "activation_bits": 8}
_FIRST_RATIO = 2.0
"""Value of the pruning ratio until trials have chosen one."""
_RATIOS = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0)
_EPOCHS, _STEPS = 10, 400
"""Least epochs and optimizer steps of pruning, and of training at levels."""
_BATCHES, _LEAST_BATCH = 20, 16
"""Least batches of an epoch, as long as a batch then has at least the second number of images."""
_TRIAL_EPOCHS, _TRIAL_STEPS = 2, 100
_TRIAL_IMAGES = 6_000
_JUDGED_IMAGES = 4_000
_JUDGED_BYTES = 1 << 28
_LOSS = 0.03
"""Accuracy that a trial may lose against one that prunes nothing; the whole run regains most."""
_LEAST_MOVED = 24
"""Rows and columns of maps that training shifts: smaller ones lose too much at their edges."""

Trial = tuple[float, float]


@dataclass(frozen=True)
class RatioChoice:
    """The settings with their pruning ratio, and how it was found.

    :param trials: ``(pruning ratio, accuracy on images that the trial was not trained on)``; the
        first one prunes nothing.
    """

    settings: CompressSettings
    trials: tuple[Trial, ...] = ()


def adapted(settings: CompressSettings, network: Network) -> CompressSettings:
    """``settings`` with the fields in ``adapt`` set for ``network``, except the pruning ratio."""
    if not settings.adapt:
        return settings
    shapes = tuple(tuple(layer.facts.spec.weight_shape) for layer in network.layers.values())
    if shapes == _LENET5:
        return replace(settings, adapt=())
    changed: dict[str, Any] = {
        name: value for name, value in _BY_RULE.items() if name in settings.adapt
    }
    if "training" in settings.adapt:
        changed |= _gentle(settings, network.input.shape)
    if "pruning_ratio" in settings.adapt:
        changed["pruning_ratio"] = _FIRST_RATIO
    left = tuple(name for name in settings.adapt if name in ("pruning_ratio", "training"))
    return replace(settings, **changed, adapt=left)


def _gentle(settings: CompressSettings, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Training settings for few images and a trained network: small learning rates, shifted images."""
    shift = 2 if min(shape[1:]) >= _LEAST_MOVED else 0
    return {
        "admm": replace(settings.admm, first_ratio=1.5, lr=5e-4, shift_pixels=shift),
        "continuous": replace(settings.continuous, epochs=_EPOCHS),
        "quantize": replace(settings.quantize, lr=3e-4, epochs=_EPOCHS, shift_pixels=shift),
        "distill": replace(settings.distill, weight=0.9),
    }


def _for_images(settings: CompressSettings, count: int) -> CompressSettings:
    """``settings`` with smaller batches and more epochs where there are few training images."""
    batch = min(settings.admm.batch_size, max(_LEAST_BATCH, count // _BATCHES))
    epochs = max(_EPOCHS, -(-_STEPS // -(-count // batch)))
    return replace(
        settings,
        admm=replace(settings.admm, batch_size=batch),
        continuous=replace(settings.continuous, epochs=epochs),
        quantize=replace(settings.quantize, batch_size=batch, epochs=epochs),
    )


def choose_ratio(
    network: Network,
    settings: CompressSettings,
    data: Data,
    teacher: Teacher | None,
    *,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
) -> RatioChoice:
    """The settings with the length of the training and, where it is free, the pruning ratio for these data.

    The ratio is the largest at which a short trial loses little accuracy.

    A trial prunes and trains in floats on a part of the training images. Its accuracy is that on the
    other part and the validation images. It is compared with a trial of the same length that prunes
    nothing, so that the effect of the training itself does not count.
    """
    if "training" in settings.adapt:
        settings = _for_images(settings, len(data.train))
    if "pruning_ratio" not in settings.adapt:
        return RatioChoice(replace(settings, adapt=()))
    parts = _trial_data(data, settings.seed)
    trials: list[Trial] = []

    def accuracy(ratio: float) -> float:
        folder = None if checkpoint_dir is None else checkpoint_dir / f"ratio-{ratio:g}"
        short = _trial(settings, ratio, len(parts.train))
        told = None if progress is None else _named(progress, f"trial at {ratio:g}x")
        context = PhaseContext("", short, parts, teacher, folder, told)
        pruned = run_phases((AdmmRounds(), ContinuousAdmm()), network, context).network
        trials.append((ratio, context.accuracy(pruned)))
        return trials[-1][1]

    dense = accuracy(1.0)
    judged = len(parts.validation)
    least = dense - max(_LOSS, math.sqrt(dense * (1 - dense) / judged))
    ratio = _largest([r for r in _RATIOS if _leaves_enough(network, r)], accuracy, least)
    return RatioChoice(replace(settings, pruning_ratio=ratio, adapt=()), tuple(trials))


def _named(progress: Progress, phase: str) -> Progress:
    """``progress`` with every record under the phase name ``phase``."""
    return lambda record, epochs: progress(replace(record, phase=phase), epochs)


def _largest(ratios: list[float], accuracy: Callable[[float], float], least: float) -> float:
    """The largest of ``ratios`` with at least that accuracy; 1 where there is none.

    Every second ratio is tried, beginning with the second, until one fails; then the skipped one
    before it. Most networks fail early, so this takes few trials.
    """
    low, high = -1, len(ratios)
    for place in range(1, len(ratios), 2):
        if accuracy(ratios[place]) < least:
            high = place
            break
        low = place
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if accuracy(ratios[middle]) >= least else (low, middle)
    return ratios[low] if low >= 0 else 1.0


def _leaves_enough(network: Network, ratio: float) -> bool:
    """Whether each layer can keep a weight for every output at ``ratio``."""
    outputs = sum(layer.facts.spec.outputs for layer in network.layers.values())
    return network.weights / ratio >= outputs


def _trial(settings: CompressSettings, ratio: float, images: int) -> CompressSettings:
    admm, continuous = settings.admm, settings.continuous
    epochs = max(_TRIAL_EPOCHS, -(-_TRIAL_STEPS // -(-images // admm.batch_size)))
    return replace(
        settings,
        pruning_ratio=ratio,
        adapt=(),
        admm=replace(admm, rounds=min(_TRIAL_EPOCHS, admm.rounds)),
        continuous=replace(continuous, epochs=min(epochs, continuous.epochs)),
    )


def _trial_data(data: Data, seed: int) -> Data:
    """Part of the training images to train on; the validation images and the other part to test on."""
    generator = torch.Generator().manual_seed(seed_of(seed, "ratio trials"))
    order = torch.randperm(len(data.train), generator=generator)
    learnt = min(_TRIAL_IMAGES, max(1, len(order) * 2 // 3))
    most = min(_JUDGED_IMAGES, _JUDGED_BYTES // math.prod(data.train.shape))
    spare = order[learnt : learnt + max(0, most - len(data.validation))]
    judged = [data.validation, *([data.train.take(spare)] if len(spare) else [])]
    images = torch.cat([part.images for part in judged])
    labels = torch.cat([part.labels for part in judged])
    return Data(data.train.take(order[:learnt]), Images(images, labels))
