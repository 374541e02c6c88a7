"""Synthesis of a whole accelerator: a sum of modules, each synthesised out of context.

One run over the whole top of a network takes Yosys far longer than its parts do. The elaborated
top is cut at the modules of :data:`UNITS`; each is synthesised by itself, its own units left empty,
equal ones once, and counted as often as it is instantiated. What lies between them is one more
module. Nothing is optimised across these borders, so the sum is an upper bound.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pyadmm.codegen.hls import TOP
from pyadmm.eda.reports import ModuleReport, ResourceUse, SynthesisReport
from pyadmm.eda.yosys import Design, Module, elaborate, synthesise_all
from pyadmm.hardware.boards import Board
from pyadmm.hardware.plan import BuildPlan
from pyadmm.model.types import Resources

UNITS = (
    "sparse_engine",
    "dense_engine",
    "dense_group",
    "frame_buffer",
    "frame_ring",
    "drain",
    "unrolled_front",
    "unrolled_back",
    "add_stage",
    "pool_stage",
    "seq_buffer",
    "seq_drain",
    "seq_group",
    "seq_lanes",
    "seq_loader",
    "seq_read_port",
    "seq_registers",
    "seq_sequencer",
    "seq_store",
)
"""Modules that are synthesised by themselves, and the adder graphs of unrolled stages; any other
belongs to the one that holds it."""
_GRAPH = re.compile(r"constants_\w+_graph")

_MODULE = re.compile(r"^\s*module\s+(\w+)", re.MULTILINE)


@dataclass(frozen=True)
class _Unit:
    """One instance of a module that is synthesised by itself; ``path`` from the top."""

    path: str
    key: str


def synthesise_build(
    build: BuildPlan,
    board: Board,
    top: str = TOP,
    jobs: int | None = None,
    parameters: Mapping[str, int | str] | None = None,
) -> SynthesisReport:
    """Resources and clock estimate of an RTL build on the chip of ``board``.

    :param build: of :func:`pyadmm.codegen.rtl.generate_rtl`.
    :param top: the module to begin at.
    :param jobs: runs of Yosys at once; the number of cores by default.
    :param parameters: of ``top``; the source's own values by default.
    :returns: with one :class:`~pyadmm.eda.reports.ModuleReport` for every instance of a unit, the top
        with all between the units first; the clock is that of the slowest.
    :raises ToolError: where Yosys fails, hangs, runs out of memory or is missing.
    """
    with tempfile.TemporaryDirectory(prefix="pyadmm-rtl-") as name:
        sources = _write(build, Path(name))
        modules = elaborate(top, sorted(set(sources.values())), parameters=parameters)
        root = next(key for key, module in modules.items() if module.source == top)
        units = [_Unit(top, root), *_inner_units(modules, root, "")]
        keys = list(dict.fromkeys(unit.key for unit in units))
        designs = [_design(modules, key, sources, board) for key in keys]
        reports = dict(zip(keys, synthesise_all(designs, jobs), strict=True))
    parts = [_part(unit, modules[unit.key].source, reports[unit.key]) for unit in units]
    total = sum((Resources(**part.resources.known()) for part in parts), Resources())
    slowest = max(parts, key=lambda part: part.clock_estimate_ns or 0.0)
    return replace(
        reports[root],
        resources=ResourceUse(*total.values()),
        available=ResourceUse(*board.resources.values()),
        clock_estimate_ns=slowest.clock_estimate_ns,
        modules=tuple(parts),
        plan_digest=build.digest,
        notes=(
            f"sum of modules, each out of context: {len(units)} instances of {len(reports)}",
            f"slowest module: {slowest.name} ({slowest.kind})",
        ),
    )


def _is_unit(source: str) -> bool:
    return source in UNITS or _GRAPH.fullmatch(source) is not None


def _part(unit: _Unit, kind: str, report: SynthesisReport) -> ModuleReport:
    return ModuleReport(
        name=unit.path,
        kind=kind,
        resources=report.resources,
        clock_estimate_ns=report.clock_estimate_ns,
    )


def _write(build: BuildPlan, folder: Path) -> dict[str, Path]:
    """Write the build's modules; gives the file of each."""
    sources = {}
    for name, text in build.files.items():
        if Path(name).suffix in {".sv", ".v"}:
            path = folder / Path(name).name
            plain = text if isinstance(text, str) else text.decode()
            path.write_text(plain, encoding="utf-8")
            sources.update(dict.fromkeys(_MODULE.findall(plain), path))
    return sources


def _inner_units(modules: Mapping[str, Module], key: str, path: str) -> Iterator[_Unit]:
    """The units inside module ``key``, at any depth."""
    for name, inner in modules[key].instances.items():
        place = f"{path}{name}"
        if _is_unit(modules[inner].source):
            yield _Unit(place, inner)
        yield from _inner_units(modules, inner, f"{place}.")


def _design(
    modules: Mapping[str, Module], key: str, sources: Mapping[str, Path], board: Board
) -> Design:
    """The run for one unit: only the sources that it reaches, so that others may change."""
    reached, ahead = {key}, [key]
    while ahead:
        new = set(modules[ahead.pop()].instances.values()) - reached
        reached |= new
        ahead.extend(new)
    files = {sources[modules[other].source] for other in reached}
    inner = {modules[other].source for other in reached - {key}}
    module = modules[key]
    boxes = sorted(name for name in inner if _is_unit(name))
    design = Design.for_board(board, module.source, sorted(files), module.parameters)
    return replace(design, boxes=tuple(boxes))
