"""Break-even at routed clocks: the pair's own periods, the crossing that follows, its command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pyadmm.breakeven import (
    BreakEven,
    CurvePoint,
    KernelPoint,
    LayerCase,
    Measurements,
    layer_case,
)
from pyadmm.breakeven.kernels import kernel_stage
from pyadmm.breakeven.post_route import at_routed_clocks, kernel_parameters
from pyadmm.cli import breakeven as command_line
from pyadmm.core.errors import PyadmmError
from pyadmm.eda.openxc7 import Routed
from pyadmm.eda.reports import SynthesisReport
from pyadmm.eda.route_flow import RouteResult, RouteSettings
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.plan import KernelConfig, StagePlan
from pyadmm.model.types import Resources

BOARD = load_board("pynq-z2")
CASE = layer_case("lenet5.conv2")
DENSE = KernelConfig("dense", 2, 2)
SPARSE = KernelConfig("sparse", 2, 1, 2)
DENSE_CYCLES = 1000


def kernel(config: KernelConfig, cycles: int) -> KernelPoint:
    return KernelPoint(config, 256, cycles, 10.0, 7.0, Resources(lut=9))


def point(pruned: float, cycles: int | None) -> CurvePoint:
    if cycles is None:
        return CurvePoint(pruned, None, None, "LUT: needs 9, limit 8")
    return CurvePoint(pruned, kernel(SPARSE, cycles), DENSE_CYCLES / cycles)


def record(*curve: CurvePoint) -> BreakEven:
    return BreakEven(
        "lenet5.conv2", "conv2", "pynq-z2", 2.0, "time", "post-synthesis", "yosys", "Yosys 0.70",
        10.0, "resident", 3, 4, kernel(DENSE, DENSE_CYCLES), curve, ("a note",),
    )  # fmt: skip


WHOLE = record(point(0.4, 1200), point(0.5, 1000), point(0.6, 800), point(0.8, 400))


class Router:
    """Gives every family's kernels a period of its own, one a seed."""

    def __init__(self, **periods: tuple[float, ...]) -> None:
        self.periods = periods
        self.stages: list[StagePlan] = []

    def __call__(self, stage: StagePlan, board: Board, settings: RouteSettings) -> RouteResult:
        self.stages.append(stage)
        runs = [
            Routed(seed, 1.0, report(period))
            for seed, period in zip(settings.seeds, self.periods[stage.config.family], strict=True)
        ]
        return RouteResult(5.0, tuple(runs), 9)


def report(period: float) -> SynthesisReport:
    return SynthesisReport(
        "route_kernel", "nextpnr-xilinx", "post-route", version="0.8.2", clock_estimate_ns=period
    )


def routed(source: BreakEven = WHOLE, **periods: float) -> BreakEven:
    router = Router(**{family: (period,) for family, period in periods.items()})
    return at_routed_clocks(source, CASE, BOARD, RouteSettings(), router)


def test_kernels_within_the_boards_clock_leave_the_break_even() -> None:
    after = routed(dense=9.9, sparse=8.0)
    assert after.ratio == pytest.approx(2.0)
    assert [p.speedup for p in after.curve] == [p.speedup for p in WHOLE.curve]
    assert (after.basis, after.tool, after.version) == ("post-route", "nextpnr-xilinx", "0.8.2")
    assert after.dense.period_ns == 10.0
    assert after.dense.clock_estimate_ns == 9.9
    assert after.notes[0] == "a note"
    assert "areas: post-synthesis, yosys Yosys 0.70; clocks: median of seeds 1" in after.notes[1]
    assert "dense 2 x 2: 9.90 ns, sparse 2 x 1: 8.00 ns" in after.notes[1]


@pytest.mark.parametrize(
    ("dense", "sparse", "pruned"),
    [
        # A sparse kernel 1.4 times as slow has to do with 714 cycles, between 800 and 400.
        (10.0, 14.0, 0.6 + 0.2 * (800 - 1000 / 1.4) / 400),
        # A dense kernel 1.1 times as slow leaves it 1,100.
        (11.0, 8.0, 0.45),
        (20.0, 12.5, 0.4),
    ],
)
def test_each_kernel_runs_at_its_own_period(dense: float, sparse: float, pruned: float) -> None:
    after = routed(dense=dense, sparse=sparse)
    assert after.pruned == pytest.approx(pruned, abs=1e-4)
    assert after.curve[-1].speedup == pytest.approx(2.5 * dense / max(sparse, 10.0))


def test_a_sparse_kernel_that_is_never_faster_has_no_break_even() -> None:
    assert routed(dense=10.0, sparse=26.0).ratio is None


def test_portions_at_which_nothing_fits_stay_so() -> None:
    after = routed(record(point(0.5, None), point(0.6, 800)), dense=10.0, sparse=10.0)
    assert after.curve[0] == point(0.5, None)
    assert after.ratio == pytest.approx(2.5)


def test_every_shape_is_routed_once_with_its_memories_and_every_seed() -> None:
    deeper = replace(SPARSE, index_bits=3)
    other = CurvePoint(0.9, kernel(replace(SPARSE, tile_rows=4), 200), 5.0)
    curve = (point(0.5, 1000), replace(point(0.6, 800), sparse=kernel(deeper, 800)), other)
    router = Router(dense=(9.0, 12.0, 11.0), sparse=(14.0, 9.0, 13.0))
    after = at_routed_clocks(record(*curve), CASE, BOARD, RouteSettings((1, 2, 3)), router)
    shapes = [(s.config.family, s.tile_rows, s.groups) for s in router.stages]
    assert shapes == [("dense", 2, 2), ("sparse", 2, 1), ("sparse", 4, 1)]
    assert {stage.entry_capacity for stage in router.stages} == {256}
    assert after.dense.clock_estimate_ns == 11.0
    assert after.curve[1].sparse is not None
    assert after.curve[1].sparse.period_ns == 13.0


def test_another_layers_record_is_refused() -> None:
    with pytest.raises(PyadmmError, match=r"not a record of lenet5\.conv1"):
        at_routed_clocks(WHOLE, layer_case("lenet5.conv1"), BOARD, RouteSettings(), Router())
    with pytest.raises(PyadmmError, match="on kv260"):
        at_routed_clocks(WHOLE, CASE, load_board("kv260"), RouteSettings(), Router())


def test_balanced_kernels_are_refused() -> None:
    balanced = replace(WHOLE, family="balanced")
    with pytest.raises(PyadmmError, match="only sparse and dense kernels are routed"):
        at_routed_clocks(balanced, CASE, BOARD, RouteSettings(), Router())


def test_streamed_layers_are_routed_as_one_convolution_group() -> None:
    case = layer_case("alexnet.conv4")
    parameters = kernel_parameters(kernel_stage(case, KernelConfig("dense", 1, 14), 3456))
    assert parameters["IN_CHANNELS"] == 192
    assert parameters["OUT_CHANNELS"] == 28
    assert parameters["CONV_GROUPS"] == 1
    assert parameters["SPARSE"] == 0
    sparse = kernel_parameters(kernel_stage(case, KernelConfig("sparse", 13, 1, 1), 2048))
    assert (sparse["ACC_MUX"], sparse["INDEX_BITS"], sparse["SLOT_CAPACITY"]) == (1, 1, 2)


def test_the_command_gives_records_of_basis_post_route(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = record(*(point(p / 10, 200 * (10 - p)) for p in range(1, 10)))

    def measured(cases: list[LayerCase], *_: object, **__: object) -> object:
        return Measurements((whole,), ("package",))

    def at_clocks(
        given: BreakEven, case: LayerCase, board: Board, settings: RouteSettings
    ) -> BreakEven:
        assert (case.label, board.name, settings.seeds) == ("lenet5.conv2", "pynq-z2", (1, 2))
        return at_routed_clocks(given, case, board, settings, Router(dense=(9, 9), sparse=(14, 14)))

    monkeypatch.setattr(command_line, "measurements", measured)
    monkeypatch.setattr(command_line, "at_routed_clocks", at_clocks)
    arguments = ["--layer", "lenet5.conv2", "--out", str(tmp_path)]
    assert command_line.main([*arguments, "--basis", "post-route", "--seeds", "2"]) == 0
    shown = capsys.readouterr().out
    assert "break-even 2.00x (post-synthesis" in shown
    assert "break-even 2.80x (post-route" in shown
    assert '"basis": "post-route"' in (tmp_path / "breakeven.json").read_text()
