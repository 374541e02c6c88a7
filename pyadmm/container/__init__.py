"""The ``.admm`` file: a compressed network with every byte counted."""

from __future__ import annotations

from pyadmm.container.codec import breakdown, decode, encode, load, save, seal

__all__ = ["breakdown", "decode", "encode", "load", "save", "seal"]
