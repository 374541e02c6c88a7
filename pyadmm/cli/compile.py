"""``pyadmm compile``: the program of a network for the layer-sequential accelerator."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyadmm.cli.command import CHECK_FAILED, DONE, Command, board_option, out_option
from pyadmm.container.codec import load
from pyadmm.core.errors import PyadmmError
from pyadmm.deploy.sequential import write_program
from pyadmm.eda.sequential_cosim import run_csim, simulate
from pyadmm.eda.sequential_simulation import MemoryModel
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.sequential.area import largest_array
from pyadmm.hardware.sequential.array import named_array
from pyadmm.hardware.sequential.compiler import Compiled, compile_model
from pyadmm.hardware.sequential.roofline import best_images, sustained_bytes_per_cycle, table

_EXAMPLES = """\
  pyadmm compile models/resnet20-cifar10.admm         writes sequential/resnet20-cifar10.seq and .json
  pyadmm compile my.admm --array 2x32 --out build     for an array of 2 groups of 32 lanes
  pyadmm compile my.admm --start-images 4             each start takes four images
  pyadmm compile my.admm --csim 100                   runs the C++ of the array with g++ on 100 images
  pyadmm compile my.admm --simulate 8                 simulates eight images and compares all outputs
"""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="an .admm file")
    board_option(parser)
    out_option(parser, "sequential", "folder for NAME.seq and NAME.json")
    parser.add_argument(
        "--start-images",
        type=int,
        metavar="N",
        help="images per start of the program (default: chosen by the roofline model)",
    )
    parser.add_argument(
        "--array",
        metavar="GxV",
        help="groups and lanes of the array (default: the largest that fits the board)",
    )
    parser.add_argument(
        "--bytes-per-cycle", type=float, metavar="B",
        help="sustained rate of the memory, for the roofline model and the simulation (default: that of "
        "the board's file, 15.75 for pynq-z2)",
    )  # fmt: skip
    parser.add_argument(
        "--simulate", type=int, default=0, metavar="N",
        help="simulate the RTL on at least N random images and compare every output",
    )  # fmt: skip
    parser.add_argument(
        "--csim", type=int, default=0, metavar="N",
        help="run the C++ twin, compiled with g++, on at least N random images and compare every output",
    )  # fmt: skip


def _execute(options: Namespace) -> int:
    board, rate = load_board(options.board), options.bytes_per_cycle
    if rate is None:
        rate = sustained_bytes_per_cycle(board)
    if not 0 < rate <= 24:
        raise PyadmmError(f"--bytes-per-cycle must be above 0, at most 24; not {rate}")
    for name in ("simulate", "csim"):
        if getattr(options, name) < 0:
            raise PyadmmError(f"--{name} must be at least 0, not {getattr(options, name)}")
    model = load(options.file)
    named = options.array is not None
    array = named_array(options.array, "--array") if named else largest_array(board)
    if options.start_images is None:
        compiled = best_images(model, array, rate)
    else:
        compiled = compile_model(model, array, options.start_images)
    print(table(compiled, rate))
    image, about = write_program(compiled, options.out, options.file.stem)
    print(f"{image}: {len(compiled.program.image):,} bytes, {compiled.images} images per start")
    print(f"{about}: where images and results lie")
    wrong = _csim(compiled, options.csim) if options.csim else 0
    wrong += _simulate(compiled, options.simulate, board, rate) if options.simulate else 0
    return CHECK_FAILED if wrong else DONE


def _simulate(compiled: Compiled, least: int, board: Board, memory_rate: float) -> int:
    """Run at least ``least`` random images through the RTL; gives the number of wrong ones."""
    images = _random_images(compiled, least)
    logits, results = simulate(compiled, images, MemoryModel(bytes_per_cycle=memory_rate))
    wrong, count = _wrong(compiled, images, logits), len(images)
    cycles = sum(result.cycles for result in results) / count
    print(
        f"{count - wrong} of {count} images equal; {cycles:,.0f} cycles per image, "
        f"{board.clock_mhz * 1e6 / cycles:,.0f} images/s at the target of {board.clock_mhz:g} MHz (simulated)"
    )
    return wrong


def _csim(compiled: Compiled, least: int) -> int:
    """Run at least ``least`` random images through the C++ twin; gives the number of wrong ones."""
    images = _random_images(compiled, least)
    wrong = _wrong(compiled, images, run_csim(compiled, images))
    print(f"csim: {len(images) - wrong} of {len(images)} images equal")
    return wrong


def _random_images(compiled: Compiled, least: int) -> NDArray[np.uint8]:
    """Whole starts of random images, at least ``least``."""
    shape = (-(-least // compiled.images) * compiled.images, *compiled.model.input.shape)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return noise.view(compiled.model.input.dtype)


def _wrong(compiled: Compiled, images: NDArray[np.uint8], logits: NDArray[np.int64]) -> int:
    """Images with other logits than the integer model."""
    return int(np.any(logits != compiled.model.run(images), axis=1).sum())


COMMAND = Command(
    "compile",
    "compile an .admm file into a program of the layer-sequential accelerator",
    _add_options,
    _execute,
    examples=_EXAMPLES,
)
