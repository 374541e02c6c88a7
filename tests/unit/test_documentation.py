"""The generated parts of the documentation, and what the pages promise."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_command_line_has_every_command(hooks: ModuleType) -> None:
    page = hooks.on_page_markdown((DOCS / "reference" / "cli.md").read_text(encoding="utf-8"))
    assert "<!--" not in page
    for name in hooks.COMMANDS:
        assert f"## pyadmm {name}\n" in page


def test_break_even_records_are_a_row_a_layer_and_a_column_a_board(hooks: ModuleType) -> None:
    record = {"layer": "net.fc", "weight_bits": 3, "activation_bits": 4, "storage": "resident"}
    lines = [
        json.dumps({"record": {**record, "board": "b", "ratio": 2.5}}),
        json.dumps({"record": {**record, "board": "a", "ratio": None}}),
        json.dumps({"record": {**record, "layer": "net.conv", "board": "b", "ratio": 1.0}}),
    ]
    assert hooks.breakeven_records(lines).splitlines()[2:] == [
        "| net.conv | 3 / 4 | resident | – | 1.00× |",
        "| net.fc | 3 / 4 | resident | none | 2.50× |",
    ]


def test_every_mark_stands_in_a_page(hooks: ModuleType) -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md"))
    for mark, text in hooks.MARKS.items():
        assert mark in pages
        assert text().startswith(("```text", "| "))
