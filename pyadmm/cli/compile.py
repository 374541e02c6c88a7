"""``pyadmm compile``: the program of a network for the layer-sequential accelerator."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np

from pyadmm.cli.command import CHECK_FAILED, DONE, Command, board_option, out_option
from pyadmm.container.codec import load
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import cache_dir
from pyadmm.deploy.sequential import write_program
from pyadmm.eda.sequential_csim import SequentialCsim, build_csim
from pyadmm.eda.sequential_simulation import (
    MemoryModel,
    SequentialTop,
    build_sequential,
    infer,
    place,
)
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.sequential.area import largest_array
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.hardware.sequential.compiler import Compiled, compile_model
from pyadmm.hardware.sequential.roofline import best_images, sustained_bytes_per_cycle, table

_EXAMPLES = """\
  pyadmm compile models/resnet20-cifar10.admm         writes sequential/resnet20-cifar10.seq and .json
  pyadmm compile my.admm --images 4 --out build       each start takes four images
  pyadmm compile my.admm --csim 100                   runs the C++ of the array with g++ on 100 images
  pyadmm compile my.admm --simulate 8                 simulates eight images and compares all outputs
"""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="an .admm file")
    board_option(parser)
    out_option(parser, "sequential", "folder for NAME.seq and NAME.json")
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="images per start of the program (default: chosen by the roofline model)",
    )
    parser.add_argument(
        "--groups", type=int, metavar="G",
        help="groups of the array (default: those of the largest array that fits the board)",
    )  # fmt: skip
    parser.add_argument(
        "--lanes", type=int, metavar="V",
        help="pixel lanes of a group, 32 or 64 (default: as for the groups)",
    )  # fmt: skip
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
    array = _array(options, board)
    if options.images is None:
        compiled = best_images(model, array, rate)
    else:
        compiled = compile_model(model, array, options.images)
    print(table(compiled, rate))
    image, about = write_program(compiled, options.out, options.file.stem)
    print(f"{image}: {len(compiled.program.image):,} bytes, {compiled.images} images per start")
    print(f"{about}: where images and results lie")
    wrong = _csim(compiled, options.csim) if options.csim else 0
    wrong += _simulate(compiled, options.simulate, board, rate) if options.simulate else 0
    return CHECK_FAILED if wrong else DONE


def _array(options: Namespace, board: Board) -> SequentialArray:
    """The array that the options name, else the largest one that fits the board."""
    if (options.groups is None) != (options.lanes is None):
        raise PyadmmError("--groups and --lanes belong together; give both, or neither")
    if options.groups is None:
        return largest_array(board)
    return SequentialArray(groups=options.groups, lanes=options.lanes)


def _simulate(compiled: Compiled, least: int, board: Board, memory_rate: float) -> int:
    """Run at least ``least`` random images through the RTL; gives the number of wrong ones."""
    program = build_sequential(compiled.program.array, cache_dir() / "simulators")
    with SequentialTop(program, compiled.program.memory_bytes) as top:
        top.memory(MemoryModel(bytes_per_cycle=memory_rate))
        count, wrong, cycles = _compare(top, compiled, least)
    rate = board.clock_mhz * 1e6 * count / cycles
    print(
        f"{count - wrong} of {count} images equal; {cycles / count:,.0f} cycles per image, "
        f"{rate:,.0f} images/s at the target of {board.clock_mhz:g} MHz (simulated)"
    )
    return wrong


def _csim(compiled: Compiled, least: int) -> int:
    """Run at least ``least`` random images through the C++ twin; gives the number of wrong ones."""
    program = build_csim(compiled.program.array, cache_dir() / "simulators")
    with SequentialCsim(program, compiled.program.memory_bytes) as top:
        begin = time.perf_counter()
        count, wrong, _ = _compare(top, compiled, least)
    seconds = (time.perf_counter() - begin) / count
    print(f"csim: {count - wrong} of {count} images equal; {seconds:.2f} s an image")
    return wrong


def _compare(top: SequentialTop, compiled: Compiled, least: int) -> tuple[int, int, int]:
    """Images, how many of them have other logits than the integer model, and cycles."""
    starts = -(-least // compiled.images)
    rng = np.random.default_rng(0)
    cycles = wrong = 0
    place(top, compiled)
    for _ in range(starts):
        shape = (compiled.images, *compiled.model.input.shape)
        images = rng.integers(0, 256, shape, np.uint8).view(compiled.model.input.dtype)
        logits, result = infer(top, compiled, images)
        wrong += int(np.any(logits != compiled.model.run(images), axis=1).sum())
        cycles += result.cycles
    return starts * compiled.images, wrong, cycles


COMMAND = Command(
    "compile",
    "compile an .admm file into a program of the layer-sequential accelerator",
    _add_options,
    _execute,
    examples=_EXAMPLES,
)
