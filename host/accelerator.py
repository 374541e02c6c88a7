"""``Accelerator``: the design on the board, its models and their inference.

The bundle says which architecture the bitstream has, and with it which :class:`Engine` makes the
runs; everything else is the same for both.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .board import find_board
from .dataflow import DataflowEngine
from .errors import HostError, IdentError, InputError, ManifestError, WeightsError
from .lock import DeviceLock
from .manifest import DataflowManifest, Manifest, ModelFact, SequentialManifest, read_manifest
from .sequential import LayerCycles, SequentialEngine

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class RunTiming:
    """What one call cost.

    :param core_s: seconds from start to done inside the design, by its cycle counter; None where
        the design does not count.
    :param dma_s: seconds from arming the DMA (dataflow), or from the start (sequential), to the
        last byte in memory, core included, host copies excluded, as seen by the polling loop.
    :param end_to_end_s: seconds from the images in numpy to the logits in numpy.
    """

    images: int
    cycles: int | None
    core_s: float | None
    dma_s: float
    end_to_end_s: float


class Engine(Protocol):
    """How a design of one architecture takes models and images."""

    @property
    def images_per_run(self) -> int:
        """Images that one run of the loaded model can hold."""

    def reset(self) -> None:
        """A good state after a run that failed."""

    def load(self, model: ModelFact) -> None:
        """Load a model of the manifest."""

    def infer(self, model: ModelFact, images: NDArray[Any], results: NDArray[np.int32]) -> float:
        """Logits of at most :attr:`images_per_run` images; gives the seconds of the hardware."""


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
            self.ip = self.board.core()
            self._check_ident()
            self.engine = self._make_engine()
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

    def _make_engine(self) -> Engine:
        if isinstance(self.manifest, SequentialManifest):
            return SequentialEngine(self, self.manifest)
        assert isinstance(self.manifest, DataflowManifest)
        return DataflowEngine(self, self.manifest)

    def _recover(self) -> None:
        """After a failed run: reset the engine, and load the design anew if the core is stuck."""
        self.engine.reset()
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
            self.free(name)
            held = self.board.allocate(words)
            self._buffers[name] = held
        return held

    def free(self, name: str) -> None:
        """Give the memory of one buffer back, if there is one of that name."""
        held = self._buffers.pop(name, None)
        if held is not None:
            held.freebuffer()

    def _free_buffers(self) -> None:
        for name in list(self._buffers):
            self.free(name)

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

    def load_model(self, model: str | ModelFact) -> None:
        """Load the weights or the program of ``model``; no new bitstream is needed.

        :param model: a name of this manifest, or a model of another manifest of the same design.
        :raises WeightsError: if they do not fit, or differ when read back.
        :raises ProgramError: if the program is damaged or of another array.
        """
        fact = self.manifest.model(model) if isinstance(model, str) else model
        self.model = None
        self.engine.load(fact)
        self.model = fact

    def images_per_run(self) -> int:
        """Images that one run can hold."""
        return self.engine.images_per_run

    def loaded(self) -> ModelFact:
        """The model that is loaded and verified.

        :raises WeightsError: if there is none.
        """
        if self.model is None:
            raise WeightsError("weights: none are loaded and verified; call load_model()")
        return self.model

    def check_images(self, images: Any) -> NDArray[Any]:
        """``images`` as ``(N, C, H, W)``; a single ``(C, H, W)`` becomes a batch of one.

        :raises InputError: for another type or shape than the loaded model's.
        """
        entry = self.loaded().input
        shape, wanted = entry.shape, entry.dtype
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
        """Integer logits ``(N, classes)`` of ``images`` ``(N, C, H, W)`` of the model's type.

        :raises InputError: for images of another type or shape.
        :raises WeightsError: if no weights are loaded.
        """
        images, model = self.check_images(images), self.loaded()
        begin = time.perf_counter()
        results = np.empty((len(images), model.classes), np.int32)
        cycles, seconds = 0, 0.0
        step = self.images_per_run()
        for first in range(0, len(images), step):
            part = images[first : first + step]
            seconds += self.engine.infer(model, part, results[first : first + step])
            cycles += self.ip.cycles or 0
        self.last = RunTiming(
            images=len(images),
            cycles=cycles or None,
            core_s=cycles / (self.clock_mhz * 1e6) if cycles else None,
            dma_s=seconds,
            end_to_end_s=time.perf_counter() - begin,
        )
        return results

    def layer_cycles(self) -> tuple[LayerCycles, ...]:
        """Cycles of every layer in the last run of a sequential design, as its counters say.

        A run takes :meth:`images_per_run` images.

        :raises HostError: for a dataflow design, whose layers work at once, or without figures.
        """
        if not isinstance(self.engine, SequentialEngine):
            raise HostError(
                "cycles by layer: the layers of a dataflow design work at the same time; "
                "RunTiming.cycles counts a run"
            )
        return self.engine.layer_cycles()

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


def load_vectors(model: ModelFact) -> dict[str, NDArray[Any]]:
    """Golden vectors of a model: ``images``, ``logits`` and, where they are known, ``labels``.

    :raises ManifestError: if a file is damaged or the shapes do not fit.
    """
    files = {"images": model.images, "logits": model.logits}
    if model.labels is not None:
        files["labels"] = model.labels
    vectors = {key: read_array(file.read(), file.path.name) for key, file in files.items()}
    count = len(vectors["images"])
    expected = {"images": (count, *model.input.shape), "logits": (count, model.classes)}
    expected["labels"] = (count,)
    for key, found in vectors.items():
        if found.shape != expected[key]:
            raise ManifestError(f"vectors: {key} have shape {found.shape}, not {expected[key]}")
    return vectors


def read_array(content: bytes, name: str) -> NDArray[Any]:
    """The array in a ``.npy`` file's ``content``.

    :raises ManifestError: if it is not one.
    """
    try:
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    except (ValueError, EOFError, OSError) as error:
        raise ManifestError(f"{name}: is not an .npy file: {error}") from error
