"""``report.html``: one self-contained page of a :class:`RunRecord`, without scripts or requests.

Python decides every text, number and order here; the template only lays it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pyadmm.core.assets import asset_dir
from pyadmm.report import plots
from pyadmm.report.record import (
    Accuracy,
    DesignRecord,
    Epoch,
    Hardware,
    Kernel,
    LayerRecord,
    Quantity,
    RunFacts,
    RunRecord,
)
from pyadmm.report.reference import LiteratureRow, comparison

UNKNOWN = "unknown"
TEMPLATE = "report.html.j2"
_HISTORY_ROWS = 400
_LAYER_COLUMNS = 8
"""With more layers than this the table is transposed, to fit the width of the page."""


@dataclass(frozen=True)
class Cell:
    """One table cell: its text, a smaller second line, a basis, a bar of ``share`` per cent."""

    text: str
    note: str = ""
    basis: str = ""
    share: int | None = None
    style: str = ""


@dataclass(frozen=True)
class Row:
    """One row of a table of the page."""

    cells: tuple[Cell, ...]
    style: str = ""


@dataclass(frozen=True)
class Table:
    """``numeric`` holds the numbers of the right-aligned columns."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    numeric: frozenset[int] = frozenset()
    note: str = ""
    empty: str = "Nothing is recorded: unknown."


@dataclass(frozen=True)
class Tile:
    """A headline figure; ``basis`` is shown as a tag."""

    label: str
    value: str
    note: str
    extra: str = ""
    basis: str = ""


@dataclass(frozen=True)
class Chart:
    """One chart of the page with its title and caption."""

    title: str
    caption: str
    svg: Markup | None


@dataclass(frozen=True)
class Page:
    """Everything the template lays out."""

    title: str
    subtitle: str
    alerts: tuple[tuple[str, str], ...]
    tiles: tuple[Tile, ...]
    done: tuple[str, ...]
    needs_vendor_tools: tuple[str, ...]
    training: tuple[Chart, ...]
    layer_charts: tuple[Chart, ...]
    hardware_chart: Chart
    tables: dict[str, Table] = field(default_factory=dict)


def render_html(record: RunRecord) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(asset_dir("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(page=build_page(record))


def build_page(record: RunRecord) -> Page:
    """What the page says, in words and numbers."""
    run = record.run
    tables = (
        _layers_table(record),
        _decisions_table(record),
        _designs_table(record),
        _literature_table(record),
        _checks_table(record),
        _steps_table(record),
        _hardware_table(record.hardware),
        _resources_table(record.hardware),
        _passes_table(record),
        _history_table(record.history),
        _facts_table(record),
    )
    return Page(
        title=f"{run.model or 'unknown model'} on {run.board or 'unknown board'}",
        subtitle=_subtitle(run),
        alerts=_alerts(record),
        tiles=_tiles(record),
        done=record.done,
        needs_vendor_tools=record.needs_vendor_tools,
        training=_training_charts(record),
        layer_charts=_layer_charts(record),
        hardware_chart=_chart(
            "Chip resources",
            "A dashed outline is a modelled figure, a filled bar the figure of a tool.",
            plots.hardware_svg(record),
        ),
        tables={table.name: table for table in tables},
    )


def _subtitle(run: RunFacts) -> str:
    trained = [f"preset {run.preset}"] if run.preset else []  # a compressed model has none
    facts = [
        *trained,
        *([] if run.seed is None else [f"seed {run.seed}"]),
        run.date or "date unknown",
        f"pyadmm {run.pyadmm_version or UNKNOWN}",
    ]
    return " · ".join(facts)


def _training_charts(record: RunRecord) -> tuple[Chart, Chart]:
    return (
        _chart(
            "Accuracy and pruning per epoch",
            "Validation split, never the test set. Shading marks the phases.",
            plots.training_svg(record),
        ),
        _chart(
            "ADMM residuals",
            "The distance between weights and their projection (primal) and the change of the "
            "projection (dual), relative to the weights. Both fall when ADMM "
            f"converges. {_convergence(record)}",
            plots.residuals_svg(record),
        ),
    )


def _layer_charts(record: RunRecord) -> tuple[Chart, Chart]:
    return (
        _chart(
            "Pruning ratio per layer",
            "A bar beyond the red mark gains on this hardware; the break-even's basis is in "
            "the table.",
            plots.layers_svg(record),
        ),
        _chart(
            "Where the bytes go",
            "Every byte of the file counts: header, shapes, scales, biases, positions, levels.",
            plots.bytes_svg(record),
        ),
    )


def number(value: float | None, pattern: str = "{:,.0f}") -> str:
    """``value`` in ``pattern``, or :data:`UNKNOWN`."""
    return UNKNOWN if value is None else pattern.format(value)


def times(value: float | None) -> str:
    """A ratio as ``×85.4``.

    >>> times(85.4321), times(1913.2), times(None)
    ('×85.4', '×1,913', 'unknown')
    """
    if value is None:
        return UNKNOWN
    return f"×{value:,.0f}" if value >= 1000 else f"×{value:.3g}"


def duration(seconds: float | None) -> str:
    """Wall time in words, with the unit that fits.

    >>> duration(2.04), duration(402.7), duration(4000)
    ('2.0 s', '6 min 43 s', '1 h 6 min')
    """
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def percent(accuracy: Accuracy | None) -> str:
    """``99.07 % ± 0.10`` over its images."""
    if accuracy is None:
        return UNKNOWN
    error = 100 * accuracy.standard_error
    return f"{100 * accuracy.value:.2f} % ± {error:.2f} ({accuracy.images:,} images)"


def _chart(title: str, caption: str, svg: str | None) -> Chart:
    return Chart(title, caption, None if svg is None else Markup(svg))


def _alerts(record: RunRecord) -> tuple[tuple[str, str], ...]:
    alerts = [
        ("bad", f"Check failed: {check.name} ({check.compared}). {check.reason}")
        for check in record.checks
        if check.result == "fail"
    ]
    if record.dataset.complete is False:
        name = record.dataset.name or "data"
        alerts.append(
            ("bad", f"Only a part of the {name} data was used: figures are not comparable.")
        )
    over = [r.name for r in record.hardware.resources if (r.share or 0) > 1]
    if over:
        alerts.append(("bad", f"The design does not fit the board: {', '.join(over)}."))
    return (*alerts, *(("note", note) for note in record.notes))


def _convergence(record: RunRecord) -> str:
    """How many runs of ADMM converged, and how the last one ended."""
    endings = record.admm
    if not endings:
        return ""
    converged = sum(ending == "converged" for ending in endings)
    return f"Converged: {converged} of {len(endings)} runs of ADMM; the last one: {endings[-1]}."


def _tiles(record: RunRecord) -> tuple[Tile, ...]:
    return (
        _accuracy_tile(record),
        Tile(
            "Pruning ratio",
            times(record.pruning_ratio),
            f"{number(record.nnz)} of {number(record.weights)} weights left",
        ),
        _file_tile(record),
        _speed_tile(record.hardware),
        _checks_tile(record),
    )


def _accuracy_tile(record: RunRecord) -> Tile:
    accuracy, dense = record.accuracies.integer_test, record.accuracies.dense_test
    dense_percent = None if dense is None else 100 * dense.value
    before = f"dense float network: {number(dense_percent, '{:.2f} %')}"
    if accuracy is None:
        return Tile("Accuracy", UNKNOWN, "integer model, test set", before)
    return Tile(
        "Accuracy",
        f"{100 * accuracy.value:.2f} %",
        f"± {100 * accuracy.standard_error:.2f} (one standard error), integer model, "
        f"{accuracy.images:,} test images",
        before,
    )


def _file_tile(record: RunRecord) -> Tile:
    file = record.file
    if file is None:
        return Tile("File", UNKNOWN, "no file is recorded")
    smaller = "size of the dense network unknown"
    if file.ratio is not None:
        smaller = f"{times(file.ratio)} smaller than 32-bit floats ({number(file.dense_bytes)} B)"
    return Tile("File", f"{file.bytes:,} B", smaller, f"{file.name}, every byte counted")


def _speed_tile(hardware: Hardware) -> Tile:
    cycles = hardware.cycles_per_image
    if hardware.images_per_s is None or cycles is None:
        return Tile("Throughput", UNKNOWN, "images per second of the accelerator")
    return Tile(
        "Throughput",
        f"{hardware.images_per_s:,.0f} /s",
        f"images, {cycles.value:,.0f} cycles each at {_clock_text(hardware)}",
        "accelerator alone, without the host's transfers",
        cycles.basis,
    )


def _clock_text(hardware: Hardware) -> str:
    reached = hardware.clock_mhz
    text = f"{hardware.working_clock_mhz:g} MHz"
    if reached is None:
        return f"{text} (target)"
    how = hardware.clock_name.lower()
    return f"{text} (target; {how} {reached.value:.0f} MHz, {reached.basis})"


def _checks_tile(record: RunRecord) -> Tile:
    results = [check.result for check in record.checks]
    if not results:
        return Tile("Checks", UNKNOWN, "no check is recorded")
    counts = f"{results.count('fail')} failed, {results.count('skipped')} skipped"
    most = max((check.images or 0 for check in record.checks if check.result == "pass"), default=0)
    on = f"bit for bit, on up to {most:,} images" if most else ""
    return Tile("Checks", f"{results.count('pass')} / {len(results)}", f"passed; {counts}", on)


def _quantity(quantity: Quantity | None, pattern: str = "{:,.0f}") -> Cell:
    if quantity is None:
        return _cell(None)
    return Cell(pattern.format(quantity.value), basis=quantity.basis)


def _cell(text: str | None, note: str = "") -> Cell:
    unknown = text is None or text in ("", UNKNOWN)
    return Cell(UNKNOWN if unknown else str(text), note, style="unknown" if unknown else "")


def _layers_table(record: RunRecord) -> Table:
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


def _decisions_table(record: RunRecord) -> Table:
    tried = ", ".join(f"{times(t.factor)}: {t.accuracy:.2%}" for t in record.trials)
    return Table(
        name="decisions",
        title="Break-even and decisions",
        columns=("Layer", "Planned", "Break-even", "Ratio", "Over break-even", "Decision"),
        rows=tuple(Row(_decision_cells(layer)) for layer in record.layers),
        numeric=frozenset({1, 2, 3, 4}),
        note="Break-even is the least pruning ratio at which the sparse kernel of the layer is not "
        "slower than the dense one on the same area (ADMM-NN section 5.1). 'Planned' is the ratio "
        "before break-even was considered. The small figure is the ratio among weights between "
        "active channels; inactive channels make dense hardware smaller as well."
        + (f" Trials of pruning further, by validation accuracy: {tried}." if tried else ""),
    )


def _decision_cells(layer: LayerRecord) -> tuple[Cell, ...]:
    living = layer.living_ratio
    below = layer.over_break_even is not None and layer.over_break_even < 1
    return (
        Cell(layer.name),
        _cell(times(layer.planned)),
        _quantity(layer.break_even, "×{:.2f}"),
        _cell(times(layer.ratio), "" if living is None else f"{times(living)} of active"),
        Cell("below" if below else times(layer.over_break_even))
        if layer.over_break_even is not None
        else _cell(None),
        _cell(layer.decision, layer.why or ""),
    )


def _designs_table(record: RunRecord) -> Table:
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
                _quantity(lut),
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
        return _cell(None)
    cell = _quantity(quantity)
    return cell if quantity is ours else replace(cell, note=_over(quantity.value, ours))


def _layer_cycles(design: DesignRecord, ours: DesignRecord, layer: str) -> Cell:
    cycles, own = design.cycles_of(layer), ours.cycles_of(layer)
    if cycles is None:
        return _cell(None)
    note = "" if design is ours or not own else times(cycles / own)
    return Cell(number(cycles), note)


def _over(value: float, ours: Quantity | None) -> str:
    return "" if ours is None or not ours.value else times(value / ours.value)


def _layer_cells(layer: LayerRecord) -> tuple[Cell, ...]:
    parts = ", ".join(_unbroken(f"{part.name} {part.bytes:,}") for part in layer.parts[:8])
    kernel = layer.kernel
    return (
        Cell(layer.name, f"{layer.kind} {'×'.join(map(str, layer.shape))}"),
        _cell(number(layer.weights)),
        _cell(number(layer.nnz), "" if layer.kept is None else f"{layer.kept:.2%}"),
        _cell(times(layer.ratio)),
        _cell(f"{number(layer.weight_bits)} / {number(layer.activation_bits)}"),
        _cell(_scales(layer.scales)),
        _cell(number(layer.bytes), parts),
        _kernel_cell(kernel),
        _quantity(kernel.cycles if kernel is not None else None),
    )


def _kernel_cell(kernel: Kernel | None) -> Cell:
    if kernel is None:
        return _cell(None)
    return _cell(
        kernel.family,
        _unbroken(f"R {number(kernel.rows)}, G {number(kernel.groups)}"),
    )


def _scales(scales: Sequence[float]) -> str:
    if not scales:
        return UNKNOWN
    if len(scales) == 1:
        return f"{scales[0]:.4g}"
    return f"{min(scales):.3g} … {max(scales):.3g} ({len(scales)} channels)"


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _decimals(percent: float | None) -> int:
    """Decimals that a published accuracy was printed with: one, or two where it needs them."""
    return 1 if percent is None or round(percent, 1) == percent else 2


def _literature_table(record: RunRecord) -> Table:
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
        rows=rows,
        numeric=frozenset({1, 2, 3, 4, 5}),
        note="Sizes can be compared only where they count the same: 'weights only' leaves out the "
        "positions, without which the network cannot be decoded; 'pruning only' states no size. "
        "Published figures are quoted and were not reproduced; a dash means not published. 'lost' "
        "is the loss against the dense network of the same paper."
        + ("" if len(rows) > 1 else " There is no published row for this model."),
    )


def _literature_row(row: LiteratureRow) -> Row:
    missing = UNKNOWN if row.ours else "–"

    def show(value: float | None, pattern: str) -> Cell:
        style = "unknown" if value is None else ""
        return Cell(missing if value is None else pattern.format(value), style=style)

    digits = 2 if row.ours else _decimals(row.accuracy_percent)
    accuracy = show(row.accuracy_percent, f"{{:.{digits}f}} %")
    if row.loss_points is not None:
        lost = _unbroken(f"{row.loss_points:.2f} points lost")
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


def _checks_table(record: RunRecord) -> Table:
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


def _steps_table(record: RunRecord) -> Table:
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
        rows.append(Row((Cell("all steps"), _cell(duration(record.seconds))), "total"))
    return Table("steps", "Steps and wall times", ("Step", "Wall time"), tuple(rows))


def _hardware_table(hardware: Hardware) -> Table:
    clock = hardware.target_clock_mhz
    rows = [
        (Cell("Architecture"), _cell(hardware.architecture)),
        (Cell("Target clock"), _cell(number(clock, "{:g} MHz"))),
        (Cell(hardware.clock_name), _quantity(hardware.clock_mhz, "{:.1f} MHz")),
        (Cell("Cycles per image"), _quantity(hardware.cycles_per_image)),
        (Cell("Latency, cycles"), _quantity(hardware.latency_cycles)),
        (Cell("Latency"), _cell(number(hardware.latency_us, "{:,.1f} µs"))),
        (Cell("Inner-loop II"), _quantity(hardware.inner_ii, "{:g}")),
        (Cell("Images per second"), _cell(number(hardware.images_per_s))),
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


def _passes_table(record: RunRecord) -> Table:
    rows = [
        Row(
            (
                Cell(one.name),
                Cell(number(one.runs)),
                _quantity(one.cycles),
                _quantity(one.least),
                Cell(one.bound),
            )
        )
        for one in record.passes
    ]
    return Table(
        name="passes",
        title="Passes of the layer-sequential array",
        columns=("Pass", "Runs", "Cycles per image", "At least", "Bound by"),
        rows=tuple(rows),
        numeric=frozenset({1, 2, 3}),
        note="A pass computes a layer with what follows it at once. Its cycles are at least what the "
        "roofline model gives: entries to compute, results to drain, or bytes to and from memory.",
    )


def _resources_table(hardware: Hardware) -> Table:
    rows = []
    for resource in hardware.resources:
        share = _cell(number(resource.share, "{:.1%}"))
        if (resource.share or 0) > 1:
            share = Cell(share.text, style="bad")
        name, limit = Cell(resource.name), _cell(number(resource.limit))
        used, modelled = _quantity(resource.used), _quantity(resource.modelled)
        ratio = _cell(number(resource.over_model, "{:.2f}"))
        rows.append(Row((name, used, limit, share, modelled, ratio)))
    return Table(
        name="resources",
        title="Chip resources",
        columns=("Resource", "Used", "Limit", "Share", "Modelled", "Used / modelled"),
        rows=tuple(rows),
        numeric=frozenset({1, 2, 3, 4, 5}),
    )


def _history_table(history: Sequence[Epoch]) -> Table:
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


def _facts_table(record: RunRecord) -> Table:
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
    rows = tuple(Row((Cell(name), _cell(value))) for name, value in facts)
    return Table("facts", "Run", ("Fact", "Value"), rows)
