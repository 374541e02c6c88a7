"""``pyadmm breakeven``: measured break-even pruning ratios."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from pyadmm.breakeven import (
    BreakEven,
    LayerCase,
    NotMeasured,
    OpenFlow,
    Settings,
    break_even,
    layer_case,
    model_cases,
    model_names,
    write_outputs,
)
from pyadmm.breakeven.outputs import SHOWN_PORTIONS
from pyadmm.cli.command import CHECK_FAILED, DONE, Command, out_option
from pyadmm.core.errors import MissingToolError, PyadmmError
from pyadmm.hardware.boards import board_names, load_board

_TABLE_WIDTH = 160


_EXAMPLES = """\
  pyadmm breakeven --board pynq-z2 --layer alexnet.conv4
  pyadmm breakeven --board pynq-z2 --model lenet5 --out breakeven
  pyadmm breakeven --all-boards --model alexnet --jobs 2
"""


def _add_options(parser: ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--layer", action="append", metavar="MODEL.LAYER", help="may be repeated")
    which.add_argument("--model", choices=model_names(), help="every layer of a network")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--board", action="append", metavar="BOARD", help="may be repeated")
    where.add_argument("--all-boards", action="store_true")
    out_option(parser, "breakeven", "folder for the files")
    parser.add_argument("--logic-share", type=float, help="of the chip's LUTs, for a dense kernel")
    parser.add_argument("--jobs", type=int, help="synthesis runs at once (default: cores)")
    parser.add_argument("--dask", metavar="tcp://HOST:PORT", help="a Dask scheduler to use instead")


def _execute(options: Namespace) -> int:
    # A pipe counts as 80 columns: let lines grow rather than break every cell.
    console = Console(width=max(Console().width, _TABLE_WIDTH))
    cases = (
        model_cases(options.model)
        if options.model
        else tuple(layer_case(label) for label in options.layer)
    )
    boards = [load_board(n) for n in (board_names() if options.all_boards else options.board)]
    settings = Settings(logic_share=options.logic_share) if options.logic_share else Settings()
    results: list[BreakEven] = []
    missing: list[NotMeasured] = []
    for board in boards:
        for case in cases:
            try:
                result = break_even(case, board, OpenFlow(options.jobs, options.dask), settings)
            except MissingToolError:
                raise
            except PyadmmError as error:
                missing.append(NotMeasured(case.label, board.name, str(error)))
                print(f"error: {error}", file=sys.stderr)
                continue
            results.append(result)
            console.print(_line(result, case))
    console.print(_table(results, missing))
    for path in write_outputs(results, options.out, missing=missing):
        console.print(f"wrote {path}")
    return CHECK_FAILED if missing else DONE


def _line(result: BreakEven, case: LayerCase) -> str:
    ratio = "none below 90 % pruned" if result.ratio is None else f"{result.ratio:.2f}x"
    return f"{case.label} on {result.board}: break-even {ratio} ({result.basis}, {result.tool})"


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
            result.layer,
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
    "Synthesise dense and sparse kernels of a layer to find the pruning ratio above which the\n"
    "sparse one is faster on the same area.",
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm breakeven``; gives the exit status."""
    return COMMAND.run(arguments)
