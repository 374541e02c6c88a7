"""Compact networks: the same logits from fewer channels, on hardware of other widths too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from pyadmm import container
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.fit import fitted
from pyadmm.hardware.weight_image import weight_image
from pyadmm.model import INPUT, CompressedLayer, CompressedModel, InputSpec, Requant
from pyadmm.model.compact import compact, compact_shapes, widen
from pyadmm.model.types import LayerSpec, QFormat
from tests.unit.arbitrary_models import assert_same, models
from tests.unit.models import planned, random_data, random_images, random_lenet5, shipped_models

RELAXED = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@RELAXED
@given(models())
def test_logits_stay_and_no_shape_grows(model: CompressedModel) -> None:
    images = random_data(np.random.default_rng(0), 3, model.input)
    small = compact(model)
    np.testing.assert_array_equal(small.run(images), model.run(images))
    assert [node.name for node in small.nodes] == [node.name for node in model.nodes]
    for node in model.nodes:
        assert small.shape_of(node.name)[0] <= model.shape_of(node.name)[0]
        assert small.shape_of(node.name)[1:] == model.shape_of(node.name)[1:]
    assert_same(compact(small), small)


def sparse_lenet5(seed: int = 0, live: tuple[int, ...] = (9, 20, 40)) -> CompressedModel:
    """A LeNet-5 in which only the first ``live`` channels of each hidden layer have weights."""
    model = random_lenet5(seed)
    counts = dict(zip(("conv1", "conv2", "fc1"), live, strict=True))

    def emptied(layer: CompressedLayer) -> CompressedLayer:
        codes = layer.codes.copy()
        codes[counts.get(layer.name, layer.spec.outputs) :] = 0
        return replace(layer, codes=codes)

    nodes = (emptied(n) if isinstance(n, CompressedLayer) else n for n in model.nodes)
    return replace(model, nodes=tuple(nodes))


def test_dead_channels_leave_the_shapes() -> None:
    small = compact(sparse_lenet5())
    shapes = {layer.name: layer.spec.window_shape for layer in small.layers}
    assert shapes["conv1"][0] <= 9
    assert shapes["conv2"][0] <= 20
    assert shapes["fc1"][0] <= 40
    assert shapes["conv2"][1] == shapes["conv1"][0]
    assert shapes["fc1"][1:] == (shapes["conv2"][0], 4, 4)
    assert shapes["fc2"] == (10, shapes["fc1"][0], 1, 1)
    both = compact_shapes(sparse_lenet5())
    assert both["conv2"] == ((50, 20, 5, 5), shapes["conv2"])


def test_a_smaller_model_loads_into_wider_hardware() -> None:
    large, small = (compact(sparse_lenet5(live=live)) for live in ((9, 20, 40), (7, 12, 30)))
    plan = planned(large)
    with pytest.raises(PyadmmError, match="shape .* differs from the accelerator's"):
        weight_image(small, plan)
    loaded = fitted(small, plan)
    assert [layer.spec for layer in loaded.layers] == [stage.spec for stage in plan.stages]
    images = random_images(np.random.default_rng(1), 5, large.input.shape)
    np.testing.assert_array_equal(loaded.run(images), small.run(images))
    assert fitted(large, plan) is large


def depthwise_network(live: int) -> CompressedModel:
    """Pointwise, depthwise and pointwise layer; ``live`` of the 8 channels between them have weights."""
    rng = np.random.default_rng(0)
    byte, size = QFormat(8, False), (6, 6)
    specs = [
        LayerSpec("expand", "conv", (8, 3, 1, 1), (3, *size)),
        LayerSpec("depthwise", "conv", (8, 1, 3, 3), (8, *size), 1, 1, 8),
        LayerSpec("project", "conv", (5, 8, 1, 1), (8, *size)),
    ]
    nodes, source = [], INPUT
    for spec in specs:
        codes = rng.choice([-2, -1, 1, 2], spec.weight_shape).astype(np.int16)
        bias = np.full(spec.outputs, 1000)
        if spec.name == "expand":
            codes[live:], bias[live:] = 0, 0
        nodes.append(CompressedLayer(spec, source, codes, 3, bias, Requant((3,), 4), byte))
        source = spec.name
    return CompressedModel("depthwise", InputSpec((3, *size), byte), tuple(nodes))


def test_depthwise_layers_lose_dead_channels() -> None:
    model = depthwise_network(5)
    small = compact(model)
    shapes = [layer.spec.window_shape for layer in small.layers]
    assert shapes == [(5, 3, 1, 1), (5, 1, 3, 3), (5, 5, 1, 1)]
    assert small.layers[1].spec.groups == 5
    images = random_data(np.random.default_rng(1), 4, model.input)
    np.testing.assert_array_equal(small.run(images), model.run(images))


def test_depthwise_layers_become_as_wide_as_their_input() -> None:
    small = compact(depthwise_network(5))
    wide = widen(small, {"expand": 7})
    assert [layer.spec.outputs for layer in wide.layers] == [7, 7, 5]
    images = random_data(np.random.default_rng(1), 4, small.input)
    np.testing.assert_array_equal(wide.run(images), small.run(images))


def test_a_larger_model_is_refused() -> None:
    small, large = (compact(sparse_lenet5(live=live)) for live in ((7, 12, 30), (9, 20, 40)))
    plan = planned(small)
    with pytest.raises(PyadmmError, match=r"conv1: \d+ channels of model lenet5 do not fit \d"):
        fitted(large, plan)
    with pytest.raises(PyadmmError, match="fc2: 10 channels of model lenet5 do not fit 11"):
        widen(small, {"fc2": 11})


@pytest.mark.parametrize("path", shipped_models("cifar10"), ids=lambda path: path.stem)
def test_shipped_networks_with_sums_keep_every_logit(path: Path) -> None:
    model = container.load(path)
    small = compact(model)
    assert small.weights < model.weights
    images = random_data(np.random.default_rng(0), 3, model.input)
    np.testing.assert_array_equal(small.run(images), model.run(images))
