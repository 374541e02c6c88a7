"""Tracing: the network computes what the module computes, and what it cannot is refused by name."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyadmm import zoo
from pyadmm.errors import PyadmmError
from pyadmm.model import InputSpec
from pyadmm.spec import QFormat
from pyadmm.trace import trace

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


@pytest.mark.parametrize("name", zoo.names())
def test_zoo_is_traced(name: str) -> None:
    spec = InputSpec((1, 28, 28), QFormat(4, False, 1 / 15), shift=4)
    torch.manual_seed(1)
    model = zoo.build(name)
    codes = _codes(3, spec)
    network = trace(model, spec)
    assert torch.allclose(network(codes), model(codes / 15), atol=1e-5)
    assert network.weights == {"lenet5": 430_500, "lenet300": 266_200}[name]


def test_unknown_zoo_name_lists_the_known() -> None:
    with pytest.raises(PyadmmError, match="'lenet6' is unknown; choose one of: lenet300, lenet5"):
        zoo.build("lenet6")


class Residual(nn.Module):
    """A branch."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 2, 3, padding=1)
        self.b = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.b(y) + y


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
        (Residual(), "only a chain of layers is supported"),
        (Branching(), "cannot be traced"),
        (nn.Sequential(nn.Conv2d(3, 3, 3)), "cannot be traced on an input of shape"),
        (nn.Sequential(nn.Conv2d(2, 3, (3, 1), (2, 1))), "stride must be the same in both"),
        (nn.Sequential(nn.Conv2d(2, 3, 3, dilation=2)), "dilation is not supported"),
        (nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")), "padding must"),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(3, padding=1)), "must have no padding"),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(2)), "can be averaged, to 1x1"),
        (nn.Sequential(nn.ReLU(), nn.Conv2d(2, 3, 3)), "a ReLU must follow"),
        (nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3)), "a BatchNorm must directly follow"),
    ],
)
def test_unsupported_is_named(model: nn.Module, message: str) -> None:
    with pytest.raises(PyadmmError, match=message):
        trace(model, _BYTES)
