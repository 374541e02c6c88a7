"""A whole Zynq-7000 chip with open tools: mapped, placed, routed, timed, and its bitstream written."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pyadmm.core.errors import PyadmmError
from pyadmm.eda import yosys
from pyadmm.eda.bitstream import BitFacts, find_tools, write_bitstream
from pyadmm.eda.openxc7 import Routed, RouteJob, find_openxc7, place_and_route
from pyadmm.eda.route_flow import MAPPED, RouteResult, RouteSettings, route_result
from pyadmm.hardware.boards import Board
from pyadmm.hardware.plan import BuildPlan

_MAPPING_TIMEOUT_S = 3600.0
BIT_FILE = "design.bit"
"""The bitstream in a chip's folder, which also holds the FASM that it was made of."""
ROUTED_REPORT = Path("reports") / "openxc7.json"
"""Where the report of the routed chip lies in the folder of its RTL build."""


@dataclass(frozen=True)
class Chip:
    """A chip with its bitstream.

    :param best: the fastest of the runs of ``routed``, of which the bitstream is.
    """

    bit: Path
    facts: BitFacts
    best: Routed
    routed: RouteResult

    @property
    def period_ns(self) -> float:
        """Slowest path between registers."""
        assert self.best.report.clock_estimate_ns is not None
        return self.best.report.clock_estimate_ns


def build_chip(
    build: BuildPlan, top: str, board: Board, settings: RouteSettings, folder: Path
) -> Chip:
    """Bitstream of a whole chip, on that of ``board``.

    :param build: with the processor, as :mod:`pyadmm.codegen.system` gives it.
    :param top: its top module.
    :param folder: gets :data:`BIT_FILE`, the netlist, and FASM and log of every seed.
    :raises PyadmmError: for a board whose chip is none of openXC7's.
    :raises ToolError: where a tool is missing, fails or runs out of time.
    """
    # Before the hour that mapping and routing take.
    _require_router(board)
    find_tools(board.part)
    routed = route_chip(build, top, board, settings, folder)
    best = min(routed.runs, key=lambda run: run.report.clock_estimate_ns or float("inf"))
    bit = folder / BIT_FILE
    facts = write_bitstream(folder / f"seed{best.seed}.fasm", board.part, bit)
    shutil.copyfile(folder / f"seed{best.seed}.fasm", bit.with_suffix(".fasm"))
    return Chip(bit, facts, best, routed)


def route_chip(
    build: BuildPlan, top: str, board: Board, settings: RouteSettings, folder: Path | None
) -> RouteResult:
    """Map, place and route a whole chip.

    :param folder: gets the netlist, and FASM and log of every seed; without it results come from the cache
        where they are known.
    :raises PyadmmError: for a board whose chip is none of openXC7's.
    :raises ToolError: where a tool is missing, fails or runs out of time.
    """
    _require_router(board)
    clock_ns = settings.clock_ns or board.clock_ns
    with tempfile.TemporaryDirectory(prefix="pyadmm-chip-") as name:
        place = folder or Path(name)
        place.mkdir(parents=True, exist_ok=True)
        netlist = place / MAPPED
        _map(build, top, netlist)
        job = RouteJob(
            top, netlist, "", board.part, clock_ns, settings.timeout_s, settings.memory_gib
        )
        runs = place_and_route(job, settings.seeds, settings.jobs, folder)
        return route_result(netlist, top, runs)


def _require_router(board: Board) -> None:
    if board.family != "zynq7000":
        raise PyadmmError(
            f"bitstream for {board.name}: open tools route 7-series chips, not {board.part}; choose "
            "a Zynq-7000 board, or build with Vivado"
        )
    find_openxc7(board.part)


def _map(build: BuildPlan, top: str, netlist: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="pyadmm-chip-") as name:
        build.write(Path(name))
        files = [Path(name) / file for file in build.files if Path(file).suffix in {".sv", ".v"}]
        yosys.map_for_placement("", sorted(files), netlist, top=top, timeout_s=_MAPPING_TIMEOUT_S)
