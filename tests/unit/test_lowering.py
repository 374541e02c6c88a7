"""What the kernels compute instead gives the same logits."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from numpy.testing import assert_array_equal

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.lowering import hardware_form, lowered
from pyadmm.model import (
    INPUT,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    Concat,
    InputSpec,
    MaxPool,
    Requant,
)
from pyadmm.model.types import LayerSpec, QFormat
from tests.unit.arbitrary_models import models
from tests.unit.models import planned, random_data, random_layer

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
U4 = QFormat(4, False)


@settings(max_examples=80, deadline=None, suppress_health_check=SLOW)
@given(models())
def test_any_model_keeps_its_logits(model: CompressedModel) -> None:
    try:
        lower = lowered(model)
    except PyadmmError:  # a name or an accumulator that is at its limit already
        assume(False)
    images = random_data(np.random.default_rng(0), 3, model.input)
    assert_array_equal(lower.run(model.input.bytes_of(images)), model.run(images))
    assert lower.nodes[-1].name == model.nodes[-1].name
    assert not any(isinstance(node, Concat) for node in lower.nodes)
    for layer in lower.layers:
        assert len({*layer.spec.padding}) == 1
        assert layer.spec.dilation == (1, 1)


def test_every_option_gets_an_accelerator() -> None:
    rng = np.random.default_rng(0)

    def layer(name: str, source: str, spec: LayerSpec, **facts: object) -> CompressedLayer:
        return random_layer(rng, spec, source, density=0.7, **facts)  # type: ignore[arg-type]

    nodes = (
        layer("a", INPUT, LayerSpec("a", "conv", (4, 1, 3, 2), (1, 9, 9), 1, (1, 0, 1, 1))),
        layer("b", INPUT, LayerSpec("b", "conv", (3, 1, 3, 3), (1, 9, 9), 1, 2, 1, 2)),
        Concat("all", ("a", "b", "a"), (Requant(), Requant((3,), 2), Requant((1,), 1)), U4),
        MaxPool("max", "all", 3, 2, (1, 1, 0, 1)),
        AvgPool("avg", "max", (2, 3), 1, Requant((9000,), 16), U4, (0, 1, 1, 0)),
        layer("fc", "avg", LayerSpec("fc", "linear", (3, 176), (11, 4, 4)), output=None),
    )
    model = CompressedModel("m", InputSpec((1, 9, 9), QFormat(4, False), shift=4), nodes)
    lower = hardware_form(model)
    images = random_data(rng, 20, model.input)
    assert_array_equal(lower.run(images), model.run(images))
    assert len(np.unique(model.run(images))) > 10
    plan = planned(lower)
    assert {unit.node for unit in plan.units} >= {"all", "max", "avg", "fc"}
