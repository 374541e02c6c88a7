"""``pyadmm breakeven-cosim``: simulate the two kernels of a break-even record."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from pyadmm.breakeven import BreakEven, from_json, layer_case
from pyadmm.breakeven.cosim import simulate_pair
from pyadmm.cli.command import CHECK_FAILED, DONE, Command
from pyadmm.core.errors import PyadmmError

_EXAMPLES = """\
  pyadmm breakeven-cosim breakeven/breakeven.json                       simulates every record
  pyadmm breakeven-cosim breakeven/breakeven.json --layer alexnet.conv4 --pruned 0.9
"""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "records", type=Path, metavar="FILE", help="breakeven.json, written by pyadmm breakeven"
    )
    parser.add_argument("--layer", metavar="NAME", help="one of its layers (default: all)")
    parser.add_argument(
        "--pruned",
        type=float,
        action="append",
        metavar="PART",
        help="pruned share of the weights; may be repeated (default 0.5 and 0.9)",
    )
    parser.add_argument(
        "--outputs",
        type=int,
        default=28,
        metavar="N",
        help="simulate at most N output channels (default 28)",
    )
    parser.add_argument(
        "--images", type=int, default=3, metavar="N", help="number of random images (default 3)"
    )


def _execute(options: Namespace) -> int:
    good = True
    for record in _records(options.records, options.layer):
        for pruned in options.pruned or (0.5, 0.9):
            case = layer_case(record.layer)
            pair = simulate_pair(case, record, pruned, options.outputs, options.images)
            print(pair.text(), flush=True)
            good &= pair.dense.as_scheduled and pair.sparse.as_scheduled
    return DONE if good else CHECK_FAILED


def _records(path: Path, layer: str | None) -> list[BreakEven]:
    try:
        records = from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise PyadmmError(f"{path.name}: cannot be read: {error}") from error
    found = [record for record in records if layer in (None, record.layer)]
    if not found:
        known = ", ".join(sorted({record.layer for record in records}))
        raise PyadmmError(f"{path.name}: has no layer {layer!r}; it has: {known}")
    return found


COMMAND = Command(
    "breakeven-cosim",
    "simulate the two kernels of a break-even record",
    _add_options,
    _execute,
    "Simulate the dense and the sparse kernel of break-even records and compare their cycles with\n"
    "the schedule. The exit status is 1 if they differ.",
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm breakeven-cosim``; gives the exit status."""
    return COMMAND.run(arguments)
