"""Runs that take the layer-sequential array: asked for, or where no dataflow design fits the board."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from host.manifest import read_manifest
from pyadmm import container
from pyadmm.cli.main import main
from pyadmm.cli.run import COMMAND, configuration
from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import PyadmmError, ToolError
from pyadmm.deploy.simulated_board import LIMIT_S
from pyadmm.deploy.simulated_board.environment import host_python
from pyadmm.eda.reports import ResourceUse, SynthesisReport
from pyadmm.flow import array, sequential
from pyadmm.flow.config import FlowConfig, read_config
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.hardware.sequential.compiler import compile_model
from pyadmm.hardware.sequential.program import check_image
from pyadmm.model import CompressedModel, InputSpec
from pyadmm.model.types import QFormat
from pyadmm.report.record import load_record
from tests.flow.test_files_of_others import BRIEF, draw, save_onnx
from tests.hls.chains import Recipe, random_chain

ARRAY = "1x32"


def test_the_architecture_is_the_same_in_python_yaml_and_on_the_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("architecture: auto\narray: 2x32\n")
    assert read_config(path) == FlowConfig(architecture="auto", array="2x32")
    options = COMMAND.parser().parse_args(["--config", str(path), "--architecture", "sequential"])
    config = configuration(options)
    assert config == FlowConfig(architecture="sequential", array="2x32")
    assert config.array_size == (2, 32)
    assert FlowConfig().architecture == "dataflow"
    assert FlowConfig().array_size is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"architecture": "systolic"}, "architecture"),
        ({"array": "64"}, "groups x lanes, such as 4x64"),
        ({"array": "9x64"}, "groups must be 1 to 8"),
        ({"architecture": "sequential", "unrolled": True}, "unrolled belongs to the dataflow"),
        ({"architecture": "sequential", "balance": 0.0}, "balance belongs to the dataflow"),
        ({"architecture": "sequential", "break_even": True}, "break_even belongs"),
    ],
)
def test_what_no_array_can_do_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(PyadmmError, match=words):
        FlowConfig().override(values, "test")


def test_break_even_of_dataflow_engines_does_not_bind_the_array() -> None:
    assert FlowConfig().obeys_break_even
    assert FlowConfig(architecture="auto").obeys_break_even
    assert not FlowConfig(architecture="sequential").obeys_break_even


def test_the_number_of_simulated_starts() -> None:
    compiled = compile_model(network(), SequentialArray(1, 32), images=3)
    starts = sequential.simulated_starts
    assert starts(compiled, 1_000, 10) == 4
    assert starts(compiled, 1_000, 10_000) == 34  # no more than 100 images
    assert starts(compiled, sequential.MOST_CYCLES / 2, 100) == 2
    assert starts(compiled, 1e9, 100) == 1


def test_the_board_s_images_and_time_follow_the_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = compile_model(network(), SequentialArray(1, 32), images=3)
    run: Any = SimpleNamespace(sequential=compiled, memory_rate=8.0, test_images=range(10))
    assert sequential.board_run(run) == (12, LIMIT_S)
    monkeypatch.setattr(sequential, "cycles_per_image", lambda *_: 1e6)
    assert sequential.board_run(run) == (3, 2 * 2 * 3e6 / 2_000)


def network(stride: int | tuple[int, int] = 1) -> CompressedModel:
    """A padded network of int8 data; no dataflow kernel has a stride of its own for each axis."""
    spec = InputSpec((2, 6, 5), QFormat(8, True), signed=True)
    recipes = [
        Recipe(6, (3, 3), stride, padding=1, density=0.5, pool=(2, 2)),
        Recipe(4, density=0.5, weight_bits=2, output=None),
    ]
    return random_chain("m", spec, recipes, np.random.default_rng(3))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulators are built once for all tests here."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def here(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a compressed network, its data, and a board that is too small for any engine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYADMM_CACHE", str(cache))
    monkeypatch.delenv("PYADMM_DATA", raising=False)
    model = network()
    container.save(model, tmp_path / "m.admm")
    x = np.random.default_rng(0).integers(-128, 128, (7, *model.input.shape)).astype(np.int8)
    np.savez(tmp_path / "d.npz", x_test=x, y_test=model.run(x).argmax(1))
    container.save(network((2, 1)), tmp_path / "uneven.admm")
    facts = json.loads((asset_dir("boards") / "pynq-z2.json").read_text())
    facts |= {"name": "tiny", "resources": {**facts["resources"], "lut": 60, "bram18": 1}}
    (tmp_path / "tiny.json").write_text(json.dumps(facts))
    return tmp_path


OPTIONS = ["--data", "d.npz", "--out", "r", "--no-synthesis"]
SEQUENTIAL = ["--array", ARRAY, "--architecture", "sequential"]
AUTO = ["--array", ARRAY, "--architecture", "auto"]
LINE = ["run", "--model", "m.admm", *OPTIONS]
UNEVEN = ["run", "--model", "uneven.admm", *OPTIONS]


@pytest.mark.slow
def test_a_dry_run_says_which_architecture(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*more: str) -> str:
        assert main([*LINE, *more, "--dry-run"]) == 0
        return capsys.readouterr().out

    assert "architecture: dataflow\n" in said()
    assert "architecture: dataflow (auto, modelled)" in said(*AUTO)
    out = said(*SEQUENTIAL)
    assert "architecture: sequential\n" in out
    assert "compare    skipped: dense baselines of the layer-sequential array" in out
    assert main([*UNEVEN, *AUTO, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "architecture: sequential (auto): there will be no accelerator for pynq-z2" in out
    assert main([*LINE, *SEQUENTIAL, "--bitstream", "openxc7"]) == 2
    assert "the flow builds no bitstream of" in capsys.readouterr().err


def test_a_board_without_memory_ports_is_refused_before_training(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = json.loads((here / "tiny.json").read_text())
    del facts["memory"]
    (here / "tiny.json").write_text(json.dumps(facts))
    assert main([*LINE, "--board", "tiny.json", *SEQUENTIAL]) == 2
    assert "add the field memory to the board's file" in capsys.readouterr().err
    assert not (here / "r").exists()


@pytest.mark.parametrize("architecture", [SEQUENTIAL, AUTO])
def test_an_array_without_room_is_refused_before_training(
    here: Path, capsys: pytest.CaptureFixture[str], architecture: list[str]
) -> None:
    assert main([*LINE, "--board", "tiny.json", *architecture]) == 2
    said = capsys.readouterr().err
    assert "the sequential array of 1 x 32 does not fit tiny (modelled): lut: needs " in said
    assert not (here / "r" / "accelerator").exists()


def test_what_the_compiler_cannot_have_is_refused_before_training(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = network()
    layer = replace(model.layers[0], output=QFormat(10, False))
    container.save(replace(model, nodes=(layer, *model.nodes[1:])), here / "m.admm")
    assert main([*LINE, *SEQUENTIAL]) == 2
    said = capsys.readouterr().err
    assert (
        "there will be no program for the sequential array on pynq-z2: sequential: map layer0 has 10 bits"
        in said
    )
    assert "--architecture dataflow trains and compresses it all the same" in said
    assert not (here / "r" / "accelerator").exists()


@pytest.mark.slow
@pytest.mark.parametrize("lut", [9_000, 50_000])
def test_the_array_s_synthesis_is_reported_and_decides(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lut: int
) -> None:
    use = ResourceUse(lut, 8_000, 50, 60, 0)
    report = SynthesisReport(
        "seq_top", "yosys", "post-synthesis", "0.1", clock_estimate_ns=9.8, resources=use
    )
    monkeypatch.setattr(array, "synthesise_array", lambda *_: report)
    line = [option for option in LINE if option != "--no-synthesis"]
    assert main([*line, *SEQUENTIAL]) == (0 if lut < 40_000 else 2)
    said = capsys.readouterr()
    assert f"0.1: LUT {lut:,}" in said.out
    record = load_record(here / "r" / "record.json")
    found = {one.name: one.used for one in record.hardware.resources}
    assert found["LUT"] is not None
    assert (found["LUT"].value, found["LUT"].basis) == (lut, "post-synthesis")
    if lut > 40_000:
        assert "1 x 32 does not fit pynq-z2 after synthesis: lut: needs 50,000" in said.err


@pytest.mark.slow
def test_auto_takes_the_array_where_no_engines_fit(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [*UNEVEN, *AUTO]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "auto will take the layer-sequential array: there will be no accelerator" in out
    assert "no dataflow design fits: " in out
    assert "equals the integer model on 7 of 7 test images" in out
    assert "images/s at the target clock of 100 MHz" in out
    for reason in sequential.ABSENT.values():
        assert f"skipped: {reason}" in out
    folder = here / "r" / "accelerator" / "sequential"
    check_image((folder / "uneven.seq").read_bytes(), SequentialArray(1, 32))
    assert json.loads((folder / "uneven.json").read_text())["input"]["dtype"] == "int8"
    parameters = json.loads((folder / "parameters.json").read_text())["parameters"]
    assert parameters["GROUPS"] == 1
    manifest = read_manifest(here / "r" / "deploy" / "sequential-rtl" / "bundle")
    assert manifest.design.ident == parameters["IDENT"]
    assert len(manifest.models) == 1
    twin = read_manifest(here / "r" / "deploy" / "sequential-hls" / "bundle")
    ident = f"0x{twin.design.ident:08x}"
    assert ident in (folder / "hls" / "src" / "seq_build.hpp").read_text()
    assert (folder / "rtl" / "seq_top.sv").is_file()
    assert (folder / "hls" / "src" / "seq_top.cpp").is_file()
    record = load_record(here / "r" / "record.json")
    assert record.hardware.architecture == "sequential"
    assert record.hardware.cycles_per_image is not None
    assert record.hardware.cycles_per_image.basis == "cosim"
    assert [one.name for one in record.passes] == ["layer0", "pool0", "layer1"]
    cycles = [one.cycles.value for one in record.passes if one.cycles is not None]
    assert len(cycles) == 3
    assert sum(cycles) <= record.hardware.cycles_per_image.value * 1.02
    assert all(one.least.basis == "modelled" for one in record.passes)
    skipped = {check.name for check in record.checks if check.result == "skipped"}
    assert skipped == {"compare"}
    assert {one.used.basis for one in record.hardware.resources if one.used} == {"modelled"}
    passed = {check.name: check.images for check in record.checks if check.result == "pass"}
    assert (passed["csim"], passed["csim, exact widths"]) == (7, 7)
    assert (folder / "hls" / "build.tcl").is_file()
    assert "run 0 0 expect" in (folder / "hls" / "params.tcl").read_text()
    page = (here / "r" / "report.html").read_text()
    assert "Passes of the layer-sequential array" in page
    assert main(line) == 0
    assert "(stored)" in capsys.readouterr().out


@pytest.fixture(scope="module")
def board_python() -> str:
    """The Python with pynq, found before the tests have a cache folder of their own."""
    try:
        return str(host_python())
    except ToolError as error:
        pytest.skip(f"the simulated board needs a Python with pynq: {error}")


@pytest.mark.slow
def test_the_board_s_driver_ends_the_run(
    board_python: str,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PYADMM_HOST_PYTHON", board_python)
    facts = json.loads((asset_dir("boards") / "pynq-z2.json").read_text())
    (here / "mine.json").write_text(json.dumps({**facts, "name": "mine"}))
    line = [*UNEVEN, "--board", "mine.json", *SEQUENTIAL, "--simulate-board"]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "7 images through the board's driver equal the integer model" in out
    record = load_record(here / "r" / "record.json")
    for one in record.passes:
        assert one.driver is not None
        assert one.waiting is not None
        assert 0 <= one.waiting.value < one.driver.value
    assert "Waiting for memory" in (here / "r" / "report.html").read_text()


@pytest.mark.slow
def test_without_auto_the_run_ends_as_before_but_names_the_way_out(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(UNEVEN) == 2
    said = capsys.readouterr()
    assert "--architecture auto takes the layer-sequential array there" in said.out
    assert not (here / "r" / "accelerator").exists()


@pytest.mark.slow
def test_an_output_that_differs_ends_with_status_1(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(compiled: Any, images: np.ndarray, memory: Any) -> tuple[np.ndarray, list[Any]]:
        logits = compiled.model.run(images)
        logits[2, 1] += 1
        return logits, []

    monkeypatch.setattr(sequential, "simulate", wrong)
    assert main([*LINE, *SEQUENTIAL]) == 1
    assert "first at image 2" in capsys.readouterr().err


@pytest.mark.slow
def test_a_trained_network_gets_its_program(here: Path) -> None:
    save_onnx(here / "net.onnx")
    x, y = draw(120, 1)
    test, answers = draw(20, 2)
    np.savez(here / "own.npz", x_train=x, y_train=y, x_test=test, y_test=answers)
    config = {"architecture": "sequential", "array": ARRAY, "compress": BRIEF, "synthesis": False}
    (here / "c.yaml").write_text(yaml.safe_dump(config))
    line = ["run", "--config", "c.yaml", "--model", "net.onnx", "--data", "own.npz", "--out", "r"]
    assert main(line) == 0
    record = load_record(here / "r" / "record.json")
    passed = {check.name: check.images for check in record.checks if check.result == "pass"}
    assert passed["cosim"] == 20
    assert passed["cosim with stalls"]
    assert record.hardware.images_per_s
