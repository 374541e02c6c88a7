"""The DMA model keeps the register semantics of PG021, and the driver works against them."""

from __future__ import annotations

import numpy as np
import pytest

from host.dma import AxiDma, Deadline, decode_status
from host.errors import DmaError, HardwareTimeout, HostError
from pyadmm.deploy.simulated_board.dma import (
    ADDRESS,
    COMPLETE_IRQ,
    CONTROL,
    DECODE_ERROR,
    ERROR_IRQ,
    HALTED,
    IDLE,
    INTERNAL_ERROR,
    LENGTH,
    RESET,
    RUN,
    S2MM,
    STATUS,
    AxiDmaModel,
    Memory,
    Words,
)

PARAMETERS = {
    "c_include_sg": "0",
    "c_include_mm2s": "1",
    "c_include_s2mm": "1",
    "c_sg_length_width": "14",
    "c_m_axi_mm2s_data_width": "32",
    "C_M_AXI_S2MM_DATA_WIDTH": "64",
}
ERRORS = INTERNAL_ERROR | DECODE_ERROR


class Loop:
    """A core that takes ``speed`` words a step and gives packets of its own."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.queue: list[int] = []
        self.out: list[int] = []
        self.open = True

    def read(self, offset: int) -> int:
        return 0

    def write(self, offset: int, value: int) -> None:
        raise AssertionError

    def push(self, words: Words) -> None:
        self.queue += words.tolist()

    @property
    def waiting(self) -> int:
        return len(self.queue)

    def pull(self, limit: int) -> tuple[Words, bool]:
        words, self.out = self.out[:limit], self.out[limit:]
        return np.array(words, np.uint32), bool(words) and not self.out

    def advance(self, cycles: int) -> None:
        if self.open:
            self.taken += self.queue[:cycles]
            del self.queue[:cycles]

    def reset(self) -> None:
        raise AssertionError


class Bench:
    def __init__(self, length_bits: int = 14) -> None:
        self.core, self.memory = Loop(), Memory()
        self.dma = AxiDmaModel(self.memory, self.core, length_bits)
        self.address, self.block = self.memory.allocate(64)
        self.block[:64] = bytes(range(64))

    def start(self, base: int, length: int, address: int | None = None) -> None:
        self.dma.write(base + CONTROL, RUN)
        self.dma.write(base + ADDRESS, self.address if address is None else address)
        self.dma.write(base + LENGTH, length)

    def step(self, cycles: int = 100) -> None:
        self.core.advance(cycles)
        self.dma.step()

    def status(self, base: int) -> int:
        return self.dma.read(base + STATUS)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("base", [0, S2MM])
def test_after_reset_both_channels_are_halted_and_ignore_a_length(bench: Bench, base: int) -> None:
    assert bench.status(base) & (HALTED | IDLE) == HALTED
    bench.dma.write(base + LENGTH, 16)
    bench.step()
    assert bench.dma.read(base + LENGTH) == 0
    assert bench.core.queue == []


def test_running_is_not_idle_before_the_first_transfer(bench: Bench) -> None:
    bench.dma.write(CONTROL, RUN)
    assert bench.status(0) & (HALTED | IDLE) == 0


def test_a_send_is_idle_when_the_core_has_taken_the_last_word(bench: Bench) -> None:
    bench.core.open = False
    bench.start(0, 16)
    bench.step()
    assert not bench.status(0) & IDLE
    bench.core.open = True
    bench.step()
    assert bench.status(0) & (IDLE | COMPLETE_IRQ) == IDLE | COMPLETE_IRQ
    assert bench.core.taken == np.frombuffer(bytes(range(16)), "<u4").tolist()


def test_the_interrupt_bit_clears_when_written(bench: Bench) -> None:
    bench.start(0, 4)
    bench.step()
    bench.dma.write(STATUS, COMPLETE_IRQ)
    assert bench.status(0) & (IDLE | COMPLETE_IRQ) == IDLE


def test_a_receive_ends_with_tlast_and_tells_its_length(bench: Bench) -> None:
    bench.start(S2MM, 32)
    bench.core.out = [1, 2, 3]
    bench.step()
    assert bench.status(S2MM) & IDLE
    assert bench.dma.read(S2MM + LENGTH) == 12
    assert bytes(bench.block[:12]) == np.array([1, 2, 3], "<u4").tobytes()


def test_without_tlast_a_receive_goes_on(bench: Bench) -> None:
    bench.start(S2MM, 32)
    bench.step()
    assert bench.status(S2MM) & (IDLE | HALTED) == 0


def test_a_packet_longer_than_the_buffer_is_an_internal_error(bench: Bench) -> None:
    bench.start(S2MM, 8)
    bench.core.out = [1, 2, 3]
    bench.step()
    assert bench.status(S2MM) & (INTERNAL_ERROR | HALTED) == INTERNAL_ERROR | HALTED


def test_a_length_of_zero_is_an_internal_error(bench: Bench) -> None:
    bench.start(0, 1 << 14)  # one bit more than the register has
    assert bench.status(0) & (INTERNAL_ERROR | ERROR_IRQ) == INTERNAL_ERROR | ERROR_IRQ


def test_an_address_outside_the_memory_is_a_decode_error(bench: Bench) -> None:
    bench.start(0, 16, address=0x10)
    assert bench.status(0) & DECODE_ERROR
    bench.dma.write(CONTROL, RUN)
    assert bench.status(0) & HALTED, "only a reset ends an error"
    bench.dma.write(S2MM + CONTROL, RESET)
    assert bench.status(0) & ERRORS == 0
    assert bench.dma.read(CONTROL) & RESET == 0


def test_stopping_halts_and_drops_the_transfer(bench: Bench) -> None:
    bench.start(S2MM, 32)
    bench.dma.write(S2MM + CONTROL, 0)
    bench.core.out = [1]
    bench.step()
    assert bench.status(S2MM) & (HALTED | IDLE) == HALTED
    assert bench.core.out == [1]


def test_memory_is_reused_after_it_is_freed() -> None:
    memory = Memory()
    first, _ = memory.allocate(5000)
    second, _ = memory.allocate(100)
    memory.free(first)
    assert memory.allocate(8192)[0] == first
    assert memory.allocate(1)[0] > second
    with pytest.raises(MemoryError, match="no contiguous memory"):
        memory.allocate(1 << 30)


def test_a_window_is_within_one_block() -> None:
    memory = Memory()
    address, _ = memory.allocate(4096)
    memory.allocate(4096)
    assert memory.window(address + 4, 4092) is not None
    assert memory.window(address + 4, 4093) is None


# The driver's own view of the registers


class Bus:
    """Registers of a bench; every access passes a little time."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def read(self, offset: int) -> int:
        self._bench.step(2)
        return self._bench.dma.read(offset)

    def write(self, offset: int, value: int) -> None:
        self._bench.dma.write(offset, value)


def test_the_driver_takes_its_limits_from_the_hwh_in_either_spelling(bench: Bench) -> None:
    dma = AxiDma(Bus(bench), PARAMETERS, "dma")
    assert dma.length_bits == 14
    assert dma.max_bytes == 16376  # whole words of the wider side


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"c_include_sg": "1"}, "direct register mode"),
        ({"c_include_s2mm": "0"}, "no S2MM channel"),
        ({"c_sg_length_width": "wide"}, "no whole number c_sg_length_width"),
    ],
)
def test_the_driver_refuses_a_dma_that_it_cannot_use(
    bench: Bench, change: dict[str, str], message: str
) -> None:
    with pytest.raises(HostError, match=message):
        AxiDma(Bus(bench), {**PARAMETERS, **change}, "dma")


def test_the_driver_sends_and_receives(bench: Bench) -> None:
    dma = AxiDma(Bus(bench), PARAMETERS, "dma")
    bench.core.out = [7, 8]
    dma.receive.start(bench.address, 8, Deadline(1))
    dma.send.start(bench.address + 16, 16, Deadline(1))
    dma.send.wait(16, Deadline(1))
    dma.receive.wait(8, Deadline(1))
    assert len(bench.core.taken) == 4


def test_the_driver_reports_an_early_tlast(bench: Bench) -> None:
    dma = AxiDma(Bus(bench), PARAMETERS, "dma")
    bench.core.out = [7]
    dma.receive.start(bench.address, 8, Deadline(1))
    with pytest.raises(DmaError, match="4 of 8 bytes came before TLAST"):
        dma.receive.wait(8, Deadline(1))


def test_the_driver_does_not_wait_for_ever(bench: Bench) -> None:
    dma = AxiDma(Bus(bench), PARAMETERS, "dma")
    bench.core.open = False
    dma.send.start(bench.address, 8, Deadline(1))
    with pytest.raises(HardwareTimeout, match=r"send \(MM2S\): waited 0.01 s for 8 bytes"):
        dma.send.wait(8, Deadline(0.01))


def test_status_bits_become_words() -> None:
    text = decode_status(HALTED | DECODE_ERROR | ERROR_IRQ)
    assert text == (
        "halted, decode error (the address belongs to no memory), error interrupt (0x00004041)"
    )
