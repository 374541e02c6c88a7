"""Every module is lint-clean alone, and bad parameters stop elaboration."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import ToolError
from pyadmm.eda.verilator import lint, verilate

RTL = asset_dir("hls") / "rtl"
MODULES = sorted(path.stem for path in RTL.glob("*.sv"))


@pytest.mark.parametrize("module", MODULES)
def test_module_is_lint_clean(module: str, simulators: Path) -> None:
    lint(sorted(RTL.glob("*.sv")), module, simulators / f"lint_{module}.log")


def test_the_dense_stage_is_lint_clean(simulators: Path) -> None:
    arguments = ["--lint-only", "-Wall", "-GSPARSE=0", "-GDSP_GROUPS=1", "--top-module", "stage"]
    verilate([*arguments, *sorted(RTL.glob("*.sv"))], simulators / "lint_dense.log")


@pytest.mark.parametrize(
    ("module", "parameters"),
    [
        ("pool_stage", "AVERAGE=0 LANES=4"),
        ("add_stage", "ULTRA=1"),
        ("stage", "SPARSE=0 BALANCED=1 WINDOW=3 ACC_MUX=1 DSP_GROUPS=1"),
        ("stage", "SPARSE=0 BALANCED=1 WINDOW=5"),
        ("seq_top", "GROUPS=8"),
        ("seq_top", "GROUPS=1"),
        ("seq_top", "GROUPS=3 LANES=32"),
        ("seq_top", "GROUPS=1 LANES=32 DRAIN=4"),
        ("seq_top", "DRAIN=8"),
        ("seq_top", "GROUPS=2 LANES=32 LINES=256 ENTRY_WORDS=64 MASKS=256 LISTS=512 TILES=16"),
    ],
)
def test_variants_are_lint_clean(module: str, parameters: str, simulators: Path) -> None:
    given = [f"-G{parameter}" for parameter in parameters.split()]
    arguments = ["--lint-only", "-Wall", *given, "--top-module", module]
    verilate([*arguments, *sorted(RTL.glob("*.sv"))], simulators / "lint_variant.log")


def test_the_folded_stage_is_lint_clean(simulators: Path) -> None:
    """But for a register of window_fetch that any frame of one bank leaves unused."""
    sizes = "IN_HEIGHT IN_WIDTH KERNEL_H KERNEL_W OUT_HEIGHT OUT_WIDTH TILE_ROWS POOL_KERNEL"
    ones = [f"-G{name}=1" for name in [*sizes.split(), "POOL_STRIDE", "BALANCED"]]
    folded = ["-GSPARSE=0", "-GWINDOW=3", "-GFOLD=3", "-GIN_CHANNELS=50", *ones]
    arguments = ["--lint-only", "-Wall", "-Wno-UNUSEDSIGNAL", *folded, "--top-module", "stage"]
    verilate([*arguments, *sorted(RTL.glob("*.sv"))], simulators / "lint_folded.log")


@pytest.mark.parametrize(
    ("module", "parameter", "message"),
    [
        ("stage", "OUT_WIDTH=7", "OUT_HEIGHT or OUT_WIDTH"),
        ("stage", "GROUPS=9", "GROUPS must be at most OUT_CHANNELS"),
        ("stage", "DSP_GROUPS=5", "DSP_GROUPS must be 0 to GROUPS"),
        ("sparse_engine", "INDEX_BITS=0", "INDEX_BITS = 0 needs IN_CHANNELS = 1"),
        ("dense_engine", "WEIGHT_CAPACITY=3", "WEIGHT_CAPACITY is too small"),
        ("balanced_engine", "WINDOW=6", "WINDOW must be at most KERNEL_W"),
        ("balanced_engine", "STRIDE=2", "1 where STRIDE is above 1"),
        ("balanced_engine", "INDEX_BITS=0", "INDEX_BITS = 0 needs IN_CHANNELS = 1"),
        ("stage", "BALANCED=1", "SPARSE and BALANCED exclude each other"),
        ("stage", "WALKERS=2", "WALKERS must divide GROUPS, and be 1 where BALANCED is 0"),
        ("tile_fifo", "DEPTH=3", "power of two"),
        ("max_pool", "KERNEL=9", "KERNEL must be at most HEIGHT"),
        ("requantize", "SHIFT_MIN=0", "1 <= SHIFT_MIN"),
        ("ram_sdp", "DEPTH=17", "DEPTH must be 1 to"),
        ("input_unpack", "X_BITS=10", "X_BITS must be at most 9"),
        ("frame_ring", "FRAMES=1", "FRAMES must be at least 2"),
        ("pool_stage", "LANES=3", "LANES must divide OUT_WIDTH"),
        ("pool_stage", "KERNEL=8", "KERNEL must be at most HEIGHT"),
    ],
)
def test_bad_parameters_are_errors(
    module: str, parameter: str, message: str, simulators: Path
) -> None:
    arguments = ["--lint-only", f"-G{parameter}", "--top-module", module]
    with pytest.raises(ToolError, match=message):
        verilate([*arguments, *sorted(RTL.glob("*.sv"))], simulators / "bad.log")
