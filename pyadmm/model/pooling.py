"""Max-pool and average-pool in integers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.model.requant import MULT_LIMIT, Requant
from pyadmm.model.types import IntArray, Pair, QFormat, Sides, pair, positions, sides


@dataclass(frozen=True, init=False)
class _Pool:
    """Windows of ``kernel`` at distance ``stride`` on a map with ``padding`` at its sides.

    Each of them is a number for all sides, or one for rows and columns; ``padding`` may also be
    top, left, bottom, right. With padding, a window may reach beyond the edge of the map; the
    positions outside hold no values.
    """

    name: str
    source: str
    kernel: Pair
    stride: Pair
    padding: Sides

    def _set(self, **facts: object) -> None:
        for name, value in facts.items():
            object.__setattr__(self, name, value)
        if min(*self.kernel, *self.stride) < 1 or min(self.padding) < 0:
            raise PyadmmError(
                f"pool {self.name}: kernel and stride must be at least 1 and padding at least 0, "
                f"not {self.kernel}, {self.stride} and {self.padding}"
            )

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def area(self) -> int:
        """Places of a window."""
        return math.prod(self.kernel)

    @property
    def square(self) -> Pair:
        """Kernel and stride, where rows and columns share them and nothing is padded."""
        if len({*self.kernel}) + len({*self.stride}) > 2 or any(self.padding):
            raise PyadmmError(
                f"pool {self.name}: a pool of the hardware has a square window and no padding, not "
                f"kernel {self.kernel}, stride {self.stride} and padding {self.padding}"
            )
        return self.kernel[0], self.stride[0]

    def output_shape(self, inputs: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
        """Shape of the output; raises where a window does not fit or lies outside the map."""
        channels, *size = inputs[0]
        rows, columns = (self._positions(axis, size[axis]) for axis in (0, 1))
        ends = [self._span(a, size[a], p) for a, n in ((0, rows), (1, columns)) for p in (0, n - 1)]
        if min(rows, columns) < 1 or any(first >= last for first, last in ends):
            raise PyadmmError(
                f"pool {self.name}: a {self.kernel[0]}x{self.kernel[1]} window does not fit "
                f"{inputs[0]}"
            )
        return channels, rows, columns

    def windows(self, size: Sequence[int]) -> tuple[list[Pair], list[Pair]]:
        """Rows and columns, first and behind the last, that each window has on a map of ``size``."""
        rows, columns = (
            [self._span(a, size[a], p) for p in range(self._positions(a, size[a]))] for a in (0, 1)
        )
        return rows, columns

    def _positions(self, axis: int, size: int) -> int:
        padding = self.padding[axis], self.padding[axis + 2]
        return positions(size, padding, self.kernel[axis], self.stride[axis])

    def _span(self, axis: int, size: int, place: int, beyond: Sides = (0, 0, 0, 0)) -> Pair:
        """The part of a window that lies on the map and ``beyond`` it."""
        start = place * self.stride[axis] - self.padding[axis]
        first, last = -beyond[axis], size + beyond[axis + 2]
        return max(start, first), min(start + self.kernel[axis], last)


def _reduced(
    x: NDArray[np.int64], windows: tuple[list[Pair], list[Pair]], reduce: np.ufunc
) -> NDArray[np.int64]:
    """``reduce`` over all rows, then over all columns of every window."""
    x = np.stack([reduce.reduce(x[:, :, a:b], axis=2) for a, b in windows[0]], 2)
    return np.stack([reduce.reduce(x[..., a:b], axis=3) for a, b in windows[1]], 3)


@dataclass(frozen=True, init=False)
class MaxPool(_Pool):
    """Maximum of the values in each window; incomplete windows are dropped."""

    def __init__(
        self,
        name: str,
        source: str,
        kernel: int | Sequence[int],
        stride: int | Sequence[int],
        padding: int | Sequence[int] = 0,
    ) -> None:
        kernel, stride = pair(kernel), pair(stride)
        self._set(name=name, source=source, kernel=kernel, stride=stride, padding=sides(padding))

    def run(self, inputs: Sequence[IntArray], x_magnitude: int) -> NDArray[np.int64]:
        """The pooled integers ``(N, C, H_out, W_out)`` of one map."""
        x = inputs[0].astype(np.int64, copy=False)
        return _reduced(x, self.windows(x.shape[2:]), np.maximum)


@dataclass(frozen=True, init=False)
class AvgPool(_Pool):
    """Sum of the values in each window, requantised.

    :param requant: its ``mult / 2**shift`` holds one over the divisor, which is the same for all
        windows, unless there is a ``border``.
    :param border: top, left, bottom, right. Where given, a window is divided by how many of its
        places lie on the map and so far around it, ``n``: its multiplier is that of ``requant``
        times ``area / n``, rounded to nearest. No border around the map, ``(0, 0, 0, 0)``, divides
        by the values in the window.
    """

    requant: Requant
    output: QFormat
    border: Sides | None

    def __init__(  # noqa: PLR0917
        self,
        name: str,
        source: str,
        kernel: int | Sequence[int],
        stride: int | Sequence[int],
        requant: Requant,
        output: QFormat,
        padding: int | Sequence[int] = 0,
        border: int | Sequence[int] | None = None,
    ) -> None:
        around = None if border is None else sides(border)
        window = {"kernel": pair(kernel), "stride": pair(stride), "padding": sides(padding)}
        node = {"name": name, "source": source, "requant": requant, "output": output}
        self._set(**node, **window, border=around)

    def output_shape(self, inputs: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
        """Shape of the output; raises where a window or a multiplier does not fit."""
        shape = super().output_shape(inputs)
        fewest = 1
        for axis in (0, 1):  # windows at the ends are the smallest
            ends = {0, shape[1 + axis] - 1}
            fewest *= min(self._counts(axis, inputs[0][1 + axis], ends))
        largest = int(self._multiplied(np.array([fewest])).max())
        if largest >= MULT_LIMIT:
            raise PyadmmError(
                f"pool {self.name}: the multiplier {largest} of its smallest window must be "
                f"below {MULT_LIMIT}; use a smaller mult"
            )
        return shape

    def _counts(self, axis: int, size: int, places: Iterable[int]) -> list[int]:
        """By how many rows (or columns) the windows at ``places`` are divided."""
        if self.border is None:
            return [self.kernel[axis] for _ in places]
        spans = (self._span(axis, size, place, self.border) for place in places)
        return [last - first for first, last in spans]

    def _multiplied(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Multipliers ``(C or 1, …)`` of windows that are divided by ``counts``."""
        mult = np.array(self.requant.mult, np.int64).reshape(-1, *[1] * counts.ndim)
        return (2 * mult * self.area + counts) // (2 * counts)

    def counts(self, size: Sequence[int]) -> NDArray[np.int64]:
        """Divisor ``(H_out, W_out)`` of each window of a map of ``size``."""
        rows, columns = (
            np.array(self._counts(a, size[a], range(self._positions(a, size[a]))), np.int64)
            for a in (0, 1)
        )
        return np.asarray(rows[:, None] * columns)

    def multipliers(self, size: Sequence[int]) -> NDArray[np.int64]:
        """Multiplier of each window of a map of ``size``, ``(C or 1, H_out, W_out)``."""
        return self._multiplied(self.counts(size))

    def run(self, inputs: Sequence[IntArray], x_magnitude: int) -> NDArray[np.int64]:
        """The averaged and requantised integers ``(N, C, H_out, W_out)`` of one map."""
        x = inputs[0].astype(np.int64)
        total = _reduced(x, self.windows(x.shape[2:]), np.add)
        total = total * self.multipliers(x.shape[2:]) + (1 << (self.requant.shift - 1))
        return self.output.saturate(total >> self.requant.shift)
