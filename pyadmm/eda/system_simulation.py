"""Simulation of a whole Zynq-7000 system, or of its DMA alone, with the processor's side and memory.

``hls/cosim/system.cpp`` plays the processor (registers over AXI3) and the memory (latency, stalls,
error responses) and checks the AXI protocol; this module drives it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pyadmm.codegen.system import (
    SEQUENTIAL_SYSTEM_TOP,
    SYSTEM_TOP,
    send_bits,
    sequential_system_build,
    system_files,
)
from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import ToolError
from pyadmm.eda.live_process import LiveProcess
from pyadmm.eda.sequential_simulation import verilator_parameters
from pyadmm.eda.verilator import Testbench, Words, build_program
from pyadmm.hardware.plan import BuildPlan
from pyadmm.hardware.sequential.array import SequentialArray

OKAY, SLAVE_ERROR, DECODE_ERROR = 0, 2, 3
"""AXI responses."""
DMA_BENCH = "dma_bench"


@dataclass(frozen=True)
class SystemStatus:
    """State of a :class:`LiveSystem`.

    :param cycle: clock cycles since the reset.
    :param interrupts: levels of the lines: bit 0 accelerator, 1 send, 2 receive.
    :param offered: words that the receive stream has not taken (:func:`build_dma_bench` only).
    :param beats_read: 64-bit beats that the memory gave; ``beats_written`` those that it took.
    """

    cycle: int
    interrupts: int
    offered: int
    beats_read: int
    beats_written: int
    bursts: int


class LiveSystem(LiveProcess):
    """A Verilated system that is driven step by step; use it in a ``with`` block.

    The clock runs only during register accesses and :meth:`advance`. An access to memory that was
    never :meth:`put` gets a decode error.
    """

    def read_burst(self, address: int, words: int) -> tuple[Words, int]:
        """Up to 16 registers in one transaction, and its response."""
        answer = self._ask("<cII", b"R", address, words)
        (response,) = answer("<I")
        return np.array(answer(f"<{words}I"), np.uint32), response

    def write_burst(self, address: int, words: Words) -> int:
        """Write up to 16 registers in one transaction; gives its response."""
        data = np.ascontiguousarray(words, "<u4")
        return self._ask("<cII", b"W", address, data.size, tail=data.tobytes())("<I")[0]

    def read(self, address: int) -> int:
        """Read a register through the processor's port.

        :raises ToolError: for an error response.
        """
        words, response = self.read_burst(address, 1)
        self._require_okay(address, response)
        return int(words[0])

    def write(self, address: int, value: int) -> None:
        """Write a register through the processor's port.

        :raises ToolError: for an error response.
        """
        self._require_okay(address, self.write_burst(address, np.array([value], np.uint32)))

    @staticmethod
    def _require_okay(address: int, response: int) -> None:
        if response != OKAY:
            raise ToolError(
                f"system simulation: the access to 0x{address:08x} got the response {response}; "
                "no register lies there"
            )

    def put(self, address: int, content: bytes) -> None:
        """Write memory; its pages of 4 KiB exist from then on."""
        self._ask("<cII", b"P", address, len(content), tail=content)("<I")

    def get(self, address: int, nbytes: int) -> bytes:
        """Read memory; zeros where there is none."""
        self._ask("<cII", b"K", address, nbytes)
        return self._take(nbytes)

    def respond(self, address: int, response: int) -> None:
        """Let the page of ``address`` answer with :data:`OKAY` or an error."""
        self._ask("<cII", b"F", address, response)("<I")

    def stall(self, seed: int, share: float, latency: int) -> None:
        """Let every handshake wait this share of the time, and the memory answer so late."""
        self._ask("<cIII", b"T", seed, round(share * 0x10000), latency)("<I")

    def send(self, words: Words, keep: int = 0xF) -> None:
        """Offer a packet to the receive stream of a DMA bench.

        :param keep: TKEEP of the last word; 0 leaves TLAST out.
        """
        data = np.ascontiguousarray(words, "<u4")
        self._ask("<cII", b"S", keep, data.size, tail=data.tobytes())("<I")

    def receive(self, limit: int) -> tuple[Words, bool, int]:
        """Words of a DMA bench's send stream, none beyond a TLAST; TLAST; TKEEP of the last one."""
        count, last, keep = self._ask("<cI", b"G", limit)("<III")
        return np.frombuffer(self._take(4 * count), "<u4").astype(np.uint32), bool(last), keep

    def advance(self, cycles: int) -> int:
        """Let clock cycles pass; the cycle it is then."""
        return self._ask("<cQ", b"A", cycles)("<Q")[0]

    def status(self) -> SystemStatus:
        """State of the simulation."""
        return SystemStatus(*self._ask("<c", b"Q")("<QIIQQQ"))

    def reset(self, seed: int = 1) -> None:
        """The state after configuration, with empty memory."""
        self._ask("<cI", b"X", seed)("<I")


def build_system(build: BuildPlan, cache: Path) -> Path:
    """The simulator of an RTL build inside the system of ``hls/system``, without the processor.

    :param build: as :func:`pyadmm.codegen.rtl.generate_rtl` gives it.
    :raises ToolError: where a tool is missing or fails.
    """
    rtl = {name: text for name, text in build.files.items() if name.startswith("rtl/")}
    return build_program({**rtl, **system_files(send_bits(build))}, _testbench(SYSTEM_TOP), cache)


def build_sequential_system(array: SequentialArray, cache: Path) -> Path:
    """The simulator of the layer-sequential array inside its system, without the processor.

    :raises ToolError: where a tool is missing or fails.
    """
    files = sequential_system_build(array).files
    sources = {name: str(text) for name, text in files.items() if name.endswith(".sv")}
    bench = _testbench(SEQUENTIAL_SYSTEM_TOP, "-DPYADMM_SECOND_PORT")
    return build_program(sources, replace(bench, parameters=verilator_parameters(array)), cache)


def build_dma_bench(cache: Path) -> Path:
    """The simulator of the DMA alone, with its streams.

    :raises ToolError: where a tool is missing or fails.
    """
    files = system_files()
    hls = asset_dir("hls")
    wanted = (
        "axi_dma",
        "beat_fifo",
        "dma_channel",
        "dma_read",
        "dma_write",
        "gp_bridge",
    )
    sources = {f"system/{name}.sv": files[f"system/{name}.sv"] for name in wanted}
    sources[f"cosim/{DMA_BENCH}.sv"] = (hls / "cosim" / f"{DMA_BENCH}.sv").read_text("utf-8")
    for name in ("reset_sync", "stream_register"):
        sources[f"rtl/{name}.sv"] = (hls / "rtl" / f"{name}.sv").read_text("utf-8")
    return build_program(sources, _testbench(DMA_BENCH, "-DPYADMM_STREAMS"), cache)


def _testbench(top: str, *defines: str) -> Testbench:
    names = (f"-DPYADMM_TOP=V{top}", f'-DPYADMM_HEADER="V{top}.h"')
    return Testbench("system.cpp", top, (*names, *defines))
