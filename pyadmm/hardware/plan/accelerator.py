"""A whole accelerator: stages that stream into each other, and how images come to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import Board
from pyadmm.hardware.elementwise_stage import ElementwisePlan
from pyadmm.hardware.plan.kernel import WORD_BITS
from pyadmm.hardware.plan.stage import StagePlan
from pyadmm.model import INPUT, InputSpec

BYTES_PER_WORD = WORD_BITS // 8
_PIXEL_WIDTHS = (1, 2, 4, 8)
"""Bits that a pixel can have on the input stream."""
Unit: TypeAlias = StagePlan | ElementwisePlan


@dataclass(frozen=True)
class InputStream:
    """Format of the images on the input stream.

    :param packed: the driver converts the bytes and packs the network's input integers, 1, 2, 4 or
        8 bits each; else the accelerator converts bytes.
    :param word_bits: width of the input stream, 32 or 64.
    """

    packed: bool = False
    word_bits: int = WORD_BITS

    def __post_init__(self) -> None:
        if self.word_bits not in (WORD_BITS, 2 * WORD_BITS):
            raise PyadmmError(f"input stream: word_bits must be 32 or 64, not {self.word_bits}")


@dataclass(frozen=True)
class AcceleratorPlan:
    """A whole accelerator: stages that stream into each other.

    :param name: the model's name.
    :param input: how bytes become the first frame.
    :param stages: the weighted layers, in the model's order.
    :param rows: the stages without weights, in the model's order.
    :param stream: how images come to the accelerator.
    """

    name: str
    board: Board
    input: InputSpec
    stages: tuple[StagePlan, ...]
    rows: tuple[ElementwisePlan, ...] = ()
    stream: InputStream = InputStream()

    def __post_init__(self) -> None:
        if self.stream.packed and self.input.format.bits > _PIXEL_WIDTHS[-1]:
            raise PyadmmError(
                f"input: packed pixels have at most {_PIXEL_WIDTHS[-1]} bits, not "
                f"{self.input.format.bits}; use the stream of bytes"
            )

    @property
    def units(self) -> tuple[Unit, ...]:
        """All stages, each behind those whose frames it reads; the last one gives the logits."""
        waiting: list[Unit] = [*self.stages, *self.rows]
        ready, order = {INPUT}, list[Unit]()
        while waiting:
            unit = next(u for u in waiting if ready.issuperset(u.sources))
            waiting.remove(unit)
            order.append(unit)
            ready.add(unit.node)
        return tuple(order)

    @property
    def loadable(self) -> tuple[StagePlan, ...]:
        """The stages whose weights the weight image holds."""
        return tuple(stage for stage in self.stages if stage.constants is None)

    @property
    def last(self) -> Unit:
        """The stage that gives the logits: the one whose frame no other reads."""
        read = {source for unit in self.units for source in unit.sources}
        return next(unit for unit in self.units if unit.node not in read)

    def readers(self, node: str) -> tuple[tuple[Unit, int], ...]:
        """The stages that read the frame of ``node``, each with the index of that source."""
        return tuple(
            (unit, place)
            for unit in self.units
            for place, source in enumerate(unit.sources)
            if source == node
        )

    @property
    def pixel_bits(self) -> int:
        """Bits of a pixel on the input stream."""
        if not self.stream.packed:
            return _PIXEL_WIDTHS[-1]
        return next(bits for bits in _PIXEL_WIDTHS if bits >= self.input.format.bits)

    @property
    def image_bytes(self) -> int:
        """Bytes of an image on the input stream: whole words of the stream."""
        words = -(-math.prod(self.input.shape) * self.pixel_bits // self.stream.word_bits)
        return words * self.stream.word_bits // 8

    @property
    def image_words(self) -> int:
        """32-bit words of the input stream for one image."""
        return self.image_bytes // BYTES_PER_WORD

    @property
    def step_pixels(self) -> int:
        """Pixels that unpacking takes per cycle: the largest power of two within word and row."""
        most = min(self.stream.word_bits // self.pixel_bits, self.input.shape[2])
        return 1 << (most.bit_length() - 1)

    @property
    def input_steps(self) -> int:
        """Cycles that unpacking one image takes."""
        return -(-math.prod(self.input.shape) // self.step_pixels)

    @property
    def logits(self) -> int:
        """Words of the output stream for one image."""
        return math.prod(self.last.output_shape)

    @property
    def weight_words(self) -> int:
        """Words of a weight image."""
        return sum(unit.weight_words for unit in self.units)

    def stage(self, name: str) -> StagePlan:
        """The stage of layer ``name``."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        names = ", ".join(stage.name for stage in self.stages)
        raise PyadmmError(f"accelerator {self.name}: no layer {name!r}; it has {names}")
