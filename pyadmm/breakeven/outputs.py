"""Break-even records as files: CSV, JSON, a plot, a workbook; all say basis, tool and version."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyadmm.breakeven.results import BreakEven, CurvePoint, NotMeasured, to_json
from pyadmm.core.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# matplotlib and xlsxwriter take a second to load, and most commands draw nothing: imported where used.
PAPER_PORTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
PAPER_SPEEDUPS = (0.07, 0.18, 0.32, 0.5, 0.8, 1.15, 1.9, 3.0, 6.5)
"""AlexNet CONV4 on a 40 nm ASIC, read by eye off ADMM-NN's figure 4."""
PAPER_LAYER = "alexnet.conv4"

SHOWN_PORTIONS = (0.5, 0.7, 0.8, 0.9)
"""Pruned portions that printed tables show."""

_SUMMARY = (
    "layer", "board", "break_even_ratio", "pruned_portion", "storage", "basis", "tool", "version",
    "board_clock_ns", "weight_bits", "activation_bits", "dense_rows", "dense_groups",
    "dense_cycles", "dense_clock_estimate_ns", "limit_lut", "limit_ff", "limit_dsp",
    "limit_bram18", "limit_uram", "metric", "reason",
)  # fmt: skip
_CURVE = (
    "layer", "board", "pruned_portion", "ratio", "speedup", "sparse_rows", "sparse_groups",
    "index_bits", "entry_capacity", "cycles", "clock_estimate_ns", "period_ns", "lut", "ff", "dsp",
    "bram18", "uram", "basis", "tool", "version", "reason",
)  # fmt: skip


def write_outputs(
    results: Sequence[BreakEven],
    folder: Path,
    stem: str = "breakeven",
    missing: Sequence[NotMeasured] = (),
) -> list[Path]:
    """Write the records as ``STEM.json``, ``STEM.csv``, ``STEM_curves.csv``, plots and a workbook.

    ``STEM.md`` has the table that ``docs/breakeven.md`` shows.

    :param missing: what has no record; ``STEM.csv`` and ``STEM.md`` list it with its reason.
    :returns: the files written.
    """
    rows = [summary_row(result) for result in results]
    rows += [[gap.layer, gap.board, *[None] * (len(_SUMMARY) - 3), gap.reason] for gap in missing]
    figure = plot(results)
    files: dict[str, bytes | str] = {
        f"{stem}.json": to_json(tuple(results)),
        f"{stem}.csv": _csv(_SUMMARY, rows),
        f"{stem}_curves.csv": _csv(
            _CURVE, [curve_row(result, point) for result in results for point in result.curve]
        ),
        f"{stem}.md": markdown(results, missing),
        f"{stem}.svg": _image(figure, "svg"),
        f"{stem}.png": _image(figure, "png"),
        f"{stem}.xlsx": workbook(results),
    }
    for name, content in files.items():
        write_atomic(folder / name, content)
    return [folder / name for name in files]


def summary_row(result: BreakEven) -> list[Any]:
    """One line per layer and board; the reason why there is nothing is empty."""
    dense = result.dense
    return [
        result.title, result.board, result.ratio, result.pruned, result.storage, result.basis,
        result.tool, result.version, result.board_clock_ns, result.weight_bits,
        result.activation_bits, dense.config.tile_rows, dense.config.groups, dense.cycles,
        dense.clock_estimate_ns, *dense.resources.values(), result.metric, "",
    ]  # fmt: skip


def curve_row(result: BreakEven, point: CurvePoint) -> list[Any]:
    """One line per point of a curve; what no fitting kernel has is empty."""
    head = [result.title, result.board, point.pruned, point.ratio, point.speedup]
    tail = [result.basis, result.tool, result.version, point.reason]
    sparse = point.sparse
    if sparse is None:
        return [*head, *[None] * 12, *tail]
    config = sparse.config
    return [
        *head, config.tile_rows, config.groups, config.index_bits, sparse.entry_capacity,
        sparse.cycles, sparse.clock_estimate_ns, sparse.period_ns, *sparse.resources.values(),
        *tail,
    ]  # fmt: skip


def markdown(results: Sequence[BreakEven], missing: Sequence[NotMeasured] = ()) -> str:
    """A table of break-evens and speedups, one line per layer and board; reasons below it."""
    head = ["layer", "board", "break-even", *(f"{p:.0%}" for p in SHOWN_PORTIONS)]
    head += ["dense G×R", "sparse G×R", "limits LUT / FF / BRAM18"]
    rows = [
        [
            result.title,
            result.board,
            "none" if result.ratio is None else f"{result.ratio:.2f}×",
            *(_cell(result.speedup_at(portion)) for portion in SHOWN_PORTIONS),
            f"{result.dense.config.groups}×{result.dense.config.tile_rows}",
            ", ".join(_sparse_shapes(result)) or "–",
            _limits(result),
        ]
        for result in results
    ]
    rows += [[gap.layer, gap.board, "no result"] + ["–"] * (len(head) - 3) for gap in missing]
    lines = [head, ["---"] * len(head), *rows]
    notes = [
        f"* {result.title} on {result.board}: {result.curve[-1].reason}"
        for result in results
        if result.ratio is None and result.curve[-1].reason
    ]
    notes += [f"* {gap.text}" for gap in missing]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return "\n".join([f"{_caption(results)}.", "", table, *([""] if notes else []), *notes, ""])


def _limits(result: BreakEven) -> str:
    limit = result.dense.resources
    return " / ".join(f"{amount:,.0f}" for amount in (limit.lut, limit.ff, limit.bram18))


def _cell(speedup: float | None) -> str:
    return "–" if speedup is None else f"{speedup:.2f}"


def _sparse_shapes(result: BreakEven) -> list[str]:
    """Groups and rows of the sparse kernels on a curve, the one for few weights last."""
    configs = [point.sparse.config for point in result.curve if point.sparse is not None]
    return list(dict.fromkeys(f"{config.groups}×{config.tile_rows}" for config in configs))


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def plot(results: Sequence[BreakEven]) -> Figure:
    """Speedup over pruned portion, log scale, one line per record; the crossing is marked."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for result in results:
        points = [(100 * p.pruned, p.speedup) for p in result.curve if p.speedup is not None]
        if not points:
            continue
        ratio = "none" if result.ratio is None else f"{result.ratio:.2f}×"
        (line,) = axes.plot(
            *zip(*points, strict=True),
            marker="o",
            markersize=3,
            label=f"{result.title} on {result.board}: break-even {ratio}",
        )
        if result.pruned is not None:
            axes.plot(100 * result.pruned, 1, marker="D", color=line.get_color(), markersize=7)
    if any(result.layer == PAPER_LAYER for result in results):
        axes.plot(
            [100 * portion for portion in PAPER_PORTIONS],
            PAPER_SPEEDUPS,
            "k--",
            linewidth=1,
            label="ADMM-NN figure 4: AlexNet conv4, 40 nm ASIC (2.22×)",
        )
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_yticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.1", "0.2", "0.5", "1", "2", "5", "10"])
    axes.set_yticks([], minor=True)
    axes.set_xlabel("weights pruned (%)")
    axes.set_ylabel("speedup over dense, same area")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
    axes.set_title(_caption(results), fontsize=9)
    return figure


def _caption(results: Sequence[BreakEven]) -> str:
    sources = sorted({f"{result.basis}, {result.tool} {result.version}" for result in results})
    return "Sparse over dense; " + "; ".join(sources)


def _image(figure: Figure, form: str) -> bytes:
    import matplotlib as mpl  # noqa: PLC0415

    data = io.BytesIO()
    # Without date and with fixed ids the same records give the same bytes.
    metadata = {"Date": None} if form == "svg" else None
    with mpl.rc_context({"svg.hashsalt": "pyadmm"}):
        figure.savefig(data, format=form, dpi=160, metadata=metadata)
    return data.getvalue()


def workbook(results: Sequence[BreakEven]) -> bytes:
    """An xlsx workbook: summary sheet, curve sheet, chart."""
    import xlsxwriter  # noqa: PLC0415

    data = io.BytesIO()
    book = xlsxwriter.Workbook(data, {"in_memory": True})
    book.set_properties({"created": datetime.datetime(2000, 1, 1)})
    add_sheets(book, results)
    book.close()
    return data.getvalue()


def add_sheets(book: Any, results: Sequence[BreakEven]) -> None:
    """Add the sheets ``Break-even`` and ``Break-even curves`` to an open xlsxwriter workbook."""
    bold = book.add_format({"bold": True, "bottom": 1})
    summary = book.add_worksheet("Break-even")
    _table(summary, bold, _SUMMARY, [summary_row(result) for result in results])
    curves = book.add_worksheet("Break-even curves")
    rows = [curve_row(result, point) for result in results for point in result.curve]
    _table(curves, bold, _CURVE, rows)
    if not rows:
        return
    chart = book.add_chart({"type": "scatter", "subtype": "straight_with_markers"})
    first = 1
    for result in results:
        last = first + len(result.curve) - 1
        chart.add_series(
            {
                "name": f"{result.title} on {result.board}",
                "categories": ["Break-even curves", first, 2, last, 2],
                "values": ["Break-even curves", first, 4, last, 4],
            }
        )
        first = last + 1
    chart.set_title({"name": _caption(results), "name_font": {"size": 10}})
    chart.set_x_axis({"name": "portion pruned", "min": 0, "max": 1})
    chart.set_y_axis({"name": "speedup over dense, same area", "log_base": 10, "crossing": 0.01})
    chart.set_size({"width": 760, "height": 420})
    summary.insert_chart(len(results) + 2, 0, chart)


def _table(sheet: Any, bold: Any, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    sheet.write_row(0, 0, header, bold)
    for number, row in enumerate(rows, start=1):
        sheet.write_row(number, 0, row)
    sheet.freeze_panes(1, 2)
    sheet.autofit()
