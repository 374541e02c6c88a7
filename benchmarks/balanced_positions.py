"""Bytes of a balanced layer's positions: the balanced coding against the one of free patterns.

    python benchmarks/balanced_positions.py --csv experiments/results/balanced_positions.csv

The layer is LeNet-5's fc1 (500 x 800) with as many weights as in the shipped `record-85` of seed
30. Its pattern is the projection of random normal weights, its levels are random.
"""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path

import numpy as np
import torch

from pyadmm import container
from pyadmm.admm.balanced import BalancedPattern, balanced_mask
from pyadmm.admm.projections import top_mask
from pyadmm.container.codec import MAGIC, encode_as
from pyadmm.core.files import write_atomic
from pyadmm.model import INPUT, CompressedLayer, CompressedModel, InputSpec, Requant
from pyadmm.model.types import LayerSpec, QFormat

MODEL = Path(__file__).parents[1] / "models" / "lenet5-record-85-seed30.admm"
SHAPE = (500, 800, 1, 1)
PATTERNS = (None, (1, 4), (4, 4), (8, 2), (8, 4), (8, 16), (16, 8))
"""Places of a window and rows in lock step; ``None``: a free pattern."""
COLUMNS = ("window", "rows", "weights", "version", "free_coding_bytes", "bytes", "file_bytes")


def layer(window: tuple[int, int] | None, weights: int, seed: int) -> CompressedModel:
    """A network of fc1 alone, 3-bit levels."""
    gain = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)).square()
    if window is None:
        mask = top_mask(gain, weights)
    else:
        mask = balanced_mask(gain, BalancedPattern(*window), weights=weights)
    rng = np.random.default_rng(seed)
    levels = rng.integers(1, 5, SHAPE[:2]) * rng.choice([-1, 1], SHAPE[:2])
    codes = np.where(mask.numpy().reshape(SHAPE[:2]), levels, 0).astype(np.int16)
    spec = LayerSpec("fc1", "linear", codes.shape, (SHAPE[1], 1, 1))
    bias = np.zeros(SHAPE[0], np.int64)
    coded = CompressedLayer(spec, INPUT, codes, 3, bias, Requant(), QFormat(24, True))
    entry = InputSpec((SHAPE[1], 1, 1), QFormat(4, False))
    return CompressedModel("model", entry, (coded,))


def row(window: tuple[int, int] | None, weights: int, seed: int) -> dict[str, object]:
    """Bytes of the positions in both codings, and of the whole file."""
    model = layer(window, weights, seed)
    free = encode_as(model, MAGIC)[1]["fc1.positions"]
    data = container.encode(model)
    taken = dict(container.breakdown(data))["fc1.positions"]
    size, rows = window or ("", "")
    figures = (size, rows, model.nnz, data[0] & 15, round(free / 8), round(taken / 8), len(data))
    return dict(zip(COLUMNS, figures, strict=True))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    weights = int(np.count_nonzero(container.load(MODEL).layer("fc1").codes))
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row(window, weights, options.seed) for window in PATTERNS)
    print(text.getvalue(), end="")
    if options.csv:
        write_atomic(options.csv, text.getvalue())


if __name__ == "__main__":
    main()
