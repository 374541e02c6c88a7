"""The routed netlist as SystemVerilog: every kind of cell, and what is refused; the real tools."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from pyadmm.codegen.rtl import TOP_FILE, generate_rtl
from pyadmm.core.errors import MissingToolError, PyadmmError
from pyadmm.eda.openxc7 import find_openxc7
from pyadmm.eda.route_flow import MAPPED, RouteSettings, route_build
from pyadmm.eda.routed_simulation import (
    RoutedNetlist,
    check_routed,
    routed_verilog,
    top_ports,
)
from pyadmm.hardware.boards import load_board
from tests.host.models import small_model, small_plan

PORTS = {
    "ap_clk": ("input", 1),
    "ap_rst_n": ("input", 1),
    "data": ("input", 2),
    "result": ("output", 2),
}
ONE, ZERO = 90, 91
"""The nets of the constants."""


def flip_flop(data: int, out: int) -> dict[str, Any]:
    return {
        "type": "SLICE_FFX",
        "attributes": {"X_ORIG_TYPE": "FDRE"},
        "parameters": {"INIT": "x"},
        "connections": {"CK": [1], "SR": [ZERO], "CE": [ONE], "D": [data], "Q": [out]},
    }


def placed(kind: str, original: str, ports: dict[str, str], **pins: list[int]) -> dict[str, Any]:
    attributes = {"X_ORIG_TYPE": original}
    attributes |= {f"X_ORIG_PORT_{pin}": port for pin, port in ports.items()}
    return {"type": kind, "attributes": attributes, "parameters": {}, "connections": pins}


def netlist(**cells: dict[str, Any]) -> RoutedNetlist:
    """A harness with two input bits (nets 10, 11), two output bits (20, 21) and ``cells``."""
    registers = {
        "reset_reg": (5, 6),
        "in0": (7, 10),
        "in1": (10, 11),
        "out0": (20, 30),
        "out1": (21, 31),
    }
    mapped_cells = {
        name: {"type": "FDRE", "connections": {"Q": [out], "D": [data]}}
        for name, (data, out) in registers.items()
    }
    netnames = {
        "reset_reg": {"bits": [6]},
        "inputs_reg": {"bits": [10, 11, 12]},
        "outputs": {"bits": [20, 21]},
        "outputs_reg": {"bits": [30, 31]},
    }
    constants = {
        "one": {"type": "PSEUDO_VCC", "attributes": {}, "connections": {"Y": [ONE]}},
        "zero": {"type": "PSEUDO_GND", "attributes": {}, "connections": {"Y": [ZERO]}},
    }
    routed = {name: flip_flop(*pins) for name, pins in registers.items()} | constants | cells
    return RoutedNetlist(
        {"modules": {"route_harness": {"cells": mapped_cells, "netnames": netnames}}},
        {"modules": {"top": {"cells": routed}}},
        PORTS,
    )


def lines(**cells: dict[str, Any]) -> list[str]:
    return [line.strip() for line in routed_verilog(netlist(**cells), 1).splitlines()]


def test_ports_take_the_place_of_the_harness_registers() -> None:
    text = lines()
    assert text[0] == "module pyadmm_top ("
    assert text[1:5] == [
        "input logic [0:0] ap_clk,", "input logic [0:0] ap_rst_n,",
        "input logic [1:0] data,", "output logic [1:0] result",
    ]  # fmt: skip
    for line in (
        "assign n6 = ~ap_rst_n;", "assign n10 = data[0];", "assign n11 = data[1];",
        "assign result[0] = n20;", "assign result[1] = n21;",
    ):  # fmt: skip
        assert line in text
    # The registers of the harness' inputs are gone, those of its outputs may stay.
    assert not any("n10 <=" in line or "n6 <=" in line for line in text)


def test_a_lut_computes_its_function_at_the_pins_that_placement_chose() -> None:
    lut = placed(
        "SLICE_LUTX", "LUT3", {"A5": "I0", "A1": "I2", "A3": "I1", "O6": "O"},
        A5=[10], A1=[11], A3=[12], A6=[ONE], O6=[20],
    )  # fmt: skip
    lut["parameters"] = {"INIT": "11001010"}
    (line,) = [line for line in lines(lut=lut) if line.startswith("assign n20 =")]
    match = re.fullmatch(r"assign n20 = 1'\(64'h(\w+) >> \{(.*)\}\);", line)
    assert match is not None
    table, pins = int(match[1], 16), match[2].split(", ")
    for i0, i1, i2 in itertools.product((0, 1), repeat=3):
        values = {"n10": i0, "n12": i1, "n11": i2, "1'b0": 0}
        index = int("".join(str(values[pin]) for pin in pins), 2)
        assert table >> index & 1 == 0b11001010 >> (i0 + 2 * i1 + 4 * i2) & 1


def test_flip_flops_carries_multiplexers_and_lut_ram() -> None:
    kept = flip_flop(10, 40) | {"attributes": {"X_ORIG_TYPE": "FDSE"}}
    kept["connections"] |= {"SR": [11], "CE": [12]}
    carry = placed("CARRY4", "CARRY4", {}, CYINIT=[ONE], S0=[10], DI0=[11], O0=[41], CO0=[42])
    mux = placed(
        "F7MUX", "MUXF7", {"0": "I0", "1": "I1", "S0": "S", "OUT": "O"},
        **{"0": [10], "1": [11], "S0": [12], "OUT": [43]},
    )  # fmt: skip
    ram = placed(
        "SLICE_LUTX", "RAMD32", {}, DI1=[10], WE=[11], O5=[44],
        **{f"{pin}{i}": [50 + i] for pin in ("A", "WA") for i in range(1, 6)},
    )  # fmt: skip
    ram["attributes"]["X_LUT_AS_DRAM"] = "1"
    text = lines(ff=kept, carry=carry, mux=mux, ram=ram)
    for line in (
        "always_ff @(posedge ap_clk) if (n11) n40 <= 1'b1; else if (n12) n40 <= n10;",
        "assign n41 = n10 ^ (1'b1);",
        "assign n42 = (n10 ? 1'b1 : n11);",
        "assign n43 = n12 ? n11 : n10;",
        "logic [31:0] m44;",
        "always_ff @(posedge ap_clk) if (n11) m44[{n55, n54, n53, n52, n51}] <= n10;",
        "assign n44 = m44[{n55, n54, n53, n52, n51}];",
    ):
        assert line in text


def test_constants_of_blocks_come_from_the_mapped_netlist() -> None:
    """The router ties a 0 to the constant 1 and lets the bitstream invert it."""
    block = placed(
        "DSP48E1_DSP48E1", "DSP48E1",
        {"A0": "A[0]", "A1": "A[1]", "OPMODE0": "OPMODE", "P0": "P[0]", "P1": "P[1]"},
        A0=[10], A1=[ONE], OPMODE0=[ONE], P0=[45], P1=[],
    )  # fmt: skip
    given = netlist(dsp=block)
    given.mapped["modules"]["route_harness"]["cells"]["dsp"] = {
        "type": "DSP48E1",
        "parameters": {"MREG": "1", "USE_MULT": "MULTIPLY"},
        "port_directions": {"A": "input", "OPMODE": "input", "CLK": "input", "P": "output"},
        "connections": {"A": [100, "0"], "OPMODE": ["0"], "CLK": [1], "P": [101, 102]},
    }
    text = [line.strip() for line in routed_verilog(given, 1).splitlines()]
    assert (
        """DSP48E1 #(.MREG(1'b1), .USE_MULT("MULTIPLY")) block1 (.A({1'b0, n10}), """
        ".OPMODE({1'b0}), .CLK(ap_clk), .P(block1_P));"
    ) in text
    assert "assign n45 = block1_P[0];" in text


def test_a_cell_that_nobody_knows_is_refused() -> None:
    with pytest.raises(PyadmmError, match="cell pll is a PLLE2_ADV, which the simulation does not"):
        lines(pll=placed("PLLE2_ADV_PLLE2_ADV", "PLLE2_ADV", {}))


def test_a_netlist_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PyadmmError, match="need one module from nextpnr"):
        RoutedNetlist({"modules": {}}, {"modules": {}}, PORTS)
    model = small_model(1, "first")
    plan = small_plan(model)
    top = str(generate_rtl(plan).files[TOP_FILE])
    with pytest.raises(PyadmmError, match=r"no .*netlist\.json; route with '--keep"):
        check_routed(model, plan, top, tmp_path, seed=1, images=1)
    (tmp_path / MAPPED).write_text('{"modules": {}}')
    (tmp_path / "seed1.json").write_text("{")
    with pytest.raises(
        PyadmmError, match=r"seed1\.json: no whole JSON .*; route again with '--keep"
    ):
        check_routed(model, plan, top, tmp_path, seed=1, images=1)


def test_ports_of_a_generated_top() -> None:
    ports = top_ports(str(generate_rtl(small_plan(small_model(1, "first"))).files[TOP_FILE]))
    assert list(ports)[:2] == ["ap_clk", "ap_rst_n"]
    assert ports["s_axi_control_wdata"] == ("input", 32)
    assert ports["interrupt"] == ("output", 1)
    assert len(ports) == 30


@pytest.mark.slow
def test_the_real_tools_netlist_gives_the_models_logits(tmp_path: Path) -> None:
    board = load_board("pynq-z2")
    try:
        find_openxc7(board.part)
    except MissingToolError as error:
        pytest.skip(str(error))
    model = small_model(1, "first")
    plan = small_plan(model)
    build = generate_rtl(plan)
    route_build(build, board, RouteSettings((1,), keep=tmp_path))
    check = check_routed(model, plan, str(build.files[TOP_FILE]), tmp_path, seed=1, images=20)
    assert check.wrong == 0
    assert "20 random images, 0 with wrong logits" in check.summary
