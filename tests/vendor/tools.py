"""Stand-ins for the vendor tools on a PATH of their own, and the build folder they run in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pyadmm.codegen.vendor_params import (
    Flavour,
    Interface,
    VendorParams,
    vendor_files,
    vendor_params,
)
from pyadmm.hardware.boards import load_board

STANDINS = Path(__file__).parent / "standins"
TCLSH = shutil.which("tclsh")
needs_tclsh = pytest.mark.skipif(TCLSH is None, reason="tclsh is not installed: apt install tcl")


def install(folder: Path, names: tuple[str, ...], generation: str) -> dict[str, str]:
    """Put stand-ins called ``names`` into ``folder``; the environment in which they run."""
    shell = folder / "shell"
    shell.mkdir(parents=True)
    for name in names:
        shutil.copy(STANDINS / "tool.sh", folder / name)
        (shell / name).symlink_to(Path(str(TCLSH)).resolve())
    return {
        "PATH": f"{folder}:/usr/bin:/bin",
        "STANDIN_GENERATION": generation,
        "STANDIN_RECORDER": str(STANDINS / "recorder.tcl"),
        "STANDIN_RECORD": str(folder / "record.txt"),
    }


def use(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """Run in ``environment``; nothing of a real installation is seen."""
    for name in [name for name in os.environ if name.startswith(("PYADMM_", "STANDIN_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def parameters(
    board: str, flavour: Flavour = "hls", interface: Interface = "stream"
) -> VendorParams:
    """Parameters with names that a careless script would break on."""
    return vendor_params(
        load_board(board),
        project="lenet5",
        csim_arguments="load weights.bin [exit] $x",
        sources=("src/top.cpp", "src/we [ird] $name;.cpp"),
        testbenches=("tb/tb.cpp",),
        testbench_data=("tb/vec tors.dat",),
        include_dirs=("include",),
        rtl_sources=("rtl/pyadmm_top.v", "rtl/mac lane.sv"),
        flavour=flavour,
        interface=interface,
    )


def write_build(folder: Path, params: VendorParams) -> Path:
    """A build folder with empty sources."""
    paths = (*params.sources, *params.testbenches, *params.testbench_data, *params.rtl_sources)
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    for path in (*params.include_dirs, *params.rtl_include_dirs):
        (folder / path).mkdir()
    for name, text in vendor_files(params).items():
        (folder / name).write_text(text)
    return folder
