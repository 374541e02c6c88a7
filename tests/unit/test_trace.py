"""Tracing: the network computes what the module computes, and what it cannot is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyadmm import zoo
from pyadmm.core.errors import PyadmmError
from pyadmm.model import InputSpec
from pyadmm.model.types import QFormat
from pyadmm.network.layers import AddStep
from pyadmm.network.trace import trace

_BYTES = InputSpec((2, 9, 9), QFormat(8, False, 1 / 255))


def _codes(count: int, spec: InputSpec) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    size = (count, *spec.shape)
    return torch.randint(0, spec.format.hi + 1, size, generator=generator).float()


class Functional(nn.Module):
    """The functional spellings."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4 * 4 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        x = F.dropout(x, 0.5, self.training)
        return self.fc(x.view(x.size(0), -1))


def _models() -> dict[str, nn.Module]:
    return {
        "functional": Functional(),
        "average": nn.Sequential(
            nn.Conv2d(2, 6, 3, stride=2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 5)
        ),
        "global average": nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.AdaptiveAvgPool2d(1), nn.ReLU(), nn.Flatten(), nn.Linear(6, 5)
        ),
        "groups": nn.Sequential(
            nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 7, 7)
        ),
        "vector norm": nn.Sequential(
            nn.Flatten(), nn.Linear(162, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)
        ),
        "two pools": nn.Sequential(
            nn.Conv2d(2, 3, 2), nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3)
        ),
    }


@pytest.mark.parametrize("name", sorted(_models()))
def test_network_equals_module(name: str) -> None:
    torch.manual_seed(1)
    model = _models()[name]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features)
            module.running_var = torch.rand(module.num_features) + 0.5
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    codes = _codes(5, _BYTES)
    model.eval()
    with torch.no_grad():
        expected = model(codes / 255).flatten(1)
        assert torch.allclose(trace(model, _BYTES)(codes), expected, atol=1e-5)


class OptionA(nn.Module):
    """Blocks with shortcuts without weights and with 1x1 convolutions, sums in all spellings."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.side = nn.Sequential(nn.Conv2d(8, 8, 1, stride=2), nn.BatchNorm2d(8))
        self.c = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.a(x), 3, 1, padding=1).relu()
        y = self.norm(self.b(x))
        x = F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 3)))
        z = self.c(x)
        z += self.side(x)
        z = torch.add(z, F.max_pool2d(x, 3, 2, 1))
        z = F.avg_pool2d(z, z.size(3))
        return self.fc(F.dropout(torch.flatten(z, 1), 0.3, self.training))


def test_graph_with_every_kind_of_shortcut() -> None:
    torch.manual_seed(1)
    model = OptionA().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            module.running_var = torch.rand(module.num_features) + 0.5
    network = trace(model, _BYTES)
    codes = _codes(5, _BYTES)
    with torch.no_grad():
        expected = model(codes / 255)
        assert torch.allclose(network(codes), expected, atol=1e-5)
        assert torch.allclose(network.fold_norms()(codes), expected, atol=1e-5)
    assert len(network.norms) == 2
    assert network.sources == {
        "a": ("input",),
        "b": ("a",),
        "getitem": ("a",),
        "add": ("b", "getitem"),
        "c": ("add",),
        "side.0": ("add",),
        "add_1": ("c", "side.0"),
        "max_pool2d_1": ("add",),
        "add_2": ("add_1", "max_pool2d_1"),
        "avg_pool2d": ("add_2",),
        "fc": ("avg_pool2d",),
    }


def test_training_norms_learns_like_the_module() -> None:
    torch.manual_seed(1)
    model = OptionA()
    network = trace(model, _BYTES).train()
    model.train()
    codes = _codes(8, _BYTES)
    network(codes)
    x = F.max_pool2d(model.a(codes / 255), 3, 1, padding=1).relu()
    model.norm(model.b(x))
    norm = network.layers["b"].norm
    assert norm is not None
    assert norm.running_var is not None
    assert model.norm.running_var is not None
    assert torch.allclose(norm.running_var, model.norm.running_var)
    assert {id(p) for p in norm.parameters()} <= {id(p) for p in network.trainable()}
    assert all(p is not network.layers["b"].bias for p in network.trainable())


ZOO = {
    "lenet5": (430_500, 4),
    "lenet300": (266_200, 3),
    "resnet20": (268_336, 20),
    "resnet56": (848_944, 56),
    "alexnet": (60_954_656, 8),
    "alexnet-torchvision": (61_090_496, 8),
    "vgg16": (138_344_128, 16),
    "resnet50": (25_502_912, 54),
}


def test_every_network_of_the_zoo_has_its_size_here() -> None:
    assert sorted(ZOO) == zoo.names()


@pytest.mark.parametrize("name", [name for name in sorted(ZOO) if ZOO[name][0] < 1e6])
def test_zoo_is_traced(name: str) -> None:
    spec = InputSpec(zoo.entry(name).shape, QFormat(4, False, 1 / 15), shift=4)
    torch.manual_seed(1)
    model = zoo.build(name).eval()
    codes = _codes(3, spec)
    network = trace(model, spec)
    with torch.no_grad():
        assert torch.allclose(network(codes), model(codes / 15), atol=1e-5)
    assert (network.weights, len(network.layers)) == ZOO[name]


@pytest.mark.parametrize("name", [name for name in sorted(ZOO) if ZOO[name][0] > 1e6])
def test_large_networks_have_their_weights(name: str) -> None:
    """Counted without making the weights: the meta device has shapes only."""
    with torch.device("meta"):
        model = zoo.build(name)
        layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        shape = model(torch.zeros(2, *zoo.entry(name).shape)).shape
    assert (sum(m.weight.numel() for m in layers), len(layers)) == ZOO[name]
    assert shape == (2, 1000)


@pytest.mark.parametrize("name", [name for name in sorted(ZOO) if ZOO[name][0] > 1e6])
def test_large_networks_are_traced_at_full_size(name: str) -> None:
    with torch.device("meta"):
        network = trace(zoo.build(name), InputSpec(zoo.entry(name).shape, QFormat(8, False)))
    specs = {layer: step.facts.spec for layer, step in network.layers.items()}
    assert (network.weights, len(specs)) == ZOO[name]
    first, *_, last = specs.values()
    assert last.output_shape == (1000, 1, 1)
    assert (
        first.output_shape
        == {
            "alexnet": (96, 55, 55),
            "alexnet-torchvision": (64, 55, 55),
            "vgg16": (64, 224, 224),
            "resnet50": (64, 112, 112),
        }[name]
    )
    if name == "alexnet":
        assert [spec.groups for spec in specs.values()] == [1, 2, 1, 2, 2, 1, 1, 1]
        assert [spec.macs for spec in specs.values()][:2] == [105_415_200, 223_948_800]
        assert specs["fc6"].kernel == (6, 6)
    if name == "resnet50":
        assert specs["layer4.0.conv2"].stride == (2, 2)
        assert specs["layer4.2.conv3"].output_shape == (2048, 7, 7)
        assert sum(isinstance(step, AddStep) for step in network.chain) == 16


def test_resnet50_is_traced_on_a_small_image() -> None:
    torch.manual_seed(1)
    model = zoo.build("resnet50").eval()
    spec = InputSpec((3, 64, 64), QFormat(8, False, 1 / 255))
    codes = _codes(2, spec)
    network = trace(model, spec)
    with torch.no_grad():
        expected = model(codes / 255)
        assert torch.allclose(network(codes), expected, rtol=1e-3, atol=1e-4)
    assert (network.weights, len(network.layers)) == ZOO["resnet50"]
    assert network.sources["layer1.0.add"] == ("layer1.0.conv3", "layer1.0.downsample.0")


def test_unknown_zoo_name_lists_the_known() -> None:
    with pytest.raises(PyadmmError, match="'lenet6' is unknown; choose one of: alexnet, .*lenet5"):
        zoo.build("lenet6")


class Residual(nn.Module):
    """A sum as the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 2, 3, padding=1)
        self.b = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.b(y) + y


_TAILS: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "cat": lambda m, x, y: m.wide(torch.cat([x, y], 1)),
    "relu": lambda m, x, y: m.b(F.relu(y) + y),
    "norm": lambda m, x, y: m.b(m.norm(y) + y),
    "twice": lambda m, x, y: m.b(m.a(y)),
    "scaled": lambda m, x, y: m.b(torch.add(x, y, alpha=2)),
    "difference": lambda m, x, y: m.b(y - x),
    "broadcast": lambda m, x, y: m.b(y + m.c(x)),
    "cropped": lambda m, x, y: m.c(y[:, :, 1:, 1:]),
    "padded": lambda m, x, y: m.b(F.max_pool2d(y + x, 3, 1, 1)),
    "reflected": lambda m, x, y: m.b(F.pad(y, (1, 1, 1, 1))),
}


class Joined(nn.Module):
    """What a graph may not do with the input ``x`` and the map ``y = a(x)``."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.a = nn.Conv2d(2, 2, 3, padding=1)
        self.b = nn.Conv2d(2, 3, 9)
        self.c = nn.Conv2d(2, 1, 1)
        self.wide = nn.Conv2d(4, 3, 9)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return _TAILS[self.kind](self, x, self.a(x))


class Unread(nn.Module):
    """A layer whose output nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 2, 3)
        self.b = nn.Conv2d(2, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.a(x)
        return self.b(x)


class Branching(nn.Module):
    """Control flow on data."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.Sigmoid()), "layer 1: Sigmoid is not supported"),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()), "must end with a Conv2d or Linear"),
        (nn.Sequential(nn.Flatten()), "must end with"),
        (Residual(), "must end with a Conv2d or Linear"),
        (Joined("cat"), "node cat: reads x, a; only a residual sum may join maps"),
        (Joined("relu"), "layer relu: follows a, whose output is also read by add"),
        (Joined("norm"), "layer norm: follows a, whose output is also read by add"),
        (Joined("twice"), "layer a: is used twice"),
        (Joined("scaled"), "layer add: only the plain sum"),
        (Joined("difference"), "node sub: reads a, x; only a residual sum"),
        (Joined("broadcast"), r"layer add: cannot add maps of shapes \(2, 9, 9\), \(1, 9, 9\)"),
        (Joined("cropped"), r"layer getitem: only x\[:, :, ::s, ::s\]"),
        (Joined("reflected"), "layer pad: only channels of zeros can be padded"),
        (Joined("padded"), "layer max_pool2d: a padded maximum must have a ReLU before it"),
        (
            nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(3, 3, 4)),
            "layer 1: a padded maximum must have a ReLU",
        ),
        (Unread(), "layer a: nothing reads its output"),
        (Branching(), "cannot be traced"),
        (nn.Sequential(nn.Conv2d(3, 3, 3)), "cannot be traced on an input of shape .*: layer 0: "),
        (nn.Sequential(nn.ConvTranspose2d(2, 3, 3)), "layer 0: ConvTranspose2d is not supported"),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.LSTM(9, 3)), "layer 1: .*LSTM"),
        (nn.Sequential(nn.Conv2d(2, 3, (3, 1), (2, 1))), "stride must be the same in both"),
        (nn.Sequential(nn.Conv2d(2, 3, 3, dilation=2)), "dilation is not supported"),
        (nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")), "padding must"),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.AvgPool2d(3, padding=1)), "must have no padding"),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2, ceil_mode=True)), "no dilation or ceil"),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(2)), "can be averaged, to 1x1"),
        (nn.Sequential(nn.ReLU(), nn.Conv2d(2, 3, 3)), "a ReLU must follow"),
        (nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3)), "a BatchNorm must directly follow"),
    ],
)
def test_unsupported_is_named(
    model: nn.Module, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PyadmmError, match=message):
        trace(model, _BYTES)
    assert capsys.readouterr().err == ""
