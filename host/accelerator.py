"""``Accelerator``: the design on the board, its weights and its inference.

One run at a time: arm the receive channel, offer the first chunk that the DMA's length register can
hold, start the core, send the other chunks, wait for the result. An AXI DMA must not receive a
packet longer than the length it was given, so a run has no more images than one receive can hold.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .board import find_board
from .dma import AxiDma, Deadline
from .errors import HostError, IdentError, InputError, ManifestError, WeightsError
from .lock import DeviceLock
from .manifest import Manifest, ModelFact, read_manifest
from .pixels import fill_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_BATCH = 1024
"""Images of one run at most; bounds the memory of the buffers."""


@dataclass(frozen=True)
class RunTiming:
    """What one call cost.

    :param core_s: seconds from start to done inside the design, by its cycle counter; None where
        the design does not count.
    :param dma_s: seconds from arming the DMA to the last byte in memory, core included, host
        copies excluded, as seen by the polling loop.
    :param end_to_end_s: seconds from the images in numpy to the logits in numpy.
    """

    images: int
    cycles: int | None
    core_s: float | None
    dma_s: float
    end_to_end_s: float


class Transfer(NamedTuple):
    """A contiguous buffer and the bytes of it that move."""

    buffer: Any
    nbytes: int


class Accelerator:
    """The loaded design; use it as a context manager, or call :meth:`close`.

    :param bitfile: the ``.bit``, with its ``.hwh`` in the same folder; None takes the manifest's.
    :param manifest: the bundle's folder or its ``manifest.json``.
    :param model: name of the weights to load, by default the first of the manifest.
    :param timeout_s: limit of every wait on the hardware, seconds.
    :param verify: read the weights back and compare them after loading.
    :param device: pynq device or :class:`~host.linux.board.LinuxBoard`, by default the one that
        :func:`~host.board.find_board` finds.
    :raises HostError: or a subclass, with the reason and the remedy.
    """

    def __init__(
        self,
        bitfile: str | Path | None,
        manifest: str | Path | Manifest,
        *,
        model: str | None = None,
        timeout_s: float = 5.0,
        verify: bool = True,
        device: Any = None,
        lock_folder: Path | None = None,
    ) -> None:
        self.manifest = manifest if isinstance(manifest, Manifest) else read_manifest(manifest)
        self.timeout_s, self.verify = timeout_s, verify
        self.board = find_board(device)
        self.device = self.board.device
        self.bitfile = self._bitfile(bitfile)
        self.last: RunTiming | None = None
        self.model: ModelFact | None = None
        self._faulty = False
        self._buffers: dict[str, Any] = {}
        self._lock = DeviceLock(self.device.tag, lock_folder)
        try:
            self.board.open(self.bitfile, self.manifest)
            self.clock_mhz = self._set_clock()
            name, facts = self.manifest.design.dma, self.board.dma()
            self.dma = AxiDma(facts.registers, facts.parameters, name)
            self.ip = self.board.core()
            self._check_ident()
            self.load_model(model or self.manifest.models[0].name)
        except OSError as error:
            self.close()
            raise HostError(f"board: {error}; run as root, in a login shell: 'sudo -i'") from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the buffers and let other processes use the accelerator."""
        self._free_buffers()
        self.model = None
        self._lock.release()

    # Setting up

    def _bitfile(self, given: str | Path | None) -> Path:
        bitfile = self.manifest.design.bitfile if given is None else Path(given)
        if bitfile is None:
            raise HostError(
                "bitstream: the bundle has none; build it with the vendor's tools, then run "
                "'pyadmm deploy DEPLOY --bitstream FILE.bit'"
            )
        for file in map(bitfile.with_suffix, self.board.files):
            if not file.is_file():
                raise HostError(f"bitstream: {file} does not exist; .bit and .hwh belong together")
        return bitfile.resolve()

    def _set_clock(self) -> float:
        return self.board.set_clock(self.manifest.clock_index, self.manifest.clock_mhz)

    def _check_ident(self) -> None:
        ident = self.ip.ident
        if ident != self.manifest.design.ident:
            raise IdentError(
                f"{self.bitfile.name}: the design says it is 0x{ident:08x}, but the manifest is "
                f"for 0x{self.manifest.design.ident:08x}; use bitstream and manifest of one flow"
            )

    def _recover(self) -> None:
        """After a failed run: reset the DMA, and load the design anew if the core is stuck."""
        self.dma.reset(Deadline(self.timeout_s))
        if not self.ip.idle:
            loaded, self.model = self.model, None
            self._free_buffers()
            self.board.reload()
            self.clock_mhz = self._set_clock()
            self._check_ident()
            self._faulty = False
            if loaded is not None:
                self.load_model(loaded)
        self._faulty = False

    # Buffers

    def buffer(self, name: str, words: int) -> Any:
        """A contiguous buffer of at least ``words`` 32-bit words, kept for the next call."""
        held = self._buffers.get(name)
        if held is None or len(held) < words:
            if held is not None:
                held.freebuffer()
            held = self.board.allocate(words)
            self._buffers[name] = held
        return held

    def _free_buffers(self) -> None:
        for buffer in self._buffers.values():
            buffer.freebuffer()
        self._buffers.clear()

    # Runs

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """The hardware in a good state for one run; a run that raises is recovered from later.

        Buffers are fetched inside: recovery frees the earlier ones.
        """
        if self._faulty:
            self._recover()
        self._faulty = True
        yield
        self._faulty = False

    def _transact(
        self,
        mode: str,
        count: int = 0,
        send: Transfer | None = None,
        receive: Transfer | None = None,
    ) -> float:
        """One run of the core. Gives its seconds, DMA included, host copies excluded."""
        deadline = Deadline(self.timeout_s)
        if send:
            send.buffer.flush()
        begin = time.perf_counter()
        if receive:
            self.dma.receive.start(receive.buffer.physical_address, receive.nbytes, deadline)
        if send:
            # Before the core starts, so that its cycle counter does not count the host's accesses.
            first = min(send.nbytes, self.dma.max_bytes)
            self.dma.send.start(send.buffer.physical_address, first, deadline)
        self.ip.start(mode, count)
        if send:
            self._send_rest(send, first, deadline)
        if receive:
            self.dma.receive.wait(receive.nbytes, deadline)
        seconds = time.perf_counter() - begin
        self.ip.wait(deadline)
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

    def load_model(self, model: str | ModelFact) -> None:
        """Load the weights of ``model`` into the design; no new bitstream is needed.

        :param model: a name of this manifest, or a model of another manifest of the same design.
        :raises WeightsError: if they do not fit, or differ when read back.
        """
        fact = self.manifest.model(model) if isinstance(model, str) else model
        words = np.frombuffer(fact.weights.read(), "<u4")
        capacity = self.manifest.models[0].words
        if len(words) != fact.words or fact.words != capacity:
            raise WeightsError(
                f"model {fact.name}: {len(words)} words of weights, but this design takes "
                f"{capacity}; pack it for this design"
            )
        self.model = None
        with self.claimed():
            buffer = self.buffer("send", len(words))
            buffer[: len(words)] = words
            self._transact("load", send=Transfer(buffer, words.nbytes))
        if self.verify:
            self._verify(fact, words)
        self.model = fact

    def _verify(self, fact: ModelFact, words: NDArray[np.uint32]) -> None:
        if words.nbytes > self.dma.max_bytes:
            raise WeightsError(
                f"model {fact.name}: {words.nbytes} bytes cannot be read back through a DMA whose "
                f"length register has {self.dma.length_bits} bits; widen c_sg_length_width to "
                f"{words.nbytes.bit_length()}, or pass verify=False and run host.selftest"
            )
        with self.claimed():
            buffer = self.buffer("receive", len(words))
            self._transact("read_back", receive=Transfer(buffer, words.nbytes))
            read = np.array(buffer[: len(words)])
        wrong = np.flatnonzero(read != words)
        if len(wrong):
            first = int(wrong[0])
            layer = next(x for x in fact.layers if first < x.offset + x.words)
            raise WeightsError(
                f"model {fact.name}: {len(wrong)} of {len(words)} weight words differ when read "
                f"back, the first in layer {layer.name}, word {first}: sent "
                f"0x{int(words[first]):08x}, read 0x{int(read[first]):08x}; load them again"
            )

    def images_per_run(self) -> int:
        """Images that one run can hold."""
        return max(1, min(self.dma.max_bytes // (4 * self.manifest.output_words), MAX_BATCH))

    def check_images(self, images: Any) -> NDArray[Any]:
        """``images`` as ``(N, C, H, W)``; a single ``(C, H, W)`` becomes a batch of one.

        :raises InputError: for another type or shape.
        """
        shape = self.manifest.input_shape
        wanted = self.manifest.input_dtype
        if not isinstance(images, np.ndarray) or images.dtype != wanted:
            kind = getattr(images, "dtype", type(images).__name__)
            values = "0 … 255" if wanted == "uint8" else "-128 … 127"
            raise InputError(
                f"images: must be a numpy array of {wanted}, not {kind}; {values}, no /255"
            )
        if images.shape == shape:
            images = images[np.newaxis]
        if images.shape[1:] != shape:
            raise InputError(
                f"images: must have the shape (N, {', '.join(map(str, shape))}), not {images.shape}"
            )
        return images

    def logits(self, images: NDArray[Any]) -> NDArray[np.int32]:
        """Integer logits ``(N, classes)`` of ``images`` ``(N, C, H, W)`` of the manifest's type.

        :raises InputError: for images of another type or shape.
        :raises WeightsError: if no weights are loaded.
        """
        images = self.check_images(images)
        if self.model is None:
            raise WeightsError("weights: none are loaded and verified; call load_model()")
        begin = time.perf_counter()
        results = np.empty((len(images), self.manifest.output_words), np.int32)
        cycles, seconds = 0, 0.0
        step = self.images_per_run()
        for first in range(0, len(images), step):
            part = images[first : first + step]
            seconds += self._infer(part, results[first : first + step])
            cycles += self.ip.cycles or 0
        self.last = RunTiming(
            images=len(images),
            cycles=cycles or None,
            core_s=cycles / (self.clock_mhz * 1e6) if cycles else None,
            dma_s=seconds,
            end_to_end_s=time.perf_counter() - begin,
        )
        return results

    def _infer(self, images: NDArray[Any], results: NDArray[np.int32]) -> float:
        count, words = len(images), self.manifest.input_words
        out_words = count * self.manifest.output_words
        with self.claimed():
            send = self.buffer("send", count * words)
            pixels = send[: count * words].view(np.uint8).reshape(count, 4 * words)
            fill_stream(images, self.manifest, pixels)
            receive = self.buffer("receive", out_words)
            sent, received = Transfer(send, 4 * count * words), Transfer(receive, 4 * out_words)
            seconds = self._transact("infer", count, sent, received)
            results[:] = receive[:out_words].view(np.int32).reshape(results.shape)
        return seconds

    def predict(self, images: NDArray[Any]) -> NDArray[np.intp]:
        """Class ``(N,)`` of each image: the largest logit, the first of equals."""
        return self.logits(images).argmax(1)

    def probabilities(self, images: NDArray[Any]) -> NDArray[np.float64]:
        """Softmax of the logits in real units: the shares ``(N, classes)`` for a display."""
        logits = self.logits(images)
        assert self.model is not None  # logits() refuses to run without weights
        values = logits * self.model.logit_scale
        shares = np.exp(values - values.max(1, keepdims=True))
        return np.asarray(shares / shares.sum(1, keepdims=True))


def load_vectors(model: ModelFact, manifest: Manifest) -> dict[str, NDArray[Any]]:
    """Golden vectors of a model: ``images``, ``logits``, ``labels``.

    :raises ManifestError: if a file is damaged or the shapes do not fit.
    """
    classes = manifest.output_words
    vectors = {
        "images": read_array(model.images.read(), model.images.path.name),
        "logits": read_array(model.logits.read(), model.logits.path.name),
        "labels": read_array(model.labels.read(), model.labels.path.name),
    }
    count = len(vectors["images"])
    expected = {"images": (count, *manifest.input_shape), "logits": (count, classes)}
    expected["labels"] = (count,)
    for key, shape in expected.items():
        if vectors[key].shape != shape:
            raise ManifestError(f"vectors: {key} have shape {vectors[key].shape}, not {shape}")
    return vectors


def read_array(content: bytes, name: str) -> NDArray[Any]:
    """The array in a ``.npy`` file's ``content``.

    :raises ManifestError: if it is not one.
    """
    try:
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise ManifestError(f"{name}: is not an .npy file: {error}") from error
