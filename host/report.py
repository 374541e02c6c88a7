"""``python -m host.report FILE``: what a first run on a board shows, in one text file to send.

The self-test three times, the benchmark, and the facts of board, kernel and bundle that explain a
failure. Exit status: 0 all passed, 1 a logit differs, 2 something could not run; the file is
written in every case.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from . import benchmark, selftest
from .bundle import add_bundle_arguments, bundle_folder
from .errors import HostError
from .linux.sysfs import read_text
from .manifest import MANIFEST_NAME

SELF_TESTS = 3
"""More than one: registers must start as the reset leaves them, every time."""
_PACKAGES = ("numpy", "pynq", "pyadmm-host")
_FILES = (
    "proc/device-tree/model",
    "proc/cmdline",
    "etc/os-release",
    "sys/class/fpga_manager/fpga0/name",
    "sys/class/fpga_manager/fpga0/state",
)
_CLOCKS, _CLOCK_NAMES = "sys/kernel/debug/clk/clk_summary", ("fclk", "pl0_ref")
_LOG_LINES, _LOG_TIMEOUT_S = 30, 10
_HIDDEN = "not readable"


def facts(root: Path = Path("/")) -> Iterator[str]:
    """Lines about the machine: versions, environment, the kernel's files.

    :param root: ``/``, or a folder that stands for it.
    """
    yield f"uname: {' '.join(platform.uname())}"
    yield f"python: {platform.python_version()}"
    for package in _PACKAGES:
        yield f"{package}: {_version(package)}"
    for name in sorted(key for key in os.environ if key.startswith("PYADMM_")):
        yield f"{name}={os.environ[name]}"
    for file in _FILES:
        yield f"/{file}: {read_text(root / file) or _HIDDEN}"
    clocks = read_text(root / _CLOCKS)
    lines = (clocks or "").splitlines()
    yield f"/{_CLOCKS}: {'' if clocks else _HIDDEN}"
    yield from (line for line in lines if any(name in line for name in _CLOCK_NAMES))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def bundle_facts(options: argparse.Namespace) -> Iterator[str]:
    """Lines about the bundle: digest and size of its bitstreams, and its manifest.

    :raises HostError: if there is no bundle.
    """
    folder = bundle_folder() if options.bundle is None else options.bundle
    bitfiles = sorted(folder.glob("*.bit*")) if options.bitfile is None else [options.bitfile]
    for file in bitfiles:
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        yield f"{file.name}: {len(content)} bytes, sha256 {digest}"
    yield (folder / MANIFEST_NAME).read_text(encoding="utf-8")


def kernel_log() -> Iterator[str]:
    """The last lines of ``dmesg``."""
    try:
        done = subprocess.run(
            ["dmesg"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_LOG_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        yield f"{_HIDDEN}: {error}"
        return
    yield from done.stdout.decode("utf-8", "replace").splitlines()[-_LOG_LINES:]


def captured(run: Callable[[], int]) -> tuple[int, str]:
    """Exit status and output of ``run``; 2 with the traceback where it raises."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            status = run()
        except Exception:  # a report shows whatever went wrong
            status = 2
            print(traceback.format_exc())
    return status, output.getvalue()


def _listed(lines: Callable[[], Iterator[str]]) -> Callable[[], int]:
    """Prints ``lines``; their error is part of the report, not its outcome."""

    def run() -> int:
        try:
            for line in lines():
                print(line)
        except (HostError, OSError) as error:
            print(f"error: {error}")
        return 0

    return run


def _arguments(options: argparse.Namespace) -> list[str]:
    """What the self-test and the benchmark get of the command line."""
    given = {"--bundle": options.bundle, "--bitfile": options.bitfile, "--model": options.model}
    return [text for name, value in given.items() if value for text in (name, str(value))]


def main(arguments: Sequence[str] | None = None, root: Path = Path("/")) -> int:
    """Command line; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m host.report", description="all in one file")
    parser.add_argument("file", type=Path, help="the text file to write")
    parser.add_argument("--batch", nargs="+", default=["1", "100", "1000"], help="of the benchmark")
    parser.add_argument("--repeats", default="200", help="of the benchmark")
    add_bundle_arguments(parser)
    options = parser.parse_args(arguments)
    common = _arguments(options)
    measure = [*common, "--repeats", options.repeats, "--batch", *options.batch]
    parts: list[tuple[str, Callable[[], int]]] = [
        ("machine", _listed(lambda: facts(root))),
        ("bundle", _listed(lambda: bundle_facts(options))),
        *((f"self-test {i + 1}", lambda: selftest.main(common)) for i in range(SELF_TESTS)),
        ("benchmark", lambda: benchmark.main(measure)),
        ("kernel log", _listed(kernel_log)),
    ]
    worst = 0
    with options.file.open("w", encoding="utf-8") as file:
        for title, run in parts:
            status, text = captured(run)
            worst = max(worst, status)
            file.write(f"== {title}: exit status {status}\n{text.rstrip()}\n\n")
            file.flush()
            print(f"{title}: exit status {status}")
    print(f"{options.file}: look through it, then send it")
    return worst


if __name__ == "__main__":
    sys.exit(main())
