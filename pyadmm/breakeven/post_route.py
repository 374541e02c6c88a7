"""Break-even at routed clocks: both kernels of a pair placed and routed, each at its own period.

Areas and cycles stay those of the record that the search made; its clock estimates are replaced. A
kernel is routed as it is measured, input frame and engines between registers
(``hls/route/route_kernel.sv``), and multiplies in LUTs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pyadmm.breakeven.cases import LayerCase
from pyadmm.breakeven.kernels import kernel_stage
from pyadmm.breakeven.measure import kernel_sources
from pyadmm.breakeven.results import BreakEven, CurvePoint, KernelPoint
from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import PyadmmError
from pyadmm.eda.openxc7 import median_period
from pyadmm.eda.route_flow import RouteResult, RouteSettings, route_module
from pyadmm.hardware.boards import Board
from pyadmm.hardware.plan import StagePlan, engine_shape, selects_products

TOP = "route_kernel"
_PARTS = ("dense_engine", "frame_buffer", "sparse_engine")
Shape = tuple[str, int, int]
"""Family, tile rows and groups: what decides a kernel's paths; memory depths hardly do."""


def kernel_parameters(stage: StagePlan) -> dict[str, int | str]:
    """Parameters of ``hls/route/route_kernel.sv`` for one kernel."""
    return {
        **engine_shape(stage),
        "SPARSE": int(stage.config.family == "sparse"),
        "GROUPS": stage.groups,
        "OUT_CHANNELS": stage.spec.outputs,
        "CONV_GROUPS": stage.spec.groups,
        "ENTRY_CAPACITY": stage.entry_capacity,
        "INDEX_BITS": stage.config.index_bits,
        "ACC_MUX": int(selects_products(stage)),
    }


def route_kernel(stage: StagePlan, board: Board, settings: RouteSettings) -> RouteResult:
    """Place and route one kernel.

    :raises ToolError: where a tool is missing, fails or runs out of time.
    """
    return route_module(
        TOP, kernel_files(), kernel_parameters(stage), board, settings, use_dsp=False
    )


def kernel_files() -> list[Path]:
    """The kernel between its frame and the harness, and the modules that it needs."""
    needed = {path for top in _PARTS for path in kernel_sources(top)}
    return [asset_dir("hls") / "route" / f"{TOP}.sv", *sorted(needed)]


def at_routed_clocks(
    record: BreakEven,
    case: LayerCase,
    board: Board,
    settings: RouteSettings,
    route: Callable[[StagePlan, Board, RouteSettings], RouteResult] = route_kernel,
) -> BreakEven:
    """``record`` with the routed periods of its kernels, and the break-even that follows.

    Every shape of kernel on the curve is routed once per seed, with the memories of its first
    point. Between two points of the curve the break-even is interpolated: cycles of a sparse kernel
    are proportional to the weights that are left.

    :raises PyadmmError: for a record of another layer or board, or of another family than sparse.
    """
    _require_sparse(record, case, board)
    kernels = [record.dense, *(p.sparse for p in record.curve if p.sparse is not None)]
    results: dict[Shape, RouteResult] = {}
    for kernel in kernels:
        if _shape(kernel) not in results:
            stage = kernel_stage(case, kernel.config, kernel.entry_capacity)
            results[_shape(kernel)] = route(stage, board, settings)
    periods = {shape: median_period(result.runs) for shape, result in results.items()}

    def routed(kernel: KernelPoint) -> KernelPoint:
        own = round(periods[_shape(kernel)], 3)
        return replace(kernel, period_ns=max(own, board.clock_ns), clock_estimate_ns=own)

    dense = routed(record.dense)
    curve = tuple(_at(point, dense, routed) for point in record.curve)
    crossing = _crossing(curve)
    report = next(iter(results.values())).runs[0].report
    seeds = ", ".join(str(seed) for seed in settings.seeds)
    listed = ", ".join(f"{family} {rows} x {groups}: {periods[family, rows, groups]:.2f} ns"
                       for family, rows, groups in results)  # fmt: skip
    return replace(
        record,
        ratio=None if crossing is None else 1 / (1 - crossing),
        basis=report.stage,
        tool=report.tool,
        version=str(report.version),
        dense=dense,
        curve=curve,
        notes=(
            *record.notes,
            f"areas: {record.basis}, {record.tool} {record.version}; clocks: median of seeds "
            f"{seeds}; {listed}",
        ),
    )


def _require_sparse(record: BreakEven, case: LayerCase, board: Board) -> None:
    """Refuse records of other layers, boards and families."""
    if record.family != "sparse":
        raise PyadmmError(
            f"break-even {record.title}: only sparse and dense kernels are routed; use the basis "
            "post-synthesis"
        )
    if (record.name, record.board) != (case.spec.name, board.name):
        raise PyadmmError(
            f"break-even {record.layer} on {record.board}: not a record of {case.label} on "
            f"{board.name}"
        )


def _shape(kernel: KernelPoint) -> Shape:
    return kernel.config.family, kernel.config.tile_rows, kernel.config.groups


def _at(
    point: CurvePoint, dense: KernelPoint, routed: Callable[[KernelPoint], KernelPoint]
) -> CurvePoint:
    if point.sparse is None:
        return point
    sparse = routed(point.sparse)
    return replace(point, sparse=sparse, speedup=dense.time_us / sparse.time_us)


def _crossing(curve: Sequence[CurvePoint]) -> float | None:
    """Least pruned portion with a speedup of 1; ``None`` where the curve stays below."""
    before: CurvePoint | None = None
    for point in curve:
        if point.speedup is not None and point.speedup >= 1:
            return point.pruned if before is None else _between(before, point)
        before = point
    return None


def _between(low: CurvePoint, high: CurvePoint) -> float:
    """Where the time, linear in the portion, is that of the dense kernel."""
    if low.speedup is None or high.speedup is None:
        return high.pruned
    slow, fast = 1 / low.speedup, 1 / high.speedup
    part = (slow - 1) / (slow - fast) if slow > fast else 1.0
    return round(low.pruned + part * (high.pruned - low.pruned), 4)
