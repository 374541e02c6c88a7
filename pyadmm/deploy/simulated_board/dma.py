"""Register-true model of an AXI DMA 7.1 in direct register mode, its memory and its streams.

Facts: AMD PG021 and the register descriptions that Vivado writes to a ``.hwh``. A length written
to a halted or busy channel does nothing; RS = 0 halts; a receive ends with TLAST, and a packet that
does not fit raises the internal error, as do a length of zero and an address that is no multiple of
four; an error halts its channel until a reset; the length register holds the bytes moved once a
receive is over. ``hls/system/axi_dma.sv`` is its twin in hardware: ``tests/rtl/test_dma.py`` compares
the two. The model has no notion of time within a transfer: what the hardware has done when it comes
to rest, the model does at once.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

S2MM = 0x30
CONTROL, STATUS, ADDRESS, ADDRESS_HIGH, LENGTH = 0x00, 0x04, 0x18, 0x1C, 0x28
RUN, RESET, CONTROL_DEFAULT = 1 << 0, 1 << 2, 0x10002
HALTED, IDLE = 1 << 0, 1 << 1
INTERNAL_ERROR, SLAVE_ERROR, DECODE_ERROR = 1 << 4, 1 << 5, 1 << 6
COMPLETE_IRQ, ERROR_IRQ, IRQ_BITS = 1 << 12, 1 << 14, 0x7000
THRESHOLD, THRESHOLD_MASK = 1 << 16, 0xFF << 16
CONTROL_MASK = 0xFFFF7001
"""Bits of the control register that keep what is written; bit 1 always reads as one."""
_WORD = 4


class Core(Protocol):
    """The accelerator as the bus sees it."""

    def read(self, offset: int) -> int:
        """Perform an AXI-Lite read of a register."""

    def write(self, offset: int, value: int) -> None:
        """Perform an AXI-Lite write to a register."""

    def advance(self, cycles: int) -> None:
        """Let clock cycles pass."""

    def reset(self) -> None:
        """The state after configuration."""


class StreamCore(Core, Protocol):
    """The accelerator as the bus and the DMA see it."""

    def push(self, words: Words) -> None:
        """Offer words to the input stream; they wait there until the core takes them."""

    @property
    def waiting(self) -> int:
        """Words offered that the core has not taken yet."""

    def pull(self, limit: int) -> tuple[Words, bool]:
        """Up to ``limit`` words of the output stream; True if the last of them has TLAST.

        It never reads past a TLAST.
        """


class Memory:
    """The processor's memory: blocks of bytes at physical addresses, in a file that others may map.

    :param size: bytes from :data:`FIRST` on; the file takes no more room than what is written.
    """

    FIRST = 0x1000_0000
    PAGE = 4096

    def __init__(self, size: int = 0x1000_0000) -> None:
        self.size = size
        self._file = tempfile.NamedTemporaryFile(prefix="pyadmm-memory-")  # noqa: SIM115 - kept open
        self._file.truncate(size)
        self._bytes = mmap.mmap(self._file.fileno(), size)
        self.blocks: dict[int, int] = {}

    @property
    def file(self) -> Path:
        """The file whose first byte is that of address :data:`FIRST`."""
        return Path(self._file.name)

    def allocate(self, size: int) -> tuple[int, memoryview]:
        """A free block of at least ``size`` bytes: its address and its bytes.

        :raises MemoryError: if there is no room.
        """
        length = -(-max(size, 1) // self.PAGE) * self.PAGE
        address = self.FIRST
        for start in sorted(self.blocks):
            if start - address >= length:
                break
            address = start + self.blocks[start]
        if address + length > self.FIRST + self.size:
            raise MemoryError("simulated board: no contiguous memory left")
        self.blocks[address] = length
        first = address - self.FIRST
        return address, memoryview(self._bytes)[first : first + length]

    def free(self, address: int) -> None:
        """Give a block back."""
        del self.blocks[address]

    def window(self, address: int, size: int) -> memoryview | None:
        """The bytes ``address … address + size - 1``; None where no one block holds them."""
        for start, length in self.blocks.items():
            if start <= address and address + size <= start + length:
                first = address - self.FIRST
                return memoryview(self._bytes)[first : first + size]
        return None

    def response(self, address: int) -> int:
        """Response of the page of ``address``: 0, or the error bit of the DMA."""
        return 0 if self.window(address, 1) is not None else DECODE_ERROR

    def pieces(self, address: int, size: int) -> Iterator[tuple[int, int]]:
        """The parts of ``size`` bytes that lie in one page each: their addresses and sizes."""
        end = address + size
        while address < end:
            piece = min(end, (address // self.PAGE + 1) * self.PAGE) - address
            yield address, piece
            address += piece


@dataclass
class _Channel:
    """State of one direction."""

    control: int = CONTROL_DEFAULT
    status: int = HALTED | THRESHOLD
    address: int = 0
    begin: int = 0
    length: int = 0
    left: int = 0
    busy: bool = False

    def read(self, register: int) -> int:
        values = {
            CONTROL: self.control,
            STATUS: self.status,
            ADDRESS: self.address & 0xFFFFFFFF,
            ADDRESS_HIGH: self.address >> 32,
            LENGTH: self.length,
        }
        return values.get(register, 0)

    def fail(self, error: int) -> None:
        """Stop with an error, as the hardware does: RS = 0 and halted."""
        self.control &= ~RUN
        self.status = self.status & ~IDLE | HALTED | error | ERROR_IRQ
        self.busy = False

    def complete(self) -> None:
        self.status |= IDLE | COMPLETE_IRQ
        self.busy = False


class AxiDmaModel:
    """The DMA between :class:`Memory` and the streams of a :class:`StreamCore`.

    :param length_bits: width of the length registers; higher bits of a write are lost.
    """

    def __init__(self, memory: Memory, core: StreamCore, length_bits: int) -> None:
        self._memory, self._core = memory, core
        self._length_mask = (1 << length_bits) - 1
        self.injected: dict[int, int] = {}
        self._channels = {0: _Channel(), S2MM: _Channel()}

    def reset(self) -> None:
        """Both channels as after configuration."""
        self._channels = {0: _Channel(), S2MM: _Channel()}

    def inject(self, channel: int, error: int) -> None:
        """Let the next transfer of ``channel`` (0 or :data:`S2MM`) end in ``error`` bits."""
        self.injected[channel] = error

    def read(self, offset: int) -> int:
        """The register at ``offset``."""
        base = S2MM if offset >= S2MM else 0
        return self._channels[base].read(offset - base)

    def write(self, offset: int, value: int) -> None:
        """Write the register at ``offset``."""
        base = S2MM if offset >= S2MM else 0
        channel, register = self._channels[base], offset - base
        if register == CONTROL:
            self._control(channel, value)
        elif register == STATUS:
            channel.status &= ~(value & IRQ_BITS)
        elif register == ADDRESS:
            channel.address = channel.address >> 32 << 32 | value
        elif register == ADDRESS_HIGH:
            channel.address = channel.address & 0xFFFFFFFF | value << 32
        elif register == LENGTH and not (channel.status & HALTED or channel.busy):
            self._start(base, value & self._length_mask)

    def _control(self, channel: _Channel, value: int) -> None:
        if value & RESET:
            self.reset()
            return
        threshold = value & THRESHOLD_MASK or channel.control & THRESHOLD_MASK
        channel.control = value & CONTROL_MASK & ~THRESHOLD_MASK | threshold | CONTROL_DEFAULT & 2
        if value & RUN:
            # an error keeps the channel halted until a reset
            if not channel.status & (INTERNAL_ERROR | SLAVE_ERROR | DECODE_ERROR):
                channel.status &= ~HALTED
        else:
            channel.status = channel.status & ~IDLE | HALTED
            channel.busy = False

    def _start(self, base: int, length: int) -> None:
        channel = self._channels[base]
        channel.status &= ~IDLE
        channel.length = channel.left = length
        error = self.injected.pop(base, 0)
        if error or length == 0 or channel.address % _WORD:
            channel.fail(error or INTERNAL_ERROR)
            return
        channel.busy, channel.begin = True, channel.address
        if base == 0:
            self._send(channel, length)

    def _send(self, channel: _Channel, length: int) -> None:
        """Offer the words up to the first page that answers with an error."""
        content, error = bytearray(), 0
        for address, size in self._memory.pieces(channel.begin, length):
            error = error or self._memory.response(address)
            window = self._memory.window(address, size)
            if error or window is None:
                break
            content += window
        content += bytes(-len(content) % _WORD)
        self._core.push(np.frombuffer(content, "<u4").astype(np.uint32))
        if error:
            channel.fail(error)

    def step(self) -> None:
        """Move what the core has taken and given since the last step."""
        send, receive = self._channels[0], self._channels[S2MM]
        if send.busy and not self._core.waiting:
            send.complete()
        if receive.busy:
            self._receive(receive)

    def _receive(self, channel: _Channel) -> None:
        words, last = self._core.pull(channel.left // _WORD)
        content = words.astype("<u4").tobytes()
        first = channel.begin + channel.length - channel.left
        for address, size in self._memory.pieces(first, len(content)):
            error = self._memory.response(address)
            window = self._memory.window(address, size)
            if error or window is None:
                channel.fail(error)
                return
            window[:] = content[address - first : address - first + size]
        channel.left -= len(content)
        if last:
            channel.length -= channel.left
            channel.complete()
        elif channel.left < _WORD and len(self._core.pull(1)[0]):
            channel.fail(INTERNAL_ERROR)
