"""Yosys runs: counting by cell type, cache, and every way to fail."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import pytest

from pyadmm.core.errors import PyadmmError, ToolError
from pyadmm.eda import yosys
from pyadmm.eda.reports import SynthesisReport
from pyadmm.eda.yosys import Design, count_resources, synthesise, synthesise_all
from pyadmm.hardware.boards import load_board

pytestmark = pytest.mark.slow

needs_pyosys = pytest.mark.skipif(
    importlib.util.find_spec("pyosys") is None,
    reason="SKIPPED, NOT PASSED: pyosys is not installed (pip install 'pyadmm[rtl]')",
)
SOURCE = """
module mac #(parameter int W = 8) (
  input logic clk, input logic en, input logic signed [W-1:0] x, w,
  input logic [9:0] wa, ra, input logic [17:0] wd, output logic [17:0] rd,
  output logic signed [23:0] acc);
  logic [17:0] memory [1024];
  always_ff @(posedge clk) begin
    if (en) memory[wa] <= wd;
    rd <= memory[ra];
    acc <= acc + x * w;
  end
endmodule
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "mac.sv"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def test_resources_are_counted_by_cell_type() -> None:
    cells = {"LUT1": 1, "LUT6": 2, "SRL16E": 1, "RAM32M": 1, "RAM128X1D": 1, "FDSE": 3, "INV": 1}
    use = count_resources({**cells, "RAMB18E1": 1, "RAMB36E1": 2, "MUXF7": 9, "DSP48E1": 4})
    assert (use.lut, use.ff, use.dsp, use.bram18, use.uram) == (13, 3, 4, 5, 0)


def test_an_unknown_cell_is_no_silent_zero() -> None:
    with pytest.raises(ToolError, match=r"cannot count cells of type \$_AND_"):
        count_resources({"LUT6": 1, "$_AND_": 1})


@needs_pyosys
def test_a_design_is_synthesised_once_and_then_cached(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = Design.for_board(load_board("pynq-z2"), "mac", [source], {"W": 8})
    report = synthesise(design)
    assert report.resources.dsp == 1
    assert report.resources.bram18 == 1
    assert report.stage == "post-synthesis"
    assert report.part == "xc7z020clg400-1"
    assert report.clock_target_ns == 10.0
    assert report.clock_estimate_ns is not None
    assert 1 < report.clock_estimate_ns < 10
    assert report.clock_method is not None
    assert report.clock_method.startswith("estimate")
    assert report.version is not None
    assert report.version.startswith("Yosys 0.")

    def no_child(*_: object, **__: object) -> None:
        raise AssertionError("the cache was not used")

    monkeypatch.setattr(yosys, "run_tool", no_child)
    assert synthesise(design) == report
    source.write_text(SOURCE + "// changed", encoding="utf-8")
    with pytest.raises(AssertionError, match="cache was not used"):
        synthesise(design)


@needs_pyosys
def test_without_dsp_on_ultrascale_plus(source: Path) -> None:
    designs = [Design("mac", (source,), {}, family="xcup", use_dsp=dsp) for dsp in (True, False)]
    with_dsp, without = synthesise_all(designs, jobs=2)
    assert (with_dsp.resources.dsp, without.resources.dsp) == (1, 0)
    assert without.resources.lut is not None
    assert with_dsp.resources.lut is not None
    assert without.resources.lut > with_dsp.resources.lut
    assert without.resources.bram18 == 1


def _counts(report: SynthesisReport) -> tuple[object, ...]:
    return report.resources, report.clock_estimate_ns, report.notes


@needs_pyosys
def test_a_batch_gives_what_single_runs_give(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    designs = [Design("mac", (source,), {"W": width}) for width in (2, 5, 5, 8, 18)]
    together = synthesise_all(designs, jobs=1)
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path / "another"))
    alone = [synthesise(design) for design in designs]
    assert [_counts(report) for report in together] == [_counts(report) for report in alone]
    assert together[0].resources != together[3].resources


@needs_pyosys
def test_a_design_that_fails_is_named_and_costs_no_other(source: Path, tmp_path: Path) -> None:
    good = Design("mac", (source,), {"W": 8})
    broken = Design("mac", (source,), {"NO_SUCH": 1})
    with pytest.raises(ToolError, match=r"NO_SUCH(.|\n)*while synthesising mac"):
        synthesise_all([good, broken], jobs=1)
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 1


@needs_pyosys
def test_failures_show_the_log_and_leave_no_cache(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"longer than 0\.05 s"):
        synthesise(Design("mac", (source,), {}), timeout_s=0.05)
    with pytest.raises(ToolError, match=r"failed with status(.|\n)*within 0\.1 GiB"):
        synthesise(Design("mac", (source,), {}), memory_gib=0.1)
    source.write_text("module mac(input logic clk); garbage endmodule", encoding="utf-8")
    with pytest.raises(ToolError, match=r"ERROR(.|\n)*while synthesising mac"):
        synthesise(Design("mac", (source,), {}))
    assert not list((tmp_path / "cache").rglob("*.json"))


needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None,
    reason="SKIPPED, NOT PASSED: distributed is not installed (pip install 'pyadmm[dask]')",
)


@needs_dask
@needs_pyosys
def test_a_dask_cluster_gives_what_this_machine_gives(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = importlib.import_module("distributed")
    designs = [Design("mac", (source,), {"W": width}) for width in (4, 8)]
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
    ) as cluster:
        there = synthesise_all(designs, dask_address=cluster.scheduler_address)
        assert len(list((tmp_path / "cache").rglob("*.json"))) == 2
        broken = Design("mac", (source,), {"NO_SUCH": 1})
        with pytest.raises(ToolError, match=r"NO_SUCH(.|\n)*while synthesising mac"):
            synthesise_all([broken], dask_address=cluster.scheduler_address)
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path / "another"))
    assert [_counts(r) for r in there] == [_counts(r) for r in synthesise_all(designs, jobs=1)]


@needs_dask
@needs_pyosys
def test_a_cluster_without_workers_is_said(source: Path) -> None:
    distributed = importlib.import_module("distributed")
    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, protocol="tcp", dashboard_address=None
        ) as cluster,
        pytest.raises(ToolError, match="gave no result"),
    ):
        synthesise_all(
            [Design("mac", (source,), {})],
            dask_address=cluster.scheduler_address,
            dask_timeout_s=0.5,
        )


@needs_dask
@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("bogus://x", "is tcp://HOST:PORT, not 'bogus://x'"),
        ("", "is tcp://HOST:PORT"),
        ("tcp://127.0.0.1:99999", "is tcp://HOST:PORT"),
        ("tcp://127.0.0.1:1", "no scheduler at tcp://127.0.0.1:1: .*refused"),
    ],
)
def test_a_dask_address_that_is_none_is_said(source: Path, address: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        synthesise_all([Design("mac", (source,), {})], dask_address=address)


def test_a_missing_package_is_said(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> str:
        raise yosys.importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(yosys.importlib.metadata, "version", missing)
    with pytest.raises(ToolError, match="pyosys is not installed"):
        synthesise(Design("mac", (source,), {}))


@pytest.mark.parametrize(
    ("top", "parameters", "message"),
    [
        ("mac; exec", {}, "no module name"),
        ("mac", {"W": "8; exec rm"}, "must be an integer"),
        ("mac", {"W x": 8}, "must be an integer"),
    ],
)
def test_nothing_reaches_the_script_unchecked(
    source: Path, top: str, parameters: dict[str, int | str], message: str
) -> None:
    with pytest.raises(PyadmmError, match=message):
        Design(top, (source,), parameters)


def test_missing_sources_and_families_are_named(tmp_path: Path, source: Path) -> None:
    with pytest.raises(PyadmmError, match=r"nothing\.sv is missing"):
        Design("mac", (tmp_path / "nothing.sv",), {})
    with pytest.raises(PyadmmError, match="family must be one of"):
        Design("mac", (source,), {}, family="ecp5")  # type: ignore[arg-type]
