"""Trained networks for counting cycles: those of ``models/``, and ONNX files quantised without training.

The files and their data lie in the folder that ``experiments.post_training`` reads (``docs/post_training.md``).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.post_training import SUBJECTS
from pyadmm import container
from pyadmm.compression.post_training.pipeline import Calibration, compress_post_training
from pyadmm.compression.post_training.settings import PostTraining
from pyadmm.core.files import cache_dir, write_atomic
from pyadmm.datasets import load_test
from pyadmm.model import CompressedModel
from pyadmm.network.onnx_import import import_onnx
from pyadmm.network.to_integer import to_compressed
from pyadmm.network.trace import trace

MODELS = Path(__file__).parents[1] / "models"
SHIPPED = {"lenet5-quick": "lenet5-quick-seed0", "resnet20-cifar10": "resnet20-cifar10"}
_CALIBRATION = 500


@dataclass(frozen=True)
class Import:
    """An ONNX file of the data folder and what is done to it.

    :param sparsity: share of the weights that is pruned, without training.
    """

    file: str
    sparsity: float = 0.0
    weight_bits: int = 8


IMPORTS = {
    "resnet8": Import("resnet8"),
    "resnet8-half": Import("resnet8", 0.5),
    "resnet8-quarter": Import("resnet8", 0.75),
    "ds-cnn": Import("ds_cnn"),
    "vww-mobilenet": Import("vww_mobilenet_v1_025_96"),
    "mobilenet-v2": Import("mobilenet_v2_100_224"),
    "squeezenet": Import("squeezenet_v1_0"),
}


def shipped(name: str) -> CompressedModel:
    """A model of ``models/``."""
    return container.load(MODELS / f"{SHIPPED[name]}.admm")


def imported(name: str, folder: Path) -> CompressedModel:
    """The ONNX file quantised to 8 bits, from the cache where it has been made before."""
    wanted = IMPORTS[name]
    path = folder / "networks" / f"{wanted.file}.onnx"
    digest = hashlib.sha256(path.read_bytes() + repr(wanted).encode()).hexdigest()
    kept = cache_dir() / "sequential_models" / f"{name}-{digest[:16]}.admm"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, container.encode(_quantised(wanted, path, folder)))
    return container.load(kept)


def _quantised(wanted: Import, path: Path, folder: Path) -> CompressedModel:
    subject = SUBJECTS[wanted.file]
    network = trace(import_onnx(path).without_quantizers().module, subject.input)
    images = torch.from_numpy(subject.data(folder).calibration[:_CALIBRATION])
    settings = PostTraining(sparsity=wanted.sparsity, weight_bits=wanted.weight_bits)
    compressed, _ = compress_post_training(Calibration.of(network, images), settings)
    return to_compressed(compressed, re.sub(r"\W", "_", wanted.file))


def real_images(name: str, folder: Path) -> NDArray[np.uint8]:
    """Images of the network's data, test images first, as bytes ``(N, C, H, W)``."""
    if name in SHIPPED:
        place, shape = (
            ("mnist", (1, 28, 28)) if name == "lenet5-quick" else ("cifar10", (3, 32, 32))
        )
        return load_test(place, folder / place, shape).images
    data = SUBJECTS[IMPORTS[name].file].data(folder)
    return np.concatenate([data.test, data.calibration])
