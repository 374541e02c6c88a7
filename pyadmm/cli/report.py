"""``pyadmm report``: render the reports of a run again from its ``record.json``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from pyadmm.cli.command import DONE, Command, out_option
from pyadmm.report import write_report
from pyadmm.report.record import RECORD_FILE, load_record

_EXAMPLES = """\
  pyadmm report runs/lenet5-pynq-z2-quick-seed0
"""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="folder with record.json")
    out_option(parser, None, "folder for the reports (default: the run's)")


def _execute(options: Namespace) -> int:
    record = load_record(options.run_dir / RECORD_FILE)
    for path in write_report(record, options.out or options.run_dir):
        print(path)
    return DONE


COMMAND = Command(
    "report", "write the reports of a run again", _add_options, _execute, "", _EXAMPLES
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm report``; gives the exit status."""
    return COMMAND.run(arguments)
