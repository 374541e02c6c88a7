"""Whether ADMM earns its place: the same recipe with it, without it, and other methods.

    python -m experiments.admm_ablation --list
    python -m experiments.admm_ablation --ratios 110,300 --seeds 0-1
    python -m experiments.admm_ablation --ratios 110,300 --seeds 0-1 --test     once, at the end

All variants start from the same dense LeNet-5 of a seed, see the same images, and train for the
same number of epochs after it: some of pruning, some of retraining, some at levels. Losses are
cross-entropies: of the validation images on the network at its levels (``val_loss``) and before it
is brought there (``float_val_loss``), of the training images at its levels (``train_loss``). Every
finished run is a JSON file, and every phase is checkpointed, so an interrupted command goes on, and
commands for different seeds may run side by side in one folder.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from experiments.lenet5_records import parse_seeds
from pyadmm import container, zoo
from pyadmm.compression.byte_budget import smallest
from pyadmm.compression.pipeline import (
    admm_phase,
    quantize,
    retrain,
    set_widths,
    shared_teacher,
    to_integer,
    to_network,
    train_dense,
)
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.datasets import mnist
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings, override, preset
from pyadmm.training.data import Data, Images
from pyadmm.training.distillation import Teacher
from pyadmm.training.seeds import seed_of

MODEL = "lenet5"
RESULTS = Path(__file__).parent / "results" / "admm_ablation.csv"
COLUMNS = (
    "network", "ratio", "weight_bits", "variant", "seed", "epochs", "cpu_minutes", "train_loss",
    "val_loss", "val_accuracy", "test_accuracy", "nnz", "bytes", "primal", "dual",
    "float_val_loss", "float_val_accuracy",
)  # fmt: skip
_SHAPE = (1, 28, 28)
_BITS = {85.0: 4, 110.0: 3, 300.0: 4}
_PRUNING, _RETRAINING, _AT_LEVELS = 6, 4, 4
_NO_PENALTY = 1e-9

BASE = override(
    preset("quick"),
    {
        "admm": {"first_ratio": 6.0, "rho": 0.1, "growth": 1.2, "lr": 2e-3, "curvature": 0.5},
        "continuous": {"epochs": _PRUNING, "updates": 2, "slack": 3.0},
        "retrain": {"epochs": _RETRAINING, "lr": 2e-3},
        "quantize": {"epochs": _AT_LEVELS, "lr": 1e-3, "freeze_from": 0.2},
        "sparse": True,
    },
    "ablation",
)
_HARD = {"slack": 1.0, "updates": 8}
_ROUNDS = {"continuous": {"epochs": 0}}
VARIANTS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "ours": ("one uninterrupted ADMM, joint projection in the metric of the loss", {}),
    "ours, rho 0": ("the same without the penalty", {"admm": {"rho": _NO_PENALTY}}),
    "gradual": (
        "gradual magnitude pruning: no penalty, what is pruned stays pruned, plain magnitudes",
        {"admm": {"rho": _NO_PENALTY, "curvature": 0.0}, "continuous": _HARD},
    ),
    "gradual, metric": (
        "gradual pruning in the metric of the loss: no penalty, what is pruned stays pruned",
        {"admm": {"rho": _NO_PENALTY}, "continuous": _HARD},
    ),
    "rounds": (
        "the rounds of today's preset quick, as many as the epochs allow",
        {
            **_ROUNDS,
            "admm": {"rounds": 3, "iterations": 1, "retrain_epochs": 1, "curvature": 0.0,
                     "growth": 1.3, "lr": 1e-3},
            "retrain": {"epochs": _PRUNING + _RETRAINING - 6},
        },
    ),
    "paper": (
        "ADMM-NN: four iterations on all channels, retraining, ADMM to levels, retraining",
        {
            **_ROUNDS,
            "filters_kept": 1.0,
            "neurons_kept": 1.0,
            "admm": {"rounds": 1, "iterations": 4, "retrain_epochs": 0, "curvature": 0.0,
                     "rho": 3e-3, "growth": 1.3, "lr": 1e-3, "joint": False,
                     "level_iterations": 1},
            "retrain": {"epochs": _PRUNING + _RETRAINING - 4},
            "quantize": {"epochs": _AT_LEVELS - 1},
        },
    ),
}  # fmt: skip
"""Name -> what it is, and what it changes in :data:`BASE`."""


def settings_of(variant: str, ratio: float, seed: int) -> CompressSettings:
    """The settings of one run.

    :raises PyadmmError: for an unknown variant.
    """
    if variant not in VARIANTS:
        raise PyadmmError(
            f"ablation: variant {variant!r} is unknown; choose from: {'; '.join(VARIANTS)}"
        )
    changed = override(BASE, VARIANTS[variant][1], f"ablation, {variant}")
    return replace(changed, pruning_ratio=ratio, weight_bits=_BITS.get(ratio, 4), seed=seed)


def runs(
    seed: int, cases: Sequence[tuple[float, str]], data: Data, images: int, folder: Path
) -> Iterator[dict[str, Any]]:
    """The rows of one seed; finished ones are read from their files.

    :param cases: ratios and variants.
    :param images: training images after the dense network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "initial weights"))
        model = zoo.build(MODEL)
    base = replace(BASE, seed=seed)
    train_dense(model, base, data, checkpoint_dir=folder / "dense" / f"seed{seed}")
    dense = to_network(model, base, _SHAPE)
    teacher = shared_teacher(dense, base)
    part = Data(data.train.take(torch.arange(min(images, len(data.train)))), data.validation)
    for ratio, variant in cases:
        settings = settings_of(variant, ratio, seed)
        name = f"{MODEL}-{ratio:g}x-{variant.replace(', ', '-').replace(' ', '')}-seed{seed}"
        known = folder / f"{name}.json"
        if not known.exists():
            row = _run(dense, settings, part, folder / name, teacher) | {"variant": variant}
            write_atomic(known, (json.dumps(row, indent=1) + "\n").encode())
        yield json.loads(known.read_text(encoding="utf-8"))


def _run(
    dense: Network, settings: CompressSettings, data: Data, folder: Path, teacher: Teacher
) -> dict[str, Any]:
    """One run from the dense network to its file, without the test set; its row but the variant."""
    began = time.process_time()
    common: dict[str, Any] = {"checkpoint_dir": folder / "phases", "teacher": teacher}
    network = dense.copy()
    set_widths(network, settings)
    pruned = admm_phase(network, settings, data, **common)
    tuned = retrain(pruned.network, settings, data, **common).network
    final = quantize(tuned, settings, data, **common)
    minutes = (time.process_time() - began) / 60
    integer = smallest(to_integer(final.network, data, MODEL).model)
    content = container.encode(integer)
    write_atomic(folder / "model.admm", content)
    loss, accuracy = cross_entropy(final.network, data.validation)
    float_loss, float_accuracy = cross_entropy(tuned, data.validation)
    residuals = [r for r in [*pruned.records, *final.records] if r.primal is not None]
    return {
        "network": MODEL,
        "ratio": settings.pruning_ratio,
        "weight_bits": settings.weight_bits,
        "seed": settings.seed,
        "epochs": _PRUNING + _RETRAINING + _AT_LEVELS,
        "cpu_minutes": round(minutes, 2),
        "train_loss": cross_entropy(final.network, data.train)[0],
        "val_loss": loss,
        "val_accuracy": accuracy,
        "test_accuracy": None,
        "nnz": integer.nnz,
        "bytes": len(content),
        "primal": residuals[-1].primal if residuals else None,
        "dual": residuals[-1].dual if residuals else None,
        "float_val_loss": float_loss,
        "float_val_accuracy": float_accuracy,
        "history": [[r.epoch, r.primal, r.dual] for r in residuals],
    }


@torch.no_grad()
def cross_entropy(network: Network, images: Images) -> tuple[float, float]:
    """Mean cross-entropy and accuracy on images as they are."""
    loss = right = 0.0
    for start in range(0, len(images), 1000):
        part = images.take(torch.arange(start, min(start + 1000, len(images))))
        logits = network(network.encode(part.at(slice(0, len(part)))))
        loss += float(F.cross_entropy(logits, part.labels, reduction="sum"))
        right += float((logits.argmax(1) == part.labels).sum())
    return round(loss / len(images), 6), round(right / len(images), 5)


def read_test(folder: Path, data: mnist.Mnist) -> None:
    """Add the test accuracy to every finished run that has none yet."""
    for path in sorted(folder.glob("*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        if row["test_accuracy"] is None:
            model = container.load(folder / path.stem / "model.admm")
            row["test_accuracy"] = model.accuracy(data.test_images, data.test_labels)
            write_atomic(path, (json.dumps(row, indent=1) + "\n").encode())


def collected(folder: Path) -> list[dict[str, Any]]:
    """All finished runs of the folder, by ratio, variant and seed."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    order = list(VARIANTS)
    return sorted(rows, key=lambda r: (r["ratio"], order.index(r["variant"]), r["seed"]))


def write_csv(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """The rows with :data:`COLUMNS`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue().encode())


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Means and standard errors over the seeds, as Markdown."""
    lines = [
        "| ratio | variant | seeds | val. cross-entropy | val. accuracy, % | before levels | "
        "train loss | bytes | CPU min |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[float, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["ratio"], row["variant"]), []).append(row)
    for (ratio, variant), group in groups.items():
        cells = [
            _mean(group, "val_loss", 4),
            _mean(group, "val_accuracy", 2, 100),
            _mean(group, "float_val_loss", 4),
            _mean(group, "train_loss", 4),
            _mean(group, "bytes", 0),
            _mean(group, "cpu_minutes", 2),
        ]
        lines.append(f"| {ratio:g}x | {variant} | {len(group)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(rows: Sequence[Mapping[str, Any]], column: str, digits: int, unit: float = 1) -> str:
    """Mean, and its standard error where there are several rows.

    >>> _mean([{"x": 1.0}, {"x": 3.0}], "x", 1)
    '2.0 ± 1.0'
    """
    values = [unit * row[column] for row in rows]
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.{digits}f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit status 2 and one line for what cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.admm_ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", default="0-1", help="such as 3, 10-14 or 1,5-7 (%(default)s)")
    parser.add_argument("--ratios", default="85,110,300", help="(%(default)s)")
    parser.add_argument("--variants", default=";".join(VARIANTS), help="separated by ;")
    parser.add_argument(
        "--images",
        type=int,
        default=55_000,
        help="to train on after the dense network (%(default)s)",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/admm_ablation"))
    parser.add_argument("--csv", type=Path, default=RESULTS, help="(%(default)s)")
    parser.add_argument("--data-dir", type=Path, help="folder with the MNIST files")
    parser.add_argument("--test", action="store_true", help="read the test set for finished runs")
    parser.add_argument("--list", action="store_true", help="say what the variants are and stop")
    options = parser.parse_args(arguments)
    try:
        _execute(options)
    except PyadmmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _execute(options: argparse.Namespace) -> None:
    if options.list:
        print("\n".join(f"{name}: {what}" for name, (what, _) in VARIANTS.items()))
        return
    variants = [name.strip() for name in options.variants.split(";")]
    ratios = [float(text) for text in options.ratios.split(",")]
    cases = [(ratio, variant) for ratio in ratios for variant in variants]
    for ratio, variant in cases:
        settings_of(variant, ratio, 0)  # what is unknown is refused before any training
    loaded = mnist.load(options.data_dir)
    data = Data.split(Images.from_numpy(loaded.train_images, loaded.train_labels))
    for seed in parse_seeds(options.seeds):
        for row in runs(seed, cases, data, options.images, options.out):
            print(
                f"seed {seed}, {row['ratio']:g}x, {row['variant']}: {row['nnz']:,} weights, "
                f"validation {row['val_loss']:.4f}, {100 * row['val_accuracy']:.2f} %, "
                f"{row['bytes']:,} bytes, {row['cpu_minutes']:.2f} CPU minutes",
                flush=True,
            )
    if options.test:
        read_test(options.out, loaded)
    rows = collected(options.out)
    write_csv(rows, options.csv)
    print(table(rows))


if __name__ == "__main__":
    sys.exit(main())
