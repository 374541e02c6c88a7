"""Nodes that read several maps: sums and concatenations in integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.model.requant import Requant
from pyadmm.model.types import (
    IntArray,
    QFormat,
)


@dataclass(frozen=True)
class Add:
    """Residual sum ``clamp((a*mult[0] + b*mult[1] + (1 << (shift-1))) >> shift, lo, hi)``."""

    name: str
    sources: tuple[str, str]
    mult: tuple[int, int]
    shift: int
    output: QFormat

    def __post_init__(self) -> None:
        Requant(self.mult, self.shift)

    def output_shape(self, inputs: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
        """Shape of the output; raises where the two shapes differ."""
        if inputs[0] != inputs[1]:
            raise PyadmmError(f"add {self.name}: shapes {inputs[0]} and {inputs[1]} differ")
        return inputs[0]

    def run(self, inputs: Sequence[IntArray], x_magnitude: int) -> NDArray[np.int64]:
        """The requantised sum ``(N, C, H, W)`` of two maps."""
        a, b = (x.astype(np.int64) * m for x, m in zip(inputs, self.mult, strict=True))
        return self.output.saturate((a + b + (1 << (self.shift - 1))) >> self.shift)


@dataclass(frozen=True)
class Concat:
    """Channels of the sources one after the other, each source requantised to one format.

    :param requants: one for each source, with one multiplier.
    """

    name: str
    sources: tuple[str, ...]
    requants: tuple[Requant, ...]
    output: QFormat

    def __post_init__(self) -> None:
        if not self.sources or len(self.requants) != len(self.sources):
            raise PyadmmError(
                f"concat {self.name}: {len(self.requants)} requantisers for "
                f"{len(self.sources)} sources"
            )
        if any(len(requant.mult) > 1 for requant in self.requants):
            raise PyadmmError(f"concat {self.name}: a source has one mult, not one per channel")

    def output_shape(self, inputs: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
        """Shape of the output; raises where the sizes of maps differ."""
        if len({shape[1:] for shape in inputs}) > 1:
            raise PyadmmError(f"concat {self.name}: maps of shapes {list(inputs)} differ in size")
        return sum(shape[0] for shape in inputs), *inputs[0][1:]

    def run(self, inputs: Sequence[IntArray], x_magnitude: int) -> NDArray[np.int64]:
        """The requantised channels of all maps, one map after the other."""
        pairs = zip(inputs, self.requants, strict=True)
        return np.concatenate([requant.apply(x, self.output) for x, requant in pairs], 1)
