"""Files of a build, before they are written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pyadmm.core.files import write_atomic


@dataclass(frozen=True)
class BuildPlan:
    """Files of a build, not yet written: relative name to text or bytes.

    :param files: everything that decides the hardware and its testbench.
    :param data: files that are loaded at run time (weight images). They are no part of :attr:`digest`,
        because another model of the same shapes runs on the same hardware.
    """

    files: Mapping[str, str | bytes]
    data: Mapping[str, str | bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of :attr:`files`, names and contents; the ``ident`` register holds another one,
        of all files but the one that says it."""
        return files_digest(self.files)

    def write(self, folder: Path) -> None:
        """Write every file under ``folder``, each atomically."""
        for name, content in sorted({**self.files, **self.data}.items()):
            write_atomic(folder / name, content)


def files_digest(files: Mapping[str, str | bytes]) -> str:
    """SHA-256 over sorted ``(name, content)`` pairs, hexadecimal."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        data = content.encode("utf-8") if isinstance(content, str) else content
        for part in (name.encode("utf-8"), data):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()
