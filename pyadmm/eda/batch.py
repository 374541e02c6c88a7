"""Running a vendor's batch tool: log file, time-out, and what its log says went wrong.

These tools fork children, may end with status 0 after printing errors, and hang on licence servers;
so a run counts as good only if its status is 0, its log has no error line, and every stage reported
that it is done.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyadmm.core.errors import ToolError
from pyadmm.core.process import last_lines, run_tool

_ERROR_LINE = re.compile(r"^(ERROR: |ERROR:\[|@E )")
_DONE_LINE = re.compile(r"^PYADMM: stage (\w+) done$")
_ERROR_LINES = 5
_MAX_LINE = 4000

_REMEDIES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"Common 17-345|valid licen[sc]e was not found"
            r"|licen[sc]e check-?\s?out (failed|unsuccessful)"
            r"|failed to (get|check ?out|obtain) (a )?licen[sc]e|no such feature exists"
            r"|feature has expired|licen[sc]e.*(expired|not found|denied)|flexn?et|flexlm"
            r"|invalid host",
            re.IGNORECASE,
        ),
        "licence missing or wrong: set XILINXD_LICENSE_FILE (or LM_LICENSE_FILE) to your licence "
        "file or port@server, and check that it covers this tool, version and part",
    ),
    (
        re.compile(r"is an invalid argument\. Please specify an integer value|bad lexical cast"),
        "date overflow of HLS up to 2021.2 when it packages IP (answer record 76960): install "
        "AMD's patch y2k22, or a later release",
    ),
    (
        re.compile(
            r"(part|device)\b.*(could not be found|not found|not installed|is invalid|not supported"
            r"|does not exist)",
            re.IGNORECASE,
        ),
        "the part is not installed: add its device family with the tool's installer",
    ),
    (
        re.compile(r"C/RTL co-simulation finished: FAIL", re.IGNORECASE),
        "the RTL differs from the C++: keep the folder and report it with the log",
    ),
    (
        re.compile(r"No space left on device"),
        "the disk is full: free some space and run again",
    ),
    (
        re.compile(r"cannot find crt[1in]\.o"),
        "HLS' own compiler does not find the C library: install its development package (libc6-dev)"
        " and set LIBRARY_PATH to its folder",
    ),
)


@dataclass(frozen=True)
class BatchJob:
    """One run of a vendor's batch tool.

    :param folder: where it runs; ``log`` takes its output.
    :param stages: of ``build.tcl`` that have to end well.
    :param environment: added to this process's own.
    """

    tool: str
    command: tuple[str, ...]
    folder: Path
    log: Path
    stages: tuple[str, ...]
    timeout_s: float
    environment: Mapping[str, str]


@dataclass(frozen=True)
class BatchRun:
    """A run that succeeded, with its stages.

    :param stages: the stages that reported their end, in order.
    """

    log: Path
    stages: tuple[str, ...]


@dataclass(frozen=True)
class _LogFacts:
    """Findings in a log: first errors, finished stages, remedies of the known causes."""

    errors: tuple[str, ...]
    stages: tuple[str, ...]
    remedies: tuple[str, ...]


def run_batch(job: BatchJob) -> BatchRun:
    """Run ``job``; all its stages must end well.

    :raises ToolError: if it cannot start, fails, hangs, prints errors or leaves stages out; the
        message has the cause where it is a known one, and the end of the log.
    """
    try:
        run = run_tool(
            job.command,
            log=job.log,
            timeout_s=job.timeout_s,
            cwd=job.folder,
            environment=job.environment,
        )
    except ToolError as error:
        output = job.log.read_text(encoding="utf-8", errors="replace")
        raise _failure(job, str(error), _facts(output)) from error
    facts = _facts(run.output)
    missing = [stage for stage in job.stages if stage not in facts.stages]
    if not facts.errors and not missing:
        return BatchRun(job.log, facts.stages)
    problem = (
        "ended with status 0 but printed errors"
        if facts.errors
        else f"ended without finishing {', '.join(missing)}"
    )
    raise _failure(job, f"{problem}; its last lines:\n{last_lines(run.output)}", facts)


def _facts(output: str) -> _LogFacts:
    lines = [line[:_MAX_LINE] for line in output.splitlines()]
    loud = [line for line in lines if not line.startswith(("INFO", "WARNING"))]
    return _LogFacts(
        errors=tuple(line for line in loud if _ERROR_LINE.match(line))[:_ERROR_LINES],
        stages=tuple(match[1] for line in lines if (match := _DONE_LINE.match(line))),
        remedies=tuple(
            remedy for pattern, remedy in _REMEDIES if any(pattern.search(line) for line in loud)
        ),
    )


def _failure(job: BatchJob, problem: str, facts: _LogFacts) -> ToolError:
    parts = [f"{job.tool} ({', '.join(job.stages)}): {problem}"]
    parts += [f"cause: {remedy}" for remedy in facts.remedies]
    parts += [f"error: {line}" for line in facts.errors]
    return ToolError("\n".join([*parts, f"log: {job.log}"]))


def tool_version(executable: str, option: str, timeout_s: float = 120.0) -> str | None:
    """Version that a tool's banner or else its installation path names, such as ``2022.2``.

    :raises ToolError: if it cannot be started or gives no answer in time.
    """
    try:
        answer = subprocess.run(
            [executable, option],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{executable} {option}: gave no answer within {timeout_s:g} s") from error
    except OSError as error:
        raise ToolError(f"{executable}: cannot be started: {error.strerror or error}") from error
    banner = re.search(r"\bv?(20\d\d\.\d(?:\.\d)?)\b", answer.stdout.decode("utf-8", "replace"))
    if banner:
        return banner[1]
    path = re.search(r"[/\\](20\d\d\.\d)[/\\]", str(Path(executable).resolve()))
    return path[1] if path else None
