"""Text reports of HLS synthesis: ``<module>_csynth.rpt`` and Vitis HLS's summary ``csynth.rpt``.

The XML says more and is to be preferred; these are for those who kept the text only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pyadmm.eda.parsers import values
from pyadmm.eda.parsers.source import Source
from pyadmm.eda.parsers.tables import Table, read_tables
from pyadmm.eda.reports import (
    CycleRange,
    LoopReport,
    ModuleReport,
    ResourceUse,
    SynthesisReport,
    TimeRange,
)

_MODULE_TITLE = re.compile(r"^== (Vivado|Vitis) HLS Report for '(.+)'$", re.MULTILINE)
_SUMMARY_TITLE = re.compile(r"^== Synthesis Summary Report of '(.+)'$", re.MULTILINE)
_RESOURCE_HEADS = {
    "lut": ("LUT",),
    "ff": ("FF",),
    "dsp": ("DSP", "DSP48E"),
    "bram18": ("BRAM_18K", "BRAM"),
    "uram": ("URAM",),
}


def is_csynth_rpt(text: str) -> bool:
    """Whether ``text`` is one of the two text reports."""
    return bool(_MODULE_TITLE.search(text) or _SUMMARY_TITLE.search(text))


def parse_csynth_rpt(source: Source) -> SynthesisReport:
    """The report as a typed object; figures that it does not give are ``None``.

    :raises ReportError: for a report that is cut off or garbled.
    """
    title = _MODULE_TITLE.search(source.text)
    if title is not None:
        return _module_report(source, f"{title[1]} HLS", title[2])
    summary = _SUMMARY_TITLE.search(source.text)
    if summary is None:
        source.fail("title", "is no HLS synthesis report")
    return _summary_report(source, summary[1])


def _module_report(source: Source, tool: str, design: str) -> SynthesisReport:
    tables = read_tables(source)
    if not re.search(r"^== Interface$", source.text, re.MULTILINE):
        source.fail("Interface", "is missing, so the report is cut off")
    clock = _find(source, tables, "Timing", lambda table: table.column("Estimated") is not None)
    target, estimate, uncertainty = _clock(source, clock)
    latency = _find(source, tables, "Latency", _is_latency)
    spans = _spans(source, latency)
    used = _find(source, tables, "Utilization Estimates", _is_utilization)
    loops = next((table for table in tables if table.column("Loop Name") is not None), None)
    return SynthesisReport(
        design=design,
        tool=tool,
        stage="csynth",
        version=_header(source, "Version"),
        part=_header(source, "Target device"),
        clock_target_ns=target,
        clock_estimate_ns=estimate,
        clock_uncertainty_ns=uncertainty,
        clock_method="HLS estimate before logic synthesis",
        resources=_row_resources(source, used, "Total"),
        available=_row_resources(source, used, "Available"),
        latency=spans[0],
        latency_time=_absolute(source, latency),
        interval=spans[1],
        pipeline=_pipeline_word(source, latency),
        loops=() if loops is None else tuple(_loops(source, loops)),
    )


def _find(source: Source, tables: list[Table], field: str, test: Callable[[Table], bool]) -> Table:
    for table in tables:
        if test(table):
            return table
    source.fail(field, "its table is missing, so the report is cut off or of another kind")


def _is_latency(table: Table) -> bool:
    heads = set(table.full_heads)
    return bool(heads & {"Latency (cycles) min", "Latency min"}) and "Interval min" in heads


def _is_utilization(table: Table) -> bool:
    return table.heads[:1] == ("Name",) and table.column("BRAM_18K") is not None


def _clock(source: Source, table: Table) -> tuple[float | None, float | None, float | None]:
    """Target, estimate and uncertainty in ns; the first clock of the table."""
    rows = table.rows(source)
    if not rows:
        source.fail("Timing", "has no clock")

    def cell(head: str) -> float | None:
        column = table.column(head)
        text = "" if column is None else rows[0][column]
        return values.times(source, f"Timing/{head}", text, text).least_ns

    return cell("Target"), cell("Estimated"), cell("Uncertainty")


def _spans(source: Source, table: Table) -> tuple[CycleRange, CycleRange]:
    """Latency and interval in cycles."""
    latency = _ends(source, table, "Latency (cycles)", "Latency")
    interval = _ends(source, table, "Interval")
    if latency is None or interval is None:
        source.fail("Latency", f"its table has the unknown columns {_shown_heads(table)}")
    return (
        values.cycles(source, "Latency", *latency),
        values.cycles(source, "Interval", *interval),
    )


def _absolute(source: Source, table: Table) -> TimeRange:
    ends = _ends(source, table, "Latency (absolute)")
    return TimeRange() if ends is None else values.times(source, "Latency (absolute)", *ends)


def _pipeline_word(source: Source, table: Table) -> str | None:
    column = table.column("Pipeline Type", "Type")
    return None if column is None else _only_row(source, table)[column].strip() or None


def _ends(source: Source, table: Table, *names: str) -> tuple[str, str] | None:
    """The cells ``min`` and ``max`` under the first head of ``names`` that the table has."""
    row = _only_row(source, table)
    for name in names:
        least, most = table.column(f"{name} min"), table.column(f"{name} max")
        if least is not None and most is not None:
            return row[least], row[most]
    return None


def _shown_heads(table: Table) -> str:
    return ", ".join(table.full_heads or table.heads)


def _only_row(source: Source, table: Table) -> tuple[str, ...]:
    rows = table.rows(source)
    if len(rows) != 1:
        source.fail("Latency", f"its summary table has {len(rows)} rows instead of one")
    return rows[0]


def _loops(source: Source, table: Table) -> Iterator[LoopReport]:
    """Loops of the detail table; ``- outer``, ``+ inner``, ``++ innermost`` tell the nesting."""
    path: list[str] = []
    column = {head: index for index, head in enumerate(table.heads)}
    if not {"min", "max", "Latency", "achieved", "target", "Count"} <= set(column):
        source.fail("Loop", f"its table has the unknown columns {', '.join(table.heads)}")
    for row in table.rows(source):
        marks, _, name = row[column["Loop Name"]].strip().partition(" ")
        depth = marks.count("+")
        path = [*path[:depth], name.strip()]
        word = row[column["Pipelined"]].strip()
        iteration = row[column["Latency"]]
        depth_range = values.cycles(source, f"{name} Iteration Latency", iteration, iteration)
        achieved, target = row[column["achieved"]], row[column["target"]]
        trips = row[column["Count"]]
        yield LoopReport(
            name="/".join(path),
            pipeline_ii=values.count(source, f"{name} achieved", achieved),
            pipeline_depth=depth_range.exact if word == "yes" else None,
            trip_count=values.cycles(source, f"{name} Trip Count", trips, trips),
            latency=values.cycles(
                source, f"{name} Latency", row[column["min"]], row[column["max"]]
            ),
            iteration_latency=depth_range,
            depth=depth_range if word == "yes" else CycleRange(),
            target_ii=values.count(source, f"{name} target", target),
            pipelined=word or None,
        )


def _row_resources(source: Source, table: Table, row_name: str) -> ResourceUse:
    for row in table.rows(source):
        if row[0].strip() == row_name:
            return _resources(source, table, row)
    source.fail(f"Utilization Estimates/{row_name}", "is missing")


def _resources(source: Source, table: Table, row: tuple[str, ...]) -> ResourceUse:
    figures: dict[str, float | None] = {}
    for name, heads in _RESOURCE_HEADS.items():
        column = table.column(*heads)
        text = "" if column is None else row[column]
        figures[name] = values.count(source, heads[0], text)
    return ResourceUse(**figures)


def _header(source: Source, name: str) -> str | None:
    """A line ``* name:  value`` of the head; of a version, only the number."""
    match = re.search(rf"^\s*\* {name}:\s+(\S+)", source.text, re.MULTILINE)
    return match[1] if match else None


def _summary_report(source: Source, design: str) -> SynthesisReport:
    """The summary is one tree: ``+`` modules, ``o`` loops, ``*`` marks dataflow."""
    table = _find(
        source,
        read_tables(source),
        "Performance & Resource Estimates",
        lambda candidate: candidate.column("Modules & Loops") is not None,
    )
    tree = list(_tree(source, table))
    if not tree or tree[0][0] != ():
        source.fail("Modules & Loops", "has no top module")
    modules = [_summary_module(source, table, path, row) for path, row, loop in tree if not loop]
    loops = [(path, _summary_loop(source, table, path, row)) for path, row, loop in tree if loop]
    top = modules[0]
    return SynthesisReport(
        design=design,
        tool="Vitis HLS",
        stage="csynth",
        version=_header(source, "Version"),
        part=_header(source, "Target device"),
        resources=top.resources,
        latency=top.latency,
        latency_time=top.latency_time,
        interval=top.interval,
        pipeline=top.pipeline,
        loops=tuple(loop for _, loop in loops),
        modules=tuple(modules[1:]),
        notes=("figures of sub-modules that the summary shows as '-' are unknown",),
    )


def _tree(source: Source, table: Table) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], bool]]:
    """Path below the top, cells, and whether it is a loop, of each row."""
    path: list[str] = []
    for row in table.rows(source):
        match = re.fullmatch(r"( *)([+o]) (.+?)(\*?)", row[0])
        if match is None:
            source.fail("Modules & Loops", f"the row {row[0][:40]!r} is neither module nor loop")
        path = [*path[: len(match[1])], match[3]]
        yield tuple(path[1:]), row, match[2] == "o"


def _summary_module(
    source: Source, table: Table, path: tuple[str, ...], row: tuple[str, ...]
) -> ModuleReport:
    cell = _reader(table, row)
    latency, time, interval = cell("Latency (cycles)"), cell("Latency (ns)"), cell("Interval")
    return ModuleReport(
        name="/".join(path) or "top",
        resources=_resources(source, table, row),
        latency=values.cycles(source, "Latency (cycles)", latency, latency),
        latency_time=values.times(source, "Latency (ns)", time, time),
        interval=values.cycles(source, "Interval", interval, interval),
        pipeline=cell("Pipelined") or None,
    )


def _summary_loop(
    source: Source, table: Table, path: tuple[str, ...], row: tuple[str, ...]
) -> LoopReport:
    cell = _reader(table, row)
    latency, time, trips = cell("Latency (cycles)"), cell("Latency (ns)"), cell("Trip Count")
    iteration, word = cell("Iteration Latency"), cell("Pipelined")
    depth = values.cycles(source, "Iteration Latency", iteration, iteration)
    piped = word == "yes"
    return LoopReport(
        name="/".join(path),
        pipeline_ii=values.count(source, "Interval", cell("Interval")) if piped else None,
        pipeline_depth=depth.exact if piped else None,
        trip_count=values.cycles(source, "Trip Count", trips, trips),
        latency=values.cycles(source, "Latency (cycles)", latency, latency),
        latency_time=values.times(source, "Latency (ns)", time, time),
        iteration_latency=depth,
        depth=depth if piped else CycleRange(),
        pipelined=word or None,
    )


def _reader(table: Table, row: tuple[str, ...]) -> Callable[[str], str]:
    def cell(head: str) -> str:
        column = table.column(head)
        return "" if column is None else row[column].strip()

    return cell
