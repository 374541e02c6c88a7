"""The outcome of a step of the flow, and the comparison that most steps make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyadmm.core.errors import CheckError
from pyadmm.eda.reports import SynthesisReport
from pyadmm.eda.route_model import ROUTE_MODEL
from pyadmm.flow.facts import SynthFacts
from pyadmm.hardware.boards import Board
from pyadmm.hardware.design_space import CHIP_SHARE


@dataclass(frozen=True)
class Outcome:
    """The outcome of a step.

    :param text: one line for the user.
    :param facts: a data class of :mod:`pyadmm.flow.facts` for the report, the one of the step;
        ``None``: it has nothing to report.
    :param files: what later steps read, under the run directory.
    :param failure: what ends the flow with an error, but only after all other steps; nothing of the
        step is stored then.
    :param warning: what the user and the report are told.
    """

    text: str
    facts: Any = None
    files: tuple[Path, ...] = ()
    failure: str | None = None
    warning: str | None = None


def require_equal(check: str, what: str, found: np.ndarray, golden: np.ndarray) -> None:
    """Compare integers of a simulation with those of the integer model.

    :raises CheckError: names the first image that differs.
    """
    if not np.array_equal(found, golden):
        image = int(np.flatnonzero((found != golden).reshape(len(found), -1).any(1))[0])
        raise CheckError(
            f"{check}: the {what} differ from the integer model, first at image {image}; "
            "this is a defect of pyadmm: please report it with the run directory"
        )


def synthesis_facts(
    report: SynthesisReport, board: Board, share: float = CHIP_SHARE
) -> tuple[str, SynthFacts]:
    """The outcome of a synthesis: a line for the user, and facts for the report.

    :param share: of the chip's LUTs that the design may take.
    """
    used = report.resources.known()
    parts = ", ".join(
        f"{name.upper()} {value:,.0f} ({value / most:.0%})"
        for name, value in used.items()
        if (most := getattr(board.resources, name))
    )
    assert report.clock_estimate_ns is not None
    assert report.resources.lut is not None
    facts = SynthFacts(
        resources=used,
        clock_ns=report.clock_estimate_ns,
        share=share,
        tool=report.version or report.tool,
        notes=tuple(report.notes),
    )
    routed = ROUTE_MODEL.period_ns(report.clock_estimate_ns, report.resources.lut)
    clock = f"clock estimate {report.clock_estimate_ns:.1f} ns, about {routed:.1f} ns when routed"
    return f"{facts.tool}: {parts}; {clock}", facts
