"""``report.xlsx``: the figures of a :class:`RunRecord` as numbers, with native charts.

Every text is written as text, also one that starts with ``=`` or looks like a link, so a name in a
record can never become a formula.
"""

from __future__ import annotations

from datetime import datetime

from pyadmm.report.record import RunRecord
from pyadmm.report.xlsx_hardware import add_checks, add_hardware, add_literature, add_passes
from pyadmm.report.xlsx_layers import add_bytes, add_decisions, add_designs, add_layers
from pyadmm.report.xlsx_summary import add_summary
from pyadmm.report.xlsx_training import add_history
from pyadmm.report.xlsx_workbook import Book


def render_xlsx(record: RunRecord) -> bytes:
    """The workbook as bytes; the same record gives the same bytes."""
    date = record.run.date
    created = datetime.fromisoformat(date) if date is not None else datetime(2000, 1, 1)
    book = Book(created.replace(tzinfo=None))
    add_summary(book, record)
    add_layers(book, record)
    add_decisions(book, record)
    add_designs(book, record)
    add_history(book, record)
    add_bytes(book, record)
    add_hardware(book, record)
    if record.passes:
        add_passes(book, record)
    add_literature(book, record)
    add_checks(book, record)
    return book.close()
