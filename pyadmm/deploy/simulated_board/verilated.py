"""The Verilated top as the core of the simulated board: the generated RTL, clock cycle by cycle."""

from __future__ import annotations

from pathlib import Path

from pyadmm.deploy.simulated_board.dma import Words
from pyadmm.eda.rtl_simulation import LiveTop
from pyadmm.eda.verilator import RtlSimulator
from pyadmm.hardware.plan_json import read_accelerator


class VerilatedCore:
    """A :class:`~pyadmm.deploy.simulated_board.dma.StreamCore` in a process of its own.

    :param program: the simulator that :func:`pyadmm.eda.verilator.build_simulator` made.
    :param bundle: folder of the manifest, for the accelerator's plan.
    """

    def __init__(self, program: Path, bundle: Path) -> None:
        self._live = LiveTop(RtlSimulator(program, read_accelerator(bundle)))

    def read(self, offset: int) -> int:
        """Perform an AXI-Lite read of a register."""
        return self._live.read(offset)

    def write(self, offset: int, value: int) -> None:
        """Perform an AXI-Lite write to a register."""
        self._live.write(offset, value)

    def push(self, words: Words) -> None:
        """Offer words to the input stream."""
        self._live.send(words)

    @property
    def waiting(self) -> int:
        """Words offered that the top has not taken yet."""
        return self._live.status().offered

    def pull(self, limit: int) -> tuple[Words, bool]:
        """Words that left the output stream, at most up to a TLAST."""
        return self._live.receive(limit)

    def advance(self, cycles: int) -> None:
        """Let clock cycles pass."""
        self._live.advance(cycles)

    def reset(self) -> None:
        """The state after configuration."""
        self._live.reset()
