"""The board through pynq: overlay, MMIO, allocator and clocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pynq

from .board import BACKEND_VARIABLE, DmaFacts, require_instance, require_kind
from .clock import DIVISOR_LIMIT, divisors
from .control import BINDTO, AcceleratorControl
from .driver import AcceleratorIP
from .errors import HostError, IdentError
from .manifest import Manifest


class PynqBoard:
    """A :class:`~host.board.Board` that pynq drives.

    :param device: pynq device, by default the active one.
    :raises HostError: if pynq sees no device.
    """

    files: tuple[str, ...] = (".bit", ".hwh")

    def __init__(self, device: Any = None) -> None:
        self.device = _active_device() if device is None else device
        self._overlay: Any = None

    def open(self, bitfile: Path, manifest: Manifest) -> None:
        """Configure the logic with the bitstream and set its clock."""
        self._bitfile, self._manifest = bitfile, manifest
        overlay = pynq.Overlay(str(bitfile), download=False, device=self.device)
        for index, clock in overlay.clock_dict.items():
            # pynq 4.0 sets clocks by frequency, but reads none from a Zynq-7000's .hwh and then
            # fails on None; the rate of our own clock is in the manifest, the others may stay.
            if clock.get("enable") and clock.get("frequency", 0) is None:
                if index == manifest.clock_index:
                    clock["frequency"] = manifest.clock_mhz
                else:
                    del clock["enable"]
        overlay.download()
        self._overlay = overlay

    def reload(self) -> None:
        """Configure the logic anew."""
        self._overlay.download()

    def _describe(self, instance: str) -> Any:
        return require_instance(self._overlay.ip_dict, instance, self._bitfile)

    def dma(self, name: str) -> DmaFacts:
        """The DMA with that instance name."""
        entry = self._describe(name)
        registers = pynq.MMIO(entry["phys_addr"], entry["addr_range"], device=self.device)
        return DmaFacts(registers, entry["parameters"])

    def core(self) -> AcceleratorControl:
        """The accelerator's pynq driver."""
        design = self._manifest.design
        kind = self._describe(design.ip)["type"]
        require_kind(kind, self._manifest, self._bitfile)
        driver: Any = self._overlay
        for part in design.ip.split("/"):
            driver = getattr(driver, part)
        if not isinstance(driver, AcceleratorIP):
            raise IdentError(
                f"{design.ip}: type {kind} has no driver here; known are {', '.join(BINDTO)}"
            )
        driver.manifest = self._manifest
        return driver

    def set_clock(self, index: int, mhz: float) -> float:
        """Set a clock of the processing system to the fastest rate up to ``mhz``; gives it in MHz.

        pynq by itself takes the nearest rate, which can be well above: asked for 200 MHz, a Zynq
        UltraScale+ with its usual 1,500 MHz PLL would run at 214.3 MHz.

        :raises HostError: if the board cannot make a rate that slow.
        """
        pynq.Clocks.set_pl_clk(index, div0=DIVISOR_LIMIT, div1=1)
        source = float(pynq.Clocks.get_pl_clk(index)) * DIVISOR_LIMIT
        div0, div1 = divisors(source, mhz)
        pynq.Clocks.set_pl_clk(index, div0=div0, div1=div1)
        return float(pynq.Clocks.get_pl_clk(index))

    def allocate(self, words: int) -> Any:
        """A pynq buffer of 32-bit words."""
        return pynq.allocate((words,), np.uint32, target=self.device)


def _active_device() -> Any:
    try:
        return pynq.Device.active_device
    except RuntimeError as error:
        raise HostError(
            f"board: no device ({error}); on a board, use a login shell of root: 'sudo -i', or set "
            f"{BACKEND_VARIABLE}=linux to drive it without pynq"
        ) from error
