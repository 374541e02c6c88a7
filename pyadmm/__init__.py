"""pyadmm: from a trained PyTorch network to a small, fast FPGA accelerator."""

from __future__ import annotations

import os
from typing import Any

__version__ = "0.2.0"
__all__ = ["CompressSettings", "CompressedModel", "__version__", "compress"]

_HOMES = {
    "compress": "pyadmm.compression.pipeline",
    "CompressSettings": "pyadmm.settings",
    "CompressedModel": "pyadmm.model",
}


# OpenMP reads this when torch loads it, which happens after this line. Threads that wait then sleep
# instead of keeping a core busy, which on a shared machine makes a training step several times as
# long (benchmarks/wait_policy.py). A value that the user has set stays.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def __getattr__(name: str) -> Any:
    """Import the public names on first use: torch takes seconds, and not every command needs it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pyadmm' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_HOMES[name]), name)
