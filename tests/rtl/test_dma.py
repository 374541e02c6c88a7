"""The DMA in SystemVerilog and the simulated board's model of it do the same, registers and memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from host.dma import AxiDma, Deadline
from host.errors import DmaError
from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import ToolError
from pyadmm.deploy.simulated_board import dma as model_dma
from pyadmm.deploy.simulated_board.dma import (
    ADDRESS,
    CONTROL,
    HALTED,
    IDLE,
    LENGTH,
    RESET,
    RUN,
    S2MM,
    STATUS,
    AxiDmaModel,
    Memory,
    Words,
)
from pyadmm.eda.system_simulation import (
    DECODE_ERROR,
    DMA_BENCH,
    OKAY,
    SLAVE_ERROR,
    LiveSystem,
    build_dma_bench,
)
from pyadmm.eda.verilator import lint, verilate

pytestmark = pytest.mark.slow

DMA = 0x40400000
PAGE = Memory.PAGE
FIRST, PAGES, BAD_PAGE = 0x1000_0000, 6, 4
"""Six pages of memory; the fifth answers with a slave error, what lies beyond with a decode error."""
LENGTH_BITS = 26
MODULES = (
    "axi_dma",
    "beat_fifo",
    "dma_channel",
    "dma_read",
    "dma_write",
    "gp_bridge",
)
REGISTERS = tuple(
    base + offset for base in (0, S2MM) for offset in (CONTROL, STATUS, ADDRESS, LENGTH)
)


@pytest.fixture(scope="module")
def bench(simulators: Path) -> Path:
    return build_dma_bench(simulators)


@pytest.fixture
def live(bench: Path) -> Iterator[LiveSystem]:
    with LiveSystem(bench) as system:
        yield system


class Streams:
    """The model's core: keeps what is sent, and gives packets."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.out: list[tuple[int, bool]] = []
        self.waiting = 0

    def read(self, offset: int) -> int:
        raise AssertionError(offset)

    def write(self, offset: int, value: int) -> None:
        raise AssertionError(offset)

    def push(self, words: Words) -> None:
        self.taken += words.tolist()

    def pull(self, limit: int) -> tuple[Words, bool]:
        words, last = [], False
        while self.out and len(words) < limit and not last:
            word, last = self.out.pop(0)
            words.append(word)
        return np.array(words, np.uint32), last

    def advance(self, cycles: int) -> None:
        raise AssertionError(cycles)

    def reset(self) -> None:
        raise AssertionError


class Pages(Memory):
    """One block whose page ``BAD_PAGE`` answers with an error."""

    def response(self, address: int) -> int:
        if (address - FIRST) // PAGE == BAD_PAGE:
            return model_dma.SLAVE_ERROR
        return super().response(address)


class Twins:
    """Hardware and model, which get the same commands."""

    def __init__(self, live: LiveSystem, seed: int) -> None:
        self.live = live
        self.rng = np.random.default_rng(seed)
        live.reset(seed)
        self.core, self.memory = Streams(), Pages()
        self.model = AxiDmaModel(self.memory, self.core, LENGTH_BITS)
        address, self.block = self.memory.allocate(PAGES * PAGE)
        assert address == FIRST
        self.block[:] = self.rng.bytes(len(self.block))
        live.put(FIRST, bytes(self.block))
        live.respond(FIRST + BAD_PAGE * PAGE, SLAVE_ERROR)
        self.received: list[int] = []

    def stall(self) -> None:
        share, latency = self.rng.choice([0.0, 0.3, 0.8]), self.rng.choice([0, 7, 60])
        self.live.stall(int(self.rng.integers(1 << 31)), float(share), int(latency))

    def write(self, offset: int, value: int) -> None:
        self.live.write(DMA + offset, value)
        self.model.write(offset, value)

    def packet(self, words: int, last: bool = True) -> None:
        data = self.rng.integers(0, 1 << 32, words, np.uint32)
        self.live.send(data, 0xF if last else 0)
        ends = [last and i + 1 == words for i in range(words)]
        self.core.out += list(zip(data.tolist(), ends, strict=True))

    def settle(self) -> None:
        """Until nothing moves any more: twice as long as the memory may take to answer."""
        before = None
        while before != (before := self._moved()):
            self.live.advance(300)
        self.model.step()

    def _moved(self) -> tuple[int, ...]:
        status = self.live.status()
        words, _, _ = self.live.receive(1 << 20)
        self.received += words.tolist()
        return status.offered, status.beats_read, status.beats_written, len(self.received)

    def check(self) -> None:
        self.settle()
        hardware = {hex(r): hex(self.live.read(DMA + r)) for r in REGISTERS}
        assert hardware == {hex(r): hex(self.model.read(r)) for r in REGISTERS}
        assert self.received == self.core.taken
        assert self.live.get(FIRST, len(self.block)) == bytes(self.block)
        if not self.receive_refused:
            assert self.live.status().offered == len(self.core.out)
        for bit, base in ((1, 0), (2, S2MM)):
            pending = self.model.read(base + CONTROL) & self.model.read(base + STATUS) & 0x5000
            assert self.live.status().interrupts >> bit & 1 == bool(pending)

    @property
    def receive_refused(self) -> bool:
        """Whether the memory refused a burst of the receive channel.

        How much of the packet the hardware took before the answer came is a matter of time.
        """
        errors = model_dma.SLAVE_ERROR | model_dma.DECODE_ERROR
        return bool(self.model.read(S2MM + STATUS) & errors)

    def address(self, words: int) -> int:
        """Mostly near a page's end, now and then in the page that fails or beyond the memory."""
        page = self.rng.choice([0, 1, 2, 3, 4, 5], p=[0.25, 0.2, 0.15, 0.15, 0.1, 0.15])
        offset = PAGE - 4 * int(self.rng.integers(1, words + 40))
        return FIRST + int(page) * PAGE + max(offset, 0)

    def random_command(self) -> None:
        kind = self.rng.choice(
            ["send", "receive", "control", "clear", "reset"], p=[0.35, 0.35, 0.1, 0.05, 0.15]
        )
        base = int(self.rng.choice([0, S2MM]))
        if kind == "clear":
            self.write(base + STATUS, int(self.rng.choice([0x1000, 0x4000, 0x7000])))
        elif kind == "reset":
            self.write(base + CONTROL, RESET | RUN)
        elif kind == "control":
            self.write(base + CONTROL, int(self.rng.integers(1 << 32)) & ~RESET)
        else:
            self.transfer(0 if kind == "send" else S2MM)

    def transfer(self, base: int) -> None:
        words = int(self.rng.choice([1, 2, 3, 15, 33, 64, 200]))
        ragged = int(self.rng.integers(0, 4))
        address, length = self.address(words), 4 * words + ragged
        if self.rng.random() < 0.05:
            address |= 2
        if self.rng.random() < 0.05:
            length = 1 << LENGTH_BITS  # the register keeps nothing of it
        if base == S2MM and not self.core.out:
            self.packet(max(1, words + int(self.rng.choice([0, 0, 0, -1, -5, 1]))))
        control = RUN | int(self.rng.choice([0, 0x1000, 0x4000, 0x5000]))
        for register, value in ((CONTROL, control), (ADDRESS, address), (LENGTH, length)):
            self.write(base + register, value)


@pytest.mark.parametrize("seed", range(12))
def test_twins_agree_on_random_transfers(live: LiveSystem, seed: int) -> None:
    twins = Twins(live, seed)
    twins.check()
    for _ in range(100):
        twins.stall()
        twins.random_command()
        twins.check()
        if twins.receive_refused:
            twins = Twins(live, int(twins.rng.integers(1 << 31)))


def run(live: LiveSystem, base: int, address: int, length: int) -> None:
    """Arm one channel."""
    for register, value in ((CONTROL, RUN), (ADDRESS, address), (LENGTH, length)):
        live.write(DMA + base + register, value)


def test_both_channels_at_once(live: LiveSystem) -> None:
    twins = Twins(live, 11)
    live.stall(5, 0.4, 20)
    twins.packet(300)
    for base, address, length in ((S2MM, FIRST + 2 * PAGE - 12, 1200), (0, FIRST + 4, 1999)):
        for register, value in ((CONTROL, RUN), (ADDRESS, address), (LENGTH, length)):
            twins.write(base + register, value)
    twins.check()
    assert live.read(DMA + STATUS) & IDLE
    assert live.read(DMA + S2MM + LENGTH) == 1200


@pytest.mark.parametrize(("keep", "nbytes"), [(0x1, 9), (0x3, 10), (0x7, 11), (0xF, 12)])
def test_a_packet_may_end_within_a_word(live: LiveSystem, keep: int, nbytes: int) -> None:
    live.put(FIRST, bytes([0xEE]) * 64)
    run(live, S2MM, FIRST + 4, 32)
    words = np.array([0x03020100, 0x07060504, 0x0B0A0908], np.uint32)
    live.send(words, keep)
    live.advance(200)
    assert live.read(DMA + S2MM + LENGTH) == nbytes
    assert live.read(DMA + S2MM + STATUS) & IDLE
    expected = bytes([0xEE]) * 4 + bytes(range(nbytes)) + bytes([0xEE]) * (60 - nbytes)
    assert live.get(FIRST, 64) == expected


@pytest.mark.parametrize(("length", "keep"), [(5, 0x1), (6, 0x3), (7, 0x7), (8, 0xF)])
def test_a_send_may_end_within_a_word(live: LiveSystem, length: int, keep: int) -> None:
    live.put(FIRST, bytes([0xEE]) * 64)
    run(live, 0, FIRST + 4, length)
    live.advance(200)
    words, last, kept = live.receive(9)
    assert (len(words), last, kept) == (2, True, keep)
    assert words.tobytes() == bytes([0xEE]) * length + bytes(8 - length)


def test_a_length_of_26_bits_is_sent(live: LiveSystem) -> None:
    """The whole counter works; a slow memory makes the test stop long before the end."""
    nbytes = (1 << 26) - 1
    live.put(FIRST, bytes(PAGE))
    run(live, 0, FIRST, nbytes)
    live.advance(3000)
    assert live.read(DMA + LENGTH) == nbytes
    assert live.read(DMA + STATUS) & model_dma.DECODE_ERROR  # behind the only page
    words, last, _ = live.receive(1 << 20)
    assert (len(words), last) == (PAGE // 4, False)


@pytest.mark.parametrize("base", [0, S2MM])
def test_a_reset_in_the_middle_ends_the_bus_transfers_first(live: LiveSystem, base: int) -> None:
    twins = Twins(live, 7)
    live.stall(3, 0.5, 200)
    run(live, 0, FIRST, 2 * PAGE)
    live.send(np.arange(900, dtype=np.uint32))
    run(live, S2MM, FIRST + 2 * PAGE, 2 * PAGE)
    live.advance(700)
    live.write(DMA + base + CONTROL, RESET)
    assert live.read(DMA + CONTROL) & RESET
    assert live.read(DMA + S2MM + CONTROL) & RESET
    live.advance(2000)
    values = [live.read(DMA + register) for register in REGISTERS]
    assert values == [0x10002, 0x10000 | HALTED, 0, 0] * 2
    read = live.status().beats_read
    live.advance(500)
    assert live.status().beats_read == read
    live.receive(1 << 20)
    run(live, 0, FIRST + 8, 40)
    live.advance(2000)
    words, last, _ = live.receive(1 << 20)
    assert last
    assert words.tobytes() == bytes(twins.block[8:48])


@pytest.mark.parametrize("base", [0, S2MM])
def test_a_stop_lets_what_was_taken_reach_its_place(live: LiveSystem, base: int) -> None:
    twins = Twins(live, 9)
    live.stall(4, 0.5, 100)
    if base:
        live.send(np.arange(900, dtype=np.uint32), 0)
    run(live, base, FIRST, 2 * PAGE)
    live.advance(600)
    live.write(DMA + base + CONTROL, 0)
    live.advance(3000)
    assert live.read(DMA + base + STATUS) & (HALTED | IDLE | 0x7FF0) == HALTED
    if base:
        moved = 4 * (900 - live.status().offered)
        assert 0 < moved < 3600
        assert live.get(FIRST, moved) == np.arange(moved // 4, dtype="<u4").tobytes()
        assert live.get(FIRST + moved, 100) == bytes(twins.block[moved : moved + 100])
    else:
        words, last, _ = live.receive(1 << 20)
        assert 0 < len(words) < 2 * PAGE // 4
        assert not last
        assert words.tobytes() == bytes(twins.block[: 4 * len(words)])


def test_the_stream_is_kept_busy(live: LiveSystem) -> None:
    """Both directions near one word a cycle, with a memory that answers after 20 cycles."""
    live.put(FIRST, bytes(4 * PAGE))
    live.stall(1, 0.0, 20)
    begin = live.advance(0)
    run(live, 0, FIRST, 2 * PAGE)
    while not live.read(DMA + STATUS) & IDLE:
        live.advance(1)
    assert live.advance(0) - begin < 1.1 * 2 * PAGE / 4
    live.send(np.zeros(2 * PAGE // 4, np.uint32))
    begin = live.advance(0)
    run(live, S2MM, FIRST + 2 * PAGE, 2 * PAGE)
    while not live.read(DMA + S2MM + STATUS) & IDLE:
        live.advance(1)
    assert live.advance(0) - begin < 1.4 * 2 * PAGE / 4


# Registers and the bridge


def test_registers_take_bursts_and_refuse_wrong_addresses(live: LiveSystem) -> None:
    live.stall(2, 0.5, 0)
    values = np.array([0x1000_0000, 0x0000_0000, 0, 0, 5], np.uint32)
    live.write(DMA + CONTROL, RUN)
    live.put(FIRST, bytes(range(64)))
    assert live.write_burst(DMA + ADDRESS, values) == OKAY
    live.advance(300)
    words, response = live.read_burst(DMA + ADDRESS, 5)
    assert response == OKAY
    assert words.tolist() == [0x1000_0000, 0, 0, 0, 5]
    assert live.receive(9)[0].tobytes() == bytes([0, 1, 2, 3, 4, 0, 0, 0])
    assert live.read_burst(0x5000_0000, 2)[1] == DECODE_ERROR
    assert live.write_burst(0x4041_0000, values) == DECODE_ERROR
    assert live.read(DMA + 0x60) == live.read(DMA + 0x3FC) == 0
    with pytest.raises(ToolError, match="0x7fff0000 got the response 3"):
        live.read(0x7FFF0000)


class Bus:
    """The DMA's registers for the host's driver."""

    def __init__(self, live: LiveSystem) -> None:
        self._live = live

    def read(self, offset: int) -> int:
        return self._live.read(DMA + offset)

    def write(self, offset: int, value: int) -> None:
        self._live.write(DMA + offset, value)


def test_the_hosts_driver_drives_it(live: LiveSystem) -> None:
    names = ("c_include_mm2s", "c_include_s2mm")
    parameters = {"c_include_sg": "0", "c_sg_length_width": "26", **dict.fromkeys(names, "1")}
    parameters |= {f"c_m_axi_{side}_data_width": "64" for side in ("mm2s", "s2mm")}
    dma = AxiDma(Bus(live), parameters, "dma")
    live.put(FIRST, bytes(range(256)))
    dma.receive.start(FIRST + 64, 16, Deadline(5))
    dma.send.start(FIRST, 24, Deadline(5))
    live.send(np.array([1, 2, 3, 4], np.uint32))
    dma.send.wait(24, Deadline(5))
    dma.receive.wait(16, Deadline(5))
    assert live.get(FIRST + 64, 16) == np.array([1, 2, 3, 4], "<u4").tobytes()
    dma.receive.start(FIRST + 64, 16, Deadline(5))
    live.send(np.array([1], np.uint32))
    with pytest.raises(DmaError, match="4 of 16 bytes came before TLAST"):
        dma.receive.wait(16, Deadline(5))
    dma.send.start(0x2000_0000, 24, Deadline(5))
    with pytest.raises(DmaError, match="decode error"):
        dma.send.wait(24, Deadline(5))
    dma.reset(Deadline(5))
    assert dma.send.status & HALTED


# Lint


def sources() -> list[Path]:
    hls = asset_dir("hls")
    files = [hls / "system" / f"{module}.sv" for module in MODULES]
    shared = [hls / "rtl" / f"{module}.sv" for module in ("reset_sync", "stream_register")]
    return [*files, *shared, hls / "cosim" / f"{DMA_BENCH}.sv"]


@pytest.mark.parametrize("module", [*MODULES, DMA_BENCH])
def test_module_is_lint_clean(module: str, simulators: Path) -> None:
    lint(sources(), module, simulators / f"lint_{module}.log")


def test_a_length_register_of_8_bits_is_lint_clean_one_of_27_is_refused(simulators: Path) -> None:
    def check(bits: int) -> None:
        arguments = ["--lint-only", "-Wall", f"-GLENGTH_BITS={bits}", "--top-module", "axi_dma"]
        verilate([*arguments, *sources()], simulators / "lint_length.log")

    check(8)
    with pytest.raises(ToolError, match="LENGTH_BITS must be 8 to 26"):
        check(27)
