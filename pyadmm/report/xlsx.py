"""``report.xlsx``: the figures of a :class:`RunRecord` as numbers, with native charts.

Every text is written as text, also one that starts with ``=`` or looks like a link, so a name in a
record can never become a formula.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import xlsxwriter

from pyadmm.report.record import Accuracy, LayerRecord, Quantity, RunRecord
from pyadmm.report.reference import LiteratureRow, comparison

UNKNOWN = "unknown"
Value = str | int | float | bool | None
_INK, _SOFT, _HEAD = "#1B2330", "#E8F0FE", "#24415F"
_BLUE, _ORANGE, _GREEN, _VIOLET, _RED = "#2F6FDE", "#D9730D", "#178F7A", "#7656D6", "#C62F2F"
_INTEGER, _PERCENT, _RATIO = "#,##0", "0.00%", '"×"#,##0.0'
_TEXT = "General"
_SUMMARY_WIDTHS = (40, 24, 84)
_CHART = {"width": 720, "height": 330}
_BAR_LIMIT = 60


@dataclass(frozen=True)
class Column:
    """Heading, width in characters, and number format of a column.

    :param blank: None is an empty cell and a gap of its curve; a text would be drawn as 0.
    """

    title: str
    width: float = 12
    format: str = _TEXT
    blank: bool = False


class _Book:
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
            base = {"font_name": "Calibri", "font_size": 11, "font_color": _INK, "valign": "top"}
            self._formats[key] = self.book.add_format(base | properties)
        return self._formats[key]

    def sheet(self, name: str) -> Any:
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
        head = {"bold": True, "font_color": "#FFFFFF", "bg_color": _HEAD, "text_wrap": True}
        sheet.set_row(0, 34)
        for index, column in enumerate(columns):
            sheet.set_column(index, index, column.width)
            side = {"align": "left", "indent": 1} if column.format == _TEXT else {"align": "right"}
            sheet.write_string(0, index, column.title, self.style(valign="vcenter", **head, **side))
        sheet.freeze_panes(1, 1)
        sheet.repeat_rows(0)
        count = 0
        for count, row in enumerate(rows, 1):
            marked = {"bold": True, "bg_color": _SOFT} if count - 1 == highlight else {}
            for index, (column, value) in enumerate(zip(columns, row, strict=True)):
                side = {} if column.format == _TEXT else {"align": "right", "indent": 0}
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
        chart.set_x_axis(_AXIS | parts.get("x_axis", {}))
        chart.set_y_axis(_AXIS | parts.get("y_axis", {}))
        if "y2_axis" in parts:
            chart.set_y2_axis(_AXIS | {"major_gridlines": {"visible": False}} | parts["y2_axis"])
        legend = {"position": "bottom"} if len(parts["series"]) > 1 else {"none": True}
        chart.set_legend(legend)
        chart.show_na_as_empty_cell()
        chart.show_blanks_as("gap")
        chart.set_size(_CHART)
        sheet.insert_chart(at, chart)

    def close(self) -> bytes:
        self.book.close()
        return self.buffer.getvalue()


_AXIS: dict[str, Any] = {
    "num_font": {"size": 9, "color": "#5D6778"},
    "name_font": {"size": 9, "bold": False, "color": "#5D6778"},
    "line": {"color": "#C5CCD6"},
    "major_gridlines": {"visible": True, "line": {"color": "#E3E7ED", "width": 0.75}},
}
_DOWNWARDS = {"reverse": True, "crossing": "max", "major_gridlines": {"visible": False}}
"""Category axis of a bar chart: first row on top, the values' axis still below."""
_LINE = {"type": "scatter", "subtype": "straight"}


def render_xlsx(record: RunRecord) -> bytes:
    """The workbook as bytes; the same record gives the same bytes."""
    date = record.run.date
    created = datetime.fromisoformat(date) if date is not None else datetime(2000, 1, 1)
    book = _Book(created.replace(tzinfo=None))
    _summary(book, record)
    _layers(book, record)
    _decisions(book, record)
    _designs(book, record)
    _history(book, record)
    _bytes(book, record)
    _hardware(book, record)
    if record.passes:
        _passes(book, record)
    _literature(book, record)
    _checks(book, record)
    return book.close()


def _summary(book: _Book, record: RunRecord) -> None:
    sheet = book.sheet("Summary")
    for column, width in enumerate(_SUMMARY_WIDTHS):
        sheet.set_column(column, column, width)
    title = f"{record.run.model or 'unknown model'} on {record.run.board or 'unknown board'}"
    sheet.write_string(0, 0, title, book.style(bold=True, font_size=18))
    sheet.set_row(0, 28)
    sheet.freeze_panes(1, 0)
    row = 2
    for heading, lines in _summary_blocks(record):
        _heading(book, sheet, row, heading)
        for offset, (label, value, pattern, note) in enumerate(lines, 1):
            book.write(sheet, row + offset, 0, label)
            book.write(sheet, row + offset, 1, value, num_format=pattern, align="right", indent=0)
            book.write(sheet, row + offset, 2, note)
        row += len(lines) + 2
    for heading, sentences in (
        ("Done in this run", record.done or (UNKNOWN,)),
        ("Needs the vendor's tools or the board", record.needs_vendor_tools or (UNKNOWN,)),
        ("Notices", record.notes or ("none",)),
    ):
        _heading(book, sheet, row, heading)
        for offset, sentence in enumerate(sentences, 1):
            _sentence(book, sheet, row + offset, sentence)
        row += len(sentences) + 2


def _sentence(book: _Book, sheet: Any, row: int, text: str) -> None:
    """``text`` across the sheet; merged cells do not grow by themselves."""
    sheet.merge_range(row, 0, row, len(_SUMMARY_WIDTHS) - 1, "", book.style())
    book.write(sheet, row, 0, text)
    sheet.set_row(row, 15 * (1 + len(text) // sum(_SUMMARY_WIDTHS)))


def _heading(book: _Book, sheet: Any, row: int, text: str) -> None:
    head = book.style(bold=True, font_color="#FFFFFF", bg_color=_HEAD, align="left", indent=1)
    for column in range(len(_SUMMARY_WIDTHS)):
        sheet.write_string(row, column, "" if column else text, head)


_Line = tuple[str, Value, str, str]


def _summary_blocks(record: RunRecord) -> list[tuple[str, list[_Line]]]:
    return [
        ("Results", [*_result_lines(record), _checks_line(record)]),
        ("Run", _run_lines(record)),
        ("Steps: wall time, s", _step_lines(record)),
    ]


def _result_lines(record: RunRecord) -> list[_Line]:
    file, accuracies = record.file, record.accuracies
    hardware, cycles = record.hardware, record.hardware.cycles_per_image
    return [
        _accuracy_line("Accuracy, compressed integers, test", accuracies.integer_test),
        _accuracy_line("Accuracy, dense float, test", accuracies.dense_test),
        _accuracy_line("Accuracy, compressed integers, validation", accuracies.integer_validation),
        _accuracy_line("Accuracy, dense float, validation", accuracies.dense_validation),
        ("Pruning ratio", record.pruning_ratio, _RATIO, "dense weights over weights left"),
        ("Weights left", record.nnz, _INTEGER, "non-zero weights"),
        ("Weights, dense", record.weights, _INTEGER, "biases not counted"),
        (
            "File, bytes",
            None if file is None else file.bytes,
            _INTEGER,
            "every byte of the .admm file",
        ),
        (
            "Times smaller",
            None if file is None else file.ratio,
            _RATIO,
            "than the dense network, 32-bit floats",
        ),
        (
            "Images per second",
            hardware.images_per_s,
            _INTEGER,
            f"accelerator alone; cycles are {cycles.basis if cycles is not None else UNKNOWN}",
        ),
    ]


def _checks_line(record: RunRecord) -> _Line:
    checks = [check.result for check in record.checks]
    skipped = f"{checks.count('fail')} failed, {checks.count('skipped')} skipped"
    passed = checks.count("pass") if checks else None
    return ("Checks passed", passed, "0", f"of {len(checks)}; {skipped}")


def _run_lines(record: RunRecord) -> list[_Line]:
    run, data, text = record.run, record.dataset, _TEXT
    return [
        ("Preset", run.preset, text, ""),
        ("Seed", run.seed, "0", ""),
        ("Date", run.date, text, ""),
        ("Part", run.part, text, ""),
        ("pyadmm", run.pyadmm_version, text, ""),
        ("torch", run.torch_version, text, ""),
        ("Machine", run.machine, text, ""),
        ("Data set", data.name, text, data.source or ""),
        ("Data set complete", data.complete, text, ""),
    ]


def _step_lines(record: RunRecord) -> list[_Line]:
    steps: list[_Line] = [
        (step.name, step.seconds, "0.0", "reused from an earlier run" if step.reused else "")
        for step in record.steps
    ]
    return [*steps, ("all steps", record.seconds, "0.0", "")]


def _accuracy_line(label: str, accuracy: Accuracy | None) -> _Line:
    if accuracy is None:
        return (label, None, _PERCENT, "")
    error = 100 * accuracy.standard_error
    note = f"{accuracy.images:,} images; one standard error is {error:.2f} points"
    return (label, accuracy.value, _PERCENT, note)


def _split(quantity: Quantity | None) -> tuple[float | None, str | None]:
    return (None, None) if quantity is None else (quantity.value, quantity.basis)


def _layers(book: _Book, record: RunRecord) -> None:
    sheet = book.sheet("Layers")
    columns = [
        Column("Layer", 16),
        Column("Kind", 9),
        Column("Weights", 11, _INTEGER),
        Column("Left", 10, _INTEGER),
        Column("Kept", 9, _PERCENT),
        Column("Pruning ratio", 10, _RATIO),
        Column("Weight bits", 8, "0"),
        Column("Activation bits", 10, "0"),
        Column("Smallest scale", 11, "0.0000E+00"),
        Column("Largest scale", 11, "0.0000E+00"),
        Column("Bytes in file", 10, _INTEGER),
        Column("Break-even ratio", 11, "0.00"),
        Column("Break-even basis", 15),
        Column("Decision", 14),
        Column("Why", 34),
        Column("Kernel", 11),
        Column("R", 6, "0"),
        Column("G", 6, "0"),
        Column("Cycles per image", 11, _INTEGER),
        Column("Cycles basis", 14),
    ]
    count = book.table(sheet, columns, (_layer_row(layer) for layer in record.layers))
    if not count:
        return
    last = min(count, _BAR_LIMIT)
    ratios = _bars("Layers", "this run", last, 5, _BLUE)
    break_even = _bars("Layers", f"break-even, {record.break_even_basis}", last, 11, _RED)
    log = {"log_base": 10, "name": "pruning ratio (log)", "num_format": "#,##0.##"}
    names = {"major_gridlines": {"visible": False}}
    shape = {"type": "column"}
    place, second = f"A{count + 3}", f"L{count + 3}"
    book.chart(
        sheet,
        place,
        "Pruning ratio and break-even ratio per layer",
        shape,
        series=[ratios, break_even],
        x_axis=names,
        y_axis=log,
    )
    kept = _bars("Layers", "kept", last, 4, _GREEN)
    percent = {"name": "weights left", "num_format": "0%", "min": 0}
    book.chart(
        sheet, second, "Weights left per layer", shape, series=[kept], x_axis=names, y_axis=percent
    )


def _layer_row(layer: LayerRecord) -> list[Value]:
    kernel = layer.kernel
    return [
        layer.name,
        layer.kind,
        layer.weights,
        layer.nnz,
        layer.kept,
        layer.ratio,
        layer.weight_bits,
        layer.activation_bits,
        min(layer.scales, default=None),
        max(layer.scales, default=None),
        layer.bytes,
        *_split(layer.break_even),
        layer.decision,
        layer.why,
        None if kernel is None else kernel.family,
        None if kernel is None else kernel.rows,
        None if kernel is None else kernel.groups,
        *_split(None if kernel is None else kernel.cycles),
    ]


def _decisions(book: _Book, record: RunRecord) -> None:
    sheet = book.sheet("Break-even")
    columns = [
        Column("Layer", 16),
        Column("Planned ratio", 11, _RATIO),
        Column("Break-even ratio", 11, "0.00"),
        Column("Basis", 15),
        Column("Pruning ratio", 11, _RATIO),
        Column("Ratio over break-even", 12, "0.00"),
        Column("Ratio among active weights", 12, _RATIO),
        Column("Decision", 26),
        Column("Why", 90),
    ]
    rows = (
        [
            layer.name,
            layer.planned,
            *_split(layer.break_even),
            layer.ratio,
            layer.over_break_even,
            layer.living_ratio,
            layer.decision,
            layer.why,
        ]
        for layer in record.layers
    )
    count = book.table(sheet, columns, rows)
    for row, trial in enumerate(record.trials, count + 3):
        book.write(sheet, row, 0, f"trial {row - count - 2}: pushed")
        book.write(sheet, row, 1, trial.factor, num_format=_RATIO, align="right")
        book.write(sheet, row, 2, trial.accuracy, num_format=_PERCENT, align="right")
        book.write(sheet, row, 3, "validation accuracy")


def _designs(book: _Book, record: RunRecord) -> None:
    sheet = book.sheet("Sparse and dense")
    resources = list(dict.fromkeys(use.name for d in record.designs for use in d.resources))
    columns = [
        Column("Design", 18),
        Column("Layer", 16),
        Column("Kernel", 44),
        Column("Cycles per image", 12, _INTEGER),
        Column("Over sparse", 10, _RATIO),
        Column("Latency, cycles", 12, _INTEGER),
        Column("Basis", 12),
        *(Column(f"{name}, modelled", 11, _INTEGER) for name in resources),
    ]
    rows: list[list[Value]] = []
    for design in record.designs:
        ours = record.designs[0]
        cycles, basis = _split(design.cycles_per_image)
        latency, _ = _split(design.latency_cycles)
        used = {use.name: _split(use.used)[0] for use in design.resources}
        over = _ratio(cycles, ours.cycles_per_image.value)
        rows.append(
            [design.name, "all", "", cycles, over, latency, basis, *map(used.get, resources)]
        )
        for layer in design.layers:
            over = _ratio(layer.cycles, ours.cycles_of(layer.layer))
            blank = [""] * len(resources)
            row = [design.name, layer.layer, layer.kernel, layer.cycles, over, "", basis, *blank]
            rows.append(row)
    book.table(sheet, columns, rows)


def _ratio(value: float | None, ours: float | None) -> float | None:
    return value / ours if value is not None and ours else None


def _bars(sheet: str, name: str, last: int, values: int, colour: str) -> dict[str, Any]:
    """A bar for each of the rows 1 … ``last`` of ``sheet``, labelled by its first column."""
    return {
        "name": name,
        "categories": [sheet, 1, 0, last, 0],
        "values": [sheet, 1, values, last, values],
        "fill": {"color": colour},
        "gap": 60,
    }


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
    Column("Validation accuracy", 11, _PERCENT, blank=True),
    Column("Weights left", 11, _INTEGER, blank=True),
    Column("Pruned", 9, _PERCENT, blank=True),
    Column("Primal residual", 10, "0.000E+00", blank=True),
    Column("Dual residual", 10, "0.000E+00", blank=True),
    Column("ρ", 10, "0.000E+00", blank=True),
    Column("Time, s", 9, "0.0", blank=True),
)


def _history(book: _Book, record: RunRecord) -> None:
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


def _accuracy_chart(book: _Book, sheet: Any, record: RunRecord, last: int) -> None:
    known = [e.val_accuracy for e in record.history if e.val_accuracy is not None]
    floor = max(0.0, int(20 * min(known, default=0.0)) / 20)
    book.chart(
        sheet,
        "N2",
        "Validation accuracy and share of pruned weights",
        _LINE,
        series=[
            _curve("validation accuracy", last, 5, _BLUE),
            _curve("pruned weights (right axis)", last, 7, _ORANGE, y2_axis=True),
        ],
        x_axis=_epoch_axis(last),
        y_axis={"name": "accuracy", "num_format": "0.0%", "min": floor, "max": 1},
        y2_axis={"name": "pruned", "num_format": "0%", "min": 0, "max": 1},
    )


def _residuals_chart(book: _Book, sheet: Any, last: int) -> None:
    book.chart(
        sheet,
        "N20",
        "ADMM residuals",
        _LINE,
        series=[_curve("primal", last, 8, _BLUE), _curve("dual", last, 9, _ORANGE)],
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


def _bytes(book: _Book, record: RunRecord) -> None:
    sheet = book.sheet("Bytes")
    columns = [Column("Section", 24), Column("Bytes", 11, _INTEGER), Column("Share", 9, _PERCENT)]
    file = record.file
    if file is None:
        book.table(sheet, columns, [(None, None, None)])
        return
    parts = sorted(((s.name, s.bytes) for s in file.sections), key=lambda part: -part[1])
    if file.bytes > file.itemised:
        parts.append(("not itemised", file.bytes - file.itemised))
    rows = [(name, size, size / file.bytes) for name, size in parts]
    total = [("all", file.bytes, 1.0)]
    count = book.table(sheet, columns, [*rows, *total], highlight=len(rows))
    shown = min(count - 1, _BAR_LIMIT)
    if shown:
        series = _bars("Bytes", "bytes", shown, 1, _GREEN)
        book.chart(
            sheet,
            "E2",
            f"Where the {file.bytes:,} bytes go",
            {"type": "bar"},
            series=[series | {"data_labels": {"value": True, "num_format": _INTEGER}}],
            x_axis={"name": "bytes"},
            y_axis=_DOWNWARDS,
        )


def _hardware(book: _Book, record: RunRecord) -> None:
    sheet = book.sheet("Hardware")
    hardware = record.hardware
    columns = [
        Column("Figure", 26),
        Column("Value", 14, "#,##0.##"),
        Column("Limit", 12, _INTEGER),
        Column("Share", 10, _PERCENT),
        Column("Basis", 24),
        Column("Modelled", 14, "#,##0.##"),
    ]
    uses = hardware.resources
    rows: list[list[Value]] = []
    for resource in uses:
        value, basis = _split(resource.used)
        guess, _ = _split(resource.modelled)
        rows.append([resource.name, value, resource.limit, resource.share, basis, guess])
    for name, quantity in (
        (f"{hardware.clock_name}, MHz", hardware.clock_mhz),
        ("Cycles per image", hardware.cycles_per_image),
        ("Latency, cycles", hardware.latency_cycles),
        ("Inner-loop II, cycles", hardware.inner_ii),
    ):
        value, basis = _split(quantity)
        rows.append([name, value, "", "", basis, ""])
    for name, number, how in (
        ("Target clock, MHz", hardware.target_clock_mhz, "given"),
        ("Images per second", hardware.images_per_s, "from cycles and clock"),
        ("Latency, µs", hardware.latency_us, "from cycles and clock"),
    ):
        rows.append([name, number, "", "", how if number is not None else None, ""])
    rows.append(["Architecture", hardware.architecture, "", "", "", ""])
    book.table(sheet, columns, rows)
    shown = min(len(uses), _BAR_LIMIT)
    if any(resource.share is not None for resource in uses[:shown]):
        dashed = {"fill": {"none": True}, "border": {"color": _VIOLET, "dash_type": "dash"}}
        modelled = [r.used is not None and r.used.basis == "modelled" for r in uses[:shown]]
        series = _bars("Hardware", "share of the chip", shown, 3, _VIOLET)
        series["points"] = [dashed if is_modelled else None for is_modelled in modelled]
        book.chart(
            sheet,
            "H2",
            "Chip resources, share of the limit (dashed: modelled)",
            {"type": "bar"},
            series=[series | {"data_labels": {"value": True, "num_format": "0%"}}],
            x_axis={"num_format": "0%", "min": 0},
            y_axis=_DOWNWARDS,
        )


def _passes(book: _Book, record: RunRecord) -> None:
    sheet = book.sheet("Passes")
    columns = [
        Column("Pass", 22),
        Column("Runs", 10, _INTEGER),
        Column("Cycles per image", 14, _INTEGER),
        Column("Basis", 12),
        Column("At least", 14, _INTEGER),
        Column("Basis of the least", 14),
        Column("Bound by", 12),
    ]
    rows: list[list[Value]] = [
        [one.name, one.runs, *_split(one.cycles), *_split(one.least), one.bound]
        for one in record.passes
    ]
    book.table(sheet, columns, rows)


def _literature(book: _Book, record: RunRecord) -> None:
    sheet = book.sheet("Literature")
    columns = [
        Column("Method", 34),
        Column("Accuracy", 11, _PERCENT),
        Column("Points lost", 9, "0.00"),
        Column("Pruning ratio", 11, _RATIO),
        Column("Weights left", 11, _INTEGER),
        Column("Bytes", 12, _INTEGER),
        Column("Times smaller", 11, _RATIO),
        Column("What the size counts", 36),
        Column("Source", 46),
    ]
    book.table(sheet, columns, map(_literature_row, comparison(record)), highlight=0)


def _literature_row(row: LiteratureRow) -> list[Value]:
    accuracy = None if row.accuracy_percent is None else row.accuracy_percent / 100
    figures = [accuracy, row.loss_points, row.pruning_ratio, row.nnz, row.bytes, row.size_ratio]
    missing = None if row.ours else "–"
    shown: list[Value] = [missing if value is None else value for value in figures]
    return [row.method, *shown, row.counts, row.source]


def _checks(book: _Book, record: RunRecord) -> None:
    sheet = book.sheet("Checks")
    columns = [
        Column("Check", 20),
        Column("Result", 10),
        Column("What was compared", 60),
        Column("Images", 10, _INTEGER),
        Column("Reason", 50),
    ]
    rows: list[list[Value]] = [
        [
            check.name,
            check.result,
            check.compared,
            "–" if check.images is None else check.images,
            check.reason or "",
        ]
        for check in record.checks
    ]
    last = book.table(sheet, columns, rows)
    for word, ink, paper in (
        ("pass", "#157A4A", "#E5F5EC"),
        ("fail", "#C62F2F", "#FDECEB"),
        ("skipped", "#8A5A00", "#FDF3DD"),
    ):
        rule = {"type": "cell", "criteria": "==", "value": f'"{word}"'}
        colours = book.book.add_format({"font_color": ink, "bg_color": paper, "bold": True})
        sheet.conditional_format(1, 1, max(last, 1), 1, rule | {"format": colours})
