"""The generated parts of the documentation, and the docstrings that its reference shows."""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import importlib.util
import inspect
import pydoc
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pyadmm.breakeven.store import shipped_records

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGES = (
    "host",
    *(f"pyadmm/{path.parent.name}" for path in sorted((ROOT / "pyadmm").glob("*/__init__.py"))),
)
LEAST_WORDS = 4
EXAMPLES = [
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for folder in ("host", "pyadmm")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if re.search(r"^ *>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
]


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
    one = dataclasses.replace(
        next(iter(shipped_records().values())),
        **{"layer": "net.fc", "weight_bits": 3, "activation_bits": 4, "storage": "resident"},
        family="sparse",
    )
    records = [
        dataclasses.replace(one, board="b", ratio=2.5),
        dataclasses.replace(one, board="a", ratio=None),
        dataclasses.replace(one, layer="net.conv", board="b", ratio=1.0, family="shared"),
    ]
    assert hooks.breakeven_records(records).splitlines()[2:] == [
        "| net.conv | 3 / 4 | on chip | shared | – | 1.00× |",
        "| net.fc | 3 / 4 | on chip | unstructured | none | 2.50× |",
    ]


def test_break_even_families_are_a_row_a_layer_and_board(hooks: ModuleType) -> None:
    dense = {"dense_groups": "3", "dense_rows": "2", "dense_lut": "1234", "board": "b"}
    speedups = {"speedup_50": "2.0", "speedup_70": "", "speedup_80": "5.0", "speedup_90": "10.0"}
    rows = [
        {**dense, **speedups, "layer": "n.a", "family": "shared", "ratio": "1.1"},
        {**dense, **speedups, "layer": "n.a", "family": "balanced", "ratio": ""},
        {**dense, **speedups, "layer": "n.b", "family": "sparse", "ratio": "2.5"},
        {**dense, **speedups, "layer": "n.c", "family": "shared", "dense_lut": ""},
    ]
    assert hooks.breakeven_families(rows).splitlines()[2:] == [
        "| b | n.a | 2 × 3, 1,234 | – | none | 1.10× | 2.00 / – / 5.00 / 10.00 |",
        "| b | n.b | 2 × 3, 1,234 | 2.50× | – | – | 2.00 / – / 5.00 / 10.00 |",
    ]


def test_a_role_becomes_the_last_part_of_its_name(hooks: ModuleType) -> None:
    html = "<p>:class:<code>~pyadmm.model.Requant</code> and :meth:<code>Images.of</code></p>"
    assert hooks.on_page_content(html) == "<p><code>Requant</code> and <code>Images.of</code></p>"


def test_every_mark_stands_in_a_page(hooks: ModuleType) -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md"))
    for mark, text in hooks.MARKS.items():
        assert mark in pages
        assert text().startswith(("```text", "| "))


def public_definitions(
    body: list[ast.stmt], prefix: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    """Every public function, class and method with its qualified name."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if any(ast.unparse(each).endswith(".setter") for each in node.decorator_list):
                continue  # the getter says what it is
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{prefix}{node.name}.")


def lacks_sentence(node: ast.FunctionDef | ast.ClassDef) -> bool:
    """Whether the first paragraph of the docstring is no sentence of a few words."""
    first = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
    return len(first.split()) < LEAST_WORDS or not first.endswith((".", ":"))


@pytest.mark.parametrize(
    ("docstring", "lacks"),
    [
        ("The kernel.", True),
        ("The kernel of every layer, by name", True),
        ("The kernel of every layer, by name.", False),
        ("Cycles per image:\n\n* by layer", True),
        ("Cycles of each image:\n\n* by layer", False),
    ],
)
def test_a_sentence_has_some_words_and_a_stop(docstring: str, lacks: bool) -> None:
    node = ast.parse(f"def f():\n    {docstring!r}").body[0]
    assert isinstance(node, ast.FunctionDef)
    assert lacks_sentence(node) == lacks


@pytest.mark.parametrize("package", PACKAGES)
def test_everything_public_has_a_docstring_that_says_something(package: str) -> None:
    lacking = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for name, node in public_definitions(ast.parse(path.read_text(encoding="utf-8")).body)
        if lacks_sentence(node)
    ]
    assert lacking == []


def in_the_reference() -> list[str]:
    pages = ("api.md", "settings.md")
    text = "".join((DOCS / "reference" / page).read_text(encoding="utf-8") for page in pages)
    return re.findall(r"^::: (\S+)", text, re.MULTILINE)


def parameters(thing: Any) -> list[str]:
    """Fields of a data class, arguments of a function; none of a plain class or a module."""
    if dataclasses.is_dataclass(thing):
        return [field.name for field in dataclasses.fields(thing) if field.name[0] != "_"]
    if inspect.isfunction(thing):
        return [name for name in inspect.signature(thing).parameters if name not in ("self", "cls")]
    return []


def with_methods(name: str) -> Iterator[tuple[str, Any]]:
    thing = pydoc.locate(name)
    assert thing is not None, name
    yield name, thing
    if inspect.isclass(thing):
        for key, value in vars(thing).items():
            if not key.startswith("_"):
                yield f"{name}.{key}", getattr(value, "__func__", value)


@pytest.mark.parametrize("name", in_the_reference())
def test_the_reference_describes_every_parameter(name: str) -> None:
    missing = [
        f"{full}: {parameter}"
        for full, thing in with_methods(name)
        for parameter in parameters(thing)
        if not re.search(rf"\b{parameter}\b", inspect.getdoc(thing) or "")
    ]
    assert missing == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_the_docstrings_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
