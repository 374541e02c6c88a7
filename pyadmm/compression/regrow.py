"""Regrowing: pruned weights with a large gain replace remaining weights that matter little.

ADMM rounds only remove weights, so a position that was pruned early does not come back. A cycle
regrows pruned weights with a large gradient (RigL: Evci et al. 2020, section 3), ranked by the gain of
a Newton step along each. Then it prunes as many weights, those whose removal raises the loss least
(optimal brain damage: LeCun et al. 1990). Gain and cost are per bit of the file.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pyadmm.admm.projections import top_mask
from pyadmm.compression.budgets import fixed_layers
from pyadmm.compression.fisher import GradientStatistics, file_bits, gradient_statistics, some_of
from pyadmm.compression.phase import Held, PhaseContext, PhaseResult, make_optimizer
from pyadmm.compression.schedule import allocate
from pyadmm.network.graph import Network
from pyadmm.network.layers import WeightedStep
from pyadmm.settings import CompressSettings, RegrowSettings, TrainSettings
from pyadmm.training import distributed
from pyadmm.training.seeds import digest_of, seed_of

_LAST_RATE = 0.2
"""Learning rate of a cycle's last epoch, relative to its first one's."""


class Regrowth:
    """Cycles of regrowing and pruning, on a network of floats.

    A layer with a pruning ratio of its own keeps its number of weights. So do all layers where there
    are break-even pruning ratios. The other layers share their weights, or as many as the pruning
    ratio allows if that is more. Channels that become inactive make the number smaller.
    """

    name = "regrow"

    def wanted(self, network: Network, settings: CompressSettings) -> bool:
        """Whether the settings give it cycles."""
        return settings.regrow.cycles > 0

    def run(self, network: Network, context: PhaseContext) -> PhaseResult:
        """A network with other weights; there is one record per cycle."""
        settings, regrow = context.settings, context.settings.regrow
        held = Held(network)
        sizes = _sizes(network, fixed_layers(network, settings), settings.pruning_ratio)
        phase = context.phase(regrow.cycles, network, regrow, settings.retrain, sizes)

        def cycle(number: int) -> tuple[dict[str, Any], bool]:
            seed = phase.epoch_seed(number)
            held.network, loss = _cycle(held.network, sizes, regrow, context, seed)
            current = held.network
            if distributed.size() > 1:
                distributed.agree("the regrown weights", digest_of(current.state()["tensors"]))
            return {
                "loss": loss,
                "val_accuracy": context.accuracy(current),
                "nnz": current.nnz,
            }, False

        records = phase.run({"network": held}, cycle)
        return PhaseResult(held.network, records)


def _sizes(network: Network, fixed: Collection[str], ratio: float) -> dict[tuple[str, ...], int]:
    """Groups of layers that share a number of weights, and that number."""
    layers = network.layers
    sizes: dict[tuple[str, ...], int]
    sizes = {(name,): layers[name].nnz for name in layers if name in fixed}
    free = tuple(name for name in layers if name not in fixed)
    if free:
        allowed = math.floor(network.weights / ratio) - sum(sizes.values())
        sizes[free] = max(allowed, sum(layers[name].nnz for name in free))
    return sizes


def _cycle(
    network: Network,
    sizes: Mapping[tuple[str, ...], int],
    settings: RegrowSettings,
    context: PhaseContext,
    seed: int,
) -> tuple[Network, float]:
    """Grow, train, prune in steps and train after each; the network and its last mean loss."""
    train = replace(context.settings.retrain, lr=settings.lr)
    statistics = gradient_statistics(
        network, context.data.train, train, context, seed_of(seed, "grow")
    )
    for group, size in sizes.items():
        grow(network, group, round(size * (1 + settings.share)), statistics)
    loss = _train(network, train, settings.grow_epochs, context, seed_of(seed, "grown"))
    for step in range(settings.prune_epochs):
        done = (step + 1) / settings.prune_epochs
        part = some_of(context.data.train, seed_of(seed, "some", step))
        statistics = gradient_statistics(
            network, part, train, context, seed_of(seed, "prune", step), pruned=False
        )
        for group, size in sizes.items():
            _prune(network, group, round(size * (1 + settings.share * (1 - done))), statistics)
        network = network.shrink()
        slower = replace(train, lr=train.lr * (1 - (1 - _LAST_RATE) * step / settings.prune_epochs))
        loss = _train(network, slower, 1, context, seed_of(seed, "pruned", step))
    return network, loss


def _train(
    network: Network, train: TrainSettings, epochs: int, context: PhaseContext, seed: int
) -> float:
    """Some epochs under the masks at one learning rate; the mean loss of the last one."""
    optimizer = make_optimizer([{"params": list(network.trainable())}], train)
    trainer = context.trainer(network, train, optimizer)
    loss = 0.0
    network.train()
    for epoch in range(epochs):
        where = f"{context.name}, epoch {epoch}"
        loss = trainer.train(context.data.train, seed_of(seed, epoch), where, lambda _: train.lr)
    network.eval()
    return loss


@torch.no_grad()
def grow(
    network: Network, group: tuple[str, ...], size: int, statistics: GradientStatistics
) -> None:
    """Return pruned weights of ``group``, up to ``size`` weights in all; they start at 0."""
    layers = {name: network.layers[name] for name in group}
    scores = {name: _gain(name, layer, statistics) for name, layer in layers.items()}
    useful = sum(int(torch.count_nonzero(score > 0)) for score in scores.values())
    count = min(useful, max(0, size - sum(layer.nnz for layer in layers.values())))
    chosen = top_mask(torch.cat([score.flatten() for score in scores.values()]), count)
    parts = chosen.split([score.numel() for score in scores.values()])
    for layer, part in zip(layers.values(), parts, strict=True):
        layer.mask.copy_(layer.mask.maximum(part.reshape(layer.mask.shape).to(layer.mask)))


def _gain(name: str, layer: WeightedStep, statistics: GradientStatistics) -> Tensor:
    """Decrease of the loss per bit from regrowing each pruned weight; at most 0 for other weights."""
    mean, fisher = statistics.mean[name], statistics.fisher[name]
    gain = (mean.square() - fisher / statistics.images) / (
        2 * fisher
    )  # less what noise alone gives
    return torch.where(layer.mask > 0, torch.zeros_like(gain), gain / file_bits(layer))


@torch.no_grad()
def _prune(
    network: Network, group: tuple[str, ...], size: int, statistics: GradientStatistics
) -> None:
    """Remove the least important weights of ``group``, down to ``size`` weights."""
    layers = {name: network.layers[name] for name in group}
    total = min(size, sum(layer.nnz for layer in layers.values()))
    scores = {
        name: torch.where(
            layer.mask > 0,
            statistics.fisher[name] * layer.weight.square() / (2 * file_bits(layer)),
            torch.full_like(layer.mask, -1.0),
        )
        for name, layer in layers.items()
    }
    for name, count in allocate(scores, total).items():
        layers[name].apply_mask(top_mask(scores[name], count).to(layers[name].mask))
