"""Batch-1 inference at C speed: ``fast.c``, compiled on the board, polls the mapped registers.

Python needs about a millisecond around a run of microseconds; this path shows the hardware.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from .accelerator import Accelerator
from .control import decode_control
from .dma import decode_status
from .errors import DmaError, HardwareTimeout, HostError
from .manifest import DataflowManifest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .dataflow import DataflowEngine

_SOURCE = Path(__file__).with_name("fast.c")
_COMPILE_LIMIT_S = 60
_RESULTS = {
    1: (DmaError, "send (MM2S)"),
    2: (DmaError, "receive (S2MM)"),
    3: (HardwareTimeout, "send (MM2S)"),
    4: (HardwareTimeout, "receive (S2MM)"),
    5: (HardwareTimeout, "core"),
    6: (DmaError, "receive (S2MM)"),
}
_CORE_LATE, _SHORT = 5, 6


class _Port(ctypes.Structure):
    """``struct pyadmm_port`` of ``fast.c``."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("core", "dma", "send", "receive")),
        *((name, ctypes.c_uint64) for name in ("send_address", "receive_address")),
        *((name, ctypes.c_uint32) for name in ("send_bytes", "receive_bytes", "max_bytes")),
        *((name, ctypes.c_uint32) for name in ("ctrl", "mode", "count", "infer")),
        ("timeout_ns", ctypes.c_uint64),
    )


class FastResult(NamedTuple):
    """Logits ``(classes,)`` of one image, and what it took.

    :param dma_ns: nanoseconds from arming the DMA to the last byte in memory.
    :param end_to_end_ns: the same with the copies into and out of the buffers.
    """

    logits: NDArray[np.int32]
    dma_ns: int
    end_to_end_ns: int


class FastPath:
    """The compiled path of one accelerator; valid until the accelerator is closed.

    :raises HostError: if there is no C compiler, or the device's registers are not mapped memory.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        if not accelerator.device.has_capability("MEMORY_MAPPED"):
            raise HostError(
                "C path: the registers of this device are not mapped memory (a simulated or remote "
                "board), so only the Python path can run"
            )
        if not isinstance(accelerator.manifest, DataflowManifest):
            raise HostError(
                "C path: it drives the streams of a dataflow design, and this design has none; the "
                "Python path starts a program with two register accesses"
            )
        self._accelerator, self._manifest = accelerator, accelerator.manifest
        self._dma = cast("DataflowEngine", accelerator.engine).dma
        self._library = compile_library()
        self._connect()

    def _connect(self) -> None:
        """Point the C path at the registers and buffers; recovery may have replaced the buffers."""
        accelerator, manifest = self._accelerator, self._manifest
        self._send = accelerator.buffer("send", manifest.input_words)
        self._receive = accelerator.buffer("receive", manifest.output_words)
        self._send[: manifest.input_words] = 0
        self._port = _Port(
            core=_pointer(accelerator.ip.mmio.array),
            dma=_pointer(self._dma.registers.array),
            send=_pointer(self._send),
            receive=_pointer(self._receive),
            send_address=self._send.physical_address,
            receive_address=self._receive.physical_address,
            send_bytes=4 * manifest.input_words,
            receive_bytes=4 * manifest.output_words,
            max_bytes=self._dma.max_bytes,
            ctrl=manifest.registers["ap_ctrl"],
            mode=manifest.registers["mode"],
            count=manifest.registers["count"],
            infer=manifest.modes["infer"],
            timeout_ns=int(accelerator.timeout_s * 1e9),
        )

    def _is_connected(self) -> bool:
        """Whether the accelerator still holds the buffers that the port points to."""
        manifest, buffer = self._manifest, self._accelerator.buffer
        sizes = {"send": manifest.input_words, "receive": manifest.output_words}
        held = [buffer(name, words) for name, words in sizes.items()]
        return held[0] is self._send and held[1] is self._receive

    def infer(self, image: NDArray[Any]) -> FastResult:
        """Classify one image ``(C, H, W)`` of the model's type.

        :raises DmaError: or :class:`HardwareTimeout`, with the status in words; the accelerator
            recovers on its next run.
        """
        accelerator = self._accelerator
        checked = accelerator.check_images(image)[0]
        pixels = np.ascontiguousarray(accelerator.loaded().input.stream_bytes(checked))
        logits = np.empty(self._manifest.output_words, np.int32)
        ns = (ctypes.c_uint64 * 2)()
        seen = ctypes.c_uint32()
        with accelerator.claimed():
            if not self._is_connected():
                self._connect()
            code = self._library.pyadmm_infer(
                ctypes.byref(self._port),
                ctypes.c_void_p(_pointer(pixels)),
                pixels.nbytes,
                ctypes.c_void_p(_pointer(logits)),
                ns,
                ctypes.byref(seen),
            )
            if code:
                raise _error(code, seen.value, accelerator)
        return FastResult(logits, int(ns[0]), int(ns[1]))


def _pointer(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def _error(code: int, seen: int, accelerator: Accelerator) -> HostError:
    kind, where = _RESULTS[code]
    if code == _SHORT:
        return kind(f"{where}: {seen} bytes came before TLAST; design and manifest do not fit")
    status = decode_control(seen) if code == _CORE_LATE else decode_status(seen)
    limit = f"waited {accelerator.timeout_s:g} s; " if kind is HardwareTimeout else ""
    return kind(f"{where}: {limit}status: {status}")


def compile_library(compiler: str | None = None) -> ctypes.CDLL:
    """Compile ``fast.c`` (once per version of it) and load it.

    :param compiler: by default the environment's ``CC``, else ``gcc`` or ``cc``.
    :raises HostError: if there is no compiler, or it fails.
    """
    candidates = [compiler] if compiler else [os.environ.get("CC", ""), "gcc", "cc"]
    found = next((path for path in map(shutil.which, filter(None, candidates)) if path), None)
    if found is None:
        raise HostError("C path: no C compiler on this board; 'sudo apt install gcc', then again")
    digest = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"pyadmm-fast-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise HostError(f"C path: {folder} belongs to another user; remove it")
    library = folder / f"fast-{digest}.so"
    if not library.is_file():
        partial = folder / f"fast-{digest}-{os.getpid()}.so"
        command = [found, "-O2", "-shared", "-fPIC", "-o", str(partial), str(_SOURCE)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMPILE_LIMIT_S, check=False
        )
        if done.returncode:
            raise HostError(f"C path: {found} failed: {done.stderr.strip()[-400:]}")
        os.replace(partial, library)
    return ctypes.CDLL(str(library))
