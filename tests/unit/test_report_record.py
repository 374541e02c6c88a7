"""The run record: what is written comes back, and a bad record.json gives one clear error."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyadmm.core.errors import PyadmmError
from pyadmm.report import record as rec
from pyadmm.report.record import (
    Accuracy,
    Check,
    FileRecord,
    LayerRecord,
    Quantity,
    RunRecord,
    load_record,
    record_from_json,
    record_to_json,
)
from tests.unit.report_fixture import lenet_record


def test_a_saved_record_comes_back_equal(tmp_path: Path) -> None:
    record = lenet_record()
    (tmp_path / "record.json").write_text(record_to_json(record))
    assert load_record(tmp_path / "record.json") == record


def test_a_record_of_unknowns_comes_back_equal() -> None:
    assert record_from_json(record_to_json(RunRecord())) == RunRecord()


def test_a_record_of_0_1_0_has_an_old_name() -> None:
    record = lenet_record()
    old = record_to_json(record).replace('"active_weights"', '"living"')
    assert '"living"' in old
    assert record_from_json(old) == record


def test_sums_and_ratios_come_from_the_layers() -> None:
    record = lenet_record()
    assert record.weights == 430_500
    assert record.nnz == sum(layer.nnz or 0 for layer in record.layers)
    assert record.pruning_ratio == pytest.approx(430_500 / record.nnz)
    unknown = replace(record.layers[0], nnz=None)
    assert replace(record, layers=(unknown, *record.layers[1:])).pruning_ratio is None


def test_throughput_uses_the_lower_of_target_and_reached_clock() -> None:
    hardware = lenet_record().hardware
    cycles = hardware.cycles_per_image
    assert cycles is not None
    slow = replace(hardware, target_clock_mhz=100.0, clock_mhz=Quantity(50.0, "modelled"))
    assert slow.images_per_s == pytest.approx(50e6 / cycles.value)
    fast = replace(hardware, target_clock_mhz=100.0, clock_mhz=Quantity(200.0, "modelled"))
    assert fast.images_per_s == pytest.approx(100e6 / cycles.value)


def test_standard_error_at_the_issues_example() -> None:
    assert 100 * Accuracy(0.992, 10_000).standard_error == pytest.approx(0.0891, abs=1e-4)


def _with(path: str, value: object) -> str:
    """The JSON of the LeNet record with one field replaced."""
    tree = json.loads(record_to_json(lenet_record()))
    *parents, last = [int(p) if p.isdigit() else p for p in re.findall(r"\w+", path)]
    node = tree
    for key in parents:
        node = node[key]
    node[last] = value
    return json.dumps(tree)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("run.seed", "7"),
        ("run.seed", True),
        ("run.date", "yesterday"),
        ("run.machine", "x" * 5000),
        ("run.board", "pynq\x00z2"),
        ("run.board", "\ud800"),
        ("dataset.complete", 1),
        ("accuracies.integer_test.value", 99.1),
        ("accuracies.integer_test.images", 0),
        ("layers[1].weights", 25000.5),
        ("layers[1].weights", 0),
        ("layers[1].weights", 10**400),
        ("layers[1].break_even.basis", "guessed"),
        ("layers[2].scales[0]", -1.0),
        ("history[3].loss", "nan"),
        ("hardware.resources[0].limit", -1),
        ("checks[0].result", "passed"),
        ("file.bytes", None),
        ("format", 2),
        ("steps", {}),
        ("steps", None),
        ("layers[0]", []),
    ],
)
def test_a_bad_field_is_named(path: str, value: object) -> None:
    with pytest.raises(PyadmmError, match=rf"^record: field {re.escape(path)} must be "):
        record_from_json(_with(path, value))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("layers[1].nnz", 25_001, "field nnz of layer conv2 must be at most its 25000 weights"),
        ("file.bytes", 10, "field file.sections must not exceed the file's 10 bytes"),
        ("checks[3].reason", None, "field reason of check cosim must say why"),
        ("layers[1].surprise", 1, r"field layers\[1\].'surprise' must be absent"),
    ],
)
def test_a_broken_rule_between_fields_is_named(path: str, value: object, named: str) -> None:
    with pytest.raises(PyadmmError, match=named):
        record_from_json(_with(path, value))


def test_a_missing_field_is_named() -> None:
    tree = asdict(RunRecord(layers=(LayerRecord("a", "conv", 10),)))
    del tree["layers"][0]["kind"]
    with pytest.raises(PyadmmError, match=r"field layers\[0\].kind must be present"):
        record_from_json(json.dumps(tree, default=list))


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "[" * 200_000, '{"run": NaN}'])
def test_what_is_no_record_gives_one_error(text: str) -> None:
    with pytest.raises(PyadmmError):
        record_from_json(text)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_truncation_gives_one_error(data: st.DataObject) -> None:
    text = record_to_json(lenet_record()).rstrip()
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(PyadmmError):
        record_from_json(text[:cut])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*asdict(RunRecord()), "name"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(_JSON)
@settings(max_examples=200, deadline=None)
def test_foreign_json_is_a_record_or_one_error(tree: object) -> None:
    text = json.dumps(tree)
    try:
        record = record_from_json(text)
    except PyadmmError:
        return
    assert record_from_json(record_to_json(record)) == record


def test_a_field_that_json_cannot_hold_is_named_when_saving() -> None:
    layer = LayerRecord("a", "conv", 10, nnz=np.int64(3))  # type: ignore[arg-type]
    with pytest.raises(PyadmmError, match=r"field layers\[0\].nnz must be .* not int64"):
        record_to_json(RunRecord(layers=(layer,)))
    bad = RunRecord(accuracies=rec.Accuracies(integer_test=Accuracy(99.0, 10)))
    with pytest.raises(PyadmmError, match=r"accuracies.integer_test.value"):
        record_to_json(bad)


def test_missing_and_oversized_files_give_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PyadmmError, match=r"record.json: cannot be read"):
        load_record(tmp_path / "record.json")
    (tmp_path / "record.json").write_text(record_to_json(RunRecord()))
    monkeypatch.setattr(rec, "FILE_LIMIT", 10)
    with pytest.raises(PyadmmError, match="larger than 10 bytes"):
        load_record(tmp_path / "record.json")


def test_a_skipped_check_needs_its_reason() -> None:
    with pytest.raises(PyadmmError, match="check csynth must say why"):
        Check("csynth", "Vitis HLS", "skipped")


def test_sections_may_leave_bytes_unexplained_but_not_exceed() -> None:
    parts = (rec.BytePart("codes", 90),)
    assert FileRecord("a.admm", 100, 400, parts).ratio == 4
    with pytest.raises(PyadmmError, match=r"file.sections must not exceed"):
        FileRecord("a.admm", 80, 400, parts)
