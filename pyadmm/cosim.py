"""``python -m pyadmm.cosim MODEL.admm``: the RTL of a model against its integers, on MNIST."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyadmm import container
from pyadmm.boards import Board, load_board
from pyadmm.compact import compact
from pyadmm.datasets import mnist
from pyadmm.errors import PyadmmError
from pyadmm.files import cache_dir
from pyadmm.layout import weight_image
from pyadmm.model import CompressedModel
from pyadmm.plan import KernelConfig
from pyadmm.planner import plan_accelerator
from pyadmm.rtlgen import generate_rtl
from pyadmm.search import search
from pyadmm.tools.verilator import CosimResult, build_simulator, cosim


def main(argv: Sequence[str] | None = None) -> int:
    """Command line.

    Exit status 0 where every logit is the integer model's, 1 where one is not or a tool fails.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pyadmm.cosim",
        description="Simulate the RTL of a compressed model on MNIST images against its integers.",
    )
    parser.add_argument("model", type=Path, help="an .admm file with a 1 x 28 x 28 input")
    parser.add_argument("--board", default="pynq-z2")
    parser.add_argument("--images", type=int, default=1000, help="test images, 1 to 10000")
    parser.add_argument("--data", type=Path, help="folder with the MNIST files")
    parser.add_argument("--stall", type=float, default=0.0, help="share of stalled stream cycles")
    parser.add_argument(
        "--unrolled",
        action="store_true",
        help="offer unrolled kernels, whose weights are constants of the hardware",
    )
    options = parser.parse_args(argv)
    try:
        return _compare(options)
    except PyadmmError as error:
        print(error, file=sys.stderr)
        return 1


def simulate(
    model: CompressedModel,
    board: Board,
    configs: Mapping[str, KernelConfig],
    images: NDArray[np.uint8],
    stalls: tuple[int, float, float] | None = None,
) -> CosimResult:
    """Simulate the RTL of ``model`` on the kernels ``configs``, its weights loaded first.

    :param images: uint8 ``(N, C, H, W)``.
    :param stalls: seed, share of stalled input cycles, share of stalled output cycles.
    :raises PyadmmError: where the plan is impossible or a tool fails.
    """
    plan = plan_accelerator(model, board, configs)
    simulator = build_simulator(generate_rtl(plan, model=model), plan, cache_dir() / "verilator")
    return cosim(simulator, weight_image(model, plan), images, stalls=stalls)


def _compare(options: argparse.Namespace) -> int:
    original = container.load(options.model)
    model = compact(original)
    board = load_board(options.board)
    images = mnist.load(options.data).test_images[: options.images]
    found = search(model, board, unrolled=options.unrolled)
    print(found.table().split("runner-up")[0].rstrip())
    stalls = (1, options.stall, options.stall) if options.stall else None
    result = simulate(model, board, found.configs, images, stalls)
    wrong = int((result.logits != original.run(images)).any(1).sum())
    print(
        f"{len(images)} images, {wrong} with wrong logits; "
        f"latency {result.latency_cycles} cycles, interval {result.interval_cycles} "
        f"{result.interval_range}, total {result.total_cycles}"
    )
    for name, cycles in result.busy_cycles.items():
        print(f"  {name}: engines busy {cycles:.1f} cycles per image")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
