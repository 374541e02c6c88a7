"""Designs placed and routed with openXC7; a row each in ``experiments/results/routed.csv``.

    python -m experiments.routed_designs lenet5.conv2-sparse alexnet.conv4-sparse --seeds 3

A kernel is the input frame and the engines of one layer (``hls/route/route_kernel.sv``), as the
break-even of that layer compares them; a model is its whole accelerator. Each is routed between
registers, so resources include those of the harness. A layer-sequential array is a whole chip with its system.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pyadmm import container
from pyadmm.breakeven.cases import layer_case
from pyadmm.breakeven.kernels import kernel_stage
from pyadmm.breakeven.post_route import route_kernel
from pyadmm.codegen.rtl import TOP_FILE, generate_rtl
from pyadmm.codegen.system import SEQUENTIAL_CHIP_TOP, sequential_chip_build
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.eda.chip_flow import route_chip
from pyadmm.eda.openxc7 import median_period, typical
from pyadmm.eda.route_flow import RouteResult, RouteSettings, route_build
from pyadmm.eda.routed_simulation import RoutedCheck, check_routed
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.design_space import search
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import AcceleratorPlan, BuildPlan, KernelConfig, StagePlan
from pyadmm.hardware.sequential.array import SequentialArray, named_array
from pyadmm.model import CompressedModel
from pyadmm.model.compact import compact

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "routed.csv"
_PATH_CHARACTERS = 300

Flow = Callable[[Board, RouteSettings], RouteResult]


@dataclass(frozen=True)
class Row:
    """One design of one state of the RTL, routed with some seeds; the run nearest to the median.

    :param mapped_lut: as synthesis counts them; empty in rows from before they were kept.
    """

    design: str
    rtl: str
    board: str
    mapped_lut: float | None
    lut: float | None
    ff: float | None
    dsp: float | None
    bram18: float | None
    estimate_ns: float
    routed_ns: float
    seeds: str
    tool: str
    minutes: float
    critical_path: str


@dataclass(frozen=True)
class Kernel:
    """The kernel of one layer.

    :param entries: depth of a group's weight memory.
    """

    layer: str
    config: KernelConfig
    entries: int

    def __call__(self, board: Board, settings: RouteSettings) -> RouteResult:
        """Route it."""
        return route_kernel(self.stage(), board, settings)

    def stage(self) -> StagePlan:
        """The layer, or one convolution group of it, on this kernel."""
        return kernel_stage(layer_case(self.layer), self.config, self.entries)


@dataclass(frozen=True)
class Accelerator:
    """The accelerator of a shipped model; the search may use ``share`` of the chip."""

    model: str
    share: float

    def __call__(self, board: Board, settings: RouteSettings) -> RouteResult:
        """Route it."""
        return route_build(self._design(board)[2], board, settings)

    def simulate(self, board: Board, keep: Path, seed: int, images: int) -> RoutedCheck:
        """Run random images through the netlist that routing with ``seed`` left in ``keep``."""
        model, plan, build = self._design(board)
        top = str(build.files[TOP_FILE])
        return check_routed(model, plan, top, keep, seed=seed, images=images)

    def _design(self, board: Board) -> tuple[CompressedModel, AcceleratorPlan, BuildPlan]:
        model = compact(container.load(HERE.parent / "models" / self.model))
        configs = search(model, board, share=self.share).best.configs
        plan = plan_accelerator(model, board, configs)
        return model, plan, generate_rtl(plan, model=model)


@dataclass(frozen=True)
class Array:
    """The whole chip with a layer-sequential array, the processor included."""

    array: SequentialArray

    def __call__(self, board: Board, settings: RouteSettings) -> RouteResult:
        """Route it."""
        build = sequential_chip_build(self.array)
        return route_chip(build, SEQUENTIAL_CHIP_TOP, board, settings, settings.keep)


DESIGNS: dict[str, Flow] = {
    "alexnet.conv4-sparse": Kernel("alexnet.conv4", KernelConfig("sparse", 13, 1, 1), 2048),
    "alexnet.conv4-dense": Kernel("alexnet.conv4", KernelConfig("dense", 1, 14), 3456),
    "lenet5.conv2-sparse": Kernel("lenet5.conv2", KernelConfig("sparse", 2, 1, 2), 256),
    "lenet5.conv2-dense": Kernel("lenet5.conv2", KernelConfig("dense", 2, 2), 12544),
    "lenet5-410x-small": Accelerator("lenet5-record-410-seed30.admm", 0.16),
    "lenet5-quick": Accelerator("lenet5-quick-seed0.admm", 0.8),
    "sequential-1x32/4": Array(named_array("1x32/4", "array")),
}
"""What can be routed, by name."""


def row(name: str, rtl: str, board: Board, result: RouteResult) -> Row:
    """The row of a routed design."""
    run = typical(result.runs)
    use = run.report.resources
    return Row(
        name,
        rtl,
        board.name,
        _whole(result.mapped_lut),
        *map(_whole, (use.lut, use.ff, use.dsp, use.bram18)),
        round(result.estimate_ns, 2),
        round(median_period(result.runs), 2),
        " ".join(f"{each.seed}:{each.report.clock_estimate_ns:.2f}" for each in result.runs),
        f"{run.report.tool} {run.report.version}",
        round(sum(each.seconds for each in result.runs) / 60 / len(result.runs), 1),
        without_folders(run.report.notes[-1])[:_PATH_CHARACTERS],
    )


def without_folders(path: str) -> str:
    """A path through cells whose names hold source files, without the folders of these.

    >>> without_folders("LUT6 lanes.$mul$/home/me/rtl/lanes.sv:101$5 > 1.5 ns")
    'LUT6 lanes.$mul$lanes.sv:101$5 > 1.5 ns'
    """
    return re.sub(r"/[^\s$]*/(?=[^/\s$]+\.s?v:)", "", path)


def _whole(count: float | None) -> float | None:
    """A count as it is written: reports from the cache hold 3.0 for 3."""
    return int(count) if count is not None and count == int(count) else count


def store(rows: Sequence[Row], path: Path = RESULTS) -> None:
    """Put ``rows`` into the table; a row of the same design and RTL is replaced."""
    names = list(Row.__dataclass_fields__)
    kept = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            kept = list(csv.DictReader(file))
    new = {(each.design, each.rtl) for each in rows}
    kept = [each for each in kept if (each["design"], each["rtl"]) not in new]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted([*kept, *map(asdict, rows)], key=lambda each: each["design"]))
    write_atomic(path, text.getvalue())


def _simulated_wrong(name: str, board: Board, settings: RouteSettings, images: int) -> bool:
    """Whether the routed netlist of a seed gave other logits than the integer model."""
    design, wrong = DESIGNS[name], 0
    if images and isinstance(design, Accelerator) and settings.keep is not None:
        for seed in settings.seeds:
            check = design.simulate(board, settings.keep, seed, images)
            print(f"{name}, seed {seed}: {check.summary}")
            wrong += check.wrong
    return bool(wrong)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit status 1 where a design could not be routed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("designs", nargs="+", choices=sorted(DESIGNS), metavar="DESIGN")
    parser.add_argument("--board", default="pynq-z2")
    parser.add_argument("--seeds", type=int, default=1, help="runs: seeds 1 to this number")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--target-ns", type=float, default=8.0, help="what placement aims at")
    parser.add_argument("--rtl", default="present", help="what to call this state of the RTL")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep netlists, FASM and logs")
    parser.add_argument(
        "--simulate", type=int, default=0, metavar="N",
        help="simulate the routed netlists of accelerators on N random images; needs --keep",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if options.simulate and options.keep is None:
        parser.error("--simulate needs --keep")
    board = load_board(options.board)
    seeds = tuple(range(1, options.seeds + 1))
    status = 0
    for name in options.designs:
        keep = options.keep and options.keep / name
        try:
            settings = RouteSettings(seeds, options.jobs, options.target_ns, keep=keep)
            result = DESIGNS[name](board, settings)
            made = row(name, options.rtl, board, result)
            store([made])
            print(made)
            status |= _simulated_wrong(name, board, settings, options.simulate)
        except PyadmmError as error:
            print(f"{name}: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
