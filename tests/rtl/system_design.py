"""The small accelerator of the host's tests inside the system, and what stands for the chip's cells."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from pyadmm.codegen.rtl import generate_rtl
from pyadmm.hardware.plan import BuildPlan, InputStream
from tests.host.models import small_model, small_plan

_QUIET = "".join(
    f"/* verilator lint_off {rule} */\n" for rule in ("DECLFILENAME", "UNUSEDSIGNAL", "UNDRIVEN")
)
_BUFFER = "module BUFG (input I, output O);\n  assign O = I;\nendmodule\n"


def small_build(stream: InputStream | None = None) -> BuildPlan:
    """RTL of a convolution, a pool and a linear layer."""
    return generate_rtl(small_plan(small_model(1, "first"), stream=stream))


def empty_top(folder: Path, stream: InputStream | None = None) -> Path:
    """The accelerator's ports with nothing behind them: its own modules are linted elsewhere."""
    text = str(small_build(stream).files["rtl/pyadmm_top.v"])
    file = folder / "top.v"
    file.write_text(_QUIET + text[: text.index(");") + 2] + "\nendmodule\n")
    return file


def chip_cells(folder: Path) -> Path:
    """A file with the processor's cell and the clock buffer, as Yosys' library declares them."""
    spec = importlib.util.find_spec("pyosys")
    if spec is None or spec.origin is None:
        pytest.skip("the processor's cell comes from the package pyosys, which is not installed")
    library = Path(spec.origin).parent / "share" / "xilinx" / "cells_xtra.v"
    found = re.search(r"^module PS7\s*\(.*?^endmodule", library.read_text(), re.DOTALL | re.M)
    assert found is not None
    file = folder / "cells.v"
    file.write_text(_QUIET + found[0] + "\n" + _BUFFER)
    return file
