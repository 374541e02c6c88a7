"""How feature maps lie in memory, and what a pass wants its inputs to be like."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyadmm.hardware.sequential.array import (
    SLICE,
    SequentialArray,
)
from pyadmm.hardware.sequential.program import (
    aligned,
)

_HALO_LINES = 3
_LIGHT_PIXELS = 256
WIDE_TAPS = 16
"""With more taps than this, phases count as channels where the layout allows it."""


@dataclass(frozen=True)
class Format:
    """How a map ``(C, H, W)`` of ``images`` images lies in memory, one byte per activation.

    Pixel ``(n, h, w)`` of a channel is byte ``((h % sh) * sw + w % sw) * span
    + (n * rows + h // sh) * pitch + w // sw`` of the channel's plane. With phases (``sh * sw > 1``)
    bytes that hold no pixel are zero; without, they hold anything.

    :param first_only: phase 0 alone is stored, for readers that need no other.
    :param every: the map holds every so manieth row and column of the pixels that lie there.
    """

    images: int
    rows: int
    pitch: int
    sh: int
    sw: int
    span: int
    first_only: bool = False
    every: tuple[int, int] = (1, 1)

    @property
    def phases(self) -> int:
        """Phases of a plane."""
        return 1 if self.first_only else self.sh * self.sw

    @property
    def plane(self) -> int:
        """Bytes of a channel's plane."""
        return self.phases * self.span

    @property
    def grid(self) -> tuple[object, ...]:
        """What decides where a pixel lies, apart from the distance of the phases."""
        rows = self.rows if self.images > 1 else 0
        return rows, self.pitch, self.sh, self.sw, self.first_only, self.every

    def same_grid(self, other: Format) -> bool:
        """Whether both hold one phase with the same rows and pitch."""
        there = (other.rows, other.pitch, other.sh, other.sw)
        return (self.rows, self.pitch, self.sh, self.sw) == there and self.sh == self.sw == 1

    def alike(self, other: Format, lanes: int) -> bool:
        """Whether maps in both formats hold the same pixels at the same places of the buffer."""
        same = (self.rows, self.pitch, self.sh, self.sw, self.first_only)
        planes = aligned(self.plane, lanes) == aligned(other.plane, lanes)
        there = (other.rows, other.pitch, other.sh, other.sw, other.first_only)
        return same == there and planes

    def positions(self, height: int, width: int) -> NDArray[np.int64]:
        """Byte of every pixel in its plane, ``(images, height, width)``; -1 where it has none."""
        n, h, w = np.ogrid[: self.images, :height, :width]
        h, w = h * self.every[0], w * self.every[1]
        phase = (h % self.sh) * self.sw + w % self.sw
        pixel = (n * self.rows + h // self.sh) * self.pitch + w // self.sw
        if self.first_only:
            return np.where(phase == 0, pixel, -1)
        return np.asarray(phase * self.span + pixel, np.int64)


@dataclass(frozen=True)
class Need:
    """Format that a pass wants its inputs in: phases, and at least these rows and this pitch.

    :param first_only: it reads phase 0 alone.
    """

    sh: int
    sw: int
    rows: int
    pitch: int
    first_only: bool = False

    @property
    def pixels(self) -> int:
        """Pixels of one image in the smallest format that serves, in all phases."""
        return self.rows * self.pitch * self.sh * self.sw

    def met_by(self, held: Format) -> bool:
        """Whether a map in format ``held`` serves."""
        phases = (held.sh, held.sw) == (self.sh, self.sw) and held.every == (1, 1)
        phases = phases and held.first_only <= self.first_only
        return phases and held.rows >= self.rows and held.pitch >= self.pitch

    def format(self, images: int, lanes: int) -> Format:
        """The smallest format that serves; large phases begin at whole lines."""
        span = images * self.rows * self.pitch
        if span >= lanes:
            span = aligned(span, lanes)
        return Format(images, self.rows, self.pitch, self.sh, self.sw, span, self.first_only)


@dataclass(frozen=True)
class Window:
    """Geometry that conv and pool share: kernel elements as ``(row, column)`` input offsets.

    :param every: rows and columns of the outputs that are kept; all are made.
    """

    shape: tuple[int, int, int]
    output: tuple[int, int]
    stride: tuple[int, int]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    every: tuple[int, int] = (1, 1)

    def need(
        self, images: int, array: SequentialArray, row_step: int = 1, light: bool = False
    ) -> Need:
        """Format that the input must have.

        :param row_step: larger than 1 where the output's phases are taken apart; then several RUNs can share a
            large map, whose images have a multiple of so many rows.
        :param light: an output has as many entries as its window has pixels, so that turning a batch's pixels
            round costs more than lanes that stay empty.
        """
        _, height, width = self.shape
        (sh, sw), (out_rows, out_columns) = self.stride, self.output
        if self.output == (1, 1):
            inside = min(self.rows) >= 0 and min(self.columns) >= 0
            inside_all = inside and max(self.rows) < height and max(self.columns) < width
            if inside_all and (images == 1 or (light and height * width < _LIGHT_PIXELS)):
                return Need(1, 1, height, width)
            if images > 1 and inside:
                return Need(height, width, 1, 1)
        rows, pitch = max(-(-height // sh), out_rows), max(-(-width // sw), out_columns)
        if row_step > 1 and images * rows * pitch > 16 * array.lanes:
            pitch = self._shared_pitch(pitch, array)
            rows = aligned(rows, row_step) if images > 1 else rows
        first_only = (sh, sw) != (1, 1) and self.rows == (0,) and self.columns == (0,)
        return Need(sh, sw, rows, pitch, first_only)

    def _shared_pitch(self, least: int, array: SequentialArray) -> int:
        """The least pitch with which several RUNs can share the map.

        A RUN must end with a pair of rows, the masks of its tiles must fit into half the table and its input into
        the buffer.
        """
        lines = array.lines // (self.shape[0] * self.stride[0] * self.stride[1])
        most = min(array.tiles, array.masks // 2 // self._taps, lines - _HALO_LINES)
        for pitch in range(least, aligned(least, SLICE)):
            if 2 * pitch // math.gcd(2 * pitch, array.lanes) <= most:
                return pitch
        return aligned(least, SLICE)

    @property
    def _taps(self) -> int:
        """Taps where phases count as channels from :data:`WIDE_TAPS` on."""
        down, right = (
            {at // s for at in axis}
            for axis, s in zip((self.rows, self.columns), self.stride, strict=True)
        )
        count = len(self.rows) * len(self.columns)
        return count if count <= WIDE_TAPS else len(down) * len(right)
