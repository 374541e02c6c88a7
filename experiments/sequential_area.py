"""Resources of the layer-sequential array by synthesis: ``python -m experiments.sequential_area``.

For every array, those of :data:`ARRAYS` by default, Yosys maps each module once, out of context. The figures of the
modules and their sum go to ``results/sequential_area.csv``. Those of :data:`ARRAYS` become ``area.json`` of
``pyadmm.hardware.sequential``, which sizes the array for a board. ``--whole GxV`` maps the whole design in one run
of Yosys instead.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyadmm.codegen.sequential import TOP
from pyadmm.core.files import write_atomic
from pyadmm.core.schema import to_json
from pyadmm.eda.reports import ResourceUse, SynthesisReport
from pyadmm.eda.sequential_simulation import rtl_sources
from pyadmm.eda.sequential_synthesis import synthesise_array
from pyadmm.eda.yosys import Design, synthesise
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.sequential import area
from pyadmm.hardware.sequential.area import AreaPoint, AreaTable
from pyadmm.hardware.sequential.array import SequentialArray, named_array
from pyadmm.model.types import Resources

RESULTS = Path(__file__).parent / "results" / "sequential_area.csv"
MODEL = Path(area.__file__).with_name("area.json")
BOARD = "pynq-z2"
ARRAYS = ((4, 64), (4, 32))
"""What the model is made from: one array for each number of lanes. Others in the CSV show how good it is."""
_GROUP_MODULES = ("seq_group", "seq_lanes")
_FIELDS = (
    "part",
    "groups",
    "lanes",
    "drain",
    "method",
    "module",
    "instances",
    "lut",
    "ff",
    "dsp",
    "bram18",
    "clock_ns",
)
_TIMEOUT_S = 3600.0


def _figures(found: ResourceUse) -> dict[str, int]:
    return {name: round(value) for name, value in found.known().items() if name != "uram"}


def module_rows(array: SequentialArray, report: SynthesisReport) -> list[dict[str, Any]]:
    """One row per kind of module, equal ones together, and the sum."""
    rows = []
    for kind in dict.fromkeys(module.kind for module in report.modules):
        alike = [module for module in report.modules if module.kind == kind]
        total = {
            name: sum(_figures(module.resources)[name] for module in alike)
            for name in ("lut", "ff", "dsp", "bram18")
        }
        slowest = max(module.clock_estimate_ns or 0.0 for module in alike)
        facts = {"module": kind or "", "instances": len(alike), **total}
        rows.append({**_head(array, report, "modules"), **facts, "clock_ns": f"{slowest:.2f}"})
    return [*rows, _total(array, report, "modules", "sum")]


def whole_row(array: SequentialArray, report: SynthesisReport) -> dict[str, Any]:
    """The row of one run of Yosys over the whole design."""
    return _total(array, report, "whole", TOP)


def _total(
    array: SequentialArray, report: SynthesisReport, method: str, module: str
) -> dict[str, Any]:
    facts = {"module": module, "instances": 1, **_figures(report.resources)}
    clock = f"{report.clock_estimate_ns or 0.0:.2f}"
    return {**_head(array, report, method), **facts, "clock_ns": clock}


def _head(array: SequentialArray, report: SynthesisReport, method: str) -> dict[str, Any]:
    size = {"groups": array.groups, "lanes": array.lanes, "drain": array.drain}
    return {"part": report.part, **size, "method": method}


def merged(fresh: Sequence[dict[str, Any]], path: Path) -> str:
    """The CSV of ``path`` with ``fresh`` rows in place of those of the same arrays and methods."""
    old: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            old = list(csv.DictReader(file))
    key = ("part", "groups", "lanes", "drain", "method")
    anew = {tuple(str(row[name]) for name in key) for row in fresh}
    kept = [row for row in old if tuple(str(row[name]) for name in key) not in anew]
    out = io.StringIO()
    writer = csv.DictWriter(out, _FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*kept, *fresh])
    return out.getvalue()


def model_json(path: Path) -> str:
    """``area.json`` from the rows of :data:`ARRAYS` in the CSV of ``path``."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "modules"]
    rows = [row for row in rows if int(row["drain"]) == SequentialArray.drain]
    points = []
    for groups, lanes in ARRAYS:
        own = [row for row in rows if (int(row["groups"]), int(row["lanes"])) == (groups, lanes)]
        named = {row["module"]: row for row in own}
        points.append(
            AreaPoint(
                groups,
                lanes,
                whole=_resources(named["sum"]),
                buffer=_resources(named["seq_buffer"]),
                in_groups=_resources(*(named[module] for module in _GROUP_MODULES)),
            )
        )
    return to_json(AreaTable("python -m experiments.sequential_area", tuple(points))) + "\n"


def _resources(*rows: dict[str, str]) -> Resources:
    """Sum of the rows."""
    names = ("lut", "ff", "dsp", "bram18")
    return Resources(**{name: sum(int(row[name]) for row in rows) for name in names})


def main(argv: Sequence[str] | None = None) -> int:
    """Synthesise the arrays; the results go to ``results/sequential_area.csv`` and ``area.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [f"{groups}x{lanes}" for groups, lanes in ARRAYS]
    parser.add_argument(
        "arrays",
        nargs="*",
        default=names,
        help=f"GxV, or GxV/D with the lanes of the drain (default: {', '.join(names)})",
    )
    parser.add_argument("--board", default=BOARD, help=f"whose chip (default {BOARD})")
    parser.add_argument(
        "--whole", action="store_true", help="one run of Yosys over the whole design"
    )
    options = parser.parse_args(argv)
    board = load_board(options.board)
    for name in options.arrays:
        array = named_array(name, f"array {name!r}")
        start = time.monotonic()
        if options.whole:
            design = Design.for_board(board, TOP, rtl_sources(), array.parameters)
            rows = [whole_row(array, synthesise(design, timeout_s=_TIMEOUT_S))]
        else:
            rows = module_rows(array, synthesise_array(array, board))
        write_atomic(RESULTS, merged(rows, RESULTS))
        print(rows[-1], f"{time.monotonic() - start:.0f} s", flush=True)
    if options.board == BOARD and not options.whole and set(names) <= set(options.arrays):
        write_atomic(MODEL, model_json(RESULTS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
