"""Simulation of a whole accelerator through its registers and streams."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError, ToolError
from pyadmm.eda.live_process import LiveProcess
from pyadmm.eda.reports import CycleRange, ModuleReport, SynthesisReport
from pyadmm.eda.verilator import RtlSimulator, Words, verilator_version
from pyadmm.hardware.input_stream import stream_words
from pyadmm.hardware.plan import AcceleratorPlan
from pyadmm.hardware.registers import (
    AP_CTRL,
    COUNT,
    CYCLES,
    DONE,
    INFER,
    LOAD,
    MODE,
    READ_BACK,
    START,
)

_POLL_CYCLES = 16


CYCLES_LIMIT = 200_000
"""Clock cycles per image after which a run counts as hung."""


@dataclass(frozen=True)
class LiveStatus:
    """State of a :class:`LiveTop`.

    :param cycle: clock cycles since the reset.
    :param offered: input words that the top has not taken.
    :param waiting: output words that nobody has taken.
    :param interrupt: level of the interrupt line.
    :param first: cycle in which the first input word since the last status was taken, or ``None``.
    :param busy: per stage, the cycles in which its engines worked on an image.
    """

    cycle: int
    offered: int
    waiting: int
    interrupt: bool
    first: int | None
    busy: tuple[int, ...]


class LiveTop(LiveProcess):
    """The Verilated top as a process that is driven step by step; use it in a ``with`` block.

    The clock runs only during :meth:`read`, :meth:`write`, :meth:`advance` and :meth:`until`.
    """

    def __init__(self, simulator: RtlSimulator) -> None:
        super().__init__(simulator.program)
        self.simulator = simulator

    def read(self, addr: int) -> int:
        """Perform an AXI4-Lite read of a register."""
        return int(self._ask("<cI", b"R", addr)("<I")[0])

    def write(self, addr: int, value: int) -> None:
        """Perform an AXI4-Lite write to a register."""
        self._ask("<cII", b"W", addr, value)("<I")

    def send(self, words: Words, last: bool = True) -> None:
        """Offer input words; TLAST comes with the last one if ``last``."""
        data = np.ascontiguousarray(words, "<u4")
        self._ask("<cII", b"S", int(last), data.size, tail=data.tobytes())("<I")

    def receive(self, limit: int) -> tuple[Words, bool]:
        """Output words that are there, at most ``limit`` and none beyond a TLAST; and TLAST."""
        words, last, _ = self.receive_timed(limit)
        return words, last

    def receive_timed(self, limit: int) -> tuple[Words, bool, NDArray[np.int64]]:
        """As :meth:`receive`, with the clock cycle of every word."""
        count, last = self._ask("<cI", b"G", limit)("<II")
        words = np.frombuffer(self._take(4 * count), "<u4").astype(np.uint32)
        cycles = np.frombuffer(self._take(8 * count), "<u8").astype(np.int64)
        return words, bool(last), cycles

    def advance(self, cycles: int) -> int:
        """Let clock cycles pass; the cycle it is then."""
        return int(self._ask("<cQ", b"A", cycles)("<Q")[0])

    def until(self, words: int, limit: int) -> int:
        """Let the clock run until ``words`` output words wait, at most ``limit`` cycles."""
        return int(self._ask("<cIQ", b"U", words, limit)("<Q")[0])

    def stall(self, seed: int, source: float, sink: float) -> None:
        """Stall the input and the output stream at random, these shares of the time."""
        shares = (round(source * 0x10000), round(sink * 0x10000))
        self._ask("<cIII", b"T", seed, *shares)("<I")

    def reset(self, seed: int = 1) -> None:
        """The state after configuration; registers without a reset start at random values."""
        self._ask("<cI", b"X", seed)("<I")

    def status(self) -> LiveStatus:
        """State of the simulation."""
        cycle, offered, waiting, interrupt, first, stages = self._ask("<c", b"Q")("<QIIIQI")
        busy = struct.unpack(f"<{stages}Q", self._take(8 * stages))
        began = None if first == 2**64 - 1 else first
        return LiveStatus(cycle, offered, waiting, bool(interrupt), began, busy)


@dataclass(frozen=True)
class CosimResult:
    """Results of one cosimulation; all figures are counted clock cycles.

    :param logits: int64 ``(N, classes)``.
    :param latency_cycles: from the first input word taken to the last logit of the first image.
    :param interval_cycles: per image, from last logit to last logit, mean over the run; for one
        image ``None``.
    :param interval_range: least and largest such distance.
    :param total_cycles: the ``cycles`` register, from start to done.
    :param busy_cycles: per layer, cycles per image in which its engines worked.
    """

    logits: NDArray[np.int64]
    latency_cycles: int
    interval_cycles: float | None
    interval_range: tuple[int, int] | None
    total_cycles: int
    busy_cycles: dict[str, float]


def load_weights(live: LiveTop, weights: Words, *, verify: bool = True) -> None:
    """Load a weight image and, with ``verify``, read it back.

    :raises ToolError: where the words that come back differ.
    """
    live.write(MODE, LOAD)
    live.write(AP_CTRL, START)
    live.send(weights)
    _finish(live, len(weights))
    if not verify:
        return
    live.write(MODE, READ_BACK)
    live.write(AP_CTRL, START)
    live.until(len(weights), CYCLES_LIMIT + 32 * len(weights))
    back, last = live.receive(len(weights))
    _finish(live, 1)
    if not (last and np.array_equal(back, weights)):
        raise ToolError("RTL simulation: the weights read back are not those that were loaded")


def infer(
    live: LiveTop, images: NDArray[np.uint8], cycles_limit: int = CYCLES_LIMIT
) -> CosimResult:
    """Run uint8 ``images`` ``(N, C, H, W)`` back to back on the loaded weights.

    :param cycles_limit: clock cycles per image after which the run counts as hung.
    :raises ToolError: where the run hangs, or TLAST does not come with the last logit.
    """
    plan = live.simulator.plan
    count, classes = len(images), plan.logits
    words = stream_words(images, plan)
    if count == 0:
        raise PyadmmError("cosim: no images; give at least one")
    before = live.status()
    live.write(MODE, INFER)
    live.write(COUNT, count)
    live.write(AP_CTRL, START)
    live.send(words)
    live.until(count * classes, count * cycles_limit)
    words, last, cycles = live.receive_timed(count * classes)
    if len(words) != count * classes or not last:
        raise ToolError(
            f"RTL simulation: {len(words)} of {count * classes} logits came, "
            f"TLAST {'set' if last else 'missing'}"
        )
    _finish(live, 1)
    after = live.status()
    assert after.first is not None
    ends = cycles.reshape(count, classes)[:, -1]
    gaps = np.diff(ends)
    busy = zip(plan.stages, after.busy, before.busy, strict=True)
    return CosimResult(
        logits=words.view(np.int32).astype(np.int64).reshape(count, classes),
        latency_cycles=int(ends[0]) - after.first + 1,
        interval_cycles=float(gaps.mean()) if count > 1 else None,
        interval_range=(int(gaps.min()), int(gaps.max())) if count > 1 else None,
        total_cycles=live.read(CYCLES),
        busy_cycles={stage.name: (now - then) / count for stage, now, then in busy},
    )


def _finish(live: LiveTop, words: int) -> None:
    """Wait for the done bit."""
    limit = (CYCLES_LIMIT + 8 * words) // _POLL_CYCLES
    for _ in range(limit):
        if live.read(AP_CTRL) & DONE:
            return
        live.advance(_POLL_CYCLES)
    raise ToolError(f"RTL simulation: no done bit after {limit * _POLL_CYCLES} cycles")


def cosim(
    simulator: RtlSimulator,
    weights: Words,
    images: NDArray[np.uint8],
    *,
    stalls: tuple[int, float, float] | None = None,
) -> CosimResult:
    """Load, read back and run in a fresh simulation.

    :param stalls: ``(seed, input share, output share)`` of random stalls; ``None``: none.
    """
    with LiveTop(simulator) as live:
        load_weights(live, weights)
        if stalls is not None:
            live.stall(*stalls)
        return infer(live, images)


def cosim_report(result: CosimResult, plan: AcceleratorPlan, digest: str) -> SynthesisReport:
    """The counted cycles of a run as a report of stage ``cosim``; resources stay unknown.

    The latency is that of the first image, the interval the distance of images back to back; a
    module is a layer, its interval the cycles per image in which its engines worked.

    :param digest: of the RTL build that was simulated.
    """
    least, most = result.interval_range or (None, None)
    mean = None if result.interval_cycles is None else round(result.interval_cycles)
    layers = [
        ModuleReport(name, interval=CycleRange(average=round(cycles)))
        for name, cycles in result.busy_cycles.items()
    ]
    return SynthesisReport(
        design=plan.name,
        tool="verilator",
        version=verilator_version(),
        stage="cosim",
        part=plan.board.part,
        clock_target_ns=plan.board.clock_ns,
        latency=CycleRange(result.latency_cycles, result.latency_cycles),
        interval=CycleRange(least, most, mean),
        modules=tuple(layers),
        plan_digest=digest,
        notes=(f"{len(result.logits)} images, back to back; total {result.total_cycles} cycles",),
    )
