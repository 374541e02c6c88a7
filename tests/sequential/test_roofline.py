"""The roofline is a bound: no simulated RUN is faster, and the passes are all there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pyadmm.eda.sequential_simulation import MemoryModel, SequentialTop, infer, place
from pyadmm.hardware.sequential.compiler import compile_model
from pyadmm.hardware.sequential.roofline import bounds, table
from pyadmm.model import INPUT, CompressedModel, InputSpec, MaxPool
from pyadmm.model.types import LayerSpec, QFormat
from tests.sequential.conftest import SMALL
from tests.sequential.networks import images_of, weighted


@pytest.fixture
def model() -> CompressedModel:
    """A dense layer, a sparse one that memory feeds, a pool."""
    rng = np.random.default_rng(0)
    first = weighted(rng, LayerSpec("dense", "conv", (8, 3, 3, 3), (3, 16, 16), 1, 1), INPUT, 1.0)
    second = weighted(rng, LayerSpec("sparse", "conv", (8, 8, 1, 1), (8, 16, 16)), "dense", 0.2)
    # Every channel is read and none is constant, so that none is left out.
    codes = np.where(np.eye(8, dtype=bool)[..., None, None], 128, second.codes).astype(np.int16)
    second = replace(second, codes=codes, bias=np.zeros(8, np.int64))
    pool = MaxPool("pool", "sparse", 2, 2)
    layer = LayerSpec("fc", "linear", (10, 512), (8, 8, 8))
    third = weighted(rng, layer, "pool", 0.5, output=QFormat(16, True))
    entry = InputSpec((3, 16, 16), QFormat(8, False))
    return CompressedModel("m", entry, (first, second, pool, third))


def test_what_binds_a_pass(model: CompressedModel) -> None:
    found = {one.name: one for one in bounds(compile_model(model, SMALL), 3.0)}
    assert list(found) == ["dense", "sparse", "pool", "fc"]
    assert found["dense"].bound == "compute"
    assert found["dense"].compute == 4 * 27 * 8
    assert found["sparse"].bound == "drain"
    assert found["sparse"].drain >= 8 * 256 // 16
    assert found["fc"].bound == "memory"
    assert "cycles per image (modelled)" in table(compile_model(model, SMALL), 6.0)


def test_no_program_is_faster_than_its_roofline(
    small_top: SequentialTop, model: CompressedModel
) -> None:
    compiled = compile_model(model, SMALL, 2)
    small_top.reset(compiled.program.memory_bytes)
    small_top.memory(MemoryModel(30, 6.0))
    place(small_top, compiled)
    data = images_of(np.random.default_rng(0), model, 2)
    logits, result = infer(small_top, compiled, data)
    np.testing.assert_array_equal(logits, model.run(data))
    least = sum(one.cycles for one in bounds(compiled, 6.0))
    assert least <= result.cycles < 2 * least + 300 * sum(len(one.runs) for one in compiled.steps)
