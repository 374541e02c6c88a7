"""The board side of pyadmm: needs numpy, Python 3.8 and pynq or plain Linux; nothing of pyadmm.

``Accelerator(bitfile, manifest)`` loads the design and its weights and classifies images;
``python -m host.selftest`` compares the board with the golden vectors, bit for bit;
``python -m host.benchmark`` measures, ``python -m host.report`` puts both into one file to send. See
``docs/guide/on-the-board.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import HostError
from .manifest import Manifest, read_manifest

if TYPE_CHECKING:
    from .accelerator import Accelerator

__all__ = ["Accelerator", "HostError", "Manifest", "read_manifest"]


def __getattr__(name: str) -> Any:
    """Import :class:`Accelerator` on first use, so that the manifest is readable without pynq."""
    if name == "Accelerator":
        from .accelerator import Accelerator  # noqa: PLC0415

        return Accelerator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
