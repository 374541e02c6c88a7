"""``pyadmm compare``: a sparse design against all-dense ones on the same LUTs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from pyadmm import container
from pyadmm.cli.command import DONE, Command, board_option
from pyadmm.cli.images import image_options, test_images
from pyadmm.eda.dense_baseline import compare
from pyadmm.hardware.boards import load_board

_EXAMPLES = """\
  pyadmm compare models/lenet5-quick-seed0.admm --images 20          counts cycles on MNIST images
  pyadmm compare my.admm --board kv260 --data random --images 20   works for any network
"""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="FILE", help="an .admm file")
    board_option(parser)
    image_options(parser, 100)


def _execute(options: Namespace) -> int:
    model, board = container.load(options.model), load_board(options.board)
    images, _ = test_images(options, [model])
    print(compare(model, board, model.input.bytes_of(images)).table())
    return DONE


COMMAND = Command(
    "compare",
    "compare a sparse accelerator with all-dense ones on the same LUTs",
    _add_options,
    _execute,
    "Simulate the sparse accelerator of a file and all-dense accelerators of the same network that\n"
    "take the same LUTs, and print the cycles of each.",
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm compare``; gives the exit status."""
    return COMMAND.run(arguments)
