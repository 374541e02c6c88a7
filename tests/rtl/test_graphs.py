"""Residual networks in RTL: the golden integers, back to back, with and without stalls."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pyadmm.codegen.rtl import generate_rtl
from pyadmm.eda.rtl_simulation import cosim
from pyadmm.eda.verilator import build_simulator
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

pytestmark = pytest.mark.slow

BOARD = load_board("pynq-z2")
CASES: dict[str, Callable[[int], CompressedModel]] = {
    "residual": residual_network,
    **{
        f"branching {seed}": branching_network
        for seed in range(int(os.environ.get("PYADMM_FUZZ", "0")))
    },
    **{
        f"random {seed}": lambda _, seed=seed: random_network(seed)
        for seed in range(int(os.environ.get("PYADMM_FUZZ", "0")))
    },
}


@pytest.mark.parametrize("name", CASES)
def test_logits_are_golden(name: str, simulators: Path) -> None:
    model = CASES[name](1)
    plan = plan_accelerator(model, BOARD, random_configs(model, 1))
    simulator = build_simulator(generate_rtl(plan, model=model), plan, simulators)
    images = random_images(np.random.default_rng(3), 9, plan.input.shape)
    for loaded in (model, rescaled(model)):
        weights, golden = weight_image(loaded, plan), loaded.run(images)
        np.testing.assert_array_equal(cosim(simulator, weights, images).logits, golden)
    stalled = cosim(simulator, weights, images, stalls=(4, 0.3, 0.3))
    np.testing.assert_array_equal(stalled.logits, golden)
