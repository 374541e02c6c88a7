"""Reports of the vendor's tools, once they lie in a build folder, replace modelled figures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.eda.chip_flow import ROUTED_REPORT
from pyadmm.eda.reports import ResourceUse, SynthesisReport
from pyadmm.flow.vendor_reports import calibration_lines, nearest_report, set_aside

RECORDED = Path(__file__).parents[1] / "vendor" / "reports" / "vitis_hls_2023.2_xck26_csynth.xml"


def test_without_vendor_tools_there_is_no_report(tmp_path: Path) -> None:
    assert nearest_report([tmp_path / "hls", tmp_path / "rtl"]) is None


def test_a_csynth_report_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "hls" / "reports"
    folder.mkdir(parents=True)
    shutil.copy(RECORDED, folder / "csynth.xml")
    report = nearest_report([tmp_path / "hls", tmp_path / "rtl"])
    assert report is not None
    assert report.stage == "csynth"
    assert report.resources.lut is not None


def test_a_routed_report_of_open_tools_is_nearer_to_the_chip(tmp_path: Path) -> None:
    folder = tmp_path / "hls" / "reports"
    folder.mkdir(parents=True)
    shutil.copy(RECORDED, folder / "csynth.xml")
    routed = SynthesisReport(
        "pyadmm_zynq7", "nextpnr-xilinx", "post-route", clock_estimate_ns=11.9,
        resources=ResourceUse(lut=4_341),
    )  # fmt: skip
    file = tmp_path / "rtl" / ROUTED_REPORT
    file.parent.mkdir(parents=True)
    file.write_text(routed.to_json())
    assert nearest_report([tmp_path / "hls", tmp_path / "rtl"]) == routed


def test_a_truncated_report_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "hls" / "reports"
    folder.mkdir(parents=True)
    (folder / "csynth.xml").write_bytes(RECORDED.read_bytes()[:300])
    with pytest.raises(PyadmmError, match="csynth.xml"):
        nearest_report([tmp_path / "hls"])


def test_reports_of_a_replaced_build_are_kept_but_not_used(tmp_path: Path) -> None:
    for _ in range(2):
        folder = tmp_path / "reports"
        folder.mkdir()
        shutil.copy(RECORDED, folder / "csynth.xml")
        set_aside(tmp_path, "0123456789abcdef")
    assert nearest_report([tmp_path]) is None
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["reports-before-01234567", "reports-before-01234567-2"]


def test_a_routed_report_calibrates_the_estimate() -> None:
    part = "xc7z020clg400-1"
    estimate = SynthesisReport(
        "pyadmm_top", "Vitis HLS", "csynth", part=part, resources=ResourceUse(lut=20_000)
    )
    routed = SynthesisReport(
        "pyadmm_top_0", "Vivado", "post-route", part=part, resources=ResourceUse(lut=10_000)
    )
    (line,) = calibration_lines([routed, estimate])
    assert "Vitis HLS (csynth) by Vivado (post-route): lut × 0.5 (one design" in line
    assert calibration_lines([estimate]) == []
