"""Loading a bitstream through the kernel's fpga_manager."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import HostError
from .bitstream import bit_to_bin
from .sysfs import read_text, write_text

LOADED_VARIABLE = "PYADMM_LOADED"
FIRMWARE_NAME = "pyadmm.bit.bin"
_OPERATING = "operating"


class FpgaManager:
    """The FPGA manager of the kernel, ``/sys/class/fpga_manager/fpga0``.

    :param root: ``/``, or a folder that stands for it.
    :raises HostError: where the kernel has no fpga_manager.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        found = sorted((root / "sys/class/fpga_manager").glob("fpga*"))
        if not found:
            raise HostError(
                "fpga_manager: this kernel has no /sys/class/fpga_manager/fpga*; enable "
                "CONFIG_FPGA and CONFIG_FPGA_MGR_ZYNQ_FPGA (Zynq-7000) or "
                "CONFIG_FPGA_MGR_ZYNQMP_FPGA, or run on the board itself"
            )
        self._folder = found[0]

    @property
    def name(self) -> str:
        """What the kernel calls the device."""
        return read_text(self._folder / "name") or self._folder.name

    def load(self, bitfile: Path) -> None:
        """Configure the logic with a ``.bit``.

        :raises HostError: if the kernel cannot load it, with its state.
        """
        request = self._folder / "firmware"
        if not request.exists():
            raise HostError(
                f"fpga_manager: {request} does not exist: this kernel (mainline, not the "
                "vendor's) loads only through device tree overlays; load the design at boot (U-Boot: "
                f"'fpga loadb'), or by an overlay, and set {LOADED_VARIABLE}=1"
            )
        try:
            content = bit_to_bin(bitfile.read_bytes())
            folder = self._root / "lib/firmware"
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f".{FIRMWARE_NAME}"
            partial.write_bytes(content)
            os.replace(partial, folder / FIRMWARE_NAME)
        except OSError as error:
            raise HostError(f"bitstream: {error}; run as root: 'sudo -i'") from error
        flags = self._folder / "flags"
        if flags.exists():
            write_text(flags, "0", "fpga_manager")
        write_text(request, FIRMWARE_NAME, "fpga_manager")
        self.require_operating()

    def require_operating(self) -> None:
        """Refuse logic that is not configured: an access to it would stop the processor.

        :raises HostError: with the state.
        """
        state = read_text(self._folder / "state")
        if state != _OPERATING:
            raise HostError(
                f"fpga_manager: the state is {state!r}, not {_OPERATING!r}; is the bitstream of "
                "this chip? 'dmesg' has the kernel's reason"
            )
