"""The passes with their maps: in which format each is stored, and which copies serve other readers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.sequential.array import BEAT, SLICE, SequentialArray
from pyadmm.hardware.sequential.formats import (
    Format,
    Need,
)
from pyadmm.hardware.sequential.lowering import (
    Pass,
    copy_pass,
    input_halves,
    lower,
)
from pyadmm.hardware.sequential.program import aligned
from pyadmm.hardware.sequential.taps import (
    TapMap,
    block_slots,
    tap_map,
)
from pyadmm.model import INPUT, CompressedLayer, CompressedModel
from pyadmm.model.types import QFormat

_WASTE = 0.95
"""A pool repacks its output where its readers want fewer pixels than this share of it."""
_MORE_ROWS = 1.15
"""Parts of a map begin at whole lines where that makes the map at most so much larger."""


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
        return self.format.grid != self.natural.grid

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
    :param joint: map of which the output is the part that begins ``offset`` bytes behind the start of a plane.
    :param made: entries of the blocks for which they have been asked; steps that compute parts share them.
    """

    lowered: Pass
    sources: tuple[Map, ...]
    output: Map
    taps: TapMap
    lanes: int
    block: range
    joint: Map | None = None
    offset: int = 0
    made: dict[range, list[tuple[int, NDArray[np.uint16]]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def reads(self) -> range:
        """Channels of the inputs that the step reads."""
        return self.block if self.lowered.channelwise else range(self.sources[0].shape[0])

    def reads_of(self, source: int) -> range:
        """Channels that the step reads of source number ``source``."""
        return self.reads if source == 0 else self.block

    @property
    def rows_read(self) -> int:
        """Phases of all channels that the step reads."""
        return sum(
            len(self.reads_of(number)) * held.format.phases
            for number, held in enumerate(self.sources)
        )

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
        pitch = self.sources[0].format.pitch
        offsets = self.taps.offsets(pitch, 0)
        rows = int(self.taps.step.max()) if self.taps.by_rows else 0
        return int(offsets.min()), int(offsets.max()) + rows * pitch

    def lines(self, tiles: range) -> range:
        """Lines of a phase that ``tiles`` read."""
        low, high = self.reach
        whole = -(-self.sources[0].format.span // self.lanes)
        first = max(0, (tiles.start * self.lanes + low) // self.lanes)
        last = min(whole, (tiles.stop * self.lanes - 1 + high) // self.lanes + 1)
        return range(min(first, whole - 1), max(last, min(first, whole - 1) + 1))

    @property
    def whole(self) -> Map:
        """The map that the step writes, or writes a part of."""
        return self.joint or self.output

    @property
    def slots(self) -> list[tuple[int, NDArray[np.uint16]]]:
        """First virtual channel and entries of every output channel of the block."""
        if self.block not in self.made:
            self.made[self.block] = block_slots(self.lowered, self.taps, self.block)
        return self.made[self.block]

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


@dataclass(frozen=True)
class Split:
    """The first passes of a program take fewer images at a time than the others.

    :param last: map that they make and the others read; no other map crosses.
    :param images: that they take at a time.
    """

    last: str
    images: int


@dataclass(frozen=True)
class Network:
    """The passes of a program in order, and how the network's input is divided between them.

    :param entry: the input, of all images of a run.
    :param parts: bytes behind the start of a plane of ``entry`` at which parts of it begin, by name.
    """

    steps: tuple[Step, ...]
    entry: Map
    parts: Mapping[str, int] = field(default_factory=dict)


def network_steps(
    model: CompressedModel,
    images: int,
    array: SequentialArray,
    *,
    plain: Collection[str] = (),
    apart: Collection[str] = (),
    split: Split | None = None,
) -> Network:
    """Passes with the formats of all maps; copies where two readers want different ones.

    :param plain: maps that are stored as they are made; a copy serves their readers.
    :param apart: residual sums that are passes of their own.
    :raises PyadmmError: where the network cannot be split so.
    """
    passes = lower(model, array, apart)
    if split is None or split.images == images:
        entry = _entry(model, passes, images, array)
        return Network(tuple(_steps(model, passes, entry, images, array, plain=plain)), entry)
    return _parted(model, passes, images, array, plain=plain, split=split)


def _parted(
    model: CompressedModel,
    passes: Sequence[Pass],
    images: int,
    array: SequentialArray,
    *,
    plain: Collection[str],
    split: Split,
) -> Network:
    front, rear = _divided_passes(passes, split.last)
    if images % split.images:
        raise PyadmmError(
            f"sequential: {images} images per run are no multiple of the {split.images} up to {split.last}"
        )
    part = _aligned_entry(_entry(model, front, split.images, array), array.lanes)
    size = _part_bytes(part.format)
    steps = _steps(model, front, part, split.images, array, plain=plain)
    made = _aligned_part(steps[-1].output, array.lanes)
    joint = _joined(made, images)
    firsts: list[Step] = []
    for number in range(images // split.images):
        offset = number * _part_bytes(made.format)
        firsts += [_numbered(step, number, made, joint, offset) for step in steps]
    entry = _joined(part, images)
    parts = {f"{INPUT}#{number}": number * size for number in range(images // split.images)}
    lasts = _steps(model, rear, joint, images, array, plain=plain)
    return Network((*firsts, *lasts), entry, parts)


def _divided_passes(passes: Sequence[Pass], last: str) -> tuple[Sequence[Pass], Sequence[Pass]]:
    """Passes up to map ``last``, and those behind it, which read no other map of the first ones."""
    makers = [place for place, one in enumerate(passes) if one.map == last]
    if not makers or makers[-1] == len(passes) - 1:
        raise PyadmmError(f"sequential: {last} is no map that a pass makes and another one reads")
    front, rear = passes[: makers[-1] + 1], passes[makers[-1] + 1 :]
    inner = {INPUT, *(one.map for one in front)} - {last}
    crossing = sorted(inner.intersection(*[{s for one in rear for s in one.sources}]))
    if crossing:
        raise PyadmmError(f"sequential: {crossing[0]} is read before and behind {last}")
    return front, rear


def _part_bytes(held: Format) -> int:
    """Bytes of a phase that the images of ``held`` take."""
    return held.images * held.rows * held.pitch


def _rows_for(held: Format, unit: int) -> int:
    """Least rows with which the images of ``held`` take a multiple of ``unit`` bytes of a phase."""
    return aligned(held.rows, unit // math.gcd(unit, held.images * held.pitch))


def _aligned_entry(entry: Map, lanes: int) -> Map:
    """``entry`` with rows with which a part of the input begins at a whole transfer."""
    held = replace(entry.format, rows=_rows_for(entry.format, BEAT))
    span = aligned(_part_bytes(held), lanes if _part_bytes(held) >= lanes else 1)
    if held.phases > 1 and span % lanes:
        raise PyadmmError("sequential: images are too small to be taken a few at a time")
    held = replace(held, span=span)
    return replace(entry, format=held, natural=held)


def _aligned_part(made: Map, lanes: int) -> Map:
    """``made`` with rows with which a part begins at a whole line, or at a whole transfer where that is much less."""
    held = replace(made.format, rows=_rows_for(made.format, lanes))
    if _part_bytes(held) > _MORE_ROWS * _part_bytes(made.format):
        held = replace(made.format, rows=_rows_for(made.format, SLICE))
    return replace(made, format=replace(held, span=_part_bytes(held)))


def _joined(part: Map, images: int) -> Map:
    """The map of ``images`` images of which ``part`` is a part."""
    held = replace(part.format, images=images)
    held = replace(held, span=aligned(_part_bytes(held), SLICE))
    return replace(part, format=held, natural=held)


def _numbered(step: Step, number: int, made: Map, joint: Map, offset: int) -> Step:
    """``step`` for part ``number``, whose maps have names of their own."""
    sources = tuple(replace(held, name=f"{held.name}#{number}") for held in step.sources)
    if step.output.name == joint.name:
        return replace(step, sources=sources, output=made, joint=joint, offset=offset)
    output = replace(step.output, name=f"{step.output.name}#{number}")
    return replace(step, sources=sources, output=output)


def _entry(
    model: CompressedModel, passes: Sequence[Pass], images: int, array: SequentialArray
) -> Map:
    """The network's input, as its readers among ``passes`` want it."""
    wants = _wants(passes, images, array)
    needs = [wants[one.name] for one in passes if INPUT in one.sources]
    held = _input_format(model.input.shape, needs, images, array.lanes)
    channels, height, width = model.input.shape
    shape = (channels * input_halves(model), height, width)
    bits = QFormat(min(model.input.format.bits, 8), model.input.format.signed)
    return Map(INPUT, shape, bits, held, held)


def _steps(
    model: CompressedModel,
    passes: Sequence[Pass],
    entry: Map,
    images: int,
    array: SequentialArray,
    *,
    plain: Collection[str],
) -> list[Step]:
    """The steps of ``passes``, which read ``entry`` and each other's maps."""
    wants = _wants(passes, images, array)
    needs: dict[str, list[Need]] = {}
    for lowered in passes:
        for source in lowered.sources:
            needs.setdefault(source, []).append(wants[lowered.name])
    maps = {entry.name: entry}
    steps: list[Step] = []
    for lowered in passes:
        need = wants[lowered.name]
        begun = maps.get(lowered.map)
        wanted = next((s.sources[0].format for s in steps if s.output is begun), None)
        sources: list[Map] = []
        for source in lowered.sources:
            mapped = maps[source]
            if wanted is None:
                fits = need.met_by(mapped.format)
            elif lowered.added:
                fits = mapped.format.same_grid(wanted)
            else:
                fits = need.met_by(mapped.format) and mapped.format.alike(wanted, array.lanes)
            if not fits:
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


def _wants(passes: Sequence[Pass], images: int, array: SequentialArray) -> dict[str, Need]:
    """What every pass wants its inputs to be like.

    Where the reader of a layer's output has a stride, the rows of a batch's images are a multiple of it from the
    pool before the layer on: then the layer can take the phases apart a range of rows at a time.
    """
    steps: dict[str, int] = {}
    for lowered in passes:
        for source in lowered.sources:
            steps[source] = math.lcm(steps.get(source, 1), lowered.window.stride[0])
    fresh = {INPUT, *(one.map for one in passes if not isinstance(one.node, CompressedLayer))}
    return {
        one.name: one.window.need(
            images,
            array,
            steps.get(one.map, 1) if fresh.issuperset(one.sources) else 1,
            not isinstance(one.node, CompressedLayer),
        )
        for one in passes
    }


def _input_format(
    shape: tuple[int, int, int], needs: Sequence[Need], images: int, lanes: int
) -> Format:
    whole = replace(needs[0], first_only=False)
    wanted = whole.format(images, lanes)
    if all(need.met_by(wanted) for need in needs):
        return wanted
    return Need(1, 1, *shape[1:]).format(images, lanes)


def _natural(
    shape: tuple[int, int, int], source: Format, every: tuple[int, int] = (1, 1)
) -> Format:
    _, height, width = shape
    down, right = (height - 1) * every[0], (width - 1) * every[1]
    span = ((source.images - 1) * source.rows + down) * source.pitch + right + 1
    return Format(source.images, source.rows, source.pitch, 1, 1, span, every=every)


def _made(
    lowered: Pass,
    shape: tuple[int, int, int],
    source: Format,
    needs: Sequence[Need],
    lanes: int,
) -> Map:
    natural = _natural(shape, source, lowered.window.every)
    held = natural
    wasteful = bool(needs) and needs[0].pixels * natural.images < _WASTE * natural.span
    repacked = not isinstance(lowered.node, CompressedLayer) and wasteful and natural.span > lanes
    if natural.every != (1, 1):
        held = Need(1, 1, *shape[1:]).format(source.images, lanes)
    if needs and (repacked or natural.every != (1, 1)):
        wanted = needs[0].format(source.images, lanes)
        held = wanted if all(need.met_by(wanted) for need in needs) else held
    elif needs and not all(need.met_by(held) for need in needs):
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
