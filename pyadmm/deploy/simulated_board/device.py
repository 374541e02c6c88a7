"""``SimulatedDevice``: a pynq device whose programmable logic is a model, for unmodified host code.

Runs in a Python that has pynq, which the rest of pyadmm need not have. Registers, DMA, memory and
clocks are those of a board; only the core behind them is simulated, see :class:`StreamCore`.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any, cast

import numpy as np
from pynq import Device
from pynq.buffer import PynqBuffer
from pynq.metadata import RuntimeMetadataParser
from pynqmetadata.frontends import Metadata  # type: ignore[import-not-found]

from pyadmm.deploy.simulated_board.dma import AxiDmaModel, Core, Memory, StreamCore

CYCLES_PER_ACCESS = 200
"""Clock cycles that pass with one register access: about what an access from Python takes. The
core's own cycle counter does not depend on it."""
ARCHITECTURES = {"zynq7000": "armv7l", "zynqmp": "aarch64"}
_WORD = 4
_SLCR, _CRL, _CRF = 0xF8000000, 0xFF5E0000, 0xFD1A0000
CLOCK_REGISTERS = {
    # Zynq-7000: ARM, DDR and IO PLL at 26, 21 and 20 x 50 MHz; FCLK0 … 3 from the IO PLL / 10
    "zynq7000": {
        _SLCR + 0x100: 26 << 12,
        _SLCR + 0x104: 21 << 12,
        _SLCR + 0x108: 20 << 12,
        _SLCR + 0x120: 2 << 8,
        **{_SLCR + offset: 10 << 8 | 1 << 20 for offset in (0x170, 0x180, 0x190, 0x1A0)},
    },
    # Zynq UltraScale+: IO PLL at 90 x 33.333 MHz / 2; PL0 … 3 from it / 15
    "zynqmp": {
        _CRL + 0x20: 90 << 8 | 1 << 16,
        _CRL + 0x30: 45 << 8,
        **{_CRL + offset: 15 << 8 | 1 << 16 for offset in (0xC0, 0xC4, 0xC8, 0xCC)},
        _CRF + 0x20: 72 << 8 | 1 << 16,
        _CRF + 0x60: 1 << 8,
    },
}


class _HostMemory:
    """The owner to which a pynq buffer returns its memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._buffers: dict[int, weakref.ref[Any]] = {}

    def register(self, address: int, buffer: Any) -> None:
        """Remember whose memory it is."""
        self._buffers[address] = weakref.ref(buffer)

    def return_pointer(self, address: int) -> None:
        """Called by ``PynqBuffer.freebuffer``."""
        buffer = self._buffers.pop(address)()
        if buffer is not None:
            buffer.freed = True
        self._memory.free(address)


class SimulatedDevice(Device):
    """A Zynq whose programmable logic holds ``core``, behind an AXI DMA or with ports to memory.

    :param core: the accelerator; a :class:`StreamCore` where the design has a DMA.
    :param family: ``zynq7000`` or ``zynqmp``.
    :param name: what reports call the device; it says that it is simulated.
    """

    simulated = True

    def __init__(self, core: Core, family: str, name: str, memory: Memory | None = None) -> None:
        super().__init__(f"simulated-{name}")
        self.name, self.core, self.arch = f"simulated {name}", core, ARCHITECTURES[family]
        self.capabilities = {"REGISTER_RW": True, "MEMORY_MAPPED": False}
        self.memory = memory or Memory()
        self.dma: AxiDmaModel | None = None
        self.downloads = 0
        self._host_memory = _HostMemory(self.memory)
        self._processor = dict(CLOCK_REGISTERS[family])
        self._windows: dict[int, tuple[str, int]] = {}

    @classmethod
    def install(
        cls, core: Core, family: str, name: str, memory: Memory | None = None
    ) -> SimulatedDevice:
        """Make a device and let pynq use it wherever none is named."""
        device = cls(core, family, name, memory)
        Device.active_device = device
        return device

    # What pynq asks of a device

    def get_bitfile_metadata(self, bitfile_name: str, partial: bool = False) -> Any:
        """The parsed ``.hwh`` of the bitstream, from the same folder."""
        hwh = Path(bitfile_name).with_suffix(".hwh")
        return RuntimeMetadataParser(Metadata(input=str(hwh)))

    def download(self, bitstream: Any, parser: Any = None) -> None:
        """Configure the programmable logic: everything in it starts from reset."""
        entries = parser.ip_dict
        self._windows.clear()
        for entry in entries.values():
            kind = entry["type"]
            if "phys_addr" in entry:
                role = "dma" if ":axi_dma:" in kind else "core"
                self._windows[entry["phys_addr"]] = (role, entry["addr_range"])
                if role == "dma":
                    bits = int(entry["parameters"]["c_sg_length_width"])
                    core = cast("StreamCore", self.core)
                    self.dma = AxiDmaModel(self.memory, core, bits)
        self.core.reset()
        self.downloads += 1
        super().post_download(bitstream, parser, self.name)

    def allocate(self, shape: Any, dtype: Any, **_: Any) -> Any:
        """A buffer in the simulated memory, freed by ``freebuffer`` or with its last reference."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address, block = self.memory.allocate(size)
        buffer = PynqBuffer(
            shape,
            dtype,
            buffer=block[:size],
            device=self,
            device_address=address,
            coherent=True,
        )
        buffer.memory, buffer.pointer = self, address
        buffer.return_to = self._host_memory
        self._host_memory.register(address, buffer)
        return buffer

    def read_registers(self, address: int, length: int) -> bytes:
        """``length`` bytes of registers from ``address`` on."""
        words = [self._read(address + i) for i in range(0, length, _WORD)]
        return b"".join(word.to_bytes(_WORD, "little") for word in words)

    def write_registers(self, address: int, data: Any) -> None:
        """Write the bytes ``data`` to the registers from ``address`` on."""
        content = bytes(data)
        for i in range(0, len(content), _WORD):
            self._write(address + i, int.from_bytes(content[i : i + _WORD], "little"))

    # Registers

    def _find(self, address: int) -> tuple[str, int] | None:
        """``(role, offset)`` of a register of the programmable logic."""
        for base, (role, size) in self._windows.items():
            if base <= address < base + size:
                return role, address - base
        return None

    def _pass_time(self) -> None:
        self.core.advance(CYCLES_PER_ACCESS)
        if self.dma is not None:
            self.dma.step()

    def _read(self, address: int) -> int:
        found = self._find(address)
        if found is None:
            return self._processor.get(address, 0)
        self._pass_time()
        role, offset = found
        if role == "core":
            return self.core.read(offset)
        assert self.dma is not None
        return self.dma.read(offset)

    def _write(self, address: int, value: int) -> None:
        found = self._find(address)
        if found is None:
            self._processor[address] = value
            return
        role, offset = found
        if role == "core":
            self.core.write(offset, value)
        else:
            assert self.dma is not None
            self.dma.write(offset, value)
        self._pass_time()
