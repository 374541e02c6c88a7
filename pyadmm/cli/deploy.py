"""``pyadmm deploy``: add a bitstream or a model to a bundle for the board."""

from __future__ import annotations

import io
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pyadmm.cli.command import DONE, Command
from pyadmm.container import load
from pyadmm.core.errors import PyadmmError
from pyadmm.deploy.bundle import ModelPack, add_bitstream, add_model, read_bundle, write_deploy
from pyadmm.model import CompressedModel

_EXAMPLES = """\
  pyadmm deploy runs/my-run/deploy/rtl --bitstream design.bit     also takes design.hwh
  pyadmm deploy runs/my-run/deploy/rtl --add-model other.admm --name smaller
"""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="the deploy folder of a run")
    parser.add_argument(
        "--bitstream",
        type=Path,
        metavar="FILE",
        help="the .bit to add; its .hwh is in the same folder",
    )
    parser.add_argument(
        "--add-model",
        type=Path,
        metavar="FILE",
        help="the .admm file to add; the self-test checks it on the same images",
    )
    parser.add_argument("--name", help="name of the added model (default: that of its file)")


def _execute(options: Namespace) -> int:
    if not (options.bitstream or options.add_model):
        raise PyadmmError("deploy: say what to add: --bitstream FILE or --add-model FILE")
    if options.bitstream:
        write_deploy(options.folder, add_bitstream(options.folder, options.bitstream))
    if options.add_model:
        name = options.name or options.add_model.stem
        pack = _pack_like_first(options.folder, replace(load(options.add_model), name=name))
        write_deploy(options.folder, add_model(options.folder, pack))
    print(f"{options.folder}: done; copy the wheel to the board and install it again")
    return DONE


def _pack_like_first(folder: Path, model: CompressedModel) -> ModelPack:
    """``model`` with the test images and labels of the bundle's first model."""
    files, manifest = read_bundle(folder)
    first = manifest.models[0]
    images, labels = (
        np.load(io.BytesIO(files[entry.file]), allow_pickle=False)
        for entry in (first.images, first.labels)
    )
    return ModelPack(model, images, labels)


COMMAND = Command(
    "deploy",
    "add a bitstream or a model to a bundle for the board",
    _add_options,
    _execute,
    "Add a bitstream, or the weights of another model that fits the hardware, to the wheel for the\n"
    "board.",
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm deploy``; gives the exit status."""
    return COMMAND.run(arguments)
