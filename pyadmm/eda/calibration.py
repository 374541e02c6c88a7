"""Which report to trust, and how reports of a late stage correct estimates of an earlier one.

HLS estimates of LUTs run about twice the routed figure, other stages err less; how much depends on
tool, part and kernel. :func:`calibrate` measures it on designs for which both stages were run, and
:meth:`Calibration.apply` corrects further estimates of the earlier stage. A corrected figure stays
an estimate of its own stage; what was done to it, and the band of error, stands in its notes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.core.schema import from_json, to_json
from pyadmm.eda.reports import ResourceUse, Stage, SynthesisReport

TRUST: tuple[Stage, ...] = ("modelled", "csynth", "post-synthesis", "post-place", "post-route")
"""Stages by how near they are to the chip. Co-simulation tells cycles, not area."""
CLOCK = "clock_ns"
# Device, then perhaps its package, which has three letters in the 7 series and four later.
_SEVEN_SERIES = re.compile(r"(7[a-z]+\d+[a-z]*?)(?:[a-z]{3}\d{3,4})?")
_LATER = re.compile(r"([a-z]+\d+[a-z]*?)(?:[a-z]{4}\d{3,4})?")
_FIGURES = ("lut", "ff", "dsp", "bram18", "uram", CLOCK)


@dataclass(frozen=True)
class Factor:
    """The ratio of a later figure to an earlier one.

    :param factor: geometric mean of the ratios seen.
    :param low: smallest ratio seen, ``high`` the largest; ``None`` where only one was seen, which
        says nothing about the error.
    :param samples: number of ratios.
    """

    factor: float
    low: float | None
    high: float | None
    samples: int

    def text(self) -> str:
        """The factor and its range as text.

        >>> Factor(0.5, 0.4, 0.625, 3).text()
        '× 0.5 (0.4 … 0.625 on 3 designs)'
        """
        if self.low is None or self.high is None:
            return f"× {self.factor:.3g} (one design: error unknown)"
        return f"× {self.factor:.3g} ({self.low:.3g} … {self.high:.3g} on {self.samples} designs)"


@dataclass(frozen=True)
class Calibration:
    """Ratios of reports of stage ``target`` to estimates of ``stage`` by ``tool``.

    :param device: chip without package and speed grade, such as ``7z020``.
    :param factors: by figure: ``lut``, ``ff``, ``dsp``, ``bram18``, ``uram``, ``clock_ns``.
    :param designs: what it was measured on.
    """

    tool: str
    stage: Stage
    target_tool: str
    target: Stage
    device: str
    factors: dict[str, Factor]
    designs: tuple[str, ...]

    def apply(self, report: SynthesisReport) -> SynthesisReport:
        """``report`` with its known figures corrected and the factors in its notes.

        :raises PyadmmError: for a report of another tool, stage or chip.
        """
        for what, mine, given in (
            ("tool", self.tool, report.tool),
            ("stage", self.stage, report.stage),
            ("device", self.device, device_name(report.part)),
        ):
            if mine != given:
                raise PyadmmError(
                    f"calibration {self.device}: {what} must be {mine!r}, not {given!r} (design "
                    f"{report.design}); calibrate with reports of the same kind"
                )
        known = _figures(report)
        used = {name: factor for name, factor in self.factors.items() if name in known}
        scaled = {name: known[name] * factor.factor for name, factor in used.items()}
        clock = scaled.pop(CLOCK, report.clock_estimate_ns)
        notes = tuple(f"{name} {factor.text()}, by {self.target}" for name, factor in used.items())
        return replace(
            report,
            resources=replace(report.resources, **scaled),
            clock_estimate_ns=clock,
            notes=(*report.notes, *notes),
        )

    def bands(self, report: SynthesisReport) -> dict[str, tuple[float, float]]:
        """Least and greatest value of each figure, where the error is known.

        :raises PyadmmError: as :meth:`apply`.
        """
        self.apply(report)
        known = _figures(report)
        return {
            name: (known[name] * factor.low, known[name] * factor.high)
            for name, factor in self.factors.items()
            if name in known and factor.low is not None and factor.high is not None
        }

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_atomic(path, to_json(self) + "\n")

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read what :meth:`save` wrote.

        :raises PyadmmError: for a file that is missing or no calibration.
        """
        try:
            made = from_json(cls, path.read_text(encoding="utf-8"), "factors by figure")
            _require_sane(made)
        except (OSError, ValueError, PyadmmError) as error:
            raise PyadmmError(
                f"calibration file {path.name}: cannot be used: {error}; calibrate again"
            ) from error
        return made


def best_basis(reports: Iterable[SynthesisReport]) -> SynthesisReport:
    """Of several reports of one design, the one nearest to the chip that knows its LUTs.

    :raises PyadmmError: if there is none.
    """
    usable = [
        report for report in reports if report.stage in TRUST and report.resources.lut is not None
    ]
    if not usable:
        raise PyadmmError(
            "basis: no report with LUTs; run the open synthesis, csynth or the bitstream stage"
        )
    return max(usable, key=lambda report: TRUST.index(report.stage))


def calibrate(pairs: Sequence[tuple[SynthesisReport, SynthesisReport]]) -> Calibration:
    """Factors from pairs ``(estimate, report of a later stage)`` of the same designs.

    A figure counts where both reports know it and the estimate is not 0. Take the accelerator's own
    instance from a routed report (:func:`pyadmm.eda.vendor.vivado.instance_report`), not the design with
    its DMA and buses.

    :raises PyadmmError: without pairs, or for pairs of different designs, chips, tools or stages.
    """
    if not pairs:
        raise PyadmmError("calibration: needs at least one design with reports of both stages")
    first, truth = pairs[0]
    device = device_name(first.part)
    for estimate, later in pairs:
        _require_pair(estimate, later)
        same = (estimate.tool, estimate.stage, later.tool, later.stage, device_name(estimate.part))
        if same != (first.tool, first.stage, truth.tool, truth.stage, device):
            raise PyadmmError(
                f"calibration: all pairs must be of one tool, stage and chip; {estimate.design} "
                f"is {same}"
            )
    if device is None:
        raise PyadmmError(f"calibration: the reports of {first.design} do not name their part")
    ratios: dict[str, list[float]] = {name: [] for name in _FIGURES}
    for estimate, later in pairs:
        before, after = _figures(estimate), _figures(later)
        for name in before.keys() & after.keys():
            if before[name] > 0 and after[name] > 0:
                ratios[name].append(after[name] / before[name])
    return Calibration(
        tool=first.tool,
        stage=first.stage,
        target_tool=truth.tool,
        target=truth.stage,
        device=device,
        factors={name: _factor(seen) for name, seen in ratios.items() if seen},
        designs=tuple(estimate.design for estimate, _ in pairs),
    )


def device_name(part: str | None) -> str | None:
    """Chip of a part name, whichever way a tool writes it.

    >>> device_name("xc7z020-clg400-1"), device_name("7z020clg400-1")
    ('7z020', '7z020')
    >>> device_name("xck26-sfvc784-2LV-c"), device_name("xczu3egsbva484-1")
    ('k26', 'zu3eg')
    """
    if part is None:
        return None
    text = re.sub(r"^x[caq]", "", part.lower()).partition("-")[0]
    match = (_SEVEN_SERIES if text.startswith("7") else _LATER).fullmatch(text)
    return match[1] if match else text


def _require_pair(estimate: SynthesisReport, later: SynthesisReport) -> None:
    digests = {estimate.plan_digest, later.plan_digest} - {None}
    devices = {device_name(estimate.part), device_name(later.part)} - {None}
    for report in (estimate, later):
        if report.stage not in TRUST:
            raise PyadmmError(
                f"calibration {report.design}: stage {report.stage} has no area; use csynth, "
                f"post-synthesis or post-route reports"
            )
    if TRUST.index(later.stage) <= TRUST.index(estimate.stage):
        raise PyadmmError(
            f"calibration {estimate.design}: {later.stage} is not later than {estimate.stage}"
        )
    if len(digests) > 1:
        raise PyadmmError(f"calibration {estimate.design}: the reports are of different builds")
    if len(devices) > 1:
        raise PyadmmError(
            f"calibration {estimate.design}: the reports are of different chips: "
            f"{', '.join(sorted(str(device) for device in devices))}"
        )


def _require_sane(made: Calibration) -> None:
    if made.stage not in TRUST or made.target not in TRUST:
        raise ValueError(f"unknown stage {made.stage!r} or {made.target!r}")
    for name, factor in made.factors.items():
        numbers = [value for value in (factor.factor, factor.low, factor.high) if value is not None]
        if name not in _FIGURES or not all(0 < value < math.inf for value in numbers):
            raise ValueError(f"factor {name!r} must be a known figure with positive numbers")


def _factor(ratios: list[float]) -> Factor:
    mean = math.exp(math.fsum(math.log(ratio) for ratio in ratios) / len(ratios))
    if len(ratios) == 1:
        return Factor(mean, None, None, 1)
    return Factor(mean, min(ratios), max(ratios), len(ratios))


def _figures(report: SynthesisReport) -> dict[str, float]:
    """The known resources and the clock estimate, by name."""
    known = dict(ResourceUse.known(report.resources))
    if report.clock_estimate_ns is not None:
        known[CLOCK] = report.clock_estimate_ns
    return known
