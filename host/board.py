"""What the accelerator needs of a board, and the choice between pynq and plain Linux."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from .control import AcceleratorControl
from .errors import HostError, IdentError
from .manifest import Manifest

BACKEND_VARIABLE = "PYADMM_BACKEND"
"""Environment: ``pynq`` or ``linux``; without it pynq is used where it is installed."""


class DmaFacts(NamedTuple):
    """An AXI DMA as a board maps it.

    :param registers: has ``read(offset)``, ``write(offset, value)`` and, where the registers are
        mapped memory, ``array``.
    :param parameters: parameters of the instance in the ``.hwh``.
    """

    registers: Any
    parameters: Mapping[str, Any]


class Board(Protocol):
    """Programmable logic, its clock, its registers and memory that its DMA can reach.

    :param device: has ``tag`` (which names the lock), ``name``, ``has_capability(name)`` and, for a
        simulated board, ``simulated``.
    :param files: suffixes of the files that :meth:`open` reads.
    """

    device: Any
    files: tuple[str, ...]

    def open(self, bitfile: Path, manifest: Manifest) -> None:
        """Configure the logic with ``bitfile``, whose ``.hwh`` is in the same folder."""

    def reload(self) -> None:
        """Configure the logic anew: everything in it starts from reset."""

    def dma(self, name: str) -> DmaFacts:
        """The DMA with that instance name."""

    def core(self) -> AcceleratorControl:
        """The accelerator that the manifest names."""

    def set_clock(self, index: int, mhz: float) -> float:
        """Run a clock at the fastest rate up to ``mhz``; gives the rate in MHz."""

    def allocate(self, words: int) -> Any:
        """A contiguous array of 32-bit words with ``physical_address``, ``flush``, ``invalidate``
        and ``freebuffer``."""


def find_board(device: Any = None) -> Board:
    """The board of ``device``, which is a pynq device, a :class:`Board`, or None for this machine's.

    :raises HostError: if there is none, or the environment names an unknown backend.
    """
    if hasattr(device, "set_clock") and hasattr(device, "reload"):
        return device
    wanted = os.environ.get(BACKEND_VARIABLE, "")
    if wanted not in ("", "pynq", "linux"):
        raise HostError(f"{BACKEND_VARIABLE}: must be pynq or linux, not {wanted!r}")
    if device is None and (wanted == "linux" or (not wanted and find_spec("pynq") is None)):
        from .linux.board import LinuxBoard  # noqa: PLC0415

        return LinuxBoard()
    try:
        from .pynq_board import PynqBoard  # noqa: PLC0415
    except ImportError as error:
        raise HostError(
            f"board: pynq cannot be imported ({error}); install it, or set {BACKEND_VARIABLE}=linux"
        ) from error
    return PynqBoard(device)


def require_instance(found: Mapping[str, Any], instance: str, bitfile: Path) -> Any:
    """The entry ``instance`` of a design's table.

    :raises IdentError: if there is none.
    """
    if instance not in found:
        raise IdentError(
            f"{bitfile.name}: has no {instance}, only {', '.join(sorted(found))}; the "
            "bitstream is of another design than the manifest"
        )
    return found[instance]


def require_kind(kind: str, manifest: Manifest, bitfile: Path) -> None:
    """Refuse an accelerator of another type than the manifest's.

    :raises IdentError: says which.
    """
    design = manifest.design
    if kind != design.vlnv:
        raise IdentError(
            f"{bitfile.name}: {design.ip} is a {kind}, but the manifest says {design.vlnv}"
        )
