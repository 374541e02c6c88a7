"""Activations by tables and products of maps: what the integer model holds, and who refuses them."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from pyadmm.compression.pipeline import compress, to_network
from pyadmm.container import codec
from pyadmm.core.errors import PyadmmError
from pyadmm.flow.forecast import obstacle, sketch
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.hardware.sequential.lowering import lower
from pyadmm.model import INPUT, CompressedModel, InputSpec, Lookup, Product, Requant
from pyadmm.model.folding import channel_bounds
from pyadmm.model.types import QFormat
from pyadmm.settings import CompressSettings, from_dict

SHAPE = (1, 8, 8)


def settings(**values: object) -> CompressSettings:
    common = {"pruning_ratio": 1.5, "filters_kept": 1.0, "neurons_kept": 1.0}
    return from_dict({**common, **values})


def conv_net(activation: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), activation, nn.Flatten(), nn.Linear(144, 3))


def silu(x: float) -> float:
    return x / (1 + math.exp(-x))


def test_a_table_holds_the_rounded_activation_of_every_integer() -> None:
    network = to_network(conv_net(nn.SiLU()), settings(activation_bits=5), SHAPE)
    model = sketch(network, settings(activation_bits=5))
    (table,) = [node for node in model.nodes if isinstance(node, Lookup)]
    form = model.format_of(table.source)
    assert (form.bits, form.signed, table.first, len(table.table)) == (8, True, -128, 256)
    assert (table.output.bits, table.output.signed) == (5, True)
    for code, entry in enumerate(table.table, -128):
        exact = silu(code * form.scale) / table.output.scale
        assert min(abs(entry - exact), abs(np.clip(exact, -16, 15) - entry)) <= 0.5 + 1e-4


def test_bounds_of_tables_and_products_hold_every_integer() -> None:
    form = QFormat(3, True)
    bend = Lookup("bend", INPUT, -4, (5, -3, 0, 2, 7, 1, -8, 6), QFormat(4, True))
    square = Product("square", ("bend", "bend"), Requant((3,), 2), QFormat(6, True))
    entry = InputSpec((1, 4, 4), form, (128,), 5)
    model = CompressedModel("m", entry, (bend, square))
    images = np.arange(256, dtype=np.uint8).reshape(16, 1, 4, 4)
    values, bounds = model.run_nodes(images), channel_bounds(model)
    assert values["bend"].min() == bounds["bend"].lo[0] == -8
    assert values["bend"].max() == bounds["bend"].hi[0] == 7
    assert bounds["square"].lo[0] <= values["square"].min()
    assert values["square"].max() <= bounds["square"].hi[0]


@pytest.mark.parametrize(
    ("activation", "reason"),
    [(nn.Hardswish(), "1: the kernels have no tables"), (nn.ReLU6(), "")],
    ids=str,
)
def test_the_forecast_names_the_layer_without_a_kernel(activation: nn.Module, reason: str) -> None:
    network = to_network(conv_net(activation), settings(), SHAPE)
    said = obstacle(network, settings(), load_board("pynq-z2"))
    assert reason in said
    assert bool(said) == bool(reason)


def test_the_sequential_array_names_the_layer_that_it_cannot_compute() -> None:
    model = sketch(to_network(conv_net(nn.Mish()), settings(), SHAPE), settings())
    with pytest.raises(PyadmmError, match="1 is a lookup"):
        lower(model, SequentialArray(groups=4, lanes=64))


def test_a_table_that_would_read_nine_bits_is_refused_before_training() -> None:
    model = nn.Sequential(nn.SiLU(), nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(PyadmmError, match="layer 0: reads the input of 9 bits"):
        to_network(model, settings(input={"bits": 8, "offset": [100]}), SHAPE)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Softmax(1), nn.Flatten(), nn.Linear(144, 3)), "end"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.GLU(1), nn.Flatten(), nn.Linear(72, 3)), "GLU"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4)), "BatchNorm"),
    ],
    ids=["softmax inside", "GLU", "GroupNorm"],
)
def test_what_no_table_computes_is_refused_by_name(module: nn.Module, reason: str) -> None:
    with pytest.raises(PyadmmError, match=f"layer [1-3].*{reason}"):
        to_network(module, settings(), SHAPE)


class Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(6, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Channels become rows, which no convolution reads."""
        return self.second(self.first(x).permute(0, 2, 1, 3)).flatten(1)


def test_transposed_maps_are_taken_by_linear_layers_only() -> None:
    with pytest.raises(PyadmmError, match="layer second: reads a map whose axes were moved"):
        to_network(Transposed(), settings(), SHAPE)


def test_a_network_of_tables_is_compressed_and_keeps_its_integers_in_the_file() -> None:
    torch.manual_seed(0)
    images, labels = torch.randint(0, 256, (48, *SHAPE), dtype=torch.uint8), torch.arange(48) % 3
    short = settings(
        activation_bits=6, continuous={"epochs": 1}, quantize={"epochs": 1}, input={"bits": 8}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # random labels: accuracy is lost
        model = compress(conv_net(nn.SiLU()), short, [(images, labels)], [(images, labels)])
    assert any(isinstance(node, Lookup) for node in model.nodes)
    read = codec.decode(codec.encode(model))
    np.testing.assert_array_equal(read.run(images.numpy()), model.run(images.numpy()))


def test_large_inputs_move_into_the_weights() -> None:
    model = conv_net(nn.ReLU())
    network = to_network(model, settings(input={"bits": 8, "scale": 255.0}), SHAPE)
    assert network.input.format.scale == pytest.approx(1 / 255)
    images = torch.randint(0, 256, (4, *SHAPE), dtype=torch.uint8)
    with torch.no_grad():
        found = network(network.encode(images))
        torch.testing.assert_close(found, model(images.float()), rtol=1e-4, atol=1e-3)
