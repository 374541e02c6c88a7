"""Names of a network's steps: one function for all that tracing and importing make."""

from __future__ import annotations

from collections.abc import Collection

from pyadmm.model import INPUT


def step_name(wanted: str, taken: Collection[str]) -> str:
    """``wanted``, or the first name made from it that is free.

    The network's input has a name of its own, which no step gets.

    >>> step_name("pool", {"pool"}), step_name("input", set())
    ('pool2', 'input_')
    """
    stem = f"{wanted}_" if wanted == INPUT else wanted
    name, number = stem, 1
    while name in taken or name == INPUT:
        number += 1
        name = f"{stem}{number}"
    return name
