"""``pyadmm deploy``: add a bitstream or a model to a bundle for the board."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pyadmm.container import load
from pyadmm.core.errors import PyadmmError
from pyadmm.deploy.bundle import ModelPack, add_bitstream, add_model, read_bundle, write_deploy
from pyadmm.model import CompressedModel


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pyadmm.deploy.bundle", description=__doc__)
    parser.add_argument("folder", type=Path, help="the flow's deploy folder")
    parser.add_argument("--bitstream", type=Path, help=".bit to add, its .hwh beside it")
    parser.add_argument(
        "--add-model", type=Path, help=".admm file to add, tested on the same images"
    )
    parser.add_argument("--name", help="name of the added model, by default the file's")
    options = parser.parse_args(arguments)
    if not (options.bitstream or options.add_model):
        parser.error("say what to add: --bitstream or --add-model")
    try:
        if options.bitstream:
            write_deploy(options.folder, add_bitstream(options.folder, options.bitstream))
        if options.add_model:
            name = options.name or options.add_model.stem
            pack = _pack_like_first(options.folder, replace(load(options.add_model), name=name))
            write_deploy(options.folder, add_model(options.folder, pack))
    except PyadmmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.folder}: done; copy the wheel to the board and install it again")
    return 0


def _pack_like_first(folder: Path, model: CompressedModel) -> ModelPack:
    """``model`` with the test images and labels of the bundle's first model."""
    files, manifest = read_bundle(folder)
    first = manifest["models"][0]
    images, labels = (
        np.load(io.BytesIO(files[first[key]["file"]]), allow_pickle=False)
        for key in ("images", "labels")
    )
    return ModelPack(model, images, labels)
