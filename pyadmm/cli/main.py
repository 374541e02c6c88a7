"""``pyadmm COMMAND …``: one command, a module of this package for each subcommand."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module

from pyadmm import __version__
from pyadmm.cli.command import DONE, ERROR, STATUS, Command

COMMANDS = {
    "run": ("run", "compress a network, generate its accelerator and verify it (the main job)"),
    "compress": (
        "compress",
        "compress a trained ONNX network from a few hundred images, without training",
    ),
    "inspect": ("inspect", "show the content of an .admm or .onnx file, or check it"),
    "export": ("export", "write an .admm file as an ONNX or QONNX graph"),
    "compile": (
        "compile",
        "compile an .admm file into a program of the layer-sequential accelerator",
    ),
    "cosim": ("cosim", "simulate the accelerators of .admm files and compare every logit"),
    "compare": ("compare", "compare a sparse accelerator with all-dense ones on the same LUTs"),
    "route": ("route", "place and route the accelerator of a model with openXC7 to get its clock"),
    "bitstream": (
        "bitstream",
        "build the bitstream of a run with openXC7 and add it to the bundle",
    ),
    "boards": ("boards", "list the boards with their facts and sources"),
    "breakeven": ("breakeven", "measure break-even pruning ratios by synthesis"),
    "breakeven-cosim": ("breakeven_cosim", "simulate the two kernels of a break-even record"),
    "deploy": ("deploy", "add a bitstream or a model to a bundle for the board"),
    "report": ("report", "write the reports of a run again"),
    "reports": ("vendor_reports", "read reports of Vitis HLS and Vivado"),
    "vendor": ("vendor", "run stages of the vendor tools, or their self-test"),
}
"""Subcommand to its module in :mod:`pyadmm.cli` and one line of help."""

_EXAMPLES = """\
examples:
  pyadmm run --board pynq-z2                 LeNet-5 on MNIST, from training to the report
  pyadmm inspect models/lenet5-quick-seed0.admm
  pyadmm cosim models/lenet5-quick-seed0.admm --images 100
  pyadmm COMMAND --help                      shows the options of a command, with examples"""


def command(name: str) -> Command:
    """The subcommand called ``name``; its module is imported here and no earlier."""
    found = import_module(f"pyadmm.cli.{COMMANDS[name][0]}").COMMAND
    assert isinstance(found, Command)
    return found


def usage() -> str:
    """The text that ``pyadmm --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: pyadmm COMMAND [OPTION …]",
            "",
            "From a trained PyTorch network to a small FPGA accelerator: ADMM pruning and",
            "quantisation, generated and verified hardware, inference on the board.",
            "",
            "commands:",
            *lines,
            "",
            _EXAMPLES,
            "",
            STATUS,
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the subcommand that the first of ``arguments`` names; gives the exit status."""
    line = list(sys.argv[1:] if arguments is None else arguments)
    if not line or line[0] in ("-h", "--help", "help"):
        print(usage())
        return DONE if line else ERROR
    if line[0] == "--version":
        print(f"pyadmm {__version__}")
        return DONE
    if line[0] not in COMMANDS:
        print(f"error: {_unknown(line[0])}", file=sys.stderr)
        return ERROR
    return command(line[0]).run(line[1:])


def _unknown(word: str) -> str:
    near = difflib.get_close_matches(word, COMMANDS, 1)
    hint = f"did you mean {near[0]}?" if near else "pyadmm --help lists all"
    return f"pyadmm has no command {word!r}; {hint}"


def renamed(module: str, name: str) -> int:
    """Run subcommand ``name`` for the old call ``python -m MODULE``, and say the new name."""
    print(f"note: python -m {module} is now called: pyadmm {name}", file=sys.stderr)
    return main([name, *sys.argv[1:]])
