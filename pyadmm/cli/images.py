"""Test images for commands that simulate: a data set, or random bytes of the model's shape."""

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


def image_options(parser: ArgumentParser, count: int) -> None:
    """``--data``, ``--data-dir``, ``--images`` and ``--seed``."""
    named = [name for name in datasets.NAMES if name not in ("imagefolder", "idx")]
    parser.add_argument(
        "--data", choices=[*named, RANDOM],
        help="images to simulate (default: mnist where the model takes 1 x 28 x 28 images, "
        "else random bytes)",
    )  # fmt: skip
    data_dir_option(parser)
    parser.add_argument(
        "--images", type=int, default=count, metavar="N", help=f"at most N images (default {count})"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of random images (default 0)")


def test_images(
    options: Namespace, models: Sequence[CompressedModel]
) -> tuple[NDArray[np.uint8], str]:
    """Images ``(N, C, H, W)`` that all ``models`` take, and where they are from.

    :raises PyadmmError: where the models' shapes differ, or the data set has another shape.
    """
    shape = models[0].input.shape
    for model in models:
        if model.input.shape != shape:
            raise PyadmmError(
                f"{model.name}: takes images of shape {model.input.shape}, {models[0].name} of "
                f"shape {shape}; give them in commands of their own"
            )
    if options.images < 1:
        raise PyadmmError(f"--images must be at least 1, not {options.images}")
    name = options.data or ("mnist" if shape == mnist.IMAGE_SHAPE else RANDOM)
    if name == RANDOM:
        rng = np.random.default_rng(options.seed)
        return rng.integers(0, 256, (options.images, *shape), np.uint8), "random bytes"
    if datasets.shape_of(name) != shape:
        raise PyadmmError(
            f"data {name}: has images of shape {datasets.shape_of(name)}, but {models[0].name} "
            f"takes {shape}; use --data {RANDOM}"
        )
    found = datasets.load(name, options.data_dir, shape)
    return found.test_images[: options.images], f"{name} test images"
