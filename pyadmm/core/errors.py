"""The one exception type that pyadmm raises for its users."""

from __future__ import annotations


class PyadmmError(ValueError):
    """An error that the user can correct: the message names subject, rule, value and remedy."""


class OutputError(PyadmmError, OSError):
    """A file or folder cannot be written: the disk is full or read-only, or another file is in the
    way.
    """

    def __str__(self) -> str:
        """The message alone, without the number that ``OSError`` puts before it."""
        return str(self.args[0])


class ToolError(PyadmmError):
    """An external tool failed, hung or is missing; the message carries its last lines."""


class MissingToolError(ToolError):
    """An external tool is not installed; the message says what to install."""


class CheckError(PyadmmError):
    """A check failed: a logit differs, or a design does not fit."""
