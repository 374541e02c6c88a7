"""Simulation of a placed and routed accelerator: the netlist that nextpnr wrote, as SystemVerilog.

The netlist stands where the RTL's top stands, so the same testbench drives both. Its cells come from
the router's file: LUTs with their functions and the pins that placement gave them, flip-flops, carry
chains, multiplexers, LUT RAM. Block RAM and DSP blocks are instances; their nets are the router's, what
is constant is that of the mapped netlist, as the router leaves constants to the bitstream's inverters.
Shift registers are not there, since mapping for placement makes none.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyadmm.codegen.hls import TOP
from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import PyadmmError, ToolError
from pyadmm.core.files import cache_dir
from pyadmm.eda.netlist_json import Netlist, read_netlist
from pyadmm.eda.openxc7 import harness_sides
from pyadmm.eda.route_flow import MAPPED
from pyadmm.eda.rtl_simulation import CosimResult, cosim
from pyadmm.eda.verilator import RtlSimulator, build_simulator
from pyadmm.eda.yosys import PLACED_TOP
from pyadmm.hardware.plan import AcceleratorPlan, BuildPlan
from pyadmm.hardware.weight_image import weight_image
from pyadmm.model import CompressedModel

Cell = Mapping[str, Any]
Bit = int
_CLOCK, _RESET = "ap_clk", "ap_rst_n"
_CONSTANTS = {"PSEUDO_VCC": "1'b1", "PSEUDO_GND": "1'b0"}
_LEFT_OUT = ("PSEUDO", "PAD", "IOB", "BUFG")
_LUT_PINS = ("A1", "A2", "A3", "A4", "A5", "A6")
_PORT = re.compile(
    r"^\s*(?P<direction>input|output)\s+wire\s+(?:\[(?P<msb>\d+):0\]\s*)?(?P<name>\w+)",
    re.MULTILINE,
)
_DSP_MODEL = re.compile(r"^module DSP48E1 \(.*?^endmodule", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class RoutedNetlist:
    """A routed accelerator between the registers of its harness.

    :param mapped: the JSON that Yosys wrote and nextpnr read.
    :param routed: the JSON that nextpnr wrote.
    :param ports: of the accelerator, direction and width by name, in order.
    """

    mapped: Netlist
    routed: Netlist
    ports: Mapping[str, tuple[str, int]]

    def __post_init__(self) -> None:
        if len(self.routed["modules"]) != 1 or PLACED_TOP not in self.mapped["modules"]:
            raise PyadmmError(
                f"routed netlist: need one module from nextpnr and {PLACED_TOP} from Yosys; give "
                "both files of one run of 'pyadmm route'"
            )


def build_routed_simulator(
    netlist: RoutedNetlist, plan: AcceleratorPlan, cache: Path
) -> RtlSimulator:
    """Compile the routed netlist with the testbench of the RTL.

    :param plan: of the accelerator that was routed.
    :raises ToolError: where a tool is missing or fails.
    :raises PyadmmError: for a cell that this module does not know.
    """
    sources = {
        "rtl/routed.sv": routed_verilog(netlist, len(plan.stages)),
        "rtl/block_ram.sv": (asset_dir("hls") / "cosim" / "block_ram.sv").read_text("utf-8"),
        "rtl/dsp48e1.v": _dsp_model(),
    }
    return build_simulator(BuildPlan(sources), plan, cache)


@dataclass(frozen=True)
class RoutedCheck:
    """A routed netlist against the integer model.

    :param images: how many were run; ``wrong`` of them have another logit.
    """

    seed: int
    images: int
    wrong: int
    result: CosimResult

    @property
    def summary(self) -> str:
        """The outcome of the check in one line."""
        interval = self.result.interval_cycles
        return (
            f"seed {self.seed}: routed netlist simulated on {self.images} random images, "
            f"{self.wrong} with wrong logits; latency {self.result.latency_cycles} cycles"
            + ("" if interval is None else f", {interval:.1f} between images")
        )


def check_routed(
    model: CompressedModel, plan: AcceleratorPlan, top: str, folder: Path, *, seed: int, images: int
) -> RoutedCheck:
    """Run random images through the netlist that ``seed`` gave, weights loaded and read back.

    :param top: text of the generated top, which tells its ports.
    :param folder: of kept files, as :func:`pyadmm.eda.route_flow.route_build` fills it.
    :raises PyadmmError: where a netlist is missing, cut short, or of another design.
    """
    mapped, routed = (_read_kept(folder, name) for name in (MAPPED, f"seed{seed}.json"))
    netlist = RoutedNetlist(mapped, routed, top_ports(top))
    simulator = build_routed_simulator(netlist, plan, cache_dir() / "routed")
    shape = (images, *model.input.shape)
    given = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    result = cosim(simulator, weight_image(model, plan), given)
    wrong = int((result.logits != model.run(given)).any(axis=1).sum())
    return RoutedCheck(seed, images, wrong, result)


def _read_kept(folder: Path, name: str) -> Netlist:
    file = folder / name
    if not file.is_file():
        raise PyadmmError(f"routed netlist: no {file}; route with '--keep {folder}'")
    return read_netlist(file, f"route again with '--keep {folder}'")


def top_ports(top: str) -> dict[str, tuple[str, int]]:
    """Direction and width of every port of the generated top, in order.

    >>> top_ports("module pyadmm_top (\\n  input  wire ap_clk,\\n  output wire [1:0] a\\n);")
    {'ap_clk': ('input', 1), 'a': ('output', 2)}
    """
    head = top[: top.index(");")]
    return {
        match["name"]: (match["direction"], int(match["msb"] or 0) + 1)
        for match in _PORT.finditer(head)
    }


def _dsp_model() -> str:
    """Yosys' model of the DSP block.

    :raises ToolError: where the package is missing or has none.
    """
    spec = importlib.util.find_spec("pyosys")
    file = spec and spec.origin and Path(spec.origin).parent / "share" / "xilinx" / "cells_sim.v"
    match = _DSP_MODEL.search(file.read_text("utf-8")) if file and file.is_file() else None
    if match is None:
        raise ToolError("yosys: no model of DSP48E1 in its cells_sim.v; install 'pyadmm[rtl]'")
    return match[0] + "\n"


def routed_verilog(netlist: RoutedNetlist, stages: int) -> str:
    """The module ``pyadmm_top`` made of placed cells.

    :param stages: bits of ``stage_busy``, which a netlist does not have and which stays 0.
    """
    return _Writer(netlist).module(stages)


class _Writer:
    """Cells to lines of SystemVerilog."""

    def __init__(self, netlist: RoutedNetlist) -> None:
        (module,) = netlist.routed["modules"].values()
        self.cells: Mapping[str, Cell] = module["cells"]
        self.mapped: Mapping[str, Any] = netlist.mapped["modules"][PLACED_TOP]
        self.ports = netlist.ports
        self.nets: set[Bit] = set()
        self.blocks = 0
        self.registers = {
            cell["connections"]["Q"][0]: name
            for name, cell in self.mapped["cells"].items()
            if cell["type"].startswith("FD")
        }
        self.constants = {
            bit: _CONSTANTS[cell["type"]]
            for cell in self.cells.values()
            if cell["type"] in _CONSTANTS
            for bit in cell["connections"]["Y"]
        }

    def module(self, stages: int) -> str:
        """The whole text."""
        inputs, outputs = harness_sides(self.ports, _CLOCK, _RESET)
        given = {("reset_reg", 0): f"~{_RESET}"}
        for port in inputs:
            for i in range(port.width):
                given["inputs_reg", port.low + i] = f"{port.name}[{i}]"
        registers = {self._register(*place): value for place, value in given.items()}
        lines = [
            f"assign {self.net(bit)} = {value};"
            for name, value in registers.items()
            if name is not None
            for bit in self.cells[name]["connections"]["Q"]
        ]
        for port in outputs:
            lines += [
                f"assign {port.name}[{i}] = {self._output(port.low + i)};"
                for i in range(port.width)
            ]
        for name, cell in self.cells.items():
            if name not in registers and not cell["type"].startswith(_LEFT_OUT):
                lines += self.cell(name, cell)
        declared = ",\n".join(
            f"  {direction} logic [{width - 1}:0] {name}"
            for name, (direction, width) in self.ports.items()
        )
        busy = f"wire [{stages - 1}:0] stage_busy /* verilator public_flat_rd */ = '0;"
        nets = [f"logic n{bit};" for bit in sorted(self.nets)]
        body = "\n".join(f"  {line}" for line in (busy, *nets, *lines))
        return f"module {TOP} (\n{declared}\n);\n{body}\nendmodule\n"

    def net(self, bit: Bit) -> str:
        """A net's name, or the constant that it is."""
        if bit in self.constants:
            return self.constants[bit]
        self.nets.add(bit)
        return f"n{bit}"

    def _register(self, vector: str, index: int) -> str | None:
        """The routed flip-flop of a bit of the harness; ``None`` where it was not needed."""
        driver = self.registers.get(self.mapped["netnames"][vector]["bits"][index])
        return driver if driver in self.cells else None

    def _output(self, index: int) -> str:
        bit = self.mapped["netnames"]["outputs"]["bits"][index]
        if isinstance(bit, str):
            return f"1'b{int(bit == '1')}"
        register = self._register("outputs_reg", index)
        if register is None:
            raise PyadmmError(f"routed netlist: no register of output {index}; route it again")
        return self._pin(self.cells[register], "D")

    def _pin(self, cell: Cell, pin: str, otherwise: str = "1'b0") -> str:
        """What an input pin is connected to."""
        bits = cell["connections"].get(pin, ())
        return self.net(bits[0]) if bits else otherwise

    def cell(self, name: str, cell: Cell) -> Iterator[str] | list[str]:
        """Lines for one placed cell."""
        kind, attributes = cell["type"], cell["attributes"]
        original = attributes.get("X_ORIG_TYPE", kind)
        if kind == "SLICE_LUTX":
            memory = "X_LUT_AS_DRAM" in attributes
            return self.lut_ram(cell, name) if memory else self.lut(cell)
        if original in ("FDRE", "FDSE"):
            return self.flip_flop(cell, original == "FDSE")
        if original == "CARRY4":
            return self.carry(cell)
        if original.startswith("MUXF") or kind.startswith("SELMUX"):
            return self.multiplexer(cell)
        if original in ("RAMB18E1", "RAMB36E1"):
            return self.block_ram(name, cell, 14 if original == "RAMB18E1" else 15)
        if original == "DSP48E1":
            return self.dsp(name, cell)
        raise PyadmmError(
            f"routed netlist: cell {name} is a {original}, which the simulation does not know"
        )

    def lut(self, cell: Cell) -> Iterator[str]:
        """``O = INIT[{I5 .. I0}]``, every input at the pin that placement chose."""
        pins: dict[int, str] = {}
        for pin in _LUT_PINS:
            for port in str(cell["attributes"].get(f"X_ORIG_PORT_{pin}", "")).split():
                if re.fullmatch(r"I[0-5]", port):
                    pins[int(port[1])] = self._pin(cell, pin)
        table = _number(cell["parameters"]["INIT"])
        inputs = ", ".join(pins.get(i, "1'b0") for i in reversed(range(6)))
        for pin in ("O5", "O6"):
            for bit in cell["connections"].get(pin, ()):
                yield f"assign {self.net(bit)} = 1'(64'h{table:016x} >> {{{inputs}}});"

    def flip_flop(self, cell: Cell, value: bool) -> Iterator[str]:
        """A register with enable and synchronous set or reset."""
        for bit in cell["connections"].get("Q", ()):
            out, data = self.net(bit), self._pin(cell, "D")
            enable = self._pin(cell, "CE", "1'b1")
            yield (
                f"always_ff @(posedge {_CLOCK}) if ({self._pin(cell, 'SR')}) {out} <= 1'b{value:d}; "
                f"else if ({enable}) {out} <= {data};"
            )

    def carry(self, cell: Cell) -> Iterator[str]:
        """Four stages: ``O = S ^ C``, ``C' = S ? C : DI``."""
        pins = cell["connections"]
        carry = self._pin(cell, "CIN") if pins.get("CIN") else self._pin(cell, "CYINIT")
        for i in range(4):
            select, data = self._pin(cell, f"S{i}"), self._pin(cell, f"DI{i}")
            for bit in pins.get(f"O{i}", ()):
                yield f"assign {self.net(bit)} = {select} ^ ({carry});"
            carry = f"({select} ? {carry} : {data})"
            for bit in pins.get(f"CO{i}", ()):
                yield f"assign {self.net(bit)} = {carry};"
                carry = self.net(bit)

    def multiplexer(self, cell: Cell) -> Iterator[str]:
        """``O = S ? I1 : I0``, found by the library's names."""
        pins = {
            str(cell["attributes"].get(f"X_ORIG_PORT_{placed}", placed)): bits
            for placed, bits in cell["connections"].items()
        }
        chosen, other, select = (self.net(pins[port][0]) for port in ("I1", "I0", "S"))
        for bit in pins["O"]:
            yield f"assign {self.net(bit)} = {select} ? {chosen} : {other};"

    def lut_ram(self, cell: Cell, name: str) -> Iterator[str]:
        """One bit wide: written at the clock, read at once."""
        depth = 6 if "64" in str(cell["attributes"]["X_ORIG_TYPE"]) else 5
        pins = cell["connections"]
        outputs = [bit for pin in ("O5", "O6") for bit in pins.get(pin, ())]
        data = next((self._pin(cell, pin) for pin in ("DI1", "DI2") if pins.get(pin)), None)
        if not outputs or data is None:
            return
        memory = f"m{outputs[0]}"
        read = ", ".join(self._pin(cell, f"A{i}") for i in range(depth, 0, -1))
        write = ", ".join(self._pin(cell, f"WA{i}") for i in range(depth, 0, -1))
        yield f"logic [{2**depth - 1}:0] {memory};"
        yield (
            f"always_ff @(posedge {_CLOCK}) if ({self._pin(cell, 'WE')}) "
            f"{memory}[{{{write}}}] <= {data};"
        )
        for bit in outputs:
            yield f"assign {self.net(bit)} = {memory}[{{{read}}}];"

    def block_ram(self, name: str, cell: Cell, address: int) -> Iterator[str]:
        """An instance of ``hls/cosim/block_ram.sv``."""
        values = self.mapped["cells"][name]["parameters"]
        widths = ("READ_WIDTH_A", "READ_WIDTH_B", "WRITE_WIDTH_A", "WRITE_WIDTH_B")
        if any(_number(values.get(key, 0)) for key in ("DOA_REG", "DOB_REG")):
            raise PyadmmError(f"routed netlist: {name} has an output register, not simulated")
        parameters = {
            "ADDR_BITS": address,
            "SDP": int(values["RAM_MODE"] == "SDP"),
            **{key: _number(values[key]) for key in widths},
        }
        ports = {
            "enable_a": ("ENARDEN", 1), "enable_b": ("ENBWREN", 1),
            "write_a": ("WEA", 2 << address - 14), "write_b": ("WEBWE", 4 << address - 14),
            "addr_a": ("ADDRARDADDR", address), "addr_b": ("ADDRBWRADDR", address),
            "data_a": ("DIADI", 16 << address - 14), "data_b": ("DIBDI", 16 << address - 14),
            "parity_a": ("DIPADIP", 2 << address - 14), "parity_b": ("DIPBDIP", 2 << address - 14),
            "out_a": ("DOADO", 16 << address - 14), "out_b": ("DOBDO", 16 << address - 14),
            "out_parity_a": ("DOPADOP", 2 << address - 14),
            "out_parity_b": ("DOPBDOP", 2 << address - 14),
        }  # fmt: skip
        yield from self._instance("block_ram", name, cell, parameters, ports)

    def dsp(self, name: str, cell: Cell) -> Iterator[str]:
        """An instance of Yosys' model."""
        mapped = self.mapped["cells"][name]
        parameters = {
            key: value if _is_text(value) else f"{len(value)}'b{value.replace('x', '0')}"
            for key, value in mapped["parameters"].items()
        }
        ports = {port: (port, len(bits)) for port, bits in mapped["connections"].items()}
        yield from self._instance("DSP48E1", name, cell, parameters, ports)

    def _instance(
        self,
        kind: str,
        name: str,
        cell: Cell,
        parameters: Mapping[str, Any],
        ports: Mapping[str, tuple[str, int]],
    ) -> Iterator[str]:
        """An instance: inputs and outputs by the library's names, constants as mapped."""
        placed = _original_pins(cell)
        mapped = self.mapped["cells"][name]
        self.blocks += 1
        label = f"block{self.blocks}"
        given = []
        if kind == "block_ram":
            given.append(f".clk({_CLOCK})")
        for port, (original, width) in ports.items():
            if original == "CLK":
                given.append(f".CLK({_CLOCK})")
                continue
            bits = mapped["connections"].get(original, ())[:width]
            pins = [f"{original}[{i}]" if len(bits) > 1 else original for i in range(len(bits))]
            if mapped["port_directions"].get(original, "input") == "output":
                yield f"logic [{width - 1}:0] {label}_{original};"
                for i, pin in enumerate(pins):
                    for bit in placed.get(pin, ()):
                        yield f"assign {self.net(bit)} = {label}_{original}[{i}];"
                given.append(f".{port}({label}_{original})")
            elif bits:
                values = [self._block_input(placed, *each) for each in zip(pins, bits, strict=True)]
                given.append(f".{port}({{{', '.join(reversed(values))}}})")
        bound = ", ".join(f".{key}({_value(value)})" for key, value in parameters.items())
        yield f"{kind} #({bound}) {label} ({', '.join(given)});"

    def _block_input(self, placed: Mapping[str, list[Bit]], pin: str, mapped: Any) -> str:
        """The net at an input of a block, or the constant of the mapped netlist."""
        if isinstance(mapped, str):
            return f"1'b{int(mapped == '1')}"
        if pin not in placed:
            raise PyadmmError(f"routed netlist: {pin} of a block lost its net; route it again")
        return self.net(placed[pin][0])


def _original_pins(cell: Cell) -> dict[str, list[Bit]]:
    """Nets by the library's pin."""
    pins: dict[str, list[Bit]] = {}
    for placed, bits in cell["connections"].items():
        for port in str(cell["attributes"].get(f"X_ORIG_PORT_{placed}", placed)).split():
            if bits:
                pins[port] = bits
    return pins


def _number(value: Any) -> int:
    """A parameter: a number, or binary digits, unknown ones 0."""
    return value if isinstance(value, int) else int(str(value).replace("x", "0"), 2)


def _is_text(value: str) -> bool:
    return not set(value) <= set("01x")


def _value(value: Any) -> str:
    return f'"{value.strip()}"' if isinstance(value, str) and "'" not in value else str(value)
