"""Polish: a search over the levels of a network whose quantised training is over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from pyadmm.compression.phase import Surroundings, make_optimizer, moved_loss
from pyadmm.network.graph import Network
from pyadmm.settings import PolishSettings
from pyadmm.training.checkpoint import EpochRecord
from pyadmm.training.data import accuracy
from pyadmm.training.seeds import seed_of
from pyadmm.training.trainer import cosine


def polish(network: Network, settings: PolishSettings, around: Surroundings) -> list[EpochRecord]:
    """Large neighbourhood search over the levels of ``network``, in place; scales stay."""
    for layer in network.layers.values():
        layer.freeze(1.0)
        layer.hold_frozen()
    quantizing = around.settings.quantize
    phase = around.phase(settings.cycles, network, settings, quantizing)
    least: float | None = None

    def cycle(number: int) -> tuple[dict[str, Any], bool]:
        nonlocal least
        least = moved_loss(network, quantizing, around) if least is None else least
        candidate = network.copy()
        _train_freed(candidate, settings, around, phase.epoch_seed(number))
        loss = moved_loss(candidate, quantizing, around)
        if loss < least:
            network.load_state_dict(candidate.state_dict())
            least = loss
        right = accuracy(lambda x: network(network.encode(x)), around.data.validation)
        return {"loss": least, "val_accuracy": right, "nnz": network.nnz}, False

    return phase.run({"network": network}, cycle)


def _train_freed(
    network: Network, settings: PolishSettings, around: Surroundings, seed: int
) -> None:
    """Free a random share of the weights, train them, and settle some of them after every epoch."""
    layers = network.layers.values()
    for layer in layers:
        stays = torch.rand(layer.mask.shape) >= settings.share
        layer.frozen.mul_(stays.to(layer.frozen))
    train = replace(around.settings.quantize, lr=settings.lr, epochs=settings.epochs)
    optimizer = make_optimizer([{"params": list(network.trainable())}], train)
    trainer = around.trainer(network, train, optimizer)
    for epoch in range(settings.epochs):
        trainer.train(
            around.data.train,
            seed_of(seed, epoch),
            f"{around.name}, epoch {epoch}",
            lambda done, epoch=epoch: cosine(settings.lr, (epoch + done) / settings.epochs),  # type: ignore[misc]
        )
        for layer in layers:
            free = 1 - int(torch.count_nonzero(layer.frozen)) / layer.nnz
            layer.freeze(1 - free * (1 - 1 / (settings.epochs - epoch)))
            layer.hold_frozen()
