"""Contiguous memory that the DMA reaches: u-dma-buf, else a reserved region of the device tree."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import HostError
from .registers import map_words
from .sysfs import read_number, write_text

UDMABUF_VARIABLE = "PYADMM_UDMABUF"
"""Environment: name of the u-dma-buf device to use, where there are several."""
REGION_NAME = "pyadmm"
TO_DEVICE, FROM_DEVICE = 1, 2
_CELL = 4


class Region:
    """A mapped piece of contiguous memory, from which buffers are cut.

    :param words: the memory, 32-bit words that no cache holds (mapped with ``O_SYNC``).
    :param sync: folder of a u-dma-buf's synchronisation files, which order the processor's
        accesses and the DMA's; None for memory that has none.
    """

    def __init__(self, name: str, address: int, words: Any, sync: Path | None) -> None:
        self.name, self.address, self.sync = name, address, sync
        self._words = words
        self._taken: dict[int, int] = {}

    def allocate(self, words: int) -> Buffer:
        """A buffer of ``words`` 32-bit words at a page's beginning.

        :raises HostError: if there is no room.
        """
        page = mmap.PAGESIZE // _CELL
        length = -(-max(words, 1) // page) * page
        first = 0
        for start in sorted(self._taken):
            if start - first >= length:
                break
            first = start + self._taken[start]
        if first + length > len(self._words):
            raise HostError(
                f"buffer: {_CELL * length} bytes do not fit in {self.name}, which has "
                f"{_CELL * len(self._words)}; make it larger (u-dma-buf: 'insmod u-dma-buf.ko "
                "udmabuf0=16777216'), or classify fewer images a call"
            )
        self._taken[first] = length
        buffer: Buffer = self._words[first : first + words].view(Buffer)
        buffer.physical_address = self.address + _CELL * first
        buffer.region = self
        return buffer

    def free(self, address: int) -> None:
        """Give the buffer at a physical address back."""
        self._taken.pop((address - self.address) // _CELL, None)

    def synchronise(self, address: int, nbytes: int, direction: int) -> None:
        """Hand ``nbytes`` at ``address`` over, :data:`TO_DEVICE` or :data:`FROM_DEVICE`."""
        if self.sync is None:
            return
        device = direction == TO_DEVICE
        steps = {
            "sync_offset": address - self.address,
            "sync_size": nbytes,
            "sync_direction": direction,
            "sync_for_device" if device else "sync_for_cpu": 1,
        }
        for file, value in steps.items():
            write_text(self.sync / file, str(value), self.name)


class Buffer(np.ndarray):
    """32-bit words with the physical address that the DMA is told."""

    physical_address: int = 0
    region: Region | None = None

    def _synchronise(self, direction: int) -> None:
        if self.region is not None:
            self.region.synchronise(self.physical_address, self.nbytes, direction)

    def flush(self) -> None:
        """After writing, before the DMA reads."""
        self._synchronise(TO_DEVICE)

    def invalidate(self) -> None:
        """After the DMA wrote, before reading."""
        self._synchronise(FROM_DEVICE)

    def freebuffer(self) -> None:
        """Give the memory back; the array must not be used after it."""
        if self.region is not None:
            self.region.free(self.physical_address)


def find_region(root: Path) -> Region:
    """The memory for buffers.

    :param root: ``/``, or a folder that stands for it.
    :raises HostError: where there is none, or several and the environment does not choose.
    """
    device = _udmabuf(root)
    if device is not None:
        address, size = (read_number(device / key) for key in ("phys_addr", "size"))
        if address is None or not size:
            raise HostError(f"{device.name}: {device} names no phys_addr and size; load it again")
        words = map_words(root / "dev" / device.name, 0, size // _CELL * _CELL, device.name)
        sync = device if (device / "sync_for_device").exists() else None
        return Region(device.name, address, words, sync)
    reserved = _reserved(root)
    if reserved is None:
        raise HostError(
            "buffer: no u-dma-buf device and no reserved memory; load the module (github.com/"
            "ikwzm/udmabuf): 'insmod u-dma-buf.ko udmabuf0=16777216', or reserve a region called "
            f"'{REGION_NAME}' with 'no-map' under /reserved-memory of the device tree"
        )
    address, size = reserved
    words = map_words(root / "dev/mem", address, size // _CELL * _CELL, REGION_NAME)
    return Region(REGION_NAME, address, words, None)


def _udmabuf(root: Path) -> Path | None:
    """Folder of the u-dma-buf to use."""
    classes = ("u-dma-buf", "udmabuf")
    found = {p.name: p for kind in classes for p in (root / "sys/class" / kind).glob("*")}
    wanted = os.environ.get(UDMABUF_VARIABLE)
    names = ", ".join(sorted(found)) or "none"
    if wanted:
        if wanted not in found:
            raise HostError(f"{UDMABUF_VARIABLE}: there is no {wanted!r}, but {names}")
        return found[wanted]
    own = [name for name in sorted(found) if name.startswith(REGION_NAME)] or sorted(found)
    if len(own) > 1:
        raise HostError(
            f"buffer: there are several u-dma-buf devices, {names}; another program may use one: "
            f"say which is ours with {UDMABUF_VARIABLE}"
        )
    return found[own[0]] if own else None


def _reserved(root: Path) -> tuple[int, int] | None:
    """Address and size of the region of the device tree that is reserved for us."""
    parent = root / "proc/device-tree/reserved-memory"
    for folder in sorted(parent.glob(f"{REGION_NAME}*")):
        if not (folder / "no-map").exists():
            raise HostError(
                f"buffer: the reserved region {folder.name} has no 'no-map', so the kernel caches "
                "it; add the property"
            )
        cells = [_cells(parent / f"#{kind}-cells") for kind in ("address", "size")]
        content = (folder / "reg").read_bytes()
        first = _CELL * cells[0]
        address = int.from_bytes(content[:first], "big")
        return address, int.from_bytes(content[first : first + _CELL * cells[1]], "big")
    return None


def _cells(path: Path) -> int:
    """Number of 32-bit cells that a property of the device tree says."""
    return int.from_bytes(path.read_bytes(), "big")
