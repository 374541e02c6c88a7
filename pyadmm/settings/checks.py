"""The check of a setting: a rule and its message."""

from __future__ import annotations

from pyadmm.core.errors import PyadmmError


def require(holds: bool, message: str) -> None:
    """Refuse a setting whose rule does not hold.

    :raises PyadmmError: with ``message``, unless ``holds``.
    """
    if not holds:
        raise PyadmmError(message)
