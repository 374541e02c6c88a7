"""Break-even: patterns, area limit, crossing and files, with recorded and synthetic areas."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from experiments import breakeven_families
from experiments.breakeven_families import (
    Comparison,
    WithinArea,
    candidates,
    measured_like,
    row_of,
)
from pyadmm.breakeven import (
    BreakEven,
    LayerCase,
    Measured,
    Measurements,
    RecordedReports,
    break_even,
    from_json,
    layer_case,
    model_cases,
    to_json,
    write_outputs,
)
from pyadmm.breakeven.kernels import kernel_stage
from pyadmm.breakeven.measure import kernel_sources, rounded_capacity
from pyadmm.breakeven.outputs import markdown
from pyadmm.cli import breakeven as command_line
from pyadmm.cli.breakeven import main
from pyadmm.core.errors import PyadmmError
from pyadmm.eda.reports import ResourceUse, SynthesisReport
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.cost import kernel_resources
from pyadmm.hardware.plan import KernelConfig, StagePlan
from pyadmm.model.types import LayerSpec, Resources

BOARD = load_board("pynq-z2")
CASE = LayerCase("", LayerSpec("c", "conv", (8, 4, 3, 3), (4, 8, 8)), 3, 4, resident=True)


def by_lanes(overhead: float, dense_lut: int = 10) -> object:
    """10 LUTs a sparse lane, ``dense_lut`` a dense one, ``overhead`` more a sparse group."""

    def measure(stages: Sequence[StagePlan], board: Board) -> list[Measured]:
        def one(stage: StagePlan) -> Measured:
            sparse = stage.config.family == "sparse"
            lut = (10 if sparse else dense_lut) * stage.lanes * stage.groups
            if sparse:
                lut += overhead * stage.groups
            return Measured(Resources(lut=lut, ff=lut), 8.0, "post-synthesis", "test", "1")

        return [one(stage) for stage in stages]

    return measure


@pytest.mark.parametrize("family", ["balanced", "shared"])
def test_balanced_kernels_take_their_patterns_steps(family: str) -> None:
    """With the lanes of the dense kernel a balanced one is as much faster as weights are pruned."""
    result = break_even(CASE, BOARD, by_lanes(0), family=family)  # type: ignore[arg-type]
    assert result.family == family
    assert result.ratio is not None
    assert result.ratio < 1.2
    assert "window-balanced" in result.notes[0]
    for point in result.curve:
        assert point.sparse is not None
        config = point.sparse.config
        assert config.family == "balanced"
        assert (config.window == 1) == (family == "shared")
        slots = -(-8 // config.groups)
        tiles = -(-6 // config.tile_rows)
        weights = round((1 - point.pruned) * 36)
        assert weights <= point.sparse.cycles / (slots * tiles) <= 1.2 * weights + 2
    assert from_json(to_json((result,))) == (result,)


def test_short_memories_that_exceed_the_luts_become_block_ram() -> None:
    """Eight groups of one row; memories of few words cost LUTs, deeper ones a block each."""
    configs = [KernelConfig("dense", 1, 4), KernelConfig("balanced", 1, 4, 2, window=1)]

    def measure(stages: Sequence[StagePlan], board: Board) -> list[Measured]:
        def one(stage: StagePlan) -> Measured:
            short = stage.config.family == "balanced" and stage.entry_capacity < 512
            lut = stage.groups * (stage.lanes + 10 * short)
            blocks = 0 if short else stage.groups + 1
            return Measured(Resources(lut=lut, bram18=blocks), 8.0, "post-synthesis", "test", "1")

        return [one(stage) for stage in stages]

    result = break_even(CASE, BOARD, measure, configs=configs, family="shared")
    assert result.ratio is not None
    assert all(p.sparse is not None and p.sparse.entry_capacity == 512 for p in result.curve)


def test_kernels_near_the_area_are_tried() -> None:
    kernels = candidates(CASE, KernelConfig("dense", 1, 3), "shared")
    assert kernels[0].family == "dense"
    luts = [kernel_resources(kernel_stage(CASE, kernel, 1)).lut for kernel in kernels]
    assert all(0.5 * luts[0] <= other <= 1.05 * luts[0] for other in luts[1:])
    assert (1, 3) in {(kernel.tile_rows, kernel.groups) for kernel in kernels[1:]}


def test_memories_become_deeper_where_that_fits_the_area() -> None:
    """LUT RAM below 1024 entries, block RAM from there on; only kernels over the limit change."""

    def measure(stages: Sequence[StagePlan], board: Board) -> list[Measured]:
        def one(stage: StagePlan) -> Measured:
            deep = stage.entry_capacity >= 1024
            area = Resources(lut=100 if deep else stage.entry_capacity, bram18=2 if deep else 0)
            return Measured(area, 8.0, "post-synthesis", "test", "1")

        return [one(stage) for stage in stages]

    def luts(limit: Resources, family: str) -> list[float]:
        config = KernelConfig(family, 1, 2, 2)  # type: ignore[arg-type]
        stages = [kernel_stage(CASE, config, entries) for entries in (96, 512)]
        return [found.resources.lut for found in WithinArea(measure, limit)(stages, BOARD)]

    assert luts(Resources(lut=200, bram18=2), "balanced") == [96, 100]
    assert luts(Resources(lut=200, bram18=1), "balanced") == [96, 512]
    assert luts(Resources(lut=200, bram18=2), "dense") == [96, 512]


def test_kernels_are_compared_with_the_dense_one_that_is_named() -> None:
    def compared(family: str, *kernels: str, case: LayerCase = CASE) -> BreakEven:
        what = Comparison(BOARD.name, case.label, family, "1x3", kernels)  # type: ignore[arg-type]
        return measured_like(case, BOARD, what, by_lanes(0))  # type: ignore[arg-type]

    record = compared("shared")
    assert (record.dense.config.tile_rows, record.dense.config.groups) == (1, 3)
    row = row_of(record)
    assert (row["dense_groups"], row["family"], row["layer"]) == (3, "shared", "c")
    assert row["curve"].split()[-1] == f"0.9:{record.speedup_at(0.9):.3f}"
    groups = {p.sparse.config.groups for p in compared("shared", "1x2x1").curve if p.sparse}
    assert groups == {2}
    sparse = [p.sparse for p in compared("sparse", "1x2x1").curve if p.sparse]
    assert {(p.config.family, p.config.index_bits) for p in sparse} == {("sparse", 1)}
    wide = replace(CASE, spec=LayerSpec("c", "conv", (8, 4, 3, 3), (4, 9, 9), stride=2))
    with pytest.raises(PyadmmError, match="c: windows of several places need stride 1"):
        compared("balanced", case=wide)


def test_every_portion_has_the_fastest_of_the_named_kernels() -> None:
    def compared(*kernels: str) -> BreakEven:
        what = Comparison(BOARD.name, "c", "shared", "1x3", kernels)
        return measured_like(CASE, BOARD, what, by_lanes(0))  # type: ignore[arg-type]

    slow, fast, both = compared("1x2x1"), compared("1x3x1"), compared("1x2x1", "1x3x1")
    assert both.ratio == min(slow.ratio or 9, fast.ratio or 9)
    for portion in (0.5, 0.9):
        assert both.speedup_at(portion) == fast.speedup_at(portion)
        assert (fast.speedup_at(portion) or 0) > (slow.speedup_at(portion) or 0)
    speedups = [point.speedup or 0 for point in both.curve]
    assert speedups == sorted(speedups)


def test_the_table_of_kernels_is_measured_line_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(breakeven_families, "OpenFlow", lambda jobs: by_lanes(0))
    monkeypatch.setattr(breakeven_families, "layer_case", lambda label: CASE)
    kernels, out = tmp_path / "kernels.csv", tmp_path / "out.csv"
    arguments = ["--kernels", str(kernels), "--out", str(out)]
    head = "board,layer,family,dense,kernels\n"
    kernels.write_text(f"{head}pynq-z2,c,shared,1x3,1x3x1\nkv260,c,sparse,1x3,1x2x1\n")
    assert breakeven_families.main([*arguments, "--board", "pynq-z2"]) == 0
    assert [row["board"] for row in breakeven_families.rows_of(out)] == ["pynq-z2"]
    capsys.readouterr()
    assert breakeven_families.main(arguments) == 0
    assert capsys.readouterr().out.split()[0] == "kv260"
    assert [row["family"] for row in breakeven_families.rows_of(out)] == ["sparse", "shared"]
    assert breakeven_families.main([*arguments, "--layer", "d"]) == 2
    kernels.write_text(f"{head}pynq-z2,c,round,1x3,\n")
    assert breakeven_families.main(arguments) == 2
    assert "unknown family 'round'" in capsys.readouterr().err


def test_every_line_of_the_table_of_kernels_can_be_built() -> None:
    lines = breakeven_families.comparisons(breakeven_families.KERNELS)
    assert len({line.key for line in lines}) == len(lines)
    for line in lines:
        load_board(line.board)
        case = layer_case(line.layer)
        for config in breakeven_families.named(case, line.family, line.kernels):
            assert kernel_stage(case, config, 1).groups == config.groups


def test_strides_have_windows_of_one_place() -> None:
    case = replace(CASE, spec=LayerSpec("c", "conv", (8, 4, 3, 3), (4, 9, 9), stride=2))
    balanced = break_even(case, BOARD, by_lanes(0), family="balanced")  # type: ignore[arg-type]
    assert balanced.ratio is None
    shared = break_even(case, BOARD, by_lanes(0), family="shared")  # type: ignore[arg-type]
    assert shared.ratio is not None


def run(overhead: float) -> BreakEven:
    return break_even(CASE, BOARD, by_lanes(overhead))  # type: ignore[arg-type]


def test_patterns_have_the_exact_density_and_nest() -> None:
    previous = None
    for pruned in (0.9, 0.5, 0.25, 0.0):
        layer = CASE.pruned_layer(pruned)
        assert layer.nnz == round((1 - pruned) * CASE.spec.weights)
        if previous is not None:
            assert np.all(layer.codes[previous.codes != 0] == previous.codes[previous.codes != 0])
        previous = layer
    with pytest.raises(PyadmmError, match="pruned portion"):
        CASE.pruned_layer(1.0)


def test_without_overhead_sparse_wins_early() -> None:
    result = run(overhead=0)
    assert result.ratio is not None
    assert result.ratio < 1.6
    assert result.basis == "post-synthesis"


def test_every_sparse_point_fits_the_dense_area() -> None:
    result = run(overhead=30)
    assert result.ratio is not None
    for point in result.curve:
        assert point.sparse is not None
        assert point.sparse.resources.fits(result.dense.resources)
        assert point.speedup == pytest.approx(result.dense.time_us / point.sparse.time_us)
    assert run(overhead=0).speedup_at(0.9) >= result.speedup_at(0.9)  # type: ignore[operator]


def test_where_nothing_fits_the_reason_is_said() -> None:
    result = run(overhead=1e6)
    assert result.ratio is None
    assert all(point.speedup is None and point.reason for point in result.curve)
    assert f"* c on pynq-z2: {result.curve[-1].reason}" in markdown((result,))
    small = break_even(CASE, BOARD, by_lanes(0, dense_lut=1))  # type: ignore[arg-type]
    assert small.curve[0].sparse is not None
    assert small.curve[0].sparse.resources.fits(small.dense.resources)
    tight = break_even(CASE, BOARD, by_lanes(0, dense_lut=0))  # type: ignore[arg-type]
    assert "fits the dense kernel's area; closest: lut: needs" in tight.curve[0].reason


def test_a_kernel_that_fits_is_found_however_wrong_the_guess_is() -> None:
    spec = LayerSpec("f", "linear", (1024, 256), (256, 1, 1))
    case = LayerCase("", spec, 3, 8, resident=False)
    sparse_groups = []

    def measure(stages: Sequence[StagePlan], board: Board) -> list[Measured]:
        """A group of the sparse kernel needs the flip-flops of ten of the dense one."""
        areas = []
        for stage in stages:
            sparse = stage.config.family == "sparse"
            sparse_groups.extend([stage.groups] if sparse else [])
            need = Resources(lut=100, ff=1000 if sparse else 100, bram18=4)
            areas.append(need.scaled(stage.groups))
        return [Measured(area, 8.0, "post-synthesis", "test", "1") for area in areas]

    result = break_even(case, BOARD, measure)
    fitting = result.curve[-1].sparse
    assert fitting is not None
    assert fitting.config.groups == result.dense.config.groups // 10
    assert len(set(sparse_groups)) < 40


def report(lut: float, clock_ns: float = 8.0, dsp: float | None = 0) -> SynthesisReport:
    return SynthesisReport(
        "k", "Vitis HLS", "csynth", "2024.2", clock_estimate_ns=clock_ns,
        resources=ResourceUse(lut=lut, ff=lut, dsp=dsp, bram18=2, uram=0),
    )  # fmt: skip


CONFIGS = (KernelConfig("dense", 2, 4), KernelConfig("sparse", 2, 3, 2))
DENSE, SPARSE = ("dense", 2, 4), ("sparse", 2, 3)


def test_vendor_reports_feed_the_same_calculator() -> None:
    measure = RecordedReports({DENSE: report(900), SPARSE: report(800)})
    result = break_even(CASE, BOARD, measure, configs=CONFIGS)
    assert (result.basis, result.tool, result.version) == ("csynth", "Vitis HLS", "2024.2")
    # 3 of 4 groups: sparse must prune a quarter, and a little for what does not balance.
    assert result.ratio is not None
    assert 1.3 < result.ratio < 1.6


def test_a_slower_clock_raises_the_break_even() -> None:
    fast = RecordedReports({DENSE: report(900), SPARSE: report(800)})
    slow = RecordedReports({DENSE: report(900), SPARSE: report(800, clock_ns=15.0)})
    quick, late = (break_even(CASE, BOARD, m, configs=CONFIGS).ratio for m in (fast, slow))
    assert quick is not None
    assert late is not None
    assert late == pytest.approx(1.5 * quick, rel=0.1)


def test_an_unknown_figure_is_no_zero() -> None:
    measure = RecordedReports({DENSE: report(900, dsp=None), SPARSE: report(800)})
    with pytest.raises(PyadmmError, match="has no dsp"):
        break_even(CASE, BOARD, measure, configs=CONFIGS)
    with pytest.raises(PyadmmError, match="no report for the dense kernel"):
        break_even(CASE, BOARD, RecordedReports({}), configs=CONFIGS)


def test_records_round_trip_and_files_say_their_source(tmp_path: Path) -> None:
    results = (run(overhead=30),)
    assert from_json(to_json(results)) == results
    paths = {path.name: path for path in write_outputs(results, tmp_path)}
    rows = list(csv.DictReader(io.StringIO(paths["breakeven.csv"].read_text())))
    assert rows[0]["basis"] == "post-synthesis"
    assert float(rows[0]["break_even_ratio"]) == pytest.approx(results[0].ratio)
    table = paths["breakeven.md"].read_text()
    assert table.startswith("Sparse over dense; post-synthesis, test 1.")
    assert f"| c | pynq-z2 | {results[0].ratio:.2f}× | {results[0].speedup_at(0.5):.2f} |" in table
    curves = list(csv.DictReader(io.StringIO(paths["breakeven_curves.csv"].read_text())))
    assert len(curves) == len(results[0].curve)
    book = openpyxl.load_workbook(paths["breakeven.xlsx"])
    assert book.sheetnames == ["Break-even", "Break-even curves"]
    assert book["Break-even"]["F2"].value == "post-synthesis"
    assert paths["breakeven.png"].read_bytes().startswith(b"\x89PNG")
    assert "<svg" in paths["breakeven.svg"].read_text()
    for text in ("", "{}", "[{}]", "[1]"):
        with pytest.raises(PyadmmError, match="break-even"):
            from_json(text)


def test_reference_layers_have_the_papers_sizes() -> None:
    assert sum(case.spec.weights for case in model_cases("lenet5")) == 430_500
    macs = {case.spec.name: case.spec.macs for case in model_cases("alexnet")}
    # The paper counts multiplications and additions: 211, 448, 299, 224 and 150 million.
    assert [round(2 * macs[f"conv{i}"] / 1e6) for i in range(1, 6)] == [211, 448, 299, 224, 150]
    assert layer_case("alexnet.conv4").spec.weight_shape == (384, 192, 3, 3)


def test_kernel_sources_are_what_a_module_needs() -> None:
    names = {path.stem for path in kernel_sources("sparse_engine")}
    assert {"sparse_engine", "mac_lane", "ram_sdp", "window_fetch"} <= names
    assert "dense_engine" not in names
    with pytest.raises(PyadmmError, match="no module"):
        kernel_sources("nothing")
    assert rounded_capacity(300) == 512


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = ["--out", str(tmp_path)]
    assert main(["--board", "pynq-z9", "--layer", "lenet5.fc2", *out]) == 2
    assert "unknown; choose one of" in capsys.readouterr().err
    assert main(["--board", "pynq-z2", "--layer", "lenet5.conv9", *out]) == 2
    assert "lenet5.conv1" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_printed_table_breaks_no_row(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(40)
    found = Measurements((result,), ("measured",))
    monkeypatch.setattr(command_line, "measurements", lambda *_, **__: found)
    assert main(["--board", "pynq-z2", "--layer", "alexnet.conv4", "--out", str(tmp_path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    row = next(cells for cells in rows if cells[:3] == ["c", "pynq-z2", "resident"])
    limit = result.dense.resources
    assert row[3] == f"{result.ratio:.2f}x"
    assert row[-4:] == [f"{result.dense.cycles:,}", f"{limit.lut:,.0f}", f"{limit.ff:,.0f}", "0"]


def test_what_does_not_fit_is_in_the_table_with_its_reason(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = ["--out", str(tmp_path)]
    assert main(["--board", "zybo-z7-10", "--layer", "alexnet.conv1", *out]) == 1
    printed = capsys.readouterr().out
    assert "alexnet.conv1" in printed
    assert "no result" in printed
    (row,) = csv.DictReader(io.StringIO((tmp_path / "breakeven.csv").read_text()))
    assert (row["layer"], row["board"]) == ("alexnet.conv1", "zybo-z7-10")
    assert row["break_even_ratio"] == ""
    assert "| alexnet.conv1 | zybo-z7-10 | no result |" in (tmp_path / "breakeven.md").read_text()
    for said in (printed, row["reason"]):
        assert "bram18: needs 205, limit 96 (modelled)" in " ".join(said.split())
