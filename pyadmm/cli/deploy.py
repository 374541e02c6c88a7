"""``pyadmm deploy``: add a bitstream or models to a bundle for the board, or make one for the array."""

from __future__ import annotations

import io
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pyadmm import datasets
from pyadmm.cli.command import DONE, Command, board_option, data_dir_option
from pyadmm.container import load
from pyadmm.core.errors import PyadmmError
from pyadmm.deploy.bundle import (
    BUNDLE,
    ModelPack,
    add_bitstream,
    add_model,
    read_dataflow,
    write_deploy,
)
from pyadmm.deploy.manifest import MANIFEST
from pyadmm.deploy.sequential import (
    NetworkPack,
    SequentialDesign,
    add_network,
    is_sequential,
    plan_networks,
    read_design,
)
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.sequential.array import named_array
from pyadmm.hardware.sequential.compiler import compile_model
from pyadmm.hardware.sequential.roofline import best_images, sustained_bytes_per_cycle
from pyadmm.model import CompressedModel

_EXAMPLES = """\
  pyadmm deploy runs/my-run/deploy/rtl --bitstream design.bit     also takes design.hwh
  pyadmm deploy runs/my-run/deploy/rtl --add-model other.admm --name smaller
  pyadmm deploy many --array 4x64 --add-model a.admm b.admm       one bitstream for both networks
  pyadmm deploy many --add-model c.admm --data c-test.npz         a third one, with its test images
"""
_TEST_IMAGES = 20


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="the deploy folder of a run; with --array a new folder",
    )
    parser.add_argument(
        "--bitstream",
        type=Path,
        metavar="FILE",
        help="the .bit to add; its .hwh is in the same folder",
    )
    parser.add_argument(
        "--add-model",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="the .admm files to add; the self-test checks each of them",
    )
    parser.add_argument("--name", help="name of the added model (default: that of its file)")
    parser.add_argument(
        "--array",
        metavar="GxV",
        help="make a new bundle for the layer-sequential array of G groups and V lanes",
    )
    parser.add_argument(
        "--kernel",
        choices=("rtl", "hls"),
        default="rtl",
        help="what the bitstream of a new bundle is built from (default rtl)",
    )
    board_option(parser, None)
    parser.add_argument(
        "--data",
        metavar="DATA",
        help="images of the self-test: a data set, FILE.npz or a folder (default: those of the "
        "bundle's first model; for the layer-sequential array random bytes without labels)",
    )
    data_dir_option(parser)
    parser.add_argument(
        "--start-images",
        type=int,
        metavar="N",
        help="images per start of a program of the layer-sequential array (default: chosen by the "
        "roofline model)",
    )


def _execute(options: Namespace) -> int:
    if not (options.bitstream or options.add_model):
        raise PyadmmError("deploy: say what to add: --bitstream FILE or --add-model FILE")
    if options.name and len(options.add_model) != 1:
        raise PyadmmError("deploy: --name names one model; add the others in commands of their own")
    models = [replace(load(path), name=options.name or path.stem) for path in options.add_model]
    if options.array:
        _make(options, models)
    elif models and is_sequential(options.folder):
        design = read_design(options.folder)
        for model in models:
            pack = _network(options, model, design)
            write_deploy(options.folder, add_network(options.folder, pack))
    else:
        for model in models:
            write_deploy(options.folder, add_model(options.folder, _weights(options, model)))
    if options.bitstream:
        write_deploy(options.folder, add_bitstream(options.folder, options.bitstream))
    print(f"{options.folder}: done; copy the wheel to the board and install it again")
    return DONE


def _make(options: Namespace, models: Sequence[CompressedModel]) -> None:
    """Write a new bundle of the layer-sequential array."""
    if (options.folder / BUNDLE / MANIFEST).exists():
        raise PyadmmError(
            f"deploy: {options.folder} holds a bundle already; leave --array out to add to it, or "
            "name another folder"
        )
    board = load_board(options.board or "pynq-z2")
    design = SequentialDesign(named_array(options.array, "--array"), board, options.kernel)
    packs = [_network(options, model, design) for model in models]
    write_deploy(options.folder, plan_networks(design, packs))


def _network(options: Namespace, model: CompressedModel, design: SequentialDesign) -> NetworkPack:
    """``model``, compiled for the array of ``design``."""
    if options.start_images is None:
        compiled = best_images(model, design.array, sustained_bytes_per_cycle(design.board))
    else:
        compiled = compile_model(model, design.array, options.start_images)
    if options.data:
        return NetworkPack(_pack_of(options, model), compiled)
    noise = np.random.default_rng(0).integers(0, 256, (_TEST_IMAGES, *model.input.shape), np.uint8)
    return NetworkPack(ModelPack(model, noise.view(model.input.dtype), None), compiled)


def _pack_of(options: Namespace, model: CompressedModel) -> ModelPack:
    """``model`` with the first test images of ``--data``, and their labels if there are any."""
    found = datasets.load_test(options.data, options.data_dir, model.input.shape)
    labels = None if found.labels is None else found.labels[:_TEST_IMAGES]
    return ModelPack(model, found.as_read_by(model)[:_TEST_IMAGES], labels)


def _weights(options: Namespace, model: CompressedModel) -> ModelPack:
    """``model`` with test images: those of ``--data``, else of the bundle's first model."""
    if options.data:
        return _pack_of(options, model)
    files, manifest = read_dataflow(options.folder)
    first = manifest.models[0]
    images = np.load(io.BytesIO(files[first.images.file]), allow_pickle=False)
    labels = None
    if first.labels is not None:
        labels = np.load(io.BytesIO(files[first.labels.file]), allow_pickle=False)
    return ModelPack(model, images, labels)


COMMAND = Command(
    "deploy",
    "add a bitstream or a model to a bundle for the board",
    _add_options,
    _execute,
    "Add a bitstream, or other models that run on the hardware, to the wheel for the board. A design\n"
    "with engines for the layers takes weights of the same layers. The layer-sequential array takes\n"
    "any network; --array makes its bundle from .admm files alone.",
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm deploy``; gives the exit status."""
    return COMMAND.run(arguments)
