"""Command line of the flow."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pyadmm import __version__, datasets, settings, zoo
from pyadmm.core.errors import PyadmmError
from pyadmm.flow.config import FlowConfig, read_config
from pyadmm.flow.console import Reporter
from pyadmm.flow.runner import follow, run, selected_steps
from pyadmm.flow.session import Session
from pyadmm.flow.steps import STEPS
from pyadmm.hardware.boards import board_names
from pyadmm.training import devices, distributed

_NOT_FIELDS = {"config", "dry_run"}
EXIT_ERROR = 2
EXIT_INCOMPLETE = 3
_EXAMPLES = """\
examples:
  python -m pyadmm.flow --board pynq-z2                     the default: LeNet-5 on MNIST, quick
  python -m pyadmm.flow --board pynq-z2 --preset standard   smaller and more accurate, up to an hour
  python -m pyadmm.flow --board kv260 --until csim          stop after a step
  python -m pyadmm.flow --model my:net --data-dir DIR --image-size 64   your own, on your pictures
  python -m pyadmm.flow --config my.yaml --seed 3           options override the file
  python -m pyadmm.flow --board pynq-z2 --dry-run           show what would be done
  torchrun --nproc-per-node 4 -m pyadmm.flow ...            train with four processes

A run that was interrupted goes on where it stopped when the same command is given again, and gives
the same result. Exit status: 0 all done; 2 an error; 3 a step was skipped for want of a tool.
"""


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    steps = "\n".join(f"  {step.name:<10} {step.title}" for step in STEPS)
    result = argparse.ArgumentParser(
        prog="python -m pyadmm.flow",
        description="Compress a network with ADMM and generate its proven FPGA accelerator.\n\n"
        f"steps:\n{steps}\n  report     report.html and report.xlsx",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = FlowConfig()
    add = result.add_argument
    add("--board", help=f"{', '.join(board_names())} (default {default.board})")
    add(
        "--model",
        help=f"{', '.join(zoo.names())}, or module:callable that gives your own torch module "
        f"(default {default.model})",
    )
    add(
        "--weights", metavar="FILE", help="trained weights by name (a state_dict); not trained then"
    )
    add(
        "--teacher",
        metavar="MODEL",
        help="a larger network, named like --model, to distil from (default: the dense network)",
    )
    add("--teacher-weights", metavar="FILE", help="trained weights of the teacher")
    add("--data", help=f"{', '.join(datasets.NAMES)} (default: what the model is made for)")
    add("--image-size", type=int, metavar="N", help="height and width to crop image folders to")
    add("--preset", help=f"{', '.join(settings.PRESETS)} (default {default.preset})")
    add("--config", type=Path, metavar="FILE", help="YAML file with any of these options")
    add("--data-dir", metavar="DIR", help="folder with the data set; also PYADMM_DATA")
    add("--out", metavar="DIR", help="run directory (default runs/MODEL-BOARD-PRESET-seedN)")
    add("--seed", type=int, help=f"seed of all random numbers (default {default.seed})")
    add("--device", help=f"{', '.join(devices.NAMES)}: where networks train (default cpu)")
    add("--until", metavar="STEP", help="last step to run")
    add(
        "--break-even",
        action=argparse.BooleanOptionalAction,
        help="measure each layer's break-even pruning ratio by synthesis first, and obey it "
        "(default: for lenet5, whose table takes minutes)",
    )
    add(
        "--hardware-aware",
        type=float,
        nargs="?",
        const=0.2,
        metavar="POINTS",
        help="push the layers above break-even further, as long as short trials lose at most so "
        "many points of validation accuracy (default 0.2; five trials, some minutes)",
    )
    add(
        "--synthesis",
        action=argparse.BooleanOptionalAction,
        help="synthesise the RTL of the whole accelerator (default: yes, some minutes)",
    )
    add(
        "--simulate-board",
        action="store_true",
        default=None,
        help="end with inference through the board's driver on a simulated board",
    )
    add(
        "--unrolled",
        action="store_true",
        default=None,
        help="offer kernels whose weights are part of the hardware and cannot be loaded anew",
    )
    add(
        "--compare",
        action="store_true",
        default=None,
        help="simulate all-dense accelerators on the same logic as well (some minutes); otherwise "
        "their cycles are modelled",
    )
    add("--dry-run", action="store_true", help="check the options, show the steps, do nothing")
    add("--version", action="version", version=f"pyadmm {__version__}")
    return result


def configuration(options: argparse.Namespace) -> FlowConfig:
    """The configuration of parsed options: the file's, overridden by what the line says."""
    base = FlowConfig() if options.config is None else read_config(options.config)
    given = {name: value for name, value in vars(options).items() if name not in _NOT_FIELDS}
    return base.override({k: v for k, v in given.items() if v is not None}, "command line")


def dry_run(config: FlowConfig, reporter: Reporter) -> None:
    """Check ``config`` and say what would be done."""
    steps = selected_steps(config)
    session = Session(config, reporter)
    board = session.board
    reporter.line(f"{config.model} for {board.name} ({board.part}) into {config.run_dir}:")
    for step in steps:
        reporter.line(f"  {step.name:<10} {step.title}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit status."""
    line = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(line)
    reporter = Reporter()
    try:
        config = configuration(options)
        if options.dry_run:
            dry_run(config, reporter)
            return 0
        if distributed.start(device=config.device) and distributed.rank() > 0:
            follow(config)
            return 0
        result = run(config, reporter, ["python -m pyadmm.flow", *line])
    except PyadmmError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("interrupted; give the same command again to go on", file=sys.stderr)
        return 130
    finally:
        distributed.stop()
    return EXIT_INCOMPLETE if result.skipped else 0
