"""Runs of the layer-sequential array: programs and their maps in memory, by address.

Every network has a block of memory of its own: the program, its tables and weights, then the maps.
Several may lie there at once, so changing the network moves nothing. A start of a program takes a
fixed number of images.
"""

from __future__ import annotations

import hashlib
import struct
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .dma import Deadline
from .errors import BusError, HardwareTimeout, HostError, IdentError, ProgramError, WeightsError
from .manifest import MapFact, ModelFact, ProgramModel, SequentialManifest
from .pixels import input_table, look_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .accelerator import Accelerator

MAGIC = 0x5153_4450
HEADER_BYTES, DIGEST_AT = 128, 96
ALIGNMENT, ADDRESSES = 4096, 1 << 32
COUNTED_LAYERS = 512
"""Layers whose cycles the array counts."""
READ_ERROR, WRITE_ERROR, NO_PROGRESS = 3, 4, 5
_WORD = 4


class LayerCycles(NamedTuple):
    """What one layer of a start took.

    :param cycles: clock cycles from the end of what the array computed before it.
    :param waiting: those of them in which the array waited for memory.
    """

    name: str
    cycles: int
    waiting: int

    @property
    def computing(self) -> int:
        """Cycles in which the array computed."""
        return self.cycles - self.waiting


class SequentialEngine:
    """An :class:`~host.accelerator.Engine` for the layer-sequential array.

    :raises IdentError: if the array in the logic has another size or version than the bundle's.
    """

    def __init__(self, owner: Accelerator, manifest: SequentialManifest) -> None:
        self._owner, self._manifest = owner, manifest
        # Memory of every network, and whose program is in it, if any.
        self._placed: dict[str, tuple[Any, ProgramModel | None]] = {}
        self._counted: ProgramModel | None = None
        build = owner.ip.get("build")
        if build != manifest.build:
            raise IdentError(
                f"{owner.bitfile.name}: the array is {describe_build(build)}, but the bundle's "
                f"programs are for {describe_build(manifest.build)}; use bitstream and bundle of "
                "one flow"
            )

    @property
    def images_per_run(self) -> int:
        """Images that one start of the loaded program takes."""
        model = self._owner.loaded()
        assert isinstance(model, ProgramModel)
        return model.start_images

    def reset(self) -> None:
        """Write the programs anew: memory may have been damaged."""
        self._placed = {name: (block, None) for name, (block, _) in self._placed.items()}
        self._counted = None

    def load(self, model: ModelFact) -> None:
        """Place the program of ``model`` in memory; one that lies there already stays.

        :raises ProgramError: if the program is damaged or of another array.
        :raises WeightsError: if memory reads otherwise than it was written.
        """
        assert isinstance(model, ProgramModel)
        with self._owner.claimed():
            self._block(model)

    def _block(self, model: ProgramModel) -> Any:
        """The memory of ``model``, with its program in it."""
        block = self._allocate(model)
        if self._placed[model.name][1] is model:
            return block
        content = model.program.read()
        check_program(model, content, self._manifest.build)
        image = np.frombuffer(content, np.uint8)
        place = block.view(np.uint8)[: len(image)]
        place[:] = image
        block.flush()
        if self._owner.verify:
            block.invalidate()
            wrong = np.flatnonzero(place != image)
            if len(wrong):
                raise WeightsError(
                    f"model {model.name}: {len(wrong)} of {len(image)} bytes differ when read "
                    f"back, the first is byte {int(wrong[0])}; load the model again, and if it "
                    "persists check the memory that was reserved for buffers"
                )
        self._placed[model.name] = (block, model)
        return block

    def _allocate(self, model: ProgramModel) -> Any:
        """The memory of ``model``; other networks leave it if there is no room for all."""
        words = -(-model.memory_bytes // _WORD)
        others = [name for name in self._placed if name != model.name]
        while True:
            try:
                block = self._owner.buffer(_buffer_name(model.name), words)
                break
            except (MemoryError, RuntimeError) as error:
                if not others:
                    raise HostError(
                        f"model {model.name}: {model.memory_bytes} bytes of contiguous memory "
                        f"cannot be had ({error}); reserve more (pynq: 'cma=' of the kernel's "
                        "command line, else a larger u-dma-buf), or compile it for fewer images "
                        "per start"
                    ) from error
                self._drop(others.pop(0))
        if block.physical_address % ALIGNMENT:
            raise HostError(
                f"model {model.name}: memory must begin at a multiple of {ALIGNMENT}, not at "
                f"0x{block.physical_address:x}; reserve whole pages"
            )
        if block.physical_address + _WORD * len(block) > ADDRESSES:
            raise HostError(
                f"model {model.name}: memory at 0x{block.physical_address:x} is beyond the 4 GiB "
                "that the array addresses; reserve it below"
            )
        if self._placed.get(model.name, (None, None))[0] is not block:
            self._placed[model.name] = (block, None)
        return block

    def _drop(self, name: str) -> None:
        """Give the memory of a network back."""
        self._placed.pop(name)
        self._owner.free(_buffer_name(name))

    def infer(self, model: ModelFact, images: NDArray[Any], results: NDArray[np.int32]) -> float:
        """Logits of ``images``, at most :attr:`images_per_run`, into ``results``.

        :returns: the seconds from start to done.
        """
        assert isinstance(model, ProgramModel)
        self._counted = None
        with self._owner.claimed():
            block = self._block(model)
            data = block.view(np.uint8)
            place_input(data, model, images)
            block.flush()
            seconds = self._run(block.physical_address)
            block.invalidate()
            results[:] = read_result(data, model)[: len(images)]
        self._counted = model
        return seconds

    def _run(self, address: int) -> float:
        ip, deadline = self._owner.ip, Deadline(self._owner.timeout_s)
        begin = time.perf_counter()
        ip.start(base=address)
        try:
            ip.wait(deadline)
        except HardwareTimeout as error:
            raise HardwareTimeout(
                f"{error}; {ip.get('runs')} RUNs of the program are done: if it is longer than "
                "that, give a larger timeout_s (PYADMM_TIMEOUT_S)"
            ) from error
        seconds = time.perf_counter() - begin
        status = ip.get("status")
        if status:
            raise self._failure(status)
        return seconds

    def _failure(self, status: int) -> HostError:
        """The error of a program that ended with ``status``."""
        text = self._manifest.status.get(status, "unknown to this bundle")
        done = self._owner.ip.get("runs")
        said = f"{self._owner.ip.name}: status {status}, {text}, after {done} RUNs"
        if status in (READ_ERROR, WRITE_ERROR):
            return BusError(f"{said}; check that the .hwh belongs to the bitstream, then run again")
        if status == NO_PROGRESS:
            return HardwareTimeout(f"{said}; check that the memory ports of the board are enabled")
        return ProgramError(
            f"{said}; another program wrote into its memory, or the bundle is of another bitstream: "
            "run again, which writes the program anew"
        )

    def layer_cycles(self) -> tuple[LayerCycles, ...]:
        """Cycles of every layer in the last start, in the program's order.

        :raises HostError: if none has run, the design does not count, or has fewer counters than
            the program has layers.
        """
        ip, model = self._owner.ip, self._counted
        if model is None:
            raise HostError("cycles by layer: no program has run; classify an image first")
        if not ip.get("cycles"):
            raise HostError("cycles by layer: this design counts none; build it from the RTL")
        if len(model.layers) > COUNTED_LAYERS:
            raise HostError(
                f"model {model.name}: has {len(model.layers)} layers, and the array counts the "
                f"cycles of {COUNTED_LAYERS}; there is only their sum, RunTiming.cycles"
            )
        found = []
        for index, name in enumerate(model.layers):
            ip.set("profile_index", index)
            found.append(LayerCycles(name, ip.get("profile_cycles"), ip.get("profile_waits")))
        return tuple(found)


def _buffer_name(model: str) -> str:
    return f"network {model}"


def describe_build(build: int) -> str:
    """The register ``build`` in words.

    >>> describe_build(0x400402)
    '4 groups of 64 lanes, version 2'
    """
    return f"{build >> 8 & 0xFF} groups of {build >> 16} lanes, version {build & 0xFF}"


def check_program(model: ProgramModel, image: bytes, build: int) -> None:
    """Refuse a program that the hardware would refuse, or that is not what its header says.

    :raises ProgramError: says what is wrong.
    """
    name = f"{model.name}/{model.program.path.name}"
    if len(image) < HEADER_BYTES:
        raise ProgramError(f"{name}: {len(image)} bytes hold no header; copy the bundle again")
    magic, made_for, memory, length = struct.unpack_from("<4I", image)
    if magic != MAGIC:
        raise ProgramError(f"{name}: begins with 0x{magic:08x}, no program; copy the bundle again")
    if made_for != build:
        raise ProgramError(
            f"{name}: is for {describe_build(made_for)}, the array has {describe_build(build)}; "
            "compile the network for this array"
        )
    if (length, memory) != (len(image), model.memory_bytes):
        raise ProgramError(
            f"{name}: its header says {length} bytes in {memory} of memory, the bundle has "
            f"{len(image)} in {model.memory_bytes}; copy the bundle again"
        )
    if hashlib.sha256(image[HEADER_BYTES:]).digest() != image[DIGEST_AT:HEADER_BYTES]:
        raise ProgramError(f"{name}: is not what its own digest says; copy the bundle again")


def place_input(block: NDArray[np.uint8], model: ProgramModel, images: NDArray[Any]) -> None:
    """Write ``images`` as the program's first pass reads them; the rest of a start is zero.

    Inputs of nine bits are the difference of two planes, channel ``c`` minus channel ``C + c``.
    """
    source, entry = model.source, model.input
    table = input_table(entry)
    low, high = (-128, 127) if source.signed else (0, 255)
    first = np.clip(table, low, high)
    halves = [first] if source.shape[0] == entry.shape[0] else [first, first - table]
    data = [look_up(images, (half & 0xFF).astype(np.uint8)) for half in halves]
    pixels = np.concatenate(data, axis=1).transpose(1, 0, 2, 3)
    planes = np.zeros((source.shape[0], source.stride), np.uint8)
    positions = source.positions(model.start_images)[: len(images)]
    planes[:, positions.ravel()] = pixels.reshape(len(planes), -1)
    block[source.base : source.base + planes.size] = planes.ravel()


def read_result(block: NDArray[np.uint8], model: ProgramModel) -> NDArray[np.int64]:
    """Logits ``(images of a start, classes)`` from a program's memory."""
    held, images = model.result, model.start_images
    channels, height, width = held.shape
    planes = np.array(block[held.base : held.base + channels * held.stride])
    planes = planes.reshape(channels, -1)
    if held.wide:
        values = _wide(planes, held)
    else:
        values = (planes.view(np.int8) if held.signed else planes).astype(np.int64)
    picked = values[:, held.positions(images).ravel()]
    shaped = picked.reshape(channels, images, height * width)
    return shaped.transpose(1, 0, 2).reshape(images, -1)


def _wide(planes: NDArray[np.uint8], held: MapFact) -> NDArray[np.int64]:
    """Four-byte activations ``(C, pixels)`` of all RUNs."""
    parts = []
    for start, stop in held.wide:
        size = stop - start
        part = planes[:, 4 * start :][:, : 4 * size].reshape(len(planes), 4, size)
        parts.append(np.ascontiguousarray(part.transpose(0, 2, 1)).view("<i4")[..., 0])
    return np.concatenate(parts, axis=1).astype(np.int64)
