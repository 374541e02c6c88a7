"""What a run compresses: a network of the zoo or the user's own, its data set, its weights."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pyadmm import datasets, zoo
from pyadmm.core.errors import PyadmmError
from pyadmm.flow.config import FlowConfig
from pyadmm.flow.store import file_digest


@dataclass(frozen=True)
class Subject:
    """A network to compress, and what it is trained and tested on.

    :param name: of its files.
    :param build: gives a new module.
    :param data: name of the data set.
    :param shape: ``(C, H, W)`` of the images.
    :param weights: file with its trained weights; ``None``: it is trained first.
    :param source: digest of the user's source file; ``None`` for a network of the zoo.
    :param loaded: the data, where their shape was known only from them.
    :param place: the folder of pictures that ``--data`` named.
    """

    name: str
    build: Callable[[], nn.Module]
    data: str
    shape: tuple[int, int, int]
    weights: Path | None
    source: str | None = None
    loaded: datasets.DataSet | None = None
    place: str | None = None

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
                f"model {self.name}: building it failed: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(model, nn.Module):
            raise PyadmmError(
                f"model {self.name}: must be a callable that gives a torch.nn.Module, "
                f"not {type(model).__name__}"
            )
        if self.weights is not None:
            zoo.load_weights(model, self.weights)
        return model


def resolve(config: FlowConfig) -> Subject:
    """The subject of ``config``.

    :raises PyadmmError: for an unknown model or data set, or a module that cannot be imported.
    """
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
            return Subject(name, build, data, own.shape, weights, source, own)
    if data == "imagefolder" or data not in datasets.NAMES:
        place = None if data == "imagefolder" else data
        if entry is not None and size is None:
            size = entry.shape[1]
        shape = datasets.shape_of("imagefolder", size)
        shape = datasets.shape_of("imagefolder", size, _channels(build, shape))
        return Subject(name, build, "imagefolder", shape, weights, source, place=place)
    return Subject(name, build, data, datasets.shape_of(data, size), weights, source)


def teacher_of(config: FlowConfig, subject: Subject) -> Subject | None:
    """The teacher, on the images of ``subject``; ``None`` where it is the dense network."""
    if config.teacher is None:
        return None
    name, build, source = _network(config.teacher)
    weights = Path(config.teacher_weights) if config.teacher_weights else None
    return replace(subject, name=name, build=build, weights=weights, source=source)


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
        source = file_digest(Path(file)) if file else module_name
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # foreign code
        raise PyadmmError(
            f"model {model!r}: cannot be imported ({type(error).__name__}: {error}); give "
            "module:callable, the module installed or in the working directory"
        ) from error
    if not callable(found):
        raise PyadmmError(f"model {model!r}: is not callable; it must give a torch.nn.Module")
    build: Callable[[], Any] = found
    return build, source
