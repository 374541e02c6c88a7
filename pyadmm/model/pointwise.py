"""Elementwise nodes: tables of activations, and products of two maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.model.requant import Requant
from pyadmm.model.types import IntArray, QFormat

LOOKUP_BITS = 8
"""Most bits of what a :class:`Lookup` reads."""
PRODUCT_BITS = 16
"""Most bits of each factor of a :class:`Product`: with its multiplier it stays below 2**48."""


@dataclass(frozen=True)
class Lookup:
    """``y = table[x - first]`` of every integer: an activation that is no clamp.

    :param first: the integer that entry 0 is for, the smallest of the source's format.
    :param table: one output for every integer of that format, which has at most 8 bits.
    """

    name: str
    source: str
    first: int
    table: tuple[int, ...]
    output: QFormat

    def __post_init__(self) -> None:
        if not 1 < len(self.table) <= 1 << LOOKUP_BITS:
            raise PyadmmError(
                f"lookup {self.name}: a table has 2 to {1 << LOOKUP_BITS} entries, not "
                f"{len(self.table)}; use a source of at most {LOOKUP_BITS} bits"
            )
        if min(self.table) < self.output.lo or max(self.table) > self.output.hi:
            raise PyadmmError(
                f"lookup {self.name}: entries must be {self.output.lo} to {self.output.hi}, as its "
                f"output has {self.output.bits} bits"
            )

    @property
    def sources(self) -> tuple[str, ...]:
        """The name of the node that it reads."""
        return (self.source,)

    def require_source(self, form: QFormat) -> None:
        """Raise unless the table has an entry for every integer of the source's format."""
        if (self.first, len(self.table)) != (form.lo, 1 << form.bits):
            raise PyadmmError(
                f"lookup {self.name}: its table is for {len(self.table)} integers from "
                f"{self.first} on, but {self.source} gives {form.lo} to {form.hi}"
            )

    def output_shape(self, inputs: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
        """That of the input."""
        return inputs[0]

    def run(self, inputs: Sequence[IntArray], x_magnitude: int) -> NDArray[np.int64]:
        """The entries ``(N, C, H, W)`` for the integers of one map."""
        return np.array(self.table, np.int64)[inputs[0] - self.first]


@dataclass(frozen=True)
class Product:
    """``clamp((a * b * mult + (1 << (shift - 1))) >> shift, lo, hi)`` of two maps.

    :param sources: the second one may have one value a channel, ``(C, 1, 1)``, for whole maps.
    :param requant: it has one multiplier.
    """

    name: str
    sources: tuple[str, str]
    requant: Requant
    output: QFormat

    def __post_init__(self) -> None:
        if len(self.requant.mult) > 1:
            raise PyadmmError(f"product {self.name}: has one mult, not one per channel")

    def output_shape(self, inputs: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
        """Shape of the first source; raises where the second does not fit it."""
        first, second = inputs
        if second not in (first, (first[0], 1, 1)):
            raise PyadmmError(
                f"product {self.name}: shapes {first} and {second} must be equal, or the second "
                f"one {(first[0], 1, 1)}"
            )
        return first

    def run(self, inputs: Sequence[IntArray], x_magnitude: int) -> NDArray[np.int64]:
        """The requantised product ``(N, C, H, W)`` of two maps."""
        a, b = (x.astype(np.int64) for x in inputs)
        return self.requant.apply(a * b, self.output)
