"""Settings files: numbers as people write them, and nothing that is overwritten unseen."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.core.yaml_file import read_yaml
from pyadmm.flow.config import read_config
from pyadmm.settings import load_settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("2e+4", 2e4),
        ("-1e-3", -1e-3),
        ("1.5e-3", 1.5e-3),
        (".5", 0.5),
        ("5.", 5.0),
        ("1_000.5", 1000.5),
        ("3", 3),
        ("-7", -7),
        ("0x1f", 31),
        ("1e", "1e"),
        ("e5", "e5"),
        ("v1e3", "v1e3"),
        ("2024-01-02", None),
        ("true", True),
        ("'1e-3'", "1e-3"),
        ("~", None),
    ],
)
def test_numbers(tmp_path: Path, text: str, value: object) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"x: {text}")
    found = read_yaml(path, "settings")["x"]
    if text != "2024-01-02":
        assert found == value
        assert type(found) is type(value)


def test_exponents_without_a_dot_reach_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("dense: {epochs: 2, lr: 1e-3}\ncontinuous: {rho: 3e-2}")
    found = load_settings(path)
    assert (found.dense.lr, found.continuous.rho) == (1e-3, 3e-2)
    path.write_text("compress: {dense: {lr: 2e-3}}\nhardware_aware: 2e-1")
    assert read_config(path).compress["dense"]["lr"] == 2e-3
    assert read_config(path).hardware_aware == 0.2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", "field 'a' is given twice"),
        ("x: {lr: 1, lr: 2}", "field 'lr' is given twice"),
        ("a: [", "cannot be read as YAML"),
        ("!!python/object/apply:os.system ['true']", "cannot be read as YAML"),
        ("\x00", "cannot be read as YAML"),
        ("[" * 5000, "cannot be read as YAML"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(PyadmmError, match=words):
        read_yaml(path, "settings")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(PyadmmError, match="settings .*x.yaml: cannot be read as YAML"):
        read_yaml(path, "settings")
    with pytest.raises(PyadmmError, match="No such file"):
        read_yaml(tmp_path / "none.yaml", "settings")
