"""``python -m experiments.breakeven_families``: break-even of every layer for every kernel family.

``experiments/breakeven_kernels.csv`` says what is compared: a line for a board, a layer and a family,
with the dense kernel (rows x groups) and the kernels that compete with it (rows x groups x places of
a window; for the unstructured family x bits of an index). A search over all kernels of all these
layers would take days; ``pyadmm breakeven --family`` searches for one layer.

Rows go to ``experiments/results/breakeven.csv`` one by one. A line that has a row there is not
measured again, so an interrupted command goes on; ``--again`` measures it.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

from pyadmm.breakeven import (
    BreakEven,
    CurvePoint,
    KernelPoint,
    LayerCase,
    OpenFlow,
    Settings,
    break_even,
    layer_case,
)
from pyadmm.breakeven.kernels import kernel_stage
from pyadmm.breakeven.measure import Measure, Measured, rounded_capacity
from pyadmm.breakeven.settings import PrunedFamily
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.cost import kernel_resources
from pyadmm.hardware.plan import KernelConfig, StagePlan, index_width
from pyadmm.model.types import Resources
from pyadmm.report.reference import literature_ratios

KERNELS = Path(__file__).with_name("breakeven_kernels.csv")
RESULTS = Path(__file__).parent / "results" / "breakeven.csv"
_COLUMNS = ("board", "layer", "family", "dense", "kernels")
PORTIONS = (0.5, 0.7, 0.8, 0.9)
_AREA = ("lut", "ff", "bram18")
FIELDS = (
    "board", "layer", "family", "ratio", "basis", "tool", "version", "storage", "weight_bits",
    "activation_bits", "board_clock_ns", "dense_rows", "dense_groups", "dense_cycles",
    *(f"dense_{name}" for name in _AREA), "dense_clock_estimate_ns", "rows", "groups", "window",
    "index_bits", *_AREA, "clock_estimate_ns", *(f"speedup_{p:.0%}"[:-1] for p in PORTIONS),
    "curve",
    "reason",
)  # fmt: skip
_KEY = ("board", "layer", "family")
_DEPTHS = (1024, 2048)
_LEAST_AREA, _STEP_RATIO = 0.5, 1.1
_MODEL_ERROR, _LANES_ERROR = 1.3, 1.05
"""Modelled LUTs of balanced kernels that are tried, in shares of the dense kernel's: with one lane a
group, and with more, which the model describes better."""


@dataclass(frozen=True)
class Comparison:
    """One line of the table of kernels: what is compared.

    :param dense: tile rows and groups of the dense kernel, such as ``1x9``.
    :param kernels: tile rows, groups and window of the kernels that compete with it, such as
        ``1x9x1``; of unstructured ones the bits of an index come last. None: :func:`candidates`.
    """

    board: str
    layer: str
    family: PrunedFamily
    dense: str
    kernels: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """What a row of the results belongs to."""
        return self.board, self.layer, self.family


def comparisons(path: Path) -> list[Comparison]:
    """The lines of the table of kernels at ``path``.

    :raises PyadmmError: where the table has no such columns, or a family is unknown.
    """
    found = []
    with path.open(encoding="utf-8", newline="") as stream:
        for line in csv.DictReader(stream):
            try:
                board, layer, family, dense, kernels = (line[name] for name in _COLUMNS)
            except KeyError as error:
                raise PyadmmError(f"{path}: must have the column {error}") from error
            if family not in get_args(PrunedFamily):
                raise PyadmmError(f"{path}: {layer} has the unknown family {family!r}")
            found.append(
                Comparison(board, layer, cast(PrunedFamily, family), dense, tuple(kernels.split()))
            )
    return found


def named(case: LayerCase, family: str, kernels: Sequence[str]) -> list[KernelConfig]:
    """Kernels by rows, groups and window (bits of an index: unstructured), such as ``1x9x1``."""
    channels, *size = case.spec.input_shape
    channels = channels if case.resident else case.spec.kernel_channels
    found = []
    for kernel in kernels:
        rows, groups, last = map(int, kernel.split("x"))
        if family == "sparse":
            found.append(KernelConfig("sparse", rows, groups, last))
            continue
        bits = index_width(-(-channels // last) if size == [1, 1] else channels)
        found.append(KernelConfig("balanced", rows, groups, bits, window=last))
    return found


def candidates(case: LayerCase, dense: KernelConfig, family: str) -> list[KernelConfig]:
    """``dense`` and the balanced kernels whose modelled area is near the dense kernel's or below.

    Of kernels that need the same cycles for all windows of the layer, those of the least area; of
    those that differ by some percent, one. Synthesis says which fit.

    :raises PyadmmError: where the family has no kernel for the layer.
    """
    channels, *size = case.spec.input_shape
    single = size == [1, 1]
    most = channels if single or case.spec.kernel == (1, 1) else case.spec.kernel[1]
    most = most if case.spec.square_stride == 1 else 1
    windows = (1,) if family == "shared" else (2, 4) if single else (2, 3)
    if most < windows[0]:
        raise PyadmmError(f"{case.label}: windows of several places need stride 1")
    blocks = 1 if case.resident else case.spec.groups  # which run one after the other
    outputs, channels = case.spec.outputs // blocks, channels // blocks
    area = kernel_resources(kernel_stage(case, dense, 1)).lut
    found: dict[tuple[int, int], tuple[float, KernelConfig]] = {}
    for rows in _steps(case.spec.output_shape[1]):
        for groups in _steps(outputs):
            for window in (w for w in windows if w <= most):
                bits = index_width(-(-channels // window) if single else channels)
                kernel = KernelConfig("balanced", rows, groups, bits, window=window)
                stage = kernel_stage(case, kernel, 1)
                luts = kernel_resources(stage).lut / area
                error = _MODEL_ERROR if stage.lanes == 1 else _LANES_ERROR
                key = stage.tiles * -(-outputs // groups), window
                if _LEAST_AREA <= luts <= error and luts < found.get(key, (luts + 1,))[0]:
                    found[key] = luts, kernel
    kernels, last = [dense], dict.fromkeys(windows, 0.0)
    for (steps, window), (_, kernel) in sorted(found.items(), key=lambda item: item[0]):
        same = (kernel.tile_rows, kernel.groups) == (dense.tile_rows, dense.groups)
        if same or steps >= _STEP_RATIO * last[window]:
            kernels.append(kernel)
            last[window] = steps
    return kernels


def _steps(count: int) -> list[int]:
    """Rows or groups that need fewer steps for ``count`` than any smaller number."""
    return sorted({-(-count // steps) for steps in range(1, count + 1)})


@dataclass(frozen=True)
class WithinArea:
    """Measures kernels; where one exceeds an area, with memories deep enough for block RAM.

    Yosys makes LUT RAM of narrow memories up to a depth that depends on their width.
    """

    measure: Measure
    limit: Resources

    def __call__(self, stages: Sequence[StagePlan], board: Board) -> list[Measured]:
        """One result per stage, in order."""
        found = self.measure(stages, board)
        for depth in _DEPTHS:
            deeper = [
                place
                for place, (stage, result) in enumerate(zip(stages, found, strict=True))
                if stage.config.family == "balanced"
                and stage.entry_capacity < depth
                and not result.resources.fits(self.limit)
            ]
            tried = [replace(stages[place], entry_capacity=depth) for place in deeper]
            for place, result in zip(deeper, self.measure(tried, board), strict=True):
                if result.resources.fits(self.limit):
                    found[place] = result
        return found


def measured_like(case: LayerCase, board: Board, what: Comparison, measure: Measure) -> BreakEven:
    """The break-even against one dense kernel, every pruned portion on its fastest kernel.

    :raises PyadmmError: where the family has no kernel for the layer.
    """
    rows, groups = map(int, what.dense.split("x"))
    config = KernelConfig("dense", rows, groups)
    slots = -(-case.spec.outputs // groups) if case.resident else 2
    stage = kernel_stage(case, config, slots * (case.spec.weights // case.spec.outputs))
    stage = replace(stage, entry_capacity=rounded_capacity(stage.entry_capacity))
    measure = WithinArea(measure, measure([stage], board)[0].resources)
    kernels = named(case, what.family, what.kernels)
    chosen = [[config, k] for k in kernels] or [candidates(case, config, what.family)]
    settings = settings_of(case)
    return best_of(
        [break_even(case, board, measure, settings, c, family=what.family) for c in chosen]
    )


def best_of(records: Sequence[BreakEven]) -> BreakEven:
    """One record of several against the same dense kernel: the fastest kernel at every portion.

    Portions around the crossing of a slower kernel are left out: the fastest is not known there.
    """
    points: dict[float, CurvePoint] = {}
    for point in (point for record in records for point in record.curve):
        best = points.get(point.pruned)
        if best is None or (point.speedup or 0) > (best.speedup or 0):
            points[point.pruned] = point
    ratio = min((r.ratio for r in records if r.ratio is not None), default=None)
    curve: list[CurvePoint] = []
    for portion in sorted(points):
        if (points[portion].speedup or 0) >= max((p.speedup or 0 for p in curve), default=0):
            curve.append(points[portion])
    return replace(records[0], ratio=ratio, curve=tuple(curve))


def settings_of(case: LayerCase) -> Settings:
    """The portion that ADMM-NN publishes for the layer is on its curve, too."""
    ratio = literature_ratios(case.model).get(case.spec.name, 1.0)
    return Settings(further=(round(1 - 1 / ratio, 4),) if ratio > 1 else ())


def row_of(record: BreakEven) -> dict[str, Any]:
    """One line: the dense kernel, and the kernel at the crossing, else the first that fits."""
    fitting = [point for point in record.curve if point.sparse is not None]
    winning = [point for point in fitting if (point.speedup or 0) >= 1]
    point = next((p.sparse for p in [*winning, *fitting]), None)
    row: dict[str, Any] = {
        "board": record.board,
        "layer": record.layer,
        "family": record.family,
        "ratio": None if record.ratio is None else round(record.ratio, 4),
        "basis": record.basis,
        "tool": record.tool,
        "version": record.version,
        "storage": record.storage,
        "weight_bits": record.weight_bits,
        "activation_bits": record.activation_bits,
        "board_clock_ns": record.board_clock_ns,
        "dense_cycles": record.dense.cycles,
        **_kernel(record.dense, "dense_"),
        "curve": " ".join(f"{p.pruned:g}:{p.speedup:.3f}" for p in record.curve if p.speedup),
        "reason": record.curve[-1].reason,
    }
    if point is not None:
        config = point.config
        row |= {**_kernel(point, ""), "window": config.window, "index_bits": config.index_bits}
    for portion in PORTIONS:
        speedup = record.speedup_at(portion)
        row[f"speedup_{portion:.0%}"[:-1]] = None if speedup is None else round(speedup, 3)
    return row


def _kernel(point: KernelPoint, prefix: str) -> dict[str, Any]:
    area = {f"{prefix}{name}": round(getattr(point.resources, name)) for name in _AREA}
    return {
        f"{prefix}rows": point.config.tile_rows,
        f"{prefix}groups": point.config.groups,
        f"{prefix}clock_estimate_ns": point.clock_estimate_ns,
        **area,
    }


def gap_row(what: Comparison, reason: str) -> dict[str, Any]:
    """The line of a layer without a result."""
    return {"board": what.board, "layer": what.layer, "family": what.family, "reason": reason}


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of the table of results at ``path``; none where there is no table yet."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def store(path: Path, row: dict[str, Any]) -> None:
    """Put ``row`` into the table at ``path``, in place of one of the same layer and family."""
    rows = [old for old in rows_of(path) if any(old[name] != row[name] for name in _KEY)]
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted([*rows, row], key=lambda r: [r[name] for name in _KEY]))
    write_atomic(path, text.getvalue().encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0; 1 where a layer has no result; 2 and one line for what cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.breakeven_families",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--board", nargs="+", help="only these (default: all of the table)")
    parser.add_argument("--layer", nargs="+", metavar="NETWORK.LAYER", help="only these")
    parser.add_argument("--family", nargs="+", choices=get_args(PrunedFamily), help="only these")
    parser.add_argument("--kernels", type=Path, default=KERNELS, help="(%(default)s)")
    parser.add_argument("--again", action="store_true", help="measure what has a row, too")
    parser.add_argument("--jobs", type=int, help="synthesis runs at once (default: cores)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="(%(default)s)")
    options = parser.parse_args(arguments)
    wanted = (options.board, options.layer, options.family)
    try:
        listed = [
            what
            for what in comparisons(options.kernels)
            if all(some is None or k in some for some, k in zip(wanted, what.key, strict=True))
        ]
        if not listed:
            raise PyadmmError(f"{options.kernels}: no line is about what was asked for")
        return _measure(listed, options.out, options.again, OpenFlow(options.jobs))
    except PyadmmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _measure(listed: Sequence[Comparison], out: Path, again: bool, measure: Measure) -> int:
    known = set() if again else {tuple(row[name] for name in _KEY) for row in rows_of(out)}
    status = 0
    for what in listed:
        if what.key in known:
            continue
        case, board = layer_case(what.layer), load_board(what.board)
        try:
            row = row_of(measured_like(case, board, what, measure))
        except PyadmmError as error:
            row, status = gap_row(what, str(error)), 1
        store(out, row)
        print(*what.key, row.get("ratio"), row["reason"], flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
