"""The driver of the layer-sequential accelerator: a program and its maps in one block of memory.

A network is two files, ``NAME.seq`` and ``NAME.json``, that ``pyadmm compile`` writes. Several networks may
lie in memory at once; each :class:`SequentialNetwork` has its own block, and the hardware takes turns.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import HardwareTimeout, HostError, InputError, ManifestError

AP_CTRL, BASE, STATUS, BUILD, CYCLES = 0x00, 0x10, 0x18, 0x28, 0x30
RUNS, PROFILE_INDEX, PROFILE_CYCLES, PROFILE_WAITS = 0x38, 0x40, 0x48, 0x50
START, IDLE = 1 << 0, 1 << 2
FORMAT, VERSION, ALIGNMENT = 1, 3, 4096
_PROFILED_RUNS = 512


def read_network(path: Path) -> tuple[dict[str, Any], bytes]:
    """The facts in ``NAME.json`` and the image in ``NAME.seq`` beside it.

    :raises ManifestError: where one is missing, damaged or of another version.
    """
    image_path = path.with_suffix(".seq")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        image = image_path.read_bytes()
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path.name}: cannot be read: {error}") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ManifestError(f"{path.name}: format must be {FORMAT}; compile the network again")
    if hashlib.sha256(image).hexdigest() != facts.get("sha256"):
        raise ManifestError(
            f"{image_path.name}: is not the image that {path.name} describes; copy both again"
        )
    return facts, image


class SequentialNetwork:
    """One network in memory.

    :param registers: ``read(offset)`` and ``write(offset, value)`` of the accelerator.
    :param block: uint8 memory of at least ``memory_bytes``, physically contiguous, with
        ``physical_address`` (a multiple of 4096), ``flush()`` and ``invalidate()``.
    :param timeout_s: of one start.
    """

    def __init__(self, path: Path, registers: Any, block: Any, timeout_s: float = 10.0) -> None:
        self.facts, image = read_network(path)
        self.registers, self.block, self.timeout_s = registers, block, timeout_s
        build = int(registers.read(BUILD))
        wanted = VERSION | self.facts["groups"] << 8 | self.facts["lanes"] << 16
        if build != wanted:
            raise ManifestError(
                f"{path.name}: was compiled for {self.facts['groups']} groups x "
                f"{self.facts['lanes']} lanes (0x{wanted:x}), the hardware is 0x{build:x}"
            )
        need = self.facts["memory_bytes"]
        if len(block) < need or block.physical_address % ALIGNMENT:
            raise HostError(
                f"{path.name}: needs {need} bytes at a multiple of {ALIGNMENT}, not {len(block)} "
                f"at 0x{block.physical_address:x}"
            )
        block[: len(image)] = np.frombuffer(image, np.uint8)

    @property
    def images_per_run(self) -> int:
        """Images that one start takes."""
        return int(self.facts["images"])

    def logits(self, images: NDArray[Any]) -> NDArray[np.int64]:
        """Outputs ``(N, outputs)`` of ``images`` ``(N, C, H, W)``, bytes; any number of them."""
        shape = tuple(self.facts["input"]["image_shape"])
        dtype = np.dtype(self.facts["input"]["dtype"])
        if images.dtype != dtype or images.shape[1:] != shape:
            raise InputError(
                f"images must be {dtype} of shape (N, {', '.join(map(str, shape))}), not "
                f"{images.dtype} of shape {images.shape}"
            )
        size = self.images_per_run
        parts = []
        for first in range(0, len(images), size):
            part = images[first : first + size]
            padded = np.zeros((size, *shape), dtype)
            padded[: len(part)] = part
            parts.append(self._run(padded)[: len(part)])
        outputs = int(np.prod(self.facts["output"]["shape"]))
        return np.concatenate(parts) if parts else np.empty((0, outputs), np.int64)

    @property
    def cycles(self) -> int:
        """Clock cycles of the last start."""
        return int(self.registers.read(CYCLES))

    def profile(self) -> list[tuple[int, int]]:
        """Of every RUN of the last start: the cycle in which it ended, and its waits for entries."""
        found = []
        for index in range(min(int(self.registers.read(RUNS)), _PROFILED_RUNS)):
            self.registers.write(PROFILE_INDEX, index)
            ended = int(self.registers.read(PROFILE_CYCLES))
            found.append((ended, int(self.registers.read(PROFILE_WAITS))))
        return found

    def _run(self, images: NDArray[Any]) -> NDArray[np.int64]:
        self._place(images)
        self.block.flush()
        self.registers.write(BASE, self.block.physical_address)
        self.registers.write(AP_CTRL, START)
        deadline = time.monotonic() + self.timeout_s
        while not int(self.registers.read(AP_CTRL)) & IDLE:
            if time.monotonic() > deadline:
                raise HardwareTimeout(
                    f"the accelerator did not finish within {self.timeout_s:g} s; "
                    f"ap_ctrl is 0x{int(self.registers.read(AP_CTRL)):x}"
                )
        status = int(self.registers.read(STATUS))
        if status:
            text = self.facts["status"].get(str(status), "unknown")
            raise HostError(f"the program ended with status {status}: {text}")
        self.block.invalidate()
        return self._results()

    def _place(self, images: NDArray[Any]) -> None:
        """Quantise ``images`` and write them as the first pass reads them."""
        facts = self.facts["input"]
        offset = np.array(facts["offset"], np.int64).reshape(1, -1, 1, 1)
        values = (images.astype(np.int64) - offset) >> facts["shift"]
        values = np.clip(values, facts["low"], facts["high"])
        low, high = (-128, 127) if facts["signed"] else (0, 255)
        halves = [np.clip(values, low, high)]
        if facts["shape"][0] > values.shape[1]:
            # Nine bits: channel c minus channel C + c.
            halves.append(halves[0] - values)
        data = np.concatenate(halves, axis=1) & 0xFF
        positions = _positions(facts, self.images_per_run)
        planes = np.zeros((facts["shape"][0], facts["stride"]), np.uint8)
        planes[:, positions.ravel()] = data.transpose(1, 0, 2, 3).reshape(len(planes), -1)
        base = facts["base"]
        self.block[base : base + planes.size] = planes.ravel()

    def _results(self) -> NDArray[np.int64]:
        facts = self.facts["output"]
        channels, height, width = facts["shape"]
        base, size = facts["base"], channels * facts["stride"]
        planes = np.array(self.block[base : base + size]).reshape(channels, -1)
        if facts["wide_runs"]:
            values = _wide(planes, facts["wide_runs"], self.facts["lanes"])
        else:
            values = (planes.view(np.int8) if facts["signed"] else planes).astype(np.int64)
        picked = values[:, _positions(facts, self.images_per_run).ravel()]
        shaped = picked.reshape(channels, self.images_per_run, height * width)
        return shaped.transpose(1, 0, 2).reshape(self.images_per_run, -1)


def _positions(facts: dict[str, Any], images: int) -> NDArray[np.int64]:
    """Byte of every pixel in its channel's plane, ``(images, H, W)`` (docs/kernels.md, "Maps")."""
    _, height, width = facts["shape"]
    n, h, w = np.ogrid[:images, :height, :width]
    phase = (h % facts["row_phases"]) * facts["column_phases"] + w % facts["column_phases"]
    row = n * facts["rows"] + h // facts["row_phases"]
    pixel = row * facts["pitch"] + w // facts["column_phases"]
    return np.asarray(phase * facts["span"] + pixel, np.int64)


def _wide(planes: NDArray[np.uint8], runs: Any, lanes: int) -> NDArray[np.int64]:
    """Four-byte activations ``(C, pixels)`` of all RUNs."""
    parts = []
    for start, stop in runs:
        size = (stop - start) * lanes
        part = planes[:, 4 * start * lanes :][:, : 4 * size].reshape(len(planes), 4, size)
        parts.append(np.ascontiguousarray(part.transpose(0, 2, 1)).view("<i4")[..., 0])
    return np.concatenate(parts, axis=1).astype(np.int64)
