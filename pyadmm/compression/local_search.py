"""Local search over the levels of a quantised network, after its training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from pyadmm.compression.phase import PhaseContext, PhaseResult, augmented_loss, make_optimizer
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings, LocalSearchSettings
from pyadmm.training.seeds import seed_of
from pyadmm.training.trainer import cosine


class LocalSearch:
    """Large neighbourhood search over the levels of a quantised network; scales stay."""

    name = "local-search"

    def wanted(self, network: Network, settings: CompressSettings) -> bool:
        """Whether the settings give it cycles."""
        return settings.local_search.cycles > 0

    def run(self, network: Network, context: PhaseContext) -> PhaseResult:
        """The same network at levels of no larger loss."""
        for layer in network.layers.values():
            layer.freeze(1.0)
            layer.hold_frozen()
        settings, quantizing = context.settings.local_search, context.settings.quantize
        phase = context.phase(settings.cycles, network, settings, quantizing)
        least: float | None = None

        def cycle(number: int) -> tuple[dict[str, Any], bool]:
            nonlocal least
            least = augmented_loss(network, quantizing, context) if least is None else least
            candidate = network.copy()
            _train_freed(candidate, settings, context, phase.epoch_seed(number))
            loss = augmented_loss(candidate, quantizing, context)
            if loss < least:
                network.load_state_dict(candidate.state_dict())
                least = loss
            return {
                "loss": least,
                "val_accuracy": context.accuracy(network),
                "nnz": network.nnz,
            }, False

        return PhaseResult(network, phase.run({"network": network}, cycle))


def _train_freed(
    network: Network, settings: LocalSearchSettings, context: PhaseContext, seed: int
) -> None:
    """Train a random share of the weights in floats, and freeze some of them at levels after each epoch."""
    layers = network.layers.values()
    for layer in layers:
        stays = torch.rand(layer.mask.shape) >= settings.share
        layer.frozen.mul_(stays.to(layer.frozen))
    train = replace(context.settings.quantize, lr=settings.lr, epochs=settings.epochs)
    optimizer = make_optimizer([{"params": list(network.trainable())}], train)
    trainer = context.trainer(network, train, optimizer)
    for epoch in range(settings.epochs):
        trainer.train(
            context.data.train,
            seed_of(seed, epoch),
            f"{context.name}, epoch {epoch}",
            lambda done, epoch=epoch: cosine(settings.lr, (epoch + done) / settings.epochs),  # type: ignore[misc]
        )
        for layer in layers:
            free = 1 - int(torch.count_nonzero(layer.frozen)) / layer.nnz
            layer.freeze(1 - free * (1 - 1 / (settings.epochs - epoch)))
            layer.hold_frozen()
