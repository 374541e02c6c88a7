"""The design space of a layer: sizes of its kernels, and which kernels are worth a comparison.

All searches draw from here and differ in what they look for: the accelerator's search
(:mod:`pyadmm.hardware.design_space`) weighs the layers of a network against each other under the
cost model, the break-even search pairs kernels of one layer by synthesis, and the on-chip plans in
``experiments`` place the weights of networks that are larger than a chip.

They are no single search with an objective to choose. The first one combines the Pareto fronts of
all layers at every interval between images, the second one measures as it goes and lets each result
decide the next synthesis, and the third one also chooses a memory for the weights of every layer.
Only the lists of kernels and the fronts are alike, and these are here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from pyadmm.model.types import LayerSpec

Kernel = TypeVar("Kernel")
MOST_LANES = 4096
"""Lanes of the largest kernel that is considered."""


def useful_sizes(count: int, every_up_to: int = 1, most_steps: int | None = None) -> list[int]:
    """Tile heights, or numbers of groups, that need fewer steps for ``count`` than smaller ones.

    :param every_up_to: sizes that are listed anyway, because unequal channels may balance better.
    :param most_steps: leave out sizes that need more steps.

    >>> useful_sizes(10), useful_sizes(10, every_up_to=8)
    ([1, 2, 3, 4, 5, 10], [1, 2, 3, 4, 5, 6, 7, 8, 10])
    """
    steps = range(1, min(count, most_steps or count) + 1)
    return sorted({math.ceil(count / n) for n in steps} | {*range(1, min(count, every_up_to) + 1)})


def tilings(
    spec: LayerSpec, rows: Iterable[int], groups: Iterable[int], most_lanes: float = MOST_LANES
) -> Iterator[tuple[int, int]]:
    """Tile heights of ``rows`` with numbers of ``groups`` whose lanes are at most ``most_lanes``."""
    columns = spec.output_shape[2]
    numbers = list(groups)
    for tile_rows in rows:
        for count in numbers:
            if tile_rows * columns * count <= most_lanes:
                yield tile_rows, count


def splits_evenly(spec: LayerSpec, groups: int) -> bool:
    """Whether a dense kernel of ``groups`` groups can compute ``spec``."""
    return spec.groups == 1 or spec.outputs // spec.groups % groups == 0


def balanced_windows(spec: LayerSpec, windows: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Those of ``windows`` that a balanced kernel of ``spec`` can have, each with its channels.

    Layers of single pixels have windows of channels, the others windows of a kernel row.
    """
    channels, *size = spec.input_shape
    single = size == [1, 1]
    most = channels if single else spec.kernel[1]
    for window in windows:
        if window <= most and (window == 1 or spec.square_stride == 1):
            yield window, -(-channels // window) if single else channels


def pareto(
    kernels: Iterable[Kernel],
    cycles: Callable[[Kernel], float],
    cost: Callable[[Kernel], float],
) -> list[Kernel]:
    """Pareto front of (cycles, cost), sorted by cycles.

    >>> pareto([(3, 1), (1, 9), (2, 9), (2, 4)], lambda k: k[0], lambda k: k[1])
    [(1, 9), (2, 4), (3, 1)]
    """
    front: list[Kernel] = []
    for kernel in sorted(kernels, key=lambda kernel: (cycles(kernel), cost(kernel))):
        if not front or cost(kernel) < cost(front[-1]):
            front.append(kernel)
    return front


def intervals(cycles: Iterable[Sequence[int]], least: int = 1) -> list[int]:
    """Cycles between two images to try, ascending: those of a kernel, which all layers can keep.

    :param cycles: of the kernels of every layer.
    :param least: no fewer are tried.
    """
    listed = [list(layer) for layer in cycles]
    floor = max(least, *(min(layer) for layer in listed))
    return sorted({n for layer in listed for n in layer if n >= floor}) or [floor]
