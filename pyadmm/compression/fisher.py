"""Gradient statistics of the loss, and the cost of weights in the file, for regrowing and pruning."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyadmm.compression.phase import PhaseContext, make_optimizer
from pyadmm.container.rates import position_bits
from pyadmm.network.graph import Network
from pyadmm.network.layers import WeightedStep
from pyadmm.settings import TrainSettings
from pyadmm.training.data import Images

FISHER_FLOOR = 0.05
"""Added to a weight's Fisher information, in units of its layer's mean: an estimate may be 0."""
_BATCH = 64
_SOME = 20_000


@dataclass(frozen=True)
class GradientStatistics:
    """Statistics of the loss gradient of every weight: mean and Fisher information, by layer."""

    mean: dict[str, Tensor]
    fisher: dict[str, Tensor]
    images: int


def some_of(images: Images, seed: int, count: int = _SOME) -> Images:
    """Up to ``count`` of ``images``; the default is enough to rank weights."""
    generator = torch.Generator().manual_seed(seed)
    return images.take(torch.randperm(len(images), generator=generator)[:count])


def gradient_statistics(
    network: Network,
    images: Images,
    train: TrainSettings,
    context: PhaseContext,
    seed: int,
    *,
    pruned: bool = True,
) -> GradientStatistics:
    """Gradient statistics on ``images``, augmented as in training with ``train``.

    :param pruned: whether to include pruned weights; without them, sparse products may be used.
    """
    small = replace(train, batch_size=_BATCH)
    layers = network.layers
    weights = {name: layer.weight for name, layer in layers.items()}
    optimizer = make_optimizer([{"params": list(network.trainable())}], small)
    sparse = context.settings.sparse and not pruned
    trainer = context.trainer(network, small, optimizer, sparse=sparse)
    mean = {name: torch.zeros_like(layer.mask) for name, layer in layers.items()}
    squares = {name: torch.zeros_like(layer.mask) for name, layer in layers.items()}
    batches = 0
    for size in trainer.gradients(images, seed):
        batches += 1
        for name, weight in weights.items():
            assert weight.grad is not None
            mean[name].add_(weight.grad, alpha=size / len(images))
            squares[name].addcmul_(weight.grad, weight.grad, value=size)
    fisher = {}
    for name, layer in layers.items():
        spread = squares[name] - mean[name].square() * len(images)
        own = (spread / batches).clamp_(min=0)
        fisher[name] = own + FISHER_FLOOR * own[layer.mask > 0].mean()
    return GradientStatistics(mean, fisher, len(images))


def file_bits(layer: WeightedStep) -> Tensor:
    """The approximate cost of each weight in the file: its position and its level, bits."""
    bits = position_bits((layer.mask > 0).cpu().numpy()) + layer.facts.weight_bits
    return torch.from_numpy(bits).to(layer.mask)
