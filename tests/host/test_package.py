"""What runs on the board needs numpy only, pynq where it is there, and Python 3.8."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import vermin

from pyadmm.deploy.wheel import host_files

SOURCES = {name: text.decode() for name, text in host_files().items() if name.endswith(".py")}
OPTIONAL = {"PIL.Image", "cv2", "ipywidgets", "IPython.display"}
BOARD_PYTHON = (3, 8)
PYNQ_FILES = {"host/driver.py", "host/power.py", "host/pynq_board.py"}
NEWER_NAMES = {
    "removeprefix",
    "removesuffix",
    "bit_count",
    "pairwise",
    "is_relative_to",
    "readlink",
}
NEWER_ARGUMENTS = {"strict", "slots", "kw_only", "missing_ok"}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).split(".")[0]


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_imports_numpy_and_pynq_at_most(name: str) -> None:
    found = set(imports(ast.parse(SOURCES[name])))
    allowed = {"numpy", "pynq"} if name in PYNQ_FILES else {"numpy"}
    assert found - set(sys.stdlib_module_names) <= allowed


@pytest.mark.parametrize("name", SOURCES)
def test_a_file_is_in_the_boards_python(name: str) -> None:
    """Syntax, modules, functions and arguments; vermin knows since when each exists."""
    ast.parse(SOURCES[name], feature_version=BOARD_PYTHON)
    _, least = vermin.visit(SOURCES[name], vermin.Config()).minimum_versions()
    assert least <= BOARD_PYTHON


def test_newer_functions_would_be_seen() -> None:
    text = "from __future__ import annotations\nx: int | None\ny = 'ab'.removeprefix('a')"
    assert vermin.visit(text, vermin.Config()).minimum_versions()[1] == (3, 9)


def test_optional_packages_are_only_asked_for_by_name() -> None:
    """The drawing helpers load them when they are used, with a message where they are missing."""
    text = SOURCES["host/drawing.py"]
    assert all(f'_optional("{module}"' in text for module in OPTIONAL)


def test_the_package_is_beside_this_checkout() -> None:
    root = Path(__file__).parents[2] / "host"
    assert {name.removeprefix("host/") for name in SOURCES} == {
        path.relative_to(root).as_posix() for path in root.rglob("*.py")
    }
