"""Fake quantisation: the integer arithmetic of the hardware in floats, with gradients.

Tensors hold integer codes; a straight-through estimator passes gradients over the rounding. Scales
stay ordinary factors, so that autograd gives them the gradient of learned-step-size quantisation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyadmm.project import level_codes


def straight_through(rounded: Tensor, smooth: Tensor) -> Tensor:
    """The value of ``rounded``, the gradient of ``smooth``."""
    return smooth + (rounded - smooth).detach()


def quantize_weight(w: Tensor, q: Tensor, bits: int, mask: Tensor) -> Tensor:
    """Level codes of the latent weights ``w`` (0 where ``mask`` is), gradients inside the range."""
    limit = float(1 << (bits - 1))
    smooth = (w / q).clamp(-limit, limit)
    return straight_through(level_codes(smooth.detach(), 1.0, bits), smooth) * mask


def round_half_up(x: Tensor) -> Tensor:
    """``floor(x + 1/2)``, the hardware's rounding, with gradient 1."""
    return straight_through(torch.floor(x.detach() + 0.5), x)


def requantize(acc: Tensor, ratio: Tensor, lo: int, hi: int) -> Tensor:
    """``clamp(round(acc * ratio), lo, hi)``, with gradients inside the range."""
    return round_half_up((acc * ratio).clamp(lo, hi))
