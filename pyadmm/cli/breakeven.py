"""``pyadmm breakeven``: measured break-even pruning ratios."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import get_args

from rich import box
from rich.console import Console
from rich.table import Table

from pyadmm import zoo
from pyadmm.breakeven import (
    BreakEven,
    LayerCase,
    NotMeasured,
    OpenFlow,
    Settings,
    layer_case,
    measurements,
    model_cases,
    model_names,
    write_outputs,
)
from pyadmm.breakeven.outputs import SHOWN_PORTIONS
from pyadmm.breakeven.post_route import at_routed_clocks
from pyadmm.breakeven.settings import PrunedFamily
from pyadmm.cli.command import CHECK_FAILED, DONE, Command, out_option
from pyadmm.eda.route_flow import RouteSettings
from pyadmm.flow.config import FlowConfig, read_config
from pyadmm.flow.console import Reporter
from pyadmm.flow.session import Session
from pyadmm.hardware.boards import board_names, load_board
from pyadmm.settings import PRESETS

_TABLE_WIDTH = 160


_EXAMPLES = """\
  pyadmm breakeven --board pynq-z2                               LeNet-5 with the bits of preset quick
  pyadmm breakeven --board pynq-z2 --model resnet20 --preset standard   a network of the zoo
  pyadmm breakeven --board pynq-z2 --model my:net --image-size 64       your own network
  pyadmm breakeven --board pynq-z2 --published alexnet           AlexNet with the bits of ADMM-NN
  pyadmm breakeven --layer lenet5.conv2 --basis post-route --seeds 3    at routed clocks
  pyadmm breakeven --all-boards --layer alexnet.conv4 --measure         ignores stored records
  pyadmm breakeven --layer lenet5.fc1 --family sparse balanced shared   compares kernel families
"""


def _add_options(parser: ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--model", help=f"{', '.join(zoo.names())}, or module:callable (default lenet5)"
    )
    which.add_argument(
        "--published",
        choices=model_names(),
        help="measure all layers of this network with the bits of ADMM-NN",
    )
    which.add_argument(
        "--layer", action="append", metavar="NETWORK.LAYER",
        help="measure one of these layers, such as alexnet.conv4; may be repeated",
    )  # fmt: skip
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--board", action="append", metavar="BOARD",
        help="name or JSON file of a board; may be repeated (default pynq-z2)",
    )  # fmt: skip
    where.add_argument("--all-boards", action="store_true", help="measure for every board")
    parser.add_argument("--preset", help=f"{', '.join(PRESETS)} (default quick)")
    parser.add_argument(
        "--data",
        help="data set whose images your own network takes, as for pyadmm run",
    )
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="N",
        help="height and width of the images of your own network",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML file with options, as for pyadmm run"
    )
    _add_measuring_options(parser)


def _add_measuring_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--family", nargs="+", choices=get_args(PrunedFamily), default=["sparse"],
        help="families of sparse kernels to measure (default sparse)",
    )  # fmt: skip
    parser.add_argument(
        "--measure", action="store_true", help="measure every layer, even if a record exists"
    )
    out_option(parser, "breakeven", "folder for the files")
    parser.add_argument(
        "--logic-share",
        type=float,
        metavar="SHARE",
        help="share of the chip's LUTs for dense kernels",
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="parallel synthesis runs (default: number of cores)"
    )
    parser.add_argument(
        "--basis", choices=("post-synthesis", "post-route"), default="post-synthesis",
        help="post-route: also route both kernels with openXC7 and use their routed clocks",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="N", help="seeds of each routed kernel (default 1)"
    )
    parser.add_argument(
        "--dask", metavar="tcp://HOST:PORT", help="run the synthesis on this Dask scheduler"
    )


def _execute(options: Namespace) -> int:
    # A pipe counts as 80 columns: let lines grow rather than break every cell.
    console = Console(width=max(Console().width, _TABLE_WIDTH))
    names = board_names() if options.all_boards else options.board or ["pynq-z2"]
    boards = [(load_board(name), _cases(options, name)) for name in names]
    settings = Settings(logic_share=options.logic_share) if options.logic_share else Settings()
    plain = options.jobs is None and options.dask is None
    measure = None if plain else OpenFlow(options.jobs, options.dask)
    results: list[BreakEven] = []
    missing: list[NotMeasured] = []
    for board, cases in boards:
        for case, family in product(cases, options.family):
            found = measurements(
                [case],
                board,
                settings,
                measure=measure,
                family=family,
                anew=options.measure or not plain,
            )
            records = list(found.results)
            for record in records:
                console.print(_line(record, found.origin))
            if options.basis == "post-route":
                routes = RouteSettings(tuple(range(1, options.seeds + 1)))
                records = [at_routed_clocks(r, case, board, routes) for r in records]
                for record in records:
                    console.print(_line(record, record.notes[-1]))
            for gap in found.missing:
                print(f"error: {gap.text}", file=sys.stderr)
            results += records
            missing += found.missing
    console.print(_table(results, missing))
    for path in write_outputs(results, options.out, missing=missing):
        console.print(f"wrote {path}")
    return CHECK_FAILED if missing else DONE


def _cases(options: Namespace, board: str) -> Sequence[LayerCase]:
    if options.published:
        return model_cases(options.published)
    if options.layer:
        return [layer_case(label) for label in options.layer]
    config = FlowConfig() if options.config is None else read_config(options.config)
    given = {
        "board": board,
        "model": options.model,
        "preset": options.preset,
        "data": options.data,
        "image_size": options.image_size,
    }
    config = config.override({k: v for k, v in given.items() if v is not None}, "command line")
    return Session(config, Reporter()).layer_cases


def _line(result: BreakEven, origin: str) -> str:
    ratio = "none below 90 % pruned" if result.ratio is None else f"{result.ratio:.2f}x"
    return (
        f"{result.title} on {result.board}: break-even {ratio} "
        f"({result.basis}, {result.tool} {result.version}; {origin})"
    )


def _table(results: Sequence[BreakEven], missing: Sequence[NotMeasured]) -> Table:
    """One line per layer and board; the area is the limit that sparse kernels have to keep.

    What has no result is in the caption, with its reason.
    """
    sources = sorted({f"{r.basis}, {r.tool} {r.version}" for r in results})
    table = Table(
        title="Break-even pruning ratio; speedup at portion pruned; groups x rows, cycles and area "
        "of the dense kernel; " + "; ".join(sources),
        box=box.SIMPLE_HEAD,
        caption="\n".join(gap.text for gap in missing) or None,
        caption_justify="left",
    )
    for column in ("layer", "board", "weights"):
        table.add_column(column, no_wrap=True)
    figures = ("break-even", *(f"{p:.0%}" for p in SHOWN_PORTIONS), "dense GxR", "dense cycles")
    for column in (*figures, "LUT", "FF", "BRAM18"):
        table.add_column(column, no_wrap=True, justify="right")
    for result in results:
        speedups = (result.speedup_at(portion) for portion in SHOWN_PORTIONS)
        dense, limit = result.dense, result.dense.resources
        table.add_row(
            result.title,
            result.board,
            result.storage,
            "none" if result.ratio is None else f"{result.ratio:.2f}x",
            *("-" if s is None else f"{s:.2f}x" for s in speedups),
            f"{dense.config.groups}x{dense.config.tile_rows}",
            f"{dense.cycles:,}",
            *(f"{amount:,.0f}" for amount in (limit.lut, limit.ff, limit.bram18)),
        )
    for gap in missing:
        table.add_row(gap.layer, gap.board, "no result")
    return table


COMMAND = Command(
    "breakeven",
    "measure break-even pruning ratios by synthesis",
    _add_options,
    _execute,
    "Synthesise dense and sparse kernels of every layer to find the pruning ratio above which the\n"
    "sparse one is faster on the same area. Records that come with pyadmm or were measured before\n"
    "are reused.",
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm breakeven``; gives the exit status."""
    return COMMAND.run(arguments)
