"""``pyadmm breakeven-cosim``: simulate the two kernels of a break-even."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pyadmm.breakeven import BreakEven, from_json, layer_case
from pyadmm.breakeven.cosim import simulate_pair
from pyadmm.core.errors import PyadmmError


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 where every kernel keeps its schedule; 1 else; 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m pyadmm.breakeven.cosim",
        description="Simulate the dense and the sparse kernel of break-even records.",
    )
    parser.add_argument("records", type=Path, help="breakeven.json")
    parser.add_argument("--layer", help="one of its layers, such as alexnet.conv4 (default: all)")
    parser.add_argument("--pruned", type=float, action="append", help="default: 0.5 and 0.9")
    parser.add_argument("--outputs", type=int, default=28, help="output channels to simulate")
    parser.add_argument("--images", type=int, default=3)
    options = parser.parse_args(argv)
    good = True
    try:
        for record in _records(options.records, options.layer):
            for pruned in options.pruned or (0.5, 0.9):
                case = layer_case(record.layer)
                pair = simulate_pair(case, record, pruned, options.outputs, options.images)
                print(pair.text(), flush=True)
                good &= pair.dense.as_scheduled and pair.sparse.as_scheduled
    except PyadmmError as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if good else 1


def _records(path: Path, layer: str | None) -> list[BreakEven]:
    try:
        records = from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PyadmmError(f"{path.name}: cannot be read: {error}") from error
    found = [record for record in records if layer in (None, record.layer)]
    if not found:
        known = ", ".join(sorted({record.layer for record in records}))
        raise PyadmmError(f"{path.name}: has no layer {layer!r}; it has: {known}")
    return found
