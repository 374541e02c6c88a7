"""Unrolled stages in C++: the same additions, the same integers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pyadmm.codegen.hls import CONSTANTS_FILE, generate
from pyadmm.eda.gxx import build_simulator
from tests.rtl.designs import Design
from tests.rtl.unrolled_designs import (
    blocks_to_blocks,
    small_lenet,
    strides_padding_and_signs,
    without_pools,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("g++") is None, reason="csim needs g++: no generated C++ has been checked"
    ),
]


@pytest.mark.parametrize(
    ("case", "exact"),
    [
        (small_lenet, True),
        (strides_padding_and_signs, False),
        (blocks_to_blocks, True),
        (without_pools, False),
    ],
)
def test_csim_is_bit_exact(case: Callable[[], Design], exact: bool, tmp_path: Path) -> None:
    built = case()
    build = generate(built.model, built.plan)
    assert CONSTANTS_FILE in build.files
    build.write(tmp_path)
    simulator = build_simulator(tmp_path, built.plan, exact_widths=exact)
    assert "warning" not in simulator.log.read_text(encoding="utf-8")
    images = built.images(7)
    logits = simulator.infer(images, built.weights).logits
    np.testing.assert_array_equal(logits, built.model.run(images))
