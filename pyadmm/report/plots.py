"""Charts of a run as compact inline SVG that follows the page's light or dark colours.

Every function returns the text of one ``<svg>`` element, or None where the record holds nothing to
draw. Matplotlib draws with marker colours; :func:`_inline_svg` turns them into the page's CSS
variables, drops metadata and namespaces, and makes the ids unique by the chart's name.
"""

from __future__ import annotations

import io
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from pyadmm.report.record import BytePart, Epoch, LayerRecord, Quantity, RunRecord
from pyadmm.report.reference import comparable_model, literature_ratios

INK, MUTED, GRID, BAD, CARD = "#010101", "#010102", "#010103", "#010104", "#010105"
SERIES = tuple(f"#0101{index:02x}" for index in range(0x10, 0x16))
_CSS = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    BAD: "var(--bad)",
    CARD: "var(--card)",
    **{colour: f"var(--c{index})" for index, colour in enumerate(SERIES, 1)},
}
_RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pyadmm",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "legend.columnspacing": 1.3,
    "legend.labelcolor": INK,
}
_WIDTH = 5.8
_TALL = 3.7
_LEGEND_CHARACTERS = 98
"""Characters of 8 points on a line of a chart's legend."""
BAR_LIMIT = 60
"""Most bars of one chart; the tables hold the rest."""
_BAND_LIMIT = 200
_CURVE_LIMIT = 12
"""Most layers whose curves are drawn."""
_THIS_RUN = "this run"
_LABEL_LIMIT = 26
_LEAST_ERROR = 1e-2
_LEAST_RESIDUAL = 1e-9
_ERROR_TICKS = (
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.3,
    0.5,
    0.7,
    1,
    1.5,
    2,
    3,
    5,
    7,
    10,
    15,
    20,
    30,
    50,
    90,
)


def training_svg(record: RunRecord) -> str | None:
    """Validation accuracy and pruning ratio of every epoch, phases shaded."""
    history, weights = record.history, record.weights
    accuracy = [None if e.val_accuracy is None else 100 * e.val_accuracy for e in history]
    ratio = [weights / e.nnz if weights and e.nnz else None for e in history]
    if not any(value is not None for value in accuracy + ratio):
        return None

    def draw(figure: Figure) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        epochs = range(1, len(history) + 1)
        errors = [math.nan if a is None else max(100 - a, _LEAST_ERROR) for a in accuracy]
        top.plot(epochs, errors, color=SERIES[0])
        _accuracy_axis(top, [e for e in errors if not math.isnan(e)])
        bottom.plot(epochs, _gaps(ratio), color=SERIES[1])
        bottom.set_yscale("log")
        _log_ticks(bottom.yaxis, "×{:g}")
        bottom.set_ylabel("pruning ratio")
        bottom.set_xlabel("epoch, all phases")
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
        bottom.set_xlim(0.5, len(history) + 0.5)
        handles = _shade_phases((top, bottom), history)
        longest = max(len(str(patch.get_label())) for patch in handles)
        columns = max(1, _LEGEND_CHARACTERS // (longest + 5))
        figure.legend(handles=handles, loc="outside upper left", ncols=columns, fontsize=8)

    return _chart("training", _TALL, "Validation accuracy and pruning ratio per epoch", draw)


def residuals_svg(record: RunRecord) -> str | None:
    """Primal and dual residual of every epoch that has one, on a logarithmic axis."""
    epochs = [e for e in record.history if e.primal or e.dual]
    if not epochs:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        at = range(1, len(epochs) + 1)
        marker = "o" if len(epochs) <= 60 else ""
        for index, (label, values) in enumerate(
            [
                ("primal ‖W − Z‖", [e.primal for e in epochs]),
                ("dual ‖ΔZ‖", [e.dual for e in epochs]),
            ]
        ):
            drawn = [v if v is not None and v > _LEAST_RESIDUAL else None for v in values]
            axes.plot(
                at, _gaps(drawn), label=label, color=SERIES[index], marker=marker, markersize=3
            )
        axes.set_yscale("log")
        _log_ticks(axes.yaxis, "{:g}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(0.5, len(epochs) + 0.5)
        axes.set_xlabel("ADMM epoch")
        axes.set_ylabel("residual")
        axes.legend(loc="best")

    return _chart("residuals", _TALL, "ADMM residuals per epoch", draw)


def layers_svg(record: RunRecord) -> str | None:
    """Pruning ratio of every layer against its break-even ratio and the paper's ratio."""
    layers = [layer for layer in record.layers if layer.ratio is not None]
    layers = sorted(layers, key=lambda layer: -layer.weights)[:BAR_LIMIT]
    layers = [layer for layer in record.layers if layer in layers]
    if not layers:
        return None
    published = literature_ratios(comparable_model(record))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        ratios = [layer.ratio or 1.0 for layer in layers]
        at = range(len(layers))
        axes.barh(at, ratios, height=0.58, color=SERIES[0], label="this run")
        for row, layer in enumerate(layers):
            mark = layer.break_even.value if layer.break_even is not None else 1
            axes.annotate(_kept_label(layer), (max(ratios[row], mark), row), **_BESIDE)
        _layer_marks(axes, record, layers, published)
        axes.set_xscale("log")
        furthest = max([*ratios, *(published.get(layer.name, 1) for layer in layers)])
        axes.set_xlim(1, (1.3 * furthest) ** 1.4)
        _log_ticks(axes.xaxis, "×{:g}")
        axes.set_xlabel("pruning ratio, dense weights over weights that are left")
        _name_rows(axes, [layer.name for layer in layers])
        figure.legend(loc="outside upper left", ncols=4, fontsize=8)

    return _chart(
        "layers",
        1.15 + _rows_height(len(layers)),
        "Pruning ratio and break-even ratio per layer",
        draw,
    )


def curves_svg(record: RunRecord) -> str | None:
    """Speedup over the portion pruned, per layer and kernel family, and where this run is."""
    layers = [la for la in record.layers if any(curve.pruned for curve in la.curves)]
    layers = layers[:_CURVE_LIMIT]
    if not layers:
        return None
    drawn = [curve.family for layer in layers for curve in layer.curves if curve.pruned]
    families = list(dict.fromkeys(drawn))
    columns = min(4, len(layers))
    rows = -(-len(layers) // columns)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for axes, layer in zip(panels, layers, strict=False):
            _draw_curves(axes, layer, families)
        for axes in panels[len(layers) :]:
            axes.set_visible(False)
        handles = {handle.get_label(): handle for axes in panels for handle in axes.get_lines()}
        shown = [handles[name] for name in [*families, _THIS_RUN] if name in handles]
        figure.legend(handles=shown, loc="outside upper left", ncols=len(shown), fontsize=8)
        figure.supxlabel("weights pruned", color=MUTED, fontsize=8.5)
        figure.supylabel("speedup", color=MUTED, fontsize=8.5)

    height = 0.7 + 1.75 * rows
    title = "Speedup over the portion pruned, by kernel family"
    return _chart("curves", height, title, draw, width=2 * _WIDTH)


def _draw_curves(axes: Axes, layer: LayerRecord, families: Sequence[str]) -> None:
    for curve in (curve for curve in layer.curves if curve.pruned):
        colour = SERIES[families.index(curve.family) % len(SERIES)]
        portions = [100 * portion for portion in curve.pruned]
        axes.plot(
            portions, curve.speedups, color=colour, label=curve.family, marker="o", markersize=2.5
        )
    axes.axhline(1, color=BAD, linewidth=1)
    if layer.kept is not None:
        at = 100 * (1 - layer.kept)
        axes.axvline(at, color=MUTED, linewidth=1, linestyle="--", label=_THIS_RUN)
    axes.set_title(_shorten(layer.name), fontsize=8.5, color=INK)
    axes.set_xlim(0, 100)
    axes.xaxis.set_major_locator(FixedLocator([0, 20, 40, 60, 80]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g} %"))
    axes.set_yscale("log")
    _log_ticks(axes.yaxis, "×{:g}")


def bytes_svg(record: RunRecord) -> str | None:
    """Bytes of every section of the file."""
    sections = record.file.sections if record.file is not None else ()
    parts = sorted((s for s in sections if s.bytes), key=lambda s: -s.bytes)
    if record.file is None or not parts:
        return None
    parts, rest = parts[:BAR_LIMIT], parts[BAR_LIMIT:]
    other = record.file.bytes - record.file.itemised + sum(s.bytes for s in rest)
    if other:
        parts = [*parts, BytePart("not itemised", other)]
    total = record.file.bytes

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        sizes = [part.bytes for part in parts]
        axes.barh(range(len(parts)), sizes, height=0.62, color=SERIES[2])
        for row, size in enumerate(sizes):
            axes.annotate(f"{size:,}  ({size / total:.1%})", (size, row), **_BESIDE)
        axes.set_xlim(0, 1.32 * max(sizes))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.set_xlabel("bytes in the file")
        _name_rows(axes, [part.name for part in parts])

    return _chart("bytes", 0.8 + _rows_height(len(parts)), "Bytes of the file by section", draw)


def hardware_svg(record: RunRecord) -> str | None:
    """Share of every chip resource that the accelerator takes, against the board's limit."""
    rows = [(r, r.used, r.share) for r in record.hardware.resources]
    known = [(r, used, share) for r, used, share in rows if used is not None and share is not None]
    known = known[:BAR_LIMIT]
    if not known:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for row, (resource, used, share) in enumerate(known):
            colour = BAD if share > 1 else SERIES[3]
            axes.barh(row, 100 * share, height=0.6, **_bar_style(used, colour))
            text = f"{used.value:,.0f} of {resource.limit:,}  ({share:.0%}), {used.basis}"
            axes.annotate(text, (max(100 * share, 100), row), **_BESIDE)
        axes.axvline(100, color=BAD, linewidth=1.2)
        widest = max(100.0, *(100 * share for _, _, share in known))
        axes.set_xlim(0, 1.95 * widest)
        axes.xaxis.set_major_locator(FixedLocator([widest * i / 4 for i in range(5)]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f} %"))
        axes.set_xlabel("share of the chip; the line is the board's limit")
        _name_rows(axes, [resource.name for resource, _, _ in known])

    return _chart(
        "hardware", 0.8 + _rows_height(len(known)), "Chip resources against the limit", draw
    )


_BESIDE: dict[str, Any] = {
    "xytext": (4, 0),
    "textcoords": "offset points",
    "va": "center",
    "fontsize": 8,
    "color": INK,
}


def _rows_height(rows: int) -> float:
    """Inches of ``rows`` bars; many bars stand closer."""
    return (0.34 if rows <= 16 else 0.21) * rows


def _kept_label(layer: LayerRecord) -> str:
    return f"×{layer.ratio:,.3g}  ({layer.kept:.2%} kept)"


def _bar_style(used: Quantity, colour: str) -> dict[str, Any]:
    """A modelled figure is a dashed outline, so that it never looks like a measured one."""
    if used.basis == "modelled":
        return {"facecolor": "none", "edgecolor": colour, "linestyle": "--", "linewidth": 1.2}
    return {"color": colour}


def _layer_marks(
    axes: Axes, record: RunRecord, layers: Sequence[LayerRecord], published: dict[str, float]
) -> None:
    marks = [(layer.break_even.value, y) for y, layer in enumerate(layers) if layer.break_even]
    marks = [(ratio, y) for ratio, y in marks if ratio > 0]
    if marks:
        x, y = zip(*marks, strict=True)
        size = 230 if len(layers) <= 16 else 90
        axes.scatter(x, y, marker="|", s=size, color=CARD, linewidths=5, zorder=3)
        label = f"break-even, {record.break_even_basis}"
        axes.scatter(x, y, marker="|", s=size, color=BAD, linewidths=2, label=label, zorder=4)
    marks = [(published[x.name], y) for y, x in enumerate(layers) if x.name in published]
    if marks:
        x, y = zip(*((ratio, row + 0.29) for ratio, row in marks), strict=True)
        axes.scatter(x, y, marker="^", s=16, color=MUTED, label="ADMM-NN, published", zorder=3)


def _accuracy_axis(axes: Axes, errors: Sequence[float]) -> None:
    """Errors on a falling logarithmic axis, labelled as accuracies: 99 to 99.9 stays readable."""
    axes.set_yscale("log")
    lo, hi = (min(errors), max(errors)) if errors else (0.1, 100.0)
    axes.set_ylim(min(hi * 1.3, 100), lo / 1.3)
    ticks = [error for error in _ERROR_TICKS if lo / 1.3 <= error <= hi * 1.3]
    if len(ticks) < 3:
        steps = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(lo / 1.3, hi * 1.3)
        ticks = [error for error in steps if error > 0]
    ticks = ticks[:: math.ceil(len(ticks) / 6)]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{100 - error:.6g} %"))
    axes.set_ylabel("validation accuracy")


def _phase_names(history: Sequence[Epoch]) -> list[str]:
    """A name for every epoch's phase: step and phase, or one of them where that is too many."""
    namings = (
        [e.step if e.step == e.phase else f"{e.step} · {e.phase}" for e in history],
        [e.phase for e in history],
        [e.step for e in history],
    )
    fitting = (names for names in namings if len(set(names)) <= len(SERIES))
    return next(fitting, namings[0])


def _shade_phases(panels: Sequence[Axes], history: Sequence[Epoch]) -> list[Patch]:
    """Shade the phases in ``panels``; returns the legend's handles, one per phase."""
    names = _phase_names(history)
    known = list(dict.fromkeys(names))
    colours = {name: SERIES[index % len(SERIES)] for index, name in enumerate(known)}
    changes = [i for i in range(len(names)) if i == 0 or names[i] != names[i - 1]]
    for first, last in pairwise([*changes[:_BAND_LIMIT], len(names)]):
        for axes in panels:
            axes.axvspan(first + 0.5, last + 0.5, color=colours[names[first]], alpha=0.13)
    return [
        Patch(color=colours[name], alpha=0.4, label=_shorten(name)) for name in known[: len(SERIES)]
    ]


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _log_ticks(axis: Any, pattern: str) -> None:
    lo, hi = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if hi < 300 * lo else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: pattern.format(x)))


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_shorten(name) for name in names], color=INK)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LABEL_LIMIT else line[: _LABEL_LIMIT - 1] + "…"


def _chart(
    name: str, height: float, title: str, draw: Callable[[Figure], None], *, width: float = _WIDTH
) -> str:
    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        draw(figure)
        for axes in figure.axes:
            axes.patch.set_alpha(0)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _inline_svg(buffer.getvalue(), name, title)


def _inline_svg(text: str, name: str, title: str) -> str:
    """The SVG file ``text`` as an element for HTML: no namespaces, metadata or foreign ids."""
    root = ET.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("}metadata", "}style")):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {
            key.rpartition("}")[2]: _attribute(key, value, name)
            for key, value in element.attrib.items()
        }
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": title, "class": "chart"}
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key.endswith("href"):
        return value.replace("#", f"#{name}-", 1)
    value = re.sub(r"url\(#", f"url(#{name}-", value)
    value = re.sub(r"#0101[01][0-9a-f]", lambda match: _CSS[match[0]], value)
    value = re.sub(r";?\s*font-family:[^;]*", "", value)
    value = re.sub(r"font: ([\d.]+)px[^;]*", r"font-size: \1px", value)
    return re.sub(
        r"\d+\.\d{3,}", lambda match: f"{float(match[0]):.2f}".rstrip("0").rstrip("."), value
    )
