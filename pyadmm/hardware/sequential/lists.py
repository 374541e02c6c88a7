"""Where a pass may be cut into RUNs, and the lists by which the store repacks a map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pyadmm.hardware.sequential.array import (
    SLICE,
)
from pyadmm.hardware.sequential.maps import (
    Step,
)
from pyadmm.hardware.sequential.program import (
    LIST_END,
    LIST_ZERO,
)


def cut_into_runs(total: int, most: int, cuts: Sequence[int]) -> tuple[range, ...] | None:
    """``total`` tiles in ranges of at most ``most``, as equal as ``cuts`` allow; None where they do not."""
    size, start, runs = -(-total // -(-total // most)), 0, []
    while total - start > size:
        reach = [cut for cut in cuts if start < cut <= start + most]
        if not reach and total - start > most:
            return None
        if not reach:
            break
        even = [cut for cut in reach if cut <= start + size]
        runs.append(range(start, even[-1] if even else reach[0]))
        start = runs[-1].stop
    return (*runs, range(start, total))


def possible_cuts(step: Step, unit: int) -> list[int]:
    """Numbers of tiles that end with a whole piece of every stored phase, a multiple of ``unit`` bytes."""
    natural, held = step.output.natural, step.output.format
    tiles = np.arange(1, step.tiles)
    row, rest = np.divmod(tiles * step.lanes, natural.pitch)
    inside, unit_rows = row % natural.rows, natural.every[0] * held.sh
    whole = (inside % unit_rows == 0) | (inside >= unit_rows * held.rows)
    at = np.array([_stored_before(step, int(count)) for count in tiles], np.int64)
    return [int(count) for count in tiles[(rest == 0) & whole & (at % unit == 0)]]


def _stored_before(step: Step, tiles: int) -> int:
    """Bytes of every stored phase that the first ``tiles`` tiles hold, where they end with a row."""
    natural, held = step.output.natural, step.output.format
    image, row = divmod(tiles * step.lanes // natural.pitch, natural.rows)
    row //= natural.every[0] * held.sh
    return (image * held.rows + min(row, held.rows)) * held.pitch


def pieces(step: Step, tiles: range) -> tuple[int, int]:
    """Bytes ``first … last`` of every phase that ``tiles`` hold."""
    last = step.output.format.span if tiles.stop == step.tiles else _stored_before(step, tiles.stop)
    return _stored_before(step, tiles.start), last


def list_words(step: Step, tiles: range) -> NDArray[np.uint64]:
    """Repacking list of ``tiles``: which bytes of which transfer leave in which order."""
    whole = len(tiles) == step.tiles
    first, last = pieces(step, tiles)
    stored = step.origin[:, first:last]
    parts = [stored.ravel()] if whole else list(stored)
    words = [_piece_words(part - tiles.start * step.lanes, part < 0) for part in parts]
    # A word without bytes gives the rest of a piece its cycle to leave.
    gap = np.zeros(1, np.uint64)
    spaced = [word for piece in words for word in (piece, gap)]
    return np.concatenate(spaced[:-1])


def made_slices(words: NDArray[np.uint64]) -> int:
    """Transfers of a channel up to the last one that a list takes bytes of; the others need not be made."""
    return int((words & np.uint64(0xFFFF)).max()) + 1


def _piece_words(pixel: NDArray[np.int64], zero: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """List of one piece: runs of zeros, and bytes of one transfer in rising order."""
    count = len(pixel)
    place = np.arange(count)
    beat = np.where(zero, -1, pixel // SLICE)
    lane = np.where(zero, 0, pixel % SLICE)
    new = np.ones(count, bool)
    new[1:] = (beat[1:] != beat[:-1]) | (~zero[1:] & (lane[1:] <= lane[:-1]))
    start = np.maximum.accumulate(np.where(new, place, 0))
    behind = (place - start) % SLICE
    new |= zero & (behind == 0)
    lane = np.where(zero, behind, lane)
    words = np.bitwise_or.reduceat(1 << (16 + lane), np.flatnonzero(new))
    words |= np.where(beat[new] < 0, LIST_ZERO, beat[new])
    words[-1] |= LIST_END
    return words.astype(np.uint64)
