"""Compiles a :class:`CompressedModel` for the layer-sequential array.

:mod:`lowering` makes passes of the nodes, :mod:`maps` chooses the formats of all maps, :mod:`placement` their places
and how many RUNs a pass takes; the bytes are made here.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.sequential.array import (
    BEAT,
    DESCRIPTOR_BYTES,
    HEADER_BYTES,
    SLICE,
    TAPS,
    SequentialArray,
)
from pyadmm.hardware.sequential.fusion import CHAIN_LIMIT
from pyadmm.hardware.sequential.lists import (
    list_words,
    made_slices,
    pieces,
)
from pyadmm.hardware.sequential.maps import (
    Map,
    Split,
    Step,
)
from pyadmm.hardware.sequential.placement import PAGE, plan
from pyadmm.hardware.sequential.places import Chained, Place, PlannedStep
from pyadmm.hardware.sequential.program import (
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
    slices,
)
from pyadmm.hardware.sequential.registers import COUNTED_LAYERS
from pyadmm.model import INPUT, CompressedModel
from pyadmm.model.compact import compact

_SUM_CYCLES = 22
"""From a tile of a sum to the next one of the same group, at least."""


@dataclass
class _Emitter:
    """Descriptors and data of a plan; addresses are relative until :meth:`finish`."""

    array: SequentialArray
    loads: list[tuple[str, Load]] = field(default_factory=list)
    order: list[Load | Run | tuple[str, Load]] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    known: dict[bytes, int] = field(default_factory=dict)
    tables: dict[tuple[str, int], bytes] = field(default_factory=dict)
    streamed: dict[tuple[object, ...], tuple[int, list[int]]] = field(default_factory=dict)
    masked: dict[tuple[object, ...], NDArray[np.uint64]] = field(default_factory=dict)
    part: int = 0
    parts: int = 2
    busy: int = 0
    settles: bool = False
    layers: dict[str, int] = field(default_factory=dict)
    runs: list[tuple[PlannedStep, range]] = field(default_factory=list)

    def _put(self, content: bytes) -> int:
        """Offset of ``content`` in the data; equal contents are stored once."""
        if content not in self.known:
            self.known[content] = len(self.data)
            self.data += content + bytes(-len(content) % BEAT)
        return self.known[content]

    def _table(self, target: str, words: NDArray[np.integer], base: int) -> None:
        """Load a table unless it holds these words already.

        A part that the last RUN uses is loaded when that has ended.
        """
        content = np.asarray(words, "<u8").tobytes()
        held = self.tables.get((target, self.part), b"")
        if held[: len(content)] == content:
            return
        self.tables[target, self.part] = content
        waits = self.settles or self.part == self.busy
        load = Load(self._put(content), 1, len(words), 0, target, base, wait_run=waits)  # type: ignore[arg-type]
        self.settles = False
        self.order.append(("data", load))

    def _divide_tables(self, parts: int) -> None:
        """Tables in ``parts`` parts from now on; the first one to be loaded waits for the RUN that uses the others."""
        if parts != self.parts:
            self.parts, self.settles = parts, True
            self.tables.clear()

    def step(self, planned: PlannedStep) -> None:
        """Loads and RUNs of one step."""
        self._begin(planned)
        self._divide_tables(2)
        for which, line in enumerate(planned.loads):
            if line is not None:
                self._load_whole(planned, which, line)
        for number in range(len(planned.runs)):
            self.part ^= 1
            bases = self._load_stripe(planned, number) if planned.stripes else None
            self.order.append(self._run(planned, number, bases))
            self.busy = self.part

    def chain(self, chained: Chained) -> None:
        """Loads and RUNs of passes that take turns, each with a part of the tables of its own.

        What the first pass reads in the next turn is loaded behind all tables of a turn, so the RUNs of the other
        passes need not wait for it.
        """
        first, last = chained.passes[0], chained.passes[-1]
        self._begin(first)
        self._divide_tables(len(chained.passes))
        bases: list[int] | None = None
        for turn in chained.turns:
            number = turn[0]
            rest: list[tuple[int, Run]] = []
            for self.part, planned in enumerate(chained.passes):
                own = turn[self.part]
                if own is None:
                    continue
                if planned is first:
                    bases = bases or self._load_stripe(first, own)
                    self.order.append(self._run(first, own, bases))
                    self.busy = self.part
                else:
                    rest.append((self.part, self._run(planned, own, None)))
            before, bases = len(self.order), None
            if rest and number is not None and number + 1 < len(first.runs):
                bases = self._load_stripe(first, number + 1)
            ahead = len(self.order) > before
            for self.busy, run in rest:
                self.order.append(replace(run, wait_load=not ahead))
        self.before, self.part = last, self.busy

    def _begin(self, planned: PlannedStep) -> None:
        """``planned`` comes next: whether its first load waits for the RUN before."""
        follows = self.before is not None and planned.follows(self.before)
        self.waits = self.before is None or self._meets(self.before, planned)
        self.before, self.turn = planned, self.turn if follows else 0

    def _meets(self, before: PlannedStep, planned: PlannedStep) -> bool:
        """Whether ``planned`` reads what ``before`` writes, or loads lines that ``before`` uses."""
        if before.step.output.name in {held.name for held in planned.step.sources}:
            return True
        lines = self.array.lines
        own, others = planned.loads_to(self.array.lanes), before.uses(self.array.lanes)
        if any(one.stop > lines for one in (*own, *others)):
            return True
        return any(a.start < b.stop and b.start < a.stop for a in own for b in others)

    def _load_whole(self, planned: PlannedStep, which: int, line: int) -> None:
        """Load source number ``which``, or the block's channels of it, to ``line``."""
        held, lanes = planned.step.sources[which], self.array.lanes
        place, block = self.memory[held.name], range(held.shape[0])
        if planned.partial and which:
            block = planned.step.block
        rows, size, stride = len(block), held.format.plane, place.stride
        if planned.sources[which].stride % lanes:
            rows, size = 1, rows * place.stride
        elif place.span and held.format.phases > 1:
            rows, size, stride = rows * held.format.phases, held.format.span, place.span
        step, source = -(-size // lanes), place.base + block.start * place.stride
        load = Load(source, rows, beats(size), stride, "buffer", line, step, self.waits)
        self.order.append(("maps", load))

    def _planes(self, planned: PlannedStep) -> tuple[int, int]:
        """Bytes in the buffer of a phase and of a channel, while ``planned`` runs."""
        held = planned.step.sources[0].format
        if planned.stripes:
            span = planned.stripe_lines * self.array.lanes
            return span, span * held.phases
        return held.span, planned.sources[0].stride

    def _skip_lines(self, planned: PlannedStep) -> int:
        """Lines from channel to channel of what a sum adds; 0 where there is none."""
        if planned.step.lowered.added is None:
            return 0
        return (
            planned.stripe_lines
            if planned.stripes
            else planned.sources[1].stride // self.array.lanes
        )

    def _streams(self, planned: PlannedStep) -> tuple[int, list[int]]:
        step = planned.step
        span, channel = self._planes(planned)
        virtual = span if step.taps.fold > 1 else channel
        skip_lines = self._skip_lines(planned)
        # Parts of a run compute the same slots.
        striped, partial = bool(planned.stripes), planned.partial
        where = virtual, skip_lines, planned.output.stride
        key = (id(step.made), step.block, striped, partial, where)
        if key in self.streamed:
            return self.streamed[key]
        groups: list[list[Slot]] = [[] for _ in range(self.array.groups)]
        heap = [(0, group) for group in range(self.array.groups)]
        least = self._least(step)
        made = step.slots
        skipped = step.reads.start * step.taps.fold if striped else 0
        for place in sorted(range(len(made)), key=lambda o: -len(made[o][1])):
            (first, entries), output = made[place], step.block[place]
            mult, shift = step.lowered.scale(output)
            bias = int(step.lowered.bias[output])
            target = (step.lowered.first + output) * planned.output.stride // SLICE
            skip = (place if striped or partial else output) * skip_lines
            slot = Slot((first - skipped) * virtual, target, bias, mult, shift, entries, skip)
            load, group = heapq.heappop(heap)
            groups[group].append(slot)
            heapq.heappush(heap, (load + max(len(entries), least), group))
        # Long slots of some groups beside short ones of others: the drain then takes as many results at any time.
        for slots in groups[1::2]:
            slots.reverse()
        self.streamed[key] = self._encoded(groups)
        return self.streamed[key]

    def _least(self, step: Step) -> int:
        """Cycles that a tile of few entries takes a group: its share of the drain where all wait for that."""
        entries = sum(len(words) for _, words in step.slots)
        passes = 4 if step.output.wide else 2 if step.lowered.added else 1
        drain = passes * self.array.line_slices * self.array.slice_cycles
        if drain * len(step.slots) * self.array.groups > entries:
            return drain * self.array.groups
        return _SUM_CYCLES if step.lowered.added else drain

    def _encoded(self, groups: Sequence[Sequence[Slot]]) -> tuple[int, list[int]]:
        content = bytearray()
        words = []
        for slots in groups:
            before = len(content)
            for place, slot in enumerate(slots):
                content += encode_slot(slot, self.array.buffer_bytes, place == len(slots) - 1)
            words.append((len(content) - before) // BEAT)
        return self._put(bytes(content)), words

    def _run(self, planned: PlannedStep, number: int, bases: list[int] | None) -> Run:
        """Load the tables of RUN ``number`` into their part.

        :param bases: first bytes in the buffer of what a stripe buffer holds.
        """
        step, lanes, tiles = planned.step, self.array.lanes, planned.runs[number]
        span, channel = self._planes(planned)
        skipped = 0
        if planned.stripes and not planned.rolling:
            skipped = step.lines(tiles).start * lanes
        bases = bases or [place.base for place in planned.sources]
        offsets = step.taps.offsets(step.sources[0].format.pitch, span)
        if step.lowered.digits:
            offsets = np.array([0, bases[1] - bases[0]])
        if step.lowered.added:
            offsets[-1] = bases[1] + tiles.start * lanes - skipped
        plane = span if step.taps.fold > 1 else channel
        if step.taps.by_rows:
            plane = step.sources[0].format.pitch
        mask_base, tap_base, list_base = (
            self.part * (size // self.parts) for size in (self.array.masks, TAPS, self.array.lists)
        )
        self._table("taps", self._tap_words(step, offsets), tap_base)
        stored, piece, target, made = self._stored(planned, tiles, list_base)
        count = -(-made // self.array.line_slices)
        self._table(
            "masks", self._mask_words(step, range(tiles.start, tiles.start + count)), mask_base
        )
        name = step.lowered.name
        first = name not in self.layers
        layer = self.layers.setdefault(name, min(len(self.layers), COUNTED_LAYERS - 1))
        destination, (streams, words) = planned.output.base + target, self._streams(planned)
        if planned.output.in_buffer:
            destination %= self.array.buffer_bytes
        self.runs.append((planned, tiles))
        return Run(
            base=(bases[0] + tiles.start * lanes - skipped) % self.array.buffer_bytes,
            plane=plane,
            tiles=count,
            taps=step.taps.count,
            tap_bits=step.taps.bits,
            maximum=step.lowered.maximum,
            to_buffer=planned.output.in_buffer,
            listed=step.output.listed,
            wide=step.output.wide,
            low=step.lowered.requantised.lo,
            high=step.lowered.requantised.hi,
            stored=stored,
            last_slices=made - (count - 1) * self.array.line_slices,
            piece_stride=piece,
            destination=destination,
            mask_base=mask_base,
            tap_base=tap_base,
            list_base=list_base,
            streams=streams,
            words=tuple(words),
            added=step.lowered.added,
            layer=layer,
            first=first,
        )

    def _load_stripe(self, planned: PlannedStep, number: int) -> list[int]:
        """Load what RUN ``number`` reads; returns the byte in the buffer that each source begins at."""
        step, lanes = planned.step, self.array.lanes
        lines, apart = planned.loaded(number), planned.stripe_lines
        line = planned.stripes[self.turn % len(planned.stripes)]
        size = (len(lines) if planned.rolling else apart) * self.array.line_beats
        alone = len(planned.stripes) == 1 and not planned.rolling
        wait = self.waits if self.turn == 0 else alone
        self.turn += 1
        bases = []
        for which, (held, place) in enumerate(zip(step.sources, planned.sources, strict=True)):
            reads = step.reads_of(which)
            rows = len(reads) * held.format.phases
            stride = place.stride if held.format.phases == 1 else place.span or held.format.span
            source = place.base + lines.start * lanes + reads.start * place.stride
            at = (line + lines.start * bool(planned.rolling)) % self.array.lines
            load = Load(source, rows, size, stride, "buffer", at, apart, wait_run=wait)
            if lines:
                self.order.append(("maps", load))
            bases.append(line * lanes)
            line += rows * apart
        return bases

    def _tap_words(self, step: Step, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        signed = [TAP_SIGNED * int(held.held.signed) for held in step.sources]
        signs = np.array(signed if step.lowered.digits else signed[:1], np.int64)
        return np.asarray(offsets % self.array.buffer_bytes | signs)

    def _mask_words(self, step: Step, tiles: range) -> NDArray[np.uint64]:
        lanes = self.array.lanes
        held = step.sources[0].format
        key = (id(step.made), tiles)
        if key in self.masked:
            return self.masked[key]
        first, count = tiles.start * lanes, len(tiles) * lanes
        masks = step.taps.masks(step.lowered.window, held, first, count)
        bits = masks.reshape(len(tiles), lanes, -1).transpose(0, 2, 1).astype(np.uint64)
        words = (bits << np.arange(lanes, dtype=np.uint64)).sum(-1).ravel()
        self.masked[key] = np.asarray(words, np.uint64)
        return self.masked[key]

    def _stored(self, planned: PlannedStep, tiles: range, base: int) -> tuple[int, int, int, int]:
        """Words or transfers stored per channel, bytes between pieces, bytes before the first, slices to be made."""
        step = planned.step
        if step.output.listed:
            words = list_words(step, tiles)
            self._table("list", words, base)
            first, _ = pieces(step, tiles)
            return len(words), step.output.format.span, first, made_slices(words)
        pixels = min(tiles.stop * step.lanes, step.output.pixels) - tiles.start * step.lanes
        if step.output.wide:
            size = len(tiles) * self.array.line_slices
            return 4 * size, 0, 4 * tiles.start * self.array.lanes, slices(pixels)
        return slices(pixels), 0, tiles.start * step.lanes, slices(pixels)

    def finish(self, map_bytes: int) -> Program:
        """Bind all addresses."""
        data = HEADER_BYTES + DESCRIPTOR_BYTES * (len(self.order) + 1)
        self.maps = aligned(data + len(self.data), PAGE)
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
    before: PlannedStep | None = None
    turn: int = 0
    waits: bool = True


@dataclass(frozen=True)
class Compiled:
    """A network for one array: program, steps, and where its input and output lie.

    :param images: that one start of the program computes.
    :param entry: the map that the input makes.
    :param split: first layers that take fewer images at a time.
    :param runs: step and tiles of every RUN, in order.
    """

    program: Program
    steps: tuple[PlannedStep, ...]
    images: int
    input: Place
    output: Place
    model: CompressedModel
    entry: Map
    split: Split | None = None
    runs: tuple[tuple[PlannedStep, range], ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers whose cycles the hardware counts, in the order of its counters."""
        return tuple(dict.fromkeys(planned.step.lowered.name for planned, _ in self.runs))

    def place_input(
        self, memory: NDArray[np.uint8], images: NDArray[np.uint8] | NDArray[np.int8]
    ) -> None:
        """Write ``images`` ``(images, C, H, W)`` into ``memory`` as the first pass reads them."""
        held = self.entry
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


def compile_model(
    model: CompressedModel,
    array: SequentialArray | None = None,
    images: int = 1,
    split: Split | None = None,
    *,
    chain_limit: float = CHAIN_LIMIT,
) -> Compiled:
    """Program, weights and memory layout of ``model``, whose inactive channels are left out.

    :param images: that one run of the program takes together.
    :param split: first layers that take fewer images at a time.
    :param chain_limit: passes take turns where this takes at most this share of their cycles one by one.
    :raises PyadmmError: where the array cannot compute the network, by the name of the layer.
    """
    array = array or SequentialArray()
    return compile_compact(model, compact(model), array, images, split, chain_limit=chain_limit)


def compile_compact(
    model: CompressedModel,
    small: CompressedModel,
    array: SequentialArray,
    images: int,
    split: Split | None = None,
    *,
    chain_limit: float = CHAIN_LIMIT,
) -> Compiled:
    """As :func:`compile_model`, where ``small``, the compact form of ``model``, has been made before."""
    if images < 1:
        raise PyadmmError(f"sequential: images per run must be at least 1, not {images}")
    planner, planned = plan(small, images, array, split, chain_limit)
    emitter = _Emitter(array, memory=planner.memory)
    steps: list[PlannedStep] = []
    for one in planned:
        if isinstance(one, Chained):
            emitter.chain(one)
            steps += one.passes
        else:
            emitter.step(one)
            steps.append(one)
    program = emitter.finish(planner.memory_end)
    places = planner.memory
    shifted = {
        name: replace(place, base=place.base + emitter.maps) for name, place in places.items()
    }
    return Compiled(
        program,
        tuple(steps),
        images,
        shifted[INPUT],
        shifted[steps[-1].step.output.name],
        model,
        planner.network.entry,
        split,
        tuple(emitter.runs),
    )


def descriptors(image: bytes) -> Iterator[bytes]:
    """The descriptors of a program image, END left out."""
    place = HEADER_BYTES
    while struct.unpack_from("<I", image, place)[0] & 0xFF:
        yield image[place : place + DESCRIPTOR_BYTES]
        place += DESCRIPTOR_BYTES
