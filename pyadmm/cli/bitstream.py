"""``pyadmm bitstream``: the bitstream of a run with openXC7, added to its bundle for the board."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from pyadmm.cli.command import CHECK_FAILED, DONE, Command
from pyadmm.cli.route import add_route_options, route_settings
from pyadmm.deploy.bitstream import add_open_bitstream, bundle_folder
from pyadmm.deploy.bundle import read_bundle
from pyadmm.eda.chip_flow import Chip
from pyadmm.eda.route_flow import RouteSettings
from pyadmm.hardware.boards import load_board

_EXAMPLES = """\
  pyadmm bitstream runs/my-run                     routes one seed
  pyadmm bitstream runs/my-run --seeds 4 --jobs 2  takes the fastest of four seeds
"""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="folder of a run that completed the step 'deploy'"
    )
    add_route_options(parser)


def _execute(options: Namespace) -> int:
    return build_open(options.run, route_settings(options))


def build_open(run: Path, settings: RouteSettings) -> int:
    """Build and add the bitstream of ``run``, say what came out; gives the exit status."""
    chip, mhz = add_open_bitstream(run, settings)
    board_mhz = load_board(read_bundle(bundle_folder(run))[1].board).clock_mhz
    print(text(chip, mhz, board_mhz))
    print(f"{bundle_folder(run)}: done; copy the wheel to the board and install it again")
    return DONE if mhz >= board_mhz else CHECK_FAILED


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
