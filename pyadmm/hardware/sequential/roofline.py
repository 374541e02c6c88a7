"""Where each pass of a program stands: computing, draining or waiting for memory. Modelled figures.

Every RUN lasts at least as long as the longest of the three; what it takes to fill and empty the pipeline
comes on top. Loads count for the RUN that they precede, though stripes load behind the RUN before.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import Board
from pyadmm.hardware.sequential.array import BEAT, CHANNELS, PORTS, SLICE, SequentialArray
from pyadmm.hardware.sequential.compiler import Compiled, compile_compact, descriptors
from pyadmm.hardware.sequential.lists import pieces
from pyadmm.hardware.sequential.maps import Split, Step
from pyadmm.hardware.sequential.program import Load, Run, aligned, decode
from pyadmm.model import INPUT, CompressedModel
from pyadmm.model.compact import compact

BASIS = "modelled"
_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16)
LARGE = 100e6
"""Multiplications of a dense network from which on compiling it takes seconds."""
_SHARES = (0.96, 0.9)
"""Of the buffer, that the inputs of a linear layer may take; the second where the first is too much."""
_FILL_CYCLES = 150
"""That a RUN takes to fill and empty the pipeline, about."""
_LEAST_SLOT_CYCLES = 5
"""That a group takes to have the next slot's header ready."""


def sustained_bytes_per_cycle(board: Board) -> float:
    """Bytes that the memory of ``board`` moves per cycle of its target clock, at most what the array's channels take.

    :raises PyadmmError: where the board's file does not say, or the array finds too few ports.

    >>> from pyadmm.hardware.boards import load_board
    >>> sustained_bytes_per_cycle(load_board("pynq-z2"))
    15.75
    """
    memory = board.memory
    if memory is None:
        raise PyadmmError(
            f"board {board.name}: the layer-sequential architecture needs its memory ports and the rate that they "
            "sustain; add the field memory to the board's file (pyadmm boards and docs/guide/own-board.md), "
            "or take --architecture dataflow"
        )
    if memory.ports < PORTS:
        raise PyadmmError(
            f"board {board.name}: the layer-sequential array takes {PORTS} memory ports, but the board has "
            f"{memory.ports}; take --architecture dataflow"
        )
    most = CHANNELS * min(BEAT, memory.port_bits // 8)
    return min(memory.sustained_mb_s / board.clock_mhz, most)


@dataclass(frozen=True)
class PassBound:
    """Least cycles of a pass, for all images of a run of the program.

    :param macs: multiplications by weights that are left.
    :param compute: cycles of the group with the most entries.
    :param drain: cycles in which the drain or the store takes results.
    :param memory: cycles of all transfers at the memory's rate.
    :param cycles: sum over the pass' RUNs of the largest of the three, and of loads that the array waits for.
    """

    name: str
    runs: int
    macs: int
    compute: int
    drain: int
    memory: int
    cycles: int

    @property
    def bound(self) -> str:
        """Which of the three is the largest."""
        figures = {"compute": self.compute, "drain": self.drain, "memory": self.memory}
        return max(figures, key=lambda name: figures[name])


@dataclass(frozen=True)
class _RunBound:
    compute: int
    drain: int
    memory: int
    macs: int
    serial: int
    hidden: int

    @property
    def cycles(self) -> int:
        waits = self.memory - self.serial - self.hidden
        return max(self.compute, self.drain, waits) + self.serial


def bounds(compiled: Compiled, bytes_per_cycle: float) -> list[PassBound]:
    """The passes of a program, parts of one pass as one, in order."""
    found: dict[str, list[_RunBound]] = {}
    runs = _run_bounds(compiled, bytes_per_cycle)
    for planned, _ in compiled.runs:
        found.setdefault(planned.step.lowered.name, []).append(next(runs))
    return [_summed(name, own) for name, own in found.items()]


def _summed(name: str, runs: list[_RunBound]) -> PassBound:
    return PassBound(
        name,
        len(runs),
        sum(run.macs for run in runs),
        sum(run.compute for run in runs),
        sum(run.drain for run in runs),
        sum(run.memory for run in runs),
        sum(run.cycles for run in runs),
    )


def _run_bounds(compiled: Compiled, bytes_per_cycle: float) -> Iterator[_RunBound]:
    image, array = compiled.program.image, compiled.program.array
    loaded = serial = hidden = 0
    ahead = False
    known: dict[int, list[list[int]]] = {}
    ranges = iter(compiled.runs)
    for data in descriptors(image):
        item = decode(data)
        if isinstance(item, Load):
            loaded += item.rows * item.beats * BEAT
            serial += item.rows * item.beats if item.wait_run else 0
            continue
        assert isinstance(item, Run)
        if item.streams not in known:
            known[item.streams] = _slot_entries(image, item)
        counts = known[item.streams]
        slots = sum(len(group) for group in counts)
        made = (item.tiles - 1) * array.line_slices + item.last_slices
        planned, tiles = next(ranges)
        stored = 0 if item.to_buffer else slots * _stored_bytes(planned.step, tiles, item)
        entries = sum(item.words) * BEAT
        # What a RUN does not wait for loads until the next one that waits.
        fetched = loaded if item.wait_load else 0
        # Three channels of a transfer per cycle each: entries in, maps in, maps out.
        busiest = max(fetched, entries, stored) / BEAT
        moved = max((fetched + entries + stored) / bytes_per_cycle, busiest)
        bound = _RunBound(
            max(
                sum(max(count * item.tiles, _LEAST_SLOT_CYCLES) for count in group)
                for group in counts
            ),
            slots
            * max(made * array.slice_cycles * _passes(item), item.stored if item.listed else 0),
            round(moved),
            sum(map(sum, counts)) * item.tiles * array.lanes,
            serial if item.wait_load else 0,
            hidden if item.wait_load and ahead else 0,
        )
        yield bound
        ahead = not item.wait_load
        # Loads of the next RUN that waits begin while the RUN before this one computes.
        if item.wait_load:
            loaded = serial = 0
            hidden = bound.cycles
        else:
            hidden += bound.cycles


def _stored_bytes(step: Step, tiles: range, run: Run) -> int:
    """Bytes of a channel that a RUN writes to memory."""
    if not run.listed:
        return run.stored * SLICE
    first, last = pieces(step, tiles)
    return step.output.format.phases * aligned(last - first, SLICE)


def _passes(run: Run) -> int:
    """How often the drain takes a result."""
    return 4 if run.wide else 2 if run.added else 1


def _slot_entries(image: bytes, run: Run) -> list[list[int]]:
    """Entries of every slot, by group."""
    groups, at = [], run.streams
    for words in run.words:
        counts, end = [], at + words * BEAT
        while at < end:
            count = struct.unpack_from("<H", image, at)[0]
            counts.append(count)
            at += (2 + -(-count // 4)) * BEAT
        groups.append(counts)
    return groups


def table(compiled: Compiled, bytes_per_cycle: float) -> str:
    """The passes as text, with the sum."""
    found = bounds(compiled, bytes_per_cycle)
    lines = [f"{'pass':24} {'runs':>5} {'compute':>10} {'drain':>10} {'memory':>10}  bound by"]
    lines += [
        f"{one.name[:24]:24} {one.runs:5} {one.compute:10,} {one.drain:10,} {one.memory:10,}  "
        f"{one.bound}"
        for one in found
    ]
    total = cycles_per_image(compiled, bytes_per_cycle)
    lines.append(f"at least {total:,.0f} cycles per image ({BASIS})")
    return "\n".join(lines)


def best_images(
    model: CompressedModel,
    array: SequentialArray,
    bytes_per_cycle: float,
    most: int = 8,
    large: float = LARGE,
) -> Compiled:
    """``model`` compiled for the images per run of fewest modelled cycles an image: up to ``most``, or somewhat more.

    More images share entries and fill the lanes of small maps, until maps leave the buffer. So the first layers may
    take one image at a time and the others several. A network of more than ``large`` multiplications is split so
    before its linear layers, or before the layers on the last maps that are larger, where the linear layers hold most
    weights.

    :raises PyadmmError: where the array cannot compute the network.
    """
    small = compact(model)
    if sum(layer.spec.macs for layer in model.layers) > large:
        return _best_split(model, small, array, most, bytes_per_cycle)
    cuts = [Split(node.name, 1) for node in small.nodes[:-1]] if most > 1 else []
    tried: list[tuple[int, Split | None]] = [(most, cut) for cut in cuts]
    tried += [(images, None) for images in _BATCHES[1:] if images <= most]
    best = compile_compact(model, small, array, 1)
    for one in tried:
        best = _better(best, small, one, bytes_per_cycle)
    if best.split:
        for images in (3 * most // 4, 3 * most // 2):
            best = _better(best, small, (images, best.split), bytes_per_cycle)
    return best


def _best_split(
    model: CompressedModel,
    small: CompressedModel,
    array: SequentialArray,
    most: int,
    bytes_per_cycle: float,
) -> Compiled:
    """The program in which one image at a time comes up to the linear layers, or up to the layers before them."""
    linear = next((layer for layer in small.layers if layer.spec.kind == "linear"), None)
    if linear is None or linear.source == INPUT:
        return compile_compact(model, small, array, 1)
    weights = sum(layer.nnz for layer in small.layers if layer.spec.kind == "linear")
    heavy = 2 * weights > small.nnz
    room = array.buffer_bytes / math.prod(linear.spec.input_shape)
    splits = [linear.source, *([_shrunk(small, linear.source)] if heavy else [])]
    found: list[Compiled] = []
    wanted = 2 * most if heavy else most // 2
    for images in dict.fromkeys(min(wanted, int(share * room)) for share in _SHARES):
        for split in splits if images > 1 else []:
            with suppress(PyadmmError):
                found.append(compile_compact(model, small, array, images, Split(split, 1)))
        if found:
            return min(found, key=lambda one: _estimate(one, bytes_per_cycle))
    return compile_compact(model, small, array, 1)


def _shrunk(small: CompressedModel, source: str) -> str:
    """The map that the layers before ``source`` begin with, whose rows are more than those of ``source``."""
    heights = {node.name: small.shape_of(node.name)[1] for node in small.nodes}
    before = [name for name, height in heights.items() if height > heights[source]]
    return (
        next(name for name in before if heights[name] == heights[before[-1]]) if before else source
    )


def _better(
    best: Compiled, small: CompressedModel, one: tuple[int, Split | None], bytes_per_cycle: float
) -> Compiled:
    """``best``, or the program for other images and another split if that is faster and the array can compute it."""
    images, split = one
    try:
        found = compile_compact(best.model, small, best.program.array, images, split)
    except PyadmmError:
        return best
    return min(best, found, key=lambda each: _estimate(each, bytes_per_cycle))


def _estimate(compiled: Compiled, bytes_per_cycle: float) -> float:
    runs = len(compiled.runs)
    return cycles_per_image(compiled, bytes_per_cycle) + _FILL_CYCLES * runs / compiled.images


def cycles_per_image(compiled: Compiled, bytes_per_cycle: float) -> float:
    """Least cycles of one image, modelled."""
    return sum(one.cycles for one in bounds(compiled, bytes_per_cycle)) / compiled.images
