"""Places of all maps: in the buffer as long as they fit, else in memory, loaded whole or in stripes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.sequential.array import (
    BEAT,
    SLICE,
    SequentialArray,
)
from pyadmm.hardware.sequential.fusion import (
    CHAIN_LIMIT,
    LONGEST_CHAIN,
    Chain,
    Turn,
    best_chain,
    saved_cycles,
)
from pyadmm.hardware.sequential.lists import cut_into_runs, list_words, possible_cuts
from pyadmm.hardware.sequential.maps import (
    Map,
    Network,
    Split,
    Step,
    network_steps,
)
from pyadmm.hardware.sequential.places import Chained, FreeLines, Place, PlannedStep
from pyadmm.hardware.sequential.program import aligned
from pyadmm.model import INPUT, CompressedModel

_SLACK_WORDS = 32
"""Of an entry buffer: a burst under way and the next slot's header."""
PAGE = 64
"""Maps begin at multiples of so many bytes in memory."""
_LONG_LOAD, _RUNS_AHEAD, _MORE_LOADED = 64, 4, 1.3
"""A map of so many lines is loaded in stripes for so many RUNs, unless halos make it so much larger."""
_RUN_CYCLES = 120
"""That a RUN takes to fill and empty the pipeline, about."""
_SHORT_STRIPE, _SMALL_BLOCK = 16, 8
"""Stripes of fewer tiles make a channelwise pass take some channels at a time, at least so many."""


class _FullError(Exception):
    """The buffer cannot take what a step needs; carries its name."""


class _CrowdedError(Exception):
    """A pass would be faster if its output were in memory."""


class _PlainError(Exception):
    """A map cannot be repacked by the pass that makes it; carries its name."""


class _ApartError(Exception):
    """The inputs of layers and of the sums behind them do not fit together; carries the sums' names."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__()
        self.names = names


class _Planner:
    """Places of all maps; what does not fit into the buffer goes to memory."""

    def __init__(self, network: Network, array: SequentialArray, chain_limit: float) -> None:
        self.network, self.array, self.chain_limit = network, array, chain_limit
        self.steps = steps = network.steps
        self.last = {held.name: i for i, step in enumerate(steps) for held in step.sources}
        self.spilled = {INPUT, *network.parts, steps[-1].output.name}
        # A part of a map in the buffer must begin at a line.
        self.spilled |= {step.output.name for step in steps if step.offset % array.lanes}
        self.memory: dict[str, Place] = {}
        self.replaced = ""
        self.readers = Counter(held.name for step in steps for held in step.sources)
        self.chains: dict[tuple[object, ...], list[Chain] | None] = {}

    def plan(self) -> list[PlannedStep | Chained]:
        """Plan all steps; spill one more map as long as one does not fit."""
        while True:
            try:
                return self._attempt()
            except _FullError as error:
                self._spill(str(error))
            except _CrowdedError:
                self._to_memory(self.wanted)

    def _to_memory(self, maker: str) -> None:
        """What pass ``maker`` makes goes to memory, in all parts of a run."""
        made = [step.output.name for step in self.steps if step.lowered.map == maker]
        self.spilled.update(made)

    def _lines_of(self, held: Map) -> int:
        return held.shape[0] * -(-held.format.plane // self.array.lanes)

    def _spill(self, blocked: str) -> None:
        rest = [name for name in self.places if name not in self.spilled]
        if self.output.name not in self.spilled:
            rest.append(self.output.name)
        if not rest and self.output.listed and not self.copying:
            raise _PlainError(self.wanted)
        if not rest and self.adding:
            raise _ApartError({self.wanted, *self._too_large()})
        if not rest:
            raise PyadmmError(
                f"sequential: {blocked} does not fit into a buffer of {self.array.lines} lines; "
                "use a larger array"
            )
        sizes = {step.output.name: self._lines_of(step.whole) for step in self.steps}
        made = {step.output.name: step.lowered.map for step in self.steps}
        # Where sizes are equal the output goes: its pass then has nothing to load.
        own = self.output.name
        self._to_memory(made[max(rest, key=lambda name: (sizes[name], name == own))])

    def _too_large(self) -> list[str]:
        """Layers with a sum of which not even a stripe of one line fits."""
        return [
            step.lowered.map
            for step in self.steps
            if step.lowered.added and len(step.reads) + len(step.block) > self.array.lines
        ]

    def _attempt(self) -> list[PlannedStep | Chained]:
        self.lines = FreeLines(self.array.lines)
        self.places: dict[str, Place] = {}
        self.memory = {}
        self.memory_end = 0
        entry = self._in_memory(self.network.entry)
        for name, offset in self.network.parts.items():
            span = self.network.entry.format.span
            self.memory[name] = Place(False, entry.base + offset, entry.stride, span)
        planned: list[PlannedStep | Chained] = []
        chained = 0
        for number, step in enumerate(self.steps):
            if number < chained:
                continue
            chain = self._chained(number)
            if chain:
                chained = number + len(chain[0].passes)
                planned += chain
                continue
            planned += self._step(step, number)
            for held in {held.name: held for held in (*step.sources, step.output)}.values():
                if held.name not in self.spilled and self.last.get(held.name, 0) <= number:
                    place = self.places.pop(held.name)
                    if held.name != self.replaced:
                        self.lines.give(place.base // self.array.lanes, self._lines_of(held))
        return planned

    def _chained(self, number: int) -> list[Chained]:
        """A chain that begins with step ``number``, one for each block of channels, or nothing."""
        self.replaced = ""
        if self.lines.free != [(0, self.array.lines)]:
            return []
        found: tuple[int, list[Chain], list[Step]] | None = None
        for length in range(2, LONGEST_CHAIN + 1):
            steps = list(self.steps[number : number + length])
            if len(steps) < length or not self._may_chain(steps):
                continue
            key = tuple((id(step.made), step.output.format, step.tiles) for step in steps)
            if key not in self.chains:
                self.chains[key] = best_chain(steps, self.array, self.chain_limit)
            chains = self.chains[key]
            saved = saved_cycles(chains, steps, self.array) if chains else 0
            if chains and (found is None or saved > found[0]):
                found = saved, chains, steps
        if found is None:
            return []
        output = self._output(found[2][-1])
        return [self._placed_chain(one, found[2], output) for one in found[1]]

    def _may_chain(self, steps: Sequence[Step]) -> bool:
        """Whether each of ``steps`` reads what the one before makes and nobody else reads, and all is in memory."""
        first, last = steps[0], steps[-1]
        entry = first.sources[0]
        if len(first.sources) > 1 or entry.name not in self.memory:
            return False
        if entry.format.span % BEAT and entry.format.phases > 1:
            return False
        if any(step.whole.name not in self.spilled for step in steps) or last.output.wide:
            return False
        for before, step in pairwise(steps):
            made, (source, *others) = before.output, step.sources
            inner = not before.joint and not before.lowered.target
            inner = inner and not (made.listed or made.wide) and made.format.phases == 1
            if not inner or source.name != made.name or self.readers[made.name] > 1:
                return False
            adds_entry = step is last and step.lowered.added and others[0].name == entry.name
            if others and not (adds_entry and entry.format.phases == 1):
                return False
        return True

    def _placed_chain(self, chain: Chain, steps: Sequence[Step], output: Place) -> Chained:
        """``chain`` for ``steps``, which may be those of other images than it was made for."""
        lanes, size = self.array.lanes, self.array.buffer_bytes
        parts = [
            replace(step, block=made.block) for step, made in zip(steps, chain.steps, strict=True)
        ]
        entry = self.memory[parts[0].sources[0].name]
        between = [
            Place(True, (first - part.block.start * apart) * lanes % size, apart * lanes)
            for first, apart, part in zip(chain.firsts[1:], chain.aparts[1:], parts, strict=False)
        ]
        passes = []
        for number, part in enumerate(parts):
            places = [entry, *between][number], Place(True, 0, chain.aparts[0] * lanes)
            sources = places[: len(part.sources)]
            runs = tuple(one.tiles[number] for one in chain.turns if one.tiles[number])
            target = [*between, output][number]
            none = (None,) * len(sources)
            rolling = ((0,), chain.aparts[0]) if number == 0 else ((), 0)
            passes.append(PlannedStep(part, sources, none, target, runs, *rolling))
        return Chained(tuple(passes), _numbered(chain.turns))

    def _in_memory(self, held: Map) -> Place:
        channels = held.shape[0]
        stride = aligned(held.format.plane, SLICE)
        if held.wide:
            stride = 4 * aligned(held.format.span, self.array.lanes)
        place = Place(False, self.memory_end, stride)
        self.memory[held.name] = place
        self.memory_end = aligned(self.memory_end + channels * stride, PAGE)
        return place

    def _step(self, step: Step, number: int) -> list[PlannedStep]:
        self.wanted, self.output = step.lowered.map, step.output
        self.copying = step.lowered.node is None
        self.adding = step.lowered.added is not None
        self.replaced = self._replaceable(step, number)
        output = self._output(step)
        compact = self._compact(step, output)
        if compact:
            return [compact]
        missing = [held for held in step.sources if held.name in self.spilled]
        bases = [self.lines.take(self._lines_of(held)) for held in missing]
        whole = all(base is not None for base in bases)
        try:
            ahead = self._ahead(step, output, missing) if whole else None
            if ahead:
                return [ahead]
            if whole:
                runs = self._runs(step, output, self.array.tiles)
                loads = dict(zip((h.name for h in missing), bases, strict=True))
                return [self._resident(step, output, runs, loads)]
        finally:
            for held, base in zip(missing, bases, strict=True):
                if base is not None:
                    self.lines.give(base, self._lines_of(held))
        beside = self._beside(step, output)
        if beside:
            return beside
        planned = self._in_blocks(step, output)
        if output.in_buffer and self._crowded(planned):
            raise _CrowdedError
        return planned

    def _beside(self, step: Step, output: Place) -> list[PlannedStep]:
        """A layer with a sum, its input in the buffer as a whole: what it adds is loaded some channels at a time."""
        if step.lowered.added is None or step.sources[1].name not in self.spilled:
            return []
        (first, other), lanes = step.sources, self.array.lanes
        there, base = self.places.get(first.name), None
        if there is None:
            base = self.lines.take(self._lines_of(first))
            if base is None:
                return []
            there = Place(True, base * lanes, aligned(first.format.plane, lanes))
        line, room = self.lines.largest()
        if base is not None:
            self.lines.give(base, self._lines_of(first))
        apart = -(-other.format.plane // lanes)
        count, runs = room // (2 * apart), self._runs(step, output, self.array.tiles)
        if count < _SMALL_BLOCK or runs is None:
            return []
        planned = []
        for number, part in enumerate(step.blocks(-(-len(step.block) // count))):
            at = line + number % 2 * count * apart
            places = there, Place(True, at * lanes, apart * lanes)
            loads = None if number else base, at
            planned.append(PlannedStep(part, places, loads, output, runs, partial=True))
        return planned

    def _crowded(self, planned: Sequence[PlannedStep]) -> bool:
        """Whether the output leaves so little room that loads wait, for longer than it takes to load it later."""
        waits = [one for one in planned if len(one.stripes) == 1 and not one.rolling]
        loaded = sum(one.step.rows_read * one.loaded_lines for one in waits if len(one.runs) > 1)
        return loaded > 2 * self._lines_of(planned[0].step.whole)

    def _ahead(self, step: Step, output: Place, missing: Sequence[Map]) -> PlannedStep | None:
        """Stripes of a large map that would fit as a whole, so that the RUN before hides the load of the next."""
        lines = sum(self._lines_of(held) for held in missing)
        if len(missing) < len(step.sources) or lines < _LONG_LOAD or step.tiles < 2 * _RUNS_AHEAD:
            return None
        found = self._hidden(step, output, -(-step.tiles // _RUNS_AHEAD))
        if found is None or len(found.runs) < 2:
            return None
        per_line = lines / -(-step.sources[0].format.span // self.array.lanes)
        return found if per_line * found.loaded_lines < _MORE_LOADED * lines else None

    def _hidden(self, step: Step, output: Place, most: int) -> PlannedStep | None:
        """Stripes that load while the array computes: a rolling buffer or two in turn, whichever costs less."""
        rolled, turns = self._rolled(step, output, most), self._stripes(step, output, 2, most)
        found = [one for one in (rolled, turns) if one]
        return min(found, key=self._loading, default=None)

    def _loading(self, planned: PlannedStep) -> int:
        """Cycles of the loads of a striped pass, and of its RUNs' begin and end."""
        loaded = planned.step.rows_read * planned.loaded_lines * self.array.line_beats
        return loaded + _RUN_CYCLES * len(planned.runs)

    def _compact(self, step: Step, output: Place) -> PlannedStep | None:
        """A map of small planes, loaded without gaps where lines of its own would not fit."""
        held = step.sources[0]
        if len(step.sources) > 1 or held.name not in self.spilled or self.memory[held.name].span:
            return None
        place, runs = self.memory[held.name], self._runs(step, output, self.array.tiles)
        lines = -(-held.shape[0] * place.stride // self.array.lanes)
        base, room = self.lines.largest()
        if runs is None or self._lines_of(held) <= room or lines > room:
            return None
        there = Place(True, base * self.array.lanes, place.stride)
        return PlannedStep(step, (there,), (base,), output, runs)

    def _replaceable(self, step: Step, number: int) -> str:
        """What a layer adds, if its sum may take the place of that in the buffer; otherwise an empty name.

        A tile's results are stored behind the reading of what is added to them, and a list stores when all tiles of
        a channel have been read, if one RUN computes them all.
        """
        if not self.adding or step.joint or step.output.name in self.spilled:
            return ""
        first, other = step.sources
        read_later = first.name == other.name or self.last[other.name] > number
        if read_later or other.name not in self.places:
            return ""
        if self._lines_of(other) != self._lines_of(step.output):
            return ""
        runs = self._runs(step, self.places[other.name], self.array.tiles)
        whole = not step.output.listed or (runs is not None and len(runs) == 1)
        return other.name if whole else ""

    def _output(self, step: Step) -> Place:
        held = step.whole
        if self.replaced:
            self.places[held.name] = self.places[self.replaced]
        begun = self.places.get(held.name) or self.memory.get(held.name)
        if begun is None:
            begun = self._in_memory(held) if held.name in self.spilled else self._in_buffer(held)
        return replace(begun, base=begun.base + step.offset)

    def _in_buffer(self, held: Map) -> Place:
        base = self.lines.take(self._lines_of(held))
        if base is None:
            raise _FullError(held.name)
        stride = aligned(held.format.plane, self.array.lanes)
        self.places[held.name] = Place(True, base * self.array.lanes, stride)
        return self.places[held.name]

    def _resident(
        self,
        step: Step,
        output: Place,
        runs: tuple[range, ...] | None,
        loads: dict[str, int | None],
    ) -> PlannedStep:
        if runs is None:
            raise _FullError(step.lowered.name)
        lanes = self.array.lanes
        sources = []
        for held in step.sources:
            base = loads.get(held.name)
            if base is None:
                sources.append(self.places[held.name])
            else:
                sources.append(Place(True, base * lanes, aligned(held.format.plane, lanes)))
        bases = tuple(loads.get(held.name) for held in step.sources)
        return PlannedStep(step, tuple(sources), bases, output, runs)

    def _in_blocks(self, step: Step, output: Place) -> list[PlannedStep]:
        """Striped passes over all channels, or over some at a time where stripes were short."""
        count, found = 1, self._striped(step, output)
        while step.lowered.channelwise and len(step.block) // count > _SMALL_BLOCK:
            if found and len(found.runs[0]) >= min(step.tiles, _SHORT_STRIPE):
                break
            count *= 2
            found = self._striped(step.blocks(count)[0], output) or found
        if found is None:
            raise _FullError(step.lowered.name)
        if count > 1:
            found = self._in_turn(found, self._striped(step.blocks(2 * count)[0], output))
        size = len(found.step.block)
        return [replace(found, step=part) for part in step.blocks(-(-len(step.block) // size))]

    def _in_turn(self, found: PlannedStep, smaller: PlannedStep | None) -> PlannedStep:
        """Two stripe buffers for blocks of channels that one RUN each computes; smaller blocks if need be."""
        base, room = self.lines.largest()
        for one in (found, smaller):
            if one is None or len(one.runs) > 1:
                return found
            size = one.step.rows_read * len(one.step.lines(one.runs[0]))
            if 2 * size <= room:
                return replace(one, stripes=(base, base + size), rolling=0)
        return found

    def _striped(self, step: Step, output: Place) -> PlannedStep | None:
        """Stripes of the inputs, two at a time, or one where there is no room for two."""
        if any(held.name not in self.spilled for held in step.sources):
            return None
        if any(held.format.span % BEAT and held.format.phases > 1 for held in step.sources):
            return None
        tiles = self.array.tiles
        return self._hidden(step, output, tiles) or self._stripes(step, output, 1, tiles)

    def _rolled(self, step: Step, output: Place, most: int) -> PlannedStep | None:
        """A stripe buffer that rolls over the map: the lines of a halo stay, and the next ones load behind them.

        In an empty buffer the phases of all channels move round it together; else they end within what is free.
        """
        base, room = self.lines.largest()
        rows = step.rows_read
        whole = -(-step.sources[0].format.span // self.array.lanes)
        empty = room == self.array.lines
        apart = min(whole, room // rows if empty else (room - whole) // max(rows - 1, 1))
        most = min(most, apart)
        while most > 0:
            runs = self._runs(step, output, most)
            if runs is None:
                return None
            lines = [step.lines(tiles) for tiles in runs]
            ends = [one.stop for one in (*lines[1:], lines[-1])]
            if max(end - one.start for one, end in zip(lines, ends, strict=True)) <= apart:
                places = tuple(self.memory[held.name] for held in step.sources)
                none = (None,) * len(places)
                return PlannedStep(step, places, none, output, runs, (base,), apart)
            most = min(most, max(len(tiles) for tiles in runs)) - 1
        return None

    def _stripes(self, step: Step, output: Place, copies: int, most: int) -> PlannedStep | None:
        base, room = self.lines.largest()
        per_line = step.rows_read
        # A stripe has at least a line per tile, unless the taps leave out the last ones.
        most = min(most, room // (copies * per_line) + 1)
        while most:
            runs = self._runs(step, output, most)
            if runs is None:
                return None
            planned = PlannedStep(step, (), (), output, runs)
            held_at_once = min(copies, len(runs))
            size = per_line * planned.stripe_lines
            if held_at_once * size <= room:
                places = tuple(self.memory[held.name] for held in step.sources)
                stripes = tuple(base + copy * size for copy in range(held_at_once))
                none = (None,) * len(places)
                return PlannedStep(step, places, none, output, runs, stripes)
            most = min(most, max(len(tiles) for tiles in runs)) - 1
        return None

    def _runs(self, step: Step, output: Place, most: int) -> tuple[range, ...] | None:
        """Tile ranges of at most ``most`` tiles that every table has room for, or None."""
        array = self.array
        most = min(most, array.masks // 2 // max(step.taps.count, 1), step.tiles)
        if step.output.wide:
            most = min(most, array.tiles // 4)
        if step.slot_words > array.entry_words - _SLACK_WORDS:
            most = min(most, 1)
        cuts: Sequence[int] = range(1, step.tiles)
        if step.output.listed:
            cuts = possible_cuts(step, array.lanes if output.in_buffer else SLICE)
        while most > 0:
            runs = cut_into_runs(step.tiles, most, cuts)
            if runs is None or not step.output.listed:
                return runs
            if all(len(list_words(step, tiles)) <= array.lists // 2 for tiles in runs):
                return runs
            most = max(len(tiles) for tiles in runs) - 1
        return None


def _numbered(turns: Sequence[Turn]) -> tuple[tuple[int | None, ...], ...]:
    """Numbers of the RUNs that passes compute in ``turns``."""
    made = [0] * len(turns[0].tiles)
    found = []
    for turn in turns:
        found.append(tuple(made[p] if tiles else None for p, tiles in enumerate(turn.tiles)))
        made = [count + bool(tiles) for count, tiles in zip(made, turn.tiles, strict=True)]
    return tuple(found)


def plan(
    model: CompressedModel,
    images: int,
    array: SequentialArray,
    split: Split | None = None,
    chain_limit: float = CHAIN_LIMIT,
) -> tuple[_Planner, list[PlannedStep | Chained]]:
    """A plan in which every map has a place and a format that its pass can make.

    :param chain_limit: as ``limit`` of :func:`~pyadmm.hardware.sequential.fusion.best_chain`.
    """
    plain: set[str] = set()
    apart: set[str] = set()
    while True:
        steps = network_steps(model, images, array, plain=plain, apart=apart, split=split)
        planner = _Planner(steps, array, chain_limit)
        try:
            return planner, planner.plan()
        except _PlainError as error:
            if str(error) in plain:
                raise PyadmmError(
                    f"sequential: {error} does not fit into a buffer of {array.lines} lines, and with {images} "
                    "images per run it cannot be stored a range of rows at a time; use fewer images or a larger array"
                ) from error
            plain.add(str(error))
        except _ApartError as error:
            apart.update(error.names)
