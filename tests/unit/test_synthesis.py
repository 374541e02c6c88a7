"""SynthesisReport: JSON round trip, unknown stays None, bad text is one clear error."""

import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.eda.reports import (
    CycleRange,
    LoopReport,
    ModuleReport,
    ResourceUse,
    SynthesisReport,
)

REPORT = SynthesisReport(
    design="conv",
    tool="Vitis HLS",
    stage="csynth",
    version="2024.2",
    part="xc7z020clg400-1",
    clock_target_ns=10.0,
    clock_estimate_ns=7.3,
    resources=ResourceUse(lut=10, dsp=0),
    latency=CycleRange(5, 9),
    loops=(LoopReport("rows/columns", pipeline_ii=1, trip_count=CycleRange(4, 4)),),
    modules=(ModuleReport("dot", ResourceUse(ff=3), loops=(LoopReport("k"),)),),
    notes=("interval undef",),
)


def test_json_round_trip_is_equal() -> None:
    assert SynthesisReport.from_json(REPORT.to_json()) == REPORT


def test_unknown_figures_are_none_and_not_listed() -> None:
    assert REPORT.resources.ff is None
    assert REPORT.resources.known() == {"lut": 10, "dsp": 0}
    assert REPORT.interval == CycleRange(None, None)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"design": "x", "zzz": 1}'])
def test_foreign_text_is_refused(text: str) -> None:
    with pytest.raises(PyadmmError, match="synthesis report: not a report"):
        SynthesisReport.from_json(text)


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(PyadmmError, match="stage must be one of"):
        SynthesisReport("x", "yosys", "routed")  # type: ignore[arg-type]
