"""The register map of the accelerator: HLS top, RTL top, driver and simulation share it.

Control follows the ``ap_ctrl_hs`` protocol of Vitis HLS. All registers are 32 bits wide.
"""

from __future__ import annotations

AP_CTRL, MODE, COUNT, IDENT, CYCLES = 0x00, 0x10, 0x18, 0x20, 0x30
"""Byte offsets: control and status, what to do, images, identifier of the hardware, cycles."""

START, DONE, IDLE, READY = 1 << 0, 1 << 1, 1 << 2, 1 << 3
"""Bits of :data:`AP_CTRL`."""

INFER, LOAD, READ_BACK = 0, 1, 2
"""Values of :data:`MODE`: classify images, load weights, send the weights back."""

OFFSETS = {"ap_ctrl": AP_CTRL, "mode": MODE, "count": COUNT, "ident": IDENT, "cycles": CYCLES}
"""Offsets by name, as the manifest of a bundle lists them."""
