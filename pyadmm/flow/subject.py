"""What a run compresses: a network of the zoo or the user's own, its data set, its weights."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from pyadmm import datasets, zoo
from pyadmm.core.errors import PyadmmError
from pyadmm.flow.config import FlowConfig


@dataclass(frozen=True)
class Subject:
    """A network to compress, and what it is trained and tested on.

    :param name: of its files.
    :param build: gives a new module.
    :param data: name of the data set.
    :param shape: ``(C, H, W)`` of the images.
    :param weights: file with its trained weights; ``None``: it is trained first.
    """

    name: str
    build: Callable[[], nn.Module]
    data: str
    shape: tuple[int, int, int]
    weights: Path | None

    def load_data(self, data_dir: str | None) -> datasets.DataSet:
        """The images."""
        return datasets.load(self.data, Path(data_dir) if data_dir else None, self.shape)

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
    weights = Path(config.weights) if config.weights else None
    if ":" not in config.model:
        entry = zoo.entry(config.model)
        data = config.data or entry.data
        size = config.image_size
        if data == "imagefolder" and size is None:
            size = entry.shape[1]
        shape = datasets.shape_of(data, size)
        return Subject(config.model, entry.build, data, shape, weights)
    data = config.data or "imagefolder"
    shape = datasets.shape_of(data, config.image_size)
    return Subject(config.model_name, _imported(config.model), data, shape, weights)


def teacher_of(config: FlowConfig, subject: Subject) -> Subject | None:
    """The teacher, on the images of ``subject``; ``None`` where it is the dense network."""
    if config.teacher is None:
        return None
    size = config.image_size or subject.shape[1]
    named = replace(
        config,
        model=config.teacher,
        weights=config.teacher_weights,
        data=subject.data,
        image_size=size if subject.data == "imagefolder" else None,
    )
    return resolve(named)


def _imported(model: str) -> Callable[[], Any]:
    """The callable ``module:name``; the module may lie in the working directory."""
    module_name, _, attribute = model.partition(":")
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
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
    return build
