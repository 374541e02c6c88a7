"""One compression on a device: ``child.py cpu|cuda|pretend OUT [PHASE]`` stops after that phase.

On the pretended device the part of a step that a CUDA graph records must not cross to the CPU.
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyadmm import container
from pyadmm.compression import hardware_aware
from pyadmm.compression import pipeline as compression
from pyadmm.settings import CompressSettings, RoundingSettings, from_dict
from pyadmm.training.augmentation import Batch
from pyadmm.training.checkpoint import EpochRecord
from pyadmm.training.data import Data, Images
from pyadmm.training.trainer import EpochTrainer
from tests.devices import pretend

_VARIED = {"shift_pixels": 1, "flip": True, "distort": 0.05, "batch_size": 48}
SETTINGS: dict[str, object] = {
    "pruning_ratio": 6.0,
    "weight_bits": 3,
    "activation_bits": 6,
    "filters_kept": 0.9,
    "input": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]},
    "dense": {"epochs": 2, "lr": 5e-3, "optimizer": "sgd", **_VARIED},
    "continuous": {"epochs": 0},
    "admm": {
        "rounds": 2,
        "first_ratio": 3.0,
        "iterations": 2,
        "retrain_epochs": 1,
        "curvature": 0.5,
        "crowding": 0.3,
        **_VARIED,
    },
    "regrow": {"cycles": 2, "share": 0.2, "grow_epochs": 1, "prune_epochs": 2},
    "retrain": {"epochs": 2, "lr": 2e-3, "weight_decay": 1e-4, **_VARIED},
    "quantize_norms": {"epochs": 1, "lr": 1e-3, **_VARIED},
    "quantize": {"epochs": 3, "lr": 1e-3, "freeze_from": 0.3, **_VARIED},
    "local_search": {"cycles": 1, "share": 0.3},
    "distill": {"temperature": 2.0, "averaged_shifts": 1},
}


class _Stopped(Exception):
    """The phase to stop after is done."""


class Residual(nn.Module):
    """Every kind of step: convolutions with norms, a sum, both pools, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(2)
        self.branch = nn.Conv2d(8, 8, 3, padding=1)
        self.branch_norm = nn.BatchNorm2d(8)
        self.average = nn.AvgPool2d(4)
        self.hidden = nn.Linear(8, 12)
        self.last = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.pool(torch.relu(self.norm(self.first(x))))
        x = torch.relu(self.branch_norm(self.branch(x)) + x)
        x = self.average(x).flatten(1)
        logits: Tensor = self.last(torch.relu(self.hidden(x)))
        return logits


def data() -> Data:
    """Three classes of 8 x 8 pictures: which colour is strong."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 3, (300,), generator=generator)
    images = torch.randint(0, 120, (300, 3, 8, 8), generator=generator)
    images[torch.arange(300), labels] += 90
    byte = images.to(torch.uint8)
    return Data(Images(byte[:240], labels[:240]), Images(byte[240:], labels[240:]))


def run(model: nn.Module, settings: CompressSettings, out: Path, last: str | None) -> None:
    """Train and compress ``model`` where it is; the file and the epochs' figures go to ``out``."""
    records: list[EpochRecord] = []

    def progress(record: EpochRecord, epochs: int) -> None:
        records.append(record)
        if record.phase == last and record.epoch + 1 == epochs:
            raise _Stopped

    common: dict[str, Any] = {"checkpoint_dir": out / "checkpoints", "progress": progress}
    images = data()
    compression.train_dense(model, settings, images, **common)
    dense = compression.to_network(model, settings, (3, 8, 8))
    obeying = replace(settings, break_even={"branch": 2.0})
    planned = hardware_aware.plan(dense, obeying, images, lambda forecast: float(forecast.nnz))
    common["teacher"] = dense
    pruned = compression.admm_phase(dense, planned.settings, images, **common)
    tuned = compression.retrain(pruned.network, settings, images, **common)
    final = compression.quantize(tuned.network, settings, images, **common)
    integer = compression.to_integer(final.network, images)
    (out / "model.admm").write_bytes(container.encode(integer.model))
    second_order = replace(settings, rounding=RoundingSettings(candidates=1, images=100))
    final = compression.quantize(tuned.network, second_order, images, teacher=dense)
    rounded = compression.to_integer(final.network, images)
    (out / "rounded.admm").write_bytes(container.encode(rounded.model))
    losses = [(record.phase, record.epoch, record.loss) for record in records]
    (out / "losses.json").write_text(json.dumps(losses), encoding="utf-8")


def refuse_crossings() -> None:
    """Let every training step fail whose forward or backward pass waits for the CPU."""
    inner = EpochTrainer._backward

    def checked(trainer: EpochTrainer, batch: Batch, fast: Any) -> Tensor:
        before = len(pretend.crossings)
        loss = inner(trainer, batch, fast)
        crossed = pretend.crossings[before:]
        assert trainer.teacher is None or not crossed, crossed
        return loss

    EpochTrainer._backward = checked  # type: ignore[method-assign]


def main() -> None:
    """The command line."""
    device, out = sys.argv[1], Path(sys.argv[2])
    last = sys.argv[3] if len(sys.argv) > 3 else None
    torch.set_num_threads(1)
    torch.manual_seed(5)
    model = Residual()
    settings = from_dict(SETTINGS)
    with contextlib.suppress(_Stopped):
        if device != pretend.NAME:
            run(model.to(device), settings, out, last)
            return
        pretend.register()
        refuse_crossings()
        with pretend.Pretend() as counted:
            run(model.to(pretend.NAME), settings, out, last)
        print(counted.operations)


if __name__ == "__main__":
    main()
