"""Compiles a :class:`CompressedModel` for the layer-sequential array.

Three steps: formats of all maps (:func:`_steps`), places of all maps and how many RUNs a pass takes
(:class:`_Planner`), and the bytes (:class:`_Emitter`).
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.sequential.array import (
    BEAT,
    DESCRIPTOR_BYTES,
    HEADER_BYTES,
    TAPS,
    SequentialArray,
)
from pyadmm.hardware.sequential.lowering import (
    Format,
    Need,
    Pass,
    TapMap,
    copy_pass,
    input_halves,
    lower,
    slot_entries,
    tap_map,
)
from pyadmm.hardware.sequential.program import (
    LIST_END,
    LIST_ZERO,
    TAP_SIGNED,
    Load,
    Program,
    Run,
    Slot,
    aligned,
    beats,
    encode,
    encode_end,
    encode_slot,
    seal,
)
from pyadmm.model.integer import INPUT, CompressedModel
from pyadmm.model.types import QFormat

_SLACK_WORDS = 32
"""Of an entry buffer: a burst under way and the next slot's header."""
_PAGE = 64
_SHORT_STRIPE, _SMALL_BLOCK = 16, 8
"""A channelwise pass with shorter stripes takes several channels at a time, at least the second."""


@dataclass(frozen=True)
class Map:
    """A feature map as the program stores it.

    :param natural: format in which the pass that makes it emits pixels.
    """

    name: str
    shape: tuple[int, int, int]
    held: QFormat
    format: Format
    natural: Format

    @property
    def listed(self) -> bool:
        """Whether the map is repacked on its way out."""
        return self.format != self.natural

    @property
    def pixels(self) -> int:
        """Pixels of a channel that the pass emits, up to the last valid one."""
        return self.natural.span

    @property
    def wide(self) -> bool:
        """Whether an activation takes four bytes, in four planes of lowest byte first."""
        return self.held.bits > 8


@dataclass(frozen=True)
class Step:
    """A pass with its maps.

    :param block: output channels that the step makes.
    """

    lowered: Pass
    sources: tuple[Map, ...]
    output: Map
    taps: TapMap
    lanes: int
    block: range

    @property
    def reads(self) -> range:
        """Channels of the inputs that the step reads."""
        return self.block if self.lowered.channelwise else range(self.sources[0].shape[0])

    def blocks(self, count: int) -> list[Step]:
        """The step as ``count`` steps of some channels each; only where it is channelwise."""
        size = -(-len(self.block) // count)
        starts = range(0, len(self.block), size)
        return [replace(self, block=self.block[start : start + size]) for start in starts]

    @property
    def tiles(self) -> int:
        """Tiles of a channel."""
        return -(-self.output.pixels // self.lanes)

    @property
    def reach(self) -> tuple[int, int]:
        """Least and largest offset of any tap within its phase."""
        offsets = self.taps.offsets(self.sources[0].format.pitch, 0)
        return int(offsets.min()), int(offsets.max())

    def lines(self, tiles: range) -> range:
        """Lines of a phase that ``tiles`` read."""
        low, high = self.reach
        whole = -(-self.sources[0].format.span // self.lanes)
        first = max(0, (tiles.start * self.lanes + low) // self.lanes)
        last = min(whole, (tiles.stop * self.lanes - 1 + high) // self.lanes + 1)
        return range(min(first, whole - 1), max(last, min(first, whole - 1) + 1))

    @cached_property
    def slots(self) -> list[tuple[int, NDArray[np.uint16]]]:
        """First virtual channel and entries of every output channel of the block."""
        return [slot_entries(self.lowered, self.taps, o) for o in self.block]

    @property
    def slot_words(self) -> int:
        """Most 64-bit words of a slot."""
        return 2 + -(-max(len(entries) for _, entries in self.slots) // 4)

    @cached_property
    def origin(self) -> NDArray[np.int64]:
        """``(phases, span)``: pixel of the natural format that a stored byte comes from, or -1."""
        _, height, width = self.output.shape
        made = np.full(self.output.format.plane, -1, np.int64)
        natural = self.output.natural.positions(height, width)
        stored = self.output.format.positions(height, width)
        made[stored[stored >= 0]] = natural[stored >= 0]
        return made.reshape(self.output.format.phases, -1)


def _steps(
    model: CompressedModel, images: int, array: SequentialArray, plain: Collection[str]
) -> list[Step]:
    """Passes with the formats of all maps; copies where two readers want different ones.

    :param plain: maps that are stored as they are made; a copy serves their readers.
    """
    passes = lower(model, array)
    needs: dict[str, list[Need]] = {}
    for lowered in passes:
        for source in lowered.sources:
            needs.setdefault(source, []).append(lowered.window.need(images, array.lanes))
    first = _input_format(model.input.shape, needs[INPUT], images, array.lanes)
    channels, height, width = model.input.shape
    shape = (channels * input_halves(model), height, width)
    held = model.input.format
    maps = {INPUT: Map(INPUT, shape, QFormat(min(held.bits, 8), held.signed), first, first)}
    steps: list[Step] = []
    for lowered in passes:
        need = lowered.window.need(images, array.lanes)
        begun = maps.get(lowered.map)
        wanted = next((s.sources[0].format for s in steps if s.output is begun), None)
        sources: list[Map] = []
        for source in lowered.sources:
            mapped = maps[source]
            if not need.met_by(mapped.format) or not (
                wanted is None or mapped.format.alike(wanted, array.lanes)
            ):
                mapped = _copied(mapped, wanted or need.format(images, array.lanes), steps, array)
            wanted = wanted or mapped.format
            sources.append(mapped)
        readers = [] if lowered.map in plain else needs.get(lowered.map, [])
        shape = model.shape_of(lowered.map)
        made = begun or _made(lowered, shape, sources[0].format, readers, array.lanes)
        maps[lowered.map] = made
        taps = tap_map(lowered, sources[0].format, array.lanes)
        steps.append(Step(lowered, tuple(sources), made, taps, array.lanes, range(lowered.outputs)))
    return steps


def _input_format(
    shape: tuple[int, int, int], needs: Sequence[Need], images: int, lanes: int
) -> Format:
    whole = replace(needs[0], first_only=False)
    wanted = _halving(whole, images, lanes).format(images, lanes)
    if all(need.met_by(wanted) for need in needs):
        return wanted
    return _halving(Need(1, 1, *shape[1:]), images, lanes).format(images, lanes)


def _halving(need: Need, images: int, lanes: int) -> Need:
    """``need`` with rows that two strides of 2 divide, where several RUNs share a batch's map."""
    large = images > 1 and images * need.rows * need.pitch > 16 * lanes
    return replace(need, rows=aligned(need.rows, 4)) if large else need


def _natural(shape: tuple[int, int, int], source: Format) -> Format:
    _, height, width = shape
    span = ((source.images - 1) * source.rows + height - 1) * source.pitch + width
    return Format(source.images, source.rows, source.pitch, 1, 1, span)


def _made(
    lowered: Pass,
    shape: tuple[int, int, int],
    source: Format,
    needs: Sequence[Need],
    lanes: int,
) -> Map:
    natural = _natural(shape, source)
    held = natural
    if needs and not all(need.met_by(natural) for need in needs):
        wanted = _divided(needs[0], natural, lanes).format(source.images, lanes)
        # Where readers differ, the map stays as it is and copies serve those that it does not suit.
        held = wanted if all(need.met_by(wanted) for need in needs) else natural
    return Map(lowered.map, shape, lowered.output, held, natural)


def _divided(need: Need, natural: Format, lanes: int) -> Need:
    """``need``, with the rows and pitch of ``natural`` divided where several RUNs share the map.

    Then a range of tiles is a range of every phase.
    """
    if need.rows == 1 or natural.span <= 16 * lanes:
        return need
    rows, pitch = need.rows, need.pitch
    if natural.images > 1:
        rows = max(rows, -(-natural.rows // need.sh))
    if natural.pitch % need.sw == 0:
        pitch = max(pitch, natural.pitch // need.sw)
    return replace(need, rows=rows, pitch=pitch)


def _copied(source: Map, wanted: Format, steps: list[Step], array: SequentialArray) -> Map:
    """``source`` in format ``wanted``, by a pass of its own unless there is one already."""
    for step in steps:
        is_copy = step.lowered.node is None and not step.lowered.target
        if is_copy and step.sources[0] == source and step.output.format == wanted:
            return step.output
    name = f"{source.name}@{len(steps)}"
    lowered = copy_pass(name, source.name, source.shape, source.held)
    natural = _natural(source.shape, source.format)
    made = Map(name, source.shape, source.held, wanted, natural)
    taps = tap_map(lowered, source.format, array.lanes)
    steps.append(Step(lowered, (source,), made, taps, array.lanes, range(lowered.outputs)))
    return made


@dataclass(frozen=True)
class Place:
    """Where a map lies: first byte of channel 0 and bytes from channel to channel."""

    in_buffer: bool
    base: int
    stride: int


@dataclass(frozen=True)
class PlannedStep:
    """A step with places.

    :param sources: where the inputs lie while the pass runs; for a striped pass, in memory.
    :param loads: per source, the line it is loaded to as a whole first, or None.
    :param runs: ranges of tiles.
    :param stripes: first lines of the (two) stripe buffers, or empty where inputs are whole.
    """

    step: Step
    sources: tuple[Place, ...]
    loads: tuple[int | None, ...]
    output: Place
    runs: tuple[range, ...]
    stripes: tuple[int, ...] = ()

    @property
    def stripe_lines(self) -> int:
        """Lines of one phase in a stripe buffer."""
        return max(len(self.step.lines(tiles)) for tiles in self.runs)


class _FullError(Exception):
    """The buffer cannot take what a step needs; carries its name."""


class _PlainError(Exception):
    """A map cannot be repacked by the pass that makes it; carries its name."""


class _Lines:
    """Free lines of the buffer, first fit."""

    def __init__(self, lines: int) -> None:
        self.free = [(0, lines)]

    def take(self, lines: int) -> int | None:
        for place, (base, size) in enumerate(self.free):
            if size >= lines:
                self.free[place] = (base + lines, size - lines)
                return base
        return None

    def give(self, base: int, lines: int) -> None:
        parts = sorted([*self.free, (base, lines)])
        self.free = []
        for start, size in parts:
            if self.free and sum(self.free[-1]) == start:
                self.free[-1] = (self.free[-1][0], self.free[-1][1] + size)
            else:
                self.free.append((start, size))

    def largest(self) -> tuple[int, int]:
        return max(self.free, key=lambda part: part[1])


class _Planner:
    """Places of all maps; what does not fit into the buffer goes to memory."""

    def __init__(self, steps: Sequence[Step], array: SequentialArray) -> None:
        self.steps, self.array = steps, array
        self.last = {held.name: i for i, step in enumerate(steps) for held in step.sources}
        self.spilled = {INPUT, steps[-1].output.name}
        self.memory: dict[str, Place] = {}

    def plan(self) -> list[PlannedStep]:
        """Plan all steps; spill one more map as long as one does not fit."""
        while True:
            try:
                return self._attempt()
            except _FullError as error:
                self._spill(str(error))

    def _lines_of(self, held: Map) -> int:
        return held.shape[0] * -(-held.format.plane // self.array.lanes)

    def _spill(self, blocked: str) -> None:
        rest = [name for name in self.places if name not in self.spilled]
        if self.wanted.name not in self.spilled:
            rest.append(self.wanted.name)
        if not rest and self.wanted.listed and not self.copying:
            raise _PlainError(self.wanted.name)
        if not rest:
            raise PyadmmError(
                f"sequential: {blocked} does not fit into a buffer of {self.array.lines} lines; "
                "use a larger array"
            )
        sizes = {step.output.name: self._lines_of(step.output) for step in self.steps}
        self.spilled.add(max(rest, key=lambda name: sizes[name]))

    def _attempt(self) -> list[PlannedStep]:
        self.lines = _Lines(self.array.lines)
        self.places: dict[str, Place] = {}
        self.memory = {}
        self.memory_end = 0
        self._in_memory(self.steps[0].sources[0])
        planned = []
        for number, step in enumerate(self.steps):
            planned += self._step(step)
            for held in {held.name: held for held in (*step.sources, step.output)}.values():
                if held.name not in self.spilled and self.last.get(held.name, 0) <= number:
                    place = self.places.pop(held.name)
                    self.lines.give(place.base // self.array.lanes, self._lines_of(held))
        return planned

    def _in_memory(self, held: Map) -> Place:
        channels = held.shape[0]
        stride = aligned(held.format.plane, BEAT)
        if held.wide:
            stride = 4 * aligned(held.format.span, self.array.lanes)
        place = Place(False, self.memory_end, stride)
        self.memory[held.name] = place
        self.memory_end = aligned(self.memory_end + channels * stride, _PAGE)
        return place

    def _step(self, step: Step) -> list[PlannedStep]:
        self.wanted = step.output
        self.copying = step.lowered.node is None
        output = self._output(step)
        compact = self._compact(step, output)
        if compact:
            return [compact]
        missing = [held for held in step.sources if held.name in self.spilled]
        bases = [self.lines.take(self._lines_of(held)) for held in missing]
        whole = all(base is not None for base in bases)
        try:
            if whole:
                runs = self._runs(step, output, self.array.tiles)
                loads = dict(zip((h.name for h in missing), bases, strict=True))
                return [self._resident(step, output, runs, loads)]
        finally:
            for held, base in zip(missing, bases, strict=True):
                if base is not None:
                    self.lines.give(base, self._lines_of(held))
        return self._in_blocks(step, output)

    def _compact(self, step: Step, output: Place) -> PlannedStep | None:
        """A map of small planes, loaded without gaps where lines of its own would not fit."""
        held = step.sources[0]
        if len(step.sources) > 1 or held.name not in self.spilled:
            return None
        place, runs = self.memory[held.name], self._runs(step, output, self.array.tiles)
        lines = -(-held.shape[0] * place.stride // self.array.lanes)
        base, room = self.lines.largest()
        if runs is None or self._lines_of(held) <= room or lines > room:
            return None
        there = Place(True, base * self.array.lanes, place.stride)
        return PlannedStep(step, (there,), (base,), output, runs)

    def _output(self, step: Step) -> Place:
        held = step.output
        begun = self.places.get(held.name) or self.memory.get(held.name)
        if begun:
            return begun
        if held.name in self.spilled:
            return self._in_memory(held)
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
        size = len(found.step.block)
        return [replace(found, step=part) for part in step.blocks(-(-len(step.block) // size))]

    def _striped(self, step: Step, output: Place) -> PlannedStep | None:
        """Stripes of the inputs, two at a time, or one where there is no room for two."""
        if any(held.name not in self.spilled for held in step.sources):
            return None
        if any(held.format.span % BEAT and held.format.phases > 1 for held in step.sources):
            return None
        for copies in (2, 1):
            found = self._stripes(step, output, copies)
            if found:
                return found
        return None

    def _stripes(self, step: Step, output: Place, copies: int) -> PlannedStep | None:
        base, room = self.lines.largest()
        per_line = sum(len(step.reads) * held.format.phases for held in step.sources)
        most = self.array.tiles
        while most:
            runs = self._runs(step, output, most)
            if runs is None:
                return None
            planned = PlannedStep(step, (), (), output, runs)
            copies = min(copies, len(runs))
            size = per_line * planned.stripe_lines
            if copies * size <= room:
                places = tuple(self.memory[held.name] for held in step.sources)
                stripes = tuple(base + copy * size for copy in range(copies))
                none = (None,) * len(places)
                return PlannedStep(step, places, none, output, runs, stripes)
            most = min(most, len(runs[0])) - 1
        return None

    def _runs(self, step: Step, output: Place, most: int) -> tuple[range, ...] | None:
        """Tile ranges of at most ``most`` tiles that every table has room for, or None."""
        array = self.array
        most = min(most, array.masks // 2 // max(step.taps.count, 1), step.tiles)
        if step.output.wide:
            most = min(most, array.tiles // 4)
        if step.slot_words > array.entry_words - _SLACK_WORDS:
            most = min(most, 1)
        unit = array.lanes if output.in_buffer else BEAT
        while most > 0:
            grain = 1
            if most < step.tiles and step.output.listed:
                found = _grain(step, unit, array.lanes)
                if found is None or found > most:
                    return None
                grain = found
            size = aligned(-(-step.tiles // -(-step.tiles // (most // grain * grain))), grain)
            starts = range(0, step.tiles, size)
            runs = tuple(range(start, min(start + size, step.tiles)) for start in starts)
            if not step.output.listed or all(
                len(list_words(step, tiles, step.tiles)) <= array.lists // 2 for tiles in runs
            ):
                return runs
            most = size - 1
        return None


def _grain(step: Step, unit: int, lanes: int) -> int | None:
    """Least number of tiles whose pixels are whole pieces of every stored phase."""
    natural, held = step.output.natural, step.output.format
    if held.images > 1 and natural.rows != held.rows * held.sh:
        return None
    for tiles in range(1, 65):
        rows, rest = divmod(tiles * lanes, held.sh * natural.pitch)
        if rest == 0 and rows * held.pitch % unit == 0:
            return tiles
    return None


def _pieces(step: Step, tiles: range, total: int) -> tuple[int, int]:
    """Bytes ``first … last`` of every phase that ``tiles`` hold."""
    held, pitch = step.output.format, step.output.natural.pitch
    first = tiles.start * step.lanes // (held.sh * pitch) * held.pitch
    last = tiles.stop * step.lanes // (held.sh * pitch) * held.pitch
    return first, held.span if tiles.stop == total else last


def list_words(step: Step, tiles: range, total: int) -> NDArray[np.uint32]:
    """Repacking list of ``tiles``: which bytes of which transfer leave in which order."""
    whole = len(tiles) == total
    first, last = _pieces(step, tiles, total)
    pieces = step.origin[:, first:last]
    parts = [pieces.ravel()] if whole else list(pieces)
    words = [_piece_words(part - tiles.start * step.lanes, part < 0) for part in parts]
    # A word without bytes gives the rest of a piece its cycle to leave.
    gap = np.zeros(1, np.uint32)
    spaced = [word for piece in words for word in (piece, gap)]
    return np.concatenate(spaced[:-1])


def _piece_words(pixel: NDArray[np.int64], zero: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """List of one piece: runs of zeros, and bytes of one transfer in rising order."""
    count = len(pixel)
    place = np.arange(count)
    beat = np.where(zero, -1, pixel // BEAT)
    lane = np.where(zero, 0, pixel % BEAT)
    new = np.ones(count, bool)
    new[1:] = (beat[1:] != beat[:-1]) | (~zero[1:] & (lane[1:] <= lane[:-1]))
    start = np.maximum.accumulate(np.where(new, place, 0))
    behind = (place - start) % BEAT
    new |= zero & (behind == 0)
    lane = np.where(zero, behind, lane)
    words = np.bitwise_or.reduceat(1 << (16 + lane), np.flatnonzero(new))
    words |= np.where(beat[new] < 0, LIST_ZERO, beat[new])
    words[-1] |= LIST_END
    return words.astype(np.uint32)


@dataclass
class _Emitter:
    """Descriptors and data of a plan; addresses are relative until :meth:`finish`."""

    array: SequentialArray
    loads: list[tuple[str, Load]] = field(default_factory=list)
    order: list[Load | Run | tuple[str, Load]] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    known: dict[bytes, int] = field(default_factory=dict)
    tables: dict[tuple[str, int], bytes] = field(default_factory=dict)
    half: int = 0

    def _put(self, content: bytes) -> int:
        """Offset of ``content`` in the data; equal contents are stored once."""
        if content not in self.known:
            self.known[content] = len(self.data)
            self.data += content + bytes(-len(content) % BEAT)
        return self.known[content]

    def _table(self, target: str, words: NDArray[np.integer], base: int) -> None:
        """Load a table unless it holds these words already."""
        content = np.asarray(words, "<u8").tobytes()
        held = self.tables.get((target, self.half), b"")
        if held[: len(content)] == content:
            return
        self.tables[target, self.half] = content
        load = Load(self._put(content), 1, len(words), 0, target, base, wait_run=False)  # type: ignore[arg-type]
        self.order.append(("data", load))

    def step(self, planned: PlannedStep) -> None:
        """Loads and RUNs of one step."""
        self.streams, self.words = self._streams(planned)
        facts = zip(planned.step.sources, planned.sources, planned.loads, strict=True)
        for source, there, line in facts:
            if line is not None:
                compact = there.stride % self.array.lanes != 0
                self._load_whole(source, self.memory[source.name], line, compact)
        for number, tiles in enumerate(planned.runs):
            self._run(planned, number, tiles)

    def _load_whole(self, held: Map, place: Place, line: int, compact: bool) -> None:
        rows, size = held.shape[0], beats(held.format.plane)
        if compact:
            rows, size = 1, beats(rows * place.stride)
        load = Load(place.base, rows, size, place.stride, "buffer", line)
        self.order.append(("maps", load))

    def _planes(self, planned: PlannedStep) -> tuple[int, int]:
        """Bytes in the buffer of a phase and of a channel, while ``planned`` runs."""
        held = planned.step.sources[0].format
        if planned.stripes:
            span = planned.stripe_lines * self.array.lanes
            return span, span * held.phases
        return held.span, planned.sources[0].stride

    def _streams(self, planned: PlannedStep) -> tuple[int, list[int]]:
        step = planned.step
        span, channel = self._planes(planned)
        virtual = span if step.taps.fold > 1 else channel
        groups: list[list[Slot]] = [[] for _ in range(self.array.groups)]
        heap = [(0, group) for group in range(self.array.groups)]
        slots = step.slots
        skipped = step.reads.start * step.taps.fold if planned.stripes else 0
        for place in sorted(range(len(slots)), key=lambda o: -len(slots[o][1])):
            (first, entries), output = slots[place], step.block[place]
            mult, shift = step.lowered.scale(output)
            bias = int(step.lowered.bias[output])
            target = (step.lowered.first + output) * planned.output.stride // BEAT
            slot = Slot((first - skipped) * virtual, target, bias, mult, shift, entries)
            load, group = heapq.heappop(heap)
            groups[group].append(slot)
            heapq.heappush(heap, (load + len(entries), group))
        return self._encoded(groups)

    def _encoded(self, groups: Sequence[Sequence[Slot]]) -> tuple[int, list[int]]:
        content = bytearray()
        words = []
        for slots in groups:
            before = len(content)
            for place, slot in enumerate(slots):
                content += encode_slot(slot, self.array.buffer_bytes, place == len(slots) - 1)
            words.append((len(content) - before) // BEAT)
        return self._put(bytes(content)), words

    def _run(self, planned: PlannedStep, number: int, tiles: range) -> None:
        step, lanes = planned.step, self.array.lanes
        self.half ^= 1
        span, channel = self._planes(planned)
        bases = [place.base for place in planned.sources]
        skipped = 0
        if planned.stripes:
            skipped = step.lines(tiles).start * lanes
            bases = self._load_stripe(planned, number, tiles)
        offsets = step.taps.offsets(step.sources[0].format.pitch, span)
        if step.lowered.digits:
            offsets = np.array([0, bases[1] - bases[0]])
        mask_base = self.half * (self.array.masks // 2)
        tap_base = self.half * (TAPS // 2)
        list_base = self.half * (self.array.lists // 2)
        self._table("taps", self._tap_words(step, offsets), tap_base)
        self._table("masks", self._mask_words(step, tiles), mask_base)
        stored, piece, target = self._stored(planned, tiles, list_base)
        self.order.append(
            Run(
                base=(bases[0] + tiles.start * lanes - skipped) % self.array.buffer_bytes,
                plane=span if step.taps.fold > 1 else channel,
                tiles=len(tiles),
                taps=step.taps.count,
                tap_bits=step.taps.bits,
                maximum=step.lowered.maximum,
                to_buffer=planned.output.in_buffer,
                listed=step.output.listed,
                wide=step.output.wide,
                low=step.lowered.output.lo,
                high=step.lowered.output.hi,
                stored=stored,
                last_slices=self._last_slices(step, tiles),
                piece_stride=piece,
                destination=planned.output.base + target,
                mask_base=mask_base,
                tap_base=tap_base,
                list_base=list_base,
                streams=self.streams,
                words=tuple(self.words),
            )
        )

    def _load_stripe(self, planned: PlannedStep, number: int, tiles: range) -> list[int]:
        """Load what ``tiles`` read; returns the byte in the buffer that each source begins at."""
        step, lanes = planned.step, self.array.lanes
        lines = step.lines(tiles)
        line = planned.stripes[number % len(planned.stripes)]
        bases = []
        for held, place in zip(step.sources, planned.sources, strict=True):
            rows = len(step.reads) * held.format.phases
            stride = place.stride if held.format.phases == 1 else held.format.span
            source = place.base + lines.start * lanes + step.reads.start * place.stride
            size = planned.stripe_lines * self.array.line_beats
            wait = number == 0 or len(planned.stripes) == 1
            load = Load(source, rows, size, stride, "buffer", line, wait_run=wait)
            self.order.append(("maps", load))
            bases.append(line * lanes)
            line += rows * planned.stripe_lines
        return bases

    def _tap_words(self, step: Step, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        signed = [TAP_SIGNED * int(held.held.signed) for held in step.sources]
        signs = np.array(signed if step.lowered.digits else signed[:1], np.int64)
        return np.asarray(offsets % self.array.buffer_bytes | signs)

    def _mask_words(self, step: Step, tiles: range) -> NDArray[np.uint64]:
        lanes = self.array.lanes
        held = step.sources[0].format
        first, count = tiles.start * lanes, len(tiles) * lanes
        masks = step.taps.masks(step.lowered.window, held, first, count)
        bits = masks.reshape(len(tiles), lanes, -1).transpose(0, 2, 1).astype(np.uint64)
        return np.asarray((bits << np.arange(lanes, dtype=np.uint64)).sum(-1).ravel(), np.uint64)

    def _last_slices(self, step: Step, tiles: range) -> int:
        pixels = min(tiles.stop * step.lanes, step.output.pixels)
        return beats(pixels - (tiles.stop - 1) * step.lanes)

    def _stored(self, planned: PlannedStep, tiles: range, base: int) -> tuple[int, int, int]:
        """Words or transfers stored per channel, bytes between pieces, bytes before the first."""
        step = planned.step
        if step.output.listed:
            words = list_words(step, tiles, step.tiles)
            self._table("list", words, base)
            first, _ = _pieces(step, tiles, step.tiles)
            return len(words), step.output.format.span, first
        if step.output.wide:
            size = len(tiles) * self.array.line_beats
            return 4 * size, 0, 4 * tiles.start * self.array.lanes
        pixels = min(tiles.stop * step.lanes, step.output.pixels) - tiles.start * step.lanes
        return beats(pixels), 0, tiles.start * step.lanes

    def finish(self, map_bytes: int) -> Program:
        """Bind all addresses."""
        data = HEADER_BYTES + DESCRIPTOR_BYTES * (len(self.order) + 1)
        self.maps = aligned(data + len(self.data), _PAGE)
        bases = {"data": data, "maps": self.maps}
        body = bytearray()
        for item in self.order:
            if isinstance(item, tuple):
                region, load = item
                body += encode(replace(load, source=load.source + bases[region]))
            elif isinstance(item, Run):
                target = item.destination + (0 if item.to_buffer else self.maps)
                body += encode(replace(item, streams=item.streams + data, destination=target))
        body += encode_end() + self.data
        # A stripe's last row may read past the end of its map.
        memory = aligned(self.maps + map_bytes + self.array.lanes * self.array.tiles, 4096)
        return Program(seal(bytes(body), memory, self.array), memory, self.array)

    memory: dict[str, Place] = field(default_factory=dict)
    maps: int = 0
    streams: int = 0
    words: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Compiled:
    """A network for one array: program, steps, and where its input and output lie.

    :param images: that one start of the program computes.
    """

    program: Program
    steps: tuple[PlannedStep, ...]
    images: int
    input: Place
    output: Place
    model: CompressedModel

    def place_input(
        self, memory: NDArray[np.uint8], images: NDArray[np.uint8] | NDArray[np.int8]
    ) -> None:
        """Write ``images`` ``(images, C, H, W)`` into ``memory`` as the first pass reads them."""
        held = self.steps[0].step.sources[0]
        values = self.model.input.quantize(images)
        parts = [held.held.saturate(values)]
        if held.shape[0] > values.shape[1]:
            parts.append(parts[0] - values)
        data = np.concatenate(parts, axis=1).astype(np.int8 if held.held.signed else np.uint8)
        channels, height, width = held.shape
        planes = np.zeros((channels, self.input.stride), np.uint8)
        positions = held.format.positions(height, width)
        pixels = data.view(np.uint8).transpose(1, 0, 2, 3).reshape(channels, -1)
        planes[:, positions.ravel()] = pixels
        memory[self.input.base : self.input.base + planes.size] = planes.ravel()

    def read_output(self, memory: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Logits ``(images, outputs)`` from ``memory``."""
        last = self.steps[-1].step.output
        channels, height, width = last.shape
        size = channels * self.output.stride
        planes = memory[self.output.base : self.output.base + size].reshape(channels, -1)
        positions = last.format.positions(height, width)
        if last.wide:
            values = _wide(planes, self.steps[-1]).astype(np.int64)
        else:
            values = (planes.view(np.int8) if last.held.signed else planes).astype(np.int64)
        picked = values[:, positions.ravel()]
        shaped = picked.reshape(channels, self.images, height * width)
        return np.ascontiguousarray(shaped.transpose(1, 0, 2).reshape(self.images, -1))


def _wide(planes: NDArray[np.uint8], planned: PlannedStep) -> NDArray[np.int32]:
    """Four-byte activations ``(C, pixels)`` of all runs."""
    lanes = planned.step.lanes
    parts = []
    for tiles in planned.runs:
        size = len(tiles) * lanes
        part = planes[:, 4 * tiles.start * lanes :][:, : 4 * size].reshape(len(planes), 4, size)
        parts.append(np.ascontiguousarray(part.transpose(0, 2, 1)).view("<i4")[..., 0])
    return np.concatenate(parts, axis=1)


def _planned(
    model: CompressedModel, images: int, array: SequentialArray
) -> tuple[_Planner, list[PlannedStep]]:
    """A plan in which every map has a place and a format that its pass can make."""
    plain: set[str] = set()
    while True:
        planner = _Planner(_steps(model, images, array, plain), array)
        try:
            return planner, planner.plan()
        except _PlainError as error:
            plain.add(str(error))


def compile_model(
    model: CompressedModel, array: SequentialArray | None = None, images: int = 1
) -> Compiled:
    """Program, weights and memory layout of ``model``.

    :param images: that one run of the program takes together.
    :raises PyadmmError: where the array cannot compute the network, by the name of the layer.
    """
    array = array or SequentialArray()
    if images < 1:
        raise PyadmmError(f"sequential: images per run must be at least 1, not {images}")
    planner, planned = _planned(model, images, array)
    emitter = _Emitter(array, memory=planner.memory)
    for step in planned:
        emitter.step(step)
    program = emitter.finish(planner.memory_end)
    places = planner.memory
    shifted = {
        name: replace(place, base=place.base + emitter.maps) for name, place in places.items()
    }
    return Compiled(
        program,
        tuple(planned),
        images,
        shifted[INPUT],
        shifted[planned[-1].step.output.name],
        model,
    )


def descriptors(image: bytes) -> Iterator[bytes]:
    """The descriptors of a program image, END left out."""
    place = HEADER_BYTES
    while struct.unpack_from("<I", image, place)[0] & 0xFF:
        yield image[place : place + DESCRIPTOR_BYTES]
        place += DESCRIPTOR_BYTES
