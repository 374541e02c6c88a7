"""The clock of the logic through the kernel: set where a driver lets us, else checked as booted."""

from __future__ import annotations

import os
from pathlib import Path

from ..clock import TOLERANCE
from ..errors import HostError
from .sysfs import read_number, write_text

CLOCK_VARIABLE = "PYADMM_CLOCK_MHZ"
"""Environment: the clock's rate, for a kernel that does not tell it."""
_NAMES = {"zynq7000": "fclk{}", "zynqmp": "pl{}_ref"}
_SETTERS = (
    "sys/bus/platform/drivers/xilinx_fclk/*fclk{}/set_rate",
    "sys/class/fclkcfg/*fclk{}/rate",
)
"""Of the vendor's kernels (``xlnx,fclk``) and of the module fclkcfg."""
_STEP, _LEAST = 0.98, 0.5


class KernelClock:
    """One clock from the processor to the logic.

    :param root: ``/``, or a folder that stands for it.
    :param family: ``zynq7000`` or ``zynqmp``.
    """

    def __init__(self, root: Path, family: str, index: int) -> None:
        self.name = _NAMES[family].format(index)
        patterns = [pattern.format(index) for pattern in _SETTERS]
        found = [path for pattern in patterns for path in sorted(root.glob(pattern))]
        self._setter = found[0] if found else None
        self._folder = root / "sys/kernel/debug/clk" / self.name

    @property
    def rate_mhz(self) -> float | None:
        """The rate that the kernel says; None where it does not."""
        sources = [self._folder / "clk_rate"]
        if self._setter is not None:
            sources.insert(0, self._setter)
        hertz = next(filter(None, map(read_number, sources)), None)
        return None if hertz is None else hertz / 1e6

    def run(self, mhz: float) -> float:
        """Run at ``mhz`` or slower; gives the rate in MHz.

        :raises HostError: if it runs faster and cannot be changed, is off, or is not known.
        """
        limit = mhz * (1 + TOLERANCE)
        if self._setter is not None:
            self._slow_down(self._setter, mhz, limit)
        rate = self.rate_mhz
        if rate is None:
            return self._told(limit)
        if rate > limit:
            raise HostError(
                f"clock {self.name}: runs at {rate:g} MHz, but the design is timed for {mhz:g}; set "
                "it at boot (device tree: assigned-clock-rates, or the first-stage loader), or add "
                "a node 'compatible = \"xlnx,fclk\"' or the module fclkcfg, which let it be set"
            )
        self._require_enabled()
        return rate

    def _slow_down(self, setter: Path, mhz: float, limit: float) -> None:
        """Ask for ``mhz``, and for less as long as the nearest rate is too fast."""
        asked = mhz
        while asked > mhz * _LEAST:
            write_text(setter, str(round(asked * 1e6)), f"clock {self.name}")
            rate = self.rate_mhz
            if rate is None or rate <= limit:
                return
            asked *= _STEP

    def _require_enabled(self) -> None:
        """A stopped clock would hang the processor at the first register access."""
        if read_number(self._folder / "clk_enable_count") == 0:
            raise HostError(
                f"clock {self.name}: the kernel has it switched off; add its bit to 'fclk-enable' "
                "of the clock controller in the device tree, or a driver that enables it"
            )

    def _told(self, limit: float) -> float:
        text = os.environ.get(CLOCK_VARIABLE)
        if text is None:
            raise HostError(
                f"clock {self.name}: this kernel does not tell its rate; 'mount -t debugfs none "
                f"/sys/kernel/debug' as root, or say the rate of the boot loader with "
                f"{CLOCK_VARIABLE}"
            )
        try:
            rate = float(text)
        except ValueError:
            rate = 0.0
        if not 0 < rate <= limit:
            raise HostError(
                f"{CLOCK_VARIABLE}: must be a rate up to {limit:g} MHz, for which the design is "
                f"timed, not {text!r}"
            )
        return rate
