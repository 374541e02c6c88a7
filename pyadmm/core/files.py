"""Atomic writing of files, and the place of the cache."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pyadmm.core.errors import OutputError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path``: temporary name in the same folder, fsync, rename.

    :raises OutputError: where that fails; what was at ``path`` before is still there then.
    """
    try:
        _write(path, content.encode("utf-8") if isinstance(content, str) else content)
    except OSError as error:
        raise unwritable(path, error) from error


def make_folder(path: Path) -> None:
    """Make the folder ``path`` and those above it, where they are not there yet.

    :raises OutputError: where that fails.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> OutputError:
    """The error that names ``path`` and what to do."""
    reason = error.strerror or str(error)
    place = error.filename if isinstance(error.filename, str) else str(path)
    beside = "" if place == str(path) else f" ({place})"
    made = OutputError(
        f"{path}: cannot be written: {reason}{beside}; make room or choose another place"
    )
    made.errno, made.strerror = error.errno, reason
    return made


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def cache_dir() -> Path:
    """Folder of downloads and tool results: ``PYADMM_CACHE``, otherwise ``~/.cache/pyadmm``."""
    return Path(os.environ.get("PYADMM_CACHE") or "~/.cache/pyadmm").expanduser()
