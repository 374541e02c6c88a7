"""What each ingredient of the record recipe brings at 300x, and what plain methods reach.

    python benchmarks/lenet5_ablation.py --list
    python benchmarks/lenet5_ablation.py --variants record,one-shot,gradual,paper --seeds 0

The recipe is that of the preset `record-300` in a shorter schedule of 64 epochs without
distortions; every variant is it with one thing changed, from the same dense network, as many
epochs long. The figures are those of the float network after retraining, on the validation
images and on the 55,000 training images as they are, which tell networks of this size apart
better; the test set is not read. With several seeds a second table gives means, and differences
from the first variant seed by seed. Phases are checkpointed, so an interrupted command goes on.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from experiments.lenet5_records import parse_seeds
from pyadmm import zoo
from pyadmm.compression.pipeline import admm_phase, retrain, shared_teacher, to_network, train_dense
from pyadmm.datasets import mnist
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings, override, preset
from pyadmm.training.data import Data, Images
from pyadmm.training.seeds import seed_of

RECIPE = override(
    preset("record-300"),
    {
        "dense": {"epochs": 12, "distort": 0.0},
        "admm": {"rounds": 16, "distort": 0.0},
        "retrain": {"epochs": 32, "distort": 0.0},
    },
    "recipe",
)
_PLAIN = {"curvature": 0.0, "crowding": 0.0}
_WIDE = {"filters_kept": 1.0, "neurons_kept": 1.0}
_HARD_LABELS = {"distill": {"weight": 0.0}}
VARIANTS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "record": ("the recipe", {}),
    "no-structure": ("all channels may keep weights", _WIDE),
    "no-curvature": ("magnitudes rank the weights of a layer", {"admm": {"curvature": 0.0}}),
    "no-crowding": ("positions cost nothing", {"admm": {"crowding": 0.0}}),
    "no-distillation": ("labels only", _HARD_LABELS),
    "no-views": ("the teacher sees one view", {"distill": {"averaged_shifts": 0}}),
    "warm": ("temperature 4", {"distill": {"temperature": 4.0}}),
    "no-shift": (
        "images are not moved",
        {"admm": {"shift_pixels": 0}, "retrain": {"shift_pixels": 0}},
    ),
    "distort": (
        "images are distorted",
        {"admm": {"distort": 0.07}, "retrain": {"distort": 0.07}},
    ),
    "gradual": (
        "gradual magnitude pruning",
        {"admm": {**_PLAIN, "iterations": 0, "retrain_epochs": 2}, **_WIDE, **_HARD_LABELS},
    ),
    "one-shot": (
        "one-shot magnitude pruning",
        {
            "admm": {**_PLAIN, "rounds": 1, "iterations": 0, "retrain_epochs": 0},
            "retrain": {"epochs": 64},
            **_WIDE,
            **_HARD_LABELS,
        },
    ),
    "paper": (
        "ADMM as in the paper: one round",
        {
            "admm": {**_PLAIN, "rounds": 1, "iterations": 16, "rho": 3e-3, "retrain_epochs": 16},
            **_WIDE,
            **_HARD_LABELS,
        },
    ),
}
"""What changes, in words and settings. All train 64 epochs from the dense network."""


def variant(name: str, seed: int) -> CompressSettings:
    """The settings of a variant."""
    return replace(override(RECIPE, VARIANTS[name][1], name), seed=seed)


def measure(name: str, seed: int, data: Data, folder: Path) -> dict[str, float]:
    """Non-zeros of the float network, its accuracies (percent) and validation cross-entropy."""
    settings = variant(name, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "initial weights"))
        model = zoo.build("lenet5")
    train_dense(model, settings, data, checkpoint_dir=folder / f"seed{seed}" / "dense")
    dense = to_network(model, settings, (1, 28, 28))
    common: dict[str, Any] = {
        "checkpoint_dir": folder / f"seed{seed}" / name,
        "teacher": shared_teacher(dense, settings),
    }
    pruned = admm_phase(dense, settings, data, **common).network
    final = retrain(pruned, settings, data, **common).network
    validation, loss = _judge(final, data.validation)
    training, _ = _judge(final, data.train)
    return {"nnz": final.nnz, "validation": validation, "loss": loss, "training": training}


@torch.no_grad()
def _judge(network: Network, images: Images) -> tuple[float, float]:
    """Accuracy in percent and cross-entropy."""
    logits = torch.cat([network(network.encode(part)) for part, _ in images.parts()])
    right = 100 * float((logits.argmax(1) == images.labels).double().mean())
    return right, float(F.cross_entropy(logits, images.labels))


def summary(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Means over the seeds, and mean and standard error of the differences from the first variant.

    :param found: what :func:`measure` gave, by variant, the seeds of all in one order.
    """
    first = next(iter(found.values()))
    lines = [
        "| variant | non-zeros | validation, % | cross-entropy | training, % | less or more |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in found.items():
        means = {key: statistics.mean(row[key] for row in rows) for key in rows[0]}
        moved = [a["training"] - b["training"] for a, b in zip(rows, first, strict=True)]
        error = statistics.stdev(moved) / len(moved) ** 0.5
        lines.append(
            f"| {VARIANTS[name][0]} | {means['nnz']:.0f} | {means['validation']:.2f} | "
            f"{means['loss']:.4f} | {means['training']:.2f} | "
            f"{statistics.mean(moved):+.2f} ± {error:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print one row of a Markdown table per variant and seed; of several seeds, the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--list", action="store_true", help="say what there is and stop")
    options = parser.parse_args()
    names = options.variants.split(",")
    unknown = sorted(set(names) - set(VARIANTS))
    if unknown:
        parser.error(f"unknown variants {', '.join(unknown)}; have {', '.join(VARIANTS)}")
    if options.list:
        for name in names:
            print(f"{name}: {VARIANTS[name][0]}")
        return
    loaded = mnist.load(options.data_dir)
    data = Data.split(Images.from_numpy(loaded.train_images, loaded.train_labels))
    seeds = parse_seeds(options.seeds)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    print(
        "| variant | seed | non-zeros | validation, % | cross-entropy | training, % |\n"
        "|---|---|---|---|---|---|"
    )
    for seed in seeds:
        for name in names:
            row = measure(name, seed, data, options.out)
            found[name].append(row)
            print(
                f"| {VARIANTS[name][0]} | {seed} | {row['nnz']:.0f} | {row['validation']:.2f} | "
                f"{row['loss']:.4f} | {row['training']:.2f} |",
                flush=True,
            )
    if len(seeds) > 1:
        print(f"\n{summary(found)}")


if __name__ == "__main__":
    main()
