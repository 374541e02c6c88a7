"""Data classes go to plain data and back; what is wrong in foreign data is named."""

from __future__ import annotations

from typing import Any

import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.core.schema import from_json, from_plain, to_plain
from pyadmm.eda.reports import LoopReport, ResourceUse, SynthesisReport
from pyadmm.model.types import LayerSpec

REPORT = SynthesisReport(
    "top", "yosys", "post-synthesis", resources=ResourceUse(lut=3), loops=(LoopReport("a"),)
)


def test_data_classes_come_back() -> None:
    assert from_plain(SynthesisReport, to_plain(REPORT), "x") == REPORT
    spec = LayerSpec("c", "conv", (8, 4, 3, 3), (4, 8, 8), padding=(0, 1, 2, 3))
    assert from_plain(LayerSpec, to_plain(spec), "x") == spec


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"extra": 1}, "extra"),
        ({"design": None}, r"field design"),
        ({"stage": "baked"}, "stage must be one of|baked"),
        ({"resources": {"lut": "3"}}, r"field resources\.lut"),
        ({"resources": {"lut": True}}, r"field resources\.lut"),
        ({"loops": 3}, r"field loops"),
        ({"loops": [{}]}, r"field loops\[0\]\.name"),
    ],
)
def test_the_field_that_is_wrong_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(PyadmmError, match=rf"my file: .*({words})"):
        from_plain(SynthesisReport, {**to_plain(REPORT), **change}, "my file")


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000, '"text"'])
def test_foreign_text_is_refused(text: str) -> None:
    with pytest.raises(PyadmmError, match="my file: "):
        from_json(SynthesisReport, text, "my file")


def test_a_class_that_refuses_its_values_is_heard() -> None:
    raw = {**to_plain(LayerSpec("c", "conv", (8, 4, 3, 3), (4, 8, 8))), "groups": 3}
    with pytest.raises(PyadmmError, match="my file: layer c: 3 groups do not split"):
        from_plain(LayerSpec, raw, "my file")
