"""What a synthesis or implementation run told us, whichever tool ran it.

The open flow (:mod:`pyadmm.tools.yosys`) and the vendor's reports (:mod:`pyadmm.reports`) both give
a :class:`SynthesisReport`, and the break-even calculator takes either. Unknown is ``None``,
never 0.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from pyadmm.errors import PyadmmError

Stage = Literal["modelled", "csynth", "post-synthesis", "post-route", "cosim"]
"""Where in a flow a figure was taken; the ``basis`` of everything derived from it."""

_RESOURCE_NAMES = ("lut", "ff", "dsp", "bram18", "uram")


@dataclass(frozen=True)
class ResourceUse:
    """Resources used; BRAM in 18 Kb halves. ``None`` where the tool did not say."""

    lut: float | None = None
    ff: float | None = None
    dsp: float | None = None
    bram18: float | None = None
    uram: float | None = None

    def known(self) -> dict[str, float]:
        """The figures that are known, by name.

        >>> ResourceUse(lut=12, dsp=0).known()
        {'lut': 12, 'dsp': 0}
        """
        figures = ((name, getattr(self, name)) for name in _RESOURCE_NAMES)
        return {name: value for name, value in figures if value is not None}


@dataclass(frozen=True)
class CycleRange:
    """Clock cycles, least to most; equal where the tool gives one number."""

    least: int | None = None
    most: int | None = None


@dataclass(frozen=True)
class LoopReport:
    """One loop of an HLS report. ``name`` is the path of loop names, joined by ``/``."""

    name: str
    pipeline_ii: int | None = None
    pipeline_depth: int | None = None
    trip_count: CycleRange = CycleRange()
    latency: CycleRange = CycleRange()
    iteration_latency: CycleRange = CycleRange()


@dataclass(frozen=True)
class ModuleReport:
    """One sub-module of a design, as the tool reports it."""

    name: str
    resources: ResourceUse = ResourceUse()
    latency: CycleRange = CycleRange()
    interval: CycleRange = CycleRange()
    clock_estimate_ns: float | None = None
    loops: tuple[LoopReport, ...] = ()


@dataclass(frozen=True)
class SynthesisReport:
    """Figures of one design from one tool run.

    :param tool: name of the tool (``yosys``, ``Vitis HLS``, ``Vivado`` …).
    :param version: as the tool prints it.
    :param stage: at which stage the figures were taken.
    :param part: the chip as the tool names it.
    :param clock_target_ns: the clock constraint, ns.
    :param clock_estimate_ns: the achieved or estimated period, ns.
    :param clock_method: how the estimate came about (``estimate: …``, ``routed`` …).
    :param available: resources of the chip, where the report states them.
    :param latency: cycles from start to done.
    :param interval: initiation interval, cycles between starts.
    :param power_w: total on-chip power, W.
    :param plan_digest: digest of the build plan or sources that were synthesised.
    """

    design: str
    tool: str
    stage: Stage
    version: str | None = None
    part: str | None = None
    clock_target_ns: float | None = None
    clock_estimate_ns: float | None = None
    clock_method: str | None = None
    resources: ResourceUse = ResourceUse()
    available: ResourceUse = ResourceUse()
    latency: CycleRange = CycleRange()
    interval: CycleRange = CycleRange()
    power_w: float | None = None
    loops: tuple[LoopReport, ...] = ()
    modules: tuple[ModuleReport, ...] = ()
    plan_digest: str | None = None
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.stage not in get_args(Stage):
            raise PyadmmError(
                f"synthesis report {self.design}: stage must be one of {get_args(Stage)}, "
                f"not {self.stage!r}"
            )

    def to_json(self) -> str:
        """The report as JSON; :meth:`from_json` gives an equal object back."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> SynthesisReport:
        """Read what :meth:`to_json` wrote.

        :raises PyadmmError: for text that is no such report.
        """
        try:
            raw = json.loads(text)
            return _report(raw)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PyadmmError(f"synthesis report: not a report in JSON: {error}") from error


def _cycles(raw: dict[str, Any]) -> CycleRange:
    return CycleRange(**raw)


def _loop(raw: dict[str, Any]) -> LoopReport:
    ranges = {name: _cycles(raw[name]) for name in ("trip_count", "latency", "iteration_latency")}
    return LoopReport(**{**raw, **ranges})


def _module(raw: dict[str, Any]) -> ModuleReport:
    parts = {
        "resources": ResourceUse(**raw["resources"]),
        "latency": _cycles(raw["latency"]),
        "interval": _cycles(raw["interval"]),
        "loops": tuple(_loop(loop) for loop in raw["loops"]),
    }
    return ModuleReport(**{**raw, **parts})


def _report(raw: dict[str, Any]) -> SynthesisReport:
    unknown = set(raw) - {item.name for item in fields(SynthesisReport)}
    if unknown:
        raise KeyError(f"unknown fields {sorted(unknown)}")
    parts = {
        "resources": ResourceUse(**raw["resources"]),
        "available": ResourceUse(**raw["available"]),
        "latency": _cycles(raw["latency"]),
        "interval": _cycles(raw["interval"]),
        "loops": tuple(_loop(loop) for loop in raw["loops"]),
        "modules": tuple(_module(module) for module in raw["modules"]),
        "notes": tuple(raw["notes"]),
    }
    return SynthesisReport(**{**raw, **parts})
