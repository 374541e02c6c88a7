"""Report parsers: on reports written for these tests, on real ones, and on bad input."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from pyadmm.cli.vendor_reports import main
from pyadmm.eda.parsers import (
    CosimReport,
    PowerReport,
    Report,
    ReportError,
    TimingReport,
    implementation,
    parse_report,
    parse_text,
)
from pyadmm.eda.reports import CycleRange, ResourceUse, SynthesisReport, TimeRange

HERE = Path(__file__).parent / "reports"
FIXTURES = sorted(HERE.iterdir())
REAL = Path(os.environ.get("PYADMM_REPORTS", Path(__file__).parents[3] / "shared" / "reports"))


def synthesis(name: str) -> SynthesisReport:
    report = parse_report(HERE / name)
    assert isinstance(report, SynthesisReport)
    return report


def test_vivado_hls_xml_with_nested_loops_ranges_and_a_loop_called_latency() -> None:
    report = synthesis("vivado_hls_2018.2_xczu7ev_csynth.xml")
    assert (report.tool, report.version, report.stage) == ("Vivado HLS", "2018.2", "csynth")
    assert (report.design, report.part) == ("blur", "xczu7ev-ffvc1156-2-e")
    assert (report.clock_target_ns, report.clock_estimate_ns) == (4.0, 3.411)
    assert report.resources == ResourceUse(lut=1409, ff=812, dsp=7, bram18=5, uram=None)
    assert report.available == ResourceUse(lut=230400, ff=460800, dsp=1728, bram18=624)
    assert report.latency == CycleRange(1003, 64003, None)
    assert report.interval == CycleRange(1004, 64004)
    outer, inner, odd = report.loops
    assert [outer.name, inner.name, odd.name] == ["Loop7", "Loop7/Loop7.1", "Latency"]
    assert outer.trip_count == CycleRange(1, 64)
    assert outer.latency_time == TimeRange(4000.0, 256000.0)
    assert (outer.pipeline_ii, inner.pipeline_ii, inner.pipeline_depth) == (None, 1, 4)
    assert odd.latency == CycleRange(None, None)
    assert odd.iteration_latency == CycleRange(3, 3)


def test_vitis_hls_xml_with_modules_and_open_ranges() -> None:
    report = synthesis("vitis_hls_2023.2_xck26_csynth.xml")
    assert (report.tool, report.version) == ("Vitis HLS", "2023.2")
    assert report.resources == ResourceUse(lut=2040, ff=1777, dsp=12, bram18=21, uram=3)
    assert report.latency == CycleRange(35, 2483040298, 400)
    assert report.latency_time == TimeRange(175.0, pytest.approx(12.415e9))
    assert report.interval == CycleRange(None, None)
    (module,) = report.modules
    assert module.interval == CycleRange(16, 2483040296)
    assert module.clock_estimate_ns == 0.0
    assert module.resources == ResourceUse(lut=305, ff=112, dsp=4, bram18=2, uram=0)
    (loop,) = module.loops
    assert loop.name == "VITIS_LOOP_88_5"
    assert loop.trip_count == CycleRange(0, None)
    assert loop.latency == CycleRange(16, 2483040296)
    assert loop.latency_time == TimeRange(80.0, pytest.approx(12.415e9))
    assert (loop.pipeline_ii, loop.pipeline_depth, loop.depth) == (1, None, CycleRange(8, 42))


def test_dsp48e_tells_vivado_hls_from_vitis_hls_where_the_version_does_not() -> None:
    text = (HERE / "vivado_hls_2018.2_xczu7ev_csynth.xml").read_text()
    both = text.replace("2018.2", "2020.1")
    old, new = parse_text("a.xml", both), parse_text("b.xml", both.replace("DSP48E", "DSP"))
    assert isinstance(old, SynthesisReport)
    assert isinstance(new, SynthesisReport)
    assert (old.tool, new.tool) == ("Vivado HLS", "Vitis HLS")
    assert old.resources == new.resources


def test_module_rpt() -> None:
    report = synthesis("vivado_hls_2018.3_xc7a200t_csynth.rpt")
    assert (report.tool, report.version, report.part) == (
        "Vivado HLS",
        "2018.3",
        "xc7a200tfbg676-2",
    )
    assert (report.clock_target_ns, report.clock_estimate_ns) == (10.0, 8.75)
    assert report.latency == CycleRange(203, 12803)
    assert report.interval == CycleRange(203, 12803)
    assert report.resources == ResourceUse(lut=71, ff=140, dsp=2, bram18=4, uram=None)
    assert report.available == ResourceUse(lut=129000, ff=269200, dsp=740, bram18=730)
    names = [loop.name for loop in report.loops]
    assert names == ["rows", "rows/columns", "rows/columns/Loop 1.1", "rows/tail"]
    rows, columns, inner, _ = report.loops
    assert rows.trip_count == CycleRange(1, 64)
    assert (columns.pipeline_ii, columns.target_ii, columns.pipeline_depth) == (2, 1, 4)
    assert inner.latency == CycleRange(None, None)


def test_summary_rpt_is_a_tree() -> None:
    report = synthesis("vitis_hls_2022.2_xc7z020_csynth_summary.rpt")
    assert (report.design, report.version) == ("sum", "2022.2")
    assert report.resources == ResourceUse(lut=5571, ff=1999, dsp=8, bram18=14, uram=None)
    assert (report.latency, report.interval) == (CycleRange(160, 160), CycleRange(91, 91))
    assert report.latency_time == TimeRange(1600.0, 1600.0)
    assert report.pipeline == "dataflow"
    assert [module.name for module in report.modules] == ["part_a", "part_b"]
    assert [loop.name for loop in report.loops] == [
        "part_a/outer",
        "part_a/outer/VITIS_LOOP_88_5",
    ]
    assert report.loops[1].pipeline_ii == 8
    assert report.loops[1].trip_count == CycleRange(12, 12)


def test_summary_rpt_of_2025_1_with_one_head_over_both_latencies() -> None:
    new = synthesis("vitis_2025.1_xc7z020_csynth_summary.rpt")
    old = synthesis("vitis_hls_2022.2_xc7z020_csynth_summary.rpt")
    assert new.version == "2025.1"
    assert replace(new, version=old.version) == old
    assert (new.latency.exact, new.interval.exact) == (160, 91)


def test_the_columns_of_a_module_rpt_are_found_by_their_heads() -> None:
    """Interval before latency, and one more column: no figure may change its meaning."""
    text = (HERE / "vivado_hls_2018.3_xc7a200t_csynth.rpt").read_text()
    start = text.index("    +------+-------+------+")
    stop = text.index("    + Detail:")
    moved = """    +-----+------+-------+------+-------+---------+
    |     |   Interval   |    Latency   | Pipeline|
    | II  |  min |  max  |  min |  max  |   Type  |
    +-----+------+-------+------+-------+---------+
    |  9  |   204|  12804|   203|  12803|   none  |
    +-----+------+-------+------+-------+---------+

"""
    report = parse_text("moved.rpt", text[:start] + moved + text[stop:])
    assert isinstance(report, SynthesisReport)
    assert report.latency == CycleRange(203, 12803)
    assert report.interval == CycleRange(204, 12804)
    assert report.pipeline == "none"


def test_an_implementation_report_of_vitis_hls_says_what_was_routed() -> None:
    report = synthesis("vitis_hls_2025.1_xc7z020_export_impl.rpt")
    assert (report.stage, report.version, report.design) == ("post-route", "2025.1", "blur")
    assert report.part == "xc7z020-clg400-1"
    assert report.resources == ResourceUse(lut=1203, ff=1650, dsp=9, bram18=5, uram=0)
    assert (report.clock_target_ns, report.clock_estimate_ns) == (5.0, 5.31)
    assert (report.slack_ns, report.timing_met) == (-0.31, False)


def test_an_export_report_of_vivado_hls_in_lines() -> None:
    report = synthesis("vivado_hls_2019.2_xc7z020_export.rpt")
    assert (report.stage, report.version, report.part) == (
        "post-route",
        "2019.2",
        "xc7z020clg400-1",
    )
    assert report.resources == ResourceUse(lut=640, ff=655, dsp=7, bram18=4)
    assert (report.clock_target_ns, report.clock_estimate_ns) == (10.0, 7.012)
    assert report.timing_met is True
    text = (HERE / "vivado_hls_2019.2_xc7z020_export.rpt").read_text()
    lines = [line for line in text.split("\n") if "post-implementation:" not in line]
    after_synthesis = parse_text("export_syn.rpt", "\n".join(lines))
    assert isinstance(after_synthesis, SynthesisReport)
    assert (after_synthesis.stage, after_synthesis.clock_estimate_ns) == ("post-synthesis", 6.338)


def test_the_verdict_line_and_pulse_widths_decide_whether_timing_is_met() -> None:
    text = (HERE / "vivado_2021.2_timing_violated.rpt").read_text()
    violated = parse_text("violated.rpt", text)
    assert isinstance(violated, TimingReport)
    assert violated.met is False
    positive = replace(violated, wns_ns=0.31, whs_ns=0.04, wpws_ns=0.5)
    assert replace(positive, verdict=True).met is True
    assert replace(positive, verdict=None).met is True
    assert replace(positive, verdict=False).met is False  # of a constraint without a slack
    assert replace(positive, verdict=None, wpws_ns=-0.245).met is False
    assert replace(positive, verdict=True, wpws_ns=-0.245).met is False


def test_cosim() -> None:
    report = parse_report(HERE / "vivado_hls_2018.2_cosim.rpt")
    assert isinstance(report, CosimReport)
    (run,) = report.runs
    assert (run.language, report.passed, run.total_cycles) == ("Verilog", True, None)
    assert run.latency == CycleRange(120, 150, 131)
    assert report.as_synthesis("top").interval == CycleRange(121, 151, 132)


def test_latency_and_interval_of_cosim_are_told_by_their_heads() -> None:
    text = (HERE / "vivado_hls_2018.2_cosim.rpt").read_text()
    usual = parse_text("usual.rpt", text)
    swapped = parse_text(
        "swapped.rpt",
        text.replace("Latency", "?").replace("Interval", "Latency ").replace("?", "Interval"),
    )
    assert isinstance(usual, CosimReport)
    assert isinstance(swapped, CosimReport)
    for one, other in zip(usual.runs, swapped.runs, strict=True):
        assert (one.latency, one.interval) == (other.interval, other.latency)
        assert one.latency != one.interval
    with pytest.raises(ReportError, match="no heads Latency and Interval"):
        parse_text("odd.rpt", text.replace("Latency", "Cycles "))


def test_failed_cosim_gives_no_latency() -> None:
    report = parse_report(HERE / "vitis_hls_2023.1_failed_cosim.rpt")
    assert isinstance(report, CosimReport)
    assert not report.passed
    assert report.runs[0].latency == CycleRange(None, None)
    assert report.as_synthesis("top").latency == CycleRange(None, None)


def test_utilization_of_a_7_series_part_counts_half_tiles() -> None:
    report = synthesis("vivado_2018.2_xc7z020_utilization_placed.rpt")
    assert (report.stage, report.version, report.part) == ("post-place", "2018.2", "7z020clg400-1")
    assert report.resources == ResourceUse(lut=12345, ff=15001, dsp=8, bram18=41, uram=None)
    assert report.available == ResourceUse(lut=53200, ff=106400, dsp=220, bram18=280)


def test_utilization_of_ultrascale_plus_ignores_other_tables() -> None:
    report = synthesis("vivado_2022.2_xck26_utilization_synth.rpt")
    assert report.stage == "post-synthesis"
    assert report.resources == ResourceUse(lut=5365, ff=6171, dsp=17, bram18=22, uram=2)
    assert report.available == ResourceUse(lut=117120, ff=234240, dsp=1248, bram18=288, uram=64)


def test_hierarchical_utilization() -> None:
    report = synthesis("vivado_2023.2_xcvu13p_utilization_routed.rpt")
    assert report.stage == "post-route"
    assert report.resources == ResourceUse(lut=40100, ff=51234, dsp=99, bram18=17, uram=4)
    names = [module.name for module in report.modules]
    assert names == ["top", "top/(top)", "top/engine", "top/engine/lanes"]
    assert report.modules[3].resources == ResourceUse(lut=30000, ff=40000, dsp=99, bram18=4, uram=0)
    assert report.modules[3].kind == "lanes"


def test_timing_summary_with_two_clocks_takes_the_critical_one() -> None:
    report = parse_report(HERE / "vivado_2021.2_timing_violated.rpt")
    assert isinstance(report, TimingReport)
    assert (report.wns_ns, report.tns_ns, report.whs_ns) == (-0.789, -19.162, 0.018)
    assert (report.failing_endpoints, report.total_endpoints, report.met) == (39, 43781, False)
    assert [(clock.name, clock.period_ns) for clock in report.clocks] == [
        ("clk_fpga_0", 10.0),
        ("clk_fast", 4.0),
    ]
    utilization = synthesis("vivado_2023.2_xcvu13p_utilization_routed.rpt")
    power = parse_report(HERE / "vivado_2020.2_power_routed.rpt")
    assert isinstance(power, PowerReport)
    whole = implementation(utilization, report, power)
    assert (whole.clock_target_ns, whole.clock_estimate_ns) == (4.0, 4.789)
    assert (whole.slack_ns, whole.power_w) == (-0.789, 1.742)


def test_timing_without_constraints_is_unknown_not_met() -> None:
    report = parse_report(HERE / "vivado_2018.2_timing_unconstrained.rpt")
    assert isinstance(report, TimingReport)
    assert report.wns_ns is None
    assert report.met is None
    utilization = synthesis("vivado_2023.2_xcvu13p_utilization_routed.rpt")
    assert implementation(utilization, report).clock_estimate_ns is None


def test_power() -> None:
    report = parse_report(HERE / "vivado_2020.2_power_routed.rpt")
    assert isinstance(report, PowerReport)
    assert (report.total_w, report.dynamic_w, report.static_w) == (1.742, 1.602, 0.14)
    assert (report.stage, report.junction_c, report.confidence) == ("post-route", 45.1, "Medium")


def attempt(name: str, text: str) -> Report | str:
    """The report, or the message of the one error that is allowed."""
    try:
        return parse_text(name, text)
    except ReportError as error:
        return str(error)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_a_cut_off_report_is_an_error_or_the_same_figures(path: Path) -> None:
    """At no cut may a figure differ from the whole report's; what is lost must be said."""
    text = path.read_text()
    whole = parse_text(path.name, text)
    cuts = random.Random(0).sample(range(len(text)), 200)
    results = {cut: attempt(path.name, text[:cut]) for cut in cuts}
    refused = {cut: result for cut, result in results.items() if isinstance(result, str)}
    wrong = [cut for cut in cuts if cut not in refused and results[cut] != whole]
    assert wrong == []
    assert all(f"report {path.name}: field " in message for message in refused.values())
    assert len(refused) > len(cuts) // 4


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_garbled_bytes_never_crash(path: Path) -> None:
    rng = random.Random(1)
    text = path.read_text()
    refused = 0
    for _ in range(100):
        letters = list(text)
        for _ in range(8):
            letters[rng.randrange(len(letters))] = rng.choice("<>&|+-~\n0a ")
        refused += isinstance(attempt(path.name, "".join(letters)), str)
    assert refused > 0


BOMB = """<?xml version="1.0"?><!DOCTYPE profile [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><profile>&b;</profile>"""


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (BOMB, "XML"),
        ("<a>" * 300, "XML"),
        ("<profile><UserAssignments/></profile>", "PerformanceEstimates"),
        ("<html><body/></html>", "profile"),
        ("| Tool Version : Vivado v.2020.1\nUtilization Design Information\n", "Design State"),
        ("hello", "kind"),
    ],
)
def test_foreign_and_hostile_files(text: str, field: str) -> None:
    with pytest.raises(ReportError, match=rf"report odd: field {field}"):
        parse_text("odd", text)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("<LUT>1409</LUT>", "<LUT>many</LUT>", "LUT"),
        ("<LUT>1409</LUT>", "<LUT>-4</LUT>", "LUT"),
        ("<LUT>1409</LUT>", "<LUT>1</LUT><LUT>2</LUT>", "LUT"),
        ("<min>1</min>", "<min>99</min>", "TripCount"),
        (">3.411<", ">fast<", "EstimatedClockPeriod"),
        (">blur<", "><", "TopModelName"),
    ],
)
def test_bad_figures_name_their_field(old: str, new: str, field: str) -> None:
    text = (HERE / "vivado_hls_2018.2_xczu7ev_csynth.xml").read_text()
    assert old in text
    with pytest.raises(ReportError, match=rf"field {field}"):
        parse_text("bad.xml", text.replace(old, new))


def test_a_missing_figure_is_unknown() -> None:
    text = (HERE / "vivado_hls_2018.2_xczu7ev_csynth.xml").read_text()
    report = parse_text("x.xml", text.replace("<LUT>1409</LUT>", "<LUT>undef</LUT>"))
    assert isinstance(report, SynthesisReport)
    assert report.resources.lut is None


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty.xml", tmp_path / "binary.rpt"
    empty.write_text("  \n")
    binary.write_bytes(b"ab\0cd")
    for path, word in ((empty, "empty"), (binary, "zero bytes"), (tmp_path / "no", "be read")):
        with pytest.raises(ReportError, match=word):
            parse_report(path)


def test_command_prints_json_and_fails_on_a_bad_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = HERE / "vitis_hls_2023.2_xck26_csynth.xml", tmp_path / "bad.xml"
    bad.write_text("<profile>")
    assert main(["--json", str(good)]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["report"]["resources"]["lut"] == 2040
    assert main([str(good), str(bad)]) == 2
    captured = capsys.readouterr()
    assert "2040 of 117120" in captured.out
    assert captured.err.count("error:") == 1
    assert "bad.xml: field XML" in captured.err


def test_command_prints_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(path) for path in FIXTURES]) == 0
    output = capsys.readouterr().out
    assert all(path.name in output for path in FIXTURES)
    assert "not constrained" in output


EXPECTED_REAL = {
    "vitis_hls_2024.2__hmac_sha256_xc7z020clg484__csynth.xml": (16648, 15403, 0, 9, 0),
    "vivado_hls_2020.1__hls4ml__myproject_csynth.xml": (2532, 7969, 73, 0, 0),
    "vivado_hls_2020.1__hls4ml__myproject_csynth.rpt": (2532, 7969, 73, 0, 0),
    "vivado_hls_2020.1__hls4ml__vivado_synth.rpt": (1526, 2428, 66, 0, None),
}


@pytest.mark.parametrize("name", sorted(EXPECTED_REAL))
def test_real_reports(name: str) -> None:
    path = REAL / name
    if not path.is_file():
        pytest.skip(f"real report {name} is not here: set PYADMM_REPORTS to its folder")
    report = parse_report(path)
    assert isinstance(report, SynthesisReport)
    used = report.resources
    assert (used.lut, used.ff, used.dsp, used.bram18, used.uram) == EXPECTED_REAL[name]


def test_real_cosim_report() -> None:
    path = REAL / "vitis_hls_2024.2__hmac_sha256_xc7z020clg484__cosim.rpt"
    if not path.is_file():
        pytest.skip(f"real report {path.name} is not here: set PYADMM_REPORTS to its folder")
    report = parse_report(path)
    assert isinstance(report, CosimReport)
    assert report.passed
    assert report.runs[0].latency == CycleRange(798, 798, 798)
