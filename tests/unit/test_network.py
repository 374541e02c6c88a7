"""The network: cutting dead channels off, state, and equality with the integer model."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pyadmm import container
from pyadmm.core.errors import PyadmmError
from pyadmm.model import CompressedModel
from pyadmm.model.reorder import sort_channels
from pyadmm.network.activation_scales import calibrate
from pyadmm.network.execution import Numerics
from pyadmm.network.fake_quant import quantize_weight, requantize
from pyadmm.network.graph import Network
from pyadmm.network.input_encoding import input_spec
from pyadmm.network.to_integer import requant_of, snap_scales, to_compressed
from pyadmm.network.trace import trace
from pyadmm.settings import InputSettings
from pyadmm.training.data import Images


def _network(settings: InputSettings | None = None, *, average: bool = False) -> Network:
    torch.manual_seed(5)
    pool: nn.Module = nn.AvgPool2d(2) if average else nn.MaxPool2d(2)
    model = nn.Sequential(
        nn.Conv2d(2, 8, 3), pool, nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(12 * 16, 20), nn.ReLU(), nn.Linear(20, 6), nn.Linear(6, 4),
    )  # fmt: skip
    return trace(model, input_spec(settings or InputSettings(), (2, 10, 10)))


class _Block(nn.Module):
    """Two residual blocks, one with each kind of shortcut, and an average."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1, bias=False)
        self.a = nn.Sequential(
            nn.Conv2d(6, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 10, 1)
        )
        self.b = nn.Sequential(nn.Conv2d(10, 10, 3, padding=1, groups=2), nn.BatchNorm2d(10))
        self.side = nn.Sequential(nn.Conv2d(10, 10, 1, bias=False), nn.BatchNorm2d(10))
        self.pool = nn.AvgPool2d(5)
        self.fc = nn.Linear(10, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.first(x), 3, 1, 1).relu()
        x = (self.a(x) + nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))).relu()
        y = nn.functional.max_pool2d(x, 3, 1, 1)
        x = self.b(x) + self.side(y)
        return self.fc(self.pool(x).flatten(1))


def _graph(settings: InputSettings | None = None) -> Network:
    torch.manual_seed(5)
    model = _Block()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias, std=0.3)
            module.running_mean = 0.1 * torch.randn(module.num_features)
            module.running_var = torch.rand(module.num_features) + 0.5
    spec = input_spec(settings or InputSettings(8), (2, 10, 10))
    return trace(model, spec)


def _images(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(9)
    return torch.randint(0, 256, (count, 2, 10, 10), generator=generator, dtype=torch.uint8)


def _prune(network: Network, share: float) -> None:
    generator = torch.Generator().manual_seed(11)
    for layer in network.layers.values():
        layer.apply_mask((torch.rand(layer.weight.shape, generator=generator) < share).float())
        layer.weight.data.mul_(3)
        layer.bias.data.normal_(std=0.1, generator=generator)


@pytest.mark.parametrize(
    "settings",
    [
        InputSettings(8),
        InputSettings(4),
        InputSettings(1),
        InputSettings(8, (128, 3), 2.0),
        InputSettings(5, (128,)),
    ],
)
def test_encode_equals_the_integer_input(settings: InputSettings) -> None:
    network = _network(settings)
    images = _images(50)
    expected = network.input.quantize(images.numpy())
    np.testing.assert_array_equal(network.encode(images).numpy(), expected)


def test_scale_of_the_input_is_that_of_the_float_network() -> None:
    spec = input_spec(InputSettings(8, (128,), 2.0), (1, 1, 1))
    byte = np.array([[[[200]]]], np.uint8)
    assert float(spec.quantize(byte)[0, 0, 0, 0] * spec.format.scale) == pytest.approx(
        (200 - 128) * 2 / 255
    )


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("share", [0.002, 0.02, 0.2])
def test_shrinking_changes_nothing_but_the_size(share: float, average: bool) -> None:
    network = _network(average=average)
    _prune(network, share)
    small = network.shrink()
    codes = network.encode(_images(20))
    with torch.no_grad():
        assert torch.allclose(network(codes), small(codes), atol=1e-5)
    assert small.nnz <= network.nnz
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_shrinking_a_graph_changes_nothing(share: float) -> None:
    network = _graph()
    _prune(network, share)
    if share < 0.1:
        network.layers["a.0"].apply_mask(torch.zeros_like(network.layers["a.0"].mask))
    small = network.shrink()
    codes = network.encode(_images(20))
    with torch.no_grad():
        assert torch.allclose(network(codes), small(codes), atol=1e-4)
        assert torch.allclose(network(codes), small.fold_norms()(codes), atol=1e-4)
    assert len(small.layers["first"].outputs) == 6
    if share < 0.1:
        assert len(small.layers["a.0"].outputs) < 8
        norm = small.layers["a.0"].norm
        assert norm is not None
        assert norm.num_features == len(small.layers["a.0"].outputs)


def test_state_of_a_graph_gives_an_equal_graph_back() -> None:
    network = _graph()
    copy = network.copy()
    codes = network.encode(_images(4))
    assert torch.equal(network(codes), copy(codes))
    assert copy.sources == network.sources
    assert [step.facts for step in copy.chain] == [step.facts for step in network.chain]
    folded = network.fold_norms()
    folded = folded.at(Numerics.LEVELS)
    assert torch.equal(folded(codes), folded.copy()(codes))
    calibrate(folded, Images(_images(20), torch.zeros(20, dtype=torch.int64)))
    folded = folded.at(Numerics.INTEGER)
    assert torch.equal(folded(codes), folded.copy()(codes))


def test_large_images_are_evaluated_in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    images = Images(_images(50), torch.arange(50))
    network = _graph().fold_norms()
    calibrate(network, images)
    scales = torch.cat([scale.detach().reshape(-1) for scale in network.scales()])
    monkeypatch.setattr("pyadmm.training.data.EVALUATION_BYTES", 7 * images.pool[0].numel() + 3)
    parts = list(images.parts())
    assert [len(labels) for _, labels in parts] == [7] * 7 + [1]
    assert torch.equal(torch.cat([part for part, _ in parts]), images.images)
    calibrate(network, images)
    again = torch.cat([scale.detach().reshape(-1) for scale in network.scales()])
    torch.testing.assert_close(again, scales)
    assert (scales != 0).sum() > 5
    monkeypatch.setattr("pyadmm.training.data.EVALUATION_BYTES", 1)
    assert images.evaluated_together(500) == 1


@pytest.mark.parametrize("settings", [InputSettings(8), InputSettings(5, (100, 7), 2.0)])
def test_integer_graph_equals_the_quantised_network(settings: InputSettings) -> None:
    """In double precision, where every product of integers is exact: equal on every image."""
    network = _graph(settings)
    _prune(network, 0.6)
    images = _images(200)
    for layer in network.layers.values():
        layer.fit_weight_scale()
    network = network.fold_norms()
    calibrate(network, Images(images, torch.zeros(200, dtype=torch.int64)))
    network = network.at(Numerics.INTEGER)
    snap_scales(network)
    with torch.no_grad():
        single = network(network.encode(images)).numpy()
        golden = to_compressed(network, "m").run(images.numpy())
        double = network.double()
        logits = double(double.encode(images).double()).numpy()
    model = to_compressed(double, "m")
    unit = model.layers[-1].output.scale
    np.testing.assert_array_equal(np.rint(logits / unit), model.run(images.numpy()))
    assert np.isclose(single / unit, golden, atol=1e-2).all(1).mean() > 0.97
    kinds = [type(node).__name__ for node in model.nodes]
    assert kinds.count("Add") == 2
    assert kinds.count("AvgPool") == 1
    assert kinds.count("MaxPool") == 2
    assert len(model.layer("side.0").requant.mult) == 10
    assert len(model.layer("first").requant.mult) == 1
    assert len(np.unique(golden)) > 20
    side = network.layers["side.0"]
    wanted = side.log_q.exp()[torch.argsort(side.outputs)].tolist()
    found = model.layer("side.0").weight_scale
    assert len(found) == 10
    assert np.take(found, np.sort(side.outputs)) == pytest.approx(
        wanted, rel=1e-4, abs=2**-16 * max(wanted)
    )
    for ordered in (model, sort_channels(model)):
        _assert_one_scale_is_written_for_a_layer(ordered)


def _assert_one_scale_is_written_for_a_layer(model: CompressedModel) -> None:
    data = container.encode(model)
    assert [layer.weight_scale for layer in container.decode(data).layers] == [
        layer.weight_scale for layer in model.layers
    ]
    first = {n.name: replace(n, weight_scale=n.weight_scale[:1]) for n in model.layers}
    one_each = replace(model, nodes=tuple(first.get(n.name, n) for n in model.nodes))
    assert len(data) <= len(container.encode(one_each)) + 4


def test_a_folded_norm_keeps_the_codes_up_to_the_sign_of_its_factor() -> None:
    network = _graph()
    network.layers["side.0"].fit_weight_scale()
    before = network.layers["side.0"]
    network = network.at(Numerics.LEVELS)
    codes = network.encode(_images(4))
    with torch.no_grad():
        assert torch.allclose(network(codes), network.fold_norms()(codes), atol=1e-4)
    after = network.fold_norms().layers["side.0"]
    assert before.norm is not None
    sign = before.norm.weight.detach().sign().reshape(-1, 1, 1, 1)
    assert torch.equal(before.weight_codes() * sign, after.weight_codes())
    assert after.norm is None


def test_state_gives_an_equal_network_back() -> None:
    network = _network()
    _prune(network, 0.1)
    network = network.shrink()
    copy = network.copy()
    codes = network.encode(_images(4))
    assert torch.equal(network(codes), copy(codes))
    assert [layer.facts for layer in copy.layers.values()] == [
        layer.facts for layer in network.layers.values()
    ]


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("settings", [InputSettings(4), InputSettings(8, (100, 7))])
def test_integer_model_equals_the_quantised_network(settings: InputSettings, average: bool) -> None:
    network = _network(settings, average=average)
    _prune(network, 0.3)
    network = network.shrink()
    images = _images(300)
    for layer in network.layers.values():
        layer.fit_weight_scale()
    calibrate(network, Images(images, torch.zeros(300, dtype=torch.int64)))
    network = network.at(Numerics.INTEGER)
    snap_scales(network)
    model = to_compressed(network, "m")
    unit = model.layers[-1].output.scale
    with torch.no_grad():
        logits = network(network.encode(images)).double() / unit
    same = np.isclose(logits.numpy(), model.run(images.numpy()), atol=1e-2).all(1)
    assert same.mean() > 0.99  # a float32 product may round a tie the other way
    assert model.nnz == network.nnz
    assert [layer.spec.weight_shape for layer in model.layers] == [
        (8, 2, 3, 3),
        (12, 8, 3, 3),
        (20, 192),
        (6, 20),
        (4, 6),
    ]
    assert len(np.unique(model.run(images.numpy()))) > 20


def test_float_network_has_no_integer_model() -> None:
    with pytest.raises(PyadmmError, match="must be quantised"):
        to_compressed(_network(), "m")


def test_few_bits_of_biases_and_multipliers() -> None:
    network = _network()
    images = _images(300)
    for layer in network.layers.values():
        layer.fit_weight_scale()
    calibrate(network, Images(images, torch.zeros(300, dtype=torch.int64)))
    network = network.at(Numerics.INTEGER)
    for layer in network.layers.values():
        layer.facts = replace(layer.facts, bias_fraction_bits=-1)
    snap_scales(network, 5)
    model = to_compressed(network, "m")
    for layer in model.layers[:-1]:
        assert layer.requant.mult[0] < 32
        step = 2**layer.requant.shift / layer.requant.mult[0]
        assert not (layer.bias % 2 ** (math.floor(math.log2(step)) + 1)).any()
    unit = model.layers[-1].output.scale
    with torch.no_grad():
        logits = network(network.encode(images)).double() / unit
    same = np.isclose(logits.numpy(), model.run(images.numpy()), atol=1e-2).all(1)
    assert same.mean() > 0.85  # few bits make many ties, which a float32 product may round down


@pytest.mark.parametrize("ratio", [1e-6, 0.013, 0.49999999, 0.5, 1.0, 3.7, 20000.0])
def test_requantiser_is_as_near_as_16_bits_allow(ratio: float) -> None:
    requant = requant_of(ratio)
    assert requant.mult[0] / 2**requant.shift == pytest.approx(ratio, rel=2**-15)


@pytest.mark.parametrize("ratio", [0.0, -1.0, 1e9, float("nan")])
def test_impossible_requantiser_is_refused(ratio: float) -> None:
    with pytest.raises(PyadmmError, match="ratio must be above 0"):
        requant_of(ratio)


def test_weight_gradient_passes_inside_the_range_only() -> None:
    w = torch.tensor([0.3, -1.2, 5.0, 0.7], requires_grad=True)
    q = torch.tensor(0.5, requires_grad=True)
    mask = torch.tensor([1.0, 1.0, 1.0, 0.0])
    codes = quantize_weight(w, q, 2, mask)
    assert codes.tolist() == [1.0, -2.0, 2.0, 0.0]
    (codes * q).sum().backward()
    assert w.grad is not None
    assert w.grad.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert q.grad is not None  # learned step size: code - w/q inside, the code itself outside
    assert float(q.grad) == pytest.approx((1 - 0.6) - 2 + 2)


def test_requantise_rounds_half_up_and_clamps() -> None:
    acc = torch.tensor([-4.0, -0.5, 0.5, 1.49, 99.0])
    assert requantize(acc, torch.tensor(1.0), 0, 15).tolist() == [0, 0, 1, 1, 15]
    assert requantize(acc, torch.tensor(1.0), -2, 1).tolist() == [-2, 0, 1, 1, 1]
