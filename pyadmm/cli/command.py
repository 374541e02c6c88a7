"""Parts that all subcommands share: parser, exit status, options.

Exit status: 0 done; 1 a check failed; 2 an error; 3 a step was skipped because a tool is missing;
130 interrupted. An error is one line on stderr and never a traceback, unless the environment
variable ``PYADMM_TRACEBACK`` is set.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pyadmm.core.errors import CheckError, MissingToolError, PyadmmError
from pyadmm.hardware.plan import InputStream

DONE, CHECK_FAILED, ERROR, SKIPPED, INTERRUPTED = 0, 1, 2, 3, 130
STATUS = """\
exit status: 0 done; 1 a check failed (a logit differs, a design does not fit); 2 an error;
3 a step was skipped because a tool is missing; 130 interrupted"""
_TRACEBACK = "PYADMM_TRACEBACK"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, as all other errors of the command line."""

    def error(self, message: str) -> NoReturn:
        """Print ``message`` and leave with exit status 2."""
        line = " ".join(message.split())
        print(f"error: {line}; see {self.prog} --help", file=sys.stderr)
        sys.exit(ERROR)


@dataclass(frozen=True)
class Command:
    """One subcommand of ``pyadmm``: its options, its work and its help.

    :param help: one line, also shown by ``pyadmm --help``.
    :param add_options: adds the command's options to its parser.
    :param execute: does the work and gives the exit status.
    :param description: what ``--help`` says below the usage; ``help`` if empty.
    :param examples: complete command lines, each with a comment.
    """

    name: str
    help: str
    add_options: Callable[[argparse.ArgumentParser], None]
    execute: Callable[[argparse.Namespace], int]
    description: str = ""
    examples: str = ""

    def parser(self) -> argparse.ArgumentParser:
        """The parser of this command's options."""
        parser = Parser(
            prog=f"pyadmm {self.name}",
            description=self.description or f"{self.help[0].upper()}{self.help[1:]}.",
            epilog=f"examples:\n{self.examples.rstrip()}\n\n{STATUS}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_options(parser)
        return parser

    def run(self, arguments: Sequence[str] | None = None) -> int:
        """Parse ``arguments`` (by default the process's own), do the work, give the status."""
        options = self.parser().parse_args(arguments)
        return guarded(lambda: self.execute(options))


def guarded(work: Callable[[], int]) -> int:
    """The exit status of ``work``, with every exception as one line on stderr."""
    try:
        return work()
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output left, such as ``head``
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        if os.environ.get(_TRACEBACK):
            raise
        print(f"error: {_line(error)}", file=sys.stderr)
        return _status(error)


def _status(error: Exception) -> int:
    if isinstance(error, CheckError):
        return CHECK_FAILED
    return SKIPPED if isinstance(error, MissingToolError) else ERROR


def _line(error: Exception) -> str:
    if isinstance(error, PyadmmError):
        return str(error)
    if isinstance(error, OSError):
        place = "" if error.filename is None else f"{error.filename}: "
        return f"{place}{error.strerror or error}"
    kind = type(error).__name__
    text = " ".join(str(error).split())
    return f"{kind}: {text}; this is a fault of pyadmm: set {_TRACEBACK}=1 to see where"


# --- options that mean the same everywhere ---------------------------------------------------


def board_option(parser: argparse.ArgumentParser, default: str | None = "pynq-z2") -> None:
    """``--board``: the name of a board, or a board file."""
    shown = "" if default is None else f" (default {default})"
    parser.add_argument(
        "--board", default=default, metavar="BOARD",
        help=f"a board that `pyadmm boards` lists, or your own board's JSON file{shown}",
    )  # fmt: skip


def data_dir_option(parser: argparse.ArgumentParser) -> None:
    """``--data-dir``: where the data set lies."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder with the data set (default: PYADMM_DATA)",
    )


def out_option(parser: argparse.ArgumentParser, default: str | None, what: str) -> None:
    """``--out``: the folder or file to write."""
    shown = "" if default is None else f" (default {default})"
    parser.add_argument(
        "--out", type=Path, default=None if default is None else Path(default), metavar="PATH",
        help=f"{what}{shown}",
    )  # fmt: skip


def json_option(parser: argparse.ArgumentParser) -> None:
    """``--json``: print machine-readable output."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def stream_options(parser: argparse.ArgumentParser) -> None:
    """``--packed`` and ``--stream-bits``: how images come to the accelerator."""
    parser.add_argument(
        "--packed",
        action="store_true",
        help="the driver packs the network's input integers, two of 4 bits to a byte",
    )
    parser.add_argument(
        "--stream-bits",
        type=int,
        choices=(32, 64),
        default=32,
        help="width of the input stream (default 32)",
    )


def chosen_stream(options: argparse.Namespace) -> InputStream:
    """The stream that the options of :func:`stream_options` choose."""
    return InputStream(options.packed, options.stream_bits)
