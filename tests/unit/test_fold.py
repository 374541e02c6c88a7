"""Folded constants: the same logits, bit for bit, from fewer weights and biases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings

from pyadmm.model import INPUT, Add, CompressedLayer, CompressedModel, InputSpec, Requant
from pyadmm.model.folding import channel_bounds, fold_inactive, read_channels
from pyadmm.model.types import LayerSpec, QFormat
from tests.unit.arbitrary_models import assert_same, models
from tests.unit.models import random_data, random_images, random_lenet5

RELAXED = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@RELAXED
@given(models())
def test_values_are_bounded_logits_stay_and_folding_again_changes_nothing(
    model: CompressedModel,
) -> None:
    images = random_data(np.random.default_rng(0), 4, model.input)
    values, bounds = model.run_nodes(images), channel_bounds(model)
    for name, interval in bounds.items():
        assert (values[name].min((0, 2, 3)) >= interval.lo).all()
        assert (values[name].max((0, 2, 3)) <= interval.hi).all()
    folded = fold_inactive(model)
    np.testing.assert_array_equal(folded.run(images), model.run(images))
    assert folded.nnz <= model.nnz
    for layer in model.layers:
        assert folded.accumulator_bits(layer.name) <= model.accumulator_bits(layer.name)
    assert_same(fold_inactive(folded), folded)


def chain(*layers: tuple[str, np.ndarray, np.ndarray, dict]) -> CompressedModel:
    """Layers one after the other on 4-bit 1x6x6 images, codes of shape ``(O, C, KH, KW)``."""
    entry = InputSpec((1, 6, 6), QFormat(4, False), shift=4)
    nodes: list[CompressedLayer] = []
    shape: tuple[int, int, int] = entry.shape
    for name, codes, bias, extra in layers:
        spec = LayerSpec(name, "conv", codes.shape, shape, **extra)
        source = nodes[-1].name if nodes else INPUT
        nodes.append(
            CompressedLayer(
                spec, source, codes.astype(np.int16), 3, bias.astype(np.int64), Requant(),
                QFormat(6, False),
            )
        )  # fmt: skip
        shape = spec.output_shape
    return CompressedModel("m", entry, tuple(nodes))


def test_a_dead_filter_moves_into_the_next_bias() -> None:
    first = np.zeros((3, 1, 3, 3))
    first[0] = 1
    second = np.ones((2, 3, 2, 2))
    model = chain(
        ("a", first, np.array([1, 5, -7]), {}), ("b", second, np.array([0, 2]), {"stride": 1})
    )
    folded = fold_inactive(model)
    assert folded.layer("a").bias.tolist() == [1, 0, 0]
    assert folded.layer("b").bias.tolist() == [20, 22]
    assert folded.layer("b").codes[:, 1:].any() == np.False_
    assert folded.nnz == 9 + 8


def test_a_constant_stays_where_padding_would_see_it() -> None:
    """Of a padded 3x3 kernel only the middle tap always reads the constant; 0 folds everywhere."""
    first = np.zeros((3, 1, 1, 1))
    first[0] = 1
    model = chain(
        ("a", first, np.array([0, 5, -7]), {}),
        ("b", np.ones((1, 3, 3, 3)), np.array([0]), {"padding": 1}),
    )
    folded = fold_inactive(model)
    codes = folded.layer("b").codes
    assert folded.layer("a").bias.tolist() == [0, 5, 0]
    assert codes[0, 1].tolist() == [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    assert not codes[0, 2].any()
    assert folded.layer("b").bias.tolist() == [5]
    images = random_images(np.random.default_rng(0), 5, (1, 6, 6))
    np.testing.assert_array_equal(folded.run(images), model.run(images))


def test_neurons_that_never_fire_and_unread_ones_are_emptied_back_to_the_input() -> None:
    """``b``'s second channel cannot exceed 0, so ``a``'s second one, read by it alone, is dead."""
    first = np.ones((2, 1, 1, 1))
    second = np.zeros((2, 2, 1, 1))
    second[0, 0], second[1, 1] = 1, 1
    third = np.ones((1, 2, 1, 1))
    model = chain(
        ("a", first, np.array([0, 3]), {}),
        ("b", second, np.array([0, -100]), {}),
        ("c", third, np.array([4]), {}),
    )
    folded = fold_inactive(model)
    assert [layer.nnz for layer in folded.layers] == [1, 1, 1]
    assert [layer.bias.tolist() for layer in folded.layers] == [[0, 0], [0, 0], [4]]


def test_what_an_add_reads_keeps_its_constant() -> None:
    model = chain(("a", np.array([1, 0]).reshape(2, 1, 1, 1), np.array([0, 6]), {}))
    add = Add("sum", ("a", "a"), (1, 1), 1, QFormat(6, False))
    model = replace(model, nodes=(*model.nodes, add))
    assert_same(fold_inactive(model), model)
    assert read_channels(model)["a"].all()


def test_lenet5_loses_what_dead_neurons_held() -> None:
    model = random_lenet5(3, kept=(100, 400, 300, 120))
    folded = fold_inactive(model)
    assert folded.nnz < model.nnz
    read = read_channels(folded)
    for layer in folded.layers[:-1]:
        alive = layer.codes.reshape(len(layer.bias), -1).any(1)
        np.testing.assert_array_equal(alive, read[layer.name])
        assert not layer.bias[~alive].any()
    images = random_images(np.random.default_rng(2), 50, (1, 28, 28))
    np.testing.assert_array_equal(folded.run(images), model.run(images))
