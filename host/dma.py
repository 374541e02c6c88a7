"""The AXI DMA in direct register mode, with time-outs and status bits in words.

Register facts: AMD PG021 (AXI DMA 7.1), and the register descriptions that Vivado writes to the
``.hwh``. pynq's own DMA class waits without a time-out, hence this one. It needs an object with
``read(offset)`` and ``write(offset, value)``, such as ``pynq.MMIO``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from .errors import DmaError, HardwareTimeout, HostError

MM2S, S2MM = 0x00, 0x30
CONTROL, STATUS, ADDRESS, ADDRESS_HIGH, LENGTH = 0x00, 0x04, 0x18, 0x1C, 0x28
RUN, RESET = 1 << 0, 1 << 2
HALTED, IDLE, IRQ_BITS = 1 << 0, 1 << 1, 0x7000
ERRORS = 0x770
STATUS_WORDS = {
    0: "halted",
    1: "idle",
    3: "scatter-gather included",
    4: "internal error (length 0, a failed memory write, or a packet longer than the buffer)",
    5: "slave error (the memory refused the access)",
    6: "decode error (the address belongs to no memory)",
    8: "scatter-gather internal error",
    9: "scatter-gather slave error",
    10: "scatter-gather decode error",
    12: "transfer complete",
    13: "delay interrupt",
    14: "error interrupt",
}


class Registers(Protocol):
    """A block of mapped 32-bit registers."""

    def read(self, offset: int) -> int:
        """The register at byte ``offset``."""

    def write(self, offset: int, value: int) -> None:
        """Set the register at byte ``offset``."""


class Deadline:
    """A point in time that a wait must not pass."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        """Whether it is too late."""
        return time.monotonic() > self._end


def decode_status(status: int) -> str:
    """The set bits of a DMASR value in words.

    >>> decode_status(0x1002)
    'idle, transfer complete (0x00001002)'
    >>> decode_status(0)
    'running (0x00000000)'
    """
    words = [text for bit, text in STATUS_WORDS.items() if status >> bit & 1]
    return f"{', '.join(words) or 'running'} (0x{status:08x})"


def parameter(parameters: Mapping[str, Any], name: str, subject: str) -> int:
    """Whole number ``name`` of an IP's parameters, in either spelling that a ``.hwh`` uses."""
    for spelling in (name, name.upper()):
        if spelling in parameters:
            try:
                return int(parameters[spelling])
            except ValueError:
                break
    raise HostError(
        f"{subject}: the .hwh has no whole number {name}; use the .hwh that Vivado wrote for this "
        "bitstream"
    )


class DmaChannel:
    """One direction of the DMA."""

    def __init__(self, registers: Registers, base: int, name: str) -> None:
        self._registers, self._base, self.name = registers, base, name

    @property
    def status(self) -> int:
        """The value of the status register DMASR."""
        return self._registers.read(self._base + STATUS)

    def start(self, address: int, nbytes: int, deadline: Deadline) -> None:
        """Begin one transfer of ``nbytes`` bytes.

        :param address: physical address of the memory.
        :param nbytes: bytes to send, or room for the packet to receive.
        :raises HardwareTimeout: if the channel does not begin to run.
        """
        self._registers.write(self._base + CONTROL, RUN)
        while self.status & HALTED:
            if deadline.passed:
                raise self._late("to start", deadline)
        self._registers.write(self._base + STATUS, IRQ_BITS)
        self._registers.write(self._base + ADDRESS, address & 0xFFFFFFFF)
        self._registers.write(self._base + ADDRESS_HIGH, address >> 32)
        self._registers.write(self._base + LENGTH, nbytes)

    def wait(self, nbytes: int, deadline: Deadline) -> None:
        """Wait until the transfer of ``nbytes`` is complete.

        :raises DmaError: if the DMA reports an error, or the packet was shorter.
        :raises HardwareTimeout: if it takes longer than the deadline.
        """
        while True:
            status = self.status
            if status & ERRORS:
                raise DmaError(f"{self.name}: {decode_status(status)}")
            if status & IDLE:
                break
            if deadline.passed:
                raise self._late(f"for {nbytes} bytes", deadline)
        moved = self._registers.read(self._base + LENGTH)
        if moved != nbytes:
            raise DmaError(
                f"{self.name}: {moved} of {nbytes} bytes came before TLAST; the design and the "
                "manifest do not fit each other"
            )

    def _late(self, what: str, deadline: Deadline) -> HardwareTimeout:
        return HardwareTimeout(
            f"{self.name}: waited {deadline.seconds:g} s {what}; status: "
            f"{decode_status(self.status)}"
        )


class AxiDma:
    """Both channels of one AXI DMA.

    :param registers: its mapped registers.
    :param parameters: its parameters from the ``.hwh``; ``c_sg_length_width`` limits a transfer.
    :raises HostError: for a DMA that this driver cannot use.
    """

    def __init__(self, registers: Any, parameters: Mapping[str, Any], name: str) -> None:
        self.registers, self.name = registers, name
        if parameter(parameters, "c_include_sg", name):
            raise HostError(
                f"{name}: has scatter-gather, but the driver uses direct register mode; set "
                "c_include_sg to 0 in the block design"
            )
        for side in ("mm2s", "s2mm"):
            if not parameter(parameters, f"c_include_{side}", name):
                raise HostError(f"{name}: has no {side.upper()} channel; enable it in the design")
        width = parameter(parameters, "c_sg_length_width", name)
        align = max(
            parameter(parameters, f"c_m_axi_{side}_data_width", name) // 8
            for side in ("mm2s", "s2mm")
        )
        self.length_bits = width
        self.max_bytes = ((1 << width) - 1) // align * align
        self.send = DmaChannel(registers, MM2S, f"{name} send (MM2S)")
        self.receive = DmaChannel(registers, S2MM, f"{name} receive (S2MM)")

    def reset(self, deadline: Deadline) -> None:
        """Reset both channels; pending transfers are lost.

        :raises HardwareTimeout: if the reset does not end.
        """
        self.registers.write(MM2S + CONTROL, RESET)
        while self.registers.read(MM2S + CONTROL) & RESET:
            if deadline.passed:
                raise HardwareTimeout(f"{self.name}: waited {deadline.seconds:g} s for its reset")
