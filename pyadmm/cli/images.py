"""Test images for commands that simulate: a data set, one's own, or random bytes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pyadmm import datasets
from pyadmm.cli.command import data_dir_option
from pyadmm.core.errors import PyadmmError
from pyadmm.datasets import mnist
from pyadmm.model import CompressedModel

RANDOM = "random"
Bytes = NDArray[np.uint8] | NDArray[np.int8]


def image_options(parser: ArgumentParser, count: int) -> None:
    """``--data``, ``--data-dir``, ``--images`` and ``--seed``."""
    parser.add_argument(
        "--data", metavar="DATA",
        help=f"images to simulate: {', '.join(datasets.NAMES)}, {RANDOM}, or your own FILE.npz, "
        "folder of pictures or of IDX files (default: mnist where the model takes 1 x 28 x 28 "
        "images, else random bytes)",
    )  # fmt: skip
    data_dir_option(parser)
    parser.add_argument(
        "--images", type=int, default=count, metavar="N", help=f"at most N images (default {count})"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of random images (default 0)")


def test_images(options: Namespace, models: Sequence[CompressedModel]) -> tuple[Bytes, str]:
    """Images ``(N, C, H, W)`` that all ``models`` take, and where they are from.

    :raises PyadmmError: where the models' inputs differ, or the data have another shape or type.
    """
    first = models[0]
    for model in models:
        if (model.input.shape, model.input.dtype) != (first.input.shape, first.input.dtype):
            raise PyadmmError(
                f"{model.name}: takes {model.input.dtype} images of shape {model.input.shape}, "
                f"{first.name} {first.input.dtype} of shape {first.input.shape}; give them in "
                "commands of their own"
            )
    if options.images < 1:
        raise PyadmmError(f"--images must be at least 1, not {options.images}")
    name = options.data or ("mnist" if first.input.shape == mnist.IMAGE_SHAPE else RANDOM)
    if name == RANDOM:
        rng = np.random.default_rng(options.seed)
        noise = rng.integers(0, 256, (options.images, *first.input.shape), np.uint8)
        return noise.view(first.input.dtype), "random bytes"
    found = datasets.load_test(name, options.data_dir, first.input.shape)
    return found.as_read_by(first)[: options.images], f"test images of {found.source}"
