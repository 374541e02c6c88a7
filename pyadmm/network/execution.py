"""Execution of a network: the numbers and the code that it computes with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Numerics(Enum):
    """The numbers that a network computes with."""

    FLOAT = "float"
    """Real weights and activations."""
    LEVELS = "levels"
    """The levels of the weights, real activations."""
    INTEGER = "integer"
    """Integer codes, as :mod:`pyadmm.model` computes."""


@dataclass(frozen=True)
class Execution:
    """Which code computes a forward pass; results differ by rounding only.

    :param nonzeros: non-zero weights alone are multiplied where a max-pool follows a plain
        convolution (:mod:`pyadmm.cpu_kernels.sparse_conv_pool`).
    :param blocks: maps go through in blocks of images, by the non-zero weights
        (:mod:`pyadmm.cpu_kernels.sparse_conv_blocked`), where the network can.
    :param bfloat16: these maps are kept in bfloat16 while the network trains.
    """

    nonzeros: bool = False
    blocks: bool = False
    bfloat16: bool = False


DENSE = Execution()
"""All weights are multiplied, by PyTorch."""
