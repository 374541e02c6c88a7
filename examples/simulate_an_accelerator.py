"""Simulate the generated RTL with Verilator and compare every logit with the integer model."""

from pathlib import Path

import numpy as np

from pyadmm import container
from pyadmm.eda.cosim import simulate
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.design_space import search
from pyadmm.model.compact import compact

model = container.load(Path(__file__).parents[1] / "models" / "lenet5-record-410-seed30.admm")
board = load_board("pynq-z2")
images = np.random.default_rng(0).integers(0, 256, (10, *model.input.shape), np.uint8)

hardware = compact(model)  # the same logits without inactive channels
result = simulate(hardware, board, search(hardware, board).configs, images)
np.testing.assert_array_equal(result.logits, model.run(images))
print(f"{len(images)} images: every logit equals the integer model")
print(f"{result.interval_cycles:.0f} cycles an image, latency {result.latency_cycles} cycles")
