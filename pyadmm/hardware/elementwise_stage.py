"""Stages without weights: the sum of two frames, and pools that no weighted stage computes.

Such a stage reads row words and makes ``lanes`` output columns at a time, a window of ``kernel`` x
``kernel`` values in as many cycles (``docs/kernels.md``, "Elementwise stages"). A sum is a window of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from pyadmm.core.errors import PyadmmError
from pyadmm.model import MULT_LIMIT, SHIFT_LIMIT
from pyadmm.model.types import QFormat, signed_bits

RowKind = Literal["add", "avgpool", "maxpool"]
RingStorage = Literal["bram", "uram"]
SCALE_WORDS = 6
"""Words of the weight image for a stage that scales: the form of a dense group of one weight."""
WORK_BITS_LIMIT = 62
OUTPUT_BITS_LIMIT = 32


@dataclass(frozen=True)
class ElementwisePlan:
    """A stage that has no weights.

    :param name: name of the model's node, which is what leaves the stage.
    :param sources: names of the nodes whose frames it reads: two for a sum, else one.
    :param shape: ``(C, H, W)`` of every source.
    :param inputs: number format of every source.
    :param lanes: output columns made at a time; divides the output's width.
    :param frames: images that the buffer of every source holds.
    :param storage: memory blocks of the buffers; LUT RAM instead of ``bram`` where they are small.
    """

    name: str
    kind: RowKind
    sources: tuple[str, ...]
    shape: tuple[int, int, int]
    inputs: tuple[QFormat, ...]
    output: QFormat
    frames: tuple[int, ...]
    kernel: int = 1
    stride: int = 1
    lanes: int = 1
    storage: RingStorage = "bram"

    def __post_init__(self) -> None:
        if self.kind not in get_args(RowKind):
            raise PyadmmError(f"{self.name}: kind must be add, avgpool or maxpool, not {self.kind}")
        if self.storage not in get_args(RingStorage):
            raise PyadmmError(f"{self.name}: storage must be bram or uram, not {self.storage}")
        assert len(self.sources) == len(self.inputs) == len(self.frames) == 1 + (self.kind == "add")
        if any(frames < 2 for frames in self.frames):
            raise PyadmmError(f"{self.name}: buffers hold at least 2 frames, not {self.frames}")
        if self.lanes < 1 or self.output_shape[2] % self.lanes:
            raise PyadmmError(
                f"{self.name}: lanes must divide the {self.output_shape[2]} output columns, "
                f"not {self.lanes}"
            )
        if self.output.bits + (not self.output.signed) > OUTPUT_BITS_LIMIT:
            raise PyadmmError(
                f"{self.name}: outputs of {self.output.bits} bits do not fit a signed word of "
                f"{OUTPUT_BITS_LIMIT} bits; requantise to fewer"
            )
        if self.work_bits > WORK_BITS_LIMIT:
            raise PyadmmError(
                f"{self.name}: scaling takes {self.work_bits} bits, the kernels have "
                f"{WORK_BITS_LIMIT}; requantise its inputs to fewer"
            )

    @property
    def node(self) -> str:
        """Name of the model's node whose integers leave the stage."""
        return self.name

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """``(C, rows, columns)`` that leave the stage."""
        channels, *map_shape = self.shape
        rows, columns = ((size - self.kernel) // self.stride + 1 for size in map_shape)
        return channels, rows, columns

    @property
    def scales(self) -> bool:
        """Whether the stage multiplies and shifts, by numbers of the weight image."""
        return self.kind != "maxpool"

    @property
    def sum_bits(self) -> int:
        """Width of what is shifted (sum) or multiplied (average), which no input can overflow."""
        peaks = [form.max_magnitude for form in self.inputs]
        if self.kind == "add":
            return signed_bits(sum(peaks) * (MULT_LIMIT - 1))
        return signed_bits(peaks[0] * self.kernel**2)

    @property
    def work_bits(self) -> int:
        """Width of the widest intermediate result, rounding included."""
        product = self.sum_bits + (16 if self.kind == "avgpool" else 0)
        return max(product, SHIFT_LIMIT + 1) + 1

    @property
    def weight_words(self) -> int:
        """Words of the weight image for this stage."""
        return SCALE_WORDS if self.scales else 0

    @property
    def steps(self) -> int:
        """Cycles for one image."""
        channels, rows, columns = self.output_shape
        return channels * rows * (columns // self.lanes) * self.kernel**2

    @property
    def rings(self) -> tuple[tuple[int, int], ...]:
        """Words of every source's buffer, and their bits."""
        width = self.shape[2]
        return tuple(
            (frames * self.frame_depth, width * form.bits)
            for frames, form in zip(self.frames, self.inputs, strict=True)
        )

    @property
    def frame_depth(self) -> int:
        """Row words of one frame."""
        return self.shape[0] * self.shape[1]


def fewest_lanes(stage_shape: tuple[int, int, int], window: int, interval: int) -> int:
    """The fewest lanes with which a stage gives ``(C, H, W)`` in at most ``interval`` cycles.

    :param window: cycles of one window.
    :returns: a divisor of ``W``; ``W`` itself where not even that is fast enough.

    >>> fewest_lanes((16, 8, 8), 1, 300), fewest_lanes((16, 8, 7), 4, 10)
    (4, 7)
    """
    channels, rows, columns = stage_shape
    for lanes in range(1, columns):
        if (
            columns % lanes == 0
            and math.prod((channels, rows, columns // lanes, window)) <= interval
        ):
            return lanes
    return columns
