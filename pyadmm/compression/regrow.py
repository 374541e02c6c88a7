"""Exchange: weights that matter little make room for others that would matter more.

ADMM rounds only ever take weights away, so a position that was given up early is lost. An exchange
gives some back: those of the steepest loss (RigL: Evci et al. 2020, section 3), by what a Newton
step along each would gain; then it prunes as many by what their loss would cost (optimal brain
damage: LeCun et al. 1990). Gain and cost are per bit that the position costs in the file.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pyadmm.admm.projections import top_mask
from pyadmm.compression.fisher import Slopes, file_bits, slopes_of, some_of
from pyadmm.compression.phase import Held, Surroundings, make_optimizer
from pyadmm.compression.schedule import allocate
from pyadmm.network.graph import Network
from pyadmm.network.layers import WeightedStep
from pyadmm.settings import ExchangeSettings, TrainSettings
from pyadmm.training import distributed
from pyadmm.training.checkpoint import EpochRecord
from pyadmm.training.data import accuracy
from pyadmm.training.seeds import digest_of, seed_of

_LAST_RATE = 0.2
"""Learning rate of a cycle's last epoch, relative to its first one's."""


def exchange(
    network: Network, settings: ExchangeSettings, fixed: Collection[str], around: Surroundings
) -> tuple[Network, list[EpochRecord]]:
    """A network with other weights, and the record of each cycle.

    :param network: of floats; not changed.
    :param fixed: layers that keep their number of weights. The others share theirs, or as many as
        the pruning ratio lets them have if that is more (fewer where channels die).
    """
    held = Held(network.copy())
    sizes = _sizes(network, fixed, around.settings.pruning_ratio)
    phase = around.phase(settings.cycles, network, settings, around.settings.retrain, sizes)

    def cycle(number: int) -> tuple[dict[str, Any], bool]:
        held.network, loss = _cycle(held.network, sizes, settings, around, phase.epoch_seed(number))
        current = held.network
        if distributed.size() > 1:
            distributed.agree("the exchanged weights", digest_of(current.state()["tensors"]))
        right = accuracy(lambda x: current(current.encode(x)), around.data.validation)
        return {"loss": loss, "val_accuracy": right, "nnz": current.nnz}, False

    records = phase.run({"network": held}, cycle)
    return held.network, records


def _sizes(network: Network, fixed: Collection[str], ratio: float) -> dict[tuple[str, ...], int]:
    """Groups of layers that exchange weights with each other, and the weights of each group."""
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
    settings: ExchangeSettings,
    around: Surroundings,
    seed: int,
) -> tuple[Network, float]:
    """Grow, train, prune in steps and train after each; the network and its last mean loss."""
    train = replace(around.settings.retrain, lr=settings.lr)
    slopes = slopes_of(network, around.data.train, train, around, seed_of(seed, "grow"))
    for group, size in sizes.items():
        _grow(network, group, round(size * (1 + settings.share)), slopes)
    loss = _train(network, train, settings.grow_epochs, around, seed_of(seed, "grown"))
    for step in range(settings.prune_epochs):
        done = (step + 1) / settings.prune_epochs
        part = some_of(around.data.train, seed_of(seed, "some", step))
        slopes = slopes_of(network, part, train, around, seed_of(seed, "prune", step), pruned=False)
        for group, size in sizes.items():
            _prune(network, group, round(size * (1 + settings.share * (1 - done))), slopes)
        network = network.shrink()
        slower = replace(train, lr=train.lr * (1 - (1 - _LAST_RATE) * step / settings.prune_epochs))
        loss = _train(network, slower, 1, around, seed_of(seed, "pruned", step))
    return network, loss


def _train(
    network: Network, train: TrainSettings, epochs: int, around: Surroundings, seed: int
) -> float:
    """Some epochs under the masks at one learning rate; the mean loss of the last one."""
    optimizer = make_optimizer([{"params": list(network.trainable())}], train)
    trainer = around.trainer(network, train, optimizer)
    loss = 0.0
    network.train()
    for epoch in range(epochs):
        where = f"{around.name}, epoch {epoch}"
        loss = trainer.train(around.data.train, seed_of(seed, epoch), where, lambda _: train.lr)
    network.eval()
    return loss


@torch.no_grad()
def _grow(network: Network, group: tuple[str, ...], size: int, slopes: Slopes) -> None:
    """Give ``group`` pruned weights back, up to ``size`` weights in all; they start at 0."""
    layers = {name: network.layers[name] for name in group}
    scores = {name: _gain(name, layer, slopes) for name, layer in layers.items()}
    useful = sum(int(torch.count_nonzero(score > 0)) for score in scores.values())
    count = min(useful, max(0, size - sum(layer.nnz for layer in layers.values())))
    chosen = top_mask(torch.cat([score.flatten() for score in scores.values()]), count)
    parts = chosen.split([score.numel() for score in scores.values()])
    for layer, part in zip(layers.values(), parts, strict=True):
        layer.mask.copy_(layer.mask.maximum(part.reshape(layer.mask.shape).to(layer.mask)))


def _gain(name: str, layer: WeightedStep, slopes: Slopes) -> Tensor:
    """By how much each pruned weight would lower the loss, per bit; no more than 0 for others."""
    mean, fisher = slopes.mean[name], slopes.fisher[name]
    gain = (mean.square() - fisher / slopes.images) / (2 * fisher)  # less what noise alone gives
    return torch.where(layer.mask > 0, torch.zeros_like(gain), gain / file_bits(layer))


@torch.no_grad()
def _prune(network: Network, group: tuple[str, ...], size: int, slopes: Slopes) -> None:
    """Take the weights that matter least from ``group``, down to ``size`` weights."""
    layers = {name: network.layers[name] for name in group}
    total = min(size, sum(layer.nnz for layer in layers.values()))
    scores = {
        name: torch.where(
            layer.mask > 0,
            slopes.fisher[name] * layer.weight.square() / (2 * file_bits(layer)),
            torch.full_like(layer.mask, -1.0),
        )
        for name, layer in layers.items()
    }
    for name, count in allocate(scores, total).items():
        layers[name].apply_mask(top_mask(scores[name], count).to(layers[name].mask))
