"""``pyadmm bitstream``: the bitstream of a run with openXC7, added to its bundle for the board."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyadmm.cli.command import CHECK_FAILED, DONE, Command
from pyadmm.codegen.rtl import RTL_IDENT_FILE, rtl_ident
from pyadmm.codegen.system import chip_hwh
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.deploy.bundle import add_bitstream, read_bundle, write_deploy
from pyadmm.eda.chip_flow import Chip, build_chip
from pyadmm.eda.openxc7 import DEFAULT_MEMORY_GIB, DEFAULT_TIMEOUT_S
from pyadmm.eda.route_flow import RouteSettings
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.plan import BuildPlan

_EXAMPLES = """\
  pyadmm bitstream runs/my-run                     routes one seed
  pyadmm bitstream runs/my-run --seeds 4 --jobs 2  takes the fastest of four seeds
"""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="folder of a run that completed the step 'deploy'"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=1,
        metavar="N",
        help="number of runs, with seeds 1 to N (default 1)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="parallel runs (default 1)"
    )
    parser.add_argument(
        "--clock-ns", type=float, metavar="NS", help="target period in ns (default: the board's)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=DEFAULT_TIMEOUT_S,
        metavar="S",
        help="time limit of each run in seconds",
    )
    parser.add_argument(
        "--memory",
        type=float,
        default=DEFAULT_MEMORY_GIB,
        metavar="GIB",
        help="memory limit of each run",
    )


def _execute(options: Namespace) -> int:
    deploy = options.run / "deploy" / "rtl"
    _, manifest = read_bundle(deploy)
    build = _rtl(options.run / "build" / "rtl")
    _require_same(build, manifest)
    board = load_board(manifest["board"])
    settings = RouteSettings(
        tuple(range(1, options.seeds + 1)),
        options.jobs,
        options.clock_ns,
        options.timeout,
        options.memory,
    )
    chip = build_chip(build, board, settings, options.run / "build" / "chip")
    mhz = clock_mhz(chip.period_ns, board.clock_mhz)
    design = manifest["design"]
    hwh = chip_hwh(board, design["ip"], design["vlnv"], design["dma"], mhz)
    write_atomic(chip.bit.with_suffix(".hwh"), hwh)
    write_deploy(deploy, add_bitstream(deploy, chip.bit, mhz))
    print(text(chip, mhz, board.clock_mhz))
    print(f"{deploy}: done; copy the wheel to the board and install it again")
    return DONE if mhz >= board.clock_mhz else CHECK_FAILED


def clock_mhz(period_ns: float, board_mhz: float) -> float:
    """The clock that a routed design runs at: at most the board's, rounded down to 0.1 MHz.

    >>> clock_mhz(8.0, 100.0), clock_mhz(12.34, 100.0)
    (100.0, 81.0)
    """
    return min(board_mhz, math.floor(1e4 / period_ns) / 10)


def text(chip: Chip, mhz: float, board_mhz: float) -> str:
    """Lines for a terminal."""
    report, facts = chip.best.report, chip.facts
    use = ", ".join(f"{name} {count:,.0f}" for name, count in report.resources.known().items())
    periods = ", ".join(f"{run.report.clock_estimate_ns:.2f}" for run in chip.runs)
    verdict = "met" if mhz >= board_mhz else "missed"
    return "\n".join(
        [
            f"{report.design} on {facts.part}, {report.tool} {report.version}: {use}",
            f"routed {chip.period_ns:.2f} ns (seeds: {periods}); the board's {board_mhz:g} MHz "
            f"{verdict}, runs at {mhz:g}",
            *report.notes,
            f"{chip.bit.name}: {facts.nbytes:,} bytes, {facts.frames:,} frames, IDCODE "
            f"0x{facts.idcode:08x}; never loaded into a board by us: run the self-test there",
        ]
    )


def _rtl(folder: Path) -> BuildPlan:
    """The RTL build that a run left."""
    files = {
        f"rtl/{path.name}": path.read_text(encoding="utf-8")
        for path in sorted((folder / "rtl").glob("*.*v"))
    }
    if RTL_IDENT_FILE not in files:
        raise PyadmmError(
            f"bitstream: {folder} holds no RTL; give the folder of a run that went on to 'deploy'"
        )
    return BuildPlan(files)


def _require_same(build: BuildPlan, manifest: dict[str, Any]) -> None:
    ident, wanted = rtl_ident(build), manifest["design"]["ident"]
    if ident != wanted:
        raise PyadmmError(
            f"bitstream: the RTL says it is 0x{ident:08x}, the bundle is for 0x{wanted:08x}; run "
            "the flow again, so that both are of one design"
        )


COMMAND = Command(
    "bitstream",
    "build the bitstream of a run with openXC7 and add it to the bundle",
    _add_options,
    _execute,
    "Put the RTL of a run into a whole Zynq-7000 chip (processor, DMA, bridge), map it with Yosys,\n"
    "place and route it with nextpnr-xilinx, write the .bit with project X-Ray's tools and the .hwh,\n"
    "and add both to RUN/deploy/rtl. The manifest gets the routed clock. The exit status is 1 if it is\n"
    "slower than the board's. The variables OPENXC7, OPENXC7_CHIPDB and PRJXRAY_DB_DIR locate the\n"
    "tools and their data.",
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm bitstream``; gives the exit status."""
    return COMMAND.run(arguments)
