"""Running external tools: no shell, bounded time and memory, their output kept in a log."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyadmm.core.errors import ToolError

_LAST_LINES = 15
_running: Counter[str] = Counter()
"""Tools of this process that run right now, for :func:`running_tools`."""
_running_lock = threading.Lock()
_GRACE_S = 5.0


@dataclass(frozen=True)
class ToolRun:
    """A finished run of an external tool.

    :param output: standard output and standard error, in the order they were written.
    :param seconds: wall-clock time.
    """

    argv: tuple[str, ...]
    output: str
    seconds: float


def running_tools() -> list[str]:
    """The external tools that run right now, such as ``["g++ (3 times)", "yosys"]``."""
    with _running_lock:
        found = sorted((+_running).items())
    return [name if count == 1 else f"{name} ({count} times)" for name, count in found]


@contextlib.contextmanager
def _counted(name: str) -> Iterator[None]:
    with _running_lock:
        _running[name] += 1
    try:
        yield
    finally:
        with _running_lock:
            _running[name] -= 1


def last_lines(text: str, count: int = _LAST_LINES) -> str:
    """The last ``count`` non-empty lines of ``text``."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-count:])


def run_tool(
    argv: Sequence[str | Path],
    *,
    log: Path,
    timeout_s: float,
    cwd: Path | None = None,
    memory_mb: int | None = None,
    environment: Mapping[str, str] | None = None,
    remedy: str = "",
    name: str | None = None,
) -> ToolRun:
    """Run ``argv``, wait for it, and write its whole output to ``log``.

    :param timeout_s: after it the tool and all its children are ended.
    :param memory_mb: limit of the address space, MiB; ``None``: no limit.
    :param environment: variables added to the present ones.
    :param remedy: what a user can do where the tool is missing or fails.
    :param name: of the tool while it runs; by default that of its file.
    :raises ToolError: where the tool is missing, fails or takes too long; with its last lines.
    """
    command = tuple(str(part) for part in argv)
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with log.open("wb") as file:
        try:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ToolError(_message(command, f"cannot be started: {error}", remedy)) from error
        if memory_mb is not None:
            limit = memory_mb << 20
            with contextlib.suppress(ProcessLookupError):  # it may have ended already
                resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
        try:
            with _counted(name or Path(command[0]).name):
                status: int | None = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end_group(process)
    output = log.read_text(encoding="utf-8", errors="replace")
    if status is None:
        raise ToolError(_message(command, f"took longer than {timeout_s:g} s", remedy, output))
    if status != 0:
        raise ToolError(_message(command, f"failed with status {status}", remedy, output))
    return ToolRun(command, output, time.monotonic() - start)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the process, where it still runs, and every child that it left in its group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _message(command: Sequence[str], what: str, remedy: str, output: str = "") -> str:
    parts = [f"{Path(command[0]).name}: {what}", f"(command: {' '.join(command)})"]
    if output.strip():
        parts.append(f"its last lines:\n{last_lines(output)}")
    if remedy:
        parts.append(remedy)
    return "; ".join(parts)
