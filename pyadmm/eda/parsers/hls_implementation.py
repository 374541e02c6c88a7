"""Reports of HLS after a run of Vivado on its export: ``export_impl.rpt``, ``hls_impl_pnr.rpt``.

Vitis HLS 2022 and later print titled sections and a table of periods; earlier versions print
``#=== … Resource usage ===`` and ``CP achieved`` lines. Both count block RAM in halves of 18 Kb.
"""

from __future__ import annotations

import re

from pyadmm.eda.parsers import values
from pyadmm.eda.parsers.source import Source
from pyadmm.eda.parsers.tables import read_tables
from pyadmm.eda.reports import ResourceUse, Stage, SynthesisReport

_TITLE = re.compile(r"^== Vivado (Place & Route|[A-Za-z ]*Synthesis) Results$", re.MULTILINE)
_OLD_TITLE = re.compile(
    r"^#=== (?:Post-(Implementation|Synthesis) )?Resource usage ===$", re.MULTILINE
)
_OLD_VERDICT = re.compile(r"^(Timing met|Timing not met|No Sequential Path)$", re.MULTILINE)
_VERDICT = re.compile(r"^\* Timing was (not )?met", re.MULTILINE | re.IGNORECASE)
_RESOURCES = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram18": "BRAM", "uram": "URAM"}


def is_hls_implementation(text: str) -> bool:
    """Whether ``text`` is an implementation report of HLS, of either layout."""
    return bool(_TITLE.search(text) or _OLD_TITLE.search(text))


def parse_hls_implementation(source: Source) -> SynthesisReport:
    """Resources, clock and verdict of the exported design, by the stage that Vivado reached.

    :raises ReportError: for a report that is cut off or garbled.
    """
    title = _TITLE.search(source.text)
    return _sections(source, title[1]) if title is not None else _lines(source)


def _sections(source: Source, reached: str) -> SynthesisReport:
    stage: Stage = "post-route" if reached == "Place & Route" else "post-synthesis"
    resources = _resources(source, r"^== .*Resource Summary$")
    table = next((t for t in read_tables(source) if t.column("Period (ns)") is not None), None)
    if table is None:
        source.fail("Timing Summary", "its table is missing, so the report is cut off")
    name, period = table.column("Timing"), table.column("Period (ns)")
    if name is None or period is None:
        source.fail("Timing Summary", f"has the unknown columns {', '.join(table.heads)}")
    periods = {row[name].strip(): row[period] for row in table.rows(source)}
    verdict = _VERDICT.search(source.text)
    return _report(
        source,
        stage,
        resources,
        (periods.get("Target"), periods.get(stage.title())),
        None if verdict is None else verdict[1] is None,
        design=_header(source, r"\* Project"),
        version=_header(source, r"\* Version"),
        part=_header(source, r"\* Target device"),
    )


def _lines(source: Source) -> SynthesisReport:
    verdict = _OLD_VERDICT.search(source.text)
    if verdict is None:
        source.fail("Final timing", "its last line is missing, so the report is cut off")
    achieved = _header(source, "CP achieved post-implementation")
    stage: Stage = "post-synthesis" if achieved is None else "post-route"
    if achieved is None:
        achieved = _header(source, "CP achieved post-synthesis")
    return _report(
        source,
        stage,
        _resources(source, r"^#=== .*Resource usage ===$"),
        (_header(source, "CP required"), achieved),
        {"Timing met": True, "Timing not met": False}.get(verdict[1]),
        design=_header(source, "Project"),
        version=_header(source, r"Implementation tool: +Xilinx Vivado +v\."),
        part=_header(source, "Device target"),
    )


def _report(
    source: Source,
    stage: Stage,
    resources: ResourceUse,
    periods: tuple[str | None, str | None],
    verdict: bool | None,
    *,
    design: str | None,
    version: str | None,
    part: str | None,
) -> SynthesisReport:
    target, estimate = (values.number(source, "Period", text or "") for text in periods)
    known = target is not None and estimate is not None
    slack = round(target - estimate, 6) if known else None  # type: ignore[operator]
    late = slack is not None and slack < 0
    return SynthesisReport(
        design=design or "unknown",
        tool="Vivado, started by HLS",
        stage=stage,
        version=version,
        part=part,
        clock_target_ns=target,
        clock_estimate_ns=estimate,
        clock_method=f"static timing, {stage}",
        resources=resources,
        slack_ns=slack,
        timing_met=False if late else verdict,
    )


def _resources(source: Source, heading: str) -> ResourceUse:
    """The lines ``LUT:  812`` under ``heading``."""
    start = re.search(heading, source.text, re.MULTILINE)
    if start is None:
        source.fail("Resource Summary", "is missing, so the report is cut off")
    body = re.split(r"^(?:==|#=)\S* [A-Z]", source.text[start.end() :], maxsplit=1, flags=re.M)[0]
    found = dict(re.findall(r"^([A-Z]+):[ \t]+(\S+)[ \t]*$", body, re.MULTILINE))
    if "LUT" not in found or "FF" not in found:
        source.fail("Resource Summary", "has no line for LUT and FF, so the report is cut off")
    return ResourceUse(
        **{key: values.count(source, word, found.get(word, "")) for key, word in _RESOURCES.items()}
    )


def _header(source: Source, name: str) -> str | None:
    """First word of the line that starts with ``name`` and perhaps a colon."""
    match = re.search(rf"^\s*{name}:?[ \t]*(\S+)", source.text, re.MULTILINE)
    return match[1] if match else None
