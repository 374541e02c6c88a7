"""``pyadmm boards``: the boards with their facts and sources."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from pyadmm.cli.command import DONE, Command, json_option
from pyadmm.core.schema import to_json
from pyadmm.hardware.boards import Board, board_names, load_board

_EXAMPLES = """\
  pyadmm boards                  lists all boards that come with pyadmm
  pyadmm boards my-board.json    checks a board file of your own and shows it
"""
_TABLE_WIDTH = 150


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "boards",
        nargs="*",
        metavar="BOARD",
        help="names or JSON files (default: all that come with pyadmm)",
    )
    json_option(parser)


def _execute(options: Namespace) -> int:
    boards = [load_board(name) for name in options.boards or board_names()]
    if options.json:
        print(to_json(boards))
        return DONE
    console = Console(width=max(Console().width, _TABLE_WIDTH), highlight=False, markup=False)
    console.print(_table(boards))
    for board in boards:
        console.print(f"{board.name}: {board.source}", soft_wrap=True)
        if board.memory is not None:
            console.print(f"{board.name}, memory ports: {board.memory.source}", soft_wrap=True)
    console.print(
        "\nA board of your own is a JSON file with the same fields: docs/guide/own-board.md"
    )
    return DONE


def _table(boards: Sequence[Board]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("board", "part", "processor"):
        table.add_column(heading, no_wrap=True)
    for heading in ("MHz", "LUT", "FF", "DSP", "BRAM18", "URAM", "DDR MB/s", "sustained", "ports"):
        table.add_column(heading, justify="right")
    for board in boards:
        figures = (board.clock_mhz, *board.resources.values(), board.memory_bandwidth_mb_s)
        texts = (f"{figure:,.0f}" for figure in figures)
        table.add_row(board.name, board.part, board.processor, *texts, *_memory(board))
    return table


def _memory(board: Board) -> tuple[str, str]:
    """Sustained rate and ports of the memory, ``-`` where the board file does not say."""
    if board.memory is None:
        return "-", "-"
    return f"{board.memory.sustained_mb_s:,.0f}", f"{board.memory.ports} x {board.memory.port_bits}"


COMMAND = Command(
    "boards", "list the boards with their facts and sources", _add_options, _execute, "", _EXAMPLES
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm boards``; gives the exit status."""
    return COMMAND.run(arguments)
