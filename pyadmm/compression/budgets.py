"""The number of weights that each layer keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from pyadmm.compression.importance import importance
from pyadmm.compression.lockstep import step_gains
from pyadmm.compression.schedule import (
    Decision,
    Target,
    allocate,
    keep,
    layer_targets,
    partial_ratio,
    plan_ratios,
)
from pyadmm.network.graph import Network
from pyadmm.settings import (
    CompressSettings,
)
from pyadmm.training.data import Data


def counts_of(
    network: Network,
    targets: Mapping[str, Target],
    settings: CompressSettings,
    ratio: float,
    weighted: Mapping[str, Tensor],
) -> dict[str, int]:
    """The number of weights that each layer keeps at the global pruning ``ratio``.

    :param weighted: each weight times its importance. Layers without a ratio of their own share the
        remaining weights by the squares of these, balanced layers by their mean in each step.
    """
    layers = network.layers
    final = settings.pruning_ratio
    progress = math.log(ratio) / math.log(final) if final > 1 else 1.0
    counts = {}
    for name, target in targets.items():
        if target.ratio is not None:
            wanted = keep(layers[name].facts.spec.weights, partial_ratio(target.ratio, progress))
            counts[name] = min(wanted, layers[name].nnz)
    free = {
        name: (weighted[name] * layer.mask).square()
        for name, layer in layers.items()
        if name not in counts
    }
    while free:
        budget = math.floor(network.weights / ratio) - sum(counts.values())
        total = max(len(free), min(budget, sum(layers[name].nnz for name in free)))
        shares = _shares(network, targets, free, total)
        most = {
            name: keep(
                layers[name].facts.spec.weights, partial_ratio(targets[name].least, progress)
            )
            for name in free
        }
        done = {n: most[n] for n in free if shares[n] > most[n]} or shares
        counts |= done
        free = {name: values for name, values in free.items() if name not in done}
    return {name: counts[name] for name in layers}


def _shares(
    network: Network, targets: Mapping[str, Target], free: Mapping[str, Tensor], total: int
) -> dict[str, int]:
    """Distribute ``total`` weights over the layers of ``free``, which holds the saliency of each weight."""
    shares = allocate(free, total)
    patterns = {name: targets[name].balanced for name in free}
    together = dict(free)
    for name, pattern in patterns.items():
        if pattern is not None:
            kernel = network.layers[name].facts.spec.kernel
            gain = free[name].reshape(len(free[name]), -1, *kernel)
            together[name] = step_gains(gain, pattern, shares[name])
    return shares if not any(patterns.values()) else allocate(together, total)


def weighted_by(network: Network, matters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of each layer times their importance."""
    return {name: layer.weight.detach() * matters[name] for name, layer in network.layers.items()}


def planned_ratios(network: Network, settings: CompressSettings, data: Data) -> dict[str, float]:
    """The pruning ratio of each layer without regard to hardware."""
    targets = targets_of(network, settings)
    matters = importance(network, data.train, settings.seed, settings.admm.curvature)
    weighted = weighted_by(network, matters)
    counts = counts_of(network, targets, settings, settings.pruning_ratio, weighted)
    return {name: network.layers[name].facts.spec.weights / counts[name] for name in counts}


def active_weights(network: Network, settings: CompressSettings) -> dict[str, int]:
    """The number of weights of the outputs that may be active, by layer."""
    specs = {name: layer.facts.spec for name, layer in network.layers.items()}
    most = {name: target.outputs for name, target in targets_of(network, settings).items()}
    return {
        name: spec.weights // spec.outputs * min(most[name] or spec.outputs, spec.outputs)
        for name, spec in specs.items()
    }


def pruning_targets(
    network: Network, settings: CompressSettings, data: Data
) -> tuple[dict[str, Target], tuple[Decision, ...]]:
    """Targets in which every layer is dense or has ``ratio >= break_even``, and the decisions.

    Only dense and raised layers get a ratio of their own. The rounds of ADMM distribute the remaining
    weights over the others, because they know the weights at that time.
    """
    targets = targets_of(network, settings)
    if not settings.break_even:
        return targets, ()
    weights = {name: layer.facts.spec.weights for name, layer in network.layers.items()}
    ratios = planned_ratios(network, settings, data)
    decisions = plan_ratios(
        weights,
        ratios,
        settings.break_even,
        settings.pruning_ratio,
        active=active_weights(network, settings),
    )
    obeying = {
        d.layer: replace(targets[d.layer], ratio=d.ratio)
        if d.fixed
        else replace(targets[d.layer], least=d.floor or 1.0)
        for d in decisions
    }
    return obeying, tuple(decisions)


def targets_of(network: Network, settings: CompressSettings) -> dict[str, Target]:
    """The target of every layer of ``network``, by name."""
    return layer_targets([layer.facts.spec for layer in network.layers.values()], settings)


def fixed_layers(network: Network, settings: CompressSettings) -> list[str]:
    """Layers whose number of weights regrowing must not change."""
    targets = targets_of(network, settings)
    bound = bool(settings.break_even)
    return [name for name, target in targets.items() if bound or target.ratio is not None]
