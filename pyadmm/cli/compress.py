"""``pyadmm compress``: a trained network and some images, no training, no labels."""

from __future__ import annotations

import math
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyadmm import container
from pyadmm.cli.command import DONE, SKIPPED, Command
from pyadmm.compression.post_training.finetune import divergence, finetune
from pyadmm.compression.post_training.pipeline import (
    Calibration,
    LayerReport,
    compress_post_training,
)
from pyadmm.compression.post_training.settings import METHODS, PostTraining
from pyadmm.core.errors import MissingToolError, PyadmmError
from pyadmm.core.files import cache_dir, write_atomic
from pyadmm.datasets.calibration import FITS, read_calibration
from pyadmm.model import CompressedModel
from pyadmm.network.input_encoding import input_spec, merge_normalisation
from pyadmm.network.onnx_import import Imported, check_import, import_onnx
from pyadmm.network.to_integer import to_compressed
from pyadmm.network.trace import trace
from pyadmm.settings import InputSettings

_EXAMPLES = """\
  pyadmm compress net.onnx --calibration images.npz --post-training   8 bits, no pruning
  pyadmm compress net.onnx --calibration pictures/ --post-training --sparsity 0.5 --weight-bits 4
  pyadmm compress net.onnx --calibration pictures/ --post-training --mean 128 --std 128
"""
Bytes = NDArray[np.uint8] | NDArray[np.int8]
_IMAGES = 300
_LOSS_WARNED = 1.0
"""Points of accuracy whose loss is worth a warning."""


def _add_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("model", type=Path, metavar="NET.onnx", help="a trained network: float, QDQ or QONNX")
    add(
        "--post-training", action="store_true", required=True,
        help="compress layer by layer from calibration images, without training",
    )  # fmt: skip
    add(
        "--calibration", type=Path, required=True, metavar="PATH",
        help="images as bytes: an .npz file (x, and y if there are labels) or a folder of pictures",
    )  # fmt: skip
    add(
        "--images",
        type=int,
        default=_IMAGES,
        metavar="N",
        help=f"take at most N images (default {_IMAGES})",
    )
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument(
        "--sparsity", type=float, metavar="S", help="share of zero weights, 0 to 1 (default 0)"
    )
    wanted.add_argument(
        "--pruning-ratio", type=float, metavar="R", help="number of weights over kept weights"
    )
    add(
        "--weight-bits", type=int, default=8, metavar="B",
        help="bits of a weight, 2 to 8 (default 8)",
    )  # fmt: skip
    add(
        "--activation-bits", type=int, default=8, metavar="B",
        help="bits of an activation, 2 to 8 (default 8)",
    )  # fmt: skip
    add("--method", choices=METHODS, default=METHODS[0], help="pruning method (default admm)")
    add(
        "--finetune", type=int, default=0, metavar="EPOCHS",
        help="then distil from the dense network on the calibration images (default 0 epochs)",
    )  # fmt: skip
    _add_input_options(parser)
    add(
        "--test",
        type=Path,
        metavar="FILE.npz",
        help="labelled images to measure the loss of accuracy",
    )
    add("--seed", type=int, default=0, help="seed of the sampled positions (default 0)")
    add("--out", type=Path, metavar="FILE", help="the .admm file to write (default NET.admm)")


def _add_input_options(parser: ArgumentParser) -> None:
    """How images become inputs of the network."""
    add = parser.add_argument
    add("--mean", default="0", metavar="M[,M,M]", help="mean of the pixels, 0 to 255 (default 0)")
    add(
        "--std", default="255", metavar="S[,S,S]",
        help="divisor: the network reads (pixel - mean) / std (default 255, which gives 0 to 1)",
    )  # fmt: skip
    add("--bgr", action="store_true", help="the network reads blue, green, red")
    add(
        "--fit",
        choices=FITS,
        default=FITS[0],
        help="how pictures of a folder are brought to the input size (default stretch)",
    )
    add("--input-shape", metavar="C,H,W", help="input shape, if the file leaves it open")


def _execute(options: Namespace) -> int:
    out = options.out or Path(options.model.name).with_suffix(".admm")
    settings = _settings(options)
    imported = import_onnx(options.model, _numbers("--input-shape", options.input_shape, int))
    for note in imported.notes:
        print(f"note: {note}")
    checked = _check(options.model, imported)
    calibration = _calibration(options, imported)
    began = time.monotonic()
    network, reports = compress_post_training(
        calibration, settings, state=_state(), watch=_Progress()
    )
    if options.finetune > 0:
        before = divergence(network, calibration)
        network = finetune(
            network,
            calibration,
            options.finetune,
            options.seed,
            state=_state(),
            watch=lambda done: print(f"epoch {done}/{options.finetune}", flush=True),
        )
        print(f"divergence {before:.3g}, {divergence(network, calibration):.3g} after distillation")
    model = to_compressed(network, options.model.stem)
    data = container.encode(model)
    write_atomic(out, data)
    print(_summary(out, model, len(data), reports, time.monotonic() - began))
    if options.test is not None:
        _measure(options, calibration, model)
    return checked


def _settings(options: Namespace) -> PostTraining:
    sparsity = options.sparsity or 0.0
    if options.pruning_ratio is not None:
        if not options.pruning_ratio >= 1:
            raise PyadmmError(f"--pruning-ratio must be at least 1, not {options.pruning_ratio}")
        sparsity = 1 - 1 / options.pruning_ratio
    return PostTraining(
        sparsity,
        options.weight_bits,
        options.activation_bits,
        options.method,
        seed=options.seed,
    )


def _check(path: Path, imported: Imported) -> int:
    try:
        difference = check_import(path, imported)
    except MissingToolError as error:
        print(f"NOT CHECKED against onnxruntime: {error}", file=sys.stderr)
        return SKIPPED
    print(f"{path}: equals onnxruntime within {difference:.1g} of the largest output")
    return DONE


def _calibration(options: Namespace, imported: Imported) -> Calibration:
    plain = imported.without_quantizers()
    shape = plain.input_shape
    mean, std = (_channels(n, getattr(options, n), shape[0]) for n in ("mean", "std"))
    scaled = tuple(m / 255 for m in mean), tuple(s / 255 for s in std)
    settings = InputSettings(bits=8, mean=scaled[0], std=scaled[1])
    found = read_calibration(options.calibration, shape, fit=options.fit, limit=options.images)
    signed = found.images.dtype == np.int8
    network = trace(plain.module, input_spec(settings, shape, signed=signed))
    merge_normalisation(network, settings)
    if found.skipped:
        print(f"note: {found.skipped} files in {options.calibration} are no pictures")
    if len(found.images) < 32:
        print(f"note: {len(found.images)} calibration images are few; some hundred are better")
    return Calibration.of(network, _ordered(options, found.images))


def _ordered(options: Namespace, images: Bytes) -> Tensor:
    return torch.from_numpy(images[:, ::-1].copy() if options.bgr else images)


def _channels(name: str, text: str, count: int) -> tuple[float, ...]:
    numbers = _numbers(f"--{name}", text, float)
    assert numbers is not None
    if len(numbers) not in (1, count):
        raise PyadmmError(f"--{name} must be one number or one per channel ({count}), not {text}")
    return tuple(numbers) if len(numbers) == count else tuple(numbers) * count


def _numbers(name: str, text: str | None, kind: type) -> list[Any] | None:
    if text is None:
        return None
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise PyadmmError(f"{name} must be numbers with commas between, not {text!r}") from error


def _state() -> Path:
    """Solved layers, so that an interrupted run goes on."""
    return cache_dir() / "post-training"


class _Progress:
    """A line per layer: what is done, what is left of the time."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.done = 0

    def __call__(self, report: LayerReport, layers: int) -> None:
        self.done += 1
        passed = time.monotonic() - self.began
        left = passed / self.done * (layers - self.done)
        print(
            f"{self.done:>3}/{layers} {report.name}: {report.nnz:,} of {report.weights:,} weights, "
            f"output error {100 * report.error:.2g} %; about {left:.0f} s left",
            flush=True,
        )


def _summary(
    out: Path, model: CompressedModel, size: int, reports: list[LayerReport], seconds: float
) -> str:
    dense = 4 * sum(report.weights for report in reports)
    return (
        f"{out}: {size:,} bytes, {model.nnz:,} of {model.weights:,} weights "
        f"({model.pruning_ratio:.1f}x fewer); the weights alone take {dense:,} bytes as float32 "
        f"({dense / size:.1f}x); {seconds:.0f} s"
    )


@torch.no_grad()
def _measure(options: Namespace, calibration: Calibration, model: CompressedModel) -> None:
    """Print the accuracy of the dense network and of the integer model on labelled images."""
    found = read_calibration(options.test, calibration.network.input.shape, fit=options.fit)
    if found.labels is None:
        raise PyadmmError(f"{options.test}: must hold labels as y to measure an accuracy")
    network, images = calibration.network, _ordered(options, found.images)
    dense = torch.cat([network(network.encode(part)).argmax(1) for part in images.split(25)])
    integers = model.run(images.numpy()).argmax(1)
    right, kept = dense.numpy() == found.labels, integers == found.labels
    lost = 100 * (right.astype(float) - kept.astype(float))
    error = lost.std() / math.sqrt(len(lost))
    print(
        f"on {len(lost)} test images: dense {100 * right.mean():.2f} %, integers "
        f"{100 * kept.mean():.2f} %, loss {lost.mean():.2f} points (paired standard error {error:.2f})"
    )
    if lost.mean() > _LOSS_WARNED + error:
        print("warning: this loses accuracy; use more weight bits, less sparsity or more images")


COMMAND = Command(
    "compress",
    "compress a trained ONNX network from a few hundred images, without training",
    _add_options,
    _execute,
    "Prune and quantise a trained ONNX network layer by layer with ADMM, from a few hundred\n"
    "images without labels. The result is an .admm file: an integer model for `pyadmm export` and\n"
    "for the accelerators. The same command continues an interrupted run.",
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm compress``; gives the exit status."""
    return COMMAND.run(arguments)
