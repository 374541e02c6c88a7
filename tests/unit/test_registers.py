"""One description of the registers: RTL, HLS template, manifest and host agree with it."""

from __future__ import annotations

import re

import pytest

from host.manifest import REGISTERS, SEQUENTIAL_REGISTERS
from pyadmm.codegen.registers import FILES, with_block
from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware import registers as dataflow
from pyadmm.hardware.sequential import registers as sequential

_PORTS = re.compile(r"mode=s_axilite port=(\w+) bundle=control offset=(0x\w+|\{\{.*?\}\})")


@pytest.mark.parametrize("name", FILES)
def test_the_rtl_has_the_addresses_of_the_description(name: str) -> None:
    text = (asset_dir("hls") / "rtl" / name).read_text(encoding="utf-8")
    assert with_block(text, FILES[name]) == text
    cases = set(re.findall(r"^ +([A-Z_]+): *(?:read_data_reg|$)", text, re.MULTILINE))
    assert cases == {register.name.upper() for register in FILES[name]}


def test_the_hls_tops_have_the_addresses_of_the_description() -> None:
    files = {
        "sequential": asset_dir("hls") / "sequential" / "seq_top.cpp",
        "dataflow": asset_dir("templates") / "top.cpp.j2",
    }
    ports = {key: dict(_PORTS.findall(path.read_text("utf-8"))) for key, path in files.items()}
    places = {name: int(offset, 16) for name, offset in ports["sequential"].items()}
    assert {"base", "status", "ident", "build", "cycles", "runs"} == set(places)
    assert places == {name: sequential.OFFSETS[name] for name in places}
    assert ports["dataflow"] == {
        name: f"{{{{ registers.{name} }}}}" for name in dataflow.OFFSETS if name != "ap_ctrl"
    }


@pytest.mark.parametrize("module", [dataflow, sequential])
def test_addresses_are_words_used_once_and_named_as_constants(module: object) -> None:
    registers = getattr(module, "SEQUENTIAL", dataflow.DATAFLOW)
    places = [register.offset for register in registers]
    assert len(set(places)) == len(places)
    assert all(place % 4 == 0 and place < 0x80 for place in places)
    named = {r.name.upper(): r.offset for r in registers}
    constants = {**vars(dataflow), **vars(module)}
    assert all(constants[name] == offset for name, offset in named.items())


def test_the_driver_wants_what_the_manifest_has() -> None:
    assert set(REGISTERS) == set(dataflow.OFFSETS)
    assert set(SEQUENTIAL_REGISTERS) == set(sequential.OFFSETS)


def test_a_source_without_the_block_is_refused() -> None:
    with pytest.raises(PyadmmError, match="a source lacks the lines"):
        with_block("module x; endmodule", dataflow.DATAFLOW)
