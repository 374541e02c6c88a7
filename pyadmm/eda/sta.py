"""Static timing over a technology-mapped netlist: cell delays of speed grade -1, and wires.

Without placement every net is charged what nets of its fan-out cost on routed critical paths
(``docs/timing.md`` has the figures and the error); the result is an *estimate* and is labelled so
wherever it is shown. With the delays of routed wires (:mod:`pyadmm.eda.routed_netlist`) the same
analysis gives the period of the routed design.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pyadmm.core.errors import PyadmmError

METHOD = "estimate: static timing of the mapped netlist, fan-out wire model"
"""What a clock from this module is labelled with."""

Bit = int
Pin = tuple[str, str, Bit]
"""An input of a cell: the cell's name, its port, the net."""
_CLOCK_PINS = frozenset({"C", "CLK", "WCLK", "CLKARDCLK", "CLKBWRCLK"})
_CONTROL_PINS = frozenset({"CE", "R", "S", "CLR", "PRE"})

# CARRY4, ns, speed grade -1 (project X-Ray's tables, as Yosys ships them): arcs of S and DI of
# stage i to output O or CO of stage j, keyed (port, i, output port, j).
_CARRY_FROM_CI = {"O": (0.222, 0.334, 0.239, 0.313), "CO": (0.271, 0.157, 0.228, 0.114)}
_CARRY_FROM_CYINIT = {"O": (0.482, 0.598, 0.584, 0.642), "CO": (0.536, 0.494, 0.592, 0.580)}
_CARRY_FROM_S = {
    "O": ((0.223, 0.400, 0.523, 0.582), (0.205, 0.558, 0.618), (0.226, 0.330), (0.227,)),
    "CO": ((0.340, 0.433, 0.512, 0.508), (0.469, 0.548, 0.528), (0.292, 0.378), (0.380,)),
}
_CARRY_FROM_DI = {
    "O": ((0.407, 0.556, 0.615), (0.537, 0.596), (0.438,), ()),
    "CO": ((0.379, 0.465, 0.540, 0.526), (0.445, 0.520, 0.507), (0.356, 0.398), (0.385,)),
}
_MUX = {
    "MUXF7": {"I0": 0.217, "I1": 0.223, "S": 0.296},
    "MUXF8": {"I0": 0.104, "I1": 0.094, "S": 0.273},
    "MUXF9": {"I0": 0.104, "I1": 0.094, "S": 0.273},
}
_PLAIN = {**_MUX, "INV": {"I": 0.0}, "BUFG": {"I": 0.0}}
_BRAM_SETUP = {"ADDR": 0.566, "DI": 0.737, "WE": 0.532, "EN": 0.443, "RE": 0.360, "RS": 0.342}
BLOCK_RAM_OUTPUT, _BRAM_OUTPUT_REGISTERED = 2.454, 0.882
_LUTRAM_SETUP = {"WE": 0.654, "WA": 0.362, "D": 0.453, "A": 0.362}
_LUTRAM_WRITE_TO_OUTPUT = 1.333
_SRL_OUTPUT, _SRL_SETUP = 1.632, 0.173
# DSP48E1 with its multiplier: set-up of an operand by the first register on its way (input, M, P),
# and the delay to P through the multiplier where there is none.
_DSP_SETUP = {
    "A": {"AREG": 0.322, "MREG": 1.499, "PREG": 2.740},
    "B": {"BREG": 0.324, "MREG": 1.285, "PREG": 2.608},
    "C": {"CREG": 0.168, "PREG": 1.244},
    "D": {"DREG": 0.248, "ADREG": 1.195, "MREG": 2.310, "PREG": 3.635},
    "PCIN": {"PREG": 1.025},
}
_DSP_THROUGH = {"A": 2.823, "B": 2.690, "C": 1.325, "D": 3.717, "PCIN": 1.107}
_DSP_OUTPUT = {"PREG": 0.329, "CREG": 1.687, "MREG": 1.671, "AREG": 2.952, "BREG": 2.813}
_DSP_REGISTERS = ("AREG", "BREG", "CREG", "DREG", "ADREG", "MREG", "PREG")
_DSP_CONTROL_SETUP = 0.5


@dataclass(frozen=True)
class DelayModel:
    """Delays of one chip family, ns, at the slowest speed grade (-1).

    :param wire_base: of a net that feeds one pin outside its slice.
    :param wire_per_octave: more for every doubling of the fan-out.
    :param carry_scale: of the carry chain's arcs, relative to 7-series.
    :param block_scale: of block RAM, LUT RAM and DSP, relative to 7-series.
    :param margin: clock skew and uncertainty.
    """

    name: str
    lut: float
    lut_after_carry: float
    ff_output: float
    ff_setup: float
    ff_enable_setup: float
    ff_reset_setup: float
    wire_base: float
    wire_per_octave: float
    carry_scale: float
    block_scale: float
    margin: float

    def wire(self, fan_out: int) -> float:
        """Delay of a routed net with ``fan_out`` loads, ns."""
        return self.wire_base + self.wire_per_octave * math.log2(max(fan_out, 1))


SERIES7 = DelayModel(
    name="7-series -1",
    lut=0.15,
    lut_after_carry=0.303,
    ff_output=0.456,
    ff_setup=0.05,
    ff_enable_setup=0.205,
    ff_reset_setup=0.429,
    wire_base=0.55,
    wire_per_octave=0.08,
    carry_scale=1.0,
    block_scale=1.0,
    margin=0.2,
)
ULTRASCALE_PLUS = DelayModel(
    name="UltraScale+ -1",
    lut=0.15,
    lut_after_carry=0.15,
    ff_output=0.096,
    ff_setup=0.025,
    ff_enable_setup=0.06,
    ff_reset_setup=0.06,
    wire_base=0.22,
    wire_per_octave=0.05,
    carry_scale=0.45,
    block_scale=0.45,
    margin=0.1,
)
ROUTED_SERIES7 = replace(SERIES7, name="7-series -1, routed", lut=0.124)
"""For routed wires: the inputs' own delays, 5 to 516 ps, are part of the wires there."""
DELAYS: Mapping[str, DelayModel] = {"xc7": SERIES7, "xcup": ULTRASCALE_PLUS}
"""Delay model of every family that :mod:`pyadmm.eda.yosys` synthesises for."""


@dataclass(frozen=True)
class ClockEstimate:
    """The slowest path of a netlist.

    :param period_ns: shortest clock period, margin included.
    :param logic_ns: what cells take of it.
    :param wire_ns: what wires take of it.
    :param path: the cells on it, from launching to capturing element; with routed wires each with
        its name and the delay of the wire before it.
    :param ends: the period that each register input asks for, ns, longest first.
    """

    period_ns: float
    logic_ns: float
    wire_ns: float
    path: tuple[str, ...]
    ends: tuple[float, ...] = ()

    @property
    def summary(self) -> str:
        """One line: split, levels, end points."""
        return (
            f"slowest path: logic {self.logic_ns:.2f} ns, wires {self.wire_ns:.2f} ns, "
            f"{len(self.path)} cells: {' > '.join(self.path)}"
        )


@dataclass(frozen=True)
class _Arc:
    """Through a cell: wire to the pin, then the cell."""

    source: Bit
    target: Bit
    wire: float
    logic: float
    cell: str


@dataclass(frozen=True)
class _End:
    """A launching output (``wire`` 0) or a capturing input."""

    bit: Bit
    wire: float
    logic: float
    cell: str


@dataclass
class _Graph:
    arcs: dict[Bit, list[_Arc]] = field(default_factory=dict)
    launches: list[_End] = field(default_factory=list)
    captures: list[_End] = field(default_factory=list)


def estimate_clock(
    module: Mapping[str, Any], delays: DelayModel, wires: Mapping[Pin, float] | None = None
) -> ClockEstimate:
    """Slowest path of one flat module as Yosys' ``write_json`` gives it.

    Ports count as memories just outside: an input arrives as from a block RAM without output
    register (the kernels read their frames so), an output is captured by a flip-flop. All clocks
    count as one clock.

    :param wires: delay of the routed wire to each pin, ns; ``None``: by the fan-out model.
    :raises PyadmmError: for a cell of unknown timing, a combinational loop or a pin without wire.
    """
    timing = _Timing(module, delays, wires)
    if not timing.ends:
        return ClockEstimate(delays.margin, delays.margin, 0.0, ())
    total, worst = timing.ends[0]
    start, arcs = timing.back(worst)
    wire = worst.wire + sum(arc.wire for arc in arcs)
    steps = [_step(worst, wires), *(_step(arc, wires) for arc in arcs if arc.source >= 0)]
    path = (start.cell, *reversed(steps))
    return ClockEstimate(total, total - wire, wire, path, tuple(time for time, _ in timing.ends))


@dataclass(frozen=True)
class LatePath:
    """The slowest path to one register input.

    :param period_ns: that it asks for.
    :param start: the launching cell, with its name if wires are routed.
    :param end: the capturing cell.
    :param levels: cells between them.
    :param longest_wire_ns: of the wires on it.
    """

    period_ns: float
    start: str
    end: str
    levels: int
    longest_wire_ns: float


def late_paths(
    module: Mapping[str, Any],
    delays: DelayModel,
    limit_ns: float,
    wires: Mapping[Pin, float] | None = None,
) -> list[LatePath]:
    """The slowest path to every register input that asks for more than ``limit_ns``, latest first.

    Arguments and errors as :func:`estimate_clock`.
    """
    timing = _Timing(module, delays, wires)
    found = []
    for time, end in timing.ends:
        if time <= limit_ns:
            break
        start, arcs = timing.back(end)
        longest = max([end.wire, *(arc.wire for arc in arcs)])
        levels = sum(arc.source >= 0 for arc in arcs)
        found.append(LatePath(time, start.cell, end.cell, levels, longest))
    return found


class _Timing:
    """Arrival times of one netlist.

    :ivar ends: capturing inputs with the period that each asks for, ns, longest first.
    """

    def __init__(
        self, module: Mapping[str, Any], delays: DelayModel, wires: Mapping[Pin, float] | None
    ) -> None:
        graph = _Builder(module, delays, wires).build()
        arrival, self._via = _propagate(graph)
        self._launches = {launch.bit: launch for launch in reversed(graph.launches)}
        ends = [
            (arrival[end.bit] + end.wire + end.logic + delays.margin, end)
            for end in graph.captures
            if end.bit in arrival
        ]
        self.ends = sorted(ends, key=lambda timed: -timed[0])

    def back(self, end: _End) -> tuple[_End, list[_Arc]]:
        """Where the slowest path to ``end`` starts, and its arcs, the last one first."""
        bit, arcs = end.bit, []
        while (arc := self._via.get(bit)) is not None:
            arcs.append(arc)
            bit = arc.source
        return self._launches[bit], arcs


def _step(part: _Arc | _End, wires: Mapping[Pin, float] | None) -> str:
    """How a cell stands in a path."""
    return part.cell if wires is None else f"{part.wire:.2f} ns to {part.cell}"


def _propagate(graph: _Graph) -> tuple[dict[Bit, float], dict[Bit, _Arc]]:
    """Latest arrival at every bit, and the arc that it came through (Kahn's order)."""
    waiting = Counter(arc.target for arcs in graph.arcs.values() for arc in arcs)
    arrival: dict[Bit, float] = {}
    via: dict[Bit, _Arc] = {}
    for launch in graph.launches:
        arrival[launch.bit] = max(arrival.get(launch.bit, 0.0), launch.logic)
    ready = [bit for bit in {*graph.arcs, *arrival} if bit not in waiting]
    while ready:
        bit = ready.pop()
        for arc in graph.arcs.get(bit, ()):
            if bit in arrival:
                time = arrival[bit] + arc.wire + arc.logic
                if time > arrival.get(arc.target, -1.0):
                    arrival[arc.target] = time
                    via[arc.target] = arc
            waiting[arc.target] -= 1
            if waiting[arc.target] == 0:
                ready.append(arc.target)
    stuck = sum(count > 0 for count in waiting.values())
    if stuck:
        raise PyadmmError(
            f"timing: the netlist has a combinational loop through {stuck} nets; "
            "break it with a register"
        )
    return arrival, via


class _Builder:
    """Turns cells into timing arcs."""

    def __init__(
        self,
        module: Mapping[str, Any],
        delays: DelayModel,
        wires: Mapping[Pin, float] | None = None,
    ) -> None:
        self.module = module
        self.delays = delays
        self.wires = wires
        self.name = ""
        self.graph = _Graph()
        self.fan_out: Counter[Bit] = Counter()
        self.driver: dict[Bit, tuple[str, str]] = {}
        self.inner_nodes = 0

    def build(self) -> _Graph:
        """The whole timing graph."""
        cells = self.module["cells"]
        for cell in cells.values():
            directions = cell["port_directions"]
            for port, bits in cell["connections"].items():
                for bit in _nets(bits):
                    if directions[port] == "output":
                        self.driver[bit] = (cell["type"], port)
                    else:
                        self.fan_out[bit] += 1
        for self.name, cell in cells.items():
            self._cell(cell["type"], cell["connections"], cell.get("parameters", {}))
        self._ports()
        return self.graph

    def _ports(self) -> None:
        for port in self.module["ports"].values():
            for bit in _nets(port["bits"]):
                if port["direction"] == "input":
                    self._launch(bit, BLOCK_RAM_OUTPUT * self.delays.block_scale, "input")
                else:
                    self._capture(bit, "output", "D", self.delays.ff_setup)

    def _cell(
        self, kind: str, pins: Mapping[str, list[Any]], parameters: Mapping[str, Any]
    ) -> None:
        if kind.startswith("LUT"):
            for port in pins:
                if port != "O":
                    self._through(kind, port, pins[port], pins["O"], self._lut(pins[port]))
        elif kind in _PLAIN:
            for port, delay in _PLAIN[kind].items():
                self._through(kind, port, pins[port], pins["O"], delay)
        elif kind == "CARRY4":
            self._carry(pins)
        elif kind.startswith(("FD", "LD")):
            self._flip_flop(kind, pins)
        elif kind.startswith("SRL"):
            self._shift_register(kind, pins)
        elif kind.startswith("RAMB") or kind.startswith("URAM"):
            self._block_ram(kind, pins, parameters)
        elif kind.startswith("RAM"):
            self._lut_ram(kind, pins)
        elif kind.startswith("DSP48"):
            self._dsp(kind, pins, parameters)
        elif kind not in ("VCC", "GND", "PS7"):  # the processor's ports are not timed
            raise PyadmmError(
                f"timing: no delays for cell type {kind}; synthesise for one of {sorted(DELAYS)}"
            )

    def _lut(self, bits: list[Any]) -> float:
        """A LUT pays more behind a carry output: that leaves through the slice's slow exit."""
        after_carry = any(self.driver.get(bit, ("", ""))[0] == "CARRY4" for bit in _nets(bits))
        return self.delays.lut_after_carry if after_carry else self.delays.lut

    def _carry(self, pins: Mapping[str, list[Any]]) -> None:
        scale = self.delays.carry_scale
        for out in ("O", "CO"):
            targets = pins.get(out, [])
            for j, target in enumerate(targets):
                from_ci, from_init = _CARRY_FROM_CI[out][j], _CARRY_FROM_CYINIT[out][j]
                self._through("CARRY4", "CI", pins["CI"], [target], from_ci * scale)
                self._through("CARRY4", "CYINIT", pins["CYINIT"], [target], from_init * scale)
                for port, table in (("S", _CARRY_FROM_S), ("DI", _CARRY_FROM_DI)):
                    for i, bit in enumerate(pins[port]):
                        # A row of the table starts at its first reachable output.
                        row = table[out][i]
                        place = j - (4 - len(row))
                        if 0 <= place < len(row):
                            self._through("CARRY4", port, [bit], [target], row[place] * scale)

    def _flip_flop(self, kind: str, pins: Mapping[str, list[Any]]) -> None:
        delays = self.delays
        for bit in _nets(pins["Q"]):
            self._launch(bit, delays.ff_output, kind)
        for port, bits in pins.items():
            if port == "D":
                self._captures(kind, port, bits, delays.ff_setup)
            elif port in _CONTROL_PINS:
                setup = delays.ff_enable_setup if port == "CE" else delays.ff_reset_setup
                self._captures(kind, port, bits, setup)

    def _shift_register(self, kind: str, pins: Mapping[str, list[Any]]) -> None:
        scale = self.delays.block_scale
        for port, bits in pins.items():
            if port.startswith("Q"):
                for bit in _nets(bits):
                    self._launch(bit, _SRL_OUTPUT * scale, kind)
            elif port.startswith("A"):
                self._through(kind, port, bits, pins.get("Q", []), self.delays.lut)
            elif port not in _CLOCK_PINS:
                self._captures(kind, port, bits, _SRL_SETUP * scale)

    def _lut_ram(self, kind: str, pins: Mapping[str, list[Any]]) -> None:
        scale = self.delays.block_scale
        outputs = {p: bits for p, bits in pins.items() if p.endswith("O") or p.startswith("DO")}
        for bits in outputs.values():
            for bit in _nets(bits):
                self._launch(bit, _LUTRAM_WRITE_TO_OUTPUT * scale, kind)
        for port, bits in pins.items():
            if port in outputs or port in _CLOCK_PINS:
                continue
            if port.startswith(("DPRA", "ADDR", "A")):
                for target in outputs.values():
                    self._through(kind, port, bits, target, self.delays.lut)
            if not port.startswith("DPRA"):
                key = next(k for k in _LUTRAM_SETUP if port.startswith(k))
                self._captures(kind, port, bits, _LUTRAM_SETUP[key] * scale)

    def _block_ram(
        self, kind: str, pins: Mapping[str, list[Any]], parameters: Mapping[str, Any]
    ) -> None:
        scale = self.delays.block_scale
        for port, bits in pins.items():
            if port.startswith("DO"):
                registered = _number(parameters.get(f"DO{_side(port)}_REG", 0))
                delay = _BRAM_OUTPUT_REGISTERED if registered else BLOCK_RAM_OUTPUT
                for bit in _nets(bits):
                    self._launch(bit, delay * scale, kind)
            elif port not in _CLOCK_PINS and not port.startswith("CAS"):
                setup = next((t for k, t in _BRAM_SETUP.items() if port.startswith(k)), 0.566)
                self._captures(kind, port, bits, setup * scale)

    def _dsp(self, kind: str, pins: Mapping[str, list[Any]], parameters: Mapping[str, Any]) -> None:
        scale = self.delays.block_scale
        used = {name for name in _DSP_REGISTERS if _number(parameters.get(name, 0))}
        outputs = [*pins.get("P", []), *pins.get("PCOUT", [])]
        first = next((name for name in _DSP_OUTPUT if name in used), None)
        if first is not None:
            for bit in _nets(outputs):
                self._launch(bit, _DSP_OUTPUT[first] * scale, kind)
        # All operands meet in one node, so that 90 inputs and 48 outputs make 138 arcs.
        self.inner_nodes += 1
        inside = -self.inner_nodes
        if "PREG" not in used:
            for target in _nets(outputs):
                arc = _Arc(inside, target, 0.0, 0.0, self._label(kind))
                self.graph.arcs.setdefault(inside, []).append(arc)
        for port, bits in pins.items():
            if port in ("P", "PCOUT") or port in _CLOCK_PINS:
                continue
            if port not in _DSP_SETUP:
                self._captures(kind, port, bits, _DSP_CONTROL_SETUP * scale)
                continue
            register = next((name for name in _DSP_SETUP[port] if name in used), None)
            if register is not None:
                self._captures(kind, port, bits, _DSP_SETUP[port][register] * scale)
                continue
            self._through(kind, port, bits, [inside], _DSP_THROUGH[port] * scale)

    def _label(self, kind: str) -> str:
        """What stands for the present cell in a path."""
        return kind if self.wires is None else f"{kind} {self.name}"

    def _launch(self, bit: Bit, logic: float, cell: str) -> None:
        self.graph.launches.append(_End(bit, 0.0, logic, self._label(cell)))

    def _captures(self, kind: str, port: str, bits: Iterable[Any], setup: float) -> None:
        for bit in _nets(bits):
            self._capture(bit, kind, port, setup)

    def _capture(self, bit: Bit, kind: str, port: str, setup: float) -> None:
        label = self._label(f"{kind}.{port}")
        self.graph.captures.append(_End(bit, self._wire(bit, kind, port), setup, label))

    def _through(
        self, kind: str, port: str, sources: Iterable[Any], targets: list[Any], logic: float
    ) -> None:
        for source in _nets(sources):
            wire = self._wire(source, kind, port)
            arcs = self.graph.arcs.setdefault(source, [])
            label = self._label(kind)
            arcs.extend(_Arc(source, target, wire, logic, label) for target in _nets(targets))

    def _wire(self, bit: Bit, kind: str, port: str) -> float:
        """Wire delay from the driver of ``bit`` to pin ``port``; 0 within a slice or a column."""
        if self.wires is not None:
            return self._routed((self.name, port, bit))
        driver, _ = self.driver.get(bit, ("", ""))
        alone = self.fan_out[bit] == 1
        from_lut = driver.startswith("LUT") and alone
        in_slice = (
            (driver == "CARRY4" and kind == "CARRY4" and port == "CI")
            or (driver == "CARRY4" and kind.startswith("FD") and port == "D")
            or (from_lut and (kind == "CARRY4" or kind in _MUX))
            or (from_lut and kind.startswith("FD") and port == "D")
            or (driver in _MUX and alone and (kind in _MUX or kind.startswith("FD")))
            or (driver.startswith("DSP") and kind.startswith("DSP") and port == "PCIN")
            or kind == "INV"
        )
        return 0.0 if in_slice else self.delays.wire(self.fan_out[bit])

    def _routed(self, pin: Pin) -> float:
        assert self.wires is not None
        if pin not in self.wires:
            raise PyadmmError(
                f"timing: no routed delay of port {pin[1]} of {pin[0]}; netlist and delays must "
                "come from one run"
            )
        return self.wires[pin]


def _nets(bits: Iterable[Any]) -> Iterator[Bit]:
    """The bits that are nets, not constants."""
    return (bit for bit in bits if isinstance(bit, int))


def _number(value: Any) -> int:
    """A parameter as Yosys writes it: a number, or a string of binary digits."""
    return value if isinstance(value, int) else int(str(value), 2)


def _side(port: str) -> str:
    """Which of a block RAM's two outputs ``port`` belongs to (``DOADO`` … ``DOUTPBDOUTP``)."""
    return "A" if port.startswith(("DOA", "DOPA", "DOUTA", "DOUTPA")) else "B"
