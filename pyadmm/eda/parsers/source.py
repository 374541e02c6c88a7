"""Reading a report of a vendor's tool: bounded, decoded, with errors that name file and field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pyadmm.core.errors import PyadmmError

MAX_BYTES = 64 * 1024 * 1024
"""Largest report that is read; the largest ones seen in public repositories are a few MB."""


class ReportError(PyadmmError):
    """A report that cannot be used: the message names the file and the field."""


@dataclass(frozen=True)
class Source:
    """Text of one report and the name that its errors carry."""

    name: str
    text: str

    def fail(self, field: str, problem: str) -> NoReturn:
        """Raise the one error of an unusable report."""
        raise ReportError(
            f"report {self.name}: field {field}: {problem}; run the tool again and pass its "
            f"complete, unedited report"
        )


def read_source(path: Path) -> Source:
    """The text of ``path``; bytes that are no UTF-8 (paths in comments) become replacement marks.

    :raises ReportError: for a file that is missing, empty, too large or no text.
    """
    nothing = Source(path.name, "")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        nothing.fail("file", f"cannot be read: {error.strerror or error}")
    if len(data) > MAX_BYTES:
        nothing.fail("file", f"is larger than {MAX_BYTES >> 20} MiB, which no report is")
    if b"\0" in data:
        nothing.fail("file", "holds zero bytes, so it is no text report")
    text = data.decode("utf-8-sig", errors="replace")
    if not text.strip():
        nothing.fail("file", "is empty")
    return Source(path.name, text.replace("\r\n", "\n"))
