"""Reports that tools left in a run's build folders, for the next run of the flow.

The flow itself starts no vendor tool (``docs/guide/vendor-tools.md`` says how) and routes nothing
(``pyadmm bitstream``). Where their reports are found, the figures nearest to the chip take the place of
the modelled and estimated ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyadmm.eda.calibration import TRUST, best_basis, calibrate
from pyadmm.eda.chip_flow import ROUTED_REPORT
from pyadmm.eda.reports import SynthesisReport
from pyadmm.eda.vendor import vitis, vivado

INSTANCE = "pyadmm_top_0"
"""The accelerator in the block design of ``build.tcl``, without DMA and interconnect."""


def find_reports(build_dirs: list[Path]) -> list[SynthesisReport]:
    """Every synthesis and implementation report of the accelerator in ``build_dirs``.

    :raises PyadmmError: for a report that is there but truncated or foreign.
    """
    reports = []
    for folder in build_dirs:
        if (folder / "reports" / "csynth.xml").is_file():
            reports.append(vitis.read_csynth(folder))
        if (folder / "reports" / "post_route_utilization.rpt").is_file():
            whole = vivado.read_implementation(folder)
            reports.append(vivado.instance_report(whole, INSTANCE))
        if (routed := folder / ROUTED_REPORT).is_file():
            reports.append(SynthesisReport.from_json(routed.read_text(encoding="utf-8")))
    return reports


def calibration_lines(reports: Sequence[SynthesisReport]) -> list[str]:
    """Deviation of the earliest stage's estimates are from the latest one's figures, with error bands.

    :param reports: of one accelerator; fewer than two stages give nothing to compare.
    """
    usable = sorted(reports, key=lambda report: TRUST.index(report.stage))
    if len(usable) < 2 or usable[0].stage == usable[-1].stage:
        return []
    made = calibrate([(usable[0], usable[-1])])
    factors = ", ".join(f"{name} {factor.text()}" for name, factor in made.factors.items())
    return [
        f"Calibrated {made.tool} ({made.stage}) by {made.target_tool} ({made.target}): {factors}."
    ]


def set_aside(build_dir: Path, digest: str) -> None:
    """Keep the reports of a build that is about to be replaced, but not as those of the new one.

    :param digest: of the new build; names the folder that the old reports go to.
    """
    reports = build_dir / "reports"
    if reports.is_dir():
        kept = build_dir / f"reports-before-{digest[:8]}"
        number = 2
        while kept.exists():
            kept = build_dir / f"reports-before-{digest[:8]}-{number}"
            number += 1
        reports.rename(kept)


def nearest_report(build_dirs: list[Path]) -> SynthesisReport | None:
    """The report nearest to the chip; ``None`` where no tool has left one."""
    reports = find_reports(build_dirs)
    return best_basis(reports) if reports else None
