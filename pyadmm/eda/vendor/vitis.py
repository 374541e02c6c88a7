"""Vitis HLS and Vivado HLS: the HLS stages of ``build.tcl``, and a self-test of the tools.

No vendor tool could be run where this was written; ``pyadmm vendor selftest`` runs
every stage on a tiny design and packs what is worth sending back.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyadmm.core.errors import PyadmmError, ToolError
from pyadmm.eda.batch import BatchJob, BatchRun, run_batch, tool_version
from pyadmm.eda.parsers import CosimReport, parse_report
from pyadmm.eda.reports import SynthesisReport

STAGES = ("csim", "csynth", "cosim", "export_ip")
DEFAULT_TIMEOUT_S = 3 * 3600.0
_TCL_SINCE = (2023, 2)
"""First release whose ``vitis-run`` takes ``--tcl``."""
_LAUNCHERS = (
    ("vitis-run", "--version", ("--mode", "hls", "--tcl", "build.tcl")),
    ("vitis_hls", "-version", ("-f", "build.tcl")),
    ("vivado_hls", "-version", ("-f", "build.tcl")),
)


@dataclass(frozen=True)
class Hls:
    """An HLS launcher on the PATH.

    :param name: ``vitis-run``, ``vitis_hls`` or ``vivado_hls``.
    :param arguments: that make it run ``build.tcl``.
    """

    name: str
    executable: str
    arguments: tuple[str, ...]
    version: str | None


def find_hls() -> Hls | None:
    """The newest launcher on the PATH, or ``None``; a ``vitis-run`` before 2023.2 does not count.

    :raises ToolError: if one is there but does not answer.
    """
    for name, option, arguments in _LAUNCHERS:
        executable = shutil.which(name)
        if executable is None:
            continue
        version = tool_version(executable, option)
        if name == "vitis-run" and version is not None and _release(version) < _TCL_SINCE:
            continue
        return Hls(name, executable, arguments, version)
    return None


def _release(version: str) -> tuple[int, int]:
    year, number = version.split(".")[:2]
    return int(year), int(number)


def run_hls(
    folder: Path,
    stages: Sequence[str] = STAGES,
    hls: Hls | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> BatchRun:
    """Run HLS stages in a build folder (``build.tcl``, ``params.tcl``, sources), in one session.

    Leaves ``reports/csynth.xml``, ``reports/cosim.rpt``, the project ``hls/`` and its IP.

    :raises ToolError: without HLS, or if a stage fails, hangs, has no licence or prints errors.
    """
    unknown = [stage for stage in stages if stage not in STAGES]
    if unknown or not stages:
        raise PyadmmError(f"vitis: stages must be some of {', '.join(STAGES)}, not {list(stages)}")
    tool = hls or find_hls()
    if tool is None:
        raise ToolError(
            "vitis: none of vitis-run, vitis_hls and vivado_hls is on the PATH: source "
            "settings64.sh of your Vitis installation; csim with g++ and the RTL flow work without"
        )
    return run_batch(
        BatchJob(
            tool=tool.name,
            command=(tool.executable, *tool.arguments),
            folder=folder,
            log=folder / "reports" / f"{stages[0]}.log",
            stages=tuple(stages),
            timeout_s=timeout_s,
            environment={"PYADMM_STAGES": " ".join(stages), "PYADMM_LAUNCHER": tool.name},
        )
    )


def read_csynth(folder: Path) -> SynthesisReport:
    """The synthesis report that the stage csynth left.

    :raises PyadmmError: if it is missing or no complete report.
    """
    report = parse_report(folder / "reports" / "csynth.xml")
    if not isinstance(report, SynthesisReport):
        raise ToolError(f"{folder}: reports/csynth.xml is no synthesis report")
    return report


def read_cosim(folder: Path) -> CosimReport:
    """The co-simulation report that the stage cosim left.

    :raises PyadmmError: if it is missing or no complete report.
    """
    report = parse_report(folder / "reports" / "cosim.rpt")
    if not isinstance(report, CosimReport):
        raise ToolError(f"{folder}: reports/cosim.rpt is no co-simulation report")
    return report
