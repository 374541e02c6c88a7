"""``pyadmm reports``: what a report of Vitis HLS or Vivado says, as a table or as JSON."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from pyadmm.cli.command import DONE, ERROR, Command, json_option
from pyadmm.core.schema import to_json
from pyadmm.eda.parsers import (
    CosimReport,
    PowerReport,
    Report,
    ReportError,
    TimingReport,
    parse_report,
)
from pyadmm.eda.reports import CycleRange, SynthesisReport, TimeRange

_RESOURCES = ("lut", "ff", "dsp", "bram18", "uram")
_MET = {True: "yes", False: "no", None: "not constrained"}
Row = tuple[str, str]
_EXAMPLES = """\
  pyadmm reports solution1/syn/report/csynth.xml
  pyadmm reports *.rpt --json
"""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="reports of the tools")
    json_option(parser)


def _execute(options: Namespace) -> int:
    read: list[tuple[Path, Report]] = []
    status = DONE
    for path in options.files:
        try:
            read.append((path, parse_report(path)))
        except ReportError as error:
            status = ERROR
            print(f"error: {error}", file=sys.stderr)
    if options.json:
        print(to_json([_as_json(path, report) for path, report in read]))
    else:
        console = Console(markup=False, highlight=False)
        for path, report in read:
            _show(console, path, report)
    return status


def _as_json(path: Path, report: Report) -> dict[str, object]:
    return {"file": str(path), "kind": type(report).__name__, "report": report}


def _show(console: Console, path: Path, report: Report) -> None:
    console.print(path.name)
    table = Table(_name("field"), _name("value"), show_header=False)
    for field, value in _rows(report):
        table.add_row(field, value)
    console.print(table)
    if isinstance(report, SynthesisReport):
        _show_parts(console, report)


def _rows(report: Report) -> Iterator[Row]:
    if isinstance(report, SynthesisReport):
        yield from _synthesis_rows(report)
    elif isinstance(report, CosimReport):
        for run in report.runs:
            yield run.language, run.status
            yield "  latency (cycles)", _cycles(run.latency)
            yield "  interval (cycles)", _cycles(run.interval)
            yield "  total (cycles)", _one(run.total_cycles)
    elif isinstance(report, TimingReport):
        yield from _timing_rows(report)
    else:
        yield from _power_rows(report)


def _synthesis_rows(report: SynthesisReport) -> Iterator[Row]:
    yield "design", report.design
    yield "tool", f"{report.tool} {report.version or ''}".strip()
    yield "stage", report.stage
    yield "part", _one(report.part)
    yield "clock target (ns)", _one(report.clock_target_ns)
    yield "clock estimate (ns)", _one(report.clock_estimate_ns)
    yield "clock uncertainty (ns)", _one(report.clock_uncertainty_ns)
    if report.timing_met is not None:
        yield "timing met", _MET[report.timing_met]
    yield "latency (cycles)", _cycles(report.latency)
    yield "latency (ns)", _time(report.latency_time)
    yield "interval (cycles)", _cycles(report.interval)
    yield "pipeline", _one(report.pipeline)
    for name in _RESOURCES:
        used, available = getattr(report.resources, name), getattr(report.available, name)
        share = f" = {used / available:.1%}" if used is not None and available else ""
        yield name, f"{_one(used)} of {_one(available)}{share}"
    for note in report.notes:
        yield "note", note


def _timing_rows(report: TimingReport) -> Iterator[Row]:
    yield "design", _one(report.design)
    yield "tool", f"Vivado {report.version or ''}".strip()
    yield "stage", _one(report.stage)
    yield "part", _one(report.part)
    for name in ("wns_ns", "tns_ns", "whs_ns", "ths_ns", "wpws_ns"):
        yield f"{name[:-3].upper()} (ns)", _one(getattr(report, name))
    yield "failing endpoints", f"{_one(report.failing_endpoints)} of {_one(report.total_endpoints)}"
    yield "timing met", _MET[report.met]
    for clock in report.clocks:
        yield f"clock {clock.name}", f"{clock.period_ns} ns, slack {_one(clock.slack_ns)} ns"


def _power_rows(report: PowerReport) -> Iterator[Row]:
    yield "design", _one(report.design)
    yield "tool", f"Vivado {report.version or ''}".strip()
    yield "stage", _one(report.stage)
    yield "part", _one(report.part)
    yield "total (W)", _one(report.total_w)
    yield "dynamic (W)", _one(report.dynamic_w)
    yield "static (W)", _one(report.static_w)
    yield "junction (°C)", _one(report.junction_c)
    yield "confidence", _one(report.confidence)


def _show_parts(console: Console, report: SynthesisReport) -> None:
    if report.modules:
        table = Table(_name("module"), "latency", "interval", *_RESOURCES)
        for module in report.modules:
            figures = (_one(getattr(module.resources, name)) for name in _RESOURCES)
            table.add_row(module.name, _cycles(module.latency), _cycles(module.interval), *figures)
        console.print(table)
    loops = [("", loop) for loop in report.loops]
    loops += [(module.name, loop) for module in report.modules for loop in module.loops]
    if loops:
        table = Table(_name("loop"), _name("in"), "II", "depth", "trip count", "latency")
        for owner, loop in loops:
            table.add_row(
                loop.name,
                owner or report.design,
                _one(loop.pipeline_ii),
                _cycles(loop.depth),
                _cycles(loop.trip_count),
                _cycles(loop.latency),
            )
        console.print(table)


def _name(header: str) -> Column:
    """A column that breaks long names instead of cutting them."""
    return Column(header, overflow="fold")


def _one(value: object) -> str:
    return "unknown" if value is None else str(value)


def _cycles(span: CycleRange) -> str:
    return _span(span.least, span.most)


def _time(span: TimeRange) -> str:
    return _span(span.least_ns, span.most_ns)


def _span(least: float | None, most: float | None) -> str:
    return _one(least) if least == most else f"{_one(least)} … {_one(most)}"


COMMAND = Command(
    "reports",
    "read reports of Vitis HLS and Vivado",
    _add_options,
    _execute,
    "Read reports of Vitis HLS, Vivado HLS and Vivado of any known version and print a table.",
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm reports``; gives the exit status."""
    return COMMAND.run(arguments)
