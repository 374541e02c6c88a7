"""The tables of ``docs/post_training.md``, made from the measured rows.

``python -m experiments.post_training_table`` writes what stands there between the two marks of each
table anew, from ``experiments/results/post_training.csv`` and ``post_training_sizes.csv``. With
``--data-dir DIR`` it first measures the sizes: the bytes of every dense network as float32, and as
8-bit integers packed with gzip.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from experiments.page_tables import read, write_tables
from experiments.post_training import METHODS, OUT, SPARSITIES, SUBJECTS
from pyadmm.core.files import write_atomic
from pyadmm.network.graph import Network
from pyadmm.network.onnx_import import import_onnx
from pyadmm.network.trace import trace

SIZES = OUT.with_name("post_training_sizes.csv")
DOCS = Path("docs/post_training.md")
SIZE_FIELDS = ("network", "weights", "biases", "float32_bytes", "int8_gzip_bytes")
TITLES = {
    "resnet8": "ResNet-8",
    "ds_cnn": "DS-CNN",
    "vww_mobilenet_v1_025_96": "Person detector",
    "mobilenet_v1_025_128": "MobileNet v1 0.25",
    "mobilenet_v1_050_160": "MobileNet v1 0.5",
    "squeezenet_v1_0": "SqueezeNet v1.0",
    "mobilenet_v2_100_224": "MobileNet v2",
    "efficientnet_lite0": "EfficientNet-Lite0",
}
METHOD_TITLES = {"admm": "ADMM", "greedy": "greedy", "magnitude": "magnitude"}
_SIZED = ((8, 0), (4, 0), (8, 50), (4, 50), (8, 75), (4, 90))
"""Weight bits and sparsities whose bytes are shown."""

TARGETS = {"resnet8": 85.0, "ds_cnn": 90.0, "vww_mobilenet_v1_025_96": 80.0}
"""Accuracies that MLPerf Tiny's closed division asks for, per cent."""

Row = Mapping[str, str]


def loss_table(rows: Sequence[Row]) -> str:
    """Loss of accuracy by network, bits, method and sparsity."""
    lines = [
        "| network, weight bits | method | dense | 50 % sparse | 60 % | 75 % | 90 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for network, title in TITLES.items():
        for bits in ("8", "4"):
            own = [r for r in rows if (r["network"], r["weight_bits"]) == (network, bits)]
            name = f"{title}, {bits}"
            for method, cells in _methods(own):
                lines.append(f"| {name} | {method} | {' | '.join(cells)} |")
                name = ""
    return _joined(lines)


def _joined(lines: Iterable[str]) -> str:
    """Lines of a table, empty cells with one space."""
    return "\n".join(line.replace("|  |", "| |").replace("|  |", "| |") for line in lines)


def _methods(rows: Sequence[Row]) -> Iterable[tuple[str, list[str]]]:
    """Title and cells of every method that has rows; distilled rows on a line of their own."""
    for method in ("admm", "greedy", "magnitude"):
        assert method in METHODS
        for distilled in (False, True):
            own = {
                int(r["sparsity_percent"]): r
                for r in rows
                if r["method"] == method and (r["finetuned"] != "0") == distilled
            }
            if own:
                title = METHOD_TITLES[method] + (", distilled" if distilled else "")
                yield title, [_loss(own.get(percent)) for percent in SPARSITIES]


def _loss(row: Row | None) -> str:
    if row is None:
        return ""
    loss = f"{float(row['loss_points']):.1f}".replace("-0.0", "0.0").replace("-", "−")
    return f"{loss} ± {float(row['paired_se']):.1f}"


def size_table(rows: Sequence[Row], sizes: Sequence[Row]) -> str:
    """Bytes of the `.admm` files, and how many times smaller than float32 they are."""
    titles = [f"{bits} bits" + (f", {s} %" if s else "") for bits, s in _SIZED]
    lines = [
        f"| network | float32 | 8 bits, gzip | {' | '.join(titles)} |",
        "|---|---|---|" + "---|" * len(_SIZED),
    ]
    for size in sizes:
        cells = [_bytes(rows, size, bits, sparsity) for bits, sparsity in _SIZED]
        plain, packed = int(size["float32_bytes"]), int(size["int8_gzip_bytes"])
        lines.append(
            f"| {TITLES[size['network']]} | {plain:,} | {packed:,} ({plain / packed:.1f}×) | "
            f"{' | '.join(cells)} |"
        )
    return _joined(lines)


def _bytes(rows: Sequence[Row], size: Row, bits: int, sparsity: int) -> str:
    found = _found(rows, size["network"], bits, sparsity)
    if found is None:
        return ""
    count = int(found["bytes"])
    return f"{count:,} ({int(size['float32_bytes']) / count:.1f}×)"


def _found(rows: Sequence[Row], network: str, bits: int, sparsity: int) -> Row | None:
    """The row of ADMM without distillation, if it is there."""
    wanted = network, str(bits), str(sparsity), "admm", "0"
    names = ("network", "weight_bits", "sparsity_percent", "method", "finetuned")
    return next((r for r in rows if tuple(r[name] for name in names) == wanted), None)


def targets_table(rows: Sequence[Row]) -> str:
    """Accuracy of MLPerf Tiny's networks at 8 bits, dense and half pruned."""
    lines = [
        "| network | target | dense, float | dense, 8 bits | 50 % sparse, 8 bits |",
        "|---|---|---|---|---|",
    ]
    for network, target in TARGETS.items():
        dense, pruned = (_found(rows, network, 8, sparsity) for sparsity in (0, 50))
        assert dense is not None
        assert pruned is not None
        lines.append(
            f"| {TITLES[network]} | {target:g} % | {dense['dense_accuracy']} % | "
            f"{dense['accuracy']} % | {pruned['accuracy']} % |"
        )
    return "\n".join(lines)


def conditions_table(rows: Sequence[Row]) -> str:
    """Dense accuracy, test images, and seconds and memory of the slowest row of each network."""
    lines = [
        "| network | test images | dense | longest row, s of one core | peak, MB |",
        "|---|---|---|---|---|",
    ]
    for network, title in TITLES.items():
        own = [r for r in rows if r["network"] == network and r["finetuned"] == "0"]
        if own:
            seconds, peak = (max(float(r[name]) for r in own) for name in ("seconds", "peak_mb"))
            images, dense = own[0]["images"], own[0]["dense_accuracy"]
            lines.append(f"| {title} | {int(images):,} | {dense} % | {seconds:.0f} | {peak:,.0f} |")
    return "\n".join(lines)


def tables(rows: Sequence[Row], sizes: Sequence[Row]) -> dict[str, str]:
    """All tables of the page, by the name of their marks."""
    return {
        "losses": loss_table(rows),
        "sizes": size_table(rows, sizes),
        "targets": targets_table(rows),
        "conditions": conditions_table(rows),
    }


def packed_bytes(network: Network) -> tuple[int, int]:
    """Bytes of a dense network as float32, and as 8-bit weights, scales and biases with gzip.

    A weight's scale is that of its output channel: its largest magnitude is 127.

    :param network: of floats, without norms.
    """
    plain, parts = 0, []
    for layer in network.layers.values():
        weight, bias = layer.weight.detach(), layer.bias.detach()
        rows = weight.flatten(1)
        scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
        parts.append(torch.round(rows / scale).to(torch.int8).numpy().tobytes())
        parts.append(scale.numpy().tobytes() + bias.numpy().astype(np.float32).tobytes())
        plain += 4 * (weight.numel() + bias.numel())
    return plain, len(gzip.compress(b"".join(parts), 9, mtime=0))


def measure_sizes(folder: Path) -> list[dict[str, object]]:
    """A row of :data:`SIZE_FIELDS` for every network in ``folder/networks``."""
    rows = []
    for name in TITLES:
        imported = import_onnx(folder / "networks" / f"{name}.onnx")
        network = trace(imported.without_quantizers().module, SUBJECTS[name].input).fold_norms()
        plain, packed = packed_bytes(network)
        biases = sum(layer.bias.numel() for layer in network.layers.values())
        values = (name, network.weights, biases, plain, packed)
        rows.append(dict(zip(SIZE_FIELDS, values, strict=True)))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the tables; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="measure the sizes of these networks anew")
    options = parser.parse_args(arguments)
    if options.data_dir is not None:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
        text = io.StringIO()
        writer = csv.DictWriter(text, SIZE_FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(measure_sizes(options.data_dir))
        write_atomic(SIZES, text.getvalue())
    made = tables(read(OUT), read(SIZES))
    write_tables(DOCS, made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
