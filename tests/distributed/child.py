"""One process of a distributed run: ``child.py OUT [die]`` compresses a tiny network."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from pyadmm.compression import pipeline as compression
from pyadmm.core.errors import PyadmmError
from pyadmm.settings import RoundingSettings, from_dict
from pyadmm.training import distributed
from pyadmm.training.checkpoint import EpochRecord
from pyadmm.training.data import Data, Images

SETTINGS = {
    "pruning_ratio": 4.0,
    "weight_bits": 3,
    "continuous": {"epochs": 0},
    "admm": {"rounds": 1, "first_ratio": 4.0, "iterations": 3, "retrain_epochs": 1},
    "regrow": {"cycles": 2, "share": 0.2, "grow_epochs": 1, "prune_epochs": 2},
    "retrain": {"epochs": 1, "lr": 1e-3},
    "quantize": {"epochs": 1, "lr": 1e-3},
    "local_search": {"cycles": 1},
}


def data() -> Data:
    """Bars of two directions and a corner: three classes of 6 x 6 images."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 3, (330,), generator=generator)
    images = torch.randint(0, 60, (330, 1, 6, 6), generator=generator)
    images[labels == 0, :, 2] += 150
    images[labels == 1, :, :, 3] += 150
    images[labels == 2, :, :2, :2] += 150
    byte = images.to(torch.uint8)
    return Data(Images(byte[:261], labels[:261]), Images(byte[261:], labels[261:]))


def network() -> nn.Module:
    """A convolution and a linear layer."""
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 3)
    )


def main() -> int:
    """Train and save; a doomed process ends in the second ADMM iteration."""
    out, doomed = Path(sys.argv[1]), "die" in sys.argv[2:]
    torch.set_num_threads(1)
    try:
        distributed.start()

        def progress(record: EpochRecord, _: int) -> None:
            if doomed and distributed.rank() == 1 and record.phase == "admm-1":
                os._exit(9)

        settings = from_dict(SETTINGS)
        images = data()
        dense = compression.to_network(network(), settings, (1, 6, 6))
        common = {"checkpoint_dir": out / "checkpoints", "progress": progress}
        pruned = compression.admm_phase(dense, settings, images, **common)
        tuned = compression.retrain(pruned.network, settings, images, **common)
        quantized = compression.quantize(tuned.network, settings, images, **common)
        second_order = replace(settings, rounding=RoundingSettings(candidates=1))
        rounded = compression.quantize(tuned.network, second_order, images)
        model = compression.to_integer(quantized.network, images).model
        states = {
            "masks": [layer.mask for layer in tuned.network.layers.values()],
            "weights": [layer.weight.detach() for layer in tuned.network.layers.values()],
            "codes": [torch.from_numpy(layer.codes.copy()) for layer in model.layers],
            "rounded": [layer.weight_codes() for layer in rounded.network.layers.values()],
            "losses": torch.tensor([r.loss for r in [*pruned.records, *tuned.records]]),
        }
        torch.save(states, out / f"rank{distributed.rank()}.pt")
    except PyadmmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        distributed.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
