"""Renumbered channels: the same function in a smaller file."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings

from pyadmm.container import codec as container
from pyadmm.model import INPUT, CompressedLayer, CompressedModel, InputSpec, Requant
from pyadmm.model.reorder import sort_channels
from pyadmm.model.types import IntArray, LayerSpec, QFormat
from pyadmm.model.windows import Windows, find_windows
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


def _balanced(rng: np.random.Generator, shape: tuple[int, int], window: int, rows: int) -> IntArray:
    """Codes of which the rows of a group have equally many in every window, 0 to 2."""
    codes = np.zeros(shape, np.int16)
    for first in range(0, shape[0], rows):
        for start in range(0, shape[1], window):
            number = int(rng.integers(0, 3)) if rng.random() < 0.4 else 0
            for line in codes[first : first + rows]:
                places = start + rng.choice(window, number, replace=False)
                line[places] = rng.choice([-2, -1, 1, 2], number)
    return codes


def _two_layers(first: IntArray, second: IntArray) -> CompressedModel:
    nodes, source = [], INPUT
    for name, codes in (("fc1", first), ("fc2", second)):
        spec = LayerSpec(name, "linear", codes.shape, (codes.shape[1], 1, 1))
        bias = np.where((codes != 0).any(1), np.arange(len(codes)), 0)
        form = QFormat(16, signed=True)
        nodes.append(CompressedLayer(spec, source, codes, 3, bias, Requant((1,), 1), form))
        source = name
    entry = InputSpec((first.shape[1], 1, 1), QFormat(8, signed=False))
    return CompressedModel("m", entry, tuple(nodes))


def test_groups_of_a_balanced_layer_come_together() -> None:
    """Its rows are shuffled and some have no weights; the saved file has the balanced coding."""
    rng = np.random.default_rng(3)
    first = _balanced(rng, (60, 200), 4, 4)
    first = np.concatenate([first, np.zeros((17, 200), np.int16)])[rng.permutation(77)]
    second = np.where(rng.random((10, 77)) < 0.3, 1, 0).astype(np.int16)
    second[:, ~first.any(1)] = 0
    model = _two_layers(first, second)
    ordered = sort_channels(model)
    images = random_data(rng, 5, model.input)
    np.testing.assert_array_equal(ordered.run(images), model.run(images))
    found = find_windows(ordered.layer("fc1").codes != 0, (77, 200, 1, 1))
    assert found == Windows(4, 4)
    data = container.encode(ordered)
    assert data[:1] == container.BALANCED
    assert len(data) < 0.9 * len(container.encode(model))
    back = container.decode(data)
    np.testing.assert_array_equal(back.layer("fc1").codes, ordered.layer("fc1").codes)
    np.testing.assert_array_equal(back.run(images), model.run(images))
    np.testing.assert_array_equal(sort_channels(back).layer("fc1").codes, back.layer("fc1").codes)


def test_windows_of_the_next_layer_stay_whole() -> None:
    rng = np.random.default_rng(4)
    alive = rng.permutation(90) < 80
    first = np.where(rng.random((90, 50)) < rng.random((90, 1)), 1, 0).astype(np.int16)
    first[~alive] = 0
    second = np.zeros((40, 90), np.int16)
    second[:, first.any(1)] = _balanced(rng, (40, int(first.any(1).sum())), 4, 5)
    ordered = sort_channels(model := _two_layers(first, second))
    images = random_data(rng, 5, model.input)
    np.testing.assert_array_equal(ordered.run(images), model.run(images))
    assert find_windows(ordered.layer("fc2").codes != 0, (40, 90, 1, 1)) == Windows(4, 5)
    counts = np.count_nonzero(ordered.layer("fc1").codes, axis=1)
    whole = counts[: np.count_nonzero(counts) // 4 * 4].reshape(-1, 4).sum(1)
    assert (np.diff(whole) <= 0).all()
