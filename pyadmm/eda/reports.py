"""Reports of synthesis and implementation runs, in one form for all tools.

The open flow (:mod:`pyadmm.eda.yosys`) and the vendor's reports (:mod:`pyadmm.eda.parsers`) both give
a :class:`SynthesisReport`, and the break-even calculator takes either. Unknown is ``None``,
never 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from pyadmm.core import schema
from pyadmm.core.errors import PyadmmError

Stage = Literal["modelled", "csynth", "post-synthesis", "post-place", "post-route", "cosim"]
"""Stage of a flow at which a figure was taken; the ``basis`` of everything derived from it."""

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
    average: int | None = None

    @property
    def exact(self) -> int | None:
        """The one number, where least and most agree."""
        return self.least if self.least == self.most else None


@dataclass(frozen=True)
class TimeRange:
    """A span of time in ns, least to most; ``None`` where the tool did not say."""

    least_ns: float | None = None
    most_ns: float | None = None


@dataclass(frozen=True)
class LoopReport:
    """One loop of an HLS report.

    :param name: the path of loop names, joined by ``/``.
    :param pipeline_ii: achieved initiation interval, cycles; ``None`` for a loop without pipeline.
    :param pipeline_depth: cycles of one iteration, where it is one number.
    :param depth: cycles of one iteration as the tool gives them, perhaps a range.
    :param target_ii: the interval that was asked for.
    :param pipelined: the tool's word for it (``yes``, ``no``, ``dataflow`` …).
    """

    name: str
    pipeline_ii: int | None = None
    pipeline_depth: int | None = None
    trip_count: CycleRange = CycleRange()
    latency: CycleRange = CycleRange()
    iteration_latency: CycleRange = CycleRange()
    latency_time: TimeRange = TimeRange()
    depth: CycleRange = CycleRange()
    target_ii: int | None = None
    pipelined: str | None = None


@dataclass(frozen=True)
class ModuleReport:
    """One sub-module of a design, as the tool reports it.

    :param name: of the module, or the path of the instance in a hierarchical report.
    :param kind: the module of that instance, where the name is an instance.
    :param pipeline: the tool's word for the pipelining (``no``, ``dataflow`` …).
    """

    name: str
    resources: ResourceUse = ResourceUse()
    latency: CycleRange = CycleRange()
    interval: CycleRange = CycleRange()
    clock_estimate_ns: float | None = None
    loops: tuple[LoopReport, ...] = ()
    latency_time: TimeRange = TimeRange()
    pipeline: str | None = None
    kind: str | None = None


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
    :param latency_time: the same latency in ns, as the tool gives it.
    :param clock_uncertainty_ns: margin that HLS keeps below the target, ns.
    :param slack_ns: worst set-up slack, ns; negative where the timing is missed.
    :param timing_met: the tool's verdict on all timing constraints, pulse widths included.
    :param pipeline: the tool's word for the pipelining of the top (``no``, ``dataflow`` …).
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
    latency_time: TimeRange = TimeRange()
    clock_uncertainty_ns: float | None = None
    slack_ns: float | None = None
    pipeline: str | None = None
    timing_met: bool | None = None

    def __post_init__(self) -> None:
        if self.stage not in get_args(Stage):
            raise PyadmmError(
                f"synthesis report {self.design}: stage must be one of {get_args(Stage)}, "
                f"not {self.stage!r}"
            )

    def to_json(self) -> str:
        """The report as JSON; :meth:`from_json` gives an equal object back."""
        return schema.to_json(self)

    @classmethod
    def from_json(cls, text: str) -> SynthesisReport:
        """Read what :meth:`to_json` wrote.

        :raises PyadmmError: for text that is no such report; it names the field.
        """
        return schema.from_json(cls, text, "synthesis report: not a report of ours")
