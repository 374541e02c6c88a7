"""``report.html``: one self-contained page of a :class:`RunRecord`, without scripts or requests.

Python decides every text, number and order here; the template only lays it out.
"""

from __future__ import annotations

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pyadmm.core.assets import asset_dir
from pyadmm.report import plots
from pyadmm.report.html_page import Chart, Page
from pyadmm.report.html_tables import (
    checks_table,
    decisions_table,
    designs_table,
    facts_table,
    hardware_table,
    history_table,
    layers_table,
    literature_table,
    passes_table,
    resources_table,
    steps_table,
)
from pyadmm.report.html_tiles import alerts_of, convergence, tiles_of
from pyadmm.report.html_words import UNKNOWN
from pyadmm.report.record import RunFacts, RunRecord

TEMPLATE = "report.html.j2"


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
    """Words and numbers of the page."""
    run = record.run
    tables = (
        layers_table(record).known(),
        decisions_table(record).known(),
        designs_table(record),
        literature_table(record),
        checks_table(record),
        steps_table(record),
        hardware_table(record.hardware),
        resources_table(record.hardware).known(),
        passes_table(record).known(),
        history_table(record.history),
        facts_table(record),
    )
    return Page(
        title=f"{run.model or 'unknown model'} on {run.board or 'unknown board'}",
        subtitle=_subtitle(run),
        alerts=alerts_of(record),
        tiles=tiles_of(record),
        done=record.done,
        needs_vendor_tools=record.needs_vendor_tools,
        training=_training_charts(record) if record.history or not record.steps else (),
        layer_charts=_layer_charts(record),
        curves=_curves_chart(record),
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
            f"converges. {convergence(record)}",
            plots.residuals_svg(record),
        ),
    )


def _layer_charts(record: RunRecord) -> tuple[Chart, Chart]:
    return (
        _chart(
            "Pruning ratio per layer",
            "A bar beyond the red mark gains on this hardware; the break-even's basis is in "
            "the table."
            if any(layer.break_even is not None for layer in record.layers)
            else "Weights of the dense layer over weights that are left.",
            plots.layers_svg(record),
        ),
        _chart(
            "Where the bytes go",
            "Every byte of the file counts: header, shapes, scales, biases, positions, levels.",
            plots.bytes_svg(record),
        ),
    )


def _curves_chart(record: RunRecord) -> Chart | None:
    svg = plots.curves_svg(record)
    if svg is None:
        return None
    bases = sorted({curve.basis for layer in record.layers for curve in layer.curves})
    return _chart(
        "Speedup of pruned kernels",
        f"Against the best dense kernel on the same area, {', '.join(bases)}, for the families of "
        "kernels that have been measured for these layers (pyadmm breakeven --family measures "
        "others). A family breaks even where its line crosses ×1; the dashed line is this run.",
        svg,
    )


def _chart(title: str, caption: str, svg: str | None) -> Chart:
    return Chart(title, caption, None if svg is None else Markup(svg))
