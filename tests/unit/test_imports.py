"""Imports run one way. The test reads the source, so it cannot pass by being skipped."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FLOORS = [
    ["pyadmm", "errors", "files", "assets", "seeds"],
    ["capture", "devices", "distributed", "images", "scale_search", "settings", "tools.process"],
    ["native"],
    ["augment"],
    ["teacher"],
    [
        "spec",
        "synthesis",
        "project",
        "training",
        "entropy",
        "rates",
        "timing",
    ],
    ["boards", "model", "admm", "datasets", "zoo", "reports", "report", "calibration"],
    ["outline"],
    ["quantize", "schedule", "sparse_code", "reorder", "fold", "rowstage", "vendor", "tools.batch"],
    ["plan", "container", "network", "tools.vivado", "tools.yosys"],
    [
        "wheel",
        "layout",
        "compact",
        "accelerator_file",
        "trace",
        "convert",
        "tools.vitis",
        "phases",
        "activations",
    ],
    ["cost", "export", "unroll", "slopes", "polish"],
    ["unrollgen", "exchange", "trim", "curvature"],
    ["rounding"],
    ["compression", "planner", "codegen", "breakeven"],
    ["rtlgen", "search", "hardware_aware", "tools.gxx"],
    ["deploy", "netsynth", "tools.verilator"],
    ["simboard", "cosim", "onchip", "record"],
    ["comparison", "breakeven_cosim", "hardware_effect"],
    ["flow"],
]
"""Rooms from the ground up: a room imports only itself and rooms of lower floors."""

TORCH_ROOMS = {
    *("project", "admm", "training", "quantize", "schedule", "network", "trace", "convert"),
    *(
        "activations",
        "augment",
        "capture",
        "compression",
        "curvature",
        "devices",
        "distributed",
        "exchange",
        "hardware_aware",
        "hardware_effect",
        "images",
        "native",
        "onchip",
        "phases",
        "polish",
        "rounding",
        "seeds",
        "slopes",
        "teacher",
        "trim",
        "zoo",
        "record",
        "flow",
    ),
}
PARTS = {
    "tools._yosys_child": "tools.yosys",
    "tools.vitis_selftest": "tools.vitis",
    "tools.selftest_design": "tools.vitis",
    "tools": "pyadmm",
}
"""Files that belong to another's room."""

FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
SOURCES = sorted((ROOT / "pyadmm").rglob("*.py"))


def room_of(module: str) -> str:
    """The room of a dotted module name under ``pyadmm``."""
    parts = module.split(".")[1:]
    name = ".".join(parts[:2]) if parts[:1] == ["tools"] else (parts or ["pyadmm"])[0]
    return PARTS.get(name, name)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part not in ("__init__", "__main__"))


def imports(path: Path) -> Iterator[str]:
    """Every module that ``path`` imports by its full name, anywhere in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                inside = (ROOT / whole.replace(".", "/")).with_suffix(".py").is_file()
                package = (ROOT / whole.replace(".", "/")).is_dir()
                yield whole if inside or package else str(node.module)


def test_every_file_has_a_room() -> None:
    rooms = {room_of(module_of(path)) for path in SOURCES}
    assert rooms - set(FLOOR) == set(), "put new rooms on a floor, and in docs/architecture.md"
    assert set(FLOOR) - rooms == set(), "these rooms are gone"


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_go_down(path: Path) -> None:
    room = room_of(module_of(path))
    for module in imports(path):
        if module.split(".")[0] == "pyadmm" and room_of(module) != room:
            other = room_of(module)
            assert FLOOR[other] < FLOOR[room], f"{room} must not import {other}"


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_are_absolute(path: Path) -> None:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    assert not [node.lineno for node in nodes if isinstance(node, ast.ImportFrom) and node.level]


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_torch_stays_in_its_rooms(path: Path) -> None:
    roots = {module.split(".")[0] for module in imports(path)}
    assert "torch" not in roots or room_of(module_of(path)) in TORCH_ROOMS


def test_the_specs_stand_alone() -> None:
    for name in ("spec", "model"):
        roots = set(imports(ROOT / "pyadmm" / f"{name}.py"))
        ours = {module for module in roots if module.startswith("pyadmm.")}
        assert ours <= {"pyadmm.errors", "pyadmm.spec"}
        assert not any(module.startswith("torch") for module in roots)


@pytest.mark.parametrize("path", sorted((ROOT / "host").rglob("*.py")), ids=lambda p: p.stem)
def test_the_board_needs_nothing_of_pyadmm(path: Path) -> None:
    assert not [m for m in imports(path) if m.split(".")[0] in ("pyadmm", "torch")]
