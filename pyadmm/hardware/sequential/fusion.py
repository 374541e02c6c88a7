"""Passes that take turns stripe by stripe, so that the maps between them never leave the buffer.

All maps of such a chain have the same rows and pitch, so pixel ``p`` of one lies beside pixel ``p`` of the next, and
line ``l`` of channel ``c`` of map ``b`` has the place ``firsts[b] + c * aparts[b] + l`` in the buffer, modulo its
size. While the passes go down the maps, all channels of all maps move round the buffer together, and a line stays
until its last reader has read it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from pyadmm.hardware.sequential.array import SLICE, SequentialArray
from pyadmm.hardware.sequential.lists import list_words, made_slices, possible_cuts
from pyadmm.hardware.sequential.maps import Step

LONGEST_CHAIN = 3
_RUN_CYCLES = 120
"""That a RUN takes to fill and empty the pipeline, about."""
_MOST_TILES = (28, 21, 16, 14, 12, 10, 8, 7, 6, 5, 4, 3, 2, 1)
"""Tiles of the first pass in a turn that are tried."""
_BLOCKS = (1, 2, 4)
_TRANSFERS = 2
"""That the memory makes in a cycle, about, of the three that the ports may make."""
CHAIN_LIMIT = 0.95
"""A chain takes at most this share of the cycles of its passes one by one."""


@dataclass(frozen=True)
class Turn:
    """Tiles that every pass of a chain computes before the first one goes on."""

    tiles: tuple[range, ...]


@dataclass(frozen=True)
class Chain:
    """Passes of a chain for one block of output channels, and where their maps lie.

    :param steps: passes in order; each reads what the one before makes.
    :param turns: in order.
    :param firsts: first line of what each pass reads.
    :param aparts: lines from channel to channel (of the first map: from phase to phase) of what each pass reads.
    :param cycles: that it takes, modelled.
    """

    steps: tuple[Step, ...]
    turns: tuple[Turn, ...]
    firsts: tuple[int, ...]
    aparts: tuple[int, ...]
    cycles: int


class _Reach:
    """Lines of a phase that tiles of a step read, as :meth:`Step.lines` says, in integers."""

    def __init__(self, step: Step) -> None:
        self.low, self.high = step.reach
        self.lanes = step.lanes
        self.whole = -(-step.sources[0].format.span // step.lanes)

    def start(self, tile: int) -> int:
        """First line that tiles from ``tile`` on read."""
        first = max(0, (tile * self.lanes + self.low) // self.lanes)
        return min(first, self.whole - 1)

    def stop(self, tiles: int) -> int:
        """End of the lines that the first ``tiles`` tiles read."""
        last = (tiles * self.lanes - 1 + self.high) // self.lanes + 1
        return max(min(self.whole, last), self.start(tiles - 1) + 1)


def best_chain(
    steps: Sequence[Step], array: SequentialArray, limit: float = CHAIN_LIMIT
) -> list[Chain] | None:
    """``steps`` as chains, one for each block of channels, where that is faster than one after the other.

    :param limit: share of the cycles of the passes one by one that the chains may take.
    """
    found: list[list[Chain]] = []
    for parts in _blocks(steps):
        for tiles in _MOST_TILES:
            first = _chain(parts[0], array, tiles)
            rest = [_chain(part, array, tiles) for part in parts[1:]] if first else []
            if first and all(rest):
                found.append([first, *(one for one in rest if one)])
    best = min(found, key=chain_cycles, default=None)
    alone = sum(_alone(step, array) for step in steps)
    return best if best and chain_cycles(best) < limit * alone else None


def chain_cycles(chains: Sequence[Chain]) -> int:
    """Cycles of all blocks, modelled."""
    return sum(one.cycles for one in chains)


def saved_cycles(chains: Sequence[Chain], steps: Sequence[Step], array: SequentialArray) -> int:
    """Cycles that the chains take less than ``steps`` one after the other, modelled."""
    return sum(_alone(step, array) for step in steps) - chain_cycles(chains)


def _blocks(steps: Sequence[Step]) -> Iterator[list[tuple[Step, ...]]]:
    """``steps`` for all channels; two of them, of which the second is channelwise, for some channels at a time too."""
    yield [tuple(steps)]
    if len(steps) == 2 and steps[1].lowered.channelwise:
        for count in _BLOCKS[1:]:
            if len(steps[1].block) >= 8 * count:
                yield list(zip(*(step.blocks(count) for step in steps), strict=True))


def _chain(steps: tuple[Step, ...], array: SequentialArray, tiles: int) -> Chain | None:
    """The chain in which the first pass computes ``tiles`` tiles in a turn, or None where the buffer is too small."""
    reaches = [_Reach(step) for step in steps]
    most = [_most_tiles(step, array, len(steps)) for step in steps]
    if tiles > most[0]:
        return None
    turns = _turns(steps, reaches, tiles)
    if any(len(part) > limit for one in turns for part, limit in zip(one.tiles, most, strict=True)):
        return None
    if not _lists_fit(steps[-1], [one.tiles[-1] for one in turns], array.lists // len(steps)):
        return None
    placed = _placed(steps, reaches, turns, array.lines)
    if placed is None:
        return None
    return Chain(steps, tuple(turns), *placed, _cycles(steps, turns, array))


def _most_tiles(step: Step, array: SequentialArray, parts: int) -> int:
    """Tiles of a RUN for which tables divided in ``parts`` and the entry ring have room."""
    if step.slot_words > array.entry_words // 2:
        return 1
    return min(array.tiles, array.masks // parts // max(step.taps.count, 1))


def _lists_fit(step: Step, parts: Collection[range], words: int) -> bool:
    if not step.output.listed:
        return True
    made = [tiles for tiles in parts if tiles]
    return all(len(list_words(step, tiles)) <= words for tiles in (*_sizes(made), made[-1]))


def _turns(steps: Sequence[Step], reaches: Sequence[_Reach], tiles: int) -> list[Turn]:
    """Every pass computes in every turn what it has all inputs for; a list ends with whole pieces."""
    last = steps[-1]
    cuts = possible_cuts(last, SLICE) if last.output.listed else list(range(1, last.tiles))
    done = [0] * len(steps)
    turns = []
    while done[-1] < last.tiles:
        parts = []
        for number, (step, reach) in enumerate(zip(steps, reaches, strict=True)):
            stop = min(done[0] + tiles, step.tiles) if number == 0 else done[number]
            if number:
                while stop < step.tiles and reach.stop(stop + 1) <= done[number - 1]:
                    stop += 1
            if step is last and stop < step.tiles:
                stop = max([cut for cut in cuts if cut <= stop], default=0)
            parts.append(range(done[number], max(stop, done[number])))
            done[number] = parts[-1].stop
        turns.append(Turn(tuple(parts)))
    return turns


def _placed(
    steps: Sequence[Step], reaches: Sequence[_Reach], turns: Sequence[Turn], lines: int
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """First lines and distances of channels of all maps, or None where the buffer is too small.

    In a turn map ``b`` holds lines from ``lows[b]`` on and up to ``highs[b]``.
    """
    lows = [_lows(steps, reaches, turns, number) for number in range(len(steps))]
    highs = [_highs(reaches[0], turns)]
    highs += [[one.tiles[number].stop for one in turns] for number in range(len(steps) - 1)]
    rows = [steps[0].rows_read, *(len(step.block) for step in steps[:-1])]
    aparts = tuple(
        max(1, *(high - low for low, high in zip(lows[b], highs[b], strict=True)))
        for b in range(len(steps))
    )
    firsts = [0]
    for b in range(len(steps)):
        following = lows[(b + 1) % len(steps)]
        behind = max(high - low for high, low in zip(highs[b], following, strict=True))
        firsts.append(firsts[-1] + (rows[b] - 1) * aparts[b] + behind)
    return (tuple(firsts[:-1]), aparts) if firsts[-1] <= lines else None


def _lows(
    steps: Sequence[Step], reaches: Sequence[_Reach], turns: Sequence[Turn], number: int
) -> list[int]:
    """First line that is still read in each turn of the map that pass ``number`` reads."""
    reach, tiles = reaches[number], steps[number].tiles
    lows = [reach.start(min(one.tiles[number].start, tiles - 1)) for one in turns]
    if number == 0 and steps[-1].lowered.added:
        lows = [min(low, one.tiles[-1].start) for low, one in zip(lows, turns, strict=True)]
    return lows


def _highs(reach: _Reach, turns: Sequence[Turn]) -> list[int]:
    """End of the lines of the first map that have been loaded in each turn, those of the next turn too."""
    stops = [reach.stop(one.tiles[0].stop) for one in turns]
    return [*stops[1:], stops[-1]]


def _cycles(steps: Sequence[Step], turns: Sequence[Turn], array: SequentialArray) -> int:
    """Cycles of the RUNs, or of loading and storing where those take longer."""
    runs = streamed = 0
    for number, step in enumerate(steps):
        parts = [one.tiles[number] for one in turns if one.tiles[number]]
        words = sum(2 + -(-len(entries) // 4) for _, entries in step.slots)
        streamed += words * len(parts)
        runs += sum(max(cycles, words) + _RUN_CYCLES for cycles in _computing(step, parts, array))
    first, last = steps[0], steps[-1]
    loaded = first.rows_read * -(-first.sources[0].format.span // first.lanes) * array.line_beats
    stored = _stored_beats(last)
    return max(runs, loaded, (loaded + stored + streamed) // _TRANSFERS)


def _computing(step: Step, parts: Sequence[range], array: SequentialArray) -> list[int]:
    """Cycles that RUNs of some tiles take to compute and to drain."""
    counts = [len(entries) for _, entries in step.slots]
    slot = max(sum(counts) / array.groups, *counts)
    drained = len(counts) * (2 if step.lowered.added else 1)
    made = {len(tiles): len(tiles) * array.line_slices for tiles in parts}
    if step.output.listed:
        made |= {len(tiles): made_slices(list_words(step, tiles)) for tiles in _sizes(parts)}
    return [round(max(slot * len(tiles), drained * made[len(tiles)])) for tiles in parts]


def _sizes(parts: Collection[range]) -> Collection[range]:
    """One of ``parts`` of each length."""
    return {len(tiles): tiles for tiles in reversed(list(parts))}.values()


def _stored_beats(step: Step) -> int:
    return len(step.block) * step.output.format.plane // (SLICE // 2)


def _alone(step: Step, array: SequentialArray) -> int:
    """Least cycles of a pass that reads its inputs from memory and writes its output there."""
    counts = [len(entries) for _, entries in step.slots]
    passes = 2 if step.lowered.added else 1
    drain = len(counts) * passes * array.line_slices * step.tiles
    spans = [-(-held.format.span // step.lanes) * held.format.phases for held in step.sources]
    rows = [len(step.reads_of(number)) for number in range(len(step.sources))]
    loaded = sum(a * b for a, b in zip(rows, spans, strict=True)) * array.line_beats
    compute = sum(counts) * step.tiles // array.groups
    return max(compute, drain, loaded, _stored_beats(step))
