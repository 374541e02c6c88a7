"""Residual networks: the generated C++ equals the golden model on every frame."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pyadmm.codegen.hls import generate
from pyadmm.core.process import run_tool
from pyadmm.eda import gxx
from pyadmm.eda.gxx import build_simulator
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.weight_image import weight_image
from pyadmm.model import CompressedModel
from tests.hls.graphs import (
    branching_network,
    random_configs,
    random_network,
    rescaled,
    residual_network,
)
from tests.unit.models import random_images

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("g++") is None, reason="csim needs g++: no generated C++ has been checked"
    ),
]
BOARD = load_board("pynq-z2")
CASES: dict[str, Callable[[int], CompressedModel]] = {
    "residual": residual_network,
    "branching": branching_network,
    **{
        f"random {seed}": lambda _, seed=seed: random_network(seed)
        for seed in range(int(os.environ.get("PYADMM_FUZZ", "0")))
    },
}


@pytest.mark.parametrize("name", CASES)
def test_every_frame_is_golden(name: str, tmp_path: Path) -> None:
    model = CASES[name](1)
    plan = plan_accelerator(model, BOARD, random_configs(model, 1))
    generate(model, plan).write(tmp_path)
    simulator = build_simulator(tmp_path, plan, exact_widths=True, cache_dir=tmp_path)
    assert "warning" not in simulator.log.read_text(encoding="utf-8")
    images = random_images(np.random.default_rng(3), 9, plan.input.shape)
    models = [model, rescaled(model)]
    weights = [weight_image(loaded, plan) for loaded in models]
    results = simulator.infer_models(images, weights, frames=True)
    for loaded, result in zip(models, results, strict=True):
        golden = loaded.run_nodes(images)
        assert {unit.node for unit in plan.units} <= set(result.frames)
        for node, frame in result.frames.items():
            np.testing.assert_array_equal(frame, golden[node], err_msg=node)
        np.testing.assert_array_equal(result.logits, loaded.run(images))


def test_sources_compile_as_the_vendor_sees_them(tmp_path: Path) -> None:
    model = branching_network()
    generate(model, plan_accelerator(model, BOARD, random_configs(model, 1))).write(tmp_path)
    command = gxx.compile_command(["PYADMM_EXACT_WIDTHS", "__VITIS_HLS__"])
    run = run_tool([*command, "-fsyntax-only"], cwd=tmp_path, log=tmp_path / "log", timeout_s=300)
    assert "warning" not in run.output
