"""Reports of a run: a :class:`~pyadmm.report.record.RunRecord` as an HTML page and a workbook."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pyadmm.core.files import write_atomic
from pyadmm.report.record import RECORD_FILE, RunRecord, record_from_json, record_to_json

HTML_FILE = "report.html"
XLSX_FILE = "report.xlsx"


class ReportPaths(NamedTuple):
    """The files of a report."""

    record: Path
    html: Path
    xlsx: Path


def write_report(record: RunRecord, out_dir: Path) -> ReportPaths:
    """Write ``record.json``, ``report.html`` and ``report.xlsx`` into ``out_dir``, each atomically.

    The same record gives the same bytes. Everything is rendered before anything is written.

    :raises PyadmmError: where a field of the record is not what it is declared to be.
    """
    # They load matplotlib and xlsxwriter, which takes a second; who reads records does not need them.
    from pyadmm.report.html import render_html  # noqa: PLC0415
    from pyadmm.report.xlsx import render_xlsx  # noqa: PLC0415

    paths = ReportPaths(*(out_dir / name for name in (RECORD_FILE, HTML_FILE, XLSX_FILE)))
    text = record_to_json(record)
    kept = record_from_json(text)
    contents: tuple[str | bytes, ...] = (text, render_html(kept), render_xlsx(kept))
    for path, content in zip(paths, contents, strict=True):
        write_atomic(path, content)
    return paths
