"""The vendor build of a generated accelerator: what codegen says, build.tcl finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pyadmm.codegen.hls import generate, vendor_context
from pyadmm.codegen.sequential import generate_sequential, sequential_context
from pyadmm.codegen.vendor_params import TOP, vendor_files, vendor_params
from pyadmm.eda.vendor.vitis import STAGES, run_hls
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.sequential.compiler import compile_model
from tests.sequential.conftest import SMALL
from tests.sequential.networks import images_of
from tests.sequential.test_rtl import small_model
from tests.unit.models import planned, random_lenet5
from tests.vendor.tools import install, needs_tclsh, use


@needs_tclsh
def test_build_tcl_finds_every_file_of_a_generated_lenet5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = load_board("pynq-z2")
    model = random_lenet5()
    plan = planned(model)
    params = vendor_params(board, **vendor_context(plan))
    assert params.top == TOP
    folder = tmp_path / "build"
    generate(model, plan).write(folder)
    for name, text in vendor_files(params).items():
        (folder / name).write_text(text)
    use(monkeypatch, install(tmp_path / "bin", ("vitis_hls",), "2022.2"))
    assert run_hls(folder, timeout_s=60).stages == STAGES
    record = (tmp_path / "bin" / "record.txt").read_text()
    assert "add_files @/src/top.cpp -cflags {-std=c++14 -I@/src -I@/include}" in record
    assert "add_files -tb @/data/weights.bin" in record
    assert "csim_design -clean -argv {load weights.bin infer images.bin" in record


@needs_tclsh
def test_build_tcl_finds_every_file_of_a_sequential_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = load_board("pynq-z2")
    compiled = compile_model(small_model(), SMALL, 2)
    images = images_of(np.random.default_rng(0), compiled.model, 2)
    params = vendor_params(board, **sequential_context(compiled, "small net"))
    folder = tmp_path / "build"
    generate_sequential(SMALL, compiled, images).write(folder)
    for name, text in vendor_files(params).items():
        (folder / name).write_text(text)
    use(monkeypatch, install(tmp_path / "bin", ("vitis_hls",), "2022.2"))
    assert run_hls(folder, timeout_s=60).stages == STAGES
    record = (tmp_path / "bin" / "record.txt").read_text()
    assert "set_top seq_top" in record
    assert "add_files @/src/seq_top.cpp -cflags {-std=c++14 -I@/src -I@/include}" in record
    assert "add_files -tb @/data/output.bin" in record
    assert "csim_design -clean -argv {put 0 program.bin put " in record
