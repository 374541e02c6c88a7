"""``pyadmm route``: the clock of a model's accelerator, placed and routed with openXC7."""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from pyadmm import container
from pyadmm.cli.command import CHECK_FAILED, DONE, Command, board_option
from pyadmm.codegen.rtl import TOP_FILE, generate_rtl
from pyadmm.core.files import write_atomic
from pyadmm.eda.openxc7 import DEFAULT_MEMORY_GIB, DEFAULT_TIMEOUT_S, median_period, typical
from pyadmm.eda.route_flow import RouteResult, RouteSettings, route_build
from pyadmm.eda.route_model import ROUTE_MODEL
from pyadmm.eda.routed_simulation import check_routed
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.design_space import CHIP_SHARE, chip_limit, search
from pyadmm.hardware.lowering import hardware_form
from pyadmm.hardware.mapping import plan_accelerator

_EXAMPLES = """\
  pyadmm route models/lenet5-record-410-seed30.admm --chip-share 0.16        one seed, a small design
  pyadmm route model.admm --board pynq-z2 --seeds 3 --jobs 3 --keep routed   median of three seeds
"""


def add_route_options(parser: ArgumentParser) -> None:
    """Add the options of placing and routing: seeds, jobs, period, limits of time and memory."""
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
        "--clock-ns", type=float, metavar="NS",
        help="target period in ns, which the result must meet (default: the board's)",
    )  # fmt: skip
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


def route_settings(options: Namespace, keep: Path | None = None) -> RouteSettings:
    """Settings from the options of :func:`add_route_options`; ``keep`` is the folder of the results."""
    return RouteSettings(
        tuple(range(1, options.seeds + 1)),
        options.jobs,
        options.clock_ns,
        options.timeout,
        options.memory,
        keep,
    )


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="FILE", help="an .admm file")
    board_option(parser)
    parser.add_argument(
        "--chip-share", type=float, metavar="PART",
        help="share of the chip that the search may use (default: of the LUTs that of the largest design "
        f"that was routed on the board, {CHIP_SHARE:g} of the rest)",
    )  # fmt: skip
    add_route_options(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep netlists, FASM and logs in this folder"
    )
    parser.add_argument(
        "--simulate",
        type=int,
        default=0,
        metavar="N",
        help="simulate the routed netlist of every seed on N random images",
    )


def _execute(options: Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="pyadmm-routed-") as name:
        if options.simulate and options.keep is None:
            options.keep = Path(name)
        return _routed(options)


def _routed(options: Namespace) -> int:
    board = load_board(options.board)
    settings = route_settings(options, options.keep)
    model = hardware_form(container.load(options.model))
    limit = chip_limit(board, options.chip_share, open_tools=True)
    configs = search(model, board, budget=limit).best.configs
    plan = plan_accelerator(model, board, configs)
    build = generate_rtl(plan, model=model)
    result = route_build(build, board, settings)
    clock_ns = settings.clock_ns or board.clock_ns
    print(text(result, board, clock_ns))
    if options.out is not None:
        write_atomic(options.out, typical(result.runs).report.to_json())
    wrong = 0
    for seed in settings.seeds if options.simulate else ():
        top = str(build.files[TOP_FILE])
        check = check_routed(model, plan, top, options.keep, seed=seed, images=options.simulate)
        print(check.summary)
        wrong += check.wrong
    return DONE if median_period(result.runs) <= clock_ns and not wrong else CHECK_FAILED


def text(result: RouteResult, board: Board, clock_ns: float) -> str:
    """Lines for a terminal."""
    period = median_period(result.runs)
    report = typical(result.runs).report
    use = ", ".join(f"{name} {count:,.0f}" for name, count in report.resources.known().items())
    periods = ", ".join(f"{run.report.clock_estimate_ns:.2f}" for run in result.runs)
    verdict = "met" if period <= clock_ns else "missed"
    return "\n".join(
        [
            f"{report.design} on {board.name}, {report.tool} {report.version}: {use}",
            f"routed {period:.2f} ns, {1e3 / period:.0f} MHz; {clock_ns:g} ns {verdict} "
            f"(seeds: {periods}; estimate before placement {result.estimate_ns:.2f}, from which "
            f"{ROUTE_MODEL.period_ns(result.estimate_ns, result.mapped_lut):.2f} was to be expected)",
            *report.notes,
        ]
    )


COMMAND = Command(
    "route",
    "place and route the accelerator of a model with openXC7 to get its clock",
    _add_options,
    _execute,
    "Choose kernels for an .admm file, synthesise their RTL, place and route it between registers\n"
    "with nextpnr-xilinx, and time every path over the routed wires. The exit status is 1 if the\n"
    "median of the seeds misses the clock. The variables OPENXC7 and OPENXC7_CHIPDB locate the tool\n"
    "and its chip database.",
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm route``; gives the exit status."""
    return COMMAND.run(arguments)
