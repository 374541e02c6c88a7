"""``pyadmm vendor``: run stages of the vendor tools, or their self-test."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pyadmm.core.errors import PyadmmError
from pyadmm.eda.vendor.vitis import DEFAULT_TIMEOUT_S, STAGES, run_hls
from pyadmm.eda.vendor.vivado import STAGES as VIVADO_STAGES
from pyadmm.eda.vendor.vivado import build_bitstream


def main(arguments: list[str] | None = None) -> int:
    """``build`` runs stages in a folder of the flow's; ``selftest`` tries the tools themselves."""
    parser = argparse.ArgumentParser(prog="python -m pyadmm.eda.vendor.vitis", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="run stages in a build folder")
    build.add_argument("folder", type=Path)
    every = (*STAGES, *VIVADO_STAGES)
    build.add_argument("--stages", nargs="+", choices=every, default=list(every), metavar="STAGE")
    build.add_argument("--timeout-s", type=float, default=DEFAULT_TIMEOUT_S)
    check = commands.add_parser(
        "selftest", help="run every stage on a tiny design, pack the result"
    )
    check.add_argument("--output", type=Path, default=Path("pyadmm-vendor-selftest"))
    check.add_argument("--board", default="pynq-z2")
    check.add_argument("--timeout-s", type=float, default=DEFAULT_TIMEOUT_S)
    options = parser.parse_args(arguments)
    try:
        if options.command == "build":
            return _build(options.folder, options.stages, options.timeout_s)
        # Imported late: the design's sources are only needed here.
        from pyadmm.eda.vendor.selftest import selftest  # noqa: PLC0415

        return selftest(options.output, options.board, options.timeout_s)
    except PyadmmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _build(folder: Path, stages: list[str], timeout_s: float) -> int:
    hls_stages = [stage for stage in STAGES if stage in stages]
    if hls_stages:
        print(f"done: {', '.join(run_hls(folder, hls_stages, timeout_s=timeout_s).stages)}")
    if set(stages) & set(VIVADO_STAGES):
        print(f"done: {', '.join(build_bitstream(folder, timeout_s=timeout_s).stages)}")
    return 0
