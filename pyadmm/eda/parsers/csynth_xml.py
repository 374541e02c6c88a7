"""``csynth.xml`` and ``<top>_csynth.xml`` of Vivado HLS (from 2018.2) and Vitis HLS (to 2025.x).

What differs between the versions, and is handled here: ``DSP48E`` against ``DSP``; the order of the
children; loops as elements whose *tag is the loop's name*, nested in each other; values that are
plain, a ``<range>`` of ``<min>`` and ``<max>``, or text ``least ~ most``; times with a unit or bare
in ns; and modules, which only Vitis HLS lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from pyadmm.eda.parsers import values
from pyadmm.eda.parsers.source import Source
from pyadmm.eda.parsers.xmltree import parse_xml
from pyadmm.eda.reports import (
    CycleRange,
    LoopReport,
    ModuleReport,
    ResourceUse,
    SynthesisReport,
    TimeRange,
)

_RESOURCE_TAGS = {
    "lut": ("LUT",),
    "ff": ("FF",),
    "dsp": ("DSP", "DSP48E"),
    "bram18": ("BRAM_18K",),
    "uram": ("URAM",),
}
_LOOP_FACTS = ("TripCount", "Latency", "IterationLatency", "PipelineII", "PipelineDepth")
_VERSION = re.compile(r"(\d{4})\.(\d+)")


def parse_csynth_xml(source: Source) -> SynthesisReport:
    """The report as a typed object; figures that it does not give are ``None``.

    :raises ReportError: for XML that is broken, hostile, or no HLS synthesis report.
    """
    root = parse_xml(source)
    if root.tag != "profile":
        source.fail("profile", f"the root element is <{root.tag[:40]}>, so this is no csynth.xml")
    user = _section(source, root, "UserAssignments")
    performance = _section(source, root, "PerformanceEstimates")
    area = _section(source, root, "AreaEstimates")
    used = _section(source, area, "Resources")
    available = area.find("AvailableResources")
    version = _text(root, "ReportVersion/Version")
    overall = performance.find("SummaryOfOverallLatency")
    return SynthesisReport(
        design=_required(source, user, "TopModelName"),
        tool=_tool(used, version),
        stage="csynth",
        version=version,
        part=_text(user, "Part"),
        clock_target_ns=_period(source, user, "TargetClockPeriod"),
        clock_estimate_ns=_period(
            source, performance, "SummaryOfTimingAnalysis/EstimatedClockPeriod"
        ),
        clock_method="HLS estimate before logic synthesis",
        resources=_resources(source, used),
        available=ResourceUse() if available is None else _resources(source, available),
        latency=_overall_latency(source, overall),
        latency_time=_overall_time(source, overall),
        interval=_ends(source, overall, "Interval-min", "Interval-max"),
        clock_uncertainty_ns=_period(source, user, "ClockUncertainty"),
        pipeline=_text(performance, "PipelineType"),
        loops=tuple(_loops(source, performance)),
        modules=tuple(
            _module(source, module) for module in root.iterfind("ModuleInformation/Module")
        ),
    )


def _tool(used: Element, version: str | None) -> str:
    """Which HLS: both call themselves 2020.1, but only Vivado HLS counts ``DSP48E``."""
    if used.find("DSP48E") is not None:
        return "Vivado HLS"
    match = _VERSION.match(version or "")
    old = match is not None and (int(match[1]), int(match[2])) < (2020, 1)
    return "Vivado HLS" if old else "Vitis HLS"


def _module(source: Source, module: Element) -> ModuleReport:
    name = _required(source, module, "Name")
    performance = module.find("PerformanceEstimates")
    used = module.find("AreaEstimates/Resources")
    resources = ResourceUse() if used is None else _resources(source, used)
    if performance is None:
        return ModuleReport(name=name, resources=resources)
    overall = performance.find("SummaryOfOverallLatency")
    return ModuleReport(
        name=name,
        resources=resources,
        latency=_overall_latency(source, overall),
        latency_time=_overall_time(source, overall),
        interval=_range(source, overall, "PipelineInitiationInterval"),
        clock_estimate_ns=_period(
            source, performance, "SummaryOfTimingAnalysis/EstimatedClockPeriod"
        ),
        loops=tuple(_loops(source, performance)),
        pipeline=None if overall is None else _text(overall, "PipelineType"),
    )


def _loops(source: Source, performance: Element) -> Iterator[LoopReport]:
    """All loops, outer before inner."""
    summary = performance.find("SummaryOfLoopLatency")
    return iter(()) if summary is None else _nested_loops(source, summary, "")


def _nested_loops(source: Source, parent: Element, prefix: str) -> Iterator[LoopReport]:
    for element in parent:
        if not _is_loop(element):
            continue
        name = prefix + element.tag
        yield _loop(source, element, name)
        yield from _nested_loops(source, element, f"{name}/")


def _is_loop(element: Element) -> bool:
    """Decided by its children, not by its tag: a C label may be called ``Latency``."""
    return any(element.find(fact) is not None for fact in _LOOP_FACTS)


def _loop(source: Source, element: Element, name: str) -> LoopReport:
    depth = _range(source, element, "PipelineDepth")
    ii = _range(source, element, "PipelineII")
    word = _text(element, "PipelineType")
    return LoopReport(
        name=name,
        pipeline_ii=ii.exact,
        pipeline_depth=depth.exact,
        trip_count=_range(source, element, "TripCount"),
        latency=_range(source, element, "Latency"),
        iteration_latency=_range(source, element, "IterationLatency"),
        latency_time=_time_range(source, element, "AbsoluteTimeLatency"),
        depth=depth,
        pipelined=word,
    )


def _resources(source: Source, element: Element) -> ResourceUse:
    figures = {name: _resource(source, element, tags) for name, tags in _RESOURCE_TAGS.items()}
    return ResourceUse(**figures)


def _resource(source: Source, element: Element, tags: tuple[str, ...]) -> float | None:
    found = [child for tag in tags for child in element.findall(tag)]
    if len(found) > 1:
        source.fail(tags[0], f"is given {len(found)} times")
    return values.count(source, tags[0], _content(found[0])) if found else None


def _overall_latency(source: Source, overall: Element | None) -> CycleRange:
    ends = _ends(source, overall, "Best-caseLatency", "Worst-caseLatency")
    average = None if overall is None else _text(overall, "Average-caseLatency")
    mean = None if average is None else values.count(source, "Average-caseLatency", average)
    return CycleRange(ends.least, ends.most, mean)


def _overall_time(source: Source, overall: Element | None) -> TimeRange:
    if overall is None:
        return TimeRange()
    ends = ("Best-caseRealTimeLatency", "Worst-caseRealTimeLatency")
    least, most = (_text(overall, tag) or "" for tag in ends)
    return values.times(source, ends[0], least, most)


def _ends(source: Source, parent: Element | None, least: str, most: str) -> CycleRange:
    if parent is None:
        return CycleRange()
    return values.cycles(source, least, _text(parent, least) or "", _text(parent, most) or "")


def _range(source: Source, parent: Element | None, tag: str) -> CycleRange:
    least, most = _range_texts(parent, tag)
    return values.cycles(source, tag, least, most)


def _time_range(source: Source, parent: Element, tag: str) -> TimeRange:
    least, most = _range_texts(parent, tag)
    return values.times(source, tag, least, most)


def _range_texts(parent: Element | None, tag: str) -> tuple[str, str]:
    """Both ends of ``<tag>5</tag>``, ``<tag>1 ~ 5</tag>`` or ``<tag><range>…</range></tag>``."""
    element = None if parent is None else _fact(parent, tag)
    if element is None:
        return "", ""
    span = element.find("range")
    if span is None:
        return _content(element), _content(element)
    return _text(span, "min") or "", _text(span, "max") or ""


def _fact(parent: Element, tag: str) -> Element | None:
    """The child ``tag`` that is a value and not a loop of that name."""
    return next((child for child in parent.findall(tag) if not _is_loop(child)), None)


def _section(source: Source, parent: Element, tag: str) -> Element:
    element = parent.find(tag)
    if element is None:
        source.fail(tag, "is missing, so this is no complete HLS synthesis report")
    return element


def _required(source: Source, parent: Element, tag: str) -> str:
    text = _text(parent, tag)
    if text is None:
        source.fail(tag, "is missing or empty")
    return text


def _period(source: Source, parent: Element, path: str) -> float | None:
    """A clock period or margin, ns. HLS gives 0 for a module without logic."""
    text = _text(parent, path)
    value = None if text is None else values.number(source, path.rpartition("/")[2], text)
    if value is not None and value < 0:
        source.fail(path.rpartition("/")[2], f"{value} is no clock period")
    return value


def _text(parent: Element, path: str) -> str | None:
    element = parent.find(path)
    return None if element is None else _content(element) or None


def _content(element: Element) -> str:
    return (element.text or "").strip()
