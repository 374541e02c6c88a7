"""The sheets of ``report.xlsx`` about the accelerator, its checks, and the literature."""

from __future__ import annotations

from pyadmm.report.record import RunRecord
from pyadmm.report.reference import LiteratureRow, comparison
from pyadmm.report.xlsx_workbook import (
    BAR_LIMIT,
    DOWNWARDS,
    INTEGER,
    PERCENT,
    RATIO,
    VIOLET,
    Book,
    Column,
    Value,
    bars,
    value_and_basis,
)


def add_hardware(book: Book, record: RunRecord) -> None:
    """Add the sheet of the accelerator's cycles, clock and resources."""
    sheet = book.sheet("Hardware")
    hardware = record.hardware
    columns = [
        Column("Figure", 26),
        Column("Value", 14, "#,##0.##"),
        Column("Limit", 12, INTEGER),
        Column("Share", 10, PERCENT),
        Column("Basis", 24),
        Column("Modelled", 14, "#,##0.##"),
    ]
    uses = hardware.resources
    rows: list[list[Value]] = []
    for resource in uses:
        value, basis = value_and_basis(resource.used)
        guess, _ = value_and_basis(resource.modelled)
        share: Value = "none" if resource.absent else resource.share
        rows.append([resource.name, value, resource.limit, share, basis, guess])
    for name, quantity in (
        (f"{hardware.clock_name}, MHz", hardware.clock_mhz),
        ("Cycles per image", hardware.cycles_per_image),
        ("Latency, cycles", hardware.latency_cycles),
        ("Inner-loop II, cycles", hardware.inner_ii),
    ):
        value, basis = value_and_basis(quantity)
        rows.append([name, value, "", "", basis, ""])
    for name, number, how in (
        ("Target clock, MHz", hardware.target_clock_mhz, "given"),
        ("Images per second", hardware.images_per_s, "from cycles and clock"),
        ("Latency, µs", hardware.latency_us, "from cycles and clock"),
    ):
        rows.append([name, number, "", "", how if number is not None else None, ""])
    rows.append(["Architecture", hardware.architecture, "", "", "", ""])
    book.table(sheet, columns, rows)
    shown = min(len(uses), BAR_LIMIT)
    if any(resource.share is not None for resource in uses[:shown]):
        dashed = {"fill": {"none": True}, "border": {"color": VIOLET, "dash_type": "dash"}}
        modelled = [r.used is not None and r.used.basis == "modelled" for r in uses[:shown]]
        series = bars("Hardware", "share of the chip", shown, 3, VIOLET)
        series["points"] = [dashed if is_modelled else None for is_modelled in modelled]
        book.chart(
            sheet,
            "H2",
            "Chip resources, share of the limit (dashed: modelled)",
            {"type": "bar"},
            series=[series | {"data_labels": {"value": True, "num_format": "0%"}}],
            x_axis={"num_format": "0%", "min": 0},
            y_axis=DOWNWARDS,
        )


def add_passes(book: Book, record: RunRecord) -> None:
    """Add the sheet of the layer-sequential array's passes."""
    sheet = book.sheet("Passes")
    columns = [
        Column("Pass", 22),
        Column("Runs", 10, INTEGER),
        Column("Cycles per image", 14, INTEGER),
        Column("Basis", 12),
        Column("At least", 14, INTEGER),
        Column("Basis of the least", 14),
        Column("Bound by", 12),
        Column("Cycles read by the driver", 14, INTEGER),
        Column("Basis of the driver", 14),
        Column("Waiting for memory", 14, INTEGER),
        Column("Basis of the waiting", 14),
    ]
    rows: list[list[Value]] = [
        [
            *(one.name, one.runs, *value_and_basis(one.cycles), *value_and_basis(one.least)),
            *(one.bound, *value_and_basis(one.driver), *value_and_basis(one.waiting)),
        ]
        for one in record.passes
    ]
    book.table(sheet, columns, rows)


def add_literature(book: Book, record: RunRecord) -> None:
    """Add the sheet of published results."""
    sheet = book.sheet("Literature")
    columns = [
        Column("Method", 34),
        Column("Accuracy", 11, PERCENT),
        Column("Points lost", 9, "0.00"),
        Column("Pruning ratio", 11, RATIO),
        Column("Weights left", 11, INTEGER),
        Column("Bytes", 12, INTEGER),
        Column("Times smaller", 11, RATIO),
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


def add_checks(book: Book, record: RunRecord) -> None:
    """Add the sheet of checks and their results."""
    sheet = book.sheet("Checks")
    columns = [
        Column("Check", 20),
        Column("Result", 10),
        Column("What was compared", 60),
        Column("Images", 10, INTEGER),
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
