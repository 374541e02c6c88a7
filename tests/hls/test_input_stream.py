"""The input stream in C++: packed pixels, rows that end within a step."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pyadmm.codegen.hls import generate
from pyadmm.eda.gxx import build_simulator
from pyadmm.hardware.plan import InputStream
from tests.rtl.test_input_stream import SPECS, streamed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("g++") is None, reason="csim needs g++: no generated C++ has been checked"
    ),
]


@pytest.mark.parametrize("name", ["row ends within a step", "channels with offsets"])
@pytest.mark.parametrize(("packed", "bits"), [(True, 32), (False, 32), (True, 64), (False, 64)])
def test_csim_is_bit_exact(name: str, packed: bool, bits: int, tmp_path: Path) -> None:
    built = streamed(SPECS[name], InputStream(packed, bits))
    generate(built.model, built.plan).write(tmp_path)
    simulator = build_simulator(tmp_path, built.plan, exact_widths=packed)
    assert "warning" not in simulator.log.read_text(encoding="utf-8")
    images = built.images(6)
    logits = simulator.infer(images, built.weights).logits
    np.testing.assert_array_equal(logits, built.model.run(images))
