"""Small text files of the kernel."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import HostError

_READ_LIMIT = 1 << 16


def read_text(path: Path) -> str | None:
    """The stripped text of a file; None where it does not exist or must not be read."""
    try:
        with path.open("rb") as file:
            return file.read(_READ_LIMIT).decode("utf-8", "replace").strip(" \t\r\n\0")
    except OSError:
        return None


def read_number(path: Path) -> int | None:
    """The whole number in a file, decimal or ``0x…``; None where there is none."""
    try:
        return int(read_text(path) or "", 0)
    except ValueError:
        return None


def write_text(path: Path, text: str, subject: str) -> None:
    """Write a file that the kernel made; it is never created.

    :param subject: what the message of an error begins with.
    :raises HostError: if the kernel refuses it.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_TRUNC)
        try:
            os.write(handle, text.encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise HostError(
            f"{subject}: {path} does not take {text!r}: {error.strerror}; run as root: 'sudo -i', "
            "and look at 'dmesg' for the kernel's reason"
        ) from error
