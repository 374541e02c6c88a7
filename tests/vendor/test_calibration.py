"""Calibration of estimates by later reports, and the choice of the best basis."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.eda.calibration import Calibration, best_basis, calibrate, device_name
from pyadmm.eda.reports import ResourceUse, Stage, SynthesisReport


def report(
    design: str,
    stage: Stage,
    lut: float | None,
    *,
    dsp: float | None = 4,
    clock: float | None = 8.0,
    part: str = "xc7z020-clg400-1",
    tool: str = "Vitis HLS",
) -> SynthesisReport:
    return SynthesisReport(
        design=design,
        tool=tool,
        stage=stage,
        part=part,
        clock_estimate_ns=clock,
        resources=ResourceUse(lut=lut, ff=100, dsp=dsp, bram18=0, uram=None),
    )


def routed(design: str, lut: float, clock: float = 9.0) -> SynthesisReport:
    part = "7z020clg400-1"
    return report(design, "post-route", lut, clock=clock, part=part, tool="Vivado")


PAIRS = [
    (report("a", "csynth", 1000), routed("a", 400)),
    (report("b", "csynth", 2000), routed("b", 1250)),
]


def test_the_factor_is_the_geometric_mean_with_the_range_seen() -> None:
    made = calibrate(PAIRS)
    lut = made.factors["lut"]
    assert lut.factor == pytest.approx(0.5)  # sqrt(0.4 * 0.625)
    assert (lut.low, lut.high, lut.samples) == (0.4, 0.625, 2)
    assert (made.tool, made.stage, made.target, made.device) == (
        "Vitis HLS",
        "csynth",
        "post-route",
        "7z020",
    )
    assert "bram18" not in made.factors  # an estimate of 0 tells no ratio
    assert "uram" not in made.factors  # unknown in both


def test_applying_corrects_figures_and_says_so() -> None:
    made = calibrate(PAIRS)
    estimate = report("c", "csynth", 3000, clock=8.0)
    corrected = made.apply(estimate)
    assert corrected.stage == "csynth"
    assert corrected.resources.lut == pytest.approx(1500)
    assert corrected.resources.uram is None
    assert corrected.resources.bram18 == 0
    assert corrected.clock_estimate_ns == pytest.approx(9.0)
    assert "lut × 0.5 (0.4 … 0.625 on 2 designs), by post-route" in corrected.notes
    assert made.bands(estimate)["lut"] == pytest.approx((1200, 1875))


def test_one_design_gives_no_band() -> None:
    made = calibrate(PAIRS[:1])
    estimate = report("c", "csynth", 3000)
    assert made.factors["lut"].low is None
    assert made.bands(estimate) == {}
    assert "lut × 0.4 (one design: error unknown), by post-route" in made.apply(estimate).notes


def test_unknown_stays_unknown() -> None:
    corrected = calibrate(PAIRS).apply(report("c", "csynth", None, clock=None))
    assert corrected.resources.lut is None
    assert corrected.clock_estimate_ns is None


def test_a_saved_calibration_comes_back_equal(tmp_path: Path) -> None:
    made = calibrate(PAIRS)
    made.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == made


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"factors": {"lut": {"factor": 1}}}',
        json.dumps({"factors": 3}),
    ],
)
def test_a_damaged_file_is_one_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(PyadmmError, match=r"calibration file c\.json: cannot be used"):
        Calibration.load(path)


def test_senseless_factors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    calibrate(PAIRS).save(path)
    raw = json.loads(path.read_text())
    raw["factors"]["lut"]["factor"] = -1
    path.write_text(json.dumps(raw))
    with pytest.raises(PyadmmError, match="factor 'lut' must be"):
        Calibration.load(path)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((PAIRS[0][1], PAIRS[0][0]), "csynth is not later than post-route"),
        ((PAIRS[0][0], replace(PAIRS[0][1], part="xck26-sfvc784-2LV-c")), "different chips"),
        (
            (
                replace(PAIRS[0][0], plan_digest="1" * 64),
                replace(PAIRS[0][1], plan_digest="2" * 64),
            ),
            "different builds",
        ),
        ((PAIRS[0][0], replace(PAIRS[0][1], stage="cosim")), "stage cosim has no area"),
        (
            (replace(PAIRS[0][0], part=None), replace(PAIRS[0][1], part=None)),
            "do not name their part",
        ),
    ],
)
def test_pairs_that_do_not_match(
    pair: tuple[SynthesisReport, SynthesisReport], message: str
) -> None:
    with pytest.raises(PyadmmError, match=message):
        calibrate([pair])


def test_mixed_tools_and_foreign_reports_are_refused() -> None:
    other = (report("b", "csynth", 2000, tool="Vivado HLS"), routed("b", 1250))
    with pytest.raises(PyadmmError, match="all pairs must be of one tool, stage and chip"):
        calibrate([PAIRS[0], other])
    with pytest.raises(PyadmmError, match="at least one design"):
        calibrate([])
    with pytest.raises(PyadmmError, match="tool must be 'Vitis HLS', not 'Vivado HLS'"):
        calibrate(PAIRS).apply(other[0])


def test_the_best_basis_is_nearest_to_the_chip() -> None:
    csynth, yosys = report("a", "csynth", 900), report("a", "post-synthesis", 700, tool="yosys")
    cosim = report("a", "cosim", 1)
    hollow = report("a", "post-route", None)
    assert best_basis([csynth, cosim, yosys, hollow]) is yosys
    assert best_basis([PAIRS[0][1], yosys]) is PAIRS[0][1]
    with pytest.raises(PyadmmError, match="no report with LUTs"):
        best_basis([cosim, hollow])


@pytest.mark.parametrize(
    ("part", "device"),
    [
        ("xc7a200tfbg676-2", "7a200t"),
        ("xc7a200t-fbg676-2", "7a200t"),
        ("xcvu13p-fhga2104-2-e", "vu13p"),
        ("xcu200-fsgd2104-2-e", "u200"),
        ("xa7a12tcsg325-1q", "7a12t"),
        ("odd", "odd"),
        (None, None),
    ],
)
def test_device_names(part: str | None, device: str | None) -> None:
    assert device_name(part) == device
