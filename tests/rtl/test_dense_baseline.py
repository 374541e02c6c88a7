"""Sparse against dense on the same LUTs: counted, bit-exact, and faster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.eda.dense_baseline import compare
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.design_space import search
from pyadmm.model import InputSpec
from pyadmm.model.compact import compact
from pyadmm.model.types import QFormat, Resources
from tests.hls.chains import Recipe, random_chain

pytestmark = pytest.mark.slow

RECIPES = [
    Recipe(4, (3, 3), density=0.2, pool=(2, 2), output=QFormat(4, False)),
    Recipe(6, density=0.1, output=None),
]
SPEC = InputSpec((1, 10, 12), QFormat(4, False), shift=4)


def test_sparse_is_faster_than_dense_on_the_same_logic(
    monkeypatch: pytest.MonkeyPatch, simulators: Path
) -> None:
    monkeypatch.setenv("PYADMM_CACHE", str(simulators))
    model = random_chain("tiny", SPEC, RECIPES, np.random.default_rng(3))
    chip = Resources(3000, 12000, 12, 40, 0)
    board = replace(load_board("pynq-z2"), resources=chip)
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 10, 12)).astype(np.uint8)
    found = compare(model, board, images)
    assert found.basis == "cosim"
    for design in found.designs:
        assert set(design.busy_cycles) == {layer.name for layer in model.layers}
        assert design.resources.lut <= found.sparse.resources.lut
    speedup = found.dense.interval_cycles / found.sparse.interval_cycles
    assert found.speedup() == speedup > 1
    facts = found.facts()
    assert facts["speedups"]["dense"]["interval"] == speedup
    assert set(found.layer_speedups()) == set(found.sparse.busy_cycles)
    assert f"sparse over dense: {speedup:.1f}x" in found.table()


def test_without_images_all_cycles_are_modelled() -> None:
    model = random_chain("tiny", SPEC, RECIPES, np.random.default_rng(3))
    board = load_board("pynq-z2")
    small = compact(model)
    chosen = search(small, board).runners_up[0]
    found = compare(model, board, chosen=chosen)
    assert (found.basis, found.images) == ("modelled", 0)
    assert found.sparse.interval_cycles == chosen.interval
    assert found.dense.resources.lut <= chosen.resources.lut
    assert {k.split()[0] for k in found.dense.kernels.values()} == {"dense"}
    assert "cycles modelled" in found.table()


def test_one_image_has_no_interval() -> None:
    model = random_chain("tiny", SPEC, RECIPES, np.random.default_rng(3))
    with pytest.raises(PyadmmError, match="needs at least 2 images, not 1"):
        compare(model, load_board("pynq-z2"), np.zeros((1, 1, 10, 12), np.uint8))
