"""Runs one batch of syntheses in its own process: ``python -m pyadmm.tools._yosys_child REQUEST``.

Yosys is a library that ends its process on an error and never gives memory back, so
:mod:`pyadmm.tools.yosys` starts this module for every batch, bounds its memory and its time, and
reads the JSON result that it leaves.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
from pathlib import Path
from typing import Any

from pyadmm.timing import DELAYS, DelayModel, estimate_clock

_PR_SET_PDEATHSIG = 1


def main(request_file: str) -> None:
    """Synthesise what the JSON ``request_file`` asks for; write ``result.json`` beside it."""
    request_path = Path(request_file)
    request = json.loads(request_path.read_text(encoding="utf-8"))
    # Where the parent is killed, this child must not go on for minutes: Linux' PR_SET_PDEATHSIG.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    result = _synthesise(request, request_path.parent)
    (request_path.parent / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _synthesise(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    from pyosys import libyosys  # noqa: PLC0415 - optional

    design = libyosys.Design()
    for command in request["commands"]:
        libyosys.run_pass(command, design)
    netlist = json.loads((folder / "netlist.json").read_text(encoding="utf-8"))
    modules, delays = netlist["modules"], DELAYS[request["family"]]
    designs = {
        name: _figures(modules[instance["type"]], delays)
        for name, instance in modules[request["wrapper"]]["cells"].items()
    }
    return {"creator": netlist["creator"], "designs": designs}


def _figures(module: dict[str, Any], delays: DelayModel) -> dict[str, Any]:
    """Cells by type and the slowest path of a mapped module."""
    cells: dict[str, int] = {}
    for cell in module["cells"].values():
        cells[cell["type"]] = cells.get(cell["type"], 0) + 1
    clock = estimate_clock(module, delays)
    return {"cells": cells, "clock_ns": clock.period_ns, "path": clock.summary}


if __name__ == "__main__":
    main(sys.argv[1])
