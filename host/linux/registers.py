"""Mapping registers: through a UIO device of that address, else through ``/dev/mem``."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import HostError
from .sysfs import read_number


class MappedRegisters:
    """32-bit registers in ``array``, by byte offset."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def read(self, offset: int) -> int:
        """The register at ``offset``."""
        return int(self.array[offset >> 2])

    def write(self, offset: int, value: int) -> None:
        """Set the register at ``offset``."""
        self.array[offset >> 2] = value


def map_registers(root: Path, address: int, size: int, name: str) -> MappedRegisters:
    """The registers of ``name`` at a physical address.

    :param root: ``/``, or a folder that stands for it.
    :raises HostError: if the kernel gives no way to them.
    """
    found = _uio_map(root, address, size)
    if found is not None:
        file, offset = found
        return MappedRegisters(map_words(file, offset, size, name))
    file = root / "dev/mem"
    if not file.exists():
        raise HostError(
            f"{name}: no UIO device at 0x{address:08x} and no /dev/mem; add a node 'compatible = "
            f'"generic-uio", reg = <0x{address:08x} 0x{size:x}>\' to the device tree, or use a '
            "kernel with CONFIG_DEVMEM"
        )
    return MappedRegisters(map_words(file, address, size, name))


def _uio_map(root: Path, address: int, size: int) -> tuple[Path, int] | None:
    """Device file and mmap offset of the UIO map at ``address``; None where there is none."""
    for folder in sorted((root / "sys/class/uio").glob("uio*/maps/map*")):
        held = read_number(folder / "size")
        if read_number(folder / "addr") == address and held is not None and held >= size:
            number = int(folder.name[len("map") :])
            return root / "dev" / folder.parents[1].name, number * mmap.PAGESIZE
    return None


def map_words(file: Path, offset: int, nbytes: int, name: str) -> Any:
    """``nbytes`` of a device file as an array of 32-bit words that no cache holds.

    :raises HostError: if the kernel refuses it.
    """
    try:
        handle = os.open(file, os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
        try:
            memory = mmap.mmap(handle, nbytes, mmap.MAP_SHARED, offset=offset)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:
        raise HostError(
            f"{name}: {file} cannot be mapped at 0x{offset:x}: {error}; run as root: 'sudo -i'; "
            "where the kernel guards /dev/mem (CONFIG_IO_STRICT_DEVMEM), add a generic-uio node"
        ) from error
    return np.frombuffer(memory, np.uint32)
