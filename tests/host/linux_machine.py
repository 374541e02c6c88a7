"""A Zynq's kernel as files in a folder, with the models of core and DMA behind the registers."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from host.linux.bitstream import SYNC
from host.linux.board import LinuxBoard
from pyadmm.codegen.hwh import BlockDesign
from pyadmm.deploy.simulated_board.core import FaultyCore
from pyadmm.deploy.simulated_board.dma import AxiDmaModel, Memory
from pyadmm.deploy.simulated_board.golden import golden_core

REGION, REGION_BYTES = 0x1E000000, 1 << 20
FPGA, UDMABUF = "sys/class/fpga_manager/fpga0", "sys/class/u-dma-buf/udmabuf0"
CLOCK = "sys/kernel/debug/clk/fclk0"
FCLK_DRIVER = "sys/bus/platform/drivers/xilinx_fclk/amba:fclk0"


def put(root: Path, files: dict[str, str]) -> None:
    """Files of the kernel, by path under ``root``."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")


def make_root(root: Path) -> Path:
    """What a vendor's kernel with u-dma-buf shows on a Zynq-7000."""
    put(
        root,
        {
            f"{FPGA}/name": "Xilinx Zynq FPGA Manager",
            f"{FPGA}/state": "operating",
            f"{FPGA}/firmware": "",
            f"{FPGA}/flags": "1",
            f"{UDMABUF}/phys_addr": f"0x{REGION:08x}",
            f"{UDMABUF}/size": str(REGION_BYTES),
            **{f"{UDMABUF}/sync_{key}": "0" for key in ("offset", "size", "direction")},
            **{f"{UDMABUF}/sync_for_{key}": "0" for key in ("device", "cpu")},
            f"{CLOCK}/clk_rate": "99999999",
            f"{CLOCK}/clk_enable_count": "1",
            "proc/device-tree/model": "Simulated PYNQ-Z2\0",
        },
    )
    (root / "dev").mkdir()
    (root / "dev/udmabuf0").write_bytes(bytes(REGION_BYTES))
    return root


def make_bit(data: bytes) -> bytes:
    """A ``.bit`` with the header that tools write."""
    fields = {"a": b"design;UserID=0XFFFFFFFF\0", "b": b"7z020clg400\0", "c": b"2026/01/01\0"}
    head = struct.pack(">H", 9) + b"\x0f\xf0\x0f\xf0\x0f\xf0\x0f\xf0\x00" + struct.pack(">H", 1)
    for tag, text in fields.items():
        head += tag.encode() + struct.pack(">H", len(text)) + text
    return head + b"e" + struct.pack(">I", len(data)) + data


BIT = make_bit(bytes([255]) * 64 + SYNC + bytes(range(32)))


def make_bitfile(bundle: Path, folder: Path, family: str = "zynq7000") -> Path:
    """A bitstream's two files for the design of a bundle."""
    design = json.loads((bundle / "manifest.json").read_text())["design"]
    file = folder / "made.bit"
    file.write_bytes(BIT)
    hwh = BlockDesign(family, design["ip"], design["vlnv"], design["dma"])
    file.with_suffix(".hwh").write_text(hwh.to_hwh(), encoding="utf-8")
    return file


class _Region(Memory):
    """The memory of the u-dma-buf as the DMA sees it."""

    def __init__(self, file: Path) -> None:
        self._bytes = memoryview(np.memmap(file, np.uint8, "r+"))  # type: ignore[arg-type]

    def window(self, address: int, size: int) -> memoryview | None:
        first = address - REGION
        return self._bytes[first : first + size] if 0 <= first <= REGION_BYTES - size else None


class _Registers:
    """A window of registers; time passes with every access."""

    def __init__(self, machine: Machine, target: Any) -> None:
        self._machine, self._target = machine, target

    def read(self, offset: int) -> int:
        self._machine.pass_time()
        return int(self._target.read(offset))

    def write(self, offset: int, value: int) -> None:
        self._target.write(offset, value)
        self._machine.pass_time()


class Machine(LinuxBoard):
    """The Linux backend on :func:`make_root`, with models instead of mapped registers."""

    simulated = True

    def __init__(self, root: Path, bundle: Path, **options: Any) -> None:
        super().__init__(root, **options)
        self.model = FaultyCore(golden_core(bundle))
        self.dma_model = AxiDmaModel(_Region(root / "dev/udmabuf0"), self.model, 26)
        self.loads = 0

    def has_capability(self, name: str) -> bool:
        return False  # the models are no mapped memory

    def pass_time(self) -> None:
        self.model.advance(200)
        self.dma_model.step()

    def configure(self) -> None:
        super().configure()
        self.model.reset()
        self.dma_model.reset()
        self.loads += 1

    def map(self, address: int, size: int, name: str) -> Any:
        assert (address, size) in ((0x43C00000, 0x10000), (0x40400000, 0x10000))
        return _Registers(self, self.dma_model if address == 0x40400000 else self.model)
