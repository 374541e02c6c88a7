"""A whole Zynq-7000 chip with open tools: mapped, placed, routed, timed, and its bitstream written."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pyadmm.codegen.system import CHIP_TOP, chip_build
from pyadmm.core.errors import PyadmmError
from pyadmm.eda import yosys
from pyadmm.eda.bitstream import BitFacts, find_tools, write_bitstream
from pyadmm.eda.openxc7 import Routed, RouteJob, find_openxc7, place_and_route
from pyadmm.eda.route_flow import RouteSettings
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

    :param best: the fastest of ``runs``, of which the bitstream is.
    """

    bit: Path
    facts: BitFacts
    best: Routed
    runs: tuple[Routed, ...]

    @property
    def period_ns(self) -> float:
        """Slowest path between registers."""
        assert self.best.report.clock_estimate_ns is not None
        return self.best.report.clock_estimate_ns


def build_chip(build: BuildPlan, board: Board, settings: RouteSettings, folder: Path) -> Chip:
    """Bitstream of an RTL build inside the system of ``hls/system``, on the chip of ``board``.

    :param build: as :func:`pyadmm.codegen.rtl.generate_rtl` gives it.
    :param folder: gets :data:`BIT_FILE`, the netlist, and FASM and log of every seed.
    :raises PyadmmError: for a board whose chip is none of openXC7's.
    :raises ToolError: where a tool is missing, fails or runs out of time.
    """
    if board.family != "zynq7000":
        raise PyadmmError(
            f"bitstream for {board.name}: open tools route 7-series chips, not {board.part}; choose "
            "a Zynq-7000 board, or build with Vivado"
        )
    # Before the hour that mapping and routing take.
    find_openxc7(board.part)
    find_tools(board.part)
    folder.mkdir(parents=True, exist_ok=True)
    netlist = folder / "netlist.json"
    _map(chip_build(build), netlist)
    clock_ns = settings.clock_ns or board.clock_ns
    job = RouteJob(
        CHIP_TOP, netlist, "", board.part, clock_ns, settings.timeout_s, settings.memory_gib
    )
    runs = place_and_route(job, settings.seeds, settings.jobs, folder)
    best = min(runs, key=lambda run: run.report.clock_estimate_ns or float("inf"))
    bit = folder / BIT_FILE
    facts = write_bitstream(folder / f"seed{best.seed}.fasm", board.part, bit)
    shutil.copyfile(folder / f"seed{best.seed}.fasm", bit.with_suffix(".fasm"))
    return Chip(bit, facts, best, tuple(runs))


def _map(build: BuildPlan, netlist: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="pyadmm-chip-") as name:
        build.write(Path(name))
        files = [Path(name) / file for file in build.files if Path(file).suffix in {".sv", ".v"}]
        yosys.map_for_placement(
            "", sorted(files), netlist, top=CHIP_TOP, timeout_s=_MAPPING_TIMEOUT_S
        )
