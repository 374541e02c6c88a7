"""Sparse entries, group assignment and the weight image, against their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.group_balance import assign_groups, group_loads
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import AcceleratorPlan, EntryFormat, KernelConfig
from pyadmm.hardware.weight_image import (
    Positions,
    decode_code,
    decode_image,
    encode_code,
    encode_entries,
    weight_image,
)
from pyadmm.model import CompressedModel, InputSpec
from pyadmm.model.types import QFormat
from tests.hls.chains import Recipe, random_chain
from tests.unit.models import random_lenet5

BOARD = load_board("pynq-z2")


@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_round_trip_and_fill_their_field(bits: int) -> None:
    half = 1 << (bits - 1)
    codes = np.array([*range(-half, 0), *range(1, half + 1)])
    fields = encode_code(codes, bits)
    assert sorted(fields.tolist()) == list(range(1 << bits))
    np.testing.assert_array_equal(decode_code(fields, bits), codes)


def one_layer(codes: list[int], weight_bits: int = 2) -> CompressedModel:
    """A linear layer of one output on ``len(codes)`` inputs with the given codes."""
    spec = InputSpec((len(codes), 1, 1), QFormat(4, False))
    rng = np.random.default_rng(0)
    recipe = Recipe(1, density=0.0, weight_bits=weight_bits, output=None)
    model = random_chain("one", spec, [recipe], rng)
    layer = model.layers[0]
    fixed = type(layer)(
        layer.spec,
        layer.source,
        np.array([codes], np.int16),
        weight_bits,
        np.zeros(1, np.int64),
        layer.requant,
        QFormat(16, True),
    )
    return CompressedModel("one", spec, (fixed,))


def test_entries_of_a_hand_worked_channel() -> None:
    # D = 1: an entry advances by at most 1, so the gap of 3 takes two fillers.
    model = one_layer([2, 0, 0, -1, 1])
    form = EntryFormat(code_bits=2, kw_bits=0, kh_bits=0, index_bits=1)
    entries, counts = encode_entries(Positions.of(model.layers[0]), form)
    assert counts.tolist() == [5]
    fields = [(e & 3, e >> 2 & 1, e >> 3 & 1, e >> 4 & 1) for e in entries.tolist()]
    assert fields == [(1, 0, 1, 0), (0, 1, 0, 0), (0, 1, 0, 0), (2, 1, 1, 0), (0, 1, 1, 1)]


def test_empty_channel_is_one_entry_that_only_ends_it() -> None:
    form = EntryFormat(2, 0, 0, 2)
    entries, counts = encode_entries(Positions.of(one_layer([0, 0, 0]).layers[0]), form)
    assert counts.tolist() == [1]
    assert entries.tolist() == [1 << form.last_bit]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_longest_first_is_within_four_thirds_of_the_best(loads: list[int], groups: int) -> None:
    best = min(
        max(sum(w for w, g in zip(loads, split, strict=True) if g == k) for k in range(groups))
        for split in itertools.product(range(groups), repeat=len(loads))
    )
    got = group_loads(np.array(loads), groups)
    assert got.sum() == sum(loads)
    assert best <= got.max() <= best * (4 / 3 - 1 / (3 * groups)) + 1e-9


def test_ties_go_to_the_lower_channel_and_the_lower_group() -> None:
    assert assign_groups(np.array([2, 2, 2, 2]), 3) == [[0, 3], [1], [2]]


RECIPES = [
    Recipe(7, (3, 2), stride=2, padding=1, density=0.2, weight_bits=5, pool=(2, 2)),
    Recipe(6, (1, 1), density=0.05, weight_bits=1, per_channel=True),
    Recipe(9, density=0.1, weight_bits=8),
    Recipe(5, density=0.02, weight_bits=4, output=None),
]
GROUPED = [
    Recipe(8, (3, 3), padding=1, groups=2, density=0.3, per_channel=True),
    Recipe(4, density=0.5, output=None),
]


def mapped(
    recipes: list[Recipe], channels: int, configs: list[KernelConfig], seed: int = 3
) -> tuple[CompressedModel, AcceleratorPlan]:
    spec = InputSpec((channels, 11, 9), QFormat(5, True), offset=(128,), shift=3)
    model = random_chain("awkward", spec, recipes, np.random.default_rng(seed))
    names = [layer.name for layer in model.layers]
    return model, plan_accelerator(model, BOARD, dict(zip(names, configs, strict=True)))


CASES = {
    "sparse": (
        RECIPES,
        3,
        [
            KernelConfig("sparse", 2, 3, 1),
            KernelConfig("sparse", 1, 4, 2),
            KernelConfig("sparse", 1, 9, 3),
            KernelConfig("sparse", 1, 2, 1),
        ],
    ),
    "dense": (RECIPES, 3, [KernelConfig("dense", 1, g) for g in (4, 6, 2, 5)]),
    "grouped": (GROUPED, 4, [KernelConfig("sparse", 4, 3, 2), KernelConfig("sparse", 1, 1, 1)]),
    "grouped dense": (GROUPED, 4, [KernelConfig("dense", 4, 2), KernelConfig("dense", 1, 3)]),
}


@pytest.mark.parametrize("case", CASES)
def test_weight_image_decodes_to_the_model(case: str) -> None:
    model, plan = mapped(*CASES[case])
    image = weight_image(model, plan)
    assert image.shape == (plan.weight_words,)
    decoded = decode_image(image, plan)
    for layer in model.layers:
        got = decoded[layer.name]
        np.testing.assert_array_equal(got.codes, layer.codes)
        np.testing.assert_array_equal(got.bias, layer.bias)
        outputs = layer.spec.outputs
        np.testing.assert_array_equal(got.mult, np.broadcast_to(layer.requant.mult, outputs))
        assert set(got.shift.tolist()) == {layer.requant.shift}


@pytest.mark.parametrize("index_bits", [1, 2, 3, 4, 5])
def test_every_index_width_gives_the_same_weights(index_bits: int) -> None:
    model = random_lenet5()
    configs = {
        "conv1": KernelConfig("sparse", 4, 3, 0),
        "conv2": KernelConfig("sparse", 3, 4, index_bits),
        "fc1": KernelConfig("sparse", 1, 7, index_bits),
        "fc2": KernelConfig("sparse", 1, 2, index_bits),
    }
    plan = plan_accelerator(model, BOARD, configs)
    decoded = decode_image(weight_image(model, plan), plan)
    for layer in model.layers:
        np.testing.assert_array_equal(decoded[layer.name].codes, layer.codes)


def test_a_model_that_needs_more_capacity_is_refused_by_layer() -> None:
    small, plan = mapped(*CASES["sparse"])
    dense_recipes = [Recipe(**{**vars(r), "density": 0.6}) for r in RECIPES]
    large, _ = mapped(dense_recipes, 3, CASES["sparse"][2], seed=4)
    assert large.nnz > small.nnz
    with pytest.raises(PyadmmError, match=r"layer0: .*(entries|accumulator)"):
        weight_image(large, plan)


def test_a_model_of_another_shape_is_refused() -> None:
    _, plan = mapped(*CASES["sparse"])
    other, _ = mapped(*CASES["grouped"])
    with pytest.raises(PyadmmError, match="layers"):
        weight_image(other, plan)


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (lambda image: image[:-1], "words"),
        (lambda image: np.where(np.arange(len(image)) == 0, 1 << 30, image), "exceeds"),
        (np.zeros_like, "no single slot"),
    ],
)
def test_broken_images_are_refused(corrupt, message: str) -> None:  # type: ignore[no-untyped-def]
    model, plan = mapped(*CASES["sparse"])
    with pytest.raises(PyadmmError, match=message):
        decode_image(corrupt(weight_image(model, plan)).astype(np.uint32), plan)
