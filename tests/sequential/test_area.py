"""How large an array is, and which one a board gets."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import sequential_area
from pyadmm.core.errors import CheckError, PyadmmError
from pyadmm.eda.reports import ModuleReport, ResourceUse, SynthesisReport
from pyadmm.eda.sequential_synthesis import require_fit
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.sequential.area import largest_array, modelled_area, require_room
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.model.types import Resources

Z2 = load_board("pynq-z2")


def synthesised() -> dict[tuple[int, int], Resources]:
    """The sums of ``sequential_area.csv``."""
    with sequential_area.RESULTS.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["module"] == "sum"]
    rows = [row for row in rows if int(row["drain"]) == SequentialArray.drain]
    names = ("lut", "ff", "dsp", "bram18")
    return {
        (int(row["groups"]), int(row["lanes"])): Resources(**{n: int(row[n]) for n in names})
        for row in rows
        if row["part"] == Z2.part
    }


def test_the_model_goes_through_the_arrays_that_it_was_made_from() -> None:
    known = synthesised()
    for size in sequential_area.ARRAYS:
        assert modelled_area(*size).values() == pytest.approx(known[size].values())


def test_other_synthesised_arrays_are_within_a_tenth_of_the_model() -> None:
    for size, found in synthesised().items():
        modelled = modelled_area(*size)
        assert found.lut == pytest.approx(modelled.lut, rel=0.1), size
        assert found.ff == pytest.approx(modelled.ff, rel=0.1), size
        assert found.dsp == pytest.approx(modelled.dsp, abs=1), size
        assert found.bram18 == pytest.approx(modelled.bram18, abs=3), size


def test_more_groups_and_lanes_take_more() -> None:
    for lanes in (32, 64):
        luts = [modelled_area(groups, lanes).lut for groups in range(1, 9)]
        assert luts == sorted(luts)
    assert modelled_area(4, 64).dsp > modelled_area(4, 32).dsp
    with pytest.raises(PyadmmError, match="lanes must be one of"):
        modelled_area(4, 48)


def test_boards_get_the_largest_array_that_fits() -> None:
    lanes = {}
    for name in ("pynq-z2", "zybo-z7-20", "zcu104", "kv260", "ultra96-v2"):
        board = load_board(name)
        found = largest_array(board)
        lanes[name] = found.groups * found.lanes
        require_room(found.groups, found.lanes, board)
    assert lanes["pynq-z2"] == lanes["zybo-z7-20"] == 256
    assert lanes["zcu104"] > lanes["pynq-z2"]


def test_a_chip_without_room_for_the_smallest_array_says_what_is_short() -> None:
    small = replace(Z2, name="small", resources=replace(Z2.resources, lut=9_000, bram18=30))
    with pytest.raises(
        PyadmmError, match=r"1 x 32 does not fit small .*lut: needs .*bram18: .*smallest"
    ):
        largest_array(small)


def test_an_array_that_is_too_large_is_refused_with_the_figures() -> None:
    with pytest.raises(PyadmmError, match=r"8 x 64 does not fit pynq-z2 \(modelled\): lut: needs"):
        require_room(8, 64, Z2)
    use = ResourceUse(lut=1, ff=1, dsp=221, bram18=1, uram=0)
    report = SynthesisReport("seq_top", "yosys", "post-synthesis", resources=use)
    with pytest.raises(CheckError, match=r"dsp: needs 221, limit 176 \(80% of the chip\)"):
        require_fit(report, SequentialArray(), Z2)
    require_fit(replace(report, resources=ResourceUse(1, 1, 1, 1, 0)), SequentialArray(), Z2)


def test_rows_of_equal_modules_are_one_and_old_rows_stay(tmp_path: Path) -> None:
    part = ModuleReport("g0", ResourceUse(1, 2, 3, 4, 0), clock_estimate_ns=7.0, kind="seq_group")
    report = SynthesisReport(
        "seq_top",
        "yosys",
        "post-synthesis",
        part="p",
        resources=ResourceUse(2, 4, 6, 8, 0),
        clock_estimate_ns=8.0,
        modules=(part, replace(part, name="g1", clock_estimate_ns=8.0)),
    )
    array = SequentialArray(groups=2, lanes=32)
    rows = sequential_area.module_rows(array, report)
    assert [row["module"] for row in rows] == ["seq_group", "sum"]
    assert (rows[0]["instances"], rows[0]["lut"], rows[0]["clock_ns"]) == (2, 2, "8.00")
    path = tmp_path / "area.csv"
    path.write_text(sequential_area.merged(rows, path))
    whole = [sequential_area.whole_row(array, report)]
    path.write_text(sequential_area.merged(whole, path))
    path.write_text(sequential_area.merged(rows, path))
    lines = path.read_text().splitlines()
    assert len(lines) == 4
    assert sum("whole" in line for line in lines) == 1
