"""The board without pynq, through files of the Linux kernel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..board import DmaFacts, require_instance, require_kind
from ..control import AcceleratorControl
from ..errors import HostError, IdentError
from ..manifest import Manifest
from .buffers import Buffer, Region, find_region
from .clock import KernelClock
from .fpga import LOADED_VARIABLE, FpgaManager
from .hwh import BlockDesign, Instance, read_hwh
from .registers import MappedRegisters, map_registers
from .sysfs import read_text


class LinuxCore(AcceleratorControl):
    """The accelerator's registers, mapped; ``mmio`` is what the C path reads their address from."""

    def __init__(self, name: str, manifest: Manifest, registers: Any) -> None:
        self.name, self._manifest, self.mmio = name, manifest, registers

    @property
    def manifest(self) -> Manifest:
        """The manifest in force."""
        return self._manifest

    def read(self, offset: int) -> int:
        """The 32-bit register at byte ``offset``."""
        return int(self.mmio.read(offset))

    def write(self, offset: int, value: int) -> None:
        """Set the 32-bit register at byte ``offset``."""
        self.mmio.write(offset, value)


class LinuxBoard:
    """A :class:`~host.board.Board` that needs numpy only.

    :param root: ``/``, or a folder that stands for it.
    :param loaded: the design is configured already (by the boot loader, an overlay or another
        program) and is only checked; by default what the environment's ``PYADMM_LOADED`` says.
    :raises HostError: where the kernel has no fpga_manager.
    """

    def __init__(self, root: Path | None = None, loaded: bool | None = None) -> None:
        self.root = Path("/") if root is None else root
        asked = os.environ.get(LOADED_VARIABLE, "") not in ("", "0")
        self.loaded = asked if loaded is None else loaded
        self.files: tuple[str, ...] = (".hwh",) if self.loaded else (".bit", ".hwh")
        self.device = self
        self.tag = "linux-fpga0"
        self._fpga = FpgaManager(self.root)
        self._design: BlockDesign | None = None
        self._region: Region | None = None

    @property
    def name(self) -> str:
        """The board's model, as the device tree says it, else the name of its fpga_manager."""
        return read_text(self.root / "proc/device-tree/model") or self._fpga.name

    def has_capability(self, name: str) -> bool:
        """Whether the registers are mapped memory, which is all that is asked here."""
        return name == "MEMORY_MAPPED"

    def open(self, bitfile: Path, manifest: Manifest) -> None:
        """Configure the logic, or see that it is configured."""
        self._bitfile, self._manifest = bitfile, manifest
        self._design = read_hwh(bitfile.with_suffix(".hwh"))
        if self.loaded:
            self._fpga.require_operating()
        else:
            self.configure()

    def configure(self) -> None:
        """Load the bitstream through fpga_manager."""
        self._fpga.load(self._bitfile)

    def reload(self) -> None:
        """Configure the logic anew.

        :raises HostError: for a design that somebody else loaded.
        """
        if self.loaded:
            raise HostError(
                f"accelerator: the core is stuck, and the design was loaded by another program; "
                f"load it there again, or leave {LOADED_VARIABLE} out"
            )
        self.configure()

    def _instance(self, name: str) -> Instance:
        assert self._design is not None  # open() comes first
        found: Instance = require_instance(self._design.instances, name, self._bitfile)
        return found

    def map(self, address: int, size: int, name: str) -> Any:
        """The registers of ``name`` at a physical address."""
        return map_registers(self.root, address, size, name)

    def _registers(self, name: str) -> MappedRegisters:
        instance = self._instance(name)
        if instance.address is None:
            raise IdentError(
                f"{self._bitfile.stem}.hwh: the processor reaches no registers of {name}; connect "
                "it to a general-purpose port"
            )
        registers: MappedRegisters = self.map(instance.address, instance.size, name)
        return registers

    def dma(self, name: str) -> DmaFacts:
        """The DMA with that instance name."""
        return DmaFacts(self._registers(name), self._instance(name).parameters)

    def core(self) -> AcceleratorControl:
        """The accelerator that the manifest names."""
        name = self._manifest.design.ip
        require_kind(self._instance(name).kind, self._manifest, self._bitfile)
        return LinuxCore(name, self._manifest, self._registers(name))

    def set_clock(self, index: int, mhz: float) -> float:
        """Run a clock at ``mhz`` or slower, or refuse; gives the rate in MHz."""
        assert self._design is not None  # open() comes first
        return KernelClock(self.root, self._design.family, index).run(mhz)

    def allocate(self, words: int) -> Buffer:
        """A physically contiguous buffer of the kernel."""
        if self._region is None:
            self._region = find_region(self.root)
        return self._region.allocate(words)
