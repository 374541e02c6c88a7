"""Kernel elements as taps of a format, and the entries of an output channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.sequential.formats import (
    WIDE_TAPS,
    Format,
    Window,
)
from pyadmm.hardware.sequential.lowering import (
    MOST_TAPS,
    Pass,
)
from pyadmm.hardware.sequential.program import (
    ESCALATE,
    MAC,
    SKIP,
    pack_advances,
    pack_entries,
)
from pyadmm.model import CompressedLayer


@dataclass(frozen=True)
class TapMap:
    """Taps of a pass in one format: kernel element -> tap and channel step.

    :param shift_rows: per tap, output row + this = row of the phase; ``shift_columns`` likewise.
    :param phase: per tap, the phase that it reads (0 where phases count as channels).
    :param tap: per kernel element ``(row, column)``, its tap.
    :param step: per kernel element, virtual channels behind the channel's first.
    :param fold: virtual channels per channel.
    :param by_rows: kernel rows are the virtual channels, a row of the map apart; for a channelwise pass.
    """

    shift_rows: NDArray[np.int64]
    shift_columns: NDArray[np.int64]
    phase: NDArray[np.int64]
    tap: NDArray[np.int64]
    step: NDArray[np.int64]
    fold: int
    by_rows: bool = False

    @property
    def count(self) -> int:
        """The table has this many taps."""
        return len(self.phase)

    @property
    def bits(self) -> int:
        """Bits of an entry's position that hold the tap."""
        return max(self.count - 1, 0).bit_length()

    def offsets(self, pitch: int, span: int) -> NDArray[np.int64]:
        """Bytes from an output pixel to the input of every tap."""
        return self.phase * span + self.shift_rows * pitch + self.shift_columns

    def masks(self, window: Window, held: Format, first: int, count: int) -> NDArray[np.bool_]:
        """``(count, taps)``: whether output pixel ``first + i`` reads a pixel of the map."""
        pixel = np.arange(first, first + count)
        row, column = pixel // held.pitch % held.rows, pixel % held.pitch
        out_rows, out_columns = window.output
        live = (
            (row < out_rows)
            & (column < out_columns)
            & (pixel < held.images * held.rows * held.pitch)
        )
        _, height, width = window.shape
        rows = row[:, None] + self.shift_rows
        columns = column[:, None] + self.shift_columns
        inside = (rows >= 0) & (rows < -(-height // held.sh))
        inside &= (columns >= 0) & (columns < -(-width // held.sw))
        return np.asarray(live[:, None] & inside)


def tap_map(lowered: Pass, held: Format, lanes: int) -> TapMap:
    """Taps of ``lowered`` over inputs in format ``held``.

    :raises PyadmmError: where the kernel has more taps than an entry can name.
    """
    window = lowered.window
    if lowered.digits:
        none = np.zeros(2, np.int64)
        return TapMap(none, none, none, np.zeros((1, 1), np.int64), np.zeros((1, 1), np.int64), 1)
    if lowered.added:
        return _with_skip(tap_map(replace(lowered, added=None), held, lanes))
    plain = _taps(window, held, fold=False)
    single = not isinstance(lowered.node, CompressedLayer) or lowered.node.spec.kernel_channels == 1
    room = MOST_TAPS if single else MOST_TAPS // 2
    if held.phases > 1 and plain.count > WIDE_TAPS and not held.span % lanes:
        return _taps(window, held, fold=True)
    if plain.count > room and _can_step(lowered, window, held):
        return _row_taps(window)
    if plain.count > room:
        raise PyadmmError(
            f"sequential: {lowered.name} has {plain.count} kernel positions; {room} are the most"
        )
    return plain


def _can_step(lowered: Pass, window: Window, held: Format) -> bool:
    """Whether a pool's window lies in a single phase, and in the map wherever a pixel is made."""
    if isinstance(lowered.node, CompressedLayer) or held.phases > 1:
        return False
    _, height, width = window.shape
    down, right = max(window.rows) + window.output[0], max(window.columns) + window.output[1]
    return min(window.rows) >= 0 and min(window.columns) >= 0 and down <= height and right <= width


def _row_taps(window: Window) -> TapMap:
    """A tap for every column of the kernel; its rows are one advance apart."""
    rows, columns = np.array(window.rows), np.array(window.columns)
    none = np.zeros(len(columns), np.int64)
    tap = np.broadcast_to(np.arange(len(columns)), (len(rows), len(columns)))
    step = np.broadcast_to((rows - rows[0])[:, None], tap.shape)
    return TapMap(none + rows[0], columns, none, tap, step, 1, by_rows=True)


def _with_skip(taps: TapMap) -> TapMap:
    """``taps`` and one more for what a sum adds: it reads the output's own pixels."""
    shifts = [np.append(axis, 0) for axis in (taps.shift_rows, taps.shift_columns, taps.phase)]
    return replace(taps, shift_rows=shifts[0], shift_columns=shifts[1], phase=shifts[2])


def _taps(window: Window, held: Format, fold: bool) -> TapMap:
    row, column = np.meshgrid(window.rows, window.columns, indexing="ij")
    phase = (row % held.sh) * held.sw + column % held.sw
    down, right = row // held.sh, column // held.sw
    key = np.stack([np.zeros_like(phase) if fold else phase, down, right], axis=-1)
    unique, tap = np.unique(key.reshape(-1, 3), axis=0, return_inverse=True)
    step = phase if fold else np.zeros_like(phase)
    return TapMap(
        unique[:, 1],
        unique[:, 2],
        unique[:, 0],
        tap.reshape(phase.shape),
        step,
        held.phases if fold else 1,
    )


def block_slots(lowered: Pass, taps: TapMap, block: range) -> list[tuple[int, NDArray[np.uint16]]]:
    """First virtual channel and entries of every output channel in ``block``."""
    if not isinstance(lowered.node, CompressedLayer) or not len(block):
        return [slot_entries(lowered, taps, channel) for channel in block]
    output, weights = lowered.block_weights(block)
    tail = np.full(int(lowered.added is not None), (taps.count - 1) << 8 | SKIP, np.uint16)
    if not len(output):
        return [(0, np.append(np.zeros(1, np.uint16), tail)) for _ in block]
    virtual = weights.channel * taps.fold + taps.step[weights.row, weights.column]
    tap = taps.tap[weights.row, weights.column]
    order = np.lexsort((tap, virtual, output))
    output, virtual, tap, code = output[order], virtual[order], tap[order], weights.code[order]
    begins = np.diff(output, prepend=-1) != 0
    advance = np.where(begins, 0, np.diff(virtual, prepend=0))
    words, ends = pack_advances(advance, tap, code, taps.bits)
    first = dict(zip(output[begins].tolist(), virtual[begins].tolist(), strict=True))
    parts = np.split(words, ends[:-1][begins[1:]] + 1)
    entries = dict(zip(first, parts, strict=True))
    none = np.zeros(1, np.uint16)
    return [
        (first.get(place, 0), np.append(entries.get(place, none), tail))
        for place in range(len(block))
    ]


def slot_entries(lowered: Pass, taps: TapMap, channel: int) -> tuple[int, NDArray[np.uint16]]:
    """First virtual channel and entries of output ``channel``."""
    if lowered.digits:
        return channel, _sum_entries(lowered.digits)
    if lowered.added:
        first, entries = slot_entries(replace(lowered, added=None), taps, channel)
        return first, np.append(entries, np.uint16((taps.count - 1) << 8 | SKIP))
    weights = lowered.weights(channel)
    if len(weights.code) == 0:
        return 0, np.zeros(1, np.uint16)
    virtual = weights.channel * taps.fold + taps.step[weights.row, weights.column]
    tap = taps.tap[weights.row, weights.column]
    order = np.lexsort((tap, virtual))
    # Rows of a channel begin at the channel.
    first = channel if taps.by_rows else int(virtual[order[0]])
    return first, pack_entries(virtual[order] - first, tap[order], weights.code[order], taps.bits)


def _sum_entries(digits: Sequence[tuple[int, int]]) -> NDArray[np.uint16]:
    words: list[int] = []
    for place, pair in enumerate(digits):
        if place:
            words.append(ESCALATE)
        words += [MAC | tap << 8 | digit - 1 for tap, digit in enumerate(pair) if digit]
    return np.array(words, np.uint16)
