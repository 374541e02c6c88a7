"""build.tcl under tclsh, with stand-ins for every vendor command; and the launchers around it.

No vendor tool runs here. The golden files hold the commands and arguments that build.tcl gives to
three generations of tools for two boards; PYADMM_UPDATE_GOLDEN=1 writes them anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from pyadmm.cli.vendor import main
from pyadmm.codegen.vendor_params import Flavour, VendorParams, render, tcl_word
from pyadmm.core.errors import PyadmmError, ToolError
from pyadmm.eda.vendor.vitis import STAGES, find_hls, run_hls
from pyadmm.eda.vendor.vivado import (
    build_bitstream,
    find_vivado,
    instance_report,
    read_implementation,
)
from tests.vendor.tools import TCLSH, install, needs_tclsh, parameters, use, write_build

GOLDEN = Path(__file__).parent / "golden"
REPORTS = Path(__file__).parent / "reports"
UPDATE = bool(os.environ.get("PYADMM_UPDATE_GOLDEN"))
GENERATIONS = {
    "2019.2": ("vivado_hls", "vivado"),
    "2022.2": ("vitis_hls", "vivado"),
    "2024.2": ("vitis-run", "vivado"),
}
ALL = ("vitis-run", "vitis_hls", "vivado_hls", "vivado")


def run_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generation: str, params: VendorParams
) -> tuple[Path, str]:
    """The build folder and the record of all stages."""
    tools = GENERATIONS[generation]
    environment = install(tmp_path / "bin", tools, generation)
    use(monkeypatch, environment)
    build = write_build(tmp_path / "build", params)
    if params.flavour == "hls":
        assert run_hls(build, timeout_s=60).stages == STAGES
    assert build_bitstream(build, timeout_s=60).stages == ("bitstream",)
    return build, Path(environment["STANDIN_RECORD"]).read_text(encoding="utf-8")


@needs_tclsh
@pytest.mark.parametrize("flavour", ["hls", "rtl"])
@pytest.mark.parametrize("board", ["pynq-z2", "kv260"])
@pytest.mark.parametrize("generation", GENERATIONS)
def test_commands_equal_the_golden_files(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    generation: str,
    board: str,
    flavour: Flavour,
) -> None:
    build, record = run_everything(tmp_path, monkeypatch, generation, parameters(board, flavour))
    require_golden(record, f"{generation}_{board}_{flavour}.txt")
    assert (build / "lenet5.bit").is_file()
    assert (build / "lenet5.hwh").is_file()
    assert (build / "reports" / "post_route_timing.rpt").is_file()


def require_golden(record: str, name: str) -> None:
    golden = GOLDEN / name
    if UPDATE:
        golden.write_text(record, encoding="utf-8")
    assert record == golden.read_text(encoding="utf-8")


@needs_tclsh
@pytest.mark.parametrize("board", ["pynq-z2", "kv260"])
def test_a_kernel_with_memory_masters_gets_two_ports_and_no_dma(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: str
) -> None:
    params = parameters(board, interface="memory")
    _, record = run_everything(tmp_path, monkeypatch, "2024.2", params)
    require_golden(record, f"2024.2_{board}_memory.txt")
    second = {"pynq-z2": "S_AXI_HP2", "kv260": "S_AXI_HP1_FPD"}[board]
    assert f"connect_bd_intf_net memory_1/M00_AXI {params_processor(board)}/{second}" in record
    assert "axi_dma" not in record


def params_processor(board: str) -> str:
    """Cell of the board's processor in the block design."""
    return {"pynq-z2": "processing_system7_0", "kv260": "zynq_ultra_ps_e_0"}[board]


@needs_tclsh
def test_each_generation_has_its_own_launcher_and_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    for generation, (launcher, _) in GENERATIONS.items():
        folder = tmp_path / generation
        folder.mkdir()
        _, record = run_everything(folder, monkeypatch, generation, parameters("pynq-z2"))
        hls = find_hls()
        assert hls is not None
        assert (hls.name, hls.version) == (launcher, generation)
        seen[generation] = record
    assert "open_solution -reset solution1" in seen["2019.2"]
    assert "open_solution -reset -flow_target vivado solution1" in seen["2022.2"]
    assert "wait_on_run impl_1" in seen["2019.2"]
    assert "wait_on_runs impl_1" in seen["2024.2"]


@needs_tclsh
def test_scripts_tell_vivado_hls_by_its_own_name_without_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = install(tmp_path / "bin", ("vivado_hls",), "2020.1")
    use(monkeypatch, {**environment, "PYADMM_STAGES": "csim"})
    build = write_build(tmp_path / "build", parameters("pynq-z2"))
    subprocess.run(["vivado_hls", "-f", "build.tcl"], cwd=build, check=True, timeout=60)
    record = Path(environment["STANDIN_RECORD"]).read_text()
    assert "open_solution -reset solution1" in record
    assert record.splitlines()[-1].startswith("csim_design -clean -argv ")


@needs_tclsh
def test_hostile_names_reach_the_tools_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, record = run_everything(tmp_path, monkeypatch, "2024.2", parameters("pynq-z2"))
    # As a list of one file: add_files takes lists, so a blank must not make two of one.
    assert r"add_files {{@/src/we [ird] $name;.cpp}} -cflags {-std=c++14 -I@/include}" in record
    assert "add_files -tb {{@/tb/vec tors.dat}}" in record


@needs_tclsh
def test_a_later_stage_keeps_the_synthesis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, _ = run_everything(tmp_path, monkeypatch, "2024.2", parameters("pynq-z2"))
    record = tmp_path / "bin" / "record.txt"
    record.unlink()
    run_hls(build, ["export_ip"], timeout_s=60)
    lines = record.read_text().splitlines()
    assert lines[:2] == ["open_project hls", "open_solution solution1"]
    assert lines[2].startswith("export_design ")


@needs_tclsh
def test_probing_prefers_vitis_run_but_not_one_without_tcl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, install(tmp_path / "new", ALL, "2024.1"))
    found = find_hls()
    assert found is not None
    assert found.name == "vitis-run"
    use(monkeypatch, install(tmp_path / "old", ALL, "2023.1"))
    found = find_hls()
    assert found is not None
    assert (found.name, found.version) == ("vitis_hls", "2023.1")
    vivado = find_vivado()
    assert vivado is not None
    assert vivado.version == "2023.1"


def test_no_tool_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"PATH": str(tmp_path)})
    assert find_hls() is None
    assert find_vivado() is None
    with pytest.raises(ToolError, match=r"none of vitis-run, vitis_hls and vivado_hls is on"):
        run_hls(tmp_path)
    with pytest.raises(ToolError, match="vivado is not on the PATH"):
        build_bitstream(tmp_path)


FAULTS = [
    ("crash", "csynth", r"failed with status 139"),
    ("quiet", "csynth", r"status 0 but printed errors(.|\n)*error: ERROR: \[HLS 214-124\]"),
    ("licence", "csynth", r"cause: licence missing or wrong: set XILINXD_LICENSE_FILE"),
    ("mismatch", "cosim", r"cause: the RTL differs from the C\+\+"),
    ("y2k22", "export_ip", r"cause: date overflow of HLS(.|\n)*patch y2k22"),
]


@needs_tclsh
@pytest.mark.parametrize(("fault", "stage", "message"), FAULTS)
def test_a_failing_tool_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, stage: str, message: str
) -> None:
    environment = install(tmp_path / "bin", ("vitis_hls",), "2021.2")
    use(monkeypatch, {**environment, "STANDIN_FAULT": fault})
    build = write_build(tmp_path / "build", parameters("pynq-z2"))
    with pytest.raises(ToolError, match=message) as caught:
        run_hls(build, timeout_s=60)
    assert f"PYADMM: stage {stage} begins" in str(caught.value)
    assert "its last lines:" in str(caught.value)


@needs_tclsh
def test_a_hanging_tool_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = install(tmp_path / "bin", ("vitis_hls",), "2022.2")
    use(monkeypatch, {**environment, "STANDIN_FAULT": "hang"})
    build = write_build(tmp_path / "build", parameters("pynq-z2"))
    begin = time.monotonic()
    with pytest.raises(ToolError, match=r"took longer than 2 s(.|\n)*HLS 200-10"):
        run_hls(build, ["csynth"], timeout_s=2)
    assert time.monotonic() - begin < 20


@needs_tclsh
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("run", r"run synth_1 ended at 40%, place_design ERROR"),
        ("slack", r"timing is not met: worst set-up slack -0.25 ns at a period of 10.0 ns"),
    ],
)
def test_a_failed_run_leaves_no_bitstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, message: str
) -> None:
    environment = install(tmp_path / "bin", ("vivado",), "2023.2")
    use(monkeypatch, {**environment, "STANDIN_FAULT": fault})
    build = write_build(tmp_path / "build", parameters("pynq-z2", "rtl"))
    (build / "lenet5.bit").write_text("of an earlier build")
    with pytest.raises(ToolError, match=message):
        build_bitstream(build, timeout_s=60)
    assert not (build / "lenet5.bit").exists()


@needs_tclsh
def test_missing_inputs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, install(tmp_path / "bin", ("vitis_hls", "vivado"), "2022.2"))
    build = write_build(tmp_path / "build", parameters("pynq-z2"))
    with pytest.raises(ToolError, match="run the HLS stages csynth and export_ip first"):
        build_bitstream(build, timeout_s=60)
    (build / "tb" / "tb.cpp").unlink()
    with pytest.raises(ToolError, match=r"testbenches: .*tb\.cpp does not exist"):
        run_hls(build, timeout_s=60)
    with pytest.raises(PyadmmError, match="stages must be some of csim"):
        run_hls(build, ["bitstream"])


@needs_tclsh
def test_build_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, install(tmp_path / "bin", ("vitis_hls", "vivado"), "2022.2"))
    build = write_build(tmp_path / "build", parameters("kv260"))
    assert main(["build", str(build)]) == 0
    assert "done: csim, csynth, cosim, export_ip" in capsys.readouterr().out
    use(monkeypatch, {"PATH": str(tmp_path)})
    assert main(["build", str(build), "--stages", "csynth"]) == 2
    assert "error: vitis: none of" in capsys.readouterr().err


HOSTILE = ["a b", "$x", "[exit 3]", 'qu"ote', "{", "}", "back\\slash", ";#", "ümlaut", "%s", "~"]


@needs_tclsh
@pytest.mark.parametrize("text", HOSTILE)
def test_tcl_words_are_what_they_were(text: str) -> None:
    script = f"fconfigure stdout -encoding utf-8\nputs -nonewline {tcl_word(text)}\n"
    result = subprocess.run(
        [str(TCLSH)], input=script, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert result.stdout == text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("project", "../x"),
        ("project", "a b"),
        ("top", "1top"),
        ("part", "xc7z020; exit"),
        ("family", "versal"),
        ("clock_ns", 0.0),
        ("clock_ns", float("nan")),
        ("sources", ()),
        ("sources", ("/etc/passwd",)),
        ("sources", ("a/../../b",)),
        ("cflags", "-O2\nsyn.top=evil"),
        ("include_dirs", ("a\\b",)),
        ("dma_length_bits", 27),
        ("stream_bits", 33),
        ("in_stream_bits", 128),
        ("jobs", 0),
    ],
)
def test_bad_parameters_are_refused(field: str, value: object) -> None:
    good = parameters("pynq-z2")
    with pytest.raises(PyadmmError, match=rf"vendor build .*: {field} must be "):
        VendorParams(**{**vars(good), field: value})


def test_the_rtl_flavour_needs_a_verilog_top() -> None:
    good = parameters("pynq-z2", "rtl")
    with pytest.raises(PyadmmError, match=r"rtl_sources must be files with pyadmm_top\.v"):
        VendorParams(**{**vars(good), "rtl_sources": ("rtl/pyadmm_top.sv",)})


def test_hls_config_for_the_component_flow() -> None:
    text = render(parameters("kv260"))["hls_config.cfg"]
    general, _, hls = text.partition("[hls]")
    assert "part=xck26-sfvc784-2LV-c" in general
    assert "clock=5.0ns" in hls
    assert "syn.file=src/we [ird] $name;.cpp" in hls
    assert "tb.file=tb/vec tors.dat" in hls
    assert hls.count("-std=c++14 -Iinclude") == 2


def test_an_rtl_build_without_cpp_has_no_hls_config() -> None:
    params = parameters("pynq-z2", "rtl")
    assert set(render(VendorParams(**{**vars(params), "sources": ()}))) == {"params.tcl"}


def test_reports_of_a_build_and_of_its_accelerator(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    names = {
        "utilization": "vivado_2022.2_xck26_utilization_synth.rpt",
        "utilization_hierarchical": "vivado_2023.2_xcvu13p_utilization_routed.rpt",
        "timing": "vivado_2021.2_timing_violated.rpt",
        "power": "vivado_2020.2_power_routed.rpt",
    }
    for name, source in names.items():
        shutil.copy(REPORTS / source, folder / f"post_route_{name}.rpt")
    report = read_implementation(tmp_path)
    assert (report.resources.lut, report.clock_estimate_ns, report.power_w) == (5365, 4.789, 1.742)
    part = instance_report(report, "engine")
    assert (part.resources.lut, part.resources.bram18, part.power_w) == (40000, 17, None)
    assert part.clock_estimate_ns == 4.789
    with pytest.raises(ToolError, match="instance motor must be there once, not 0 times"):
        instance_report(report, "motor")
    (folder / "post_route_timing.rpt").unlink()
    with pytest.raises(PyadmmError, match="post_route_timing.rpt: field file: cannot be read"):
        read_implementation(tmp_path)
    shutil.copy(folder / "post_route_power.rpt", folder / "post_route_timing.rpt")
    with pytest.raises(ToolError, match="is a PowerReport, not a TimingReport"):
        read_implementation(tmp_path)
