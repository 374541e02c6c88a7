"""Typed parsers of the vendor tools' reports: HLS synthesis, co-simulation, Vivado.

Facts about the formats were learnt from public reports of the versions 2018.2 to 2025.1. Unknown
is ``None``, never 0; a file that is truncated, empty, foreign or hostile gives one
:class:`ReportError` that names the file and the field.
"""

from __future__ import annotations

from pathlib import Path

from pyadmm.eda.parsers.cosim import CosimReport, is_cosim, parse_cosim
from pyadmm.eda.parsers.csynth_rpt import is_csynth_rpt, parse_csynth_rpt
from pyadmm.eda.parsers.csynth_xml import parse_csynth_xml
from pyadmm.eda.parsers.hls_implementation import is_hls_implementation, parse_hls_implementation
from pyadmm.eda.parsers.source import ReportError, Source, read_source
from pyadmm.eda.parsers.vivado import (
    PowerReport,
    TimingReport,
    implementation,
    is_power,
    is_timing,
    is_utilization,
    parse_power,
    parse_timing,
    parse_utilization,
)
from pyadmm.eda.reports import SynthesisReport

__all__ = [
    "CosimReport",
    "PowerReport",
    "Report",
    "ReportError",
    "TimingReport",
    "implementation",
    "parse_report",
    "parse_text",
]

Report = SynthesisReport | CosimReport | TimingReport | PowerReport

_TEXT_KINDS = (
    (is_csynth_rpt, parse_csynth_rpt),
    (is_hls_implementation, parse_hls_implementation),
    (is_cosim, parse_cosim),
    (is_utilization, parse_utilization),
    (is_timing, parse_timing),
    (is_power, parse_power),
)


def parse_report(path: Path) -> Report:
    """The report in ``path``; its kind is told by its content, not by its name.

    :raises ReportError: naming file and field, for anything that is not a complete report.
    """
    return _parse(read_source(path))


def parse_text(name: str, text: str) -> Report:
    """As :func:`parse_report`, for a text at hand; errors call it ``name``."""
    return _parse(Source(name, text))


def _parse(source: Source) -> Report:
    if source.text.lstrip().startswith("<"):
        return parse_csynth_xml(source)
    for is_kind, parse in _TEXT_KINDS:
        if is_kind(source.text):
            return parse(source)
    source.fail(
        "kind",
        "is none of: csynth.xml, csynth.rpt, cosim.rpt, an implementation report of HLS "
        "(export_impl.rpt), or Vivado's utilization, timing summary or power report",
    )
