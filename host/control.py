"""The accelerator's control registers, whoever maps them: pynq or plain Linux.

They follow the ``ap_ctrl_hs`` protocol of Vitis HLS; their offsets come from the manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .dma import Deadline
from .errors import HardwareTimeout

if TYPE_CHECKING:
    from .manifest import Manifest

START, DONE, IDLE, READY = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_CONTROL_WORDS = {0: "started", 1: "done", 2: "idle", 3: "ready", 7: "auto-restart"}

BINDTO = [
    "xilinx.com:hls:pyadmm_top:1.0",
    "pyadmm:hls:pyadmm_top:1.0",
    "pyadmm:rtl:pyadmm_top:1.0",
    "xilinx.com:hls:seq_top:1.0",
    "pyadmm:rtl:seq_top:1.0",
]
"""Types of the accelerator in a block design, made by HLS or packaged from RTL."""


def decode_control(value: int) -> str:
    """The set bits of ``ap_ctrl`` in words."""
    words = [text for bit, text in _CONTROL_WORDS.items() if value >> bit & 1]
    return f"{', '.join(words) or 'busy'} (0x{value:08x})"


class AcceleratorControl:
    """Control of the accelerator; subclasses give ``name``, ``manifest``, ``read``, ``write``.

    :param mmio: the registers; ``mmio.array`` where they are mapped memory, for the C path.
    """

    name: str
    mmio: Any

    @property
    def manifest(self) -> Manifest:
        """The manifest in force, which names the registers."""
        raise NotImplementedError

    def read(self, offset: int) -> Any:
        """The 32-bit register at byte ``offset``."""
        raise NotImplementedError

    def write(self, offset: int, value: int) -> Any:
        """Set the 32-bit register at byte ``offset``."""
        raise NotImplementedError

    def get(self, register: str) -> int:
        """The value of a register by its name in the manifest."""
        return int(self.read(self.manifest.registers[register]))

    def set(self, register: str, value: int) -> None:
        """Set a register by its name in the manifest."""
        self.write(self.manifest.registers[register], value)

    @property
    def ident(self) -> int:
        """First 32 bits of the digest of the build plan that the bitstream was made from."""
        return self.get("ident")

    @property
    def cycles(self) -> int | None:
        """Clock cycles of the last run, start to done; None where the design does not count."""
        return self.get("cycles") or None

    @property
    def idle(self) -> bool:
        """Whether no run is in progress."""
        return bool(self.get("ap_ctrl") & IDLE)

    def start(self, **arguments: int) -> None:
        """Start one run of the accelerator.

        :param arguments: registers to set before it, by name.
        """
        for register, value in arguments.items():
            self.set(register, value)
        self.set("ap_ctrl", START)

    def wait(self, deadline: Deadline) -> None:
        """Wait for the end of the run.

        :raises HardwareTimeout: if it is not done by then.
        """
        while True:
            control = self.get("ap_ctrl")
            # done clears on read in HLS designs, so an idle core that is not about to start counts
            if control & DONE or (control & IDLE and not control & START):
                return
            if deadline.passed:
                raise HardwareTimeout(
                    f"{self.name}: waited {deadline.seconds:g} s for done; ap_ctrl: "
                    f"{decode_control(control)}"
                )
