"""Networks by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from pyadmm.errors import PyadmmError
from pyadmm.zoo.lenet import lenet5, lenet300

_BUILDERS: dict[str, Callable[[], nn.Module]] = {"lenet5": lenet5, "lenet300": lenet300}


def names() -> list[str]:
    """Names of the networks, sorted."""
    return sorted(_BUILDERS)


def build(name: str) -> nn.Module:
    """A freshly initialised network (torch's global random generator decides the weights).

    :raises PyadmmError: for an unknown name; it lists the known ones.
    """
    if name not in _BUILDERS:
        raise PyadmmError(f"model {name!r} is unknown; choose one of: {', '.join(names())}")
    return _BUILDERS[name]()
