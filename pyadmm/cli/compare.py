"""``pyadmm compare``: a sparse design against all-dense ones on the same logic."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pyadmm import container
from pyadmm.core.errors import PyadmmError
from pyadmm.datasets import mnist
from pyadmm.eda.dense_baseline import compare
from pyadmm.hardware.boards import load_board


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit status 1 with one line on any :class:`~pyadmm.core.errors.PyadmmError`."""
    parser = argparse.ArgumentParser(
        prog="python -m pyadmm.eda.dense_baseline",
        description="Cycles of a model's sparse design and of all-dense ones on the same logic.",
    )
    parser.add_argument("model", type=Path, help="an .admm file with a 1 x 28 x 28 input")
    parser.add_argument("--board", default="pynq-z2")
    parser.add_argument("--images", type=int, default=100, help="MNIST test images, 2 or more")
    parser.add_argument("--data", type=Path, help="folder with the MNIST files")
    options = parser.parse_args(argv)
    try:
        images = mnist.load(options.data).test_images[: options.images]
        print(compare(container.load(options.model), load_board(options.board), images).table())
    except PyadmmError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
