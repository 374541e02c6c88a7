"""Second moments of a layer's inputs, over sampled positions, never all patches at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pyadmm.model.types import LayerSpec

_LEAST_SAMPLES = 8192
_LEAST_GROUPED_SAMPLES = 2048
"""Of a convolution in groups: its problems are small, and there are many of them."""
_SAMPLES_PER_INPUT = 8
_BLOCK_VALUES = 1 << 22
"""Values of the patches that are held at once."""


def grouped(spec: LayerSpec, weight: Tensor) -> Tensor:
    """A weight ``(O, C/g, KH, KW)`` or ``(O, K)`` as ``(g, K, O/g)``."""
    return weight.reshape(spec.groups, spec.outputs // spec.groups, -1).transpose(1, 2)


def ungrouped(spec: LayerSpec, weights: Tensor) -> Tensor:
    """The inverse of :func:`grouped`."""
    return weights.transpose(1, 2).reshape(spec.weight_shape)


@dataclass(eq=False)
class Moments:
    """Sums over samples of patches ``x`` ``(g, K)`` of one network and outputs ``y`` of another.

    ``y`` are a dense layer's outputs without bias, ``(g, O)``. The sums are of differences from
    ``origin``, the means of the first samples, because large means would cost precision in float32.
    """

    count: int
    origin: tuple[Tensor, Tensor]
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor

    @classmethod
    def none(cls, spec: LayerSpec) -> Moments:
        """Moments of a layer without any samples yet."""
        groups, inputs = spec.groups, spec.weights // spec.outputs
        outputs = spec.outputs // groups
        zeros = torch.zeros
        return cls(
            0,
            (zeros(groups, inputs), zeros(groups, outputs)),
            zeros(groups, inputs),
            zeros(groups, outputs),
            zeros(groups, inputs, inputs),
            zeros(groups, inputs, outputs),
        )

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add samples ``x`` ``(g, S, K)`` and ``y`` ``(g, S, O)``."""
        self.count += x.shape[1]
        x, y = x - self.origin[0].unsqueeze(1), y - self.origin[1].unsqueeze(1)
        self.x += x.sum(1)
        self.y += y.sum(1)
        self.xx += x.transpose(1, 2) @ x
        self.xy += x.transpose(1, 2) @ y

    def centred(self) -> tuple[Tensor, Tensor]:
        """Covariances ``cov(x, x)`` and ``cov(x, y)``, float64."""
        n = max(self.count, 1)
        x, y = self.x.double() / n, self.y.double() / n
        hessian = self.xx.double() / n - x.unsqueeze(2) * x.unsqueeze(1)
        cross = self.xy.double() / n - x.unsqueeze(2) * y.unsqueeze(1)
        return hessian, cross

    def bias(self, dense_bias: Tensor, weights: Tensor) -> Tensor:
        """The best bias ``(O,)`` for ``weights`` ``(g, K, O/g)``: outputs keep their means."""
        n = max(self.count, 1)
        x, y = (self.x.double() / n + self.origin[0], self.y.double() / n + self.origin[1])
        kept = x.unsqueeze(1) @ weights.double()
        return dense_bias + (y - kept.squeeze(1)).reshape(-1).to(dense_bias)


@dataclass(eq=False)
class Folds:
    """Moments of the two halves of the images, for cross validation."""

    first: Moments
    second: Moments

    @classmethod
    def none(cls, spec: LayerSpec) -> Folds:
        """Both folds of a layer without any samples yet."""
        return cls(Moments.none(spec), Moments.none(spec))

    @property
    def count(self) -> int:
        """Number of samples of both folds."""
        return self.first.count + self.second.count

    def together(self) -> Moments:
        """The moments of all samples."""
        a, b = self.first, self.second
        total = a.count + b.count
        return Moments(total, a.origin, a.x + b.x, a.y + b.y, a.xx + b.xx, a.xy + b.xy)


def samples_per_image(spec: LayerSpec, images: int) -> int:
    """Positions of every image that are enough to estimate the moments."""
    least = _LEAST_SAMPLES if spec.groups == 1 else _LEAST_GROUPED_SAMPLES
    wanted = max(least, _SAMPLES_PER_INPUT * spec.weights // spec.outputs)
    _, rows, columns = spec.output_shape
    return min(rows * columns, -(-wanted // images))


def patches(spec: LayerSpec, x: Tensor, positions: Tensor) -> Tensor:
    """Input patches of the kernel at some output positions: ``(g, N * P, K)``.

    :param x: inputs ``(N, C, H, W)``, or ``(N, C)`` for a linear layer.
    :param positions: ``(P,)``, row-major places in the output map.
    """
    if spec.kind == "linear":
        return x.reshape(1, len(x), -1)
    if spec.kernel == (1, 1) and not any(spec.padding):
        return _pixels(spec, x, positions)
    top, left, bottom, right = spec.padding
    padded = F.pad(x, (left, right, top, bottom))
    _, _, columns = spec.output_shape
    rows_at = _taps(positions // columns, spec.stride[0], spec.kernel[0], spec.dilation[0])
    columns_at = _taps(positions % columns, spec.stride[1], spec.kernel[1], spec.dilation[1])
    found = padded[:, :, rows_at[:, :, None], columns_at[:, None, :]]  # N, C, P, KH, KW
    split = found.reshape(len(x), spec.groups, spec.kernel_channels, len(positions), -1)
    return split.permute(1, 0, 3, 2, 4).reshape(spec.groups, len(x) * len(positions), -1)


def _pixels(spec: LayerSpec, x: Tensor, positions: Tensor) -> Tensor:
    """:func:`patches` of a 1x1 kernel."""
    if spec.stride != (1, 1):
        x = x[:, :, :: spec.stride[0], :: spec.stride[1]]
    found = x.flatten(2)[:, :, positions].unflatten(1, (spec.groups, -1))  # N, g, K, P
    return found.permute(1, 0, 3, 2).reshape(spec.groups, len(x) * len(positions), -1)


def _taps(places: Tensor, stride: int, taps: int, dilation: int) -> Tensor:
    """Rows (or columns) of the padded map that the kernel reads at ``places``: ``(P, taps)``."""
    return places[:, None] * stride + torch.arange(taps) * dilation


def images_at_once(spec: LayerSpec, positions: int) -> int:
    """Images whose patches fit into a block."""
    per_image = positions * spec.groups * (spec.weights // spec.outputs)
    return max(1, _BLOCK_VALUES // per_image)


def accumulate(
    folds: Folds,
    spec: LayerSpec,
    weight: Tensor,
    inputs: tuple[Tensor, Tensor],
    positions: Tensor,
) -> None:
    """Add the samples of some images, every other image to the other fold.

    :param weight: of the dense layer, ``(g, K, O/g)``.
    :param inputs: of the compressed network and of the dense one.
    """
    for offset, moments in enumerate((folds.first, folds.second)):
        compressed, dense = (x[offset::2] for x in inputs)
        size = images_at_once(spec, len(positions))
        for start in range(0, len(compressed), size):
            part = slice(start, start + size)
            x = patches(spec, compressed[part], positions)
            y = patches(spec, dense[part], positions) @ weight
            if folds.count == 0:
                folds.first.origin = folds.second.origin = x.mean(1), y.mean(1)
            moments.add(x, y)
