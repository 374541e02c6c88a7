"""The target model of a run: a network of the zoo or the user's own, its data set, its weights.

The user's own is a callable ``module:name``, an ``.onnx`` file with its weights, or an ``.admm``
file, which is compressed already.
"""

from __future__ import annotations

import copy
import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from pyadmm import container, datasets, zoo
from pyadmm.core.errors import MissingToolError, PyadmmError
from pyadmm.datasets import cifar10, mnist
from pyadmm.flow.config import FlowConfig
from pyadmm.flow.store import digest_of, file_digest
from pyadmm.model import CompressedModel
from pyadmm.network.exported import first_line, unwrapped
from pyadmm.network.onnx_import import Imported, check_import, import_onnx, own_shape


@dataclass(frozen=True)
class TargetModel:
    """A network to compress, and what it is trained and tested on.

    :param name: of its files.
    :param build: gives a new module.
    :param data: name of the data set.
    :param shape: ``(C, H, W)`` of the images.
    :param weights: file with its trained weights; ``None``: it is trained first, if ``build`` does
        not give a trained one.
    :param source: digest of the user's source files; ``None`` for a network of the zoo.
    :param loaded: the data, where their shape was known only from them.
    :param place: the folder of pictures that ``--data`` named.
    :param imported: the network of an ONNX file, which is trained.
    :param given: the model of an ``.admm`` file, which is compressed.
    :param notes: what the user must know about the network before anything is done with it.
    """

    name: str
    build: Callable[[], nn.Module]
    data: str
    shape: tuple[int, int, int]
    weights: Path | None
    source: str | None = None
    loaded: datasets.DataSet | None = None
    place: str | None = None
    imported: Imported | None = None
    given: CompressedModel | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_trained(self) -> bool:
        """Whether the network comes with its weights."""
        return self.weights is not None or self.imported is not None

    def load_data(self, data_dir: str | None) -> datasets.DataSet:
        """The data set of the run, loaded once."""
        if self.loaded is not None:
            return self.loaded
        return datasets.load(self.data, self._folder(data_dir), self.shape)

    def _folder(self, data_dir: str | None) -> Path | None:
        folder = self.place or data_dir
        return Path(folder) if folder else None

    def label_count(self, data_dir: str | None) -> int | None:
        """Classes of the data, without reading a picture; ``None`` where it is not known yet."""
        if self.loaded is not None:
            return self.loaded.highest_label + 1
        return datasets.label_count(self.data, self._folder(data_dir))

    @property
    def is_own_data(self) -> bool:
        """Whether the images are the user's, not a known benchmark's."""
        return self.loaded is not None or self.data == "imagefolder"

    def module(self) -> nn.Module:
        """The module with its trained weights, if there are some.

        :raises PyadmmError: where the callable fails or the weights do not fit.
        """
        try:
            model = self.build()
        except Exception as error:  # foreign code
            raise PyadmmError(
                f"model {self.name}: building it failed: {type(error).__name__}: "
                f"{first_line(error)}"
            ) from error
        if not isinstance(model, nn.Module | torch.export.ExportedProgram):
            raise PyadmmError(
                f"model {self.name}: must be a callable that gives a torch.nn.Module, "
                f"not {type(model).__name__}"
            )
        model = unwrapped(model)
        if any(p.dtype in (torch.float16, torch.bfloat16) for p in model.parameters()):
            model = model.float()  # it is trained in what the settings' precision says
        if self.weights is not None:
            zoo.load_weights(model, self.weights)
        return model


def resolve(config: FlowConfig) -> TargetModel:
    """The target model of ``config``.

    :raises PyadmmError: for an unknown model or data set, or a module that cannot be imported.
    """
    if config.is_compressed:
        return _compressed(config)
    if config.is_onnx:
        return _of_onnx(config)
    name, build, source = _network(config.model)
    weights = Path(config.weights) if config.weights else None
    entry = zoo.entry(config.model) if source is None else None
    size = config.image_size
    folder = Path(config.data_dir) if config.data_dir else None
    data = config.data or (entry.data if entry else "imagefolder")
    if config.data is None and data == "mnist":
        own_folder = datasets.own_instead_of_mnist(folder)
        data, folder = (data, folder) if own_folder is None else (own_folder, None)
    if data == "idx" or data not in datasets.NAMES:
        own = datasets.load_own(data, folder)
        if own is not None:
            if size is not None:
                raise PyadmmError(f"data {data}: has images of one size; leave the image size out")
            own = own.read_as(_lines(build, own.shape))
            return TargetModel(name, build, data, own.shape, weights, source, own)
    if data == "imagefolder" or data not in datasets.NAMES:
        place = None if data == "imagefolder" else data
        if entry is not None and size is None:
            size = entry.shape[1]
        shape = datasets.shape_of("imagefolder", size)
        shape = datasets.shape_of("imagefolder", size, _channels(build, shape))
        return TargetModel(name, build, "imagefolder", shape, weights, source, place=place)
    return TargetModel(name, build, data, datasets.shape_of(data, size), weights, source)


def teacher_of(config: FlowConfig, target: TargetModel) -> TargetModel | None:
    """The teacher, on the images of ``target``; ``None`` where it is the dense network."""
    if config.teacher is None:
        return None
    name, build, source = _network(config.teacher)
    weights = Path(config.teacher_weights) if config.teacher_weights else None
    return replace(target, name=name, build=build, weights=weights, source=source)


def _compressed(config: FlowConfig) -> TargetModel:
    """The target model of an ``.admm`` file: nothing is trained."""
    path = Path(config.model)
    given = container.load(path)
    _refuse(
        config,
        *("weights", "teacher", "hardware_aware", "balance", "image_size", "break_even"),
        *("preset", "compress"),
    )
    name = config.data or {mnist.IMAGE_SHAPE: "mnist", cifar10.IMAGE_SHAPE: "cifar10"}.get(
        given.input.shape
    )
    if name is None:
        raise PyadmmError(
            f"model {path}: takes images of shape {given.input.shape}; name some: --data FILE.npz "
            "or a folder of pictures"
        )
    folder = Path(config.data_dir) if config.data_dir else None
    loaded = datasets.load_test(name, folder, given.input.shape).alone()
    loaded.test.as_read_by(given)  # refuses other shapes and types
    return TargetModel(
        *(config.model_name, _no_module, name, given.input.shape, None),
        source=file_digest(path), loaded=loaded, given=given,
    )  # fmt: skip


def _no_module() -> nn.Module:
    raise AssertionError("an .admm file has no module")


def _of_onnx(config: FlowConfig) -> TargetModel:
    """The target model of an ONNX file, weights included.

    :raises PyadmmError: also where the network differs from onnxruntime's.
    """
    _refuse(config, "weights")
    if config.data is None:
        raise PyadmmError(
            f"model {config.model}: name its data: --data FILE.npz, a folder of pictures, or "
            f"{', '.join(datasets.NAMES)}"
        )
    path = Path(config.model)
    folder = Path(config.data_dir) if config.data_dir else None
    own = None
    if config.data == "idx" or config.data not in datasets.NAMES:
        own = datasets.load_own(config.data, folder)
    if own is not None:
        own = own.read_as(own_shape(path))
        shape = own.shape
    elif config.data in datasets.NAMES and config.data != "imagefolder":
        shape = datasets.shape_of(config.data, config.image_size)
    else:
        shape = None
    size = config.image_size
    imported = import_onnx(path, shape if shape or size is None else (0, size, size))
    plain = imported.without_quantizers()
    channels, height, width = plain.input_shape
    if shape is None and (height != width or channels not in (1, 3)):
        raise PyadmmError(
            f"model {path}: takes images of shape {plain.input_shape}; pictures are cropped to "
            "squares of 1 or 3 channels, so give an .npz file"
        )
    data = config.data if own is not None or shape is not None else "imagefolder"
    return TargetModel(
        *(config.model_name, lambda: copy.deepcopy(plain.module), data, plain.input_shape, None),
        source=file_digest(path), loaded=own, place=config.data if data != config.data else None,
        imported=imported, notes=(*plain.notes, *_checked(path, imported)),
    )  # fmt: skip


def _checked(path: Path, imported: Imported) -> tuple[str, ...]:
    """A note where the network cannot be compared with onnxruntime's."""
    try:
        check_import(path, imported)
    except MissingToolError as error:
        return (f"it is not compared with onnxruntime: {error}",)
    return ()


def _refuse(config: FlowConfig, *names: str) -> None:
    """Refuse options that say nothing about a file."""
    for name in names:
        if getattr(config, name) not in (None, {}, FlowConfig.preset):
            option = name.replace("_", "-")
            raise PyadmmError(
                f"model {config.model}: is a trained file, which takes no {option}; leave it out"
            )


def _network(model: str) -> tuple[str, Callable[[], Any], str | None]:
    """Name, builder and the digest of the source file of a network, own or of the zoo."""
    if ":" not in model:
        return model, zoo.entry(model).build, None
    build, source = _imported(model)
    return model.replace(":", "-").replace("/", "-"), build, source


def _channels(build: Callable[[], Any], shape: tuple[int, int, int]) -> int:
    """1 where the network takes grey pictures and no others, else 3."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            model = build().eval()
        except Exception:  # foreign code; building it again says what is wrong
            return 3
        for channels in (3, 1):
            try:
                model(torch.zeros(1, channels, *shape[1:]))
            except Exception:  # foreign code; tracing says what is wrong
                continue
            return channels
    return 3


def _lines(build: Callable[[], Any], shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """``(C, 1, L)`` where the network takes lines and the data may be such; else ``shape``."""
    first, second, last = shape
    plain: list[tuple[int, ...]] = [shape]
    if first == 1:  # (N, C, L) in the file
        lines = second, 1, last
    elif second == last == 1:  # (N, L) in the file
        plain, lines = [shape, (first,)], (1, 1, first)
    else:
        return shape
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            model = build().eval()
        except Exception:  # foreign code; building it again says what is wrong
            return shape
        for inner in (*plain, (lines[0], lines[2])):
            try:
                model(torch.zeros(2, *inner))
            except Exception:  # foreign code; tracing says what is wrong
                continue
            return lines if inner == (lines[0], lines[2]) else shape
    return shape


def _sources(module: ModuleType) -> dict[str, str]:
    """Digests of a module's source file and of all that it uses from files in the same folder."""
    folder = Path(str(module.__file__)).parent
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        part = waiting.pop()
        path = Path(getattr(part, "__file__", None) or os.devnull)
        inside = (
            path.is_relative_to(folder) and "site-packages" not in path.relative_to(folder).parts
        )
        if part.__name__ in found or not inside:
            continue
        found[part.__name__] = file_digest(path)
        names = {getattr(value, "__module__", None) for value in vars(part).values()}
        waiting += [value for value in vars(part).values() if isinstance(value, ModuleType)]
        waiting += [sys.modules[name] for name in names if name in sys.modules]
    return found


def _imported(model: str) -> tuple[Callable[[], Any], str]:
    """The callable ``module:name`` and a digest of the module's source file.

    The module may lie in the working directory.
    """
    module_name, _, attribute = model.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
        file = getattr(found, "__file__", None)
        source = digest_of(sorted(_sources(found).values())) if file else module_name
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # foreign code
        raise PyadmmError(
            f"model {model!r}: cannot be imported ({type(error).__name__}: {first_line(error)}); "
            "give module:callable, the module installed or in the working directory"
        ) from error
    if isinstance(found, nn.Module):  # a module itself, perhaps trained where it is made
        made = found
        return lambda: copy.deepcopy(made), source
    if not callable(found):
        raise PyadmmError(f"model {model!r}: is not callable; it must give a torch.nn.Module")
    build: Callable[[], Any] = found
    return build, source
