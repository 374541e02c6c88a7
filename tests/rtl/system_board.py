"""The host's board on the Verilated system: registers and memory over its AXI ports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from host.board import DmaFacts
from host.control import AcceleratorControl
from host.linux.board import LinuxCore
from host.linux.hwh import read_hwh
from host.manifest import Manifest
from pyadmm.codegen.system import CORE_BASE, DMA_BASE, chip_hwh
from pyadmm.eda.system_simulation import LiveSystem
from pyadmm.hardware.boards import load_board

DMA, CORE, BUFFERS = DMA_BASE, CORE_BASE, 0x1000_0000
_ROOM = 1 << 16


class Window:
    """Registers at an address."""

    def __init__(self, live: LiveSystem, base: int) -> None:
        self._live, self._base = live, base

    def read(self, offset: int) -> int:
        return self._live.read(self._base + offset)

    def write(self, offset: int, value: int) -> None:
        self._live.write(self._base + offset, value)


class Buffer(np.ndarray):
    """Words that go to the simulated memory and come from it."""

    physical_address = 0
    board: Any = None

    def flush(self) -> None:
        self.board.flush(self.physical_address, self)

    def invalidate(self) -> None:
        content = self.board.live.get(self.physical_address, self.nbytes)
        self[:] = np.frombuffer(content, np.uint32)

    def freebuffer(self) -> None:
        self.board.held -= 1


class SystemBoard:
    """A :class:`host.board.Board`."""

    files: tuple[str, ...] = ()
    simulated = True
    tag = name = "simulated system"

    def __init__(self, live: LiveSystem, bundle: Path) -> None:
        self.live, self.device = live, self
        self.loads, self.held, self.flip_once = 0, 0, False

    def has_capability(self, name: str) -> bool:
        return False

    def open(self, bitfile: Path, manifest: Manifest) -> None:
        self._manifest = manifest
        design, dma = manifest.design, getattr(manifest, "dma", None)
        text = chip_hwh(load_board(manifest.board), design.ip, design.vlnv, dma)
        bitfile.with_suffix(".hwh").write_text(text)
        self._instances = read_hwh(bitfile.with_suffix(".hwh")).instances
        self.reload()

    def reload(self) -> None:
        self.live.reset(self.loads + 1)
        self.loads += 1

    def _window(self, name: str) -> Window:
        address = self._instances[name].address
        assert address is not None
        return Window(self.live, address)

    def dma(self, name: str) -> DmaFacts:
        return DmaFacts(self._window(name), self._instances[name].parameters)

    def core(self) -> AcceleratorControl:
        name = self._manifest.design.ip
        return LinuxCore(name, self._manifest, self._window(name))

    def set_clock(self, index: int, mhz: float) -> float:
        return mhz

    def allocate(self, words: int) -> Buffer:
        assert 4 * words <= _ROOM
        buffer = np.zeros(words, np.uint32).view(Buffer)
        buffer.physical_address, buffer.board = BUFFERS + self.held * _ROOM, self
        self.held += 1
        self.live.put(buffer.physical_address, bytes(4 * words))
        return buffer

    def flush(self, address: int, words: np.ndarray) -> None:
        content = bytearray(words.tobytes())
        if self.flip_once:
            content[0] ^= 1
            self.flip_once = False
        self.live.put(address, bytes(content))
