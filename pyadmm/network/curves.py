"""Pointwise activations other than clamps: names, real functions and signs of their results.

A quantised network computes them by a table with one entry for every integer that they read
(:class:`pyadmm.model.Lookup`). The real function is evaluated once for each of these integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

_FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "mish": F.mish,
    "softplus": F.softplus,
    "elu": F.elu,
    "selu": F.selu,
    "celu": F.celu,
    "erf": torch.erf,
    "log_sigmoid": F.logsigmoid,
    "softshrink": F.softshrink,
    "hardshrink": F.hardshrink,
    "abs": torch.abs,
    "exp": torch.exp,
    "sin": torch.sin,
    "cos": torch.cos,
    "square": torch.square,
    "pow": torch.pow,
}
CURVES = tuple(_FUNCTIONS)
"""Names of the activations, those of PyTorch; ``gelu_tanh`` is its approximation of ``gelu``."""
_NEVER_NEGATIVE = ("sigmoid", "hardsigmoid", "softplus", "abs", "exp", "square")


@dataclass(frozen=True)
class Curve:
    """One of :data:`CURVES` and its parameters.

    :param options: of the function, such as ``alpha``.
    """

    name: str
    options: Mapping[str, float]

    @property
    def signed(self) -> bool:
        """Whether it gives negative values."""
        return self.name not in _NEVER_NEGATIVE

    def __call__(self, x: Tensor) -> Tensor:
        """The activated values, elementwise."""
        return _FUNCTIONS[self.name](x, **self.options)
