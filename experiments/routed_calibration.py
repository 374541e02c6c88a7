"""Fits what a clock estimate is worth when routed to the routed designs, and prints the error.

    python -m experiments.routed_calibration

reads ``experiments/results/routed.csv``. The state ``before`` is left out: its nets over whole kernels
are gone. Rows from before LUTs of synthesis were kept have those that were placed, some per cent more.
An error is that of the fit to all other designs. A scale of the estimate and an addition that grows with
the square root of the LUTs are both fitted; the one with the smaller error is ``ROUTE_MODEL`` of
``pyadmm/eda/route_model.py``.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.routed_designs import RESULTS
from pyadmm.eda.route_model import RoutedDesign, RouteModel, fit, left_out_errors

_LEFT_OUT = "before"


def routed_designs(table: Path = RESULTS) -> list[tuple[str, RoutedDesign]]:
    """The rows of the table that the fit uses, each with the state of its RTL."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["rtl"] != _LEFT_OUT]
    return [
        (
            row["rtl"],
            RoutedDesign(
                row["design"],
                float(row["mapped_lut"] or row["lut"]),
                float(row["estimate_ns"]),
                float(row["routed_ns"]),
            ),
        )
        for row in rows
    ]


@dataclass(frozen=True)
class Calibration:
    """One kind of model on all designs.

    :param errors: of each design, by the fit to the others.
    """

    model: RouteModel
    errors: tuple[float, ...]

    @property
    def rms(self) -> float:
        """Root mean square of the errors."""
        return float(np.sqrt(np.mean(np.square(self.errors))))


def calibrations(designs: Sequence[RoutedDesign]) -> list[Calibration]:
    """Both kinds of model, the better one first."""
    found = [
        Calibration(fit(designs, by_size=kind), tuple(left_out_errors(designs, by_size=kind)))
        for kind in (False, True)
    ]
    return sorted(found, key=lambda each: each.rms)


def main() -> int:
    """Print the better model, for every design what the others say of it, and the other model."""
    rows = routed_designs()
    best, other = calibrations([design for _, design in rows])
    print("| design | RTL | LUT | estimate, ns | expected, ns | routed, ns | error |")
    print("|---|---|---|---|---|---|---|")
    for (state, design), error in zip(rows, best.errors, strict=True):
        expected = best.model.period_ns(design.estimate_ns, design.lut)
        print(
            f"| {design.name} | {state} | {design.lut:,.0f} | {design.estimate_ns:.2f} | "
            f"{expected:.2f} | {design.routed_ns:.2f} | {error:+.0%} |"
        )
    for each in (best, other):
        print(
            f"{len(rows)} rows: scale {each.model.scale:.3f}, per side {each.model.per_side:.4f} ns: "
            f"leave-one-out error {each.rms:.0%} root mean square, "
            f"{max(map(abs, each.errors)):.0%} at most"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
