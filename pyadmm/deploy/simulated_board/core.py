"""Cores for the simulated board: a stand-in that runs the golden model, and faults for any core.

The stand-in follows the register map and the streams of ``docs/kernels.md`` in Python, without a
notion of clock cycles: its cycle register reads 0, "not measured". The Verilated top is the real
thing; see :mod:`pyadmm.deploy.simulated_board.verilated`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pyadmm.deploy.simulated_board.dma import Core, StreamCore, Words
from pyadmm.hardware.registers import (
    AP_CTRL,
    COUNT,
    DONE,
    IDENT,
    IDLE,
    INFER,
    LOAD,
    MODE,
    READ_BACK,
    READY,
    START,
)
from pyadmm.model import CompressedModel

_NO_WORDS = np.empty(0, np.uint32)


def image_digest(words: Words) -> str:
    """Name of a weight image: sha256 of its little-endian words."""
    return hashlib.sha256(words.astype("<u4").tobytes()).hexdigest()


@dataclass
class GoldenCore:
    """The accelerator's contract in Python.

    :param models: the models that it can run, by :func:`image_digest` of their weight images;
        with any other weights its logits are all zero.
    :param weight_words: length of a weight image.
    :param image_words: words of one image on the input stream.
    :param ident: what the ident register reads.
    :param pixel_bits: of a pixel on the input stream; below 8, or where ``signed``, the models take
        bytes that are the packed integers, 128 added to signed ones.
    """

    models: Mapping[str, CompressedModel]
    weight_words: int
    image_words: int
    ident: int
    pixel_bits: int = 8
    signed: bool = False
    _registers: dict[int, int] = field(default_factory=dict)
    _weights: Words = field(default_factory=_NO_WORDS.copy)
    _input: Words = field(default_factory=_NO_WORDS.copy)
    _output: Words = field(default_factory=_NO_WORDS.copy)
    _running: bool = False
    _done: bool = False

    def reset(self) -> None:
        """Weights, queues and registers as after configuration."""
        self._registers = {}
        self._weights = np.zeros(self.weight_words, np.uint32)
        self._input, self._output = _NO_WORDS.copy(), _NO_WORDS.copy()
        self._running = self._done = False

    def read(self, offset: int) -> int:
        """An AXI-Lite read; ``ap_done`` clears by it, as in an HLS design."""
        if offset == AP_CTRL:
            done, self._done = self._done, False
            ready = (DONE | READY) if done else 0
            return ready | (0 if self._running else IDLE)
        if offset == IDENT:
            return self.ident
        return self._registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Perform an AXI-Lite write to a register."""
        if offset == AP_CTRL:
            if value & START and not self._running:
                self._running = True
                self._try()
        elif offset in (MODE, COUNT):
            self._registers[offset] = value

    def push(self, words: Words) -> None:
        """Offer words to the input stream."""
        self._input = np.concatenate([self._input, words])
        self._try()

    @property
    def waiting(self) -> int:
        """Words offered, not taken: all of them while no run is in progress."""
        return 0 if self._running else len(self._input)

    def pull(self, limit: int) -> tuple[Words, bool]:
        """Output words; all that is queued is one packet."""
        words, self._output = self._output[:limit], self._output[limit:]
        return words, bool(len(words)) and not len(self._output)

    def advance(self, cycles: int) -> None:
        """Nothing: the stand-in does its work when its input is complete."""

    def _try(self) -> None:
        """Do the run if its input is complete."""
        if not self._running:
            return
        mode, count = self._registers.get(MODE, 0), self._registers.get(COUNT, 0)
        need = {INFER: count * self.image_words, LOAD: self.weight_words}.get(mode, 0)
        if len(self._input) < need:
            return
        taken, self._input = self._input[:need], self._input[need:]
        if mode == LOAD:
            self._weights = taken.copy()
        elif mode == READ_BACK:
            self._output = self._weights.copy()
        elif count:
            self._output = self._infer(taken.reshape(count, self.image_words))
        self._running, self._done = False, True

    def _infer(self, words: Words) -> Words:
        any_model = next(iter(self.models.values()))
        model = self.models.get(image_digest(self._weights))
        shape = any_model.input.shape
        size = int(np.prod(shape))
        data = words.astype("<u4").view(np.uint8).reshape(len(words), -1, 1)
        fields = data >> np.arange(0, 8, self.pixel_bits, dtype=np.uint8)
        pixels = fields.reshape(len(words), -1)[:, :size] & ((1 << self.pixel_bits) - 1)
        if self.signed:
            sign = 1 << (self.pixel_bits - 1)
            pixels = (pixels ^ sign) + np.uint8(128 - sign)
        images = pixels.astype(np.uint8).reshape(len(words), *shape)
        logits = any_model.run(images) * 0 if model is None else model.run(images)
        return logits.astype(np.int32).view(np.uint32).ravel()


class StrangerCore:
    """A core that may say that it is another one.

    :param ident: what the ident register reads instead, for as long as it is set.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.ident: int | None = None

    def read(self, offset: int) -> int:
        """Perform an AXI-Lite read of a register."""
        if offset == IDENT and self.ident is not None:
            return self.ident
        return self.core.read(offset)

    def write(self, offset: int, value: int) -> None:
        """Perform an AXI-Lite write to a register."""
        self.core.write(offset, value)

    def advance(self, cycles: int) -> None:
        """Let clock cycles pass."""
        self.core.advance(cycles)

    def reset(self) -> None:
        """The state after configuration; faults not yet due stay."""
        self.core.reset()


class FaultyCore(StrangerCore):
    """A core with faults injected; each flaw acts once, then the core is sound again.

    :param flip_word: index of the word, counted from the next pushed one, that loses its lowest
        bit's value on the way in.
    :param swallow_tail: withhold the last words of the next output packet, TLAST included.
    """

    core: StreamCore

    def __init__(self, core: StreamCore) -> None:
        super().__init__(core)
        self.flip_word: int | None = None
        self.swallow_tail = 0

    def push(self, words: Words) -> None:
        """Offer words, one of them perhaps damaged."""
        if self.flip_word is not None:
            if self.flip_word < len(words):
                words = words.copy()
                words[self.flip_word] ^= 1
                self.flip_word = None
            else:
                self.flip_word -= len(words)
        self.core.push(words)

    @property
    def waiting(self) -> int:
        """Words that the core has not taken yet."""
        return self.core.waiting

    def pull(self, limit: int) -> tuple[Words, bool]:
        """Output words; the tail of a packet may be withheld."""
        words, last = self.core.pull(limit)
        if last and self.swallow_tail:
            words, last = words[: -self.swallow_tail], False
            self.swallow_tail = 0
        return words, last
