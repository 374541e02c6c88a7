"""``pyadmm export``: an ``.admm`` file as an ONNX or QONNX graph."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pyadmm import container
from pyadmm.core.errors import MissingToolError, PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.model.onnx import CHECK_IMAGES, check, export_onnx, export_qonnx


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m pyadmm.model.onnx MODEL.admm OUT.onnx``; exit status 0, or 1 on an error."""
    parser = argparse.ArgumentParser(
        prog="python -m pyadmm.model.onnx", description="Write an .admm file as an ONNX graph."
    )
    parser.add_argument("model", type=Path, help="an .admm file")
    parser.add_argument("out", type=Path, help="the .onnx file to write")
    parser.add_argument("--qonnx", action="store_true", help="float tensors with Quant nodes")
    parser.add_argument(
        "--batch", type=int, default=1, help="batch size of the QONNX graph (default 1)"
    )
    options = parser.parse_args(argv)
    try:
        _export(options)
    except PyadmmError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _export(options: argparse.Namespace) -> None:
    model = container.load(options.model)
    graph = export_qonnx(model, options.batch) if options.qonnx else export_onnx(model)
    count = options.batch if options.qonnx else CHECK_IMAGES
    shape = (count, *model.input.shape)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    try:
        check(model, graph, images, options.qonnx)
        said = f"logits equal the integer model's on {count} random images"
    except MissingToolError as error:
        said = f"NOT CHECKED: {error}"
    write_atomic(options.out, graph)
    print(f"{options.out}: {len(graph):,} bytes; {said}")
