"""Modules as people write them: traced, quantised and turned into integers, each equal to the last."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyadmm.model import InputSpec
from pyadmm.model.types import QFormat
from pyadmm.network.activation_scales import calibrate
from pyadmm.network.execution import Numerics
from pyadmm.network.graph import Network
from pyadmm.network.layers import WeightedStep
from pyadmm.network.to_integer import snap_scales, to_compressed
from pyadmm.network.trace import trace
from pyadmm.training.data import Images

pytestmark = pytest.mark.slow

SHAPE = (2, 9, 9)
Forward = Callable[["Model", Tensor], Tensor]


class Model(nn.Module):
    """Layers by name, and a forward that uses them."""

    def __init__(self, forward: Forward, **layers: nn.Module) -> None:
        super().__init__()
        self._forward = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self._forward(self, x)


def sequential(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*layers)


def conv(inputs: int = 2, outputs: int = 4, kernel: object = 3, **facts: object) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, **facts)  # type: ignore[arg-type]


def head(inputs: int, classes: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes))


def _loop(model: Model, x: Tensor) -> Tensor:
    x = F.relu(model.c(x))
    count = 1
    for size in x.size()[1:]:
        count *= size
    return model.f(x.view(-1, count))


def _asserting(model: Model, x: Tensor) -> Tensor:
    assert x.shape[1] == 2
    if x.dim() == 3:
        x = x.unsqueeze(0)
    assert len(x) > 0
    return model.f(torch.reshape(model.c(x), (len(x), -1)))


def _shared(model: Model, x: Tensor) -> Tensor:
    x = model.pool(model.act(model.a(x)))
    return model.f(model.pool(model.act(model.b(x))).flatten(1))


def _dropouts(model: Model, x: Tensor) -> Tensor:
    x = F.dropout2d(model.c(x).relu_(), 0.5, model.training)
    x = F.alpha_dropout(F.feature_alpha_dropout(x, 0.1, model.training), 0.1, model.training)
    return model.f(F.dropout(x.flatten(1), training=model.training))


def _joined(model: Model, x: Tensor) -> Tensor:
    y = torch.cat([F.relu(model.a(x)), model.b(x), x], 1)
    return model.f(torch.cat((F.relu(y), F.avg_pool2d(x, 3, 1, 1)), dim=1).flatten(1))


def _branches(model: Model, x: Tensor) -> Tensor:
    """One map read raw, behind a ReLU, as a difference and scaled."""
    y = model.a(x)
    z = F.relu(y) + y
    z = model.b(z) - model.c(y)
    return model.f((2 * z - y / 3 + torch.add(y, z, alpha=3)).flatten(1))


def _in_place(model: Model, x: Tensor) -> Tensor:
    """The ReLU changes the map that the sum reads as well."""
    y = model.a(x)
    z = model.b(F.relu_(y))
    z += y
    return model.f(z.flatten(1))


def _split(model: Model, x: Tensor) -> Tensor:
    a, b = model.a(x).chunk(2, 1)
    c = model.b(x)[:, 1:3]
    return model.f((F.relu(a) + b + c).flatten(1))


def _pixels(model: Model, x: Tensor) -> Tensor:
    return model.f(((x - model.mean) / model.std).flatten(1))


class Normalised(nn.Module):
    """Constants in buffers, a padded layer behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.6]).view(1, 2, 1, 1))
        self.register_buffer("std", torch.tensor([0.2, 0.3])[:, None, None])
        self.net = nn.Sequential(conv(padding=1), nn.ReLU(), head(324))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.net((x - self.mean) / self.std)


class Own(nn.Module):
    """Parameters without layers of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 2, 3, 3))
        self.matrix = nn.Parameter(torch.randn(196, 3) / 10)
        self.offset = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = F.conv2d(x, self.kernel).clamp(min=0)
        return x.flatten(1) @ self.matrix + self.offset


def _inverted(model: Model, x: Tensor) -> Tensor:
    """A block of MobileNetV2."""
    y = model.act(model.n1(model.expand(x)))
    y = model.act(model.n2(model.depth(y)))
    return model.f((x + model.n3(model.project(y))).mean([2, 3]))


def _causal(model: Model, x: Tensor) -> Tensor:
    """Temporal convolutions that see the past alone: zeros in front, or what is too much cut off."""
    x = F.relu(model.a(F.pad(x.amax(2), (2, 0))))
    x = F.relu(model.b(x)[:, :, :-4])
    return model.f(x[:, :, -1])


def _parts(model: Model, x: Tensor) -> Tensor:
    """A channel, rows and columns of it, and negative padding."""
    first = model.a(x[:, 0].unsqueeze(1))[:, :, 1:-1, 1:6:2]
    second = model.b(torch.cat([part.unsqueeze(1) for part in x.unbind(1)], 1))[..., :5, :3]
    return model.f((first + F.pad(second, (0, 0))).flatten(1)) + model.g(
        F.pad(x, (-3, -3, -3, -2)).flatten(1)
    )


def _clamps_of_all_kinds(model: Model, x: Tensor) -> Tensor:
    x = model.a(x).clip(-0.2, 0.4)
    x = F.hardtanh(model.b(x).clamp_min(-0.1), -math.inf, 0.5)
    x = model.c(x).clamp_max(0.3).clamp(-0.5, math.inf)
    return model.f(F.threshold(x, -0.05, -0.05).flatten(1))


def _under_autocast(model: Model, x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        x = model.c(x)
    with torch.no_grad():
        x = F.relu(x.float())
    return model.f(x.flatten(1))


class Positive(nn.Module):
    """A factor above 0 for each channel, as a batch norm has before it is trained."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.arange(1.0, channels + 1).reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


def _slopes(*slopes: float) -> nn.PReLU:
    act = nn.PReLU(len(slopes))
    act.weight.data = torch.tensor(slopes)
    return act


def _named() -> nn.Module:
    layers = [("in", conv()), ("act", nn.ReLU()), ("1x1", conv(4, 4, 1)), ("flat", nn.Flatten())]
    return nn.Sequential(OrderedDict([*layers, ("class", nn.Linear(196, 3))]))


def _squeezed(model: Model, x: Tensor) -> Tensor:
    x = F.hardswish(model.c(x))
    gate = model.b(F.relu(model.a(F.adaptive_avg_pool2d(x, 1))))
    return model.f((x * F.hardsigmoid(gate)).flatten(1))


def _squeezed_by_vectors(model: Model, x: Tensor) -> Tensor:
    x = F.relu(model.c(x))
    gate = torch.sigmoid(model.b(F.relu(model.a(x.mean((2, 3))))))
    return model.f((gate.view(len(x), -1, 1, 1) * x).flatten(1))


def _gates(model: Model, x: Tensor) -> Tensor:
    x = model.c(x)
    x = model.d(x * x.sigmoid())
    x = model.e(x * F.hardsigmoid(x))
    return model.f((x * F.softplus(x).tanh()).flatten(1))


def _shuffle(model: Model, x: Tensor) -> Tensor:
    n, c, h, w = model.c(x).shape
    x = F.relu(model.c(x)).view(n, 2, c // 2, h, w).transpose(1, 2).contiguous()
    return model.f(model.d(x.view(n, c, h, w)).flatten(1))


def _stacks(model: Model, x: Tensor) -> Tensor:
    """Branches on new axes: added up, averaged, flattened, shuffled."""
    a, b = model.a(x), F.relu(model.b(x))
    x = torch.stack([a, b, a]).sum(0) + torch.stack([a, b], 1).mean(1)
    y = model.c(torch.stack([x, b], 2).flatten(1, 2))
    return model.f(torch.stack([y, F.relu(y)], 1).flatten(1))


def _heads(model: Model, x: Tensor) -> Tensor:
    x = x.flatten(1)
    return torch.stack([head(x).squeeze(1) for head in (model.a, model.b, model.c)], dim=1)


def _tokens(model: Model, x: Tensor) -> Tensor:
    """A network of Linear layers on channels that come last, as in ConvNeXt and MLPs on words."""
    x = model.c(x).flatten(2).transpose(1, 2)
    x = x + model.b(F.gelu(model.a(x)))
    return model.f(F.relu(x).mean(1)) + model.g(model.d(x).flatten(1))


def _joined_sides(model: Model, x: Tensor) -> Tensor:
    x = torch.cat([model.a(x), F.relu(model.b(x))], 2)
    return model.f(model.c(torch.cat([x, x[..., :3]], -1)).flatten(1))


def _zeros_joined(model: Model, x: Tensor) -> Tensor:
    """Shortcuts of type A (He et al. 2016), written with zeros of their own."""
    x = F.relu(model.a(x))
    part = x[:, :, ::2, ::2]
    x = model.b(x) + torch.cat([part, torch.zeros_like(part)], 1)
    return model.f(torch.cat([x.new_zeros(len(x), 1, 4, 4), x], 1).flatten(1))


def _extremes(model: Model, x: Tensor) -> Tensor:
    x = torch.maximum(model.a(x), model.b(x))
    x = torch.minimum(model.c(x), torch.tensor(0.1))
    x = torch.min(x, model.d(x))
    return model.f(torch.max(x, torch.full_like(x, -0.2)).flatten(1))


def _curves_by_hand(model: Model, x: Tensor) -> Tensor:
    x = model.a(x).abs() + torch.exp(-model.b(x))
    x = F.logsigmoid(model.c(x)) + model.d(x) ** 2
    return model.f((torch.sin(x) + F.hardshrink(F.softshrink(x, 0.1), 0.2)).flatten(1))


def _padded_by_constants(model: Model, x: Tensor) -> Tensor:
    x = model.a(F.pad(x, (1, 0, 2, 1), value=0.5))
    return model.f(F.relu(F.pad(x, (1, 1), value=-0.25)).flatten(1))


def _last_axis(model: Model, x: Tensor) -> Tensor:
    """M5 of PyTorch's audio tutorial: the channels of one value come last."""
    x = F.relu(model.c(x)).amax(2)
    return F.log_softmax(model.f(F.avg_pool1d(x, x.shape[-1]).permute(0, 2, 1)), dim=2)


def _never_fires(model: Model, x: Tensor) -> Tensor:
    """Maps that are 0 on all images fit any scale."""
    dead = F.relu(model.a(x) - 100)
    x = F.silu(model.b(dead)) + F.hardshrink(model.c(dead) / 100) + F.avg_pool2d(dead, 1)
    return model.f((x * dead + model.d(x)).flatten(1))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "Python on shapes": lambda: Model(_loop, c=conv(), f=nn.Linear(196, 3)),
    "assertions": lambda: Model(_asserting, c=conv(), f=nn.Linear(196, 3)),
    "shared pool and activation": lambda: Model(
        _shared, a=conv(), b=conv(4, 4, 2), act=nn.ReLU(), pool=nn.MaxPool2d(2), f=nn.Linear(4, 3)
    ),
    "padding same": sequential(
        conv(padding="same"), nn.ReLU(), conv(4, 3, 4, padding="same"), head(243)
    ),
    "padding valid": sequential(conv(padding="valid"), head(196)),
    "zeros around": sequential(nn.ZeroPad2d((1, 2, 0, 3)), conv(), nn.ReLU(), head(400)),
    "zeros before a pool": sequential(
        conv(),
        nn.ReLU(),
        nn.ZeroPad2d((1, 0, 1, 0)),
        nn.MaxPool2d(2),
        nn.ZeroPad2d(1),
        nn.AvgPool2d(2),
        head(36),
    ),
    "zeros before a pool of negative values": sequential(
        conv(), nn.ZeroPad2d((1, 0, 1, 0)), nn.MaxPool2d(2), head(64)
    ),
    "unequal strides": sequential(conv(kernel=(3, 2), stride=(2, 1), padding=(1, 0)), head(160)),
    "dilation": sequential(conv(dilation=2), nn.ReLU(), conv(4, 4, 2, dilation=(1, 3)), head(32)),
    "depthwise": sequential(
        conv(2, 4, groups=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), conv(4, 6, 1), head(486)
    ),
    "relu6": sequential(conv(), nn.BatchNorm2d(4), nn.ReLU6(), conv(4, 4), nn.ReLU6(), head(100)),
    "hardtanh": sequential(
        conv(), nn.Hardtanh(-0.5, 0.5), conv(4, 4), nn.Hardtanh(0, 1), head(100)
    ),
    "clamps": lambda: Model(
        lambda m, x: m.f(m.b(torch.clamp(m.a(x), 0, 0.4)).clamp(-0.3, 0.3).flatten(1)),
        a=conv(),
        b=conv(4, 4),
        f=nn.Linear(100, 3),
    ),
    "leaky relu": sequential(conv(), nn.LeakyReLU(0.1), conv(4, 4), nn.PReLU(), head(100)),
    "norm after relu": sequential(conv(), nn.ReLU(), nn.BatchNorm2d(4), head(196)),
    "norm after relu, padded": sequential(
        conv(), nn.ReLU(), nn.BatchNorm2d(4), conv(4, 4, padding=1), head(196)
    ),
    "norm of the input": sequential(nn.BatchNorm2d(2), conv(), nn.ReLU(), head(196)),
    "norm of the input, padded": sequential(nn.BatchNorm2d(2), conv(padding=1), head(324)),
    "norm of a vector": sequential(nn.Flatten(), nn.BatchNorm1d(162), nn.Linear(162, 3)),
    "norm after a pool": sequential(
        conv(),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AvgPool2d(3),
        nn.BatchNorm2d(4),
        head(4),
    ),
    "pre-activation": lambda: Model(
        lambda m, x: m.f(F.relu(m.n2(m.c(F.relu(m.n1(m.a(x)))) + m.a2(x))).flatten(1)),
        a=conv(padding=1),
        a2=conv(2, 4, 1),
        n1=nn.BatchNorm2d(4),
        c=conv(4, 4, padding=1),
        n2=nn.BatchNorm2d(4),
        f=nn.Linear(324, 3),
    ),
    "two norms": sequential(conv(), nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.ReLU(), head(196)),
    "norm without parameters": sequential(conv(), nn.BatchNorm2d(4, affine=False), head(196)),
    "constants in forward": lambda: Model(
        lambda m, x: m.f(((x - 0.13) / 0.31).flatten(1)), f=nn.Linear(162, 3)
    ),
    "constants per channel": Normalised,
    "scaled bytes": lambda: Model(
        lambda m, x: m.f(m.c(x * 2 - 1).flatten(1)), c=conv(), f=nn.Linear(196, 3)
    ),
    "concatenation": lambda: Model(
        _joined, a=conv(2, 4, 1), b=conv(padding=1), f=nn.Linear(972, 3)
    ),
    "branches": lambda: Model(
        _branches,
        a=conv(padding=1),
        b=conv(4, 4, 1),
        c=conv(4, 4, 3, padding=1),
        f=nn.Linear(324, 3),
    ),
    "in place": lambda: Model(_in_place, a=conv(padding=1), b=conv(4, 4, 1), f=nn.Linear(324, 3)),
    "split channels": lambda: Model(_split, a=conv(), b=conv(), f=nn.Linear(98, 3)),
    "ceil mode": sequential(
        conv(),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.AvgPool2d(2, 2, ceil_mode=True),
        head(16),
    ),
    "averages that count": sequential(
        conv(), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(2, 1, 1, count_include_pad=False), head(100)
    ),
    "ceil mode and padding": sequential(
        conv(),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True),
        nn.MaxPool2d(2, 2, 1, ceil_mode=True),
        head(36),
    ),
    "divisor": sequential(conv(), nn.AvgPool2d(2, divisor_override=3), nn.ReLU(), head(36)),
    "oblong pools": sequential(
        conv(), nn.MaxPool2d((2, 1), (1, 2)), nn.AvgPool2d((1, 3), (2, 1)), head(24)
    ),
    "padded maximum of negative values": sequential(conv(), nn.MaxPool2d(3, 2, 1), head(64)),
    "adaptive pools": sequential(
        conv(2, 4, 2), nn.AdaptiveAvgPool2d((4, 8)), nn.AdaptiveMaxPool2d((2, 2)), head(16)
    ),
    "global maximum": lambda: Model(
        lambda m, x: m.f(torch.amax(m.c(x), (2, 3))), c=conv(), f=nn.Linear(4, 3)
    ),
    "mean of rows": lambda: Model(
        lambda m, x: m.f(m.c(x).mean(3).sum(2)), c=conv(), f=nn.Linear(4, 3)
    ),
    "mean of a line": lambda: Model(
        lambda m, x: m.f(m.c(x).view(len(x), 4, -1).mean(2)), c=conv(), f=nn.Linear(4, 3)
    ),
    "ends with a global average": sequential(
        conv(), nn.ReLU(), conv(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
    "ends as SqueezeNet": sequential(
        conv(), nn.ReLU(), conv(4, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
    "ends with log_softmax": lambda: Model(
        lambda m, x: F.log_softmax(m.f(F.relu(m.c(x)).flatten(1)), dim=1),
        c=conv(),
        f=nn.Linear(196, 3),
    ),
    "ends with a softmax": sequential(conv(), head(196), nn.Softmax(-1)),
    "ends with a sigmoid": sequential(conv(), head(196), nn.Sigmoid()),
    "ends with a norm": sequential(conv(), nn.ReLU(), head(196), nn.BatchNorm1d(3)),
    "ends with a sum": lambda: Model(
        lambda m, x: m.f(x.flatten(1)) + m.g(m.c(x).flatten(1)),
        f=nn.Linear(162, 3),
        c=conv(),
        g=nn.Linear(196, 3),
    ),
    "ends with a ReLU": sequential(conv(), head(196), nn.ReLU()),
    "ends with a concatenation": lambda: Model(
        lambda m, x: torch.cat([m.f(x.flatten(1)), m.g(x.flatten(1))], 1),
        f=nn.Linear(162, 2),
        g=nn.Linear(162, 1),
    ),
    "dropouts": lambda: Model(_dropouts, c=conv(), f=nn.Linear(196, 3)),
    "own parameters": Own,
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 3, 9)),
    "inverted residual": lambda: Model(
        _inverted,
        expand=conv(2, 6, 1),
        n1=nn.BatchNorm2d(6),
        act=nn.ReLU6(True),
        depth=conv(6, 6, 3, padding=1, groups=6),
        n2=nn.BatchNorm2d(6),
        project=conv(6, 2, 1),
        n3=nn.BatchNorm2d(2),
        f=nn.Linear(2, 3),
    ),
    "odd names": _named,
    "a layer called input": lambda: Model(
        lambda m, x: m.fc(F.relu(m.input(x)).flatten(1)), input=conv(), fc=nn.Linear(196, 3)
    ),
    "unread": lambda: Model(
        lambda m, x: (m.a(x), m.f(x.flatten(1)))[1], a=conv(), f=nn.Linear(162, 3)
    ),
    "data parallel": lambda: nn.DataParallel(nn.Sequential(conv(), nn.ReLU(), head(196))),
    "slopes by channel": sequential(conv(), _slopes(0.1, 0.5, -0.3, 0.25), head(196)),
    "slopes of any size": sequential(conv(), _slopes(1.5, 0.5, 1.0, 0.0), conv(4, 4), head(100)),
    "a slope below 0": sequential(conv(), nn.LeakyReLU(-0.1), head(196)),
    "causal convolutions": lambda: Model(
        _causal,
        a=nn.Conv1d(2, 4, 3),
        b=nn.Conv1d(4, 4, 3, padding=4, dilation=2),
        f=nn.Linear(4, 3),
    ),
    "parts of maps": lambda: Model(
        _parts, a=conv(1), b=conv(), f=nn.Linear(60, 3), g=nn.Linear(24, 3)
    ),
    "clamps of all kinds": lambda: Model(
        _clamps_of_all_kinds, a=conv(), b=conv(4, 4), c=conv(4, 4), f=nn.Linear(36, 3)
    ),
    "windows of different sizes": sequential(
        conv(), nn.ReLU(), nn.AdaptiveAvgPool2d((3, 5)), nn.Dropout(), head(60)
    ),
    "more windows than values": sequential(
        conv(), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3), nn.AdaptiveMaxPool2d(4), head(64)
    ),
    "repeated channels": lambda: Model(
        lambda m, x: m.f(
            (m.a(x.repeat(1, 2, 1, 1)) + m.b(x[:, :1].expand(-1, 3, -1, -1))).flatten(1)
        ),
        a=conv(4, 4),
        b=conv(3, 4),
        f=nn.Linear(196, 3),
    ),
    "positive norm and ReLU after a concatenation": lambda: Model(
        lambda m, x: m.f(F.relu(m.n(torch.cat([x, m.a(x)], 1)) * 2).flatten(1)),
        a=conv(2, 4, 1),
        n=Positive(6),
        f=nn.Linear(486, 3),
    ),
    "SiLU and a channel shuffle": sequential(
        conv(), nn.BatchNorm2d(4), nn.SiLU(), nn.ChannelShuffle(2), conv(4, 4), nn.Mish(), head(100)
    ),
    "Hardswish, squeeze and excitation": lambda: Model(
        _squeezed, c=conv(), a=conv(4, 2, 1), b=conv(2, 4, 1), f=nn.Linear(196, 3)
    ),
    "excitation by vectors": lambda: Model(
        _squeezed_by_vectors, c=conv(), a=nn.Linear(4, 2), b=nn.Linear(2, 4), f=nn.Linear(196, 3)
    ),
    "sigmoid and tanh inside": sequential(
        conv(), nn.Sigmoid(), nn.MaxPool2d(2), conv(4, 4), nn.Tanh(), nn.Dropout(), head(4)
    ),
    "GELU of both kinds": sequential(
        conv(), nn.GELU(), conv(4, 4), nn.GELU(approximate="tanh"), head(100)
    ),
    "ELU, SELU, CELU, Softplus": sequential(
        *(conv(), nn.ELU(0.5), conv(4, 4), nn.SELU(), conv(4, 4, 1), nn.CELU(2.0)),
        *(conv(4, 4, 1), nn.Softplus(2.0), head(100)),
    ),
    "x * sigmoid(x), x * hardsigmoid(x), x * tanh(softplus(x))": lambda: Model(
        _gates, c=conv(), d=conv(4, 4), e=conv(4, 4), f=nn.Linear(36, 3)
    ),
    "channels last before a Linear": lambda: Model(
        lambda m, x: m.f(F.relu(m.c(x)).permute(0, 2, 3, 1).flatten(1)),
        c=conv(),
        f=nn.Linear(196, 3),
    ),
    "shuffle by view and transpose": lambda: Model(
        _shuffle, c=conv(), d=conv(4, 4, groups=2), f=nn.Linear(100, 3)
    ),
    "ends with a sigmoid behind a view": lambda: Model(
        lambda m, x: torch.sigmoid(m.c(x).mean((2, 3))).view(-1, 3, 1).squeeze(2), c=conv(2, 3)
    ),
    "stacks": lambda: Model(_stacks, a=conv(), b=conv(), c=conv(8, 2), f=nn.Linear(100, 3)),
    "stacked heads": lambda: Model(
        _heads, a=nn.Linear(162, 1), b=nn.Linear(162, 1), c=nn.Linear(162, 1)
    ),
    "Linear on channels that come last": lambda: Model(
        _tokens,
        c=conv(),
        a=nn.Linear(4, 6),
        b=nn.Linear(6, 4),
        d=nn.Linear(4, 2),
        f=nn.Linear(4, 3),
        g=nn.Linear(98, 3),
    ),
    "rows and columns joined": lambda: Model(
        _joined_sides, a=conv(), b=conv(), c=conv(4, 2), f=nn.Linear(192, 3)
    ),
    "zeros joined": lambda: Model(
        _zeros_joined, a=conv(2, 2), b=conv(2, 4, stride=2, padding=1), f=nn.Linear(80, 3)
    ),
    "maximum and minimum": lambda: Model(
        _extremes,
        a=conv(),
        b=conv(),
        c=conv(4, 4),
        d=conv(4, 4, 1),
        f=nn.Linear(100, 3),
    ),
    "curves by hand": lambda: Model(
        _curves_by_hand,
        a=conv(),
        b=conv(),
        c=conv(4, 4),
        d=conv(4, 4),
        f=nn.Linear(100, 3),
    ),
    "constants around": lambda: Model(_padded_by_constants, a=conv(), f=nn.Linear(400, 3)),
    "ends with log_softmax over the last axis": lambda: Model(
        _last_axis, c=conv(), f=nn.Linear(4, 3)
    ),
    "activations of random slopes, shrinkage": sequential(
        conv(), nn.RReLU(), conv(4, 4), nn.Tanhshrink(), nn.Hardshrink(0.01), head(100)
    ),
    "a ReLU that never fires": lambda: Model(
        _never_fires,
        a=conv(),
        b=conv(4, 4, 1),
        c=conv(4, 4, 1),
        d=conv(4, 4, 1),
        f=nn.Linear(196, 3),
    ),
    "under autocast": lambda: Model(_under_autocast, c=conv(), f=nn.Linear(196, 3)),
    "compiled": lambda: torch.compile(nn.Sequential(conv(), nn.ReLU(), head(196))),  # type: ignore[return-value]
    "exported": lambda: torch.export.export(
        nn.Sequential(conv(), nn.ReLU(), head(196)).eval(), (torch.zeros(2, *SHAPE),)
    ).module(),
}


def built(name: str) -> nn.Module:
    """A module with the same random weights in every run, and random statistics in its norms."""
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MODELS[name]()
    for module in model.modules():  # some layers are made when this file is imported
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            module.reset_parameters()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) / 3
            module.running_var = torch.rand(module.num_features) + 0.5
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model if name == "exported" else model.eval()


def quantised(network: Network, images: Tensor) -> Network:
    """``network`` with 8-bit levels and activations, its scales fitted to ``images``."""
    network = network.fold_norms()
    for layer in network.layers.values():
        layer.fit_weight_scale()
        layer.facts = replace(layer.facts, bias_fraction_bits=12)
    calibrate(network, Images(images, torch.zeros(len(images), dtype=torch.int64)))
    network = network.at(Numerics.INTEGER)
    snap_scales(network)
    return network


@pytest.mark.parametrize(("place", "name"), enumerate(MODELS), ids=list(MODELS))
def test_module_network_and_integers_agree(place: int, name: str) -> None:
    signed = place % 2 == 1
    offset = (100, 140) if signed else (0,)
    spec = InputSpec(SHAPE, QFormat(8 + signed, signed, 1 / 255), offset)
    model = built(name)
    network = trace(model, spec)
    images = torch.randint(0, 256, (60, *SHAPE), dtype=torch.uint8)
    codes = network.encode(images)
    with torch.no_grad():
        real = torch.cat([model(part / 255) for part in codes.contiguous().split(2)])
        if "ends with" in name and any(f in name for f in ("softmax", "sigmoid")):
            assert torch.equal(network(codes).argsort(1), real.flatten(1).argsort(1))
        else:
            torch.testing.assert_close(network(codes), real.flatten(1), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(network.copy()(codes), network(codes))
        torch.testing.assert_close(
            network.fold_norms()(codes), network(codes), rtol=1e-3, atol=1e-4
        )
        _assert_integers_agree(quantised(network, images), images, network(codes))


def _assert_integers_agree(network: Network, images: Tensor, real: Tensor) -> None:
    """In double precision, where every product of integers is exact: equal on every image."""
    double = network.double()
    logits = double(double.encode(images).double())
    integers = to_compressed(double, "m")
    last = network.chain[-1]
    unit = integers.format_of(integers.nodes[-1].name).scale
    if isinstance(last, WeightedStep) and last.facts.last:
        unit = float(last.log_q.exp()) * integers.format_of(integers.nodes[-1].sources[0]).scale
    golden = integers.run(images.numpy())
    np.testing.assert_array_equal(np.rint(logits.numpy() / unit), golden)
    spread = float(real.std()) or 1.0
    assert float((logits - real).abs().mean()) < 0.25 * spread
    assert math.isfinite(unit)
