"""The Verilated tops as cores of the simulated board: the RTL of both architectures, by clock cycles."""

from __future__ import annotations

from pathlib import Path

from pyadmm.deploy.simulated_board.dma import Memory, Words
from pyadmm.eda.rtl_simulation import LiveTop
from pyadmm.eda.sequential_simulation import MemoryModel, SequentialTop
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


class VerilatedArray:
    """The layer-sequential array in a process of its own, which shares the board's memory.

    :param program: the simulator that :func:`pyadmm.eda.sequential_simulation.build_sequential` made.
    :param model: how the memory answers.
    """

    def __init__(self, program: Path, memory: Memory, model: MemoryModel) -> None:
        self._top = SequentialTop(program, Memory.PAGE)
        self._top.share(memory.file, memory.FIRST, memory.size)
        self.behave(model)

    def behave(self, model: MemoryModel) -> None:
        """Choose how the memory answers: latency, rate, stalls, addresses with errors."""
        self._top.memory(model)

    def read(self, offset: int) -> int:
        """Perform an AXI-Lite read of a register."""
        return self._top.read(offset)

    def write(self, offset: int, value: int) -> None:
        """Perform an AXI-Lite write to a register."""
        self._top.write(offset, value)

    def advance(self, cycles: int) -> None:
        """Let clock cycles pass."""
        self._top.advance(cycles)

    def reset(self) -> None:
        """The state after configuration; memory stays."""
        self._top.reset()
