"""The experiment of routed designs: its kernel is whole RTL, its table keeps one row a design."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from experiments.routed_designs import DESIGNS, Kernel, Row, row, store
from pyadmm.breakeven.post_route import kernel_files, kernel_parameters
from pyadmm.core.assets import asset_dir
from pyadmm.eda import yosys
from pyadmm.eda.openxc7 import Routed
from pyadmm.eda.reports import ResourceUse, SynthesisReport
from pyadmm.eda.route_flow import RouteResult
from pyadmm.eda.verilator import verilate
from pyadmm.hardware.boards import load_board

KERNELS = {name: design for name, design in DESIGNS.items() if isinstance(design, Kernel)}


@pytest.mark.parametrize("name", KERNELS)
def test_the_kernels_are_lint_clean_with_their_parameters(name: str, simulators: Path) -> None:
    given = [f"-G{key}={value}" for key, value in kernel_parameters(KERNELS[name].stage()).items()]
    arguments = ["--lint-only", "-Wall", *given, "--top-module", "route_kernel"]
    verilate([*arguments, *kernel_files()], simulators / f"lint_{name}.log")


REQUANTISER = """
module requantiser (
    input clk, input [23:0] acc, input [15:0] mult, input [5:0] shift, output [7:0] y
);
  requantize #(.LANES(2), .ACC_BITS(12), .SHIFT_MIN(12), .SHIFT_MAX(20), .Y_BITS(4)) unit (.*);
endmodule
"""


def test_a_factor_has_registers_in_slices_and_in_every_dsp_block(tmp_path: Path) -> None:
    """Two registers of a DSP block would leave the long way to all blocks behind the shifter."""
    rtl = asset_dir("hls") / "rtl"
    sources = [rtl / "requantize.sv", rtl / "clamp.sv"]
    netlist = tmp_path / "netlist.json"
    yosys.map_for_placement(REQUANTISER, sources, netlist, top="requantiser")
    cells = json.loads(netlist.read_text())["modules"]["requantiser"]["cells"]
    blocks = [cell for cell in cells.values() if cell["type"] == "DSP48E1"]
    registered = {cell["connections"]["Q"][0] for cell in cells.values() if cell["type"] == "FDRE"}
    assert len(blocks) == 2
    for block in blocks:
        assert [int(block["parameters"][name], 2) for name in ("AREG", "BREG")] == [1, 1]
        factor = {bit for bit in block["connections"]["A"] if isinstance(bit, int)}
        assert factor
        assert factor <= registered


def run(seed: int, period: float, lut: float) -> Routed:
    report = SynthesisReport(
        "route_kernel",
        "nextpnr-xilinx",
        "post-route",
        version="0.8.2",
        clock_estimate_ns=period,
        resources=ResourceUse(lut, 7, 1, 3, 0),
        notes=("seed", "not timed", f"slowest path of seed {seed}"),
    )
    return Routed(seed, 60.0 * seed, report)


def test_a_row_holds_the_run_nearest_to_the_median(tmp_path: Path) -> None:
    result = RouteResult(5.25, (run(1, 9.5, 101), run(2, 8.0, 102), run(3, 8.5, 103)), 95)
    made = row("small", "after", load_board("pynq-z2"), result)
    assert made == Row(
        "small", "after", "pynq-z2", 95, 103, 7, 1, 3, 5.25, 8.5, "1:9.50 2:8.00 3:8.50",
        "nextpnr-xilinx 0.8.2", 2.0, "slowest path of seed 3",
    )  # fmt: skip


def test_the_table_keeps_one_row_a_design_and_state(tmp_path: Path) -> None:
    table = tmp_path / "routed.csv"
    board = load_board("pynq-z2")
    for name, state, period in (
        ("b", "before", 12.0), ("b", "after", 9.0), ("a", "after", 8.0), ("b", "after", 8.75),
    ):  # fmt: skip
        store([row(name, state, board, RouteResult(5.0, (run(1, period, 9),), 8))], table)
    with table.open(encoding="utf-8", newline="") as file:
        kept = [(each["design"], each["rtl"], each["routed_ns"]) for each in csv.DictReader(file)]
    assert kept == [("a", "after", "8.0"), ("b", "before", "12.0"), ("b", "after", "8.75")]
