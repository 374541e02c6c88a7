"""Board files: complete, validated, and refused with one clear error when they are not."""

import json
from pathlib import Path

import pytest

from pyadmm.cli.boards import main
from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import Board, board_names, load_board, read_board
from pyadmm.hardware.sequential.roofline import sustained_bytes_per_cycle

EXPECTED = {
    "kv260": (117_120, 234_240, 1_248, 288, 64),
    "pynq-z1": (53_200, 106_400, 220, 280, 0),
    "pynq-z2": (53_200, 106_400, 220, 280, 0),
    "ultra96-v2": (70_560, 141_120, 360, 432, 0),
    "zcu104": (230_400, 460_800, 1_728, 624, 96),
    "zybo-z7-10": (17_600, 35_200, 80, 120, 0),
    "zybo-z7-20": (53_200, 106_400, 220, 280, 0),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_board_loads_with_the_chip_s_resources(name: str) -> None:
    board = load_board(name)
    assert board.resources.values() == EXPECTED[name]
    assert board.clock_mhz == {"zynq7000": 100, "zynqmp": 200}[board.family]
    assert board.part.startswith("xc7z" if board.family == "zynq7000" else ("xck", "xczu"))


def test_every_board_file_is_expected() -> None:
    assert board_names() == sorted(EXPECTED)


def test_pynq_z2_part_and_clock() -> None:
    board = load_board("pynq-z2")
    assert board.part == "xc7z020clg400-1"
    assert board.clock_ns == 10.0


def test_numbers_stay_as_the_file_writes_them() -> None:
    """Digests of break-even records and the driver's manifest hold them."""
    board = load_board("pynq-z2")
    assert repr((board.clock_mhz, board.memory_bandwidth_mb_s)) == "(100, 2100)"
    assert repr(board.resources.values()) == "(53200, 106400, 220, 280, 0)"


def test_an_unknown_board_lists_the_known_ones() -> None:
    with pytest.raises(PyadmmError, match=r"'pynq-z9' is unknown.*pynq-z2"):
        load_board("pynq-z9")


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_memory_s_ports_have_figures_with_a_source(name: str) -> None:
    board = load_board(name)
    memory = board.memory
    assert memory is not None
    assert (memory.ports, memory.port_bits) == (4, {"zynq7000": 64, "zynqmp": 128}[board.family])
    assert 0.7 * board.memory_bandwidth_mb_s < memory.sustained_mb_s < board.memory_bandwidth_mb_s
    assert {"zynq7000": "UG585", "zynqmp": "FPT 2019"}[board.family] in memory.source


def own_board(folder: Path, memory: object) -> Board:
    facts = json.loads((asset_dir("boards") / "pynq-z2.json").read_text(encoding="utf-8"))
    facts |= {"name": "own", "memory": memory}
    if memory is None:
        del facts["memory"]
    path = folder / "own.json"
    path.write_text(json.dumps(facts), encoding="utf-8")
    return read_board(path)


MEMORY = {"ports": 2, "port_bits": 64, "sustained_mb_s": 500, "source": "measured"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ports": 0}, r"memory\.ports must be a whole number from 1"),
        ({"ports": True}, r"memory\.ports"),
        ({"port_bits": 48}, r"memory\.port_bits must be one of"),
        (
            {"sustained_mb_s": 2101},
            r"memory\.sustained_mb_s must be above 0, at most the peak of 2100",
        ),
        ({"sustained_mb_s": "fast"}, r"memory\.sustained_mb_s"),
        ({"source": ""}, r"memory\.source must be non-empty text"),
        ({"latency": 3}, "memory: unknown field 'latency'; known are: ports"),
    ],
)
def test_bad_facts_of_the_memory_are_named(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(PyadmmError, match=message):
        own_board(tmp_path, {**MEMORY, **change})


def test_the_array_s_memory_rate_is_the_board_s(tmp_path: Path) -> None:
    assert sustained_bytes_per_cycle(load_board("zybo-z7-20")) == 24  # three channels of 8 bytes
    assert sustained_bytes_per_cycle(own_board(tmp_path, MEMORY)) == 5
    narrow = {**MEMORY, "port_bits": 32, "sustained_mb_s": 2000}
    assert sustained_bytes_per_cycle(own_board(tmp_path, narrow)) == 12


def test_only_the_array_minds_a_board_without_the_facts(tmp_path: Path) -> None:
    board = own_board(tmp_path, None)
    assert board.memory is None
    with pytest.raises(PyadmmError, match=r"board own: .*add the field memory.*dataflow"):
        sustained_bytes_per_cycle(board)
    with pytest.raises(PyadmmError, match=r"takes 2 memory ports, but the board has 1"):
        sustained_bytes_per_cycle(own_board(tmp_path, {**MEMORY, "ports": 1}))


def test_the_command_shows_ports_and_sustained_rates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pynq-z2"]) == 0
    out = capsys.readouterr().out
    assert "4 x 64" in out
    assert "1,575" in out
    assert "pynq-z2, memory ports: Xilinx UG585" in out
    own_board(tmp_path, None)
    assert main([str(tmp_path / "own.json")]) == 0
    assert "memory ports:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("clock_mhz", -1, "clock_mhz must be a positive number"),
        ("clock_mhz", True, "clock_mhz must be a positive number"),
        ("routed_share", 0, "routed_share must be above 0 and at most 1"),
        ("routed_share", "half", "routed_share must be above 0 and at most 1"),
        ("family", "virtex", "family must be one of"),
        ("source", "", "source must be non-empty text"),
        ("resources", {"lut": 1}, r"resources: field ff must be present"),
        ("name", "other", "name must be 'pynq-z2'"),
        ("colour", "pink", "unknown field 'colour'; known are: name, part"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, field: str, value: object, message: str) -> None:
    facts = json.loads((asset_dir("boards") / "pynq-z2.json").read_text(encoding="utf-8"))
    facts[field] = value
    path = tmp_path / "pynq-z2.json"
    path.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(PyadmmError, match=message):
        read_board(path)


def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path) -> None:
    for text in ("", "[1]", "{"):
        path = tmp_path / "x.json"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(PyadmmError, match=r"board file x\.json"):
            read_board(path)
