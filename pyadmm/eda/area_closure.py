"""Area closure: search and synthesis in turn until the synthesised design fits the chip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields

from pyadmm.core.errors import CheckError, PyadmmError
from pyadmm.eda.hierarchical_synthesis import synthesise_build
from pyadmm.eda.reports import SynthesisReport
from pyadmm.hardware.boards import Board
from pyadmm.hardware.design_space import SearchResult, search
from pyadmm.hardware.plan import BuildPlan, KernelConfig
from pyadmm.model import CompressedModel
from pyadmm.model.types import Resources

MOST_SEARCHES = 3
"""Design-space searches until the synthesised accelerator fits."""


def search_and_synthesise(
    model: CompressedModel,
    board: Board,
    build: Callable[[Mapping[str, KernelConfig]], BuildPlan],
    find: Callable[[CompressedModel, Resources], SearchResult],
    limit: Resources,
) -> SearchResult:
    """Search kernels, synthesise them, and search again with a smaller budget while they are too
    large.

    The model of the search is off by some per cent either way, and it fills its budget.

    :param build: the RTL of ``model`` with some kernels.
    :param find: the search within a budget.
    :param limit: what the accelerator may take of the chip.
    :returns: the first choice whose synthesised accelerator fits ``limit``, or the last of
        :data:`MOST_SEARCHES`.
    :raises PyadmmError: as :func:`~pyadmm.hardware.design_space.search` for the first choice.
    :raises ToolError: as :func:`synthesise_build`.
    """
    found = find(model, limit)
    for _ in range(MOST_SEARCHES - 1):
        report = synthesise_build(build(found.configs), board)
        need = Resources(**report.resources.known())
        if need.fits(limit):
            break
        budget = _tightened(limit, need, found.best.resources)
        try:
            found = find(model, budget)
        except PyadmmError:
            break
    return found


def require_fit(
    report: SynthesisReport,
    modelled: Resources,
    model: CompressedModel,
    board: Board,
    limit: Resources,
) -> None:
    """Raise where the synthesised accelerator takes more than ``limit`` of the chip.

    :param modelled: what the search took it to need; with it the error can name the fastest
        configuration that is expected to fit.
    :raises CheckError: every resource that is short, its need, its limit, and what to do.
    """
    need = Resources(**report.resources.known())
    over = need.over(limit)
    if over:
        short = "; ".join(
            f"{name}: needs {used:,.0f}, limit {most:,.0f} "
            f"({most / getattr(board.resources, name):.0%} of the chip)"
            for name, (used, most) in over.items()
        )
        raise CheckError(
            f"accelerator of {model.name} does not fit {board.name} after synthesis: {short}; "
            f"{_largest_fitting(model, board, _tightened(limit, need, modelled))}"
        )


def _tightened(limit: Resources, need: Resources, modelled: Resources) -> Resources:
    """The budget that compensates for the error of the model: smaller where synthesis needed more."""
    return Resources(
        **{
            field.name: most * min(1.0, guess / used) if used else most
            for field in fields(Resources)
            for most, used, guess in [
                tuple(getattr(each, field.name) for each in (limit, need, modelled))
            ]
        }
    )


def _largest_fitting(model: CompressedModel, board: Board, budget: Resources) -> str:
    try:
        best = search(model, board, budget=budget).best
    except PyadmmError as error:
        return f"no smaller kernels are expected to fit: {error}"
    kernels = ", ".join(
        f"{name} {config.family} {config.tile_rows} rows x {config.groups} groups"
        for name, config in best.configs.items()
    )
    return (
        f"the fastest configuration expected to fit takes {best.interval:,} cycles an image "
        f"({kernels}); generate that, prune further or take a larger board"
    )
