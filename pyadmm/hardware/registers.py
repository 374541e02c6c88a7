"""The register maps of the accelerators, which HLS, RTL, driver and simulation share.

Control follows the ``ap_ctrl_hs`` protocol of Vitis HLS. All registers are 32 bits wide. The manifest
of a bundle tells the driver the offsets; :mod:`pyadmm.codegen.registers` writes them into the RTL, and
the template of the HLS top takes them from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Register:
    """One register of an accelerator.

    :param offset: byte offset from the accelerator's base address.
    :param driver: whether the driver uses it, so that the manifest names it.
    """

    name: str
    offset: int
    meaning: str
    driver: bool = True


AP_CTRL, GLOBAL_ENABLE, INTERRUPT_ENABLE, INTERRUPT_STATUS = 0x00, 0x04, 0x08, 0x0C
"""Byte offsets that Vitis HLS gives the control of every kernel."""
IDENT, CYCLES = 0x20, 0x30
"""Byte offsets that both architectures have: identifier of the hardware, cycles of the last run."""
MODE, COUNT = 0x10, 0x18
"""Byte offsets of the dataflow top: what to do, images."""

START, DONE, IDLE, READY = 1 << 0, 1 << 1, 1 << 2, 1 << 3
"""Bits of :data:`AP_CTRL`."""

INFER, LOAD, READ_BACK = 0, 1, 2
"""Values of :data:`MODE`: classify images, load weights, send the weights back."""

CONTROL = (
    Register("ap_ctrl", AP_CTRL, "bit 0 start, 1 done, 2 idle, 3 ready, 7 auto-restart"),
    Register("global_enable", GLOBAL_ENABLE, "bit 0: interrupts reach the processor", False),
    Register("interrupt_enable", INTERRUPT_ENABLE, "bit 0 done, 1 ready", False),
    Register("interrupt_status", INTERRUPT_STATUS, "bit 0 done, 1 ready; a one toggles", False),
)
"""Registers that every accelerator has."""

DATAFLOW = (
    *CONTROL,
    Register("mode", MODE, "0 infer, 1 load weights, 2 read weights back"),
    Register("count", COUNT, "images of this run"),
    Register("ident", IDENT, "first 32 bits of the build's digest"),
    Register("cycles", CYCLES, "clock cycles of the last run; 0 where not measured"),
)
"""Registers of the dataflow top."""


def offsets(registers: Sequence[Register]) -> dict[str, int]:
    """Offsets by name of what the driver uses, as the manifest of a bundle lists them."""
    return {register.name: register.offset for register in registers if register.driver}


OFFSETS = offsets(DATAFLOW)
"""Offsets of the dataflow top by name."""
