"""Vivado's reports: utilization (flat or hierarchical), timing summary, power; 2018 to 2024.

Block RAM is counted in 36 Kb tiles there, half a tile being one ``RAMB18``; it becomes ``bram18``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pyadmm.eda.parsers import values
from pyadmm.eda.parsers.source import Source
from pyadmm.eda.parsers.tables import Table, read_tables
from pyadmm.eda.reports import ModuleReport, ResourceUse, Stage, SynthesisReport

_TOOL = re.compile(r"^\| Tool Version\s*:\s*Vivado v\.(\S+)", re.MULTILINE)
_VERDICT = re.compile(
    r"^(?:All user specified t|T)iming constraints are (not )?met\.?$", re.MULTILINE
)
_POWER_TABLE = re.compile(r"^\+-+\+-+\+\n((?:\|[^\n]*\|[ ]*\n)+)\+-+\+-+\+", re.MULTILINE)
_FLAT_ROWS = {
    "lut": ("Slice LUTs", "CLB LUTs"),
    "ff": ("Slice Registers", "CLB Registers", "Registers"),
    "dsp": ("DSPs", "DSP Slices"),
    "bram18": ("Block RAM Tile",),
    "uram": ("URAM",),
}
_TREE_HEADS = {
    "lut": ("Total LUTs",),
    "ff": ("FFs",),
    "dsp": ("DSP Blocks", "DSP48 Blocks", "DSP Slices"),
    "uram": ("URAM",),
}
_STAGES: tuple[tuple[str, Stage], ...] = (
    ("synthesized", "post-synthesis"),
    ("optimized", "post-synthesis"),
    ("postroute", "post-route"),
    ("routed", "post-route"),
    ("placed", "post-place"),
    ("postplace", "post-place"),
)


@dataclass(frozen=True)
class ClockReport:
    """One clock of a timing summary."""

    name: str
    period_ns: float
    slack_ns: float | None = None


@dataclass(frozen=True)
class TimingReport:
    """Design timing summary; worst and total negative slacks in ns.

    :param wpws_ns: worst pulse-width slack, where the report has it.
    :param verdict: the report's own line on whether all constraints are met; ``None`` without it.
    """

    design: str | None
    version: str | None
    part: str | None
    stage: Stage | None
    wns_ns: float | None
    tns_ns: float | None
    whs_ns: float | None
    ths_ns: float | None
    failing_endpoints: int | None
    total_endpoints: int | None
    clocks: tuple[ClockReport, ...] = ()
    wpws_ns: float | None = None
    verdict: bool | None = None

    @property
    def met(self) -> bool | None:
        """Whether all constraints are met: the report's verdict, unless a slack contradicts it.

        ``None`` where nothing was constrained.
        """
        every = (self.wns_ns, self.whs_ns, self.wpws_ns)
        slacks = [slack for slack in every if slack is not None]
        if any(slack < 0 for slack in slacks):
            return False
        return self.verdict if self.verdict is not None else bool(slacks) or None

    @property
    def critical_clock(self) -> ClockReport | None:
        """The clock whose paths have the worst set-up slack; ``None`` where that is not clear."""
        if len(self.clocks) == 1 and self.wns_ns is not None:
            return replace(self.clocks[0], slack_ns=self.wns_ns)
        worst = [clock for clock in self.clocks if clock.slack_ns == self.wns_ns is not None]
        return worst[0] if len(worst) == 1 else None


@dataclass(frozen=True)
class PowerReport:
    """Vivado's power estimate, W."""

    design: str | None
    version: str | None
    part: str | None
    stage: Stage | None
    total_w: float | None
    dynamic_w: float | None
    static_w: float | None
    junction_c: float | None
    confidence: str | None


def is_utilization(text: str) -> bool:
    """Whether ``text`` is a utilization report of Vivado."""
    return bool(_TOOL.search(text)) and "Utilization Design Information" in text


def is_timing(text: str) -> bool:
    """Whether ``text`` is a timing summary of Vivado."""
    return bool(_TOOL.search(text)) and "Timing Summary Report" in text


def is_power(text: str) -> bool:
    """Whether ``text`` is a power report of Vivado."""
    return bool(_TOOL.search(text)) and re.search(r"^Power Report$", text, re.MULTILINE) is not None


def parse_utilization(source: Source) -> SynthesisReport:
    """Resources by stage; the instances of a hierarchical report become modules.

    :raises ReportError: for a report that is cut off, garbled or of an unknown design state.
    """
    tables = read_tables(source)
    _require_last_section(source)
    stage = _stage(source)
    if stage is None:
        source.fail("Design State", "is missing or unknown")
    tree = next((table for table in tables if table.column("Total LUTs") is not None), None)
    flat = [table for table in tables if _is_site(table)]
    if tree is None and not flat:
        source.fail("Utilization Design Information", "has no table, so the report is cut off")
    modules = () if tree is None else tuple(_instances(source, tree))
    if flat:
        used, available = _flat(source, flat, "Used"), _flat(source, flat, "Available")
    else:
        used, available = modules[0].resources, ResourceUse()
    return SynthesisReport(
        design=_header(source, "Design") or "unknown",
        tool="Vivado",
        stage=stage,
        version=_version(source),
        part=_header(source, "Device"),
        resources=used,
        available=available,
        modules=modules,
        notes=_state_note(source, stage),
    )


def _state_note(source: Source, stage: Stage) -> tuple[str, ...]:
    return (f"design state: {_header(source, 'Design State')}",) if stage == "post-place" else ()


def _is_site(table: Table) -> bool:
    return table.heads[:1] == ("Site Type",) and table.column("Used") is not None


def _flat(source: Source, tables: list[Table], head: str) -> ResourceUse:
    """Totals of the tables by site type; the first row of a name counts."""
    figures = {
        name: _site(source, tables, rows, head, name != "uram") for name, rows in _FLAT_ROWS.items()
    }
    return ResourceUse(**{**figures, "bram18": _halves(source, figures["bram18"])})


def _site(
    source: Source, tables: list[Table], names: tuple[str, ...], head: str, needed: bool
) -> float | None:
    for table in tables:
        column = table.column(head)
        for row in table.rows(source):
            if row[0].strip().rstrip("*").strip() in names:
                cell = "" if column is None else row[column]
                return values.amount(source, f"{names[0]}/{head}", cell)
    if needed:
        source.fail(" or ".join(names), "is missing, so the report is cut off")
    return None


def _halves(source: Source, tiles: float | None) -> int | None:
    """Tiles of 36 Kb as a number of 18 Kb halves."""
    if tiles is None:
        return None
    if tiles * 2 != math.floor(tiles * 2):
        source.fail("Block RAM Tile", f"{tiles} is no multiple of half a tile")
    return int(tiles * 2)


def _instances(source: Source, table: Table) -> Iterator[ModuleReport]:
    """One module an instance; two blanks a level. The own logic of one is ``(name)``."""
    path: list[str] = []
    rows = table.rows(source)
    if not rows:
        source.fail("Utilization by Hierarchy", "has no instance")
    for row in rows:
        name = row[0].strip()
        level = max(0, (len(row[0]) - len(row[0].lstrip()) - 1) // 2)
        path = [*path[:level], name]
        yield ModuleReport(
            name="/".join(path),
            kind=row[1].strip() or None,
            resources=_tree_resources(source, table, row),
        )


def _tree_resources(source: Source, table: Table, row: tuple[str, ...]) -> ResourceUse:
    def cell(*heads: str) -> float | None:
        column = table.column(*heads)
        return None if column is None else values.amount(source, heads[0], row[column])

    figures = {name: cell(*heads) for name, heads in _TREE_HEADS.items()}
    blocks, halves = cell("RAMB36"), cell("RAMB18")
    bram18 = None if blocks is None or halves is None else 2 * blocks + halves
    return ResourceUse(**figures, bram18=bram18)


def parse_timing(source: Source) -> TimingReport:
    """The design timing summary, and period and slack of each clock.

    :raises ReportError: for a report that is cut off or garbled.
    """
    summary = _columns(source, "Design Timing Summary")
    if not summary:
        source.fail("Design Timing Summary", "is missing, so the report is cut off")
    row = summary[0]

    def cell(head: str) -> float | None:
        return values.number(source, head, _cell(source, row, head))

    def endpoints(head: str) -> int | None:
        return values.count(source, head, _cell(source, row, head))

    for section in ("Clock Summary", "Inter Clock Table"):
        # Without constraints the sections of the clocks may be left out, but never the details.
        if f"| {section}" not in source.text and "| Timing Details" not in source.text:
            source.fail(section, "is missing, so the report is cut off")
    return TimingReport(
        design=_header(source, "Design"),
        version=_version(source),
        part=_header(source, "Device"),
        stage=_stage(source),
        wns_ns=cell("WNS(ns)"),
        tns_ns=cell("TNS(ns)"),
        whs_ns=cell("WHS(ns)"),
        ths_ns=cell("THS(ns)"),
        failing_endpoints=endpoints("TNS Failing Endpoints"),
        total_endpoints=endpoints("TNS Total Endpoints"),
        clocks=tuple(_clocks(source)),
        wpws_ns=cell("WPWS(ns)") if "WPWS(ns)" in row else None,
        verdict=_verdict(source),
    )


def _verdict(source: Source) -> bool | None:
    """Verdict of the line under the design timing summary."""
    match = _VERDICT.search(source.text)
    return None if match is None else match[1] is None


def _clocks(source: Source) -> Iterator[ClockReport]:
    slacks = {
        _cell(source, row, "Clock"): _cell(source, row, "WNS(ns)")
        for row in _columns(source, "Intra Clock Table")
    }
    for row in _columns(source, "Clock Summary"):
        name = _cell(source, row, "Clock")
        period = values.number(source, "Period(ns)", _cell(source, row, "Period(ns)"))
        if period is not None:
            slack = values.number(source, "WNS(ns)", slacks.get(name, ""))
            yield ClockReport(name, period, slack)


def _cell(source: Source, row: dict[str, str], head: str) -> str:
    if head not in row:
        source.fail(head, "is no column of its table")
    return row[head]


def _columns(source: Source, title: str) -> list[dict[str, str]]:
    """Rows of a table that is ruled by dashes: the dashes tell the columns."""
    lines = source.text.split("\n")
    start = next((i for i, line in enumerate(lines) if line.strip() == f"| {title}"), None)
    if start is None:
        return []
    body = lines[start + 1 :]
    rule = next((i for i, line in enumerate(body) if _is_rule(line)), None)
    following = next((i for i, line in enumerate(body) if line.startswith("| ") and i > 1), None)
    if rule is None or (following is not None and rule > following):
        return []
    heads = re.split(r"\s{2,}", body[rule - 1].strip())
    rows: list[dict[str, str]] = []
    for line in body[rule + 1 :]:
        if not line.strip():
            break
        rows.append(dict(zip(heads, _fields(source, title, line, len(heads)), strict=True)))
    return rows


def _is_rule(line: str) -> bool:
    """Dashes in at least two groups."""
    return bool(re.fullmatch(r"\s*-+(\s+-+)+\s*", line))


def _fields(source: Source, title: str, line: str, width: int) -> list[str]:
    """Fields of a row; a waveform ``{0.000 5.000}`` is one field."""
    found = re.findall(r"\{[^}]*\}|\S+", line)
    if len(found) != width:
        # An intra-clock row of a clock without paths leaves columns blank: only its name is sure.
        if title == "Intra Clock Table" and found:
            return [found[0], *[""] * (width - 1)]
        source.fail(title, f"a row has {len(found)} fields instead of {width}")
    return found


def parse_power(source: Source) -> PowerReport:
    """The summary of a power report.

    :raises ReportError: for a report that is cut off or garbled.
    """
    rows = _power_rows(source)
    _require_last_section(source)

    def value(name: str) -> float | None:
        # A remark in brackets may follow the number: 15.2 (Junction temp exceeded!).
        return values.number(source, name, rows.get(name, "").partition("(")[0])

    return PowerReport(
        design=_header(source, "Design"),
        version=_version(source),
        part=_header(source, "Device"),
        stage=_stage(source),
        total_w=value("Total On-Chip Power (W)"),
        dynamic_w=value("Dynamic (W)"),
        static_w=value("Device Static (W)"),
        junction_c=value("Junction Temperature (C)"),
        confidence=rows.get("Confidence Level") or None,
    )


def _power_rows(source: Source) -> dict[str, str]:
    """The two-column table of the summary."""
    for match in _POWER_TABLE.finditer(source.text):
        cells = [line.strip("| \n").split("|") for line in match[1].splitlines()]
        rows = {name.strip(): rest[0].strip() for name, *rest in cells if rest}
        if "Total On-Chip Power (W)" in rows:
            return rows
    source.fail("Total On-Chip Power (W)", "is missing, so the report is cut off")


def implementation(
    utilization: SynthesisReport,
    timing: TimingReport | None = None,
    power: PowerReport | None = None,
) -> SynthesisReport:
    """One report of a run from its utilization, timing and power reports.

    The clock estimate is ``period - worst slack`` of the critical clock.
    """
    report = utilization
    if timing is not None:
        clock = timing.critical_clock
        report = replace(report, slack_ns=timing.wns_ns, timing_met=timing.met)
        if clock is not None and clock.slack_ns is not None:
            report = replace(
                report,
                clock_target_ns=clock.period_ns,
                clock_estimate_ns=round(clock.period_ns - clock.slack_ns, 6),
                clock_method=f"static timing, {timing.stage or report.stage}, clock {clock.name}",
            )
    return report if power is None else replace(report, power_w=power.total_w)


def _require_last_section(source: Source) -> None:
    """The last entry of the table of contents must be there as a section, too."""
    contents = re.search(r"^Table of Contents\n-+\n((?:.+\n)+)", source.text, re.MULTILINE)
    if contents is None:
        return
    last = contents[1].strip().split("\n")[-1].strip()
    if not re.search(rf"^{re.escape(last)}\s*$", source.text[contents.end() :], re.MULTILINE):
        source.fail(last, "is in the table of contents but missing, so the report is cut off")


def _version(source: Source) -> str | None:
    match = _TOOL.search(source.text)
    return match[1] if match else None


def _header(source: Source, name: str) -> str | None:
    """A line ``| name : value`` of the head."""
    match = re.search(rf"^\| {name}\s*:[ \t]*(.*?)\s*$", source.text, re.MULTILINE)
    return match[1] or None if match else None


def _stage(source: Source) -> Stage | None:
    state = (_header(source, "Design State") or "").lower().replace(" ", "")
    return next((stage for word, stage in _STAGES if word in state), None)
