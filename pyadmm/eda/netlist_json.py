"""Netlists in JSON, as Yosys and nextpnr write them.

They are checked here and not by :mod:`pyadmm.core.schema`: a netlist has hundreds of thousands of
cells, and fields that nothing here reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pyadmm.core.errors import PyadmmError
from pyadmm.core.schema import Problem, field_words

Netlist = Mapping[str, Any]
_KINDS: Mapping[str, type] = {"an object": dict, "a list": list, "text": str}


def read_netlist(file: Path, remedy: str = "route the design again") -> Netlist:
    """The netlist in ``file``: ``{"modules": {name: {"cells": {name: {"type": …, …}}}}}``.

    Every cell has the text ``type``, and objects ``connections``, ``port_directions``,
    ``parameters`` and ``attributes`` where it has them; a connection is a list of bits.

    :param remedy: what the reader can do, for the end of an error.
    :raises PyadmmError: where the file is missing, cut short, or of another form; it names the
        field.
    """
    try:
        netlist = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PyadmmError(f"{file}: no whole JSON ({error}); {remedy}") from error
    problem = next(_problems(netlist), None)
    if problem is not None:
        raise PyadmmError(f"{field_words(str(file), problem)}; {remedy}")
    return dict(netlist)


def _problems(netlist: Any) -> Iterator[Problem]:
    yield from _wrong("", netlist, "an object") or _wrong("modules", netlist.get("modules"))
    for name, module in netlist["modules"].items():
        path = f"modules.{name}"
        yield from _wrong(path, module) or _wrong(f"{path}.cells", module.get("cells"))
        for cell, facts in module["cells"].items():
            yield from _cell(f"{path}.cells.{cell}", facts)


def _cell(path: str, facts: Any) -> list[Problem]:
    found = _wrong(path, facts) or _wrong(f"{path}.type", facts.get("type"), "text")
    for name in ("connections", "port_directions", "parameters", "attributes"):
        found = found or _wrong(f"{path}.{name}", facts.get(name, {}))
    if not found:
        for port, bits in facts.get("connections", {}).items():
            found = found or _wrong(f"{path}.connections.{port}", bits, "a list")
    return found


def _wrong(path: str, value: Any, rule: str = "an object") -> list[Problem]:
    """The problem of a value that is not what ``rule`` says; nothing for one that is."""
    return [] if isinstance(value, _KINDS[rule]) else [Problem(path, rule, value)]
