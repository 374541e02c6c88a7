"""Seeds and digests of anything that decides a result."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_FORMER_NAMES = {
    "regrow": "exchange",
    "local-search": "polish",
    "byte-budget": "trim",
    "byte-budget-before-levels": "trim-before-levels",
}
"""Names that phases of a compression had in 0.1.0. They draw their random numbers by these, so that
a preset still gives the same weights."""


def seed_of(*parts: object) -> int:
    """A 63-bit seed from anything printable.

    >>> seed_of(0, "regrow") == seed_of(0, "exchange")
    True
    """
    named = tuple(
        _FORMER_NAMES.get(part, part) if isinstance(part, str) else part for part in parts
    )
    digest = hashlib.sha256(repr(named).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def digest_of(*parts: object) -> str:
    """SHA-256 of tensors, mappings, sequences and printable values."""
    sha = hashlib.sha256()
    _feed(sha, parts)
    return sha.hexdigest()


def _feed(sha: Any, part: object) -> None:
    if isinstance(part, Tensor):
        sha.update(f"{part.dtype}{tuple(part.shape)}".encode())
        sha.update(part.detach().cpu().contiguous().numpy().tobytes())
    elif isinstance(part, Mapping):
        for key, value in part.items():
            sha.update(repr(key).encode())
            _feed(sha, value)
    elif isinstance(part, list | tuple):
        for value in part:
            _feed(sha, value)
    else:
        sha.update(repr(part).encode())
