"""Byte images moved and distorted for training, in one pass on the CPU."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from pyadmm.cpu_kernels.build import library, pointer


class _Size(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_int) for name in ("count", "channels", "height", "width", "pixels")
    )


def moved(pool: Tensor, rows: Tensor, shift: Tensor, pixels: int, maps: Tensor) -> Tensor:
    """Rows of ``pool`` shifted, then seen through linear maps; zeros lie outside.

    :param pool: uint8 ``(M, C, H, W)``, contiguous.
    :param rows: int64 ``(N,)``.
    :param shift: int64 ``(N,)``, ``0 … (2 pixels + 1)**2 - 1``, row-major.
    :param maps: float32 ``(N, 2, 2)``, from a place in the result to the place that is shown there,
        in units of half an image's sides, from its centre.
    :raises ToolError: where the code cannot be compiled.
    """
    rows, shift, maps = rows.contiguous(), shift.contiguous(), maps.contiguous()
    result = torch.empty(len(rows), *pool.shape[1:], dtype=torch.uint8)
    size = _Size(len(rows), *pool.shape[1:], pixels)
    library().pyadmm_move_images(
        pointer(pool),
        pointer(rows),
        pointer(shift),
        pointer(maps),
        ctypes.byref(size),
        pointer(result),
    )
    return result
