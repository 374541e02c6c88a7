"""The border to the caller's code, which may raise anything: every error leaves as one of ours.

The model, the loaders and torch itself may raise anything. The caller's own callback is the
exception: what it raises is the caller's way to stop, and passes through.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyadmm.core.errors import PyadmmError
from pyadmm.training.checkpoint import EpochRecord, Progress


class Told:
    """Calls the caller's ``progress`` and keeps the exceptions that it raises."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.failures: list[Exception] = []

    def __call__(self, record: EpochRecord, epochs: int) -> None:
        """Call ``progress``, if there is one."""
        if self.progress is not None:
            try:
                self.progress(record, epochs)
            except Exception as error:
                self.failures.append(error)
                raise


@contextmanager
def only_ours(subject: str, passed: list[Exception]) -> Iterator[None]:
    """Turn every exception of the body but :class:`PyadmmError` and those ``passed`` into ours.

    :raises PyadmmError: names ``subject`` and the kind of error.
    """
    try:
        yield
    except PyadmmError:
        raise
    except Exception as error:
        if any(error is one for one in passed):
            raise
        text = " ".join(str(error).split()) or "no reason given"
        raise PyadmmError(f"{subject}: {type(error).__name__}: {text}") from error
