"""``pyadmm export``: an ``.admm`` file as an ONNX or QONNX graph."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyadmm import container
from pyadmm.cli.command import DONE, SKIPPED, Command
from pyadmm.core.errors import MissingToolError, PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.datasets.calibration import read_calibration
from pyadmm.model import CompressedModel
from pyadmm.model.onnx import CHECK_IMAGES, check, export_onnx, export_qonnx

_EXAMPLES = """\
  pyadmm export models/lenet5-quick-seed0.admm lenet5.onnx    integer graph for onnxruntime
  pyadmm export my.admm my.qonnx --qonnx --batch 8          QONNX graph for batches of 8
  pyadmm export my.admm my.onnx --check images.npz          compare the logits on your own images
"""
_AT_ONCE = 25
"""Images that the integer graph is checked with at once."""
Bytes = NDArray[Any]
"""uint8 or int8, as the model reads them."""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="FILE", help="an .admm file")
    parser.add_argument("out", type=Path, metavar="OUT", help="the .onnx file to write")
    parser.add_argument(
        "--qonnx", action="store_true", help="write a QONNX graph: float tensors with Quant nodes"
    )
    parser.add_argument(
        "--batch", type=int, default=1, help="batch size of the QONNX graph (default 1)"
    )
    parser.add_argument(
        "--check", type=Path, metavar="PATH",
        help="compare the logits on these images: bytes in an .npz file (x) or a folder of pictures "
        f"(default: {CHECK_IMAGES} random images)",
    )  # fmt: skip


def _execute(options: Namespace) -> int:
    _require_other_file(options.model, options.out)
    model = container.load(options.model)
    graph = export_qonnx(model, options.batch) if options.qonnx else export_onnx(model)
    images = _images(options, model)
    status, said = DONE, f"logits equal the integer model's on {len(images)} images"
    try:
        for part in _parts(images, options):
            check(model, graph, part, options.qonnx)
    except MissingToolError as error:
        status, said = SKIPPED, f"NOT CHECKED: {error}"
    write_atomic(options.out, graph)
    print(f"{options.out}: {len(graph):,} bytes; {said}")
    return status


def _images(options: Namespace, model: CompressedModel) -> Bytes:
    """The images to compare the graph on."""
    if options.check is not None:
        return read_calibration(options.check, model.input.shape).images.view(model.input.dtype)
    count = options.batch if options.qonnx else CHECK_IMAGES
    shape = (count, *model.input.shape)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8).view(model.input.dtype)


def _parts(images: Bytes, options: Namespace) -> Iterator[Bytes]:
    """The images in batches; a QONNX graph gets full ones, the last image repeated."""
    size = options.batch if options.qonnx else _AT_ONCE
    for start in range(0, len(images), size):
        part = images[start : start + size]
        missing = size - len(part) if options.qonnx else 0
        yield np.concatenate([part, part[-1:].repeat(missing, 0)])


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
