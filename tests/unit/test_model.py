"""The golden reference against plain-integer loops and PyTorch in double precision."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.model import (
    INPUT,
    Add,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    Concat,
    InputSpec,
    MaxPool,
    Requant,
)
from pyadmm.model.types import LayerSpec, QFormat
from tests.unit.arbitrary_models import layers, pools
from tests.unit.models import random_images, random_layer, random_lenet5

U4 = QFormat(4, False)


def torch_layer(layer: CompressedLayer, x: np.ndarray) -> np.ndarray:
    """Accumulators by PyTorch in float64, exact for these sizes."""
    weight = torch.from_numpy(layer.codes.astype(np.float64))
    bias = torch.from_numpy(layer.bias.astype(np.float64))
    data = torch.from_numpy(x.astype(np.float64))
    if layer.spec.kind == "linear":
        return F.linear(data.flatten(1), weight, bias)[:, :, None, None].numpy()
    spec = layer.spec
    top, left, bottom, right = spec.padding
    data = F.pad(data, (left, right, top, bottom))
    return F.conv2d(data, weight, bias, spec.stride, 0, spec.dilation, spec.groups).numpy()


def one_layer(spec: LayerSpec, seed: int = 0, **facts) -> CompressedModel:
    rng = np.random.default_rng(seed)
    layer = random_layer(rng, spec, INPUT, density=0.3, x_magnitude=255, **facts)
    return CompressedModel("one", InputSpec(spec.input_shape, QFormat(8, False)), (layer,))


@pytest.mark.parametrize(
    "spec",
    [
        LayerSpec("a", "conv", (3, 1, 1, 1), (1, 1, 1)),
        LayerSpec("b", "conv", (4, 3, 5, 3), (3, 7, 9), stride=2, padding=2),
        LayerSpec("c", "conv", (6, 2, 3, 3), (4, 5, 6), padding=1, groups=2),
        LayerSpec("same", "conv", (3, 2, 4, 2), (2, 6, 5), padding=(1, 0, 2, 1)),
        LayerSpec("wide", "conv", (3, 2, 3, 2), (2, 9, 7), (1, 3), (2, 0, 1, 4), 1, (2, 3)),
        LayerSpec("depth", "conv", (6, 1, 3, 3), (3, 6, 7), (2, 1), 1, groups=3, dilation=2),
        LayerSpec("d", "linear", (7, 30), (5, 2, 3)),
        LayerSpec("e", "linear", (2, 9), (9, 1, 1)),
    ],
    ids=lambda spec: spec.name,
)
@pytest.mark.parametrize("per_channel", [False, True])
def test_layer_equals_double_precision(spec: LayerSpec, per_channel: bool) -> None:
    model = one_layer(spec, weight_bits=4, per_channel=per_channel)
    layer = model.layers[0]
    images = random_images(np.random.default_rng(1), 5, spec.input_shape)
    acc = torch_layer(layer, images).astype(np.int64)
    assert_array_equal(layer.accumulate(images.astype(np.int64), 255), acc)
    mult = np.array(layer.requant.mult).reshape(1, -1, 1, 1)
    shifted = (acc * mult + (1 << (layer.requant.shift - 1))) >> layer.requant.shift
    assert_array_equal(model.run_nodes(images)[spec.name], np.clip(shifted, 0, 15))


def test_accumulators_beyond_float32_stay_exact() -> None:
    spec = LayerSpec("wide", "linear", (1, 3), (3, 1, 1))
    codes = np.array([[1, 128, -128]], np.int16)
    bias = np.array([(1 << 40) + 1], np.int64)
    layer = CompressedLayer(spec, INPUT, codes, 8, bias, Requant(), QFormat(48, True))
    x = np.array([3, 250, 251]).reshape(1, 3, 1, 1)
    assert layer.accumulate(x, 255).item() == (1 << 40) + 1 + 3 + 128 * 250 - 128 * 251


def test_pools_and_residual_add_are_integer() -> None:
    shape = (2, 5, 5)
    nodes = (
        MaxPool("max", INPUT, 3, 2),
        AvgPool("avg", INPUT, 3, 2, Requant((7282,), 16), QFormat(8, False)),
        Add("sum", ("max", "avg"), (3, 5), 3, QFormat(8, False)),
    )
    model = CompressedModel("residual", InputSpec(shape, QFormat(8, False)), nodes)
    images = random_images(np.random.default_rng(3), 4, shape)
    values = model.run_nodes(images)
    for n in range(4):
        for c in range(2):
            for i in range(2):
                for j in range(2):
                    window = images[n, c, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].astype(int)
                    top = int(window.max())
                    mean = (int(window.sum()) * 7282 + 2**15) >> 16
                    assert values["max"][n, c, i, j] == top
                    assert values["avg"][n, c, i, j] == mean
                    assert values["sum"][n, c, i, j] == min((top * 3 + mean * 5 + 4) >> 3, 255)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_layers_of_any_geometry(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.tuples(*[st.integers(1, 9)] * 3)))
    layer = data.draw(layers("a", INPUT, shape))
    assume(layer.accumulator_magnitude(255) < 1 << 47)
    x = random_images(np.random.default_rng(data.draw(st.integers(0, 99))), 2, shape)
    expected = torch_layer(layer, x).astype(np.int64)
    assert_array_equal(layer.accumulate(x.astype(np.int64), 255), expected)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_pools_of_any_geometry(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.tuples(*[st.integers(1, 9)] * 3)))
    kind = data.draw(st.sampled_from(["max", "avg"]))
    pool = data.draw(pools("a", INPUT, shape, kind))
    x = random_images(np.random.default_rng(data.draw(st.integers(0, 99))), 2, shape)
    x = x.astype(np.int64) - 100
    top, left, bottom, right = pool.padding
    around = left, right, top, bottom
    real = torch.from_numpy(x.astype(np.float64))
    if isinstance(pool, MaxPool):
        padded = F.pad(real, around, value=-math.inf)
        expected = F.max_pool2d(padded, pool.kernel, pool.stride).numpy()
        assert_array_equal(pool.run([x], 155), expected)
        return
    total = F.avg_pool2d(F.pad(real, around), pool.kernel, pool.stride, divisor_override=1)
    counted = torch.full_like(total, pool.area)
    if pool.border is not None:
        places = _places_within(shape, pool)
        counted = F.avg_pool2d(places, pool.kernel, pool.stride, divisor_override=1)
    mult = np.array(pool.requant.mult).reshape(1, -1, 1, 1)
    count = counted.numpy().astype(np.int64)
    scaled = total.numpy().astype(np.int64) * ((2 * mult * pool.area + count) // (2 * count))
    shifted = (scaled + (1 << (pool.requant.shift - 1))) >> pool.requant.shift
    assert_array_equal(pool.run([x], 155), np.clip(shifted, pool.output.lo, pool.output.hi))


def _places_within(shape: tuple[int, int, int], pool: AvgPool) -> torch.Tensor:
    """1 where a padded map has a place that counts in a divisor, else 0."""
    assert pool.border is not None
    before = [min(b, p) for b, p in zip(pool.border, pool.padding, strict=True)]
    top, left, bottom, right = before
    ones = F.pad(torch.ones(1, *shape, dtype=torch.float64), (left, right, top, bottom), value=1)
    rest = [p - b for b, p in zip(before, pool.padding, strict=True)]
    return F.pad(ones, (rest[1], rest[3], rest[0], rest[2]))


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("include", [False, True])
def test_average_of_torch_options(ceil_mode: bool, include: bool) -> None:
    """A border of the padding counts it; one more row and column is what ``ceil_mode`` adds."""
    x = torch.arange(2 * 64, dtype=torch.float64).reshape(1, 2, 8, 8)
    mean = F.avg_pool2d(x, 3, 2, 1, ceil_mode=ceil_mode, count_include_pad=include)
    end = 1 + (ceil_mode and (8 + 2 - 3) % 2)
    requant = Requant((7282,), 16)
    around, border = (1, 1, end, end), 1 if include else 0
    pool = AvgPool("p", INPUT, 3, 2, requant, QFormat(16, True), around, border)
    assert_array_equal(pool.run([x.numpy().astype(np.int64)], 128), np.floor(mean.numpy() + 0.5))


def test_channels_are_joined_in_one_format() -> None:
    u4, spec = QFormat(4, False), InputSpec((1, 2, 2), QFormat(8, False))
    half = Requant((1,), 1)
    nodes = (
        MaxPool("max", INPUT, 1, 1),
        Concat("all", (INPUT, "max", INPUT), (Requant(), half, Requant((1,), 4)), u4),
    )
    model = CompressedModel("joined", spec, nodes)
    images = np.array([[[[0, 5], [9, 255]]]], np.uint8)
    assert model.shape_of("all") == (3, 2, 2)
    expected = [[0, 5, 9, 15], [0, 3, 5, 15], [0, 0, 1, 15]]
    assert model.run_nodes(images)["all"].reshape(3, 4).tolist() == expected


def test_signed_data_are_unsigned_data_with_the_sign_bit_inverted() -> None:
    spec = InputSpec((2, 1, 1), QFormat(8, True), (3, -4), 1, signed=True)
    data = np.arange(-128, 128, dtype=np.int8).reshape(-1, 2, 1, 1)
    expected = (data.astype(int) - np.array([3, -4]).reshape(1, 2, 1, 1)) >> 1
    assert_array_equal(spec.quantize(data), np.clip(expected, -128, 127))
    flipped = data.view(np.uint8) ^ 0x80
    assert_array_equal(spec.unsigned.quantize(flipped), spec.quantize(data))
    with pytest.raises(PyadmmError, match="images must be int8"):
        spec.quantize(flipped)


@pytest.mark.parametrize(
    ("pool", "reason"),
    [
        (MaxPool("p", INPUT, 2, 1, (2, 0, 0, 0)), "p: a 2x2 window does not fit"),
        (MaxPool("p", INPUT, (2, 5), 1), "p: a 2x5 window does not fit"),
        (AvgPool("p", INPUT, 4, 1, Requant((8000,), 8), U4, 3, 0), "multiplier 128000"),
    ],
)
def test_windows_that_are_no_windows(pool: MaxPool | AvgPool, reason: str) -> None:
    with pytest.raises(PyadmmError, match=reason):
        CompressedModel("m", InputSpec((1, 4, 4), QFormat(8, False)), (pool,))


def test_input_offset_and_shift() -> None:
    spec = InputSpec((2, 1, 1), QFormat(6, True), (128, 100), 3)
    images = np.array([[[[0]], [[255]]]], np.uint8)
    assert spec.quantize(images).ravel().tolist() == [-16, 19]


def test_large_maps_run_in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_lenet5()
    images = random_images(np.random.default_rng(3), 23, (1, 28, 28))
    logits = model.run(images)
    batches: list[int] = []
    plain = CompressedModel.run_nodes

    def counted(self: CompressedModel, images: NDArray[np.uint8]) -> dict[str, NDArray[np.int64]]:
        batches.append(len(images))
        return plain(self, images)

    monkeypatch.setattr(CompressedModel, "run_nodes", counted)
    assert_array_equal(model.run(images, most_integers=500_000), logits)
    assert len(batches) > 1
    assert sum(batches) == 23
    assert_array_equal(model.run(images, most_integers=1), logits)
    assert batches[-1] == 1


def test_lenet5_runs_in_batches_and_counts() -> None:
    model = random_lenet5()
    images = random_images(np.random.default_rng(5), 501, (1, 28, 28))
    logits = model.run(images)
    assert logits.shape == (501, 10)
    assert_array_equal(logits[-1:], model.run(images[-1:]))
    assert model.weights == 430_500
    assert model.pruning_ratio == pytest.approx(430_500 / model.nnz)
    assert model.run(images[:0]).shape == (0, 10)
    labels = logits.argmax(1)
    assert model.accuracy(images, labels) == 1.0


def test_accumulator_bound_holds_at_the_worst_input() -> None:
    model = one_layer(LayerSpec("w", "linear", (4, 20), (20, 1, 1)), weight_bits=3)
    layer = model.layers[0]
    worst = np.where(layer.codes > 0, 255, 0)
    peaks = (layer.codes.astype(np.int64) * worst).sum(1) + layer.bias
    assert np.abs(peaks).max() < 1 << (model.accumulator_bits("w") - 1)


def test_wrong_images_are_refused() -> None:
    model = random_lenet5()
    with pytest.raises(PyadmmError, match="images must be uint8"):
        model.run(np.zeros((1, 1, 28, 28), np.float32))
    with pytest.raises(PyadmmError, match=r"\(N, 1, 28, 28\)"):
        model.run(np.zeros((1, 28, 28), np.uint8))


def test_broken_graphs_are_refused_by_name() -> None:
    model = random_lenet5()
    conv1, pool1, conv2, *_ = model.nodes
    with pytest.raises(PyadmmError, match="'conv1' occurs twice"):
        replace(model, nodes=(conv1, conv1))
    with pytest.raises(PyadmmError, match="conv2 reads 'pool1'"):
        replace(model, nodes=(conv1, conv2))
    with pytest.raises(PyadmmError, match="layer conv2: expects"):
        replace(model, nodes=(conv1, pool1, replace(conv2, source="conv1")))
    with pytest.raises(PyadmmError, match="no layer 'fc9'; it has conv1, conv2"):
        model.layer("fc9")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"weight_bits": 9}, "weight bits"),
        ({"weight_bits": 1}, "exceeds 1"),
        ({"bias": np.zeros(3, np.int64)}, "do not fit"),
        ({"requant": Requant((1, 2), 3)}, "values of mult"),
    ],
)
def test_broken_layers_are_refused(change: dict, word: str) -> None:
    layer = random_lenet5().layer("conv2")
    with pytest.raises(PyadmmError, match=f"layer conv2.*{word}"):
        replace(layer, **change)


@pytest.mark.parametrize(("mult", "shift"), [((0,), 1), ((1 << 16,), 1), ((1,), 0), ((), 1)])
def test_impossible_requantisers_are_refused(mult: tuple[int, ...], shift: int) -> None:
    with pytest.raises(PyadmmError, match="requantise"):
        Requant(mult, shift)


def test_dropping_scales_keeps_the_integers() -> None:
    model = random_lenet5()
    images = random_images(np.random.default_rng(7), 3, (1, 28, 28))
    assert_array_equal(model.without_scales().run(images), model.run(images))
