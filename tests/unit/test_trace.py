"""Tracing: the network computes what the module computes, and what it cannot is refused by name."""

from __future__ import annotations

import copy
import math
import warnings
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyadmm import zoo
from pyadmm.compression import pipeline
from pyadmm.core.errors import PyadmmError
from pyadmm.model import InputSpec
from pyadmm.model.types import QFormat
from pyadmm.network.exported import shape_read
from pyadmm.network.layers import WeightedStep
from pyadmm.network.steps import AddStep
from pyadmm.network.trace import trace
from pyadmm.settings import CompressSettings, from_dict
from pyadmm.training.data import Data, Images

pytestmark = pytest.mark.slow

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
        "slice": ("a",),
        "add": ("b", "slice"),
        "c": ("add",),
        "side.0": ("add",),
        "add2": ("c", "side.0"),
        "max_pool2d2": ("add",),
        "add3": ("add2", "max_pool2d2"),
        "avg_pool2d": ("add3",),
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


_TAILS: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "twice": lambda m, x, y: m.b(m.a(y)),
    "product": lambda m, x, y: m.b(y * m.c(x)),
    "quotient": lambda m, x, y: m.b(x / y),
    "reciprocal": lambda m, x, y: m.b(1 / y),
    "broadcast": lambda m, x, y: m.b(y + m.c(x)),
    "reflected": lambda m, x, y: m.b(F.pad(y, (1, 1, 1, 1), "reflect")),
    "infinite": lambda m, x, y: m.b(F.pad(y, (1, 1, 1, 1), value=-torch.inf)),
    "images": lambda m, x, y: m.b(torch.cat([x, y], 0)),
    "stacked images": lambda m, x, y: m.b(torch.stack([x, y]).amax(0)),
    "constant map": lambda m, x, y: m.b(torch.cat([x[:, :1], torch.ones_like(y[:, :1])], 1)),
    "constant between": lambda m, x, y: m.v(torch.cat([x, torch.zeros_like(y), y], 1)),
    "sizes": lambda m, x, y: m.b(torch.cat([x, F.max_pool2d(y, 2)[:, :, :, :4].flatten(2)], 1)),
    "view": lambda m, x, y: m.v(y.view(-1, 6, 9, 3)),
    "turned": lambda m, x, y: m.b(y.transpose(2, 3)),
    "pixels": lambda m, x, y: m.b(y + torch.arange(9.0)),
    "batch": lambda m, x, y: m.b(
        y.reshape(-1, 2, 9, 9).flatten(0, 1).unsqueeze(1).expand(-1, 2, 9, 9)
    ),
    "softened": lambda m, x, y: m.b(torch.softmax(y, 1)),
    "root": lambda m, x, y: m.b(y**0.5),
    "no tensor": lambda m, x, y: {"loss": None},  # type: ignore[dict-item,return-value]
    "integers": lambda m, x, y: m.b(y.round().to(torch.int32).float()),
    "read": lambda m, x, y: (y, m.b(y))[0],
    "odd windows": lambda m, x, y: m.c(F.adaptive_avg_pool2d(y, 5)),
}


class Joined(nn.Module):
    """What a graph may not do with the input ``x`` and the map ``y = a(x)``."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.a = nn.Conv2d(2, 2, 3, padding=1)
        self.b = nn.Conv2d(2, 3, 9)
        self.c = nn.Conv2d(2, 1, 1)
        self.b2 = nn.Conv2d(2, 3, 9)
        self.v = nn.Conv2d(6, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return _TAILS[self.kind](self, x, self.a(x))


class Branching(nn.Module):
    """Control flow on data."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Flatten()), "model: has no Conv2d or Linear"),
        (Joined("twice"), "layer a: is used twice"),
        (Joined("product"), r"layer mul: multiplies maps of shapes \(2, 9, 9\) and \(1, 9, 9\)"),
        (Joined("quotient"), "layer div: maps that depend on the input cannot be divided"),
        (Joined("reciprocal"), "layer reciprocal: reciprocal is not supported"),
        (Joined("broadcast"), r"layer add: cannot add maps of shapes \(2, 9, 9\), \(1, 9, 9\)"),
        (Joined("reflected"), "layer pad: pads by reflect, .* only a constant can be padded"),
        (Joined("infinite"), "layer pad: pads by -inf, which no layer can give"),
        (Joined("images"), "layer cat: joins images; leave the batch as it is"),
        (Joined("stacked images"), "layer stack: stacks maps as if they were images"),
        (Joined("constant map"), "layer cat: joins a constant map that is not 0"),
        (Joined("constant between"), "layer cat: joins a constant between two maps"),
        (Joined("sizes"), "cannot be traced"),
        (Joined("view"), r"layer v: reads a map of \(2, 9, 9\) as if it were one of \(6, 9, 3\)"),
        (Joined("turned"), "layer b: reads a map whose axes were moved"),
        (Joined("pixels"), "layer add: a constant must be one number, or one per channel"),
        (Joined("batch"), "the batch must stay the first axis"),
        (Joined("softened"), "layer b: follows softmax, which may only end the network"),
        (Joined("root"), "layer pow: the exponent must be a whole number from 1, not 0.5"),
        (Joined("no tensor"), "model: must give one tensor of logits"),
        (Joined("integers"), "layer round: round is not supported"),
        (Joined("odd windows"), "layer c: follows an adaptive pool whose windows differ in size"),
        (
            nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3, track_running_stats=False)),
            "layer 1: the BatchNorm keeps no running statistics",
        ),
        (torch.jit.script(nn.Sequential(nn.Conv2d(2, 3, 9))), "pass the nn.Module from which"),
        (Branching(), "cannot be traced"),
        (nn.Sequential(nn.Conv2d(3, 3, 3)), "cannot be traced on an input of shape .*: layer 0: "),
        (nn.Sequential(nn.ConvTranspose2d(2, 3, 3)), "layer 0: ConvTranspose2d is not supported"),
        (nn.Sequential(nn.Conv2d(2, 3, 3), nn.LSTM(9, 3)), "layer 1: .*LSTM"),
        (nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")), "pads by circular"),
        (nn.Sequential(nn.MaxPool2d(2, dilation=2), nn.Conv2d(2, 3, 3)), "must have dilation 1"),
        (nn.Sequential(nn.Conv2d(2, 4, 3), nn.GLU(1), nn.Conv2d(2, 3, 3)), "layer 1: GLU is not"),
        (nn.Sequential(nn.Linear(9, 3)), r"layer 0: reads shape \(2, 9, 9\); flatten it"),
    ],
)
def test_unsupported_is_named(
    model: nn.Module, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PyadmmError, match=message):
        trace(model, _BYTES)
    assert capsys.readouterr().err == ""


def test_a_weight_that_is_not_finite_is_named() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(162, 4))
    with torch.no_grad():
        model[1].weight[0, 0] = float("nan")
    with pytest.raises(PyadmmError, match="layer 1: its weight has values that are not finite"):
        trace(model, _BYTES)


def test_a_module_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(147, 3))
    model.train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trace(model, _BYTES)
    assert [module.training for module in model] == [True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model)


def test_what_is_left_out_is_said() -> None:
    class Noted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(162, 3)

        def forward(self, x: Tensor) -> Tensor:
            return F.log_softmax(self.fc(F.dropout(x.flatten(1))), 1)

    network = trace(Noted(), _BYTES)
    assert len(network.notes) == 2
    assert "dropout is on in evaluation mode" in network.notes[0]
    assert "log_softmax at the end does not change the order" in network.notes[1]


@dataclass
class _Output:
    """As of Hugging Face's models."""

    loss: Tensor | None
    logits: Tensor


_Pair = namedtuple("_Pair", "features logits")


@pytest.mark.parametrize(
    ("wrap", "note"),
    [
        (lambda y, z: y, ""),
        (lambda y, z: [y], ""),
        (lambda y, z: _Output(None, y), ""),
        (lambda y, z: (y, z), "gives 2 results; the first counts as the logits"),
        (lambda y, z: {"features": z, "logits": y}, "gives 2 results; the one called logits"),
        (lambda y, z: _Pair(z, y), "gives 2 results; the one called logits"),
    ],
)
def test_of_several_results_the_logits_count(
    wrap: Callable[[Tensor, Tensor], object], note: str
) -> None:
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.other = nn.Linear(162, 3), nn.Linear(162, 4)

        def forward(self, x: Tensor) -> object:
            return wrap(self.fc(x.flatten(1)), self.other(x.flatten(1)))

    model = Several()
    network = trace(model, _BYTES)
    assert list(network.layers) == ["fc"]
    assert len(network.notes) == bool(note)
    assert all(said.startswith(note) for said in network.notes)
    codes = _codes(3, _BYTES)
    torch.testing.assert_close(network(codes), model.fc((codes / 255).flatten(1)))


def test_a_difference_names_the_first_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.Flatten())
    right = WeightedStep.product

    def wrong(self: WeightedStep, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return right(self, x, weight, bias) * (1.01 if self.name == "2" else 1)

    monkeypatch.setattr(WeightedStep, "product", wrong)
    with pytest.raises(PyadmmError, match="layer 2: the traced network differs from the module"):
        trace(model, _BYTES)


def test_lines_are_maps_of_one_row() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=1),
        nn.BatchNorm1d(4),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(4, 4, 3, stride=2, dilation=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ).eval()
    spec = InputSpec((2, 1, 24), QFormat(8, False, 1 / 255))
    codes = _codes(5, spec)
    with torch.no_grad():
        expected = model(codes[:, :, 0] / 255)
        assert torch.allclose(trace(model, spec)(codes), expected, atol=1e-5)


def test_lines_are_trained_as_the_module_takes_them() -> None:
    model = nn.Sequential(nn.Conv1d(2, 3, 5), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2))
    assert shape_read(model, (2, 1, 16)) == (2, 16)
    images, labels = torch.randint(0, 256, (24, 2, 1, 16), dtype=torch.uint8), torch.arange(24) % 2
    data = Data(Images(images, labels), Images(images, labels))
    settings = from_dict({"preset": "quick", "dense": {"epochs": 1}})
    (record,) = pipeline.train_dense(model, settings, data)
    assert math.isfinite(record.loss)


def test_compress_warns_of_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise PyadmmError("no training here")

    monkeypatch.setattr(pipeline, "admm_phase", stop)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.LogSoftmax(1))
    images, labels = torch.zeros(8, 1, 2, 2, dtype=torch.uint8), torch.arange(8) % 2
    settings = from_dict({"preset": "quick", "pruning_ratio": 1.0})
    with (
        pytest.warns(UserWarning, match="LogSoftmax .* does not change the order; left out"),
        pytest.raises(PyadmmError, match="no training here"),
    ):
        pipeline.compress(model, settings, [(images, labels)], [(images, labels)])


def _in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return nn.Sequential(nn.Flatten(), nn.Linear(162, 3))


def _value_dependent(x: Tensor) -> Tensor:
    return -x if x.sum() > 0 else x


class Applied(nn.Module):
    """A function before a linear layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.fc = nn.Linear(162, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.function(x).flatten(1))


def _dynamically_quantised() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(162, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: nn.Module = torch.ao.quantization.quantize_dynamic(model, {nn.Linear})
    return found


def _uneven(*behind: nn.Module) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(5), *behind)


OPAQUE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "scripted inside": (
        lambda: nn.Sequential(nn.Flatten(), torch.jit.script(nn.Linear(162, 3))),
        "layer 1: a scripted or traced module .torch.jit. does not show its layers",
    ),
    "quantised by PyTorch": (_dynamically_quantised, "layer 1: is quantised by PyTorch"),
    "no weights yet": (
        lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)),
        "layer 1: LazyLinear has no weight yet; run the module once on an example",
    ),
    "inference mode": (_in_inference_mode, "layer 1: weight was made in inference mode"),
    "values decide": (lambda: Applied(_value_dependent), "depends on the values of the images"),
    "training for good": (
        lambda: torch.export.export(
            nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(162, 3)),
            (torch.zeros(2, 2, 9, 9),),
        ).module(),
        "BatchNorm is in training mode for good; export the module behind model.eval",
    ),
    "a map at the end": (
        lambda: nn.Conv2d(2, 3, 3),
        r"gives values of shape \(3, 7, 7\) for an image; it must give one vector",
    ),
    "a number at the end": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(162, 1), nn.Flatten(0)),
        r"gives values of shape \(\) for an image|the batch must stay the first axis",
    ),
    "a norm of the sample": (lambda: nn.InstanceNorm2d(2), "not supported; use BatchNorm"),
    "uneven windows, then a ReLU": (
        lambda: _uneven(nn.ReLU(), nn.Flatten(), nn.Linear(50, 3)),
        "layer 1: follows an adaptive pool whose windows differ in size",
    ),
    "uneven windows, then a convolution": (
        lambda: _uneven(nn.Conv2d(2, 3, 5), nn.Flatten()),
        "layer 1: follows an adaptive pool whose windows differ in size",
    ),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_what_hides_its_layers_is_refused_by_name(name: str) -> None:
    build, words = OPAQUE[name]
    with pytest.raises(PyadmmError, match=words):
        pipeline.to_network(build(), from_dict({"preset": "quick", "pruning_ratio": 1}), (2, 9, 9))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_float_type(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(147, 3)).to(dtype)
    network = trace(model, _BYTES)
    assert next(model.parameters()).dtype == dtype
    codes = _codes(4, _BYTES)
    expected = copy.deepcopy(model).float()(codes / 255)
    assert torch.allclose(network(codes), expected, atol=1e-5)


def test_an_exported_program_is_a_model() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(162, 3)).eval()
    program = torch.export.export(model, (torch.zeros(1, 2, 9, 9),))
    settings = from_dict({"preset": "quick", "pruning_ratio": 1, "input": {"bits": 8}})
    network = pipeline.to_network(program, settings, (2, 9, 9))  # type: ignore[arg-type]
    codes = _codes(4, _BYTES)
    assert torch.allclose(network(codes), model(codes / 255), atol=1e-5)


def test_weights_without_values_are_refused() -> None:
    images, labels = torch.zeros(8, 1, 2, 2, dtype=torch.uint8), torch.arange(8) % 2
    with torch.device("meta"):
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(PyadmmError, match=r"1.weight is on the meta device"):
        pipeline.compress(model, CompressSettings(), [(images, labels)], [(images, labels)])
