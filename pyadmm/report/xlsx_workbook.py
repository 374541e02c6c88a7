"""The workbook behind ``report.xlsx``: formats, one table and one chart writer for all sheets.

xlsxwriter writes the file. What is here are the report's own formats and the rule that every text is
written as text.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import xlsxwriter

from pyadmm.report.record import Quantity

UNKNOWN = "unknown"
Value = str | int | float | bool | None
INK, SOFT, HEAD = "#1B2330", "#E8F0FE", "#24415F"
BLUE, ORANGE, GREEN, VIOLET, RED = "#2F6FDE", "#D9730D", "#178F7A", "#7656D6", "#C62F2F"
INTEGER, PERCENT, RATIO = "#,##0", "0.00%", '"×"#,##0.0'
TEXT = "General"
CHART = {"width": 720, "height": 330}
BAR_LIMIT = 60


@dataclass(frozen=True)
class Column:
    """Heading, width in characters, and number format of a column.

    :param blank: None is an empty cell and a gap of its curve; a text would be drawn as 0.
    """

    title: str
    width: float = 12
    format: str = TEXT
    blank: bool = False


class Book:
    """A workbook in memory with the few formats and the table writer that all sheets share."""

    def __init__(self, created: datetime) -> None:
        self.buffer = io.BytesIO()
        options = {
            "in_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        }
        self.book = xlsxwriter.Workbook(self.buffer, options)
        self.book.set_properties({"title": "pyadmm report", "created": created})
        self._formats: dict[tuple[tuple[str, Any], ...], Any] = {}

    def style(self, **properties: Any) -> Any:
        """The format with ``properties``, made once."""
        key = tuple(sorted(properties.items()))
        if key not in self._formats:
            base = {"font_name": "Calibri", "font_size": 11, "font_color": INK, "valign": "top"}
            self._formats[key] = self.book.add_format(base | properties)
        return self._formats[key]

    def sheet(self, name: str) -> Any:
        """A new sheet, set up for printing."""
        sheet = self.book.add_worksheet(name)
        sheet.hide_gridlines(2)
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)
        return sheet

    def write(self, sheet: Any, row: int, column: int, value: Value, **style: Any) -> None:
        """One cell; None is the grey word 'unknown', a text is always a text."""
        if value is None:
            grey = {"font_color": "#7A8494", "italic": True, "align": "left", "indent": 1} | style
            sheet.write_string(row, column, UNKNOWN, self.style(**grey))
        elif isinstance(value, bool):
            sheet.write_string(row, column, "yes" if value else "no", self.style(**style))
        elif isinstance(value, str):
            text = {"text_wrap": True, "align": "left", "indent": 1} | style
            sheet.write_string(row, column, value, self.style(**text))
        else:
            sheet.write_number(row, column, value, self.style(**style))

    def table(
        self,
        sheet: Any,
        columns: Sequence[Column],
        rows: Iterable[Sequence[Value]],
        highlight: int | None = None,
    ) -> int:
        """A table from the top left cell, its heading frozen; returns the number of rows."""
        head = {"bold": True, "font_color": "#FFFFFF", "bg_color": HEAD, "text_wrap": True}
        sheet.set_row(0, 34)
        for index, column in enumerate(columns):
            sheet.set_column(index, index, column.width)
            side = {"align": "left", "indent": 1} if column.format == TEXT else {"align": "right"}
            sheet.write_string(0, index, column.title, self.style(valign="vcenter", **head, **side))
        sheet.freeze_panes(1, 1)
        sheet.repeat_rows(0)
        count = 0
        for count, row in enumerate(rows, 1):
            marked = {"bold": True, "bg_color": SOFT} if count - 1 == highlight else {}
            for index, (column, value) in enumerate(zip(columns, row, strict=True)):
                side = {} if column.format == TEXT else {"align": "right", "indent": 0}
                if value is not None or not column.blank:
                    self.write(
                        sheet, count, index, value, num_format=column.format, **marked, **side
                    )
        if count:
            sheet.autofilter(0, 0, count, len(columns) - 1)
        return count

    def chart(self, sheet: Any, at: str, title: str, kind: Mapping[str, str], **parts: Any) -> None:
        """A chart of ``parts['series']`` at cell ``at`` of ``sheet``."""
        chart = self.book.add_chart(dict(kind))
        for series in parts["series"]:
            chart.add_series(series)
        chart.set_title({"name": title, "overlay": False, "name_font": {"size": 12}})
        chart.set_x_axis(AXIS | parts.get("x_axis", {}))
        chart.set_y_axis(AXIS | parts.get("y_axis", {}))
        if "y2_axis" in parts:
            chart.set_y2_axis(AXIS | {"major_gridlines": {"visible": False}} | parts["y2_axis"])
        legend = {"position": "bottom"} if len(parts["series"]) > 1 else {"none": True}
        chart.set_legend(legend)
        chart.show_na_as_empty_cell()
        chart.show_blanks_as("gap")
        chart.set_size(CHART)
        sheet.insert_chart(at, chart)

    def close(self) -> bytes:
        """Finish the workbook; gives its bytes."""
        self.book.close()
        return self.buffer.getvalue()


AXIS: dict[str, Any] = {
    "num_font": {"size": 9, "color": "#5D6778"},
    "name_font": {"size": 9, "bold": False, "color": "#5D6778"},
    "line": {"color": "#C5CCD6"},
    "major_gridlines": {"visible": True, "line": {"color": "#E3E7ED", "width": 0.75}},
}
DOWNWARDS = {"reverse": True, "crossing": "max", "major_gridlines": {"visible": False}}
"""Category axis of a bar chart: first row on top, the values' axis still below."""


def value_and_basis(quantity: Quantity | None) -> tuple[float | None, str | None]:
    """The number of a figure and its basis, both None where it is unknown."""
    return (None, None) if quantity is None else (quantity.value, quantity.basis)


def bars(sheet: str, name: str, last: int, values: int, colour: str) -> dict[str, Any]:
    """A bar for each of the rows 1 … ``last`` of ``sheet``, labelled by its first column."""
    return {
        "name": name,
        "categories": [sheet, 1, 0, last, 0],
        "values": [sheet, 1, values, last, values],
        "fill": {"color": colour},
        "gap": 60,
    }
