"""The layer-sequential array as an RTL build: its sources and parameters, and what identifies them."""

from __future__ import annotations

import json
from pathlib import Path

from pyadmm.codegen.sequential import TOP
from pyadmm.core.assets import asset_dir
from pyadmm.hardware.plan import BuildPlan, files_digest
from pyadmm.hardware.sequential.array import SequentialArray

MASTERS = ("m_axi_map", "m_axi_stream")
"""The top's ports to memory, in the order of the processor's ports that they belong at."""
PARAMETERS_FILE = "parameters.json"


def rtl_sources() -> list[Path]:
    """SystemVerilog files of the layer-sequential top."""
    folder = asset_dir("hls") / "rtl"
    return [*sorted(folder.glob("seq_*.sv")), folder / "reset_sync.sv"]


def array_digest(array: SequentialArray) -> str:
    """SHA-256 of sources and parameters; the register ``ident`` holds its first 32 bits."""
    return files_digest({**_sources(), PARAMETERS_FILE: _json(array.parameters)})


def array_ident(array: SequentialArray) -> int:
    """What the register ``ident`` reads, the top's parameter ``IDENT``."""
    return int(array_digest(array)[:8], 16)


def generate_array(array: SequentialArray) -> BuildPlan:
    """The build of ``array``: ``rtl/*.sv`` and the parameters that the top must be given."""
    parameters = {**array.parameters, "IDENT": array_ident(array)}
    facts = _json({"top": TOP, "parameters": parameters})
    return BuildPlan({**_sources(), PARAMETERS_FILE: facts})


def _sources() -> dict[str, str]:
    return {f"rtl/{path.name}": path.read_text(encoding="utf-8") for path in rtl_sources()}


def _json(facts: object) -> str:
    return json.dumps(facts, indent=1) + "\n"
