"""``pyadmm run`` (also ``python -m pyadmm.flow``): the main job."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pyadmm import datasets, settings, zoo
from pyadmm.cli.bitstream import build_open
from pyadmm.cli.command import DONE, SKIPPED, Command, guarded
from pyadmm.core.errors import PyadmmError
from pyadmm.deploy.bitstream import add_vendor_bitstream, bundle_folder
from pyadmm.eda.route_flow import RouteSettings
from pyadmm.eda.vendor.vivado import DEFAULT_TIMEOUT_S
from pyadmm.flow.config import SEQUENTIAL, FlowConfig, read_config
from pyadmm.flow.console import Reporter
from pyadmm.flow.runner import follow, run, say_beforehand, selected_steps
from pyadmm.flow.sequential import ABSENT, NO_BITSTREAM
from pyadmm.flow.session import Session
from pyadmm.flow.steps import STEPS
from pyadmm.hardware.boards import board_names
from pyadmm.training import devices, distributed

_NOT_FIELDS = {"bitstream", "config", "dry_run"}
_EXAMPLES = """\
  pyadmm run --board pynq-z2                     the default: LeNet-5 on MNIST, preset quick
  pyadmm run --board pynq-z2 --preset standard   gives a smaller, more accurate file; up to an hour
  pyadmm run --board kv260 --until csim          stops after a step
  pyadmm run --model my:net --data pictures/ --image-size 64   takes your network and your data
  pyadmm run --config my.yaml --seed 3           options override the file
  pyadmm run --board pynq-z2 --bitstream openxc7   ends with a bitstream made by open tools
  pyadmm run --model models/resnet20-cifar10.admm --data cifar10 --architecture auto
                                                 the sequential array where no dataflow design fits
  pyadmm run --board pynq-z2 --dry-run           shows what would be done
  torchrun --nproc-per-node 4 -m pyadmm.flow ... trains with four processes

The same command continues an interrupted run where it stopped, with the same result.
"""


def _description() -> str:
    steps = "\n".join(f"  {step.name:<10} {step.title}" for step in STEPS)
    return (
        "Compress a network with ADMM, generate its FPGA accelerator and verify it by simulation."
        f"\n\nsteps:\n{steps}\n  report     write report.html and report.xlsx"
    )


def _add_options(parser: ArgumentParser) -> None:
    _add_network_options(parser)
    _add_run_options(parser)
    _add_pruning_options(parser)
    _add_hardware_options(parser)
    _add_result_options(parser)


def _add_network_options(parser: ArgumentParser) -> None:
    default = FlowConfig()
    add = parser.add_argument
    add(
        "--board",
        help=f"{', '.join(board_names())}, or your own board's JSON file (default {default.board})",
    )
    add(
        "--model",
        help=f"{', '.join(zoo.names())}, or module:callable that gives your own torch module, "
        "an .onnx file with trained weights, or an .admm file, which is not trained "
        f"(default {default.model})",
    )
    add(
        "--weights",
        metavar="FILE",
        help="trained weights (a state_dict); dense training is skipped",
    )
    add(
        "--teacher",
        metavar="MODEL",
        help="a larger network, named like --model, to distil from (default: the dense network)",
    )
    add("--teacher-weights", metavar="FILE", help="trained weights of the teacher")
    add(
        "--data", metavar="DATA",
        help=f"{', '.join(datasets.NAMES)}, or your own: FILE.npz (x_train, y_train, x_test, "
        "y_test), a folder of pictures or of IDX files (default: the data set of the model)",
    )  # fmt: skip
    add(
        "--image-size",
        type=int,
        metavar="N",
        help="height and width that pictures of a folder are cropped to",
    )


def _add_run_options(parser: ArgumentParser) -> None:
    default = FlowConfig()
    add = parser.add_argument
    add("--preset", help=f"{', '.join(settings.PRESETS)} (default {default.preset})")
    add("--config", type=Path, metavar="FILE", help="YAML file with any of these options")
    add("--data-dir", metavar="DIR", help="folder with the data set (default: PYADMM_DATA)")
    add("--out", metavar="DIR", help="run directory (default runs/MODEL-BOARD-PRESET-seedN)")
    add("--seed", type=int, help=f"seed of all random numbers (default {default.seed})")
    add("--device", help=f"{', '.join(devices.NAMES)}: where networks train (default cpu)")
    add("--until", metavar="STEP", help="stop after this step")


def _add_pruning_options(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--break-even",
        action=BooleanOptionalAction,
        help="obey each layer's break-even pruning ratio; layers without a record are measured by "
        "synthesis, about a minute each (default: only for lenet5, whose records come with pyadmm)",
    )
    add(
        "--measure",
        action="store_true",
        default=None,
        help="measure every break-even, even if a record exists",
    )
    add(
        "--hardware-aware",
        type=float,
        nargs="?",
        const=0.2,
        metavar="POINTS",
        help="prune the layers above break-even further, as long as short trials lose at most POINTS "
        "points of validation accuracy (default 0.2; five trials, some minutes)",
    )
    add(
        "--balance",
        type=float,
        nargs="?",
        const=0.2,
        metavar="POINTS",
        help="prune layers to window-balanced patterns where the accelerator becomes faster, as long "
        "as short trials lose at most POINTS points of validation accuracy (default 0.2; a trial for "
        "each such layer)",
    )


def _add_hardware_options(parser: ArgumentParser) -> None:
    """The choice of the accelerator."""
    add = parser.add_argument
    add(
        "--synthesis",
        action=BooleanOptionalAction,
        help="synthesise the RTL of the whole accelerator (default: yes, some minutes)",
    )
    add(
        "--chip-share",
        type=float,
        metavar="PART",
        help="share of the chip that an accelerator may take (default 0.8; with --bitstream openxc7, of "
        "the LUTs, the largest share that was routed on the board)",
    )
    add(
        "--architecture",
        metavar="NAME",
        help="dataflow: an engine for every layer (default); sequential: one array that all layers "
        "share, run by a program from memory; auto: dataflow where it fits the board, else sequential",
    )
    add(
        "--array",
        metavar="GxV",
        help="groups and lanes of the layer-sequential array (default: the largest that fits the board)",
    )
    add(
        "--unrolled",
        action="store_true",
        default=None,
        help="let the search use kernels whose weights are fixed in the hardware",
    )
    add(
        "--packed",
        action="store_true",
        default=None,
        help="the driver packs the network's input integers, two of 4 bits to a byte",
    )


def _add_result_options(parser: ArgumentParser) -> None:
    """The products of a run besides the accelerator."""
    add = parser.add_argument
    add(
        "--simulate-board",
        action="store_true",
        default=None,
        help="end with inference through the board's driver on a simulated board",
    )
    add(
        "--compare",
        action="store_true",
        default=None,
        help="also simulate all-dense accelerators on the same LUTs (some minutes); otherwise "
        "their cycles are modelled",
    )
    add(
        "--bitstream",
        choices=("openxc7", "vivado"),
        help="then build the bitstream with these tools and add it to the bundle (up to hours)",
    )
    add(
        "--dry-run",
        action="store_true",
        help="check the options and show the steps, without running them",
    )


def configuration(options: Namespace) -> FlowConfig:
    """The configuration of parsed options: the file's, overridden by what the line says."""
    base = FlowConfig() if options.config is None else read_config(options.config)
    given = {name: value for name, value in vars(options).items() if name not in _NOT_FIELDS}
    config = base.override({k: v for k, v in given.items() if v is not None}, "command line")
    if options.bitstream:
        _require_deploy(config)
    if options.bitstream != "openxc7":
        return config
    return config.override({"open_tools": True}, "command line")


def dry_run(config: FlowConfig, reporter: Reporter) -> None:
    """Check ``config`` and say what would be done, and what keeps the network from hardware."""
    steps = selected_steps(config)
    session = Session(config, reporter)
    board = session.board
    say_beforehand(session, [step.name for step in steps])
    reporter.line(f"{config.model} for {board.name} ({board.part}) into {config.run_dir}:")
    if any(step.name == "codegen" for step in steps):
        reporter.line(f"  architecture: {session.expected_architecture()}")
    for step in steps:
        absent = ABSENT.get(step.name) if config.architecture == SEQUENTIAL else None
        reporter.line(f"  {step.name:<10} {step.title if absent is None else f'skipped: {absent}'}")


def _execute(options: Namespace, line: Sequence[str]) -> int:
    reporter = Reporter()
    try:
        config = configuration(options)
        if options.dry_run:
            dry_run(config, reporter)
            return DONE
        if distributed.start(device=config.device) and distributed.rank() > 0:
            follow(config)
            return DONE
        result = run(config, reporter, ["pyadmm run", *line])
    finally:
        distributed.stop()
    if result.skipped:
        return SKIPPED
    if options.bitstream and result.absent:
        raise PyadmmError(f"--bitstream: no bitstream was made: {NO_BITSTREAM}")
    if not options.bitstream:
        return DONE
    status = _bitstream(options.bitstream, config)
    # Once more, with every step stored: the report gets the clock of the routed design.
    run(config, Reporter(Console(quiet=True)), ["pyadmm run", *line])
    return status


def _require_deploy(config: FlowConfig) -> None:
    if config.architecture == SEQUENTIAL:
        raise PyadmmError(
            f"--bitstream: {NO_BITSTREAM}; leave --bitstream or --architecture sequential out"
        )
    if all(step.name != "deploy" for step in selected_steps(config)):
        raise PyadmmError(
            f"--bitstream: it goes into the bundle of step deploy, and the run stops after {config.until}; "
            "leave --until out"
        )


def _bitstream(tools: str, config: FlowConfig) -> int:
    """Build and add the bitstream; gives the exit status."""
    run_dir = config.run_dir
    if tools == "openxc7":
        return build_open(run_dir, RouteSettings())
    bit = add_vendor_bitstream(run_dir, DEFAULT_TIMEOUT_S)
    print(f"{bundle_folder(run_dir)}: {bit.name} added; copy the wheel to the board and install it")
    return DONE


class _Run(Command):
    """The command keeps its arguments: the report shows how to run it again."""

    def run(self, arguments: Sequence[str] | None = None) -> int:
        """Parse ``arguments`` (by default the process's own), do the work, give the status."""
        line = list(sys.argv[1:] if arguments is None else arguments)
        options = self.parser().parse_args(line)
        return guarded(lambda: _execute(options, line))


COMMAND = _Run(
    "run",
    "compress a network, generate its accelerator and verify it (the main job)",
    _add_options,
    lambda options: _execute(options, []),
    _description(),
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm run``; gives the exit status."""
    return COMMAND.run(arguments)
