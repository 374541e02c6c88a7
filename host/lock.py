"""One process at a time: a lock file that the kernel releases when its holder ends."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from .errors import InUseError


class DeviceLock:
    """Exclusive use of one device.

    The lock is an ``flock``, so a killed holder leaves no stale lock; the file's text only says
    who holds it.

    :param tag: name of the device; becomes part of the file's name.
    :param folder: where the lock file lies, by default the system's folder for temporary files.
    :raises InUseError: if another holder, in this process or another one, has the device.
    """

    def __init__(self, tag: str, folder: Path | None = None) -> None:
        plain = "".join(c if c.isalnum() else "-" for c in tag)
        self.path = (folder or Path(tempfile.gettempdir())) / f"pyadmm-{plain}.lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._handle = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise InUseError(
                f"accelerator: the lock file {self.path} cannot be opened: {error}; "
                "run as the user that created it, on the board that is root"
            ) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._handle, 200, 0).decode("utf-8", "replace").strip()
            os.close(self._handle)
            raise InUseError(
                f"accelerator {tag}: in use by {holder or 'another process'}; call close() there, "
                "or shut that notebook's kernel down"
            ) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"process {os.getpid()}".encode(), 0)

    def release(self) -> None:
        """Give the device free; calling it again does nothing."""
        if self._handle >= 0:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = -1
