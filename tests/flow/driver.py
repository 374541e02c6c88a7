"""The real flow on made-up images, as a program: ``python -m tests.flow.driver ARGUMENTS``.

MNIST's files are checked byte for byte, so a small stand-in cannot come through its loader.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from pyadmm.cli.run import main
from pyadmm.datasets import mnist

TINY = {
    "pruning_ratio": 10,
    "dense": {"epochs": 3, "batch_size": 32},
    "continuous": {"epochs": 0},
    "admm": {"rounds": 2, "iterations": 2, "retrain_epochs": 1, "batch_size": 32},
    "retrain": {"epochs": 1},
    "quantize": {"epochs": 2},
}
"""``compress:`` settings of a run that takes seconds."""


def made_up_digits(_: Path | None = None) -> mnist.Mnist:
    """Ten noisy patterns, 480 images to train on and 200 to test."""
    rng = np.random.default_rng(11)
    patterns = rng.integers(0, 2, (10, 1, 7, 7)).repeat(4, 2).repeat(4, 3)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 10, count)
        noise = rng.integers(0, 60, (count, 1, 28, 28))
        return (180 * patterns[labels] + noise).astype(np.uint8), labels.astype(np.int64)

    return mnist.Mnist(*draw(480), *draw(200), complete=False, source="made up for the tests")


if __name__ == "__main__":
    mnist.load = made_up_digits  # type: ignore[assignment]
    torch.set_num_threads(1)
    sys.exit(main())
