"""Board files: complete, validated, and refused with one clear error when they are not."""

import json
from pathlib import Path

import pytest

from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import board_names, load_board, read_board

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


def test_an_unknown_board_lists_the_known_ones() -> None:
    with pytest.raises(PyadmmError, match=r"'pynq-z9' is unknown.*pynq-z2"):
        load_board("pynq-z9")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("clock_mhz", -1, "clock_mhz must be a positive number"),
        ("clock_mhz", True, "clock_mhz must be a positive number"),
        ("family", "virtex", "family must be one of"),
        ("source", "", "source must be non-empty text"),
        ("resources", {"lut": 1}, "resources must be an object"),
        ("name", "other", "name must be 'pynq-z2'"),
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
