"""Padding rows are never stored: windows beyond the map still give the golden integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pyadmm.codegen.rtl import generate_rtl
from pyadmm.eda.rtl_simulation import cosim
from pyadmm.eda.verilator import build_simulator
from pyadmm.model import InputSpec
from pyadmm.model.types import QFormat
from tests.hls.chains import Recipe
from tests.rtl.designs import dense, design, sparse

pytestmark = pytest.mark.slow


def test_padded_and_strided_windows_are_bit_exact(simulators: Path) -> None:
    recipes = [
        Recipe(4, (5, 5), padding=2, stride=2, density=0.6),
        Recipe(6, (3, 3), padding=1, density=0.5),
        Recipe(5, (5, 3), padding=1, density=0.5),
        Recipe(5, output=None, density=0.7),
    ]
    # Bank counts 2, 5 and 3 against paddings 2, 1 and 1: rows wrap in every way.
    configs = [sparse(1, 2, 1), sparse(5, 3, 2), dense(3, 2), sparse(1, 2, 2)]
    built = design("padded", InputSpec((2, 9, 8), QFormat(4, False), shift=4), recipes, configs)
    simulator = build_simulator(generate_rtl(built.plan, {}), built.plan, simulators)
    images = built.images(8)
    np.testing.assert_array_equal(
        cosim(simulator, built.weights, images).logits, built.model.run(images)
    )
