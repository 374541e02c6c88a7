"""What the phases of a compression share: their surroundings, their optimizer, masked training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings, QuantizeSettings, TrainSettings
from pyadmm.training.augmentation import Augmentation
from pyadmm.training.checkpoint import Best, EpochRecord, Phase, Progress
from pyadmm.training.data import Data, accuracy
from pyadmm.training.devices import device_of
from pyadmm.training.distillation import Teacher
from pyadmm.training.seeds import seed_of
from pyadmm.training.trainer import EpochTrainer, cosine

_MOMENTUM = 0.9
_LATE_SHARE = 8
"""One in so many epochs of a phase, the last ones, compete to be its result."""


@dataclass(frozen=True)
class Surroundings:
    """What a phase is told besides its network.

    :param name: of the phase, and of its checkpoint.
    :param folder: of checkpoints; ``None`` keeps none.
    """

    name: str
    settings: CompressSettings
    data: Data
    teacher: Teacher | None
    folder: Path | None
    progress: Progress | None

    def phase(self, epochs: int, network: Network, *extra: object) -> Phase:
        """The resumable phase that starts from ``network``; ``extra`` decides its result too."""
        tutor = self.teacher
        teacher = None if tutor is None else (tutor.network.state_dict(), tutor.views)
        settings = self.settings
        method = settings.distill, settings.compiled, *(["sparse"] if settings.sparse else [])
        start = (*method, self.data.digests, network.state(), teacher, *extra)
        return Phase(
            "compress", self.name, epochs, settings.seed, start, self.folder, self.progress
        )

    def trainer(
        self,
        network: Network,
        train: TrainSettings,
        optimizer: torch.optim.Optimizer,
        before_step: Callable[[], None] | None = None,
    ) -> EpochTrainer:
        """What trains ``network`` under its masks, with the teacher if it counts."""
        distill = self.settings.distill
        network.sparse = self.settings.sparse
        network.rounded = train.precision == "bfloat16"
        layers = network.layers.values()
        weights, masks = [layer.weight.detach() for layer in layers], [la.mask for la in layers]

        def after_step() -> None:
            torch._foreach_mul_(weights, masks)
            if network.quantized:
                for layer in layers:
                    layer.hold_frozen()

        return EpochTrainer(
            network,
            network.encode,
            optimizer,
            train.batch_size,
            Augmentation.of(train, native=self.settings.sparse),
            self.teacher if distill.weight > 0 else None,
            distill.weight,
            distill.temperature,
            train.precision,
            before_step,
            after_step,
            network,
            self.settings.compiled and not network.quantized,
            device_of(network).type == "cuda",
            self.settings.sparse,
            [seed_of(self.settings.seed, "look", i) for i in range(distill.looks)],
            self.data.train.all_rows,
        )


@dataclass
class Held:
    """A network that is replaced by others in the course of a phase, as a part of a checkpoint."""

    network: Network

    def state_dict(self) -> dict[str, Any]:
        """All of it, its shape included."""
        return self.network.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`, on the same device."""
        self.network = Network.from_state(state).to(device_of(self.network))


def train_masked(network: Network, train: TrainSettings, around: Surroundings) -> list[EpochRecord]:
    """Train ``network`` in place under its masks; the best of the last epochs is kept.

    Only the last ones compete: before, the learning rate is high, and the best of many noisy
    validations would be luck.
    """
    groups: list[dict[str, Any]] = [{"params": list(network.trainable())}]
    if network.quantized or network.levels:
        scales = {"params": list(network.scales()), "weight_decay": 0.0}
        groups.append(scales)
    optimizer = make_optimizer(groups, train)
    trainer = around.trainer(network, train, optimizer)
    best = Best()
    phase = around.phase(train.epochs, network, train)

    def epoch(number: int) -> tuple[dict[str, Any], bool]:
        network.train()
        loss = trainer.train(
            around.data.train,
            phase.epoch_seed(number),
            f"{around.name}, epoch {number}",
            lambda done: cosine(train.lr, (number + done) / train.epochs),
        )
        network.eval()
        right = accuracy(lambda x: network(network.encode(x)), around.data.validation)
        if isinstance(train, QuantizeSettings):
            for layer in network.layers.values():
                layer.freeze(train.frozen_share(number))
        if number >= train.epochs - max(1, train.epochs // _LATE_SHARE):
            best.offer(right, network)
        return {"loss": loss, "val_accuracy": right, "nnz": network.nnz}, False

    records = phase.run({"network": network, "optimizer": optimizer, "best": best}, epoch)
    if best.tensors:
        network.load_state_dict(best.tensors)
    return records


@torch.no_grad()
def moved_loss(network: Network, train: TrainSettings, around: Surroundings) -> float:
    """Mean loss on all training images, moved as ``train`` says and in the same way every time."""
    trainer = around.trainer(
        network, train, make_optimizer([{"params": network.trainable()}], train)
    )
    return trainer.loss(around.data.train, seed_of(around.settings.seed, around.name))


def make_optimizer(groups: list[dict[str, Any]], train: TrainSettings) -> torch.optim.Optimizer:
    """The optimizer that ``train`` names, for groups of parameters."""
    common: dict[str, Any] = {"lr": train.lr, "weight_decay": train.weight_decay, "fused": True}
    if train.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=_MOMENTUM, nesterov=True, **common)
    return torch.optim.Adam(groups, **common)
