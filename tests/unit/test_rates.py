"""The rate term against what the container really writes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pyadmm import container
from pyadmm.container.rates import position_bits
from pyadmm.model import CompressedModel
from pyadmm.model.folding import fold_inactive
from pyadmm.model.reorder import sort_channels
from tests.unit.models import random_lenet5


def uneven_lenet5() -> CompressedModel:
    """Weights of fc1 where rows and columns of uneven density cross."""
    model = fold_inactive(random_lenet5(0, kept=(200, 900, 60_000, 600)))
    fc1 = model.layer("fc1")
    rng = np.random.default_rng(1)
    chance = np.outer(rng.lognormal(0, 1, 500), rng.lognormal(0, 1.5, 800)) * (fc1.codes != 0)
    kept = np.argsort(-chance.reshape(-1) * rng.exponential(1, chance.size))[:1200]
    mask = np.zeros(chance.size, bool)
    mask[kept] = True
    layer = replace(fc1, codes=np.where(mask.reshape(chance.shape), fc1.codes, 0))
    return replace(model, nodes=tuple(layer if n.name == "fc1" else n for n in model.nodes))


def bits_of_fc1(model: CompressedModel) -> float:
    return dict(container.breakdown(container.encode(sort_channels(model))))["fc1.positions"]


def without(model: CompressedModel, cells: np.ndarray) -> CompressedModel:
    codes = model.layer("fc1").codes.copy()
    codes.reshape(-1)[cells] = 0
    layer = replace(model.layer("fc1"), codes=codes)
    return replace(model, nodes=tuple(layer if n.name == "fc1" else n for n in model.nodes))


@pytest.mark.parametrize("which", [slice(0, 100), slice(-100, None)], ids=["cheap", "dear"])
def test_removed_weights_save_what_was_said(which: slice) -> None:
    model = uneven_lenet5()
    kept = model.layer("fc1").window_codes != 0
    cells = np.flatnonzero(kept)
    bits = position_bits(kept).reshape(-1)[cells]
    chosen = np.argsort(bits)[which]
    saved = bits_of_fc1(model) - bits_of_fc1(without(model, cells[chosen]))
    assert saved == pytest.approx(bits[chosen].sum(), rel=0.25)


def test_cheap_and_dear_weights_differ_and_plain_matrices_are_taken() -> None:
    kept = uneven_lenet5().layer("fc1").codes != 0
    bits = position_bits(kept)
    assert bits.shape == kept.shape
    low, high = np.quantile(bits[kept], [0.1, 0.9])
    assert high - low > 2
    assert bits[~kept].mean() > bits[kept].mean()
