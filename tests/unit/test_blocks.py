"""Layers on blocks of images by the non-zeros: PyTorch's results, and the networks made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyadmm import zoo
from pyadmm.compression.pipeline import retrain, to_network
from pyadmm.cpu_kernels import sparse_conv_blocked as blocks
from pyadmm.cpu_kernels.sparse_conv_blocked import Taps
from pyadmm.network.activation_scales import calibrate
from pyadmm.network.execution import Numerics
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings, from_dict, override
from pyadmm.training.data import Data, Images

torch.set_num_threads(1)

# images, (channels, height, width), outputs, kernel, stride, padding, groups, density
_SHAPES = [
    (16, (5, 9, 7), 6, (3, 3), 1, 1, 1, 0.4),
    (8, (4, 8, 8), 6, (3, 3), 2, 1, 2, 0.4),
    (24, (3, 11, 13), 4, (5, 5), 3, 2, 1, 0.2),
    (8, (3, 15, 14), 4, (7, 7), 4, 0, 1, 0.1),
    (16, (6, 6, 7), 4, (1, 1), 2, 0, 2, 1.0),
    (8, (2, 7, 7), 3, (3, 3), 1, 0, 1, 0.0),
    (8, (4, 33, 20), 8, (3, 3), 2, 1, 1, 0.3),
    (8, (3, 5, 6), 2, (3, 1), 1, 1, 1, 0.6),
    (8, (2, 4, 4), 2, (2, 2), 1, 3, 1, 0.8),
]
_Shape = tuple[int, tuple[int, int, int], int, tuple[int, int], int, int, int, float]


class _Case:
    """Input, mask, weight and bias in small integers, which no order of sums rounds."""

    def __init__(self, shape: _Shape) -> None:
        images, size, outputs, kernel, self.stride, self.padding, self.groups, density = shape
        generator = torch.Generator().manual_seed(images + size[1])

        def integers(*size: int) -> Tensor:
            return torch.randint(-4, 5, size, generator=generator).float()

        own = outputs, size[0] // self.groups, *kernel
        self.mask = (torch.rand(own, generator=generator) < density).float()
        self.weight = (integers(*own) * self.mask).requires_grad_()
        self.x = integers(images, *size).requires_grad_()
        self.bias = integers(outputs).requires_grad_()
        self.taps = Taps.of(self.mask, size, self.stride, self.padding, self.groups)

    def expected(self, bias: Tensor | None) -> Tensor:
        """PyTorch's convolution."""
        return F.conv2d(self.x, self.weight, bias, self.stride, self.padding, 1, self.groups)

    def gradients(self, result: Tensor, *parameters: Tensor) -> list[Tensor]:
        """Of input, weight where it is not pruned, and ``parameters``."""
        arriving = torch.arange(result.numel()).reshape(result.shape) % 7 - 3.0
        of_x, of_weight, *others = torch.autograd.grad(
            result, [self.x, self.weight, *parameters], arriving, allow_unused=True
        )
        return [of_x, of_weight * self.mask, *others]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", _SHAPES, ids=str)
def test_products_and_gradients_are_those_of_pytorch(shape: _Shape, *, relu: bool) -> None:
    case = _Case(shape)
    expected = case.expected(case.bias)
    expected = F.relu(expected) if relu else expected
    ours = blocks.conv(blocks.to_blocks(case.x), case.weight, case.bias, case.taps, relu=relu)
    ours = blocks.from_blocks(ours)
    np.testing.assert_array_equal(ours.detach().numpy(), expected.detach().numpy())
    pairs = zip(case.gradients(ours, case.bias), case.gradients(expected, case.bias), strict=True)
    for mine, other in pairs:
        np.testing.assert_array_equal(mine.numpy(), other.numpy())


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("shape", _SHAPES, ids=str)
def test_norms_learn_as_those_of_pytorch(
    shape: _Shape, momentum: float | None, *, relu: bool
) -> None:
    case = _Case(shape)
    torch.manual_seed(1)
    ours, theirs = (nn.BatchNorm2d(len(case.bias), momentum=momentum) for _ in range(2))
    nn.init.uniform_(ours.weight, -1, 2)
    nn.init.normal_(ours.bias)
    theirs.load_state_dict(ours.state_dict())
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        expected = theirs(case.expected(case.bias.detach()))
        expected = F.relu(expected) if relu else expected
        x = blocks.to_blocks(case.x)
        result = blocks.conv_norm(x, case.weight, case.bias, ours, case.taps, relu=relu)
        result = blocks.from_blocks(result)
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)
        mine = case.gradients(result, *ours.parameters())
        other = case.gradients(expected, *theirs.parameters())
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_the_number_of_threads_changes_nothing_but_roundings() -> None:
    case = _Case(_SHAPES[2])
    found = []
    for threads in (1, 2, 3, 7):
        torch.set_num_threads(threads)
        result = blocks.conv(
            blocks.to_blocks(case.x), case.weight, case.bias, case.taps, relu=False
        )
        found.append([result, *case.gradients(result, case.bias)])
    torch.set_num_threads(1)
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert torch.equal(one, other), "integers are exact in any order"


def test_bfloat16_maps_are_rounded_and_nothing_else() -> None:
    case = _Case(_SHAPES[0])
    x = blocks.to_blocks(case.x.detach()).bfloat16().requires_grad_()
    result = blocks.conv(x, case.weight * 1.001, case.bias, case.taps, relu=False)
    exact = blocks.conv(x.float(), case.weight * 1.001, case.bias, case.taps, relu=False)
    assert result.dtype == torch.bfloat16
    bias = case.bias.reshape(1, -1, 1, 1, 1)
    stored = (exact - bias).bfloat16().float()
    assert torch.equal(result, (stored + bias).bfloat16())
    gradient, values = torch.autograd.grad(result.float().square().sum(), [x, case.weight])
    of_exact = torch.autograd.grad(exact.square().sum(), [x, case.weight])
    torch.testing.assert_close(gradient, of_exact[0], rtol=0.02, atol=2.0)
    torch.testing.assert_close(values, of_exact[1], rtol=0.02, atol=20.0)


@pytest.mark.parametrize("count", [1, 7, 8, 19])
def test_blocks_hold_all_images(count: int) -> None:
    x = torch.arange(count * 3 * 2 * 5).reshape(count, 3, 2, 5).float()
    held = blocks.to_blocks(x)
    assert held.shape == (-(-count // 8), 3, 2, 5, 8)
    full = blocks.from_blocks(held)
    assert torch.equal(full[:count], x)
    assert not full[count:].any()


@pytest.mark.parametrize("kernel", [(2, 2, 0), (3, 2, 1)])
def test_pools_are_those_of_pytorch(kernel: tuple[int, int, int]) -> None:
    x = torch.randn(8, 3, 9, 10)
    pooled = blocks.from_blocks(blocks.max_pool(blocks.to_blocks(x), *kernel))
    assert torch.equal(pooled, F.max_pool2d(x, *kernel))
    mean = blocks.from_blocks(blocks.average_pool(blocks.to_blocks(x), *kernel[:2]))
    torch.testing.assert_close(mean, F.avg_pool2d(x, *kernel[:2]))


def _settings(**values: Any) -> CompressSettings:
    phase = {"epochs": 2, "lr": 1e-3, "shift_pixels": 1, "flip": True, "batch_size": 16}
    distill = {"weight": 0.0}
    return from_dict({"weight_bits": 4, "retrain": phase, "distill": distill, **values})


class _Mixed(nn.Module):
    """What no network of CIFAR-10 has: groups, max-pools, a bias, a stride that has no kernel."""

    def __init__(self, stride: int = 2, side: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 5, stride, 2)
        self.pool1 = nn.MaxPool2d(3, 2, 1)
        self.conv2 = nn.Conv2d(8, 12, 3, 1, 1, groups=2)
        self.norm2 = nn.BatchNorm2d(12)
        self.conv3 = nn.Conv2d(12, 6, 1)
        self.pool3 = nn.MaxPool2d(3, 2, 1)
        self.fc = nn.Linear(6 * side**2, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(F.relu(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(x)))
        return self.fc(self.pool3(F.relu(self.conv3(x))).flatten(1))


_MODELS: list[Callable[[], nn.Module]] = [lambda: zoo.build("resnet20"), _Mixed]


def _pruned(build: Callable[[], nn.Module], settings: CompressSettings) -> Network:
    torch.manual_seed(3)
    network = to_network(build(), settings, (3, 32, 32))
    for layer in network.layers.values():
        layer.apply_mask((torch.rand_like(layer.mask) < 0.3).float())
    return network


def _codes(network: Network, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    size = count, 3, 32, 32
    return network.encode(torch.randint(0, 256, size, dtype=torch.uint8, generator=generator))


@pytest.mark.parametrize("model", _MODELS, ids=["resnet20", "mixed"])
@pytest.mark.parametrize("count", [16, 11])
def test_a_network_computes_the_same(
    model: Callable[[], nn.Module], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = _pruned(model, _settings())
    codes = _codes(network, count)
    calls = []
    monkeypatch.setattr(blocks, "to_blocks", lambda x: calls.append(x) or _TO_BLOCKS(x))
    for training in (True, False):
        states, logits = [], []
        for sparse in (False, True):
            current = network.copy().train(training)
            logits.append(current(codes, current.execution(sparse=sparse)))
            states.append({k: v for k, v in current.state_dict().items() if "running" in k})
        torch.testing.assert_close(logits[0], logits[1], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(states[0], states[1])
    # Norms in training would count what fills a block up, and are left to PyTorch.
    assert len(calls) == (2 if count % blocks.LANES == 0 else 1)


_TO_BLOCKS = blocks.to_blocks


@pytest.mark.parametrize("model", _MODELS, ids=["resnet20", "mixed"])
def test_a_quantised_network_computes_the_same_integers(model: Callable[[], nn.Module]) -> None:
    network = _pruned(model, _settings())
    network.train()
    network(_codes(network, 24))
    network = network.eval().fold_norms()
    for layer in network.layers.values():
        layer.fit_weight_scale()
    generator = torch.Generator().manual_seed(4)
    images = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8, generator=generator)
    calibrate(network, Images(images, torch.zeros(20, dtype=torch.int64)))
    network = network.at(Numerics.INTEGER)
    codes = _codes(network, 11)
    found = []
    for sparse in (False, True):
        network.zero_grad()
        logits = network(codes, network.execution(sparse=sparse))
        logits.square().mean().backward()
        found.append((logits.detach(), [p.grad for p in network.scales()]))
    np.testing.assert_array_equal(found[0][0].numpy(), found[1][0].numpy())
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-6)


def test_a_stride_without_kernel_is_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _pruned(lambda: _Mixed(stride=5, side=2), _settings())
    monkeypatch.setattr(blocks, "to_blocks", None)
    network(_codes(network, 8), network.execution(sparse=True))


def test_few_zeros_are_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    network = to_network(zoo.build("resnet20"), _settings(), (3, 32, 32))
    monkeypatch.setattr(blocks, "to_blocks", None)
    network(_codes(network, 8), network.execution(sparse=True))


def test_walking_is_not_in_blocks() -> None:
    network = _pruned(lambda: zoo.build("resnet20"), _settings())
    assert network.execution(sparse=True).blocks
    assert all(len(x) == 3 for _, x in network.walk(_codes(network, 3)))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_sparse_phase_nearly_equals_a_plain_one(precision: str) -> None:
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (40,), generator=generator)
    data = Data(Images(images, labels), Images(images[:10], labels[:10]))
    losses = []
    for sparse, own in ((False, "float32"), (True, precision)):
        settings = override(_settings(sparse=sparse), {"retrain": {"precision": own}}, "test")
        records = retrain(_pruned(lambda: zoo.build("resnet20"), settings), settings, data).records
        losses.append([record.loss for record in records])
    tolerance = 1e-4 if precision == "float32" else 0.02
    assert losses[0] == pytest.approx(losses[1], rel=tolerance)
    assert (losses[0] == losses[1]) is False, "the blocks were used"
