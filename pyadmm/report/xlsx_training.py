"""The sheet ``History`` of ``report.xlsx``: epochs, accuracies, ADMM residuals."""

from __future__ import annotations

from typing import Any

from pyadmm.report.record import RunRecord
from pyadmm.report.xlsx_workbook import BLUE, INTEGER, ORANGE, PERCENT, Book, Column, Value

_LINE = {"type": "scatter", "subtype": "straight"}


def _curve(name: str, last: int, values: int, colour: str, **more: Any) -> dict[str, Any]:
    """A line over the epochs 1 … ``last`` of the History sheet."""
    return {
        "name": name,
        "categories": ["History", 1, 0, last, 0],
        "values": ["History", 1, values, last, values],
        "line": {"color": colour, "width": 2},
        **more,
    }


_HISTORY_COLUMNS = (
    Column("Row", 6, "0"),
    Column("Step", 13),
    Column("Phase", 13),
    Column("Epoch", 7, "0"),
    Column("Loss", 10, "0.0000", blank=True),
    Column("Validation accuracy", 11, PERCENT, blank=True),
    Column("Weights left", 11, INTEGER, blank=True),
    Column("Pruned", 9, PERCENT, blank=True),
    Column("Primal residual", 10, "0.000E+00", blank=True),
    Column("Dual residual", 10, "0.000E+00", blank=True),
    Column("ρ", 10, "0.000E+00", blank=True),
    Column("Time, s", 9, "0.0", blank=True),
)


def add_history(book: Book, record: RunRecord) -> None:
    """Add the sheet of all epochs with charts of accuracy and residuals."""
    sheet = book.sheet("History")
    last = book.table(sheet, _HISTORY_COLUMNS, _history_rows(record))
    if not last:
        return
    _accuracy_chart(book, sheet, record, last)
    if any(e.primal or e.dual for e in record.history):
        _residuals_chart(book, sheet, last)


def _history_rows(record: RunRecord) -> list[list[Value]]:
    weights = record.weights
    return [
        [
            number,
            epoch.step,
            epoch.phase,
            epoch.epoch,
            epoch.loss,
            epoch.val_accuracy,
            epoch.nnz,
            None if weights is None or epoch.nnz is None else 1 - epoch.nnz / weights,
            epoch.primal,
            epoch.dual,
            epoch.rho,
            epoch.seconds,
        ]
        for number, epoch in enumerate(record.history, 1)
    ]


def _accuracy_chart(book: Book, sheet: Any, record: RunRecord, last: int) -> None:
    known = [e.val_accuracy for e in record.history if e.val_accuracy is not None]
    floor = max(0.0, int(20 * min(known, default=0.0)) / 20)
    book.chart(
        sheet,
        "N2",
        "Validation accuracy and share of pruned weights",
        _LINE,
        series=[
            _curve("validation accuracy", last, 5, BLUE),
            _curve("pruned weights (right axis)", last, 7, ORANGE, y2_axis=True),
        ],
        x_axis=_epoch_axis(last),
        y_axis={"name": "accuracy", "num_format": "0.0%", "min": floor, "max": 1},
        y2_axis={"name": "pruned", "num_format": "0%", "min": 0, "max": 1},
    )


def _residuals_chart(book: Book, sheet: Any, last: int) -> None:
    book.chart(
        sheet,
        "N20",
        "ADMM residuals",
        _LINE,
        series=[_curve("primal", last, 8, BLUE), _curve("dual", last, 9, ORANGE)],
        x_axis=_epoch_axis(last),
        y_axis={"name": "residual (log)", "log_base": 10, "num_format": "0.E+00"},
    )


def _epoch_axis(last: int) -> dict[str, Any]:
    """The axis of the epochs 1 … ``last``."""
    return {
        "name": "epoch, all phases",
        "min": 1,
        "max": max(last, 2),
        "major_gridlines": {"visible": False},
    }
