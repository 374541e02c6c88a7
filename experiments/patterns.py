"""``python -m experiments.patterns``: LeNet-5's accuracy, unstructured against window-balanced.

One dense network per seed is pruned to one ratio after the other; both kinds of pattern get the
same epochs, the same seeds and the same number of weights. Only the validation split is read.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pyadmm import container, zoo
from pyadmm.admm.balanced import BalancedPattern, steps_of
from pyadmm.compression.byte_budget import smallest
from pyadmm.compression.pipeline import (
    admm_phase,
    quantize,
    retrain,
    shared_teacher,
    to_integer,
    to_network,
    train_dense,
)
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.datasets import mnist
from pyadmm.model.compact import compact
from pyadmm.settings import (
    CompressSettings,
    ContinuousSettings,
    QuantizeSettings,
    TrainSettings,
    preset,
)
from pyadmm.training.data import Data, Images
from pyadmm.training.seeds import seed_of

RATIOS = (85.0, 172.0, 300.0)
SPARSITIES = ("unstructured", "balanced")
FIELDS = (
    "sparsity",
    "window",
    "lockstep",
    "ratio_goal",
    "seed",
    "weights",
    "steps",
    "filled",
    "bytes",
    "validation_accuracy",
    "float_validation_accuracy",
    "epochs",
    "seconds",
)


def settings_for(
    ratio: float, before: float, seed: int, sparsity: str, pattern: BalancedPattern
) -> CompressSettings:
    """The budget of one ratio: 5 rounds, 4 epochs of retraining, 8 with levels."""
    base = preset("quick")
    step = (ratio / before) ** (1 / 5)
    return replace(
        base,
        pruning_ratio=ratio,
        seed=seed,
        sparsity=sparsity,
        window=pattern.window,
        lockstep=pattern.lockstep,
        dense=TrainSettings(epochs=6, lr=2e-3, shift_pixels=1),
        admm=replace(base.admm, rounds=5, first_ratio=before * step, lr=1e-3, curvature=0.0),
        continuous=ContinuousSettings(epochs=0),
        retrain=TrainSettings(epochs=4, lr=2e-3),
        quantize=QuantizeSettings(epochs=8, lr=1e-3, freeze_from=0.25),
        sparse=True,
    )


def train(
    seed: int, sparsities: Sequence[str], pattern: BalancedPattern, data: Data, folder: Path
) -> Iterator[dict[str, Any]]:
    """A row for every kind of pattern and ratio, as soon as it is there."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "initial weights"))
        model = zoo.build("lenet5")
    first = settings_for(RATIOS[0], 2.0, seed, "unstructured", pattern)
    train_dense(model, first, data, checkpoint_dir=folder / f"dense-{seed}")
    dense = to_network(model, first, (1, 28, 28))
    teacher = shared_teacher(dense, first)
    for sparsity in sparsities:
        network, before = dense, 2.0
        for ratio in RATIOS:
            settings = settings_for(ratio, before, seed, sparsity, pattern)
            start = time.monotonic()
            place = f"{sparsity}-{pattern.window}x{pattern.lockstep}-{ratio:g}-{seed}"
            common: dict[str, Any] = {
                "checkpoint_dir": folder / place,
                "teacher": teacher,
            }
            pruned = admm_phase(network, settings, data, **common)
            tuned = retrain(pruned.network, settings, data, **common)
            final = quantize(tuned.network, settings, data, **common, name="lenet5")
            epochs = [*pruned.records, *tuned.records, *final.records]
            integer = to_integer(final.network, data, "lenet5")
            layers = compact(integer.model).layers
            container.save(integer.model, folder / f"{place}.admm")
            steps = sum(steps_of(torch.from_numpy(la.window_codes != 0), pattern) for la in layers)
            yield {
                "sparsity": sparsity,
                "window": pattern.window,
                "lockstep": pattern.lockstep,
                "ratio_goal": ratio,
                "seed": seed,
                "weights": integer.model.nnz,
                "steps": steps,
                "filled": round(integer.model.nnz / (steps * pattern.lockstep), 4),
                "bytes": len(container.encode(smallest(integer.model))),
                "validation_accuracy": round(integer.validation_accuracy, 5),
                "float_validation_accuracy": round(tuned.records[-1].val_accuracy, 5),
                "epochs": len(epochs),
                "seconds": round(time.monotonic() - start),
            }
            network, before = tuned.network, ratio


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 and one line for what cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m experiments.patterns", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--window", type=int, default=3)
    parser.add_argument("--lockstep", type=int, default=4)
    parser.add_argument("--sparsity", nargs="+", choices=SPARSITIES, default=SPARSITIES)
    parser.add_argument("--data-dir", type=Path, help="folder with the MNIST files")
    parser.add_argument("--work", type=Path, default=Path("runs/patterns"), help="checkpoints")
    parser.add_argument("--out", type=Path, default=Path("experiments/results/patterns.csv"))
    options = parser.parse_args(arguments)
    try:
        pattern = BalancedPattern(options.window, options.lockstep)
        loaded = mnist.load(options.data_dir)
        data = Data.split(Images.from_numpy(loaded.train_images, loaded.train_labels))
        for seed in options.seeds:
            for row in train(seed, options.sparsity, pattern, data, options.work):
                print(row, flush=True)
                append(options.out, row)
    except PyadmmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def append(path: Path, row: dict[str, Any]) -> None:
    """Add ``row`` to the table at ``path``; an older one of the same run gives way."""
    rows = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    same = ("sparsity", "window", "lockstep", "ratio_goal", "seed")
    key = [str(row[name]) for name in same]
    rows = [old for old in rows if [old[name] for name in same] != key]
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*rows, row])
    write_atomic(path, text.getvalue().encode())


if __name__ == "__main__":
    sys.exit(main())
