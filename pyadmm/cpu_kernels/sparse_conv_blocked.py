"""Layers on maps in blocks of eight images, by non-zero weights only, on the CPU.

A block of maps is ``(B, C, H, W, 8)``: image ``8 b + i`` is lane ``i`` of block ``b``. Every weight
is one multiplication for a vector of eight pixels, so that a layer takes its time for the weights
that are left, whatever its shape. Norm and ReLU behind a convolution go with it, as each pass over
the maps would take as long as a pruned convolution.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyadmm.cpu_kernels.build import library, pointer

BLOCKS = 5
"""Dimensions of maps in blocks of images."""
LANES = 8
MOST_STRIDE = 4
"""There are loops for strides up to it."""
MOST_LEFT = 0.5
"""Share of non-zeros from which on PyTorch is about as fast, between measurements of 0.25 and 1."""


class _Layer(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int)
        for name in (
            "blocks",
            "channels",
            "height",
            "width",
            "outputs",
            "out_height",
            "out_width",
            "rows",
            "columns",
            "stride",
            "padding",
            "margin",
            "relu",
            "halves",
            "threads",
        )
    )


class _Places(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in ("starts", "taps", "index"))


class _Norm(ctypes.Structure):
    _fields_ = (
        ("normed", ctypes.c_int),
        ("eps", ctypes.c_float),
        ("mean", ctypes.c_void_p),
        ("variance", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Geometry:
    """A convolution's shape, for inputs of one size.

    :param input_shape: ``(C, H, W)``.
    :param kernel: ``(KH, KW)``.
    """

    outputs: int
    input_shape: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: int
    padding: int

    @property
    def out_size(self) -> tuple[int, int]:
        """Rows and columns of the result."""
        _, height, width = self.input_shape
        rows, columns = self.kernel
        return (
            (height + 2 * self.padding - rows) // self.stride + 1,
            (width + 2 * self.padding - columns) // self.stride + 1,
        )

    @property
    def margin(self) -> int:
        """Zeros before a packed gradient, so that every input pixel finds all it is part of."""
        return max(0, max(self.kernel) - 1 - self.padding)

    @property
    def packed_widths(self) -> tuple[int, int]:
        """Columns of the inputs and of the gradients, as the compiled code packs them."""
        reach = (self.out_size[1] - 1) * self.stride
        inputs = reach + self.kernel[1]
        return inputs, self.margin + max(self.input_shape[2] + self.padding, reach + 1)

    def layer(self, x: Tensor, *, relu: bool) -> Any:
        """Arguments of the compiled code for the blocks ``x``."""
        return ctypes.byref(
            _Layer(
                len(x),
                *self.input_shape,
                self.outputs,
                *self.out_size,
                *self.kernel,
                self.stride,
                self.padding,
                self.margin,
                relu,
                x.dtype == torch.bfloat16,
                torch.get_num_threads(),
            )
        )


@dataclass(frozen=True)
class _Sums:
    """Weights by what they are summed into.

    :param index: int64 ``(K,)``, places in the flat weight.
    :param starts: int32; those of sum ``i`` are ``starts[i] … starts[i + 1] - 1``.
    :param taps: int32 ``(K,)``, place in the packed maps of what meets each under the first pixel.
    """

    index: Tensor
    starts: Tensor
    taps: Tensor

    @classmethod
    def of(cls, index: Tensor, target: Tensor, count: int, taps: Tensor) -> _Sums:
        """From each weight's place, sum and tap; there are ``count`` sums."""
        order = torch.argsort(target, stable=True)
        starts = F.pad(torch.bincount(target, minlength=count).cumsum(0), (1, 0))
        return cls(index[order], starts.int(), taps[order].int())

    def places(self) -> Any:
        """Arguments of the compiled code, valid as long as this object lives."""
        parts = self.starts, self.taps, self.index
        return ctypes.byref(_Places(*(part.data_ptr() for part in parts)))


@dataclass(frozen=True)
class Taps:
    """Positions of the non-zero weights of a convolution.

    :param forward: by output channel; ``backward``: by input channel.
    """

    geometry: Geometry
    forward: _Sums
    backward: _Sums

    @classmethod
    def of(
        cls, mask: Tensor, input_shape: tuple[int, int, int], stride: int, padding: int, groups: int
    ) -> Taps:
        """The places where ``mask``, ``(O, C / groups, KH, KW)``, is not 0."""
        outputs, own, *kernel = mask.shape
        channels = input_shape[0]
        geometry = Geometry(outputs, input_shape, (kernel[0], kernel[1]), stride, padding)
        output, channel, row, column = mask.contiguous().nonzero(as_tuple=True)
        index = mask.contiguous().flatten().nonzero()[:, 0]
        channel = channel + output // (outputs // groups) * own
        width, back_width = geometry.packed_widths
        taps = (row * channels + channel) * width + column
        # A gradient meets the input pixels that it came from in the opposite order.
        back_row, back_column = (padding + geometry.margin - place for place in (row, column))
        back_taps = (back_row * outputs + output) * back_width + back_column
        return cls(
            geometry,
            _Sums.of(index, output, outputs, taps),
            _Sums.of(index, channel, channels, back_taps),
        )


def to_blocks(x: Tensor) -> Tensor:
    """``(N, C, H, W)`` as blocks; images of zeros fill the last one."""
    full = F.pad(x, (0, 0) * 3 + (0, -len(x) % LANES))
    return full.unflatten(0, (-1, LANES)).permute(0, 2, 3, 4, 1).contiguous()


def from_blocks(blocks: Tensor) -> Tensor:
    """Blocks as float32 ``(8 B, C, H, W)``, what fills the last one included."""
    return blocks.float().permute(0, 4, 1, 2, 3).flatten(0, 1)


def max_pool(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """The maximum pool ``max_pool2d`` of maps in blocks."""
    return F.max_pool3d(x, (kernel, kernel, 1), (stride, stride, 1), (padding, padding, 0))


def average_pool(x: Tensor, kernel: int, stride: int, divisor: int | None = None) -> Tensor:
    """``avg_pool2d`` of blocks, in float32; sums are divided by ``divisor`` where one is given."""
    size, step = (kernel, kernel, 1), (stride, stride, 1)
    return F.avg_pool3d(x.float(), size, step, divisor_override=divisor)


def conv(x: Tensor, weight: Tensor, bias: Tensor, taps: Taps, *, relu: bool) -> Tensor:
    """``conv2d(x, weight) + bias`` and perhaps a ReLU, gradients of the non-zeros only.

    :param x: float32 blocks.
    :raises ToolError: where the code cannot be compiled.
    """
    result: Tensor
    result, _ = _Conv.apply(
        x, weight, torch.stack([torch.ones_like(bias), bias]), _Kind(taps, relu)
    )
    return result


def conv_norm(
    x: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d, taps: Taps, *, relu: bool
) -> Tensor:
    """``norm(conv2d(x, weight) + bias)`` and perhaps a ReLU, gradients of the non-zeros only.

    The bias gets none, as the norm subtracts it again.

    :param x: float32 blocks; in training all eight images of each are real ones.
    :raises ToolError: where the code cannot be compiled.
    """
    result: Tensor
    if not norm.training:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        offset = norm.bias + (bias.detach() - norm.running_mean) * gain
        result, _ = _Conv.apply(x, weight, torch.stack([gain, offset]), _Kind(taps, relu))
        return result
    result, moments = _Conv.apply(
        x, weight, torch.stack([norm.weight, norm.bias]), _Kind(taps, relu, norm.eps)
    )
    _learn(norm, moments[0] + bias, moments[1], result.numel() // result.shape[1])
    return result


@torch.no_grad()
def _learn(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Update of the statistics of a norm by a batch of ``count`` values per channel."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance * (count / (count - 1)), momentum)


@dataclass(frozen=True)
class _Kind:
    """Parameters of a layer; with ``eps`` its sums are normalised as ``F.batch_norm`` does."""

    taps: Taps
    relu: bool
    eps: float | None = None

    def norm(self, moments: Tensor) -> Any:
        """Arguments of the compiled code, valid as long as ``moments`` lives."""
        mean, variance = (row.data_ptr() for row in moments)
        return ctypes.byref(_Norm(self.eps is not None, self.eps or 0.0, mean, variance))


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, affine: Tensor, kind: _Kind
    ) -> tuple[Tensor, Tensor]:
        """Results in blocks; mean and variance of each channel's sums where they are normalised.

        ``affine`` is ``(2, O)``: what the sums are multiplied with, what is added then.
        """
        x, weight = x.contiguous(), weight.contiguous()
        geometry = kind.taps.geometry
        size = len(x), geometry.outputs, *geometry.out_size, LANES
        sums, results = x.new_empty(size), x.new_empty(size)
        moments = torch.empty(2, geometry.outputs)
        library().pyadmm_blocks_forward(
            pointer(x),
            geometry.layer(x, relu=kind.relu),
            kind.taps.forward.places(),
            pointer(weight),
            pointer(affine[0]),
            pointer(affine[1]),
            kind.norm(moments),
            pointer(sums),
            pointer(results),
        )
        ctx.save_for_backward(x, weight, affine, sums, results, moments)
        ctx.kind = kind
        ctx.mark_non_differentiable(moments)
        return results, moments

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of input (where wanted), weight (0 where it is 0) and ``affine``."""
        x, weight, affine, sums, results, moments = ctx.saved_tensors
        kind: _Kind = ctx.kind
        gradient = gradient.contiguous()
        of_weight, of_affine = torch.zeros(weight.shape), torch.empty_like(affine)
        of_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        library().pyadmm_blocks_backward(
            pointer(x),
            pointer(gradient),
            pointer(results),
            pointer(sums),
            kind.taps.geometry.layer(x, relu=kind.relu),
            kind.taps.forward.places(),
            kind.taps.backward.places(),
            pointer(weight),
            pointer(affine[0]),
            kind.norm(moments),
            pointer(of_weight),
            pointer(of_affine[0]),
            pointer(of_affine[1]),
            pointer(of_x),
        )
        return of_x, of_weight, of_affine, None
