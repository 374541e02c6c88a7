"""Whether ADMM earns its place: the same recipe with it, without it, and other methods.

    python -m experiments.admm_ablation --list
    python -m experiments.admm_ablation --ratios 110,300 --seeds 0-4
    python -m experiments.admm_ablation --network resnet20 --data-dir DIR --weights resnet20.th
    python -m experiments.admm_ablation --ratios 110,300 --seeds 0-4 --test     once, at the end

All variants start from the same dense network (LeNet-5: of a seed; ResNet-20: the published one),
see the same images in the same order, and train for the same number of epochs after it. Losses are
cross-entropies: of the validation images on the network at its levels (``val_loss``) and before it
is brought there (``float_val_loss``), of the training images at its levels (``train_loss``), and of
training images that no variant has trained on (``spare_loss``; only the dense network has seen
them), where ``--images`` leaves some. Every finished run is a JSON file, and every phase is
checkpointed, so an interrupted command goes on, and commands for different seeds may run side by
side in one folder. At its end the command prints means and paired differences of all finished runs.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.admm_table import ABLATION, by_variant, means_table, pairs_table
from experiments.admm_variants import SUBJECTS, VARIANTS, settings_of
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
from pyadmm.datasets import cifar10, mnist
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings
from pyadmm.training.data import Data, Images
from pyadmm.training.distillation import Teacher
from pyadmm.training.seeds import seed_of

COLUMNS = (
    "network", "ratio", "weight_bits", "variant", "seed", "epochs", "cpu_minutes", "train_loss",
    "val_loss", "val_accuracy", "test_accuracy", "nnz", "bytes", "primal", "dual", "spare_loss",
    "float_val_loss", "float_val_accuracy",
)  # fmt: skip


@dataclass(frozen=True)
class Materials:
    """What all runs of a network have in common.

    :param train: training images after the dense network.
    :param spare: training images that are left, if any.
    :param weights: of the dense network; ``None``: it is trained.
    """

    network: str
    whole: Data
    train: Images
    spare: Images | None
    weights: Path | None
    folder: Path

    @classmethod
    def of(
        cls, network: str, data: Data, images: int, weights: Path | None, folder: Path
    ) -> Materials:
        """The first ``images`` of the training images are trained on."""
        used, left = torch.arange(len(data.train)).tensor_split([images])
        left = left[: SUBJECTS[network].spare]
        spare = data.train.take(left) if len(left) else None
        return cls(network, data, data.train.take(used), spare, weights, folder)

    @property
    def data(self) -> Data:
        """What the phases after the dense network see."""
        return Data(self.train, self.whole.validation)

    def dense(self, seed: int) -> Network:
        """The dense network of a seed, traced."""
        subject = SUBJECTS[self.network]
        settings = replace(subject.base, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(seed, "initial weights"))
            model = zoo.build(self.network)
        if self.weights is None:
            place = self.folder / "dense" / f"seed{seed}"
            train_dense(model, settings, self.whole, checkpoint_dir=place)
        else:
            zoo.load_weights(model, self.weights)
        return to_network(model.eval(), settings, subject.shape)


def runs(
    seed: int, cases: Sequence[tuple[float, str]], materials: Materials
) -> Iterator[dict[str, Any]]:
    """The rows of one seed; finished ones are read from their files.

    :param cases: ratios and variants.
    """
    network = materials.network
    dense = materials.dense(seed)
    teacher = shared_teacher(dense, SUBJECTS[network].base)
    for ratio, variant in cases:
        settings = settings_of(network, variant, ratio, seed)
        name = f"{network}-{ratio:g}x-{variant.replace(', ', '-').replace(' ', '')}-seed{seed}"
        known = materials.folder / f"{name}.json"
        if not known.exists():
            row = _run(dense, settings, materials, name, teacher) | {"variant": variant}
            write_atomic(known, (json.dumps(row, indent=1) + "\n").encode())
        yield json.loads(known.read_text(encoding="utf-8"))


def _run(
    dense: Network, settings: CompressSettings, materials: Materials, name: str, teacher: Teacher
) -> dict[str, Any]:
    """One run from the dense network to its file, without the test set; its row but the variant."""
    began = time.process_time()
    folder, data = materials.folder / name, materials.data
    common: dict[str, Any] = {"checkpoint_dir": folder / "phases", "teacher": teacher}
    network = dense.copy()
    set_widths(network, settings)
    pruned = admm_phase(network, settings, data, **common)
    tuned = retrain(pruned.network, settings, data, **common).network
    final = quantize(tuned, settings, data, **common)
    minutes = (time.process_time() - began) / 60
    integer = smallest(to_integer(final.network, data, materials.network).model)
    content = container.encode(integer)
    write_atomic(folder / "model.admm", content)
    loss, accuracy = cross_entropy(final.network, data.validation)
    float_loss, float_accuracy = cross_entropy(tuned, data.validation)
    residuals = [r for r in [*pruned.records, *final.records] if r.primal is not None]
    subject, spare = SUBJECTS[materials.network], materials.spare
    return {
        "network": materials.network,
        "ratio": settings.pruning_ratio,
        "weight_bits": settings.weight_bits,
        "seed": settings.seed,
        "epochs": subject.pruning + subject.levels,
        "images": len(data.train),
        "cpu_minutes": round(minutes, 2),
        "train_loss": cross_entropy(final.network, data.train)[0],
        "spare_loss": None if spare is None else cross_entropy(final.network, spare)[0],
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


def read_test(network: str, folder: Path, images: NDArray[Any], labels: NDArray[Any]) -> None:
    """Add the test accuracy to every finished run of ``network`` that has none yet."""
    for path in sorted(folder.glob(f"{network}-*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        if row["test_accuracy"] is None:
            model = container.load(folder / path.stem / "model.admm")
            row["test_accuracy"] = model.accuracy(images, labels)
            write_atomic(path, (json.dumps(row, indent=1) + "\n").encode())


def collected(folder: Path) -> list[Mapping[str, Any]]:
    """All finished runs of the folder, by network, ratio, variant and seed."""
    rows = (json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json"))
    return [row for group in by_variant(rows).values() for row in group]


def write_csv(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """The rows with :data:`COLUMNS`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue().encode())


def write_residuals(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Primal and dual residual after every epoch of ADMM, where there is one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["network", "ratio", "variant", "seed", "epoch", "primal", "dual"])
    for row in rows:
        for epoch, *residuals in row["history"]:
            start = (row[name] for name in ("network", "ratio", "variant", "seed"))
            writer.writerow([*start, epoch, *(f"{value:.3g}" for value in residuals)])
    write_atomic(path, text.getvalue().encode())


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Both residuals of the runs of ``ours``, one line a run, as an SVG file."""
    with matplotlib.rc_context({"svg.hashsalt": "pyadmm", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 2.6), layout="constrained")
        primal, dual = figure.subplots(1, 2, sharey=True)
        for row in rows:
            if row["variant"] != "ours":
                continue
            colour = f"C{sorted({r['ratio'] for r in rows}).index(row['ratio'])}"
            for axes, place in ((primal, 1), (dual, 2)):
                drawn = [(h[0] + 1, h[place]) for h in row["history"] if h[place] > 0]
                label = f"{row['ratio']:g}x" if row["seed"] == 0 else None
                axes.plot(*zip(*drawn, strict=True), color=colour, label=label, linewidth=1)
        for axes, title in ((primal, "primal |W - Z| / |W|"), (dual, "dual |Z - Z_before| / |W|")):
            axes.set(yscale="log", xlabel="epoch", title=title)
            axes.grid(alpha=0.3)
        primal.legend()
        text = io.BytesIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    write_atomic(path, text.getvalue())


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit status 2 and one line for what cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.admm_ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--network", default="lenet5", choices=SUBJECTS, help="(%(default)s)")
    parser.add_argument("--seeds", default="0-1", help="such as 3, 10-14 or 1,5-7 (%(default)s)")
    parser.add_argument("--ratios", help="(all that have bits)")
    parser.add_argument("--variants", default=";".join(VARIANTS), help="separated by ;")
    parser.add_argument(
        "--images",
        type=int,
        default=55_000,
        help="to train on after the dense network (%(default)s)",
    )
    parser.add_argument("--weights", type=Path, help="of the dense network, if not to be trained")
    parser.add_argument("--out", type=Path, default=Path("runs/admm_ablation"))
    parser.add_argument("--csv", type=Path, default=ABLATION, help="(%(default)s)")
    parser.add_argument("--plot", type=Path, help="write an SVG of the residuals to this file")
    parser.add_argument("--data-dir", type=Path, help="folder with the data set")
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
    network = options.network
    variants = [name.strip() for name in options.variants.split(";")]
    asked = options.ratios
    ratios = [float(r) for r in asked.split(",")] if asked else [*SUBJECTS[network].bits]
    cases = [(ratio, variant) for ratio in ratios for variant in variants]
    for ratio, variant in cases:
        settings_of(network, variant, ratio, 0)  # what is unknown is refused before any training
    load = mnist.load if network == "lenet5" else cifar10.load
    loaded = load(options.data_dir)
    data = Data.split(Images.from_numpy(loaded.train_images, loaded.train_labels))
    materials = Materials.of(network, data, options.images, options.weights, options.out)
    for seed in parse_seeds(options.seeds):
        for row in runs(seed, cases, materials):
            print(
                f"seed {seed}, {row['ratio']:g}x, {row['variant']}: {row['nnz']:,} weights, "
                f"validation {row['val_loss']:.4f}, {100 * row['val_accuracy']:.2f} %, "
                f"{row['bytes']:,} bytes, {row['cpu_minutes']:.2f} CPU minutes",
                flush=True,
            )
    if options.test:
        read_test(network, options.out, loaded.test_images, loaded.test_labels)
    rows = collected(options.out)
    write_csv(rows, options.csv)
    write_residuals(rows, options.csv.with_name(f"{options.csv.stem}_residuals.csv"))
    if options.plot:
        plot([row for row in rows if row["network"] == network], options.plot)
    print(means_table(rows), pairs_table(rows), sep="\n\n")


if __name__ == "__main__":
    sys.exit(main())
