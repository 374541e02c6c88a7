"""Training by the non-zeros in compiled code: PyTorch's results, and refusals that say why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pyadmm import zoo
from pyadmm.compression.pipeline import quantize, retrain, to_network
from pyadmm.core.errors import MissingToolError, PyadmmError, ToolError
from pyadmm.cpu_kernels import build
from pyadmm.cpu_kernels import sparse_conv_pool as convolution
from pyadmm.cpu_kernels.sparse_conv_pool import NonZeros, conv_pool
from pyadmm.cpu_kernels.warp import moved
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings, from_dict
from pyadmm.training.augmentation import Augmentation, batches, distorted, shifted
from pyadmm.training.data import Data, Images
from pyadmm.training.trainer import require_compilers

pytestmark = pytest.mark.slow

torch.set_num_threads(1)

# images, channels, height, width, outputs, kernel, density
_SHAPES = [
    (8, 1, 28, 28, 7, (5, 5), 0.7),
    (13, 7, 12, 12, 18, (5, 5), 0.15),
    (1, 3, 9, 6, 4, (2, 3), 0.5),
    (3, 2, 2, 7, 5, (1, 2), 1.0),
    (9, 2, 6, 6, 3, (5, 5), 0.0),
    (5, 1, 4, 2, 1, (3, 1), 0.6),
]


def _case(
    shape: tuple[int, int, int, int, int, tuple[int, int], float],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Input, mask, weight and bias in small integers, which no order of sums rounds."""
    images, channels, height, width, outputs, kernel, density = shape
    generator = torch.Generator().manual_seed(images)

    def integers(*size: int) -> Tensor:
        return torch.randint(-9, 10, size, generator=generator).float()

    size = outputs, channels, *kernel
    mask = (torch.rand(size, generator=generator) < density).float()
    weight = integers(*size) * mask
    return integers(images, channels, height, width), mask, weight, integers(outputs)


@pytest.mark.parametrize("shape", _SHAPES, ids=str)
def test_products_and_gradients_are_those_of_pytorch(
    shape: tuple[int, int, int, int, int, tuple[int, int], float],
) -> None:
    x, mask, weight, bias = _case(shape)
    places = NonZeros.of(mask, tuple(x.shape[1:]))
    ours = [t.clone().requires_grad_() for t in (x, weight, bias)]
    theirs = [t.clone().requires_grad_() for t in (x, weight, bias)]
    pooled = conv_pool(*ours, places)
    expected = F.max_pool2d(F.conv2d(*theirs), 2)
    np.testing.assert_array_equal(pooled.detach().numpy(), expected.detach().numpy())
    arriving = torch.arange(pooled.numel()).reshape(pooled.shape) % 7 - 3.0
    pooled.backward(arriving)
    expected.backward(arriving)
    for name, mine, other in zip(("x", "weight", "bias"), ours, theirs, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        wanted = other.grad * mask if name == "weight" else other.grad
        np.testing.assert_array_equal(mine.grad.numpy(), wanted.numpy(), err_msg=name)


def test_inputs_that_need_no_gradient_get_none() -> None:
    x, mask, weight, bias = _case(_SHAPES[1])
    weight.requires_grad_()
    conv_pool(x, weight, bias, NonZeros.of(mask, (7, 12, 12))).sum().backward()
    assert x.grad is None
    assert weight.grad is not None


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 14)], ids=str)
def test_images_are_moved_as_by_pytorch(shape: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    pool = torch.randint(0, 256, (50, *shape), dtype=torch.uint8, generator=generator)
    rows = torch.randint(0, 50, (200,), generator=generator)
    shift = torch.randint(0, 25, (200,), generator=generator)
    maps = torch.eye(2) + 0.3 * (2 * torch.rand(200, 2, 2, generator=generator) - 1)
    expected = distorted(shifted(pool[rows], 2, shift), maps).int()
    difference = (moved(pool, rows, shift, 2, maps).int() - expected).abs()
    assert int(difference.max()) <= 1, "only a rounding may differ"
    assert float((difference > 0).float().mean()) < 1e-3


def test_images_that_stay_are_unchanged() -> None:
    pool = torch.arange(2 * 5 * 4, dtype=torch.uint8).reshape(2, 1, 5, 4)
    rows, middle = torch.tensor([1, 0]), torch.tensor([4, 4])
    unmoved = moved(pool, rows, middle, 1, torch.eye(2).expand(2, 2, 2))
    np.testing.assert_array_equal(unmoved.numpy(), pool[rows].numpy())


def _settings(**values: Any) -> CompressSettings:
    phase = {"epochs": 2, "lr": 1e-3, "shift_pixels": 1, "distort": 0.07}
    return from_dict(
        {
            "weight_bits": 4,
            "activation_bits": 6,
            "retrain": phase,
            "quantize": phase,
            "distill": {"weight": 0.0},
            **values,
        }
    )


def _data() -> Data:
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (200, 1, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (200,), generator=generator)
    return Data(Images(images, labels), Images(images[:30], labels[:30]))


def _pruned(settings: CompressSettings) -> Network:
    """LeNet-5 with a tenth of its weights."""
    torch.manual_seed(3)
    network = to_network(zoo.build("lenet5"), settings, (1, 28, 28))
    for layer in network.layers.values():
        layer.apply_mask((torch.rand_like(layer.mask) < 0.1).float())
    return network


def test_the_quantised_network_computes_the_same_integers() -> None:
    settings, data = _settings(sparse=False), _data()
    network = quantize(_pruned(settings), settings, data).network
    codes = network.encode(data.validation.images)
    plain = network(codes)
    sparse = network(codes, network.execution(sparse=True))
    np.testing.assert_array_equal(sparse.detach().numpy(), plain.detach().numpy())


def test_masks_that_change_are_noticed() -> None:
    settings, data = _settings(sparse=True), _data()
    network = _pruned(settings)
    sparse = network.execution(sparse=True)
    codes = network.encode(data.validation.images)
    network(codes, sparse)
    for layer in network.layers.values():
        layer.apply_mask((torch.rand_like(layer.mask) < 0.5).float())
    fewer = network(codes, sparse)
    torch.testing.assert_close(fewer, network(codes))


def test_a_sparse_phase_equals_a_plain_one_up_to_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def counted(*arguments: Any) -> Tensor:
        calls.append(arguments)
        return conv_pool(*arguments)

    monkeypatch.setattr(convolution, "conv_pool", counted)
    losses = {}
    for sparse in (True, False):
        settings, data = _settings(sparse=sparse), _data()
        result = retrain(_pruned(settings), settings, data)
        losses[sparse] = [record.loss for record in result.records]
        assert bool(calls) == sparse
        calls.clear()
    assert losses[True] == pytest.approx(losses[False], rel=1e-3)


def test_batches_by_compiled_code_have_the_same_images() -> None:
    data, how = _data().train, Augmentation(1, distort=0.07, cutmix=0.5)
    pairs = zip(
        batches(data, 64, 5, how),
        batches(data, 64, 5, replace(how, native=True)),
        strict=True,
    )
    for plain, native in pairs:
        assert torch.equal(plain.labels, native.labels)
        assert torch.equal(plain.index, native.index)
        assert int((plain.images.int() - native.images.int()).abs().max()) <= 1


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder without compiled code, and nothing loaded."""
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path))
    build.library.cache_clear()
    yield tmp_path
    build.library.cache_clear()


def test_it_is_compiled_once(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.library()
    (compiled,) = empty_cache.glob("native/training-*.so")
    assert not list(empty_cache.glob("native/.*")), "nothing half-written stays"
    build.library.cache_clear()
    monkeypatch.setattr(build, "run_tool", None)  # which a second compilation would call
    build.library()
    assert compiled.is_file()


@pytest.mark.parametrize("values", [{"sparse": True}, {"rounding": {"candidates": 1}}])
def test_a_missing_compiler_is_named(
    values: dict[str, Any], empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MissingToolError, match=r"no-such-compiler: not found; .* sparse to false"):
        to_network(zoo.build("lenet5"), _settings(**values), (1, 28, 28))


def test_damaged_code_is_refused(empty_cache: Path) -> None:
    compiled = build.compiled(empty_cache / "native")
    compiled.write_bytes(b"not a library")
    with pytest.raises(ToolError, match=r"training-.*cannot be loaded .* delete it"):
        build.library()


def test_other_devices_are_refused() -> None:
    with pytest.raises(PyadmmError, match="settings, sparse: computes on the CPU, not on meta"):
        require_compilers(torch.device("meta"), dynamo=False, native=True)


def test_one_compiler_at_a_time() -> None:
    with pytest.raises(PyadmmError, match="compiled and sparse exclude each other"):
        replace(_settings(sparse=True), compiled=True)
