"""Error against bytes of LeNet-5 on MNIST: the record files beside the literature, as an SVG.

    python -m pyadmm.record --seeds 10-14 --test
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
    """Method, bytes, test error in percent; rows without bytes are left out."""
    with LITERATURE.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["total_bytes"]]
    return [(row["method"], int(row["total_bytes"]), float(row["error_percent"])) for row in rows]


def main() -> None:
    """Write the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("records", type=Path, help="folder of the record command")
    parser.add_argument("output", type=Path, help="an .svg or .png file")
    options = parser.parse_args()
    figure, axes = plt.subplots(figsize=(7.5, 4.5))
    for method, size, error in literature():
        axes.plot(size, error, "s", color="0.6", markersize=5)
        axes.annotate(
            _SHORT.get(method, method),
            (size, error),
            (5, 4),
            textcoords="offset points",
            fontsize=7,
        )
    for name, points in ours(options.records).items():
        axes.plot(*zip(*points, strict=True), "o", label=f"{name}, one file per seed", alpha=0.8)
    axes.set(xscale="log", xlabel="bytes of the file", ylabel="test error, %", ylim=(0.5, 1.2))
    axes.set_xticks(
        [800, 1000, 1500, 2000, 3000, 44000], ["800", "1 000", "1 500", "2 000", "3 000", "44 000"]
    )
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper right")
    figure.tight_layout()
    figure.savefig(options.output)


if __name__ == "__main__":
    main()
