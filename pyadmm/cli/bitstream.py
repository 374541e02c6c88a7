"""``pyadmm bitstream``: the bitstream of a run with openXC7, added to its bundle for the board."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from pyadmm.cli.command import CHECK_FAILED, DONE, Command
from pyadmm.cli.route import add_route_options, route_settings
from pyadmm.deploy.bitstream import add_array_bitstream, add_open_bitstream, bundle_folder
from pyadmm.deploy.bundle import read_bundle
from pyadmm.deploy.sequential import is_sequential
from pyadmm.eda.bitstream import find_program
from pyadmm.eda.bitstream_check import DECODER, check_bitstream
from pyadmm.eda.chip_flow import Chip
from pyadmm.eda.route_flow import RouteSettings
from pyadmm.hardware.boards import load_board

_EXAMPLES = """\
  pyadmm bitstream runs/my-run                     routes one seed
  pyadmm bitstream runs/my-run --seeds 4 --jobs 2  takes the fastest of four seeds
  pyadmm bitstream runs/my-run --decode            also decodes the .bit and compares it with its FASM
  pyadmm bitstream many                            of the array that the bundle 'many' is for (pyadmm deploy --array)
"""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="folder of a run that completed the step 'deploy', or the deploy folder of a layer-sequential array",
    )
    add_route_options(parser)
    parser.add_argument(
        "--decode",
        action="store_true",
        help="decode the .bit with bit2fasm and compare it with the FASM that it was made of",
    )


def _execute(options: Namespace) -> int:
    if options.decode:
        find_program(DECODER)  # before the hour that the bitstream takes
    chip, status = _build(options.run, route_settings(options))
    if not options.decode:
        return status
    decoded = check_bitstream(chip.bit.with_suffix(".fasm"), chip.bit, chip.facts.part)
    print(decoded.summary)
    return status if decoded.same else CHECK_FAILED


def build_open(run: Path, settings: RouteSettings) -> int:
    """Build and add the bitstream of ``run``, say what came out; gives the exit status.

    :param run: folder of a run, or the deploy folder of a layer-sequential array.
    """
    return _build(run, settings)[1]


def _build(run: Path, settings: RouteSettings) -> tuple[Chip, int]:
    array = is_sequential(run)
    deploy = run if array else bundle_folder(run)
    chip, mhz = (add_array_bitstream if array else add_open_bitstream)(run, settings)
    board_mhz = load_board(read_bundle(deploy)[1].board).clock_mhz
    print(text(chip, mhz, board_mhz))
    print(f"{deploy}: done; copy the wheel to the board and install it again")
    return chip, DONE if mhz >= board_mhz else CHECK_FAILED


def text(chip: Chip, mhz: float, board_mhz: float) -> str:
    """Lines for a terminal."""
    report, facts = chip.best.report, chip.facts
    use = ", ".join(f"{name} {count:,.0f}" for name, count in report.resources.known().items())
    periods = ", ".join(f"{run.report.clock_estimate_ns:.2f}" for run in chip.routed.runs)
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
    "and add both to RUN/deploy/rtl. Of a bundle for the layer-sequential array the chip with that array\n"
    "is built, once for all networks. The manifest gets the routed clock. The exit status is 1 if it is\n"
    "slower than the board's, or a decoded .bit differs from its FASM. The variables OPENXC7,\n"
    "OPENXC7_CHIPDB and PRJXRAY_DB_DIR locate the tools and their data.",
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm bitstream``; gives the exit status."""
    return COMMAND.run(arguments)
