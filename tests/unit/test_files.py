"""Atomic writes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyadmm.core.errors import OutputError
from pyadmm.core.files import make_folder, write_atomic


def test_write_creates_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_atomic(path, "old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["b.txt"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept"
    write_atomic(path, "old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=r"kept: cannot be written: disk full; make room"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["kept"]


def test_what_is_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file: cannot be written: .* another place"):
        make_folder(tmp_path / "file")
    with pytest.raises(OutputError, match=r"file/in/it: cannot be written: .*Not a directory"):
        write_atomic(tmp_path / "file" / "in" / "it", "x")
    assert (tmp_path / "file").read_text() == ""
