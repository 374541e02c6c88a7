"""``pyadmm vendor``: run stages of the vendor tools, or their self-test."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from pyadmm.cli.command import Command, board_option, out_option
from pyadmm.eda.vendor.vitis import DEFAULT_TIMEOUT_S, STAGES, run_hls
from pyadmm.eda.vendor.vivado import STAGES as VIVADO_STAGES
from pyadmm.eda.vendor.vivado import build_bitstream

_EXAMPLES = """\
  pyadmm vendor selftest --board pynq-z2             tries the tools on a tiny design
  pyadmm vendor build runs/my-run/build/hls          runs all stages, from HLS to the bitstream
  pyadmm vendor build runs/my-run/build/hls --stages csynth   runs one stage
"""


def _add_options(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="run the stages of a build folder")
    build.add_argument("folder", type=Path, metavar="DIR", help="build/hls or build/rtl of a run")
    every = (*STAGES, *VIVADO_STAGES)
    build.add_argument(
        "--stages", nargs="+", choices=every, default=list(every), metavar="STAGE",
        help=f"stages to run: {', '.join(every)} (default: all)",
    )  # fmt: skip
    check = commands.add_parser(
        "selftest", help="run every stage on a tiny design and pack the result"
    )
    out_option(check, "pyadmm-vendor-selftest", "folder for the result")
    board_option(check)
    for command in (build, check):
        command.add_argument(
            "--timeout-s",
            type=float,
            default=DEFAULT_TIMEOUT_S,
            help="time limit of each stage in seconds",
        )


def _execute(options: Namespace) -> int:
    if options.command == "build":
        return _build(options.folder, options.stages, options.timeout_s)
    # Imported late: the design's sources are only needed here.
    from pyadmm.eda.vendor.selftest import selftest  # noqa: PLC0415

    return selftest(options.out, options.board, options.timeout_s)


def _build(folder: Path, stages: list[str], timeout_s: float) -> int:
    hls_stages = [stage for stage in STAGES if stage in stages]
    if hls_stages:
        print(f"done: {', '.join(run_hls(folder, hls_stages, timeout_s=timeout_s).stages)}")
    if set(stages) & set(VIVADO_STAGES):
        print(f"done: {', '.join(build_bitstream(folder, timeout_s=timeout_s).stages)}")
    return 0


COMMAND = Command(
    "vendor",
    "run stages of the vendor tools, or their self-test",
    _add_options,
    _execute,
    "Run Vitis HLS and Vivado in a build folder of a run, or try the installed tools on a tiny\n"
    "design.",
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm vendor``; gives the exit status."""
    return COMMAND.run(arguments)
