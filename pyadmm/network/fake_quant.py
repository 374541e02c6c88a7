"""Fake quantisation: the integer arithmetic of the hardware in floats, with gradients.

Tensors hold integer codes; a straight-through estimator passes gradients over the rounding. Scales
stay ordinary factors, so that autograd gives them the gradient of learned-step-size quantisation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyadmm.admm.projections import level_codes

_RATIO_BITS = 12
"""Width of the multipliers of sums and averages: their products are exact in a float."""
_SHIFT_LIMIT = 40


def straight_through(rounded: Tensor, smooth: Tensor) -> Tensor:
    """The value of ``rounded``, exactly, with the gradient of ``smooth``."""
    return rounded.detach() + (smooth - smooth.detach())


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
    return round_into(acc * ratio, lo, hi)


def round_into(x: Tensor, lo: int, hi: int) -> Tensor:
    """``clamp(floor(x + 1/2), lo, hi)``, with gradient 1 where ``lo <= x <= hi``, else 0."""
    rounded: Tensor = _RoundInto.apply(x, lo, hi)
    return rounded


class _RoundInto(torch.autograd.Function):
    """Rounding and clamping in one node, in place: maps of activations are large."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, lo: int, hi: int) -> Tensor:
        """The rounded values."""
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(x.clamp(lo, hi) == x)
        return (x + 0.5).floor_().clamp_(lo, hi)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """The gradient inside the range."""
        (inside,) = ctx.saved_tensors
        return gradient * inside, None, None


def snapped_ratios(ratios: Tensor, bits: int = _RATIO_BITS) -> Tensor:
    """``ratios`` of shape ``(R,)`` at ``mult / 2**shift`` of :func:`multipliers`, with gradients.

    >>> [round(float(r), 4) for r in snapped_ratios(torch.tensor([0.5, 0.3]))]
    [0.5, 0.3]
    """
    mult, shift = _multipliers(ratios.detach(), bits)
    return straight_through(torch.ldexp(mult, -shift), ratios)


def multipliers(ratios: Tensor, bits: int = _RATIO_BITS) -> tuple[tuple[int, ...], int]:
    """The ``mult`` of each of ``ratios``, ``(R,)``, and the ``shift`` that they share.

    It is the one at which the largest multiplier has ``bits``; a multiplier is at least 1.

    >>> multipliers(torch.tensor([0.5, 0.3]))
    ((2048, 1229), 12)
    """
    mult, shift = _multipliers(ratios.detach(), bits)
    return tuple(mult.long().tolist()), int(shift)


def scaled_ratios(
    ratios: Tensor, bits: int = _RATIO_BITS, largest: float = 1.0
) -> tuple[Tensor, Tensor]:
    """:func:`multipliers` as tensors: a GPU goes on while a number on the CPU would stop it.

    :param largest: factor by which other multipliers of the layer may be larger.
    """
    return _multipliers(ratios.detach(), bits, largest)


def _multipliers(ratios: Tensor, bits: int, largest: float = 1.0) -> tuple[Tensor, Tensor]:
    exponent = torch.frexp(ratios.max() * largest).exponent
    shift = (bits - exponent).clamp(1, _SHIFT_LIMIT)
    mult = torch.floor(torch.ldexp(ratios, shift) + 0.5).clamp(1, (1 << 16) - 1)
    return mult, shift
