"""The balanced kernel's words: programs by hand, and decoding what was encoded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware import balanced
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.cost import stage_cycles
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import AcceleratorPlan, KernelConfig
from pyadmm.hardware.weight_image import decode_image, weight_image
from pyadmm.model import CompressedModel, InputSpec
from pyadmm.model.types import QFormat
from pyadmm.model.windows import similar_rows
from tests.hls.chains import Recipe, random_chain

BOARD = load_board("pynq-z2")
U4 = QFormat(4, False)


def _planned(
    shape: tuple[int, int, int], recipe: Recipe, config: KernelConfig, seed: int = 0
) -> tuple[CompressedModel, AcceleratorPlan]:
    model = random_chain("one", InputSpec(shape, U4), [recipe], np.random.default_rng(seed))
    return model, plan_accelerator(model, BOARD, {"layer0": config})


def test_a_hand_worked_program() -> None:
    """Two channels of 5 inputs in windows of 2: one step for the first, two for the last."""
    model, _ = _planned((5, 1, 1), Recipe(2, output=None), KernelConfig("balanced", 1, 2, 2))
    codes = np.array([[2, 0, 0, 0, -1], [0, 1, 0, 0, 1]], np.int16)
    layer = replace(model.layers[0], codes=codes, weight_bits=2)
    model = replace(model, nodes=(layer,))
    config = KernelConfig("balanced", 1, 2, 2, window=2)
    plan = plan_accelerator(model, BOARD, {"layer0": config})
    (stage,) = plan.stages
    assert (stage.entry_capacity, stage.slot_capacity, stage.fold) == (2, 1, 2)
    (first, second) = balanced.group_words(layer, stage)
    # code, choice, dc, last
    fields = [(w & 3, w >> 2 & 3, w >> 4 & 3, w >> 6 & 1) for w in first[0].tolist()]
    assert fields == [(1, 0, 0, 0), (2, 0, 2, 1)]
    assert [(w & 3, w >> 2) for w in second[0].tolist()] == [(0, 1), (0, 0)]
    assert stage_cycles(layer, stage).engine == 2


@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 6), st.integers(1, 6)),
    recipe=st.builds(
        Recipe,
        outputs=st.integers(1, 9),
        kernel=st.none() | st.tuples(st.integers(1, 6), st.integers(1, 6)),
        density=st.floats(0, 1),
        weight_bits=st.integers(1, 8),
        output=st.just(None),
    ),
    groups=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    window=st.integers(1, 6),
    seed=st.integers(0, 9),
)
@settings(max_examples=150, deadline=None)
def test_images_decode_to_their_weights(
    shape: tuple[int, int, int],
    recipe: Recipe,
    groups: tuple[int, int],
    window: int,
    seed: int,
) -> None:
    kernel = recipe.kernel or shape[1:]
    recipe = replace(recipe, kernel=recipe.kernel and (min(kernel[0], shape[1]), kernel[1]))
    if recipe.kernel is not None:
        recipe = replace(recipe, kernel=(recipe.kernel[0], min(kernel[1], shape[2])))
    single = shape[1:] == (1, 1)
    columns = (recipe.kernel or shape[1:])[1]
    window = min(window, shape[0] if single else columns)
    channels = -(-shape[0] // window) if single and window > 1 else shape[0]
    index_bits = min(1, (channels - 1).bit_length())
    count = min(groups[0], recipe.outputs)
    walkers = max(n for n in range(1, min(count, groups[1]) + 1) if count % n == 0)
    config = KernelConfig("balanced", 1, count, index_bits, window=window, walkers=walkers)
    model, plan = _planned(shape, recipe, config, seed)
    decoded = decode_image(weight_image(model, plan), plan)["layer0"]
    np.testing.assert_array_equal(decoded.codes, model.layers[0].codes)
    np.testing.assert_array_equal(decoded.bias, model.layers[0].bias)


def test_balanced_layers_take_the_steps_of_their_pattern() -> None:
    """Channels of one block in any order come together again."""
    rng = np.random.default_rng(1)
    counts = np.zeros((12, 20), np.int64)
    for block in range(3):
        counts[4 * block : 4 * block + 4] = rng.integers(0, 3, 20)
    order = rng.permutation(12)
    slots = similar_rows(counts[order], 4)
    assert {frozenset(order[members] // 4) for members in slots} == {
        frozenset([0]), frozenset([1]), frozenset([2]),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "config", "message"),
    [
        (Recipe(4, (3, 3), stride=2), {"window": 2}, "a window of 2 needs stride 1, not 2"),
        (Recipe(4, (3, 3)), {"window": 4}, "window must be at most the 3 places of a row, not 4"),
        (Recipe(4, (3, 3), groups=2), {}, "takes no convolution groups"),
        (Recipe(4, (3, 3)), {"index_bits": 3}, "index_bits must be 1 to 2 for 4 input channels"),
    ],
)
def test_kernels_that_cannot_be(recipe: Recipe, config: dict[str, int], message: str) -> None:
    plain = {"family": "balanced", "tile_rows": 1, "groups": 2, "index_bits": 2, **config}
    with pytest.raises(PyadmmError, match=message):
        _planned((4, 7, 7), recipe, KernelConfig(**plain))  # type: ignore[arg-type]


def test_a_program_without_an_end_is_refused() -> None:
    config = KernelConfig("balanced", 1, 2, 2, window=3)
    model, plan = _planned((3, 6, 6), Recipe(3, (3, 3), output=None), config)
    image = weight_image(model, plan)
    form = plan.stages[0].balanced_format
    body = image[2 : 2 + plan.stages[0].entry_capacity]
    body[-1] &= np.uint32((1 << form.last_bit) - 1)
    with pytest.raises(PyadmmError, match="last step does not end its slot"):
        decode_image(image, plan)


def test_walkers_share_the_steps_of_a_pattern() -> None:
    """Two rows in lock step: three walkers of two groups take a third of the steps of one."""
    rng = np.random.default_rng(2)
    codes = np.zeros((12, 6, 3, 3), np.int16)
    codes[::2] = rng.integers(1, 3, codes[::2].shape) * (rng.random(codes[::2].shape) < 0.4)
    codes[1::2] = codes[::2]
    model, plan = _planned((6, 9, 9), Recipe(12, (3, 3), output=None), KernelConfig("dense", 1, 1))
    layer = replace(model.layers[0], codes=codes)
    steps = {}
    for groups, walkers in ((2, 1), (6, 3), (6, 1)):
        config = KernelConfig("balanced", 1, groups, 3, window=3, walkers=walkers)
        stage = replace(plan.stages[0], config=config)
        steps[groups, walkers] = balanced.needed_steps(layer.window_codes, stage)
        words = balanced.group_words(layer, stage)
        assert sorted(o for _, channels in words for o in channels) == list(range(12))
        assert [len(content) for content, _ in words[:2]] == [len(words[0][0])] * 2
    assert steps[2, 1][1] == 6
    assert steps[6, 3][1] == steps[6, 1][1] == 2
    assert steps[6, 3][0] <= 1.2 * steps[2, 1][0] / 3
    assert steps[6, 3][0] < steps[6, 1][0]


def test_walkers_divide_the_groups() -> None:
    with pytest.raises(PyadmmError, match="walkers must divide the 4 groups, not 3"):
        KernelConfig("balanced", 1, 4, 2, walkers=3)


def test_other_families_have_no_window_and_no_walkers() -> None:
    with pytest.raises(PyadmmError, match="only a balanced kernel has a window of 3"):
        _planned((3, 6, 6), Recipe(3, (3, 3)), KernelConfig("sparse", 1, 1, 2, window=3))
    with pytest.raises(PyadmmError, match="only a balanced kernel has 2 walkers"):
        _planned((3, 6, 6), Recipe(3, (3, 3)), KernelConfig("sparse", 1, 2, 2, walkers=2))
