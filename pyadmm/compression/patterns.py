"""The pattern of every layer, unstructured or window-balanced, by cycles and accuracy.

A balanced layer needs no index decoders and no private copies of the input, so more groups fit the
chip; but the positions of its weights are less free. The gain of a balanced layer is measured in
cycles of the whole accelerator that the design-space search finds. Its cost is the accuracy that a
short trial loses, as in :mod:`pyadmm.compression.hardware_aware`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pyadmm.compression.hardware_aware import forecast, trial_accuracy
from pyadmm.model import CompressedModel
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings, LayerTarget
from pyadmm.training.checkpoint import Progress
from pyadmm.training.data import Data

_Candidate = tuple[float, int, CompressSettings]


@dataclass(frozen=True)
class PatternTrial:
    """The effect of making one more layer balanced.

    :param lockstep: output channels with equally many weights in each window.
    :param cycles: between two images of the accelerator (modelled).
    :param accuracy: on the validation images after a short compression; ``None``: not tried, as the
        accelerator is not faster.
    :param balanced: whether the layer is balanced from here on.
    """

    layer: str
    lockstep: int
    cycles: float
    accuracy: float | None
    balanced: bool


@dataclass(frozen=True)
class Patterns:
    """The choice of all layers.

    :param settings: the given ones, with the chosen layers' ``sparsity``.
    :param cycles: of the accelerator without balanced layers; ``accuracy`` of its trial.
    :param trials: of every layer those up to the chosen one, fastest first; layers in the order in
        which they were judged.
    """

    settings: CompressSettings
    cycles: float
    accuracy: float
    trials: tuple[PatternTrial, ...]


def choose_patterns(
    network: Network,
    settings: CompressSettings,
    data: Data,
    *,
    loss: float,
    speed: Callable[[CompressedModel], float],
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
) -> Patterns:
    """Make those layers balanced that make the accelerator faster, as far as the accuracy allows.

    Layers are judged one after the other, those with the most operations first, each with the
    layers balanced that were chosen before. More channels in lock step share more of the hardware
    and lose more accuracy; how many is chosen by the same cycles, which are those of the best
    kernel for the pattern. Layers with convolution groups stay unstructured.

    :param settings: with the ``window`` of balanced layers and their largest ``lockstep``.
    :param loss: share of the validation images that all balanced layers together may lose, against
        a trial without any.
    :param speed: cycles between two images that a model's accelerator takes.
    """

    def judged(candidate: CompressSettings) -> float:
        return speed(forecast(network, candidate, data))

    def tried(candidate: CompressSettings, name: str) -> float:
        folder = None if checkpoint_dir is None else checkpoint_dir / f"pattern-{name}"
        return trial_accuracy(network, candidate, data, folder, progress)

    def candidates(current: CompressSettings, name: str) -> list[_Candidate]:
        """Cycles, lock step and settings of all patterns of a layer, the fastest first."""
        found = []
        for rows in _locksteps(settings.lockstep):
            target = LayerTarget(name, sparsity="balanced", lockstep=rows)
            candidate = replace(current, layers=(*current.layers, target))
            found.append((judged(candidate), rows, candidate))
        return sorted(found, key=lambda option: option[:2])

    current = replace(settings, sparsity="unstructured")
    first, cycles = tried(current, "none"), judged(current)
    at_first = cycles
    specs = [layer.facts.spec for layer in network.layers.values()]
    trials = []
    for spec in sorted(specs, key=lambda spec: -spec.macs):
        if spec.groups > 1:
            continue
        for found, rows, candidate in candidates(current, spec.name):
            accuracy = tried(candidate, f"{spec.name}-{rows}") if found < cycles else None
            taken = accuracy is not None and accuracy >= first - loss
            trials.append(PatternTrial(spec.name, rows, found, accuracy, taken))
            if taken:
                current, cycles = candidate, found
            if taken or accuracy is None:
                break
    return Patterns(current, at_first, first, tuple(trials))


def _locksteps(most: int) -> list[int]:
    """Halves of ``most`` down to 2; ``most`` alone where it is less.

    >>> _locksteps(8), _locksteps(3), _locksteps(1)
    ([8, 4, 2], [3], [1])
    """
    found = [most]
    while found[-1] >= 4:
        found.append(found[-1] // 2)
    return found
