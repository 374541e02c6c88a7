"""``python -m experiments.breakeven_families``: break-even of every layer for every kernel family.

Rows go to ``experiments/results/breakeven.csv`` one by one, so an interrupted command has kept what
it measured; records that are at hand (``pyadmm/breakeven/store.py``) are not measured again.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from pyadmm.breakeven import (
    BreakEven,
    KernelPoint,
    LayerCase,
    Measurements,
    NotMeasured,
    OpenFlow,
    Settings,
    break_even,
    layer_case,
    measurements,
    model_cases,
    model_names,
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


def named(case: LayerCase, kernels: Sequence[str]) -> list[KernelConfig]:
    """Balanced kernels by rows, groups and window, such as ``1x9x1``."""
    channels, *size = case.spec.input_shape
    channels = channels if case.resident else case.spec.kernel_channels
    found = []
    for kernel in kernels:
        rows, groups, window = map(int, kernel.split("x"))
        bits = index_width(-(-channels // window) if size == [1, 1] else channels)
        found.append(KernelConfig("balanced", rows, groups, bits, window=window))
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


def measured_like(
    case: LayerCase, board: Board, family: PrunedFamily, kernels: Sequence[str], measure: Measure
) -> Measurements:
    """The break-even against one dense kernel.

    :param kernels: tile rows and groups of the dense kernel, such as ``1x9``, and which balanced
        kernels to try (:func:`named`); none: :func:`candidates`.
    """
    rows, groups = map(int, kernels[0].split("x"))
    config = KernelConfig("dense", rows, groups)
    slots = -(-case.spec.outputs // groups) if case.resident else 2
    stage = kernel_stage(case, config, slots * (case.spec.weights // case.spec.outputs))
    try:
        limit = measure(
            [replace(stage, entry_capacity=rounded_capacity(stage.entry_capacity))], board
        )
        measure = WithinArea(measure, limit[0].resources)
        given = named(case, kernels[1:])
        chosen = [config, *given] if given else candidates(case, config, family)
        record = break_even(case, board, measure, settings_of(case), chosen, family=family)
    except PyadmmError as error:
        return Measurements((), (), (NotMeasured(case.label, board.name, str(error)),))
    return Measurements((record,), ("measured",))


def settings_of(case: LayerCase) -> Settings:
    """The portion that ADMM-NN publishes for the layer is on its curve, too."""
    ratio = literature_ratios(case.model).get(case.spec.name, 1.0)
    return Settings(further=(round(1 - 1 / ratio, 4),) if ratio > 1 else ())


def row_of(record: BreakEven) -> dict[str, Any]:
    """One line: the dense kernel, and the kernel at the least pruned portion that one fits at."""
    point = next((p.sparse for p in record.curve if p.sparse is not None), None)
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


def gap_row(gap: NotMeasured, family: str) -> dict[str, Any]:
    """The line of a layer without a result."""
    return {"board": gap.board, "layer": gap.layer, "family": family, "reason": gap.reason}


def store(path: Path, row: dict[str, Any]) -> None:
    """Put ``row`` into the table at ``path``, in place of one of the same layer and family."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    rows = [old for old in rows if any(old[name] != row[name] for name in _KEY)]
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted([*rows, row], key=lambda r: [r[name] for name in _KEY]))
    write_atomic(path, text.getvalue().encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0; 1 where a layer has no result; 2 and one line for what cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m experiments.breakeven_families")
    parser.add_argument("--board", nargs="+", default=["pynq-z2"])
    parser.add_argument("--network", nargs="+", choices=model_names(), default=model_names())
    parser.add_argument("--layer", nargs="+", metavar="NETWORK.LAYER", help="instead of networks")
    families = get_args(PrunedFamily)
    parser.add_argument("--family", nargs="+", choices=families, default=families)
    parser.add_argument(
        "--dense",
        metavar="ROWSxGROUPS",
        help="the dense kernel to compare with, and balanced kernels near its area: far fewer runs",
    )
    parser.add_argument(
        "--kernels",
        nargs="+",
        default=(),
        metavar="ROWSxGROUPSxWINDOW",
        help="with --dense: the balanced kernels to try, instead of all near its area",
    )
    parser.add_argument("--jobs", type=int, help="synthesis runs at once (default: cores)")
    parser.add_argument("--out", type=Path, default=Path("experiments/results/breakeven.csv"))
    options = parser.parse_args(arguments)
    status = 0
    try:
        networks = [case for name in options.network for case in model_cases(name)]
        cases = [layer_case(name) for name in options.layer] if options.layer else networks
        for board in map(load_board, options.board):
            for case in cases:
                for family in options.family:
                    flow = OpenFlow(options.jobs)
                    if options.dense:
                        kernels = (options.dense, *options.kernels)
                        found = measured_like(case, board, family, kernels, flow)
                    else:
                        found = measurements([case], board, family=family)
                    rows = [row_of(record) for record in found.results]
                    rows += [gap_row(gap, family) for gap in found.missing]
                    status = 1 if found.missing else status
                    for row in rows:
                        store(options.out, row)
                        print(case.label, family, row.get("ratio"), row["reason"], flush=True)
    except PyadmmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
