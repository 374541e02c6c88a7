"""A Verilator that fails, hangs or is missing: one error with its last lines, nothing cached."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pyadmm.codegen.rtl import generate_rtl
from pyadmm.core.errors import MissingToolError, ToolError
from pyadmm.eda import verilator
from pyadmm.model import InputSpec
from pyadmm.model.types import QFormat
from tests.hls.chains import Recipe, random_chain
from tests.unit.models import planned

SPEC = InputSpec((1, 6, 6), QFormat(4, False), shift=4)
MODEL = random_chain("tiny", SPEC, [Recipe(2, density=0.5, output=None)], np.random.default_rng(1))


def build(cache: Path) -> None:
    plan = planned(MODEL)
    verilator.build_simulator(generate_rtl(plan, model=MODEL), plan, cache)


def install(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell ``script`` in Verilator's place."""
    tool = folder / "bin" / "verilator_bin"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setattr(verilator, "verilator_root", lambda: folder)
    monkeypatch.setattr(verilator, "verilator_version", lambda: "0")


def test_a_failure_shows_the_log_and_leaves_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "echo %Error: broken; exit 3", monkeypatch)
    with pytest.raises(ToolError, match=r"failed with status 3(.|\n)*last lines:\n%Error: broken"):
        build(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_hang_ends_and_leaves_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "echo translating; sleep 60", monkeypatch)
    monkeypatch.setattr(verilator, "verilate", partial(verilator.verilate, timeout_s=0.5))
    with pytest.raises(ToolError, match=r"took longer than 0.5 s(.|\n)*translating"):
        build(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_missing_package_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match="the PyPI package is not installed"):
        build(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
