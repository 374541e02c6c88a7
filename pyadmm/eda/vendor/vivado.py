"""Vivado: the bitstream stage of ``build.tcl``, and the reports that it leaves."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pyadmm.core.errors import MissingToolError, ToolError
from pyadmm.eda.batch import BatchJob, BatchRun, run_batch, tool_version
from pyadmm.eda.parsers import (
    PowerReport,
    TimingReport,
    implementation,
    parse_report,
)
from pyadmm.eda.reports import SynthesisReport

STAGES = ("bitstream",)
DEFAULT_TIMEOUT_S = 6 * 3600.0
_Kind = TypeVar("_Kind", SynthesisReport, TimingReport, PowerReport)


@dataclass(frozen=True)
class Vivado:
    """Vivado on the PATH."""

    executable: str
    version: str | None


def find_vivado() -> Vivado | None:
    """Vivado from the PATH, or ``None``.

    :raises ToolError: if it is there but does not answer.
    """
    executable = shutil.which("vivado")
    return Vivado(executable, tool_version(executable, "-version")) if executable else None


def build_bitstream(
    folder: Path, vivado: Vivado | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
) -> BatchRun:
    """Run the bitstream stage in a build folder (``build.tcl``, ``params.tcl``, sources).

    Leaves ``PROJECT.bit``, ``PROJECT.hwh`` and ``reports/post_*.rpt``.

    :raises MissingToolError: without Vivado.
    :raises ToolError: if it fails, hangs, has no licence, or misses the timing.
    """
    tool = vivado or find_vivado()
    if tool is None:
        raise MissingToolError(
            "vivado is not on the PATH: source settings64.sh of your Vivado installation; "
            "everything before the bitstream works without it"
        )
    reports = folder.resolve() / "reports"
    batch = ("-mode", "batch", "-nojournal", "-notrace", "-source", "build.tcl")
    return run_batch(
        BatchJob(
            tool="vivado",
            command=(tool.executable, *batch, "-log", str(reports / "vivado_tool.log")),
            folder=folder,
            log=reports / "vivado.log",
            stages=STAGES,
            timeout_s=timeout_s,
            environment={"PYADMM_STAGES": " ".join(STAGES), "PYADMM_LAUNCHER": "vivado"},
        )
    )


def read_implementation(folder: Path, stage: str = "post_route") -> SynthesisReport:
    """The report of ``post_route`` or ``post_synthesis`` that :func:`build_bitstream` left.

    Its modules are the instances of the hierarchical report; :func:`instance_report` takes one.

    :raises PyadmmError: if a file is missing or no complete report.
    """
    reports = folder / "reports"
    utilization = _typed(reports / f"{stage}_utilization.rpt", SynthesisReport)
    tree = _typed(reports / f"{stage}_utilization_hierarchical.rpt", SynthesisReport)
    timing = _typed(reports / f"{stage}_timing.rpt", TimingReport)
    power = _typed(reports / f"{stage}_power.rpt", PowerReport)
    return implementation(replace(utilization, modules=tree.modules), timing, power)


def instance_report(report: SynthesisReport, instance: str) -> SynthesisReport:
    """``report`` for one instance of its design, such as the accelerator without DMA and buses.

    Clock and timing stay those of the whole design; its power is not known.

    :raises ToolError: if the hierarchical report has no such instance, or several.
    """
    found = [module for module in report.modules if module.name.split("/")[-1] == instance]
    if len(found) != 1:
        names = ", ".join(module.name for module in report.modules) or "none"
        raise ToolError(
            f"design {report.design}: instance {instance} must be there once, not {len(found)} "
            f"times; instances: {names}"
        )
    return replace(report, design=instance, resources=found[0].resources, modules=(), power_w=None)


def _typed(path: Path, kind: type[_Kind]) -> _Kind:
    report = parse_report(path)
    if not isinstance(report, kind):
        raise ToolError(f"{path}: is a {type(report).__name__}, not a {kind.__name__}")
    return report
