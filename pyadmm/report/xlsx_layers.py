"""The sheets of ``report.xlsx`` about single layers: pruning, break-even, kernels, bytes."""

from __future__ import annotations

from pyadmm.report.record import LayerRecord, RunRecord
from pyadmm.report.xlsx_workbook import (
    BAR_LIMIT,
    BLUE,
    DOWNWARDS,
    GREEN,
    INTEGER,
    PERCENT,
    RATIO,
    RED,
    Book,
    Column,
    Value,
    bars,
    value_and_basis,
)


def add_layers(book: Book, record: RunRecord) -> None:
    """Add the sheet of all layers with charts of their pruning."""
    sheet = book.sheet("Layers")
    columns = [
        Column("Layer", 16),
        Column("Kind", 9),
        Column("Weights", 11, INTEGER),
        Column("Left", 10, INTEGER),
        Column("Kept", 9, PERCENT),
        Column("Pruning ratio", 10, RATIO),
        Column("Weight bits", 8, "0"),
        Column("Activation bits", 10, "0"),
        Column("Smallest scale", 11, "0.0000E+00"),
        Column("Largest scale", 11, "0.0000E+00"),
        Column("Bytes in file", 10, INTEGER),
        Column("Break-even ratio", 11, "0.00"),
        Column("Break-even basis", 15),
        Column("Decision", 14),
        Column("Why", 34),
        Column("Kernel", 11),
        Column("R", 6, "0"),
        Column("G", 6, "0"),
        Column("Cycles per image", 11, INTEGER),
        Column("Cycles basis", 14),
    ]
    count = book.table(sheet, columns, (_layer_row(layer) for layer in record.layers))
    if not count:
        return
    last = min(count, BAR_LIMIT)
    ratios = bars("Layers", "this run", last, 5, BLUE)
    break_even = bars("Layers", f"break-even, {record.break_even_basis}", last, 11, RED)
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
    kept = bars("Layers", "kept", last, 4, GREEN)
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
        *value_and_basis(layer.break_even),
        layer.decision,
        layer.why,
        None if kernel is None else kernel.family,
        None if kernel is None else kernel.rows,
        None if kernel is None else kernel.groups,
        *value_and_basis(None if kernel is None else kernel.cycles),
    ]


def add_decisions(book: Book, record: RunRecord) -> None:
    """Add the sheet of break-even ratios and decisions."""
    sheet = book.sheet("Break-even")
    columns = [
        Column("Layer", 16),
        Column("Planned ratio", 11, RATIO),
        Column("Break-even ratio", 11, "0.00"),
        Column("Basis", 15),
        Column("Pruning ratio", 11, RATIO),
        Column("Ratio over break-even", 12, "0.00"),
        Column("Ratio among active weights", 12, RATIO),
        Column("Decision", 26),
        Column("Why", 90),
    ]
    rows = (
        [
            layer.name,
            layer.planned,
            *value_and_basis(layer.break_even),
            layer.ratio,
            layer.over_break_even,
            layer.active_ratio,
            layer.decision,
            layer.why,
        ]
        for layer in record.layers
    )
    count = book.table(sheet, columns, rows)
    for row, trial in enumerate(record.trials, count + 3):
        book.write(sheet, row, 0, f"trial {row - count - 2}: pruned further")
        book.write(sheet, row, 1, trial.factor, num_format=RATIO, align="right")
        book.write(sheet, row, 2, trial.accuracy, num_format=PERCENT, align="right")
        book.write(sheet, row, 3, "validation accuracy")


def add_designs(book: Book, record: RunRecord) -> None:
    """Add the sheet that compares sparse and dense accelerators."""
    sheet = book.sheet("Sparse and dense")
    resources = list(dict.fromkeys(use.name for d in record.designs for use in d.resources))
    columns = [
        Column("Design", 18),
        Column("Layer", 16),
        Column("Kernel", 44),
        Column("Cycles per image", 12, INTEGER),
        Column("Over sparse", 10, RATIO),
        Column("Latency, cycles", 12, INTEGER),
        Column("Basis", 12),
        *(Column(f"{name}, modelled", 11, INTEGER) for name in resources),
    ]
    rows: list[list[Value]] = []
    for design in record.designs:
        ours = record.designs[0]
        cycles, basis = value_and_basis(design.cycles_per_image)
        latency, _ = value_and_basis(design.latency_cycles)
        used = {use.name: value_and_basis(use.used)[0] for use in design.resources}
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


def add_bytes(book: Book, record: RunRecord) -> None:
    """Add the sheet that says where the bytes of the file are."""
    sheet = book.sheet("Bytes")
    columns = [Column("Section", 24), Column("Bytes", 11, INTEGER), Column("Share", 9, PERCENT)]
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
    shown = min(count - 1, BAR_LIMIT)
    if shown:
        series = bars("Bytes", "bytes", shown, 1, GREEN)
        book.chart(
            sheet,
            "E2",
            f"Where the {file.bytes:,} bytes go",
            {"type": "bar"},
            series=[series | {"data_labels": {"value": True, "num_format": INTEGER}}],
            x_axis={"name": "bytes"},
            y_axis=DOWNWARDS,
        )
