"""Strides, dilations and padding of convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from pyadmm.network.onnx_ops.node import Operator


def per_axis(op: Operator, name: str, axes: int) -> tuple[int, ...]:
    """A number from 1 for each of ``axes`` axes, attribute ``name``; ones where it is left out."""
    numbers = [int(n) for n in op.facts.get(name, [1] * axes)]
    if len(numbers) != axes or min(numbers) < 1:
        raise op.error(f"{name} must be {axes} numbers from 1, not {numbers}")
    return tuple(numbers)


def pads_of(
    op: Operator, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Padding before and behind each axis, ``auto_pad`` worked out."""
    auto, none = op.facts.get("auto_pad", b"NOTSET").decode(), (0,) * len(kernel)
    if auto == "VALID":
        return none, none
    if auto == "NOTSET":
        pads = tuple(int(p) for p in op.facts.get("pads", none * 2))
        if len(pads) != 2 * len(kernel) or min(pads) < 0:
            raise op.error(f"pads must be {2 * len(kernel)} numbers from 0, not {list(pads)}")
        return pads[: len(kernel)], pads[len(kernel) :]
    before, behind = [], []
    for size, taps, stride, dilation in zip(
        op.example(0).shape[2:], kernel, strides, dilations, strict=True
    ):
        missing = max((-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
        small, large = missing // 2, missing - missing // 2
        before.append(large if auto == "SAME_LOWER" else small)
        behind.append(small if auto == "SAME_LOWER" else large)
    return tuple(before), tuple(behind)


def sides(before: Sequence[int], behind: Sequence[int]) -> tuple[int, ...]:
    """Padding as torch counts it: before and behind the last axis first.

    >>> sides((1, 2), (3, 4))
    (2, 4, 1, 3)
    """
    return tuple(n for ends in zip(reversed(before), reversed(behind), strict=True) for n in ends)


def zeros_around(before: Sequence[int], behind: Sequence[int]) -> nn.Module:
    """A layer that pads lines or maps with zeros."""
    around: Any = sides(before, behind)
    return nn.ZeroPad1d(around) if len(before) == 1 else nn.ZeroPad2d(around)
