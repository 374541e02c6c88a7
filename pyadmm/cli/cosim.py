"""``pyadmm cosim``: the RTL of ``.admm`` files against their integers."""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyadmm import container
from pyadmm.cli.command import (
    CHECK_FAILED,
    DONE,
    Command,
    board_option,
    chosen_stream,
    json_option,
    stream_options,
)
from pyadmm.cli.images import Bytes, image_options, test_images
from pyadmm.codegen.hls import generate
from pyadmm.core.errors import PyadmmError
from pyadmm.core.schema import to_json
from pyadmm.eda import gxx
from pyadmm.eda.cosim import simulate
from pyadmm.eda.sequential_cosim import run_csim, whole_starts
from pyadmm.eda.sequential_cosim import simulate as simulate_program
from pyadmm.eda.sequential_simulation import MemoryModel
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.design_space import SearchResult, search
from pyadmm.hardware.lowering import hardware_form
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import AcceleratorPlan, InputStream
from pyadmm.hardware.sequential.area import largest_array
from pyadmm.hardware.sequential.roofline import best_images, sustained_bytes_per_cycle
from pyadmm.model import CompressedModel

_EXAMPLES = """\
  pyadmm cosim models/lenet5-quick-seed0.admm                 simulates 1,000 MNIST test images
  pyadmm cosim my.admm --data random --images 50 --csim     works for any network; also runs the C++
  pyadmm cosim my.admm --data my.npz                        takes the images x_test (or x) of a file
  pyadmm cosim my.admm --architecture sequential --csim     runs its program on the sequential array
  pyadmm cosim my.admm --board kv260 --stall 0.3 --json     stalls both streams 30 % of the time
"""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("models", type=Path, nargs="+", metavar="FILE", help=".admm files")
    board_option(parser)
    image_options(parser, 1000)
    parser.add_argument(
        "--stall",
        type=float,
        default=0.0,
        help="share of cycles in which the streams stall, 0 to 1 (default 0)",
    )
    parser.add_argument(
        "--unrolled",
        action="store_true",
        help="let the search use kernels whose weights are fixed in the hardware",
    )
    parser.add_argument(
        "--family",
        choices=("sparse", "dense", "balanced", "any"),
        help="use kernels of one family only, or of any (default: sparse and dense)",
    )
    stream_options(parser)
    parser.add_argument(
        "--architecture",
        choices=("dataflow", "sequential"),
        default="dataflow",
        help="dataflow: an engine for every layer (default); sequential: the array that all layers share",
    )
    parser.add_argument(
        "--csim",
        action="store_true",
        help="also compile the C++ of the accelerator with g++ and run it",
    )
    json_option(parser)


def _execute(options: Namespace) -> int:
    models = [(path.name, container.load(path)) for path in options.models]
    board = load_board(options.board)
    images, source = test_images(options, [model for _, model in models])
    compare = _compare if options.architecture == "dataflow" else _compare_sequential
    facts = [compare(name, model, board, options, images) for name, model in models]
    for fact in facts:
        fact["source"] = source
    if options.json:
        print(to_json(facts))
    return CHECK_FAILED if any(fact["wrong_images"] for fact in facts) else DONE


def _compare(
    name: str,
    original: CompressedModel,
    board: Board,
    options: Namespace,
    images: Bytes,
) -> dict[str, Any]:
    """Simulate one model; what came out, as plain data."""
    model = hardware_form(original)
    stream = chosen_stream(options)
    found = search(model, board, family=options.family, unrolled=options.unrolled, stream=stream)
    stalls = (1, options.stall, options.stall) if options.stall else None
    golden = original.run(images)
    data = original.input.bytes_of(images)
    result = simulate(model, board, found.configs, data, stalls=stalls, stream=stream)
    facts: dict[str, Any] = {
        "model": name,
        "board": board.name,
        "images": len(images),
        "wrong_images": int((result.logits != golden).any(1).sum()),
        "latency_cycles": result.latency_cycles,
        "interval_cycles": result.interval_cycles,
        "interval_range": result.interval_range,
        "total_cycles": result.total_cycles,
        "busy_cycles": dict(result.busy_cycles),
    }
    if options.csim:
        plan = plan_accelerator(model, board, found.configs, stream=stream)
        logits = _csim(model, plan, data)
        facts["wrong_images_csim"] = int((logits != golden).any(1).sum())
        facts["wrong_images"] += facts["wrong_images_csim"]
    if not options.json:
        _print(found, facts)
    return facts


def _compare_sequential(
    name: str, model: CompressedModel, board: Board, options: Namespace, images: Bytes
) -> dict[str, Any]:
    """Run one model's program on the largest array that fits the board; what came out, as plain data."""
    if options.unrolled or options.family or chosen_stream(options) != InputStream():
        raise PyadmmError(
            "--unrolled, --family, --packed and --stream-bits belong to dataflow engines; leave them or "
            "--architecture sequential out"
        )
    rate = sustained_bytes_per_cycle(board)
    compiled = best_images(model, largest_array(board), rate)
    starts = -(-len(images) // compiled.images)
    order = whole_starts(compiled, starts, len(images))
    golden = model.run(images)[order]
    memory = MemoryModel(bytes_per_cycle=rate, stall=options.stall)
    logits, results = simulate_program(compiled, images[order], memory)
    array, cycles = compiled.program.array, sum(result.cycles for result in results)
    facts: dict[str, Any] = {
        "model": name,
        "board": board.name,
        "images": len(images),
        "wrong_images": _wrong(logits, golden, len(images)),
        "array": f"{array.groups}x{array.lanes}",
        "images_per_start": compiled.images,
        "interval_cycles": cycles / len(order),
        "total_cycles": cycles,
    }
    if options.csim:
        found = run_csim(compiled, images[order])
        facts["wrong_images_csim"] = _wrong(found, golden, len(images))
        facts["wrong_images"] += facts["wrong_images_csim"]
    if not options.json:
        wrong = facts["wrong_images"] - facts.get("wrong_images_csim", 0)
        print(
            f"{name}: sequential array of {facts['array']}; {len(images)} images, {wrong} with wrong logits; "
            f"{facts['interval_cycles']:,.0f} cycles an image, {compiled.images} images per start"
        )
        _print_csim(facts)
    return facts


def _wrong(logits: NDArray[np.int64], golden: NDArray[np.int64], count: int) -> int:
    """Images of the first ``count`` whose logits differ; those behind fill the last start."""
    return int((logits != golden).any(1)[:count].sum())


def _print_csim(facts: Mapping[str, Any]) -> None:
    if "wrong_images_csim" in facts:
        print(f"csim: {facts['images']} images, {facts['wrong_images_csim']} with wrong logits")
    sys.stdout.flush()


def _print(found: SearchResult, facts: Mapping[str, Any]) -> None:
    print(f"{facts['model']}: {found.table().split('runner-up')[0].rstrip()}")
    wrong = facts["wrong_images"] - facts.get("wrong_images_csim", 0)
    print(
        f"{facts['images']} images, {wrong} with wrong logits; "
        f"latency {facts['latency_cycles']} cycles, interval {facts['interval_cycles']} "
        f"{facts['interval_range']}, total {facts['total_cycles']}"
    )
    for layer, cycles in facts["busy_cycles"].items():
        print(f"  {layer}: engines busy {cycles:.1f} cycles per image")
    _print_csim(facts)


def _csim(
    model: CompressedModel, plan: AcceleratorPlan, images: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Logits of the C++ of ``model`` on the accelerator ``plan``."""
    with tempfile.TemporaryDirectory(prefix="pyadmm-") as folder:
        generate(model, plan, images[:1]).write(Path(folder))
        return gxx.csim(Path(folder), plan, images)


COMMAND = Command(
    "cosim",
    "simulate the accelerators of .admm files and compare every logit",
    _add_options,
    _execute,
    "Generate the RTL accelerator of each file, or its program for the sequential array, simulate it\n"
    "with Verilator and compare every logit with the integer model. The exit status is 1 if any logit differs.",
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm cosim``; gives the exit status."""
    return COMMAND.run(arguments)
