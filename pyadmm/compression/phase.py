"""The interface of a compression's phases, and what they share: context, optimizer, masked training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from pyadmm.compression.schedule import Decision
from pyadmm.network.execution import Numerics
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
"""The result of a phase is the best of its last epochs, of which there are one in this many."""


@dataclass(frozen=True)
class PhaseContext:
    """Settings, data and checkpoints of a phase.

    :param name: of the phase and of its checkpoint. It also seeds the phase's random numbers
        (:func:`~pyadmm.training.seeds.seed_of`): under another name a phase gives other weights.
    :param folder: of checkpoints; ``None`` keeps none.
    :param model_name: name of the model in the file whose size the settings may limit.
    """

    name: str
    settings: CompressSettings
    data: Data
    teacher: Teacher | None
    folder: Path | None
    progress: Progress | None
    model_name: str = "model"

    def named(self, name: str) -> PhaseContext:
        """The same context for the phase ``name``."""
        return replace(self, name=name)

    def phase(self, epochs: int, network: Network, *extra: object) -> Phase:
        """The resumable phase that starts from ``network``; ``extra`` decides its result too."""
        teacher = None
        if self.teacher is not None:
            teacher = self.teacher.network.state_dict(), self.teacher.averaged_shifts
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
        pull: Callable[[], None] | None = None,
        *,
        sparse: bool | None = None,
    ) -> EpochTrainer:
        """The trainer of ``network`` under its masks, with the teacher if the settings distil.

        :param before_step: after ``backward``, before the optimizer's step.
        :param pull: after the optimizer's step, before the masks.
        :param sparse: whether only non-zero weights are multiplied; as in the settings by default.
        """
        distill = self.settings.distill
        sparse = self.settings.sparse if sparse is None else sparse
        how = network.execution(sparse=sparse, bfloat16=train.precision == "bfloat16")
        layers = network.layers.values()
        weights, masks = [layer.weight.detach() for layer in layers], [la.mask for la in layers]

        def after_step() -> None:
            if pull is not None:
                pull()
            torch._foreach_mul_(weights, masks)
            if network.quantized:
                for layer in layers:
                    layer.hold_frozen()

        return EpochTrainer(
            partial(network, how=how) if sparse else network,
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
            [seed_of(self.settings.seed, "look", i) for i in range(distill.cached_augmentations)],
            self.data.train.all_rows,
        )

    def accuracy(self, network: Network) -> float:
        """Accuracy of ``network`` on the validation images, computed as in training."""
        how = network.execution(sparse=self.settings.sparse)
        return accuracy(lambda x: network(network.encode(x), how), self.data.validation)


@dataclass(frozen=True)
class PhaseResult:
    """A network after one or several phases.

    :param records: of every epoch.
    :param status: how each run of ADMM ended.
    :param decisions: what the schedule decided about the layers' pruning ratios.
    """

    network: Network
    records: list[EpochRecord] = field(default_factory=list)
    status: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()


class CompressionPhase(Protocol):
    """One phase of a compression, from one network to the next."""

    @property
    def name(self) -> str:
        """Name of the phase, as :attr:`PhaseContext.name`."""

    def wanted(self, network: Network, settings: CompressSettings) -> bool:
        """Whether ``settings`` ask for the phase, and ``network`` has what it works on."""

    def run(self, network: Network, context: PhaseContext) -> PhaseResult:
        """Run the phase and return its result; ``network`` may be changed in place."""


def run_phases(
    phases: Sequence[CompressionPhase], network: Network, context: PhaseContext
) -> PhaseResult:
    """The result of all ``phases`` that are wanted, one after the other.

    :param network: not changed.
    """
    result = PhaseResult(network.copy())
    for phase in phases:
        if not phase.wanted(result.network, context.settings):
            continue
        ended = phase.run(result.network, context.named(phase.name))
        result = PhaseResult(
            ended.network,
            result.records + ended.records,
            result.status + ended.status,
            result.decisions + ended.decisions,
        )
    return result


@dataclass
class Held:
    """A network that a phase replaces by others, as a part of its checkpoint."""

    network: Network

    def state_dict(self) -> dict[str, Any]:
        """All of it, its shape included."""
        return self.network.state()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`, on the same device."""
        self.network = Network.from_state(state).to(device_of(self.network))


def train_masked(
    network: Network, train: TrainSettings, context: PhaseContext
) -> list[EpochRecord]:
    """Train ``network`` in place under its masks; the best of the last epochs is kept.

    Earlier epochs are not considered: their learning rate is high, and the best of many noisy
    validations would be chance.
    """
    groups: list[dict[str, Any]] = [{"params": list(network.trainable())}]
    if network.numerics is not Numerics.FLOAT:
        scales = {"params": list(network.scales()), "weight_decay": 0.0}
        groups.append(scales)
    optimizer = make_optimizer(groups, train)
    trainer = context.trainer(network, train, optimizer)
    best = Best()
    phase = context.phase(train.epochs, network, train)

    def epoch(number: int) -> tuple[dict[str, Any], bool]:
        network.train()
        loss = trainer.train(
            context.data.train,
            phase.epoch_seed(number),
            f"{context.name}, epoch {number}",
            lambda done: cosine(train.lr, (number + done) / train.epochs),
        )
        network.eval()
        right = context.accuracy(network)
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
def augmented_loss(network: Network, train: TrainSettings, context: PhaseContext) -> float:
    """Mean loss on all training images, augmented as ``train`` says, in the same way every time."""
    trainer = context.trainer(
        network, train, make_optimizer([{"params": network.trainable()}], train)
    )
    return trainer.loss(context.data.train, seed_of(context.settings.seed, context.name))


def make_optimizer(groups: list[dict[str, Any]], train: TrainSettings) -> torch.optim.Optimizer:
    """The optimizer that ``train`` names, for groups of parameters."""
    common: dict[str, Any] = {"lr": train.lr, "weight_decay": train.weight_decay, "fused": True}
    if train.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=_MOMENTUM, nesterov=True, **common)
    return torch.optim.Adam(groups, **common)
