"""The passes with their maps: in which format each is stored, and which copies serve other readers."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pyadmm.hardware.sequential.array import (
    SequentialArray,
)
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
from pyadmm.hardware.sequential.taps import (
    TapMap,
    slot_entries,
    tap_map,
)
from pyadmm.model import INPUT, CompressedLayer, CompressedModel
from pyadmm.model.types import QFormat

_WASTE = 0.95
"""A pool repacks its output where its readers want fewer pixels than this share of it."""


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

    def reads_of(self, source: int) -> range:
        """Channels that the step reads of source number ``source``."""
        return self.reads if source == 0 else self.block

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


def network_steps(
    model: CompressedModel,
    images: int,
    array: SequentialArray,
    plain: Collection[str] = (),
    apart: Collection[str] = (),
) -> list[Step]:
    """Passes with the formats of all maps; copies where two readers want different ones.

    :param plain: maps that are stored as they are made; a copy serves their readers.
    :param apart: residual sums that are passes of their own.
    """
    passes = lower(model, array, apart)
    wants = _wants(passes, images, array)
    needs: dict[str, list[Need]] = {}
    for lowered in passes:
        for source in lowered.sources:
            needs.setdefault(source, []).append(wants[lowered.name])
    first = _input_format(model.input.shape, needs[INPUT], images, array.lanes)
    channels, height, width = model.input.shape
    shape = (channels * input_halves(model), height, width)
    held = model.input.format
    maps = {INPUT: Map(INPUT, shape, QFormat(min(held.bits, 8), held.signed), first, first)}
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
