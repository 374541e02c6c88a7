"""Renumbered channels: the same function in a smaller file."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings

from pyadmm import container
from pyadmm.model import CompressedModel
from pyadmm.model.reorder import sort_channels
from tests.unit.arbitrary_models import models
from tests.unit.models import random_data, random_lenet5


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(models())
def test_logits_stay(model: CompressedModel) -> None:
    images = random_data(np.random.default_rng(0), 3, model.input)
    before = model.run(images)
    after = sort_channels(model)
    np.testing.assert_array_equal(after.run(images), before)
    assert (after.nnz, after.weights) == (model.nnz, model.weights)


def test_counts_fall_and_sorting_again_changes_nothing() -> None:
    model = sort_channels(random_lenet5(1))
    for name in ("conv1", "conv2", "fc1"):
        counts = np.count_nonzero(
            model.layer(name).codes.reshape(len(model.layer(name).bias), -1), 1
        )
        assert (np.diff(counts) <= 0).all()
    again = sort_channels(model)
    for a, b in zip(model.layers, again.layers, strict=True):
        np.testing.assert_array_equal(a.codes, b.codes)


def test_file_is_smaller() -> None:
    model = random_lenet5(2, kept=(100, 500, 500, 200))
    before, after = (len(container.encode(m)) for m in (model, sort_channels(model)))
    assert after < 0.95 * before
