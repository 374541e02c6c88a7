"""Networks by name, with the images that they take and weights from a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from pyadmm.core.errors import PyadmmError
from pyadmm.zoo.imagenet import alexnet, alexnet_one_column, vgg16
from pyadmm.zoo.lenet import lenet5, lenet300
from pyadmm.zoo.resnet import resnet20, resnet50, resnet56
from pyadmm.zoo.weights import load_weights

__all__ = ["ZooEntry", "build", "entry", "load_weights", "names"]


@dataclass(frozen=True)
class ZooEntry:
    """A network of the zoo.

    :param data: the data set that it is made for.
    :param shape: ``(C, H, W)`` of its input.
    """

    build: Callable[[], nn.Module]
    data: str
    shape: tuple[int, int, int]


_MNIST = (1, 28, 28)
_CIFAR = (3, 32, 32)
_LARGE = (3, 224, 224)
_ENTRIES: dict[str, ZooEntry] = {
    "lenet5": ZooEntry(lenet5, "mnist", _MNIST),
    "lenet300": ZooEntry(lenet300, "mnist", _MNIST),
    "resnet20": ZooEntry(resnet20, "cifar10", _CIFAR),
    "resnet56": ZooEntry(resnet56, "cifar10", _CIFAR),
    "alexnet": ZooEntry(alexnet, "imagefolder", (3, 227, 227)),
    "alexnet-torchvision": ZooEntry(alexnet_one_column, "imagefolder", _LARGE),
    "vgg16": ZooEntry(vgg16, "imagefolder", _LARGE),
    "resnet50": ZooEntry(resnet50, "imagefolder", _LARGE),
}


def names() -> list[str]:
    """Names of the networks, sorted."""
    return sorted(_ENTRIES)


def entry(name: str) -> ZooEntry:
    """Facts of the network ``name``.

    :raises PyadmmError: for an unknown name; it lists the known ones.
    """
    if name not in _ENTRIES:
        raise PyadmmError(
            f"model {name!r} is unknown; choose one of: {', '.join(names())}; or give your own: "
            "module:callable, FILE.onnx or FILE.admm"
        )
    return _ENTRIES[name]


def build(name: str) -> nn.Module:
    """A freshly initialised network (torch's global random generator decides the weights)."""
    return entry(name).build()
