"""Error against bytes of LeNet-5 on MNIST: the record files beside the literature, as an SVG.

    python -m experiments.lenet5_records --seeds 30-34 --test
    python benchmarks/lenet5.py runs/record benchmarks/lenet5.svg

Ours are read from the facts that the record command leaves beside each file. The literature
(`lenet5_literature.csv`) is drawn where a method states all its bytes, or nearly all.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

LITERATURE = Path(__file__).with_name("lenet5_literature.csv")
_BYTES = (800, 4600)
_SHORT = {"Entropy-penalised reparameterisation": "Entropy-penalised"}


def ours(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """``(bytes, test error in percent)`` of every tested file, by preset."""
    points: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if "test_accuracy" in facts:
            points[facts["preset"]].append((facts["bytes"], 100 * (1 - facts["test_accuracy"])))
    return points


def literature() -> list[tuple[str, int, float]]:
    """Method, bytes, test error in percent, by bytes, of those that the axis reaches."""
    with LITERATURE.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["total_bytes"]]
    points = [(row["method"], int(row["total_bytes"]), float(row["error_percent"])) for row in rows]
    return sorted((p for p in points if p[1] <= _BYTES[1]), key=lambda point: point[1])


def main() -> None:
    """Write the plot of error against bytes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("records", type=Path, help="folder of the record command")
    parser.add_argument("output", type=Path, help="an .svg or .png file")
    options = parser.parse_args()
    figure, axes = plt.subplots(figsize=(7.5, 4.5))
    for number, (method, size, error) in enumerate(literature()):
        axes.plot(size, error, "s", color="0.6", markersize=5)
        axes.annotate(
            _SHORT.get(method, method),
            (size, error),
            (6, -11 if number % 2 else 5),  # in turns: neighbours' labels keep apart
            textcoords="offset points",
            fontsize=7,
        )
    for name, points in sorted(ours(options.records).items(), key=lambda item: item[1]):
        axes.plot(*zip(*points, strict=True), "o", label=f"{name}, one file per seed", alpha=0.8)
    axes.set(xlabel="bytes of the file", ylabel="test error, %", xlim=_BYTES, ylim=(0.4, 1.2))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower left")
    figure.tight_layout()
    figure.savefig(options.output)


if __name__ == "__main__":
    main()
