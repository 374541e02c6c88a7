"""The tables of ``report.html``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pyadmm.report.html_page import Cell, Row, Table
from pyadmm.report.html_words import (
    UNKNOWN,
    decimals,
    duration,
    number,
    percent,
    quantity_cell,
    scales_text,
    text_cell,
    times,
    unbroken,
)
from pyadmm.report.record import (
    DesignRecord,
    Epoch,
    Hardware,
    Kernel,
    LayerRecord,
    Quantity,
    RunRecord,
)
from pyadmm.report.reference import LiteratureRow, comparison

_HISTORY_ROWS = 400
_LAYER_COLUMNS = 8
"""With more layers than this the table is transposed, to fit the width of the page."""


def layers_table(record: RunRecord) -> Table:
    """Pruning, bits, bytes, break-even and kernel of every layer."""
    return Table(
        name="layers",
        title="Layers",
        columns=(
            "Layer",
            "Weights",
            "Left",
            "Ratio",
            "Bits w / a",
            "Scale",
            "Bytes in file",
            "Kernel",
            "Cycles",
        ),
        rows=tuple(Row(_layer_cells(layer)) for layer in record.layers),
        numeric=frozenset({1, 2, 3, 4, 5, 6, 8}),
        note="Bits are those of weights and activations. A kernel has R output rows per tile and G "
        "groups. Cycles are clock cycles per image.",
    )


def decisions_table(record: RunRecord) -> Table:
    """Which layers stay dense or are pruned further, and why."""
    tried = ", ".join(f"{times(t.factor)}: {t.accuracy:.2%}" for t in record.trials)
    return Table(
        name="decisions",
        title="Break-even and decisions",
        columns=("Layer", "Planned", "Break-even", "Ratio", "Over break-even", "Decision"),
        rows=tuple(Row(_decision_cells(layer)) for layer in record.layers if _decided(layer)),
        numeric=frozenset({1, 2, 3, 4}),
        note="Break-even is the least pruning ratio at which the sparse kernel of the layer is not "
        "slower than the dense one on the same area (ADMM-NN section 5.1). 'Planned' is the ratio "
        "before break-even was considered. The small figure is the ratio among weights between "
        "active channels; inactive channels make dense hardware smaller as well."
        + (f" Trials of pruning further, by validation accuracy: {tried}." if tried else ""),
        empty="This run measured no break-even (break_even: true does) and no layer was exempted.",
    )


def _decided(layer: LayerRecord) -> bool:
    """Whether there is more to say of a layer than its ratio, which the table of layers has."""
    return not (layer.planned is None and layer.break_even is None and layer.decision is None)


def _decision_cells(layer: LayerRecord) -> tuple[Cell, ...]:
    active = layer.active_ratio
    below = layer.over_break_even is not None and layer.over_break_even < 1
    return (
        Cell(layer.name),
        text_cell(times(layer.planned)),
        quantity_cell(layer.break_even, "×{:.2f}"),
        text_cell(times(layer.ratio), "" if active is None else f"{times(active)} of active"),
        Cell("below" if below else times(layer.over_break_even))
        if layer.over_break_even is not None
        else text_cell(None),
        text_cell(layer.decision, layer.why or ""),
    )


def designs_table(record: RunRecord) -> Table:
    """The sparse accelerator compared with dense ones on the same board."""
    designs = record.designs
    ours = designs[0] if designs else None
    layers = [each.layer for each in ours.layers] if ours is not None else []
    columns = ["Design", "Cycles per image", "Latency, cycles", *layers, "LUT"]
    grid: list[tuple[Cell, ...]] = []
    for design in designs:
        assert ours is not None
        lut = next((r.used for r in design.resources if r.name == "LUT"), None)
        grid.append(
            (
                Cell(design.name),
                _compared(design.cycles_per_image, ours.cycles_per_image),
                _compared(design.latency_cycles, ours.latency_cycles),
                *(_layer_cycles(design, ours, layer) for layer in layers),
                quantity_cell(lut),
            )
        )
    rows = [Row(cells, "ours" if number == 0 else "") for number, cells in enumerate(grid)]
    if len(layers) > _LAYER_COLUMNS:
        names, *figures = zip(map(Cell, columns), *grid, strict=True)
        columns = [cell.text for cell in names]
        rows = [Row(cells) for cells in figures]
    return Table(
        name="designs",
        title="Sparse against dense on the same LUTs",
        columns=tuple(columns),
        rows=tuple(rows),
        numeric=frozenset(range(1, len(columns))),
        note="'dense' is the fastest all-dense accelerator of the trained network on at most the LUTs "
        "of the sparse one; it stores and multiplies zeros. 'dense, compact' has the shapes without "
        "inactive channels. Columns of layers show the cycles per image in which their kernels work. "
        "A small figure is the multiple of the sparse accelerator's figure.",
        empty="No comparison is recorded.",
    )


def _compared(quantity: Quantity | None, ours: Quantity | None) -> Cell:
    if quantity is None:
        return text_cell(None)
    cell = quantity_cell(quantity)
    return cell if quantity is ours else replace(cell, note=_over(quantity.value, ours))


def _layer_cycles(design: DesignRecord, ours: DesignRecord, layer: str) -> Cell:
    cycles, own = design.cycles_of(layer), ours.cycles_of(layer)
    if cycles is None:
        return text_cell(None)
    note = "" if design is ours or not own else times(cycles / own)
    return Cell(number(cycles), note)


def _over(value: float, ours: Quantity | None) -> str:
    return "" if ours is None or not ours.value else times(value / ours.value)


def _layer_cells(layer: LayerRecord) -> tuple[Cell, ...]:
    parts = ", ".join(unbroken(f"{part.name} {part.bytes:,}") for part in layer.parts[:8])
    kernel = layer.kernel
    return (
        Cell(layer.name, f"{layer.kind} {'×'.join(map(str, layer.shape))}"),
        text_cell(number(layer.weights)),
        text_cell(number(layer.nnz), "" if layer.kept is None else f"{layer.kept:.2%}"),
        text_cell(times(layer.ratio)),
        text_cell(f"{number(layer.weight_bits)} / {number(layer.activation_bits)}"),
        text_cell(scales_text(layer.scales)),
        text_cell(number(layer.bytes), parts),
        _kernel_cell(kernel),
        quantity_cell(kernel.cycles if kernel is not None else None),
    )


def _kernel_cell(kernel: Kernel | None) -> Cell:
    if kernel is None:
        return text_cell(None)
    return text_cell(
        kernel.family,
        unbroken(f"R {number(kernel.rows)}, G {number(kernel.groups)}"),
    )


def literature_table(record: RunRecord) -> Table:
    """The run compared with published results of the same network."""
    rows = tuple(_literature_row(row) for row in comparison(record))
    return Table(
        name="literature",
        title="Beside the literature",
        columns=(
            "Method",
            "Accuracy",
            "Pruning ratio",
            "Weights left",
            "Bytes",
            "× smaller",
            "What the size counts",
            "Source",
        ),
        rows=rows if len(rows) > 1 else (),
        numeric=frozenset({1, 2, 3, 4, 5}),
        note="Sizes can be compared only where they count the same: 'weights only' leaves out the "
        "positions, without which the network cannot be decoded; 'pruning only' states no size. "
        "Published figures are quoted and were not reproduced; a dash means not published. 'lost' "
        "is the loss against the dense network of the same paper.",
        empty="There is no published figure for this model.",
    )


def _literature_row(row: LiteratureRow) -> Row:
    missing = UNKNOWN if row.ours else "–"

    def show(value: float | None, pattern: str) -> Cell:
        style = "unknown" if value is None else ""
        return Cell(missing if value is None else pattern.format(value), style=style)

    digits = 2 if row.ours else decimals(row.accuracy_percent)
    accuracy = show(row.accuracy_percent, f"{{:.{digits}f}} %")
    if row.loss_points is not None:
        lost = unbroken(f"{row.loss_points:.2f} points lost")
        accuracy = Cell(accuracy.text, lost) if row.accuracy_percent is not None else Cell(lost)
    cells = (
        Cell(row.method),
        accuracy,
        Cell(times(row.pruning_ratio)) if row.pruning_ratio else show(None, ""),
        show(row.nnz, "{:,}"),
        show(row.bytes, "{:,}"),
        Cell(times(row.size_ratio)) if row.size_ratio else show(None, ""),
        Cell(row.counts),
        Cell(row.source),
    )
    return Row(cells, "ours" if row.ours else "")


def checks_table(record: RunRecord) -> Table:
    """Table of the checks and their results."""
    rows = [
        Row(
            (
                Cell(check.result, style=f"result {check.result}"),
                Cell(check.name),
                Cell(check.compared, check.reason or ""),
                Cell("–" if check.images is None else number(check.images)),
            )
        )
        for check in record.checks
    ]
    return Table(
        name="checks",
        title="Checks",
        columns=("Result", "Check", "What was compared", "Images"),
        rows=tuple(rows),
        numeric=frozenset({3}),
        note="Comparisons are of integers and exact: no tolerance. A skipped check is not a pass.",
    )


def steps_table(record: RunRecord) -> Table:
    """Steps of the run with their times."""
    longest = max((step.seconds or 0 for step in record.steps), default=0) or 1
    rows = [
        Row(
            (
                Cell(step.name, "reused from an earlier run" if step.reused else ""),
                Cell(
                    duration(step.seconds),
                    share=round(100 * (step.seconds or 0) / longest),
                    style="" if step.seconds is not None else "unknown",
                ),
            )
        )
        for step in record.steps
    ]
    if rows:
        rows.append(Row((Cell("all steps"), text_cell(duration(record.seconds))), "total"))
    return Table("steps", "Steps and wall times", ("Step", "Wall time"), tuple(rows))


def hardware_table(hardware: Hardware) -> Table:
    """Cycles, clock and rate of the accelerator, each with its basis."""
    clock = hardware.target_clock_mhz
    rows = [
        (Cell("Architecture"), text_cell(hardware.architecture)),
        (Cell("Target clock"), text_cell(number(clock, "{:g} MHz"))),
        (Cell(hardware.clock_name), quantity_cell(hardware.clock_mhz, "{:.1f} MHz")),
        (Cell("Cycles per image"), quantity_cell(hardware.cycles_per_image)),
        (Cell("Latency, cycles"), quantity_cell(hardware.latency_cycles)),
        (Cell("Latency"), text_cell(number(hardware.latency_us, "{:,.1f} µs"))),
        (Cell("Inner-loop II"), quantity_cell(hardware.inner_ii, "{:g}")),
        (Cell("Images per second"), text_cell(number(hardware.images_per_s))),
    ]
    return Table(
        name="hardware",
        title="Accelerator",
        columns=("Figure", "Value"),
        rows=tuple(Row(cells) for cells in rows),
        numeric=frozenset({1}),
        note="The tag names the basis of a figure. Rates are those of the accelerator alone, at the "
        "lower of the target clock and this clock.",
    )


def passes_table(record: RunRecord) -> Table:
    """Passes of the layer-sequential array over the layers."""
    rows = [
        Row(
            (
                Cell(one.name),
                Cell(number(one.runs)),
                quantity_cell(one.cycles),
                quantity_cell(one.least),
                Cell(one.bound),
                quantity_cell(one.driver),
                quantity_cell(one.waiting),
            )
        )
        for one in record.passes
    ]
    return Table(
        name="passes",
        title="Passes of the layer-sequential array",
        columns=(
            *("Pass", "Runs", "Cycles per image", "At least", "Bound by"),
            *("Cycles read by the driver", "Waiting for memory"),
        ),
        rows=tuple(rows),
        numeric=frozenset({1, 2, 3, 5, 6}),
        note="A pass computes a layer with what follows it at once. Its cycles are at least what the "
        "roofline model gives: entries to compute, results to drain, or bytes to and from memory."
        + (
            " The last two columns are what the driver read of the array's counters on the "
            "simulated board."
            if any(one.driver is not None for one in record.passes)
            else ""
        ),
    )


def resources_table(hardware: Hardware) -> Table:
    """Table of the chip's resources that the accelerator uses."""
    rows = []
    for resource in hardware.resources:
        share = text_cell(number(resource.share, "{:.1%}"))
        if resource.absent:
            share = Cell("none")
        elif (resource.share or 0) > 1:
            share = Cell(share.text, style="bad")
        name, limit = Cell(resource.name), text_cell(number(resource.limit))
        used, modelled = quantity_cell(resource.used), quantity_cell(resource.modelled)
        ratio = text_cell(number(resource.over_model, "{:.2f}"))
        rows.append(Row((name, used, limit, share, modelled, ratio)))
    return Table(
        name="resources",
        title="Chip resources",
        columns=("Resource", "Used", "Limit", "Share", "Modelled", "Used / modelled"),
        rows=tuple(rows),
        numeric=frozenset({1, 2, 3, 4, 5}),
    )


def history_table(history: Sequence[Epoch]) -> Table:
    """Accuracy, pruning and residuals of every epoch."""
    shown = history[:_HISTORY_ROWS]
    cut = f" The first {len(shown)} of {len(history)} epochs; report.xlsx holds them all."
    return Table(
        name="history",
        title="Training history",
        columns=(
            "Step",
            "Phase",
            "Epoch",
            "Loss",
            "Validation",
            "Weights left",
            "Primal",
            "Dual",
            "ρ",
            "Time",
        ),
        rows=tuple(Row(tuple(_epoch_cells(epoch))) for epoch in shown),
        numeric=frozenset(range(2, 10)),
        note="A dash: does not apply to this epoch, or was not recorded."
        + (cut if len(history) > len(shown) else ""),
    )


def _epoch_cells(epoch: Epoch) -> Iterable[Cell]:
    yield Cell(epoch.step)
    yield Cell(epoch.phase)
    yield Cell(str(epoch.epoch))
    for value, pattern in (
        (epoch.loss, "{:.4f}"),
        (None if epoch.val_accuracy is None else 100 * epoch.val_accuracy, "{:.2f} %"),
        (epoch.nnz, "{:,}"),
        (epoch.primal, "{:.3g}"),
        (epoch.dual, "{:.3g}"),
        (epoch.rho, "{:.3g}"),
        (epoch.seconds, "{:.1f} s"),
    ):
        yield Cell("–" if value is None else pattern.format(value))


def facts_table(record: RunRecord) -> Table:
    """Model, board, data set, accuracies and file of the run."""
    run, data, accuracies = record.run, record.dataset, record.accuracies
    complete = {True: "complete", False: "a part only", None: UNKNOWN}[data.complete]
    images = [number(n) for n in (data.train_images, data.validation_images, data.test_images)]
    facts: list[tuple[str, Any]] = [
        ("Model", run.model),
        ("Board", run.board),
        ("Part", run.part),
        ("Command", run.command),
        ("Machine", run.machine),
        ("torch", run.torch_version),
        ("Data set", data.name),
        ("Data set complete", complete),
        ("Data source", data.source),
        ("Images: training / validation / test", " / ".join(images)),
        ("Dense float, test", percent(accuracies.dense_test)),
        ("Compressed integers, test", percent(accuracies.integer_test)),
        ("Dense float, validation", percent(accuracies.dense_validation)),
        ("Compressed integers, validation", percent(accuracies.integer_validation)),
        ("SHA-256 of the file", record.file.sha256 if record.file is not None else None),
    ]
    rows = tuple(Row((Cell(name), text_cell(value))) for name, value in facts)
    return Table("facts", "Run", ("Fact", "Value"), rows)
