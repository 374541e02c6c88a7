"""A convolution by its non-zero weights with the max-pool behind it, for training on the CPU.

PyTorch's convolutions take as long for a weight that is 0 as for any other. This one takes its time
for those that are left, and it keeps eight images in the lanes of a vector, so that maps of a
few channels fill it as well.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyadmm.cpu_kernels.build import library, pointer

_LANES = 8


class _Shape(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int)
        for name in (
            "images",
            "channels",
            "height",
            "width",
            "outputs",
            "out_height",
            "out_width",
        )
    )


@dataclass(frozen=True)
class NonZeros:
    """Positions of the weights of a convolution, for inputs of one size.

    :param index: int64 ``(K,)``, places in the flat weight ``(O, C, KH, KW)``.
    :param starts: int32 ``(O + 1,)``: those of output ``o`` are ``starts[o] … starts[o + 1] - 1``.
    :param taps: int32 ``(K,)``, place in a flat input ``(C, H, W)`` of what meets each weight under
        the first output pixel.
    :param input_shape: ``(C, H, W)``.
    :param kernel: ``(KH, KW)``.
    """

    index: Tensor
    starts: Tensor
    taps: Tensor
    input_shape: tuple[int, int, int]
    kernel: tuple[int, int]

    @classmethod
    def of(cls, mask: Tensor, input_shape: tuple[int, int, int]) -> NonZeros:
        """The places where ``mask``, ``(O, C, KH, KW)``, is not 0."""
        _, height, width = input_shape
        outputs, _, rows, columns = mask.shape
        output, channel, row, column = mask.contiguous().nonzero(as_tuple=True)
        counts = torch.bincount(output, minlength=outputs)
        return cls(
            mask.contiguous().flatten().nonzero()[:, 0],
            F.pad(counts.cumsum(0), (1, 0)).int(),
            ((channel * height + row) * width + column).int(),
            input_shape,
            (rows, columns),
        )

    @property
    def out_size(self) -> tuple[int, int]:
        """Rows and columns before the pool."""
        _, height, width = self.input_shape
        return height - self.kernel[0] + 1, width - self.kernel[1] + 1

    def shape(self, images: int) -> _Shape:
        """Arguments of the compiled code; ``images`` is a multiple of the lanes."""
        outputs = len(self.starts) - 1
        return _Shape(images, *self.input_shape, outputs, *self.out_size)


def fits(out_size: tuple[int, int]) -> bool:
    """Whether maps of that size can be pooled: in whole squares of two pixels."""
    return not any(side % 2 for side in out_size)


def conv_pool(x: Tensor, weight: Tensor, bias: Tensor, nonzeros: NonZeros) -> Tensor:
    """``max_pool2d(conv2d(x, weight, bias), 2)``, gradients of the non-zeros only.

    :param x: float32 ``(N, C, H, W)`` on the CPU; the result's sides must fit (:func:`fits`).
    :raises ToolError: where the code cannot be compiled.
    """
    pooled: Tensor = _ConvPool.apply(x, weight, bias, nonzeros)
    return pooled


class _ConvPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, nonzeros: NonZeros) -> Tensor:
        """The pooled sums, ``(N, O, H, W)``."""
        maps = _images_last(x)
        values, constants = weight.contiguous().flatten()[nonzeros.index], bias.contiguous()
        shape = nonzeros.shape(maps.shape[-1])
        size = shape.outputs, shape.out_height // 2, shape.out_width // 2, shape.images
        pooled = torch.empty(size)
        winner = torch.empty(size, dtype=torch.uint8)
        library().pyadmm_conv_pool(
            pointer(maps),
            ctypes.byref(shape),
            pointer(nonzeros.starts),
            pointer(nonzeros.taps),
            pointer(values),
            pointer(constants),
            pointer(pooled),
            pointer(winner),
        )
        ctx.save_for_backward(maps, values, winner)
        ctx.nonzeros, ctx.weight_shape, ctx.images = nonzeros, weight.shape, len(x)
        return _images_first(pooled, len(x))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        """Gradients of input (where wanted), weight (0 where it is 0) and bias."""
        maps, values, winner = ctx.saved_tensors
        nonzeros: NonZeros = ctx.nonzeros
        shape = nonzeros.shape(maps.shape[-1])
        of_values, of_bias = torch.empty_like(values), torch.empty(shape.outputs)
        of_maps = torch.empty_like(maps) if ctx.needs_input_grad[0] else None
        arriving = _images_last(gradient)
        library().pyadmm_conv_pool_gradients(
            pointer(maps),
            pointer(arriving),
            pointer(winner),
            ctypes.byref(shape),
            pointer(nonzeros.starts),
            pointer(nonzeros.taps),
            pointer(values),
            pointer(of_values),
            pointer(of_bias),
            pointer(of_maps),
        )
        of_weight = torch.zeros(ctx.weight_shape)
        of_weight.view(-1)[nonzeros.index] = of_values
        of_x = None if of_maps is None else _images_first(of_maps, ctx.images)
        return of_x, of_weight, of_bias, None


def _images_last(x: Tensor) -> Tensor:
    """``(N, C, H, W)`` as contiguous ``(C, H, W, N)``, images of zeros filling the last vector."""
    return F.pad(x.permute(1, 2, 3, 0), (0, -len(x) % _LANES)).contiguous()


def _images_first(maps: Tensor, images: int) -> Tensor:
    return maps[..., :images].permute(3, 0, 1, 2)
