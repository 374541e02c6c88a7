"""What nextpnr-xilinx placed and routed, as the netlist and the wire delays of :mod:`pyadmm.eda.sta`.

The tool's own timing analysis leaves block RAM, DSP blocks and LUT RAM out and takes one constant
for flip-flops. So only its wires are used (``--sdf``); cells come from its netlist (``--write``),
are given their library names back, and :mod:`pyadmm.eda.sta` times all of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pyadmm.core.errors import PyadmmError
from pyadmm.eda.sta import Bit, Pin

PlacedPin = tuple[str, str]
"""A cell's name and its port as the placed netlist has them."""

LUT_PINS: Mapping[str, float] = {
    "A1": 0.516, "A2": 0.507, "A3": 0.347, "A4": 0.283, "A5": 0.114, "A6": 0.005,
}  # fmt: skip
"""Delay of a LUT's input pins, ns, speed grade -1 (project X-Ray's ``site_pins``, slice A)."""
_ROUTER_PIN = 0.025
"""What nextpnr-xilinx takes for any pin of a site, ns."""
_UNTIMED = ("PSEUDO", "PAD", "IOB", "BUFG", "PS7", "PLLE2", "MMCME2")
_WIRE = re.compile(r"\(INTERCONNECT (.*?)(?<!\\) (.*?)(?<!\\) \(([^()]*)\) \(([^()]*)\)\)")
_VECTOR = re.compile(r"(\w+)\[(\d+)\]$")
_CARRY_WIDTHS = {"S": 4, "DI": 4, "O": 4, "CO": 4}
_CARRY_INPUTS = ("CI", "CYINIT")
_MEMORY_PORTS = {"O5": "DO5", "O6": "DO6"}
_SHIFT_PORTS = {"O5": "Q", "O6": "Q", "DI1": "D", "DI2": "D", "WE": "CE"}


def read_wires(sdf: Iterable[str]) -> dict[PlacedPin, float]:
    """Delay of the wire to every input pin, ns, from the lines of nextpnr's SDF file.

    :raises PyadmmError: where there is none.
    """
    wires = {}
    for line in sdf:
        match = _WIRE.search(line)
        if match is not None:
            cell, _, port = re.sub(r"\\(.)", r"\1", match[2]).rpartition("/")
            wires[cell, port] = max(_slowest(match[3]), _slowest(match[4])) / 1e3
    if not wires:
        raise PyadmmError("routed wires: the SDF file names none; route the design with --sdf")
    return wires


def _slowest(triple: str) -> float:
    """The largest of ``min:typ:max``, ps."""
    return max(float(value) for value in triple.split(":"))


def timed_netlist(
    routed: Mapping[str, Any], wires: Mapping[PlacedPin, float]
) -> tuple[dict[str, Any], dict[Pin, float]]:
    """A netlist that :func:`pyadmm.eda.sta.estimate_clock` takes, and its wires.

    Constants, pads, clock buffers and the processor are left out: paths from and to them are not
    timed.

    :param routed: the JSON that nextpnr wrote.
    :raises PyadmmError: for JSON of another form, or an input without a wire.
    """
    try:
        (module,) = routed["modules"].values()
        cells: Mapping[str, Any] = module["cells"]
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise PyadmmError(
            f"routed netlist: no single module with cells ({error!r}); give nextpnr's --write file"
        ) from error
    driven = {
        bit
        for cell in cells.values()
        if not cell["type"].startswith("PSEUDO")
        for port, bits in cell["connections"].items()
        if cell["port_directions"][port] != "input"
        for bit in bits
    }
    timed: dict[str, Any] = {}
    delays: dict[Pin, float] = {}
    for name, cell in cells.items():
        if not cell["type"].startswith(_UNTIMED):
            timed[name] = _library_cell(name, cell, driven, wires, delays)
    return {"cells": timed, "ports": {}}, delays


def _library_cell(
    name: str,
    cell: Mapping[str, Any],
    driven: set[Bit],
    wires: Mapping[PlacedPin, float],
    delays: dict[Pin, float],
) -> dict[str, Any]:
    """The cell under its library's names; the delays of its inputs go into ``delays``."""
    pins: dict[str, list[Any]] = defaultdict(list)
    directions: dict[str, str] = {}
    for placed, port, index, bit in _pins(cell, driven):
        _put(pins[port], index if cell["type"] == "CARRY4" else None, bit)
        directions[port] = cell["port_directions"][placed]
        if directions[port] == "input":
            pin = name, port, bit
            delays[pin] = max(delays.get(pin, 0.0), _wire(name, cell, placed, wires))
    kind = _kind(cell)
    for port, direction, width in _needed(kind):
        directions.setdefault(port, direction)
        pins[port] += ["x"] * (width - len(pins[port]))
    return {
        "type": kind,
        "port_directions": directions,
        "connections": dict(pins),
        "parameters": cell.get("parameters", {}),
    }


def _put(bits: list[Any], index: int | None, bit: Bit) -> None:
    """Add ``bit``, at ``index`` where the place counts."""
    if index is None:
        bits.append(bit)
        return
    bits += ["x"] * (index + 1 - len(bits))
    bits[index] = bit


def _needed(kind: str) -> Iterator[tuple[str, str, int]]:
    """Ports that the timing of a cell reads even where nothing is connected."""
    if kind == "CARRY4":
        for port, width in _CARRY_WIDTHS.items():
            yield port, "output" if port in ("O", "CO") else "input", width
        for port in _CARRY_INPUTS:
            yield port, "input", 1
    elif kind.startswith("LUT"):
        yield "O", "output", 0
    elif kind.startswith("MUXF"):
        yield "O", "output", 0
        for port in ("I0", "I1", "S"):
            yield port, "input", 0
    elif kind.startswith("FD"):
        yield "Q", "output", 0


def _kind(cell: Mapping[str, Any]) -> str:
    """The library's name of a placed cell."""
    attributes = cell["attributes"]
    if cell["type"] != "SLICE_LUTX":
        return str(attributes.get("X_ORIG_TYPE", cell["type"]))
    if _is_memory(cell):
        return "RAM_LUT"
    return "SRL16E" if _is_shift(cell) else "LUT6"


def _is_memory(cell: Mapping[str, Any]) -> bool:
    return "X_LUT_AS_DRAM" in cell["attributes"]


def _is_shift(cell: Mapping[str, Any]) -> bool:
    return "X_LUT_AS_SRL" in cell["attributes"]


def _pins(cell: Mapping[str, Any], driven: set[Bit]) -> Iterator[tuple[str, str, int | None, Bit]]:
    """Pins at nets with a driver, constants excepted: placed name, library's port, index, net."""
    for placed, bits in cell["connections"].items():
        port = _library_port(cell, placed)
        for bit in bits:
            if port and bit in driven:
                match = _VECTOR.match(port)
                yield (placed, match[1], int(match[2]), bit) if match else (placed, port, None, bit)


def _library_port(cell: Mapping[str, Any], placed: str) -> str:
    """The library's name of a placed port; empty where the cell does not depend on it."""
    original = str(cell["attributes"].get(f"X_ORIG_PORT_{placed}", "")).split()
    if cell["type"] != "SLICE_LUTX":
        return original[0] if original else placed
    if _is_memory(cell):
        return f"DPR{placed}" if placed[0] == "A" else _MEMORY_PORTS.get(placed, placed)
    if _is_shift(cell):
        return _SHIFT_PORTS.get(placed, placed)
    if placed in ("O5", "O6"):
        return "O"
    # A LUT that shares its place is also wired to inputs that only the other one uses.
    return placed if original else ""


def _wire(
    name: str, cell: Mapping[str, Any], placed: str, wires: Mapping[PlacedPin, float]
) -> float:
    if (name, placed) not in wires:
        raise PyadmmError(
            f"routed netlist: no wire to port {placed} of {name}; netlist and SDF must come from "
            "one run"
        )
    pin = LUT_PINS.get(placed, 0.0) if cell["type"] == "SLICE_LUTX" else 0.0
    return wires[name, placed] + max(pin - _ROUTER_PIN, 0.0)
