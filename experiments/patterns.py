"""``python -m experiments.patterns``: accuracy of unstructured against window-balanced patterns.

Every run prunes a dense network (LeNet-5: of its seed; ResNet-20: the published one) to one ratio by
the ADMM of ``experiments/admm_ablation.py``: the same epochs, images, bits and number of weights for
all patterns. Read are the 5,000 validation images and, for a smaller error, the training images on
which nothing but the dense network has been trained. A finished run is a row; a run that has one is
not repeated.
"""

from __future__ import annotations

import argparse
import csv
import fnmatch
import io
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from experiments.admm_ablation import Materials, cross_entropy
from experiments.admm_variants import SUBJECTS
from pyadmm.admm.balanced import BalancedPattern
from pyadmm.compression.byte_budget import smallest
from pyadmm.compression.lockstep import fewest_steps
from pyadmm.compression.pipeline import (
    admm_phase,
    quantize,
    retrain,
    set_widths,
    shared_teacher,
    to_integer,
)
from pyadmm.container import codec as container
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.datasets import cifar10, mnist
from pyadmm.model import CompressedModel
from pyadmm.model.compact import compact
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings, LayerTarget
from pyadmm.training.data import Data, Images
from pyadmm.training.distillation import Teacher

RATIOS = (85.0, 172.0, 300.0)
FREE = "free"
WEIGHT_BITS = 4
FIELDS = (
    "network", "pattern", "ratio_goal", "seed", "weights", "steps", "filled", "bytes", "balanced_file",
    "validation_accuracy", "validation_loss", "spare_accuracy", "spare_loss", "images", "epochs",
    "cpu_seconds",
)  # fmt: skip


def patterns_of(text: str, layers: Sequence[str]) -> dict[str, BalancedPattern]:
    """The pattern called ``text``, by layer; those that are not named are unstructured.

    :param text: ``free``, or places of a window and rows in lock step, for all layers or for some;
        the share of places that hold a weight comes last, if it is not 1.
    :param layers: of the network; a name in ``text`` may be a pattern of several, such as
        ``layer3*``.

    >>> patterns_of("c*2:3x2@0.9", ["conv1", "conv2"])
    {'conv2': BalancedPattern(window=3, lockstep=2, fill=0.9)}
    >>> len(patterns_of("3x2", ["conv1", "conv2"])), patterns_of("free", ["conv1"])
    (2, {})
    """
    if text == FREE:
        return {}
    if ":" not in text:
        text = f"*:{text}"
    found = {}
    for part in text.split("+"):
        layer, _, shape = part.partition(":")
        match = re.fullmatch(r"(\d+)x(\d+)(?:@(0\.\d+))?", shape)
        named = fnmatch.filter(layers, layer)
        if not named or match is None:
            raise PyadmmError(
                f"pattern {part!r}: must be {FREE}, 3x2, 3x2@0.9, or by layer, conv2:3x2"
            )
        window, rows, fill = match.groups(default="1")
        found |= dict.fromkeys(named, BalancedPattern(int(window), int(rows), float(fill)))
    return found


def settings_for(
    network: str, patterns: Mapping[str, BalancedPattern], ratio: float, seed: int
) -> CompressSettings:
    """The recipe of one run with the patterns of some layers."""
    base = replace(SUBJECTS[network].base, pruning_ratio=ratio, weight_bits=WEIGHT_BITS, seed=seed)
    targets = (
        LayerTarget(layer, sparsity="balanced", **asdict(pattern))
        for layer, pattern in patterns.items()
    )
    return replace(base, layers=(*base.layers, *targets))


def run(
    dense: Network, teacher: Teacher, materials: Materials, case: tuple[str, float, int]
) -> dict[str, Any]:
    """One run from the dense network to its integers; its row.

    :param case: name of the pattern, pruning ratio and seed.
    """
    (name, ratio, seed), subject = case, materials.network
    patterns = patterns_of(name, list(dense.layers))
    settings = settings_for(subject, patterns, ratio, seed)
    began, data = time.process_time(), materials.data
    stem = re.sub(r"[^\w.@+-]", "-", name)
    place = materials.folder / f"{stem}-{ratio:g}x-seed{seed}"
    common: dict[str, Any] = {"checkpoint_dir": place, "teacher": teacher}
    network = dense.copy()
    set_widths(network, settings)
    pruned = admm_phase(network, settings, data, **common)
    tuned = retrain(pruned.network, settings, data, **common).network
    final = quantize(tuned, settings, data, **common)
    seconds = round(time.process_time() - began)
    model = smallest(to_integer(final.network, data, subject).model)
    content = container.encode(model)
    write_atomic(place / "model.admm", content)
    loss, accuracy = cross_entropy(final.network, data.validation)
    row: dict[str, Any] = {
        "network": subject,
        "pattern": name,
        "ratio_goal": ratio,
        "seed": seed,
        "weights": model.nnz,
        "bytes": len(content),
        "balanced_file": int(content[:1] == container.BALANCED),
        "validation_accuracy": accuracy,
        "validation_loss": loss,
        "images": len(data.train),
        "epochs": SUBJECTS[subject].pruning + SUBJECTS[subject].levels,
        "cpu_seconds": seconds,
    }
    row |= lockstep_facts(compact(model), patterns)
    if materials.spare is not None:
        row["spare_loss"], row["spare_accuracy"] = cross_entropy(final.network, materials.spare)
    return row


def lockstep_facts(
    model: CompressedModel, patterns: Mapping[str, BalancedPattern]
) -> dict[str, Any]:
    """Steps of the balanced layers, and the share of their places that hold a weight."""
    layers = {layer.name: torch.from_numpy(layer.window_codes != 0) for layer in model.layers}
    steps = {name: fewest_steps(layers[name], pattern) for name, pattern in patterns.items()}
    places = sum(patterns[name].lockstep * count for name, count in steps.items())
    weights = sum(int(layers[name].sum()) for name in patterns)
    return {"steps": sum(steps.values()), "filled": round(weights / places, 4)} if places else {}


def append(path: Path, row: dict[str, Any]) -> None:
    """Add ``row`` to the table at ``path``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted([*rows_of(path), row], key=_key))
    write_atomic(path, text.getvalue().encode())


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of the table at ``path``; none where there is no table yet."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _key(row: Mapping[str, Any]) -> tuple[str, str, float, int]:
    return row["network"], row["pattern"], float(row["ratio_goal"]), int(row["seed"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 and one line for what cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m experiments.patterns", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ratios", type=float, nargs="+", default=list(RATIOS))
    parser.add_argument(
        "--patterns",
        nargs="+",
        default=[FREE, "3x2"],
        metavar="PATTERN",
        help="free, window x rows such as 3x2, or by layer such as conv2:3x2+fc1:4x2",
    )
    parser.add_argument("--network", default="lenet5", choices=SUBJECTS, help="(%(default)s)")
    parser.add_argument("--weights", type=Path, help="of the dense network, if not to be trained")
    parser.add_argument("--images", type=int, default=20_000, help="trained on after the dense one")
    parser.add_argument("--data-dir", type=Path, help="folder with the data set")
    parser.add_argument("--work", type=Path, default=Path("runs/patterns"), help="checkpoints")
    parser.add_argument("--out", type=Path, default=Path("experiments/results/patterns.csv"))
    options = parser.parse_args(arguments)
    try:
        network = options.network
        loaded = (mnist if network == "lenet5" else cifar10).load(options.data_dir)
        data = Data.split(Images.from_numpy(loaded.train_images, loaded.train_labels))
        materials = Materials.of(network, data, options.images, options.weights, options.work)
        for seed in options.seeds:
            done = {_key(row) for row in rows_of(options.out)}
            cases = [(name, ratio) for name in options.patterns for ratio in options.ratios]
            cases = [case for case in cases if (network, *case, seed) not in done]
            if not cases:
                continue
            dense = materials.dense(seed)
            teacher = shared_teacher(dense, SUBJECTS[network].base)
            for name, ratio in cases:
                row = run(dense, teacher, materials, (name, ratio, seed))
                print(row, flush=True)
                append(options.out, row)
    except PyadmmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
