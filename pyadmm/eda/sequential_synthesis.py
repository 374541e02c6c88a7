"""Synthesis of the layer-sequential array: the sum of its modules, each mapped once and cached."""

from __future__ import annotations

from pyadmm.codegen.sequential import TOP
from pyadmm.codegen.sequential_rtl import rtl_sources
from pyadmm.core.errors import CheckError
from pyadmm.eda.hierarchical_synthesis import synthesise_build
from pyadmm.eda.reports import SynthesisReport
from pyadmm.hardware.boards import Board
from pyadmm.hardware.design_space import CHIP_SHARE
from pyadmm.hardware.plan import BuildPlan
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.model.types import Resources


def synthesise_array(array: SequentialArray, board: Board) -> SynthesisReport:
    """Resources and clock estimate of ``array`` on the chip of ``board``.

    :raises ToolError: as :func:`~pyadmm.eda.hierarchical_synthesis.synthesise_build`.
    """
    sources = {source.name: source.read_text(encoding="utf-8") for source in rtl_sources()}
    return synthesise_build(BuildPlan(sources), board, TOP, parameters=array.parameters)


def require_fit(
    report: SynthesisReport, array: SequentialArray, board: Board, share: float = CHIP_SHARE
) -> None:
    """Raise where the synthesised array takes more than ``share`` of the chip.

    :raises CheckError: every resource that is short, its need, its limit, and what to do.
    """
    over = Resources(**report.resources.known()).over(board.resources.scaled(share))
    if over:
        short = "; ".join(
            f"{name}: needs {used:,.0f}, limit {most:,.0f} ({share:.0%} of the chip)"
            for name, (used, most) in over.items()
        )
        raise CheckError(
            f"the sequential array of {array.groups} x {array.lanes} does not fit {board.name} after synthesis: "
            f"{short}; take a smaller one with --array, or a larger board"
        )
