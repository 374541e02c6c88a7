"""``<top>_cosim.rpt``: C/RTL co-simulation of Vivado HLS and Vitis HLS."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyadmm.eda.parsers import values
from pyadmm.eda.parsers.source import Source
from pyadmm.eda.parsers.tables import Table, read_tables
from pyadmm.eda.reports import CycleRange, SynthesisReport

_GROUPS = re.compile(r"^\|.*\b(Latency|Interval)\b.*\b(Latency|Interval)\b", re.MULTILINE)
"""The heads over the two groups of three columns."""
_HEAD_ROW = re.compile(r"^\+\s*RTL\s*\+\s*Status\s*\+", re.MULTILINE)


@dataclass(frozen=True)
class CosimRun:
    """Co-simulation of one RTL language.

    :param status: the tool's word, ``Pass`` or ``Fail``.
    :param total_cycles: of the whole run, where the version prints it (2022.1 on).
    """

    language: str
    status: str
    latency: CycleRange
    interval: CycleRange
    total_cycles: int | None

    @property
    def passed(self) -> bool:
        """Whether the RTL gave the same as the C."""
        return self.status.lower() == "pass"


@dataclass(frozen=True)
class CosimReport:
    """The languages that were simulated; those marked ``NA`` were not and are left out."""

    runs: tuple[CosimRun, ...]
    simulator: str | None = None

    @property
    def passed(self) -> bool:
        """Whether something was simulated and all of it passed."""
        return bool(self.runs) and all(run.passed for run in self.runs)

    def as_synthesis(self, design: str) -> SynthesisReport:
        """Latency and interval of the first passing run, as a report of the stage ``cosim``."""
        run = next((run for run in self.runs if run.passed), None)
        return SynthesisReport(
            design=design,
            tool="HLS co-simulation",
            stage="cosim",
            latency=CycleRange() if run is None else run.latency,
            interval=CycleRange() if run is None else run.interval,
            notes=() if run else ("no language passed co-simulation",),
        )


def is_cosim(text: str) -> bool:
    """Whether ``text`` is a co-simulation report."""
    return bool(_HEAD_ROW.search(text))


def parse_cosim(source: Source) -> CosimReport:
    """The report as a typed object.

    :raises ReportError: for a report that is cut off or garbled.
    """
    table = next((table for table in read_tables(source) if _is_result(table)), None)
    if table is None:
        source.fail("RTL", "its table is missing, so the report is cut off or of another kind")
    places = _places(source)
    runs = [_run(source, row, places) for row in table.rows(source)]
    if not runs:
        source.fail("RTL", "its table has no row, so the report is cut off")
    simulator = re.search(r"^Simulation tool\s*:\s*(\w+)", source.text, re.MULTILINE)
    known = tuple(run for run in runs if not values.is_unknown(run.status))
    return CosimReport(known, simulator[1] if simulator else None)


def _is_result(table: Table) -> bool:
    return table.heads[2:8] == ("min", "avg", "max", "min", "avg", "max")


def _places(source: Source) -> dict[str, slice]:
    """The columns of latency and of interval, by the heads over them."""
    groups = _GROUPS.search(source.text)
    if groups is None or groups[1] == groups[2]:
        source.fail("RTL", "its table has no heads Latency and Interval")
    return {groups[1]: slice(2, 5), groups[2]: slice(5, 8)}


def _run(source: Source, row: tuple[str, ...], places: dict[str, slice]) -> CosimRun:
    language, status = row[0].strip(), row[1].strip()
    total = row[8] if len(row) > 8 else ""
    return CosimRun(
        language=language,
        status=status,
        latency=_span(source, f"{language} Latency", row[places["Latency"]]),
        interval=_span(source, f"{language} Interval", row[places["Interval"]]),
        total_cycles=values.count(source, f"{language} Total Execution Time", total),
    )


def _span(source: Source, field: str, cells: tuple[str, ...]) -> CycleRange:
    ends = values.cycles(source, field, cells[0], cells[2])
    return CycleRange(ends.least, ends.most, values.count(source, field, cells[1]))
