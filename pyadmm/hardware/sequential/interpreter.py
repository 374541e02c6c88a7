"""Executes the bytes of a program on an array of memory: the contract of the hardware in Python."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.sequential.array import BEAT, SLICE, TAPS, SequentialArray
from pyadmm.hardware.sequential.compiler import Compiled, descriptors
from pyadmm.hardware.sequential.program import (
    ESCALATE,
    LIST_END,
    LIST_ZERO,
    MAC,
    SKIP,
    TAP_SIGNED,
    Load,
    Run,
    Sum,
    check_image,
    decode,
)

Memory = NDArray[np.uint8]
_UNMADE = 0xA5
"""Stands for bytes that the hardware leaves undefined."""


class Interpreter:
    """State of the array: buffer and tables."""

    def __init__(self, array: SequentialArray, memory: Memory) -> None:
        self.array, self.memory = array, memory
        self.buffer = np.zeros(array.buffer_bytes, np.uint8)
        self.tables = {
            "masks": np.zeros(array.masks, np.uint64),
            "taps": np.zeros(TAPS, np.uint64),
            "list": np.zeros(array.lists, np.uint64),
        }

    def run(self, image: bytes) -> None:
        """Execute all descriptors of ``image``."""
        check_image(image, self.array)
        for data in descriptors(image):
            descriptor = decode(data)
            if isinstance(descriptor, Load):
                self._load(descriptor)
            elif descriptor is not None:
                self._run(descriptor)

    def _load(self, load: Load) -> None:
        place = load.index
        for row in range(load.rows):
            start = load.source + row * load.stride
            data = self._read(start, load.beats * BEAT)
            if load.target == "buffer":
                at = place * self.array.lanes + np.arange(len(data))
                self.buffer[at % len(self.buffer)] = data
                place += load.step
            else:
                self.tables[load.target][place : place + load.beats] = data.view("<u8")
                place += load.beats

    def _read(self, start: int, size: int) -> Memory:
        if start + size > len(self.memory):
            raise PyadmmError(f"sequential program: reads byte {start + size}, out of its memory")
        return self.memory[start : start + size].copy()

    def _run(self, run: Run) -> None:
        start = run.streams
        for words in run.words[: self.array.groups]:
            place = 0
            while place < words:
                place += self._slot(run, start + place * BEAT)
            start += words * BEAT

    def _slot(self, run: Run, at: int) -> int:
        """One output channel; returns its 64-bit words."""
        first, second = struct.unpack("<QQ", self._read(at, 16).tobytes())
        count = first & 0xFFFF
        entries = self._read(at + 16, 2 * count).view("<u2").astype(np.int64)
        bias = int(np.uint32(second & 0xFFFFFFFF).view(np.int32))
        acc = self._accumulate(run, entries, run.base + (first >> 16 & 0xFFFFF))
        value = (acc + bias) * (second >> 32 & 0xFFFF)
        shift = second >> 48 & 0x3F
        value = np.clip((value + (1 << (shift - 1))) >> shift, run.low, run.high)
        if run.added:
            line = (first >> 36 & 0xF) | (second >> 54 & 0x1FF) << 4
            value = self._added(run, run.added, value, line, int(entries[-1]))
        data = value.astype("<i4").view(np.uint8).reshape(-1, 4)
        made = (run.tiles - 1) * self.array.lanes + run.last_slices * SLICE
        data[made:] = _UNMADE
        kept = data.T.ravel() if run.wide else data[:, 0]
        self._store(run, kept, run.destination + (first >> 40) * SLICE)
        return 2 + -(-count // 4)

    def _added(
        self, run: Run, added: Sum, value: NDArray[np.int64], line: int, entry: int
    ) -> NDArray[np.int64]:
        """The sum of requantised results and what the last entry takes."""
        assert entry & (MAC | 0xFF) == SKIP
        offset = int(self.tables["taps"][run.tap_base + (entry >> 8 & 0x7F)]) & (TAP_SIGNED - 1)
        address = offset + line * self.array.lanes + np.arange(len(value))
        skip = self.buffer[address % len(self.buffer)]
        other = (skip.view(np.int8) if added.signed else skip).astype(np.int64)
        total = value * added.mult0 + other * added.mult1
        return np.clip((total + (1 << (added.shift - 1))) >> added.shift, added.low, added.high)

    def _accumulate(self, run: Run, entries: NDArray[np.int64], start: int) -> NDArray[np.int64]:
        lanes = np.arange(self.array.lanes)
        tile = np.arange(run.tiles)[:, None]
        acc = np.zeros((run.tiles, len(lanes)), np.int64)
        mac = entries & MAC != 0
        position = entries >> 8 & 0x7F
        escalate = ~mac & (entries & 0xFF == ESCALATE)
        tap = position & ((1 << run.tap_bits) - 1)
        advance = np.cumsum(position >> run.tap_bits) * run.plane + start
        code = (entries & 0x7F) + 1
        code = np.where(entries & 0x80, -code, code)
        taps = self.tables["taps"][run.tap_base : run.tap_base + run.taps].astype(np.int64)
        fresh = True
        for i in range(len(entries)):
            if escalate[i]:
                acc <<= 7
            if not mac[i]:
                continue
            word = int(taps[tap[i]])
            address = int(advance[i]) + (word & (TAP_SIGNED - 1)) + tile * len(lanes) + lanes
            x = self.buffer[address % len(self.buffer)]
            mask = self.tables["masks"][run.mask_base + tile * run.taps + tap[i]]
            x = np.where(mask >> lanes.astype(np.uint64) & np.uint64(1), x, 0).astype(np.uint8)
            value = (x.view(np.int8) if word & TAP_SIGNED else x).astype(np.int64)
            if run.maximum:
                acc = value if fresh else np.maximum(acc, value)
                fresh = False
            else:
                acc += code[i] * value
        return acc.ravel()

    def _store(self, run: Run, data: Memory, destination: int) -> None:
        """Bytes of a channel, in order or as the list says."""
        if not run.listed:
            self._write(run, destination, data[: run.stored * SLICE])
            return
        piece: list[int] = []
        words = self.tables["list"][run.list_base : run.list_base + run.stored]
        for word in words.astype(np.int64).tolist():
            beat = data[(word & 0xFFFF) * SLICE :][:SLICE]
            lanes = [lane for lane in range(SLICE) if word >> (16 + lane) & 1]
            piece += [0 if word & LIST_ZERO else int(beat[lane]) for lane in lanes]
            if word & LIST_END:
                self._write(run, destination, np.array(piece, np.uint8))
                piece = []
                destination += run.piece_stride

    def _write(self, run: Run, start: int, data: Memory) -> None:
        target = self.buffer if run.to_buffer else self.memory
        unit = self.array.lanes if run.to_buffer else SLICE
        padded = np.concatenate([data, np.zeros(-len(data) % unit, np.uint8)])
        if run.to_buffer:
            target[(start + np.arange(len(padded))) % len(target)] = padded
            return
        if start % unit or start + len(padded) > len(target):
            raise PyadmmError(f"sequential program: writes {len(padded)} bytes to byte {start}")
        target[start : start + len(padded)] = padded


def interpret(compiled: Compiled, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Logits of ``images`` by the program's bytes; as many images as it was compiled for."""
    memory = np.zeros(compiled.program.memory_bytes, np.uint8)
    image = compiled.program.image
    memory[: len(image)] = np.frombuffer(image, np.uint8)
    compiled.place_input(memory, images)
    Interpreter(compiled.program.array, memory).run(image)
    return compiled.read_output(memory)
