"""``pyadmm export``: an ``.admm`` file as an ONNX or QONNX graph."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pyadmm import container
from pyadmm.cli.command import DONE, SKIPPED, Command
from pyadmm.core.errors import MissingToolError, PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.model.onnx import CHECK_IMAGES, check, export_onnx, export_qonnx

_EXAMPLES = """\
  pyadmm export models/lenet5-quick-seed0.admm lenet5.onnx    integer graph for onnxruntime
  pyadmm export my.admm my.qonnx --qonnx --batch 8          QONNX graph for batches of 8
"""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="FILE", help="an .admm file")
    parser.add_argument("out", type=Path, metavar="OUT", help="the .onnx file to write")
    parser.add_argument(
        "--qonnx", action="store_true", help="write a QONNX graph: float tensors with Quant nodes"
    )
    parser.add_argument(
        "--batch", type=int, default=1, help="batch size of the QONNX graph (default 1)"
    )


def _execute(options: Namespace) -> int:
    _require_other_file(options.model, options.out)
    model = container.load(options.model)
    graph = export_qonnx(model, options.batch) if options.qonnx else export_onnx(model)
    count = options.batch if options.qonnx else CHECK_IMAGES
    images = np.random.default_rng(0).integers(0, 256, (count, *model.input.shape), np.uint8)
    images = images.view(model.input.dtype)
    status, said = DONE, f"logits equal the integer model's on {count} random images"
    try:
        check(model, graph, images, options.qonnx)
    except MissingToolError as error:
        status, said = SKIPPED, f"NOT CHECKED: {error}"
    write_atomic(options.out, graph)
    print(f"{options.out}: {len(graph):,} bytes; {said}")
    return status


def _require_other_file(model: Path, out: Path) -> None:
    if out.exists() and model.exists() and out.samefile(model):
        raise PyadmmError(f"{out}: is the file to export; give the graph another name")


COMMAND = Command(
    "export",
    "write an .admm file as an ONNX or QONNX graph",
    _add_options,
    _execute,
    "Write an .admm file as an integer ONNX graph (or a QONNX graph) that gives the same logits.",
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm export``; gives the exit status."""
    return COMMAND.run(arguments)
