"""Cycle-exact simulation of the layer-sequential accelerator with a model of the board's memory."""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from pyadmm.codegen.sequential import TOP
from pyadmm.codegen.sequential_rtl import array_ident, rtl_sources
from pyadmm.core.errors import PyadmmError, ToolError
from pyadmm.core.process import last_lines
from pyadmm.eda.verilator import Testbench, build_program
from pyadmm.hardware.registers import AP_CTRL, CYCLES
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.hardware.sequential.compiler import Compiled
from pyadmm.hardware.sequential.registers import (
    BASE,
    COUNTED_LAYERS,
    OK,
    PROFILE_CYCLES,
    PROFILE_INDEX,
    PROFILE_WAITS,
    STATUS,
    STATUS_TEXTS,
)

_CYCLES_LIMIT = 1 << 33
_LEVEL = "-O2"


@dataclass(frozen=True)
class MemoryModel:
    """The board's memory as the accelerator's port sees it.

    :param latency: cycles from a burst's address to its first word.
    :param bytes_per_cycle: that reads and writes share; 8 is the width of the port.
    :param stall: share of cycles in which a transfer that could happen does not.
    :param seed: of the stalls.
    :param bad: byte addresses that answer with an error.
    """

    latency: int = 30
    bytes_per_cycle: float = 8.0
    stall: float = 0.0
    seed: int = 1
    bad: range = range(0)


@dataclass(frozen=True)
class LayerProfile:
    """Cycles of a layer in one program, and how many of them the array waited for memory."""

    cycles: int
    waits: int


@dataclass(frozen=True)
class SequentialResult:
    """A program's end: status, cycles and traffic, and the cycles of its layers."""

    status: int
    cycles: int
    bytes_read: int
    bytes_written: int
    layers: tuple[LayerProfile, ...]


def build_sequential(array: SequentialArray, cache: Path) -> Path:
    """The simulator program of ``array``, built or taken from ``cache``.

    :raises ToolError: where a tool is missing or fails; nothing is cached then.
    """
    sources = {source.name: source.read_text(encoding="utf-8") for source in rtl_sources()}
    bench = Testbench("seq_harness.cpp", TOP, parameters=verilator_parameters(array), level=_LEVEL)
    return build_program(sources, bench, cache)


def verilator_parameters(array: SequentialArray) -> tuple[str, ...]:
    """Verilator's options for the parameters of a top that holds ``array``."""
    values = tuple(f"-G{name}={value}" for name, value in array.parameters.items())
    return (*values, f"-GIDENT=32'h{array_ident(array):08x}")


class SequentialTop:
    """The Verilated top and its memory as a process; use it in a ``with`` block."""

    def __init__(self, program: Path, memory_bytes: int, seed: int = 1) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )
        self.reset(memory_bytes, seed)

    def __enter__(self) -> SequentialTop:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def _command(self, request: bytes, answer: int) -> bytes:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
            data = self._process.stdout.read(answer)
        except OSError:
            data = b""
        if len(data) != answer:
            self._errors.seek(0)
            raise ToolError(f"sequential simulation ended: {last_lines(self._errors.read())}")
        return data

    def reset(self, memory_bytes: int = 0, seed: int = 1) -> None:
        """Reset; registers without one hold random values.

        :param memory_bytes: of memory from address 0 on, random too; 0 leaves memory as it is.
        """
        self._command(struct.pack("<cII", b"X", seed, memory_bytes), 4)

    def read(self, register: int) -> int:
        """Read a register of the accelerator."""
        value: int = struct.unpack("<I", self._command(struct.pack("<cI", b"R", register), 4))[0]
        return value

    def write(self, register: int, value: int) -> None:
        """Write a register of the accelerator."""
        self._command(struct.pack("<cII", b"W", register, value), 4)

    def share(self, file: Path, base: int, size: int) -> None:
        """Take the first ``size`` bytes of ``file`` as the memory from address ``base`` on.

        Who maps the file sees what the accelerator writes, and the other way round.
        """
        path = os.fsencode(file)
        self._command(struct.pack("<c3I", b"M", base, size, len(path)) + path, 4)

    def advance(self, cycles: int) -> None:
        """Let about ``cycles`` clock cycles pass, fewer where the accelerator is idle."""
        self._command(struct.pack("<cQ", b"A", cycles), 8)

    def put(self, address: int, data: bytes) -> None:
        """Write memory as the processor does."""
        self._command(struct.pack("<cII", b"P", address, len(data)) + data, 4)

    def get(self, address: int, count: int) -> bytes:
        """Read memory as the processor does."""
        return self._command(struct.pack("<cII", b"G", address, count), count)

    def memory(self, model: MemoryModel) -> None:
        """Choose how the memory behaves."""
        rate, stall = round(256 * model.bytes_per_cycle), round(65536 * model.stall)
        bad = (model.bad.start, model.bad.stop) if model.bad else (1, 0)
        self._command(struct.pack("<c6I", b"B", model.latency, rate, stall, model.seed, *bad), 4)

    def run(self, base: int = 0, layers: int = 0) -> SequentialResult:
        """Start the program at ``base`` and wait for its end.

        :param layers: of the program, whose cycles are read.
        """
        before = self._traffic()
        self.write(BASE, base)
        self.write(AP_CTRL, 1)
        self._command(struct.pack("<cQ", b"A", _CYCLES_LIMIT), 8)
        read, written = (now - then for now, then in zip(self._traffic(), before, strict=True))
        profile = tuple(self._profile(layers))
        return SequentialResult(self.read(STATUS), self.read(CYCLES), read, written, profile)

    def _traffic(self) -> tuple[int, int]:
        _, read, written, _ = struct.unpack("<QQQI", self._command(b"Q", 28))
        return read, written

    def _profile(self, layers: int) -> Iterator[LayerProfile]:
        for index in range(min(layers, COUNTED_LAYERS)):
            self.write(PROFILE_INDEX, index)
            yield LayerProfile(self.read(PROFILE_CYCLES), self.read(PROFILE_WAITS))


def pass_cycles(compiled: Compiled, result: SequentialResult) -> dict[str, int]:
    """Cycles of every pass of one start, from the end of the pass before it.

    Empty where the network has more passes than the hardware counts.
    """
    if len(compiled.layers) != len(result.layers):
        return {}
    counted = zip(compiled.layers, result.layers, strict=True)
    return {name: layer.cycles for name, layer in counted}


def place(top: SequentialTop, compiled: Compiled, base: int = 0) -> None:
    """Write the program of ``compiled`` into the memory at ``base``."""
    top.put(base, compiled.program.image)


def infer(
    top: SequentialTop,
    compiled: Compiled,
    images: NDArray[np.uint8] | NDArray[np.int8],
    base: int = 0,
) -> tuple[NDArray[np.int64], SequentialResult]:
    """Logits of ``images``, as many as a run takes, by a program that :func:`place` has placed.

    :raises PyadmmError: where the program ends with a status other than OK.
    """
    memory = np.zeros(compiled.program.memory_bytes, np.uint8)
    compiled.place_input(memory, images)
    where = compiled.input
    size = where.stride * compiled.entry.shape[0]
    top.put(base + where.base, memory[where.base : where.base + size].tobytes())
    result = top.run(base, len(compiled.layers))
    if result.status != OK:
        reason = STATUS_TEXTS.get(result.status, "unknown")
        raise PyadmmError(f"sequential run: status {result.status}: {reason}")
    out = compiled.output
    size = out.stride * compiled.steps[-1].step.output.shape[0]
    data = np.frombuffer(top.get(base + out.base, size), np.uint8)
    memory[out.base : out.base + size] = data
    return compiled.read_output(memory), result
