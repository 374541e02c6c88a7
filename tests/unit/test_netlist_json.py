"""Netlists of Yosys and nextpnr are checked before anything reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.eda.netlist_json import read_netlist

CELL = {"type": "LUT2", "connections": {"I0": [2], "O": ["x"]}, "port_directions": {"O": "output"}}
GOOD = {"creator": "Yosys", "modules": {"top": {"cells": {"a": CELL}, "ports": {}}}}


def read(tmp_path: Path, text: str) -> Any:
    file = tmp_path / "netlist.json"
    file.write_text(text)
    return read_netlist(file, "map it again")


def test_a_netlist_comes_as_it_is(tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps(GOOD)) == GOOD


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"modules": {"top": {"cells": {"a"', "no whole JSON"),
        ("[" * 5000, "no whole JSON"),
        ("[]", r"field \(root\) must be an object, not \[\]"),
        ("{}", "field modules must be an object, not missing"),
        ('{"modules": {"top": 3}}', "field modules.top must be an object, not 3"),
        ('{"modules": {"top": {}}}', "field modules.top.cells must be an object, not missing"),
        ('{"modules": {"top": {"cells": {"a": 1}}}}', "modules.top.cells.a must be an object"),
        ('{"modules": {"top": {"cells": {"a": {}}}}}', r"cells.a.type must be text, not missing"),
    ],
)
def test_what_is_no_netlist_is_refused_by_its_field(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PyadmmError, match=rf"netlist\.json: .*{said}.*; map it again"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("connections", [], r"cells.a.connections must be an object, not \[\]"),
        ("connections", {"O": 7}, "cells.a.connections.O must be a list, not 7"),
        ("parameters", "x", "cells.a.parameters must be an object, not 'x'"),
    ],
)
def test_a_cell_of_another_form_is_refused(
    tmp_path: Path, field: str, value: Any, said: str
) -> None:
    netlist = {"modules": {"top": {"cells": {"a": {**CELL, field: value}}}}}
    with pytest.raises(PyadmmError, match=said):
        read(tmp_path, json.dumps(netlist))
