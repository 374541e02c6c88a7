"""Runs of a dataflow design: weights and images through the streams of an AXI DMA.

One run: arm the receive channel, offer the first chunk that the DMA's length register can
hold, start the core, send the other chunks, wait for the result. An AXI DMA must not receive a
packet longer than the length it was given, so a run has no more images than one receive can hold.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .dma import AxiDma, Deadline
from .errors import WeightsError
from .manifest import DataflowManifest, ModelFact, WeightsModel
from .pixels import fill_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .accelerator import Accelerator

MAX_BATCH = 1024
"""Images of one run at most; bounds the memory of the buffers."""


class Transfer(NamedTuple):
    """A contiguous buffer and the bytes of it that move."""

    buffer: Any
    nbytes: int


class DataflowEngine:
    """An :class:`~host.accelerator.Engine` for a design with an engine for every layer."""

    def __init__(self, owner: Accelerator, manifest: DataflowManifest) -> None:
        self._owner, self._manifest = owner, manifest
        facts = owner.board.dma(manifest.dma)
        self.dma = AxiDma(facts.registers, facts.parameters, manifest.dma)

    @property
    def images_per_run(self) -> int:
        """Images that one run can hold."""
        return max(1, min(self.dma.max_bytes // (4 * self._manifest.output_words), MAX_BATCH))

    def reset(self) -> None:
        """Reset both channels of the DMA."""
        self.dma.reset(Deadline(self._owner.timeout_s))

    def load(self, model: ModelFact) -> None:
        """Load the weights of ``model``.

        :raises WeightsError: if they do not fit, or differ when read back.
        """
        capacity = self._manifest.models[0]
        assert isinstance(model, WeightsModel)
        assert isinstance(capacity, WeightsModel)
        words = np.frombuffer(model.weights.read(), "<u4")
        if len(words) != model.words or model.words != capacity.words:
            raise WeightsError(
                f"model {model.name}: {len(words)} words of weights, but this design takes "
                f"{capacity.words}; pack it for this design"
            )
        with self._owner.claimed():
            buffer = self._owner.buffer("send", len(words))
            buffer[: len(words)] = words
            self._transact("load", send=Transfer(buffer, words.nbytes))
        if self._owner.verify:
            self._verify(model, words)

    def _verify(self, model: WeightsModel, words: NDArray[np.uint32]) -> None:
        if words.nbytes > self.dma.max_bytes:
            raise WeightsError(
                f"model {model.name}: {words.nbytes} bytes cannot be read back through a DMA whose "
                f"length register has {self.dma.length_bits} bits; widen c_sg_length_width to "
                f"{words.nbytes.bit_length()}, or pass verify=False and run host.selftest"
            )
        with self._owner.claimed():
            buffer = self._owner.buffer("receive", len(words))
            self._transact("read_back", receive=Transfer(buffer, words.nbytes))
            read = np.array(buffer[: len(words)])
        wrong = np.flatnonzero(read != words)
        if len(wrong):
            first = int(wrong[0])
            layer = next(x for x in model.layers if first < x.offset + x.words)
            raise WeightsError(
                f"model {model.name}: {len(wrong)} of {len(words)} weight words differ when read "
                f"back, the first in layer {layer.name}, word {first}: sent "
                f"0x{int(words[first]):08x}, read 0x{int(read[first]):08x}; load them again"
            )

    def infer(self, model: ModelFact, images: NDArray[Any], results: NDArray[np.int32]) -> float:
        """Logits of ``images``, at most :attr:`images_per_run`, into ``results``.

        :returns: the seconds of the run, DMA included, host copies excluded.
        """
        count, words = len(images), self._manifest.input_words
        out_words = count * self._manifest.output_words
        with self._owner.claimed():
            send = self._owner.buffer("send", count * words)
            pixels = send[: count * words].view(np.uint8).reshape(count, 4 * words)
            fill_stream(images, self._manifest, model.input, pixels)
            receive = self._owner.buffer("receive", out_words)
            sent, received = Transfer(send, 4 * count * words), Transfer(receive, 4 * out_words)
            seconds = self._transact("infer", count, sent, received)
            results[:] = receive[:out_words].view(np.int32).reshape(results.shape)
        return seconds

    def _transact(
        self,
        mode: str,
        count: int = 0,
        send: Transfer | None = None,
        receive: Transfer | None = None,
    ) -> float:
        """One run of the core. Gives its seconds, DMA included, host copies excluded."""
        deadline = Deadline(self._owner.timeout_s)
        if send:
            send.buffer.flush()
        begin = time.perf_counter()
        if receive:
            self.dma.receive.start(receive.buffer.physical_address, receive.nbytes, deadline)
        if send:
            # Before the core starts, so that its cycle counter does not count the host's accesses.
            first = min(send.nbytes, self.dma.max_bytes)
            self.dma.send.start(send.buffer.physical_address, first, deadline)
        self._owner.ip.start(mode=self._manifest.modes[mode], count=count)
        if send:
            self._send_rest(send, first, deadline)
        if receive:
            self.dma.receive.wait(receive.nbytes, deadline)
        seconds = time.perf_counter() - begin
        self._owner.ip.wait(deadline)
        if receive:
            receive.buffer.invalidate()
        return seconds

    def _send_rest(self, send: Transfer, started: int, deadline: Deadline) -> None:
        """Wait for the chunk of ``started`` bytes, and send the others."""
        self.dma.send.wait(started, deadline)
        for first in range(started, send.nbytes, self.dma.max_bytes):
            length = min(self.dma.max_bytes, send.nbytes - first)
            self.dma.send.start(send.buffer.physical_address + first, length, deadline)
            self.dma.send.wait(length, deadline)
