"""Places of maps in buffer and memory, and the passes with these places."""

from __future__ import annotations

from dataclasses import dataclass

from pyadmm.hardware.sequential.maps import Step


@dataclass(frozen=True)
class Place:
    """Where a map lies: first byte of channel 0 and bytes from channel to channel.

    :param span: bytes from phase to phase, for a part of a map in memory; otherwise 0, and the map's own.
    """

    in_buffer: bool
    base: int
    stride: int
    span: int = 0


def lines_of(place: Place, channels: int, lanes: int) -> range:
    """Lines of the buffer that ``channels`` channels of a map take there."""
    first = place.base // lanes
    return range(first, first - (-channels * place.stride // lanes))


@dataclass(frozen=True)
class PlannedStep:
    """A step with places.

    :param sources: where the inputs lie while the pass runs; for a striped pass, in memory.
    :param loads: per source, the line it is loaded to as a whole first, or None.
    :param runs: ranges of tiles.
    :param stripes: first lines of the (two) stripe buffers, or empty where inputs are whole.
    :param rolling: lines from one phase to the next where a single stripe buffer rolls on: line ``l`` of a phase
        stays ``l`` lines behind the first one, and a RUN loads what the RUN before has not loaded. Otherwise 0.
    :param partial: the map that a sum adds is in the buffer with the block's channels alone.
    """

    step: Step
    sources: tuple[Place, ...]
    loads: tuple[int | None, ...]
    output: Place
    runs: tuple[range, ...]
    stripes: tuple[int, ...] = ()
    rolling: int = 0
    partial: bool = False

    @property
    def stripe_lines(self) -> int:
        """Lines from one phase to the next in a stripe buffer."""
        return self.rolling or max(len(self.step.lines(tiles)) for tiles in self.runs)

    def follows(self, before: PlannedStep) -> bool:
        """Whether stripes go on to take turns: the same pass for other channels."""
        same = self.step.lowered is before.step.lowered and self.step.sources == before.step.sources
        return same and len(self.stripes) > 1 and self.stripes == before.stripes

    def loaded(self, number: int) -> range:
        """Lines of a phase that are loaded for RUN ``number``."""
        lines = self.step.lines(self.runs[number])
        if not self.rolling or not number:
            return lines
        return range(self.step.lines(self.runs[number - 1]).stop, lines.stop)

    def loads_to(self, lanes: int) -> list[range]:
        """Lines of the buffer that are loaded."""
        if not self.stripes:
            facts = zip(self._lines(lanes), self.loads, strict=True)
            return [lines for lines, load in facts if load is not None]
        count = self.step.rows_read * self.stripe_lines
        # A rolling buffer ends as many lines further on as the map has.
        count += self.step.lines(self.runs[-1]).stop if self.rolling else 0
        return [range(first, first + count) for first in self.stripes]

    def uses(self, lanes: int) -> list[range]:
        """Lines of the buffer that are loaded, read or written."""
        facts = zip(self.sources, self._lines(lanes), strict=True)
        found = [*self.loads_to(lanes), *(lines for place, lines in facts if place.in_buffer)]
        if self.output.in_buffer:
            found.append(lines_of(self.output, self.step.output.shape[0], lanes))
        return found

    def _lines(self, lanes: int) -> list[range]:
        """Lines of the buffer that each source takes, if it lies there."""
        channels = [held.shape[0] for held in self.step.sources]
        channels[1:] = [len(self.step.block)] if self.partial else channels[1:]
        facts = zip(self.sources, channels, strict=True)
        return [lines_of(place, count, lanes) for place, count in facts]

    @property
    def loaded_lines(self) -> int:
        """Lines of a phase that all RUNs load."""
        return sum(len(self.loaded(number)) for number in range(len(self.runs)))


@dataclass(frozen=True)
class Chained:
    """Passes that take turns, so that the maps between them never leave the buffer.

    :param turns: number of the RUN that each pass computes in a turn, or None; in order.
    """

    passes: tuple[PlannedStep, ...]
    turns: tuple[tuple[int | None, ...], ...]


class FreeLines:
    """Free lines of the buffer, first fit."""

    def __init__(self, lines: int) -> None:
        self.free = [(0, lines)]

    def take(self, lines: int) -> int | None:
        """Take ``lines`` neighbouring lines; gives the first one, or None where there are none."""
        for place, (base, size) in enumerate(self.free):
            if size >= lines:
                self.free[place] = (base + lines, size - lines)
                return base
        return None

    def give(self, base: int, lines: int) -> None:
        """Give ``lines`` lines from ``base`` on back."""
        parts = sorted([*self.free, (base, lines)])
        self.free = []
        for start, size in parts:
            if self.free and sum(self.free[-1]) == start:
                self.free[-1] = (self.free[-1][0], self.free[-1][1] + size)
            else:
                self.free.append((start, size))

    def largest(self) -> tuple[int, int]:
        """First line and number of lines of the largest free part."""
        return max(self.free, key=lambda part: part[1])
