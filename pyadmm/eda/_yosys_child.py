"""Runs Yosys in a process of its own: ``python -m pyadmm.eda._yosys_child TASK REQUEST``.

``elaborate`` lists the modules of a design, ``synthesise`` maps a batch of them, ``map`` leaves the
netlist of one for placement.

Yosys is a library that ends its process on an error and never gives memory back, so
:mod:`pyadmm.eda.yosys` starts this module for every batch, bounds its memory and its time, and
reads the JSON result that it leaves.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
from pathlib import Path
from typing import Any

from pyadmm.eda.sta import DELAYS, DelayModel, estimate_clock

_PR_SET_PDEATHSIG = 1
_CONST_SIGNED = 2
"""Flag of Yosys' constants."""
_MAPPED = ("LUT", "INV", "MUXF", "CARRY", "FD", "LD", "SRL", "RAM", "URAM", "DSP48", "BUFG")
"""Cells of the library, by how their names begin, that mapping makes or leaves."""


def main(task: str, request_file: str) -> None:
    """Do what the JSON ``request_file`` asks for; write ``result.json`` to the same folder."""
    request_path = Path(request_file)
    request = json.loads(request_path.read_text(encoding="utf-8"))
    # Where the parent is killed, this child must not go on for minutes: Linux' PR_SET_PDEATHSIG.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    tasks = {"elaborate": _elaborate, "synthesise": _synthesise, "map": _map}
    result = tasks[task](request, request_path.parent)
    (request_path.parent / "result.json").write_text(json.dumps(result), encoding="utf-8")


def _passed(commands: list[str]) -> Any:
    """The design after all ``commands``."""
    from pyosys import libyosys  # noqa: PLC0415 - optional

    design = libyosys.Design()
    for command in commands:
        if command.startswith("synth_xilinx"):
            libyosys.run_pass(f"{command} -run :map_luts", design)
            # Yosys' interface to ABC goes through the whole design once for every module, and the
            # library's transceivers and processors have more ports than all else together.
            for name in _unused_library(design):
                libyosys.run_pass(f"delete ={name}", design)
            libyosys.run_pass(f"{command} -run map_luts:", design)
        else:
            libyosys.run_pass(command, design)
    return design


def _unused_library(design: Any) -> list[str]:
    """Library cells that are not in the design and that mapping does not make."""
    modules = {str(name): module for name, module in dict(design.modules_).items()}
    boxes = {name for name, module in modules.items() if module.get_blackbox_attribute()}
    used = {
        str(cell.type)
        for name in set(modules) - boxes
        for cell in dict(modules[name].cells_).values()
    }
    public = (name.removeprefix("\\") for name in boxes - used if name.startswith("\\"))
    return sorted(name for name in public if not name.startswith((*_MAPPED, "$")))


def _elaborate(request: dict[str, Any], _: Path) -> dict[str, Any]:
    """Every elaborated module: its name in the source, its parameters, its instances of others.

    Cells of the library are none.
    """
    design = _passed(request["commands"])
    modules = {
        str(name): module
        for name, module in dict(design.modules_).items()
        if not module.get_blackbox_attribute()
    }
    return {"modules": {name: _module(module, set(modules)) for name, module in modules.items()}}


def _map(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Leaves ``netlist.json``: what ``commands`` make of the module in ``body``."""
    (folder / f"{request['wrapper']}.sv").write_text(request["body"], encoding="utf-8")
    _passed(request["commands"])
    return {}


def _synthesise(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    (folder / f"{request['wrapper']}.sv").write_text(request["body"], encoding="utf-8")
    design = _passed(request["commands"])
    netlist = json.loads((folder / "netlist.json").read_text(encoding="utf-8"))
    modules, delays = netlist["modules"], DELAYS[request["family"]]
    boxes = _box_names(design, request["boxes"])
    for module in modules.values():
        _boxes_to_ports(module, boxes)
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


def _box_names(design: Any, sources: list[str]) -> set[str]:
    """Names, as the netlist has them, of the elaborated modules of ``sources``."""
    elaborated = [module for module in dict(design.modules_).values() if _source(module) in sources]
    return {str(module.name).removeprefix("\\") for module in elaborated}


def _source(module: Any) -> str:
    """What an elaborated module is called in the source; empty for cells of the library."""
    for key, value in dict(module.attributes).items():
        if str(key) == "\\hdlname":
            return str(value.decode_string())
    return ""


def _module(module: Any, modules: set[str]) -> dict[str, Any]:
    settable = {str(name) for name in module.avail_parameters}
    values = {str(k): v for k, v in dict(module.parameter_default_values).items()}
    instances = {str(name): str(cell.type) for name, cell in dict(module.cells_).items()}
    ports = [wire for wire in dict(module.wires_).values() if wire.port_id]
    return {
        "source": _source(module),
        "ports": {
            str(wire.name).removeprefix("\\"): [
                "input" if wire.port_input else "output",
                wire.width,
            ]
            for wire in sorted(ports, key=lambda wire: wire.port_id)
        },
        "parameters": {
            name.removeprefix("\\"): _literal(value)
            for name, value in values.items()
            if name in settable
        },
        "instances": {
            name.removeprefix("\\"): kind for name, kind in instances.items() if kind in modules
        },
    }


def _literal(value: Any) -> str:
    """A constant as Verilog writes it, in binary."""
    bits = value.as_string()
    return f"{len(bits)}'{'s' if value.flags & _CONST_SIGNED else ''}b{bits}"


def _boxes_to_ports(module: dict[str, Any], boxes: set[str]) -> None:
    """Take the cells of types ``boxes`` out of ``module``: what they drive comes in, the rest out.

    So their borders are timed as a module's own ports are.
    """
    turned = {"input": "output", "output": "input"}
    for name, cell in list(module["cells"].items()):
        if cell["type"] in boxes:
            del module["cells"][name]
            for port, bits in cell["connections"].items():
                direction = turned[cell["port_directions"][port]]
                module["ports"][f"{name}.{port}"] = {"direction": direction, "bits": bits}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
