"""The csim tool layer: caching, missing tools, bad input and sources that do not compile."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from pyadmm.codegen.hls import generate
from pyadmm.core.errors import PyadmmError, ToolError
from pyadmm.eda import gxx
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import AcceleratorPlan, KernelConfig
from pyadmm.hardware.weight_image import weight_image
from pyadmm.model import CompressedModel, InputSpec
from tests.hls.chains import Recipe, random_chain
from tests.unit.models import U4, random_images

pytestmark = pytest.mark.slow

needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


@pytest.fixture(scope="module")
def tiny() -> tuple[CompressedModel, AcceleratorPlan]:
    spec = InputSpec((3, 1, 1), U4, shift=4)
    model = random_chain("tiny", spec, [Recipe(2, output=None)], np.random.default_rng(0))
    config = {"layer0": KernelConfig("sparse", 1, 1, 1)}
    return model, plan_accelerator(model, load_board("pynq-z2"), config)


@pytest.fixture(scope="module")
def build_dir(tmp_path_factory: pytest.TempPathFactory, tiny) -> Path:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("build")
    generate(*tiny).write(folder)
    return folder


def test_missing_compiler_is_named(monkeypatch, tiny, build_dir: Path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ToolError, match=r"no-such-compiler: not found; install g\+\+"):
        gxx.build_simulator(build_dir, tiny[1])


def test_missing_headers_are_named(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match="install da4ml"):
        gxx.ap_types_dir()


@needs_gxx
def test_program_is_cached_by_its_sources(tiny, build_dir: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    model, plan = tiny
    cache = tmp_path / "cache"
    first = gxx.build_simulator(build_dir, plan, cache_dir=cache)
    made = first.program.stat().st_mtime_ns
    again = gxx.build_simulator(build_dir, plan, cache_dir=cache)
    assert (again.program, again.program.stat().st_mtime_ns) == (first.program, made)

    images = random_images(np.random.default_rng(1), 4, plan.input.shape)
    np.testing.assert_array_equal(gxx.csim(build_dir, plan, images), model.run(images))
    with pytest.raises(
        PyadmmError, match=r"images must be uint8 \(N, 3, 1, 1\), not uint8 \(4, 2, 1, 1\)"
    ):
        first.infer(images[:, :2], weight_image(model, plan))
    with pytest.raises(ToolError, match="another length"):
        first.infer(images, weight_image(model, plan)[:-1])

    other = tmp_path / "other"
    shutil.copytree(build_dir, other)
    (other / "src" / "top.cpp").write_text("#error broken on purpose\n", encoding="utf-8")
    with pytest.raises(ToolError, match="broken on purpose"):
        gxx.build_simulator(other, plan, cache_dir=cache)
