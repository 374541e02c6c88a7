"""``pyadmm cosim``: the RTL of ``.admm`` files against their integers."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyadmm import container
from pyadmm.codegen.hls import generate
from pyadmm.core.errors import PyadmmError
from pyadmm.datasets import mnist
from pyadmm.eda import gxx
from pyadmm.eda.cosim import simulate
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.design_space import search
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import KernelConfig
from pyadmm.model import CompressedModel
from pyadmm.model.compact import compact


def main(argv: Sequence[str] | None = None) -> int:
    """Command line.

    Exit status 0 where every logit is the integer model's, 1 where one is not or a tool fails.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pyadmm.eda.cosim",
        description="Simulate the RTL of compressed models on MNIST images against their integers.",
    )
    parser.add_argument(
        "models", type=Path, nargs="+", metavar="model", help=".admm files with 1 x 28 x 28 inputs"
    )
    parser.add_argument("--board", default="pynq-z2")
    parser.add_argument("--images", type=int, default=1000, help="test images, 1 to 10000")
    parser.add_argument("--data", type=Path, help="folder with the MNIST files")
    parser.add_argument("--stall", type=float, default=0.0, help="share of stalled stream cycles")
    parser.add_argument(
        "--unrolled",
        action="store_true",
        help="offer unrolled kernels, whose weights are constants of the hardware",
    )
    parser.add_argument(
        "--csim", action="store_true", help="run the generated C++ as well, compiled with g++"
    )
    options = parser.parse_args(argv)
    try:
        models = [(path.name, container.load(path)) for path in options.models]
        images = mnist.load(options.data).test_images[: options.images]
        wrong = [_wrong(name, model, options, images) for name, model in models]
        return 1 if any(wrong) else 0
    except PyadmmError as error:
        print(error, file=sys.stderr)
        return 1


def _wrong(
    name: str, original: CompressedModel, options: argparse.Namespace, images: NDArray[np.uint8]
) -> int:
    """Compare one model; images with a wrong logit, those of the RTL and of the C++ added."""
    model = compact(original)
    board = load_board(options.board)
    found = search(model, board, unrolled=options.unrolled)
    print(f"{name}: {found.table().split('runner-up')[0].rstrip()}")
    stalls = (1, options.stall, options.stall) if options.stall else None
    golden = original.run(images)
    result = simulate(model, board, found.configs, images, stalls)
    wrong = int((result.logits != golden).any(1).sum())
    print(
        f"{len(images)} images, {wrong} with wrong logits; "
        f"latency {result.latency_cycles} cycles, interval {result.interval_cycles} "
        f"{result.interval_range}, total {result.total_cycles}"
    )
    for layer, cycles in result.busy_cycles.items():
        print(f"  {layer}: engines busy {cycles:.1f} cycles per image")
    if options.csim:
        logits = _csim(model, board, found.configs, images)
        wrong_in_c = int((logits != golden).any(1).sum())
        print(f"csim: {len(images)} images, {wrong_in_c} with wrong logits")
        wrong += wrong_in_c
    sys.stdout.flush()
    return wrong


def _csim(
    model: CompressedModel,
    board: Board,
    configs: Mapping[str, KernelConfig],
    images: NDArray[np.uint8],
) -> NDArray[np.int64]:
    """Logits of the C++ of ``model`` on the kernels ``configs``."""
    plan = plan_accelerator(model, board, configs)
    with tempfile.TemporaryDirectory(prefix="pyadmm-") as folder:
        generate(model, plan, images[:1]).write(Path(folder))
        return gxx.csim(Path(folder), plan, images)
