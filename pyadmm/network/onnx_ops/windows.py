"""Strides, dilations and padding of convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence

from pyadmm.network.onnx_ops.node import Operator


def pair(op: Operator, name: str) -> tuple[int, int]:
    """Two numbers from 1 of the attribute ``name``; ``(1, 1)`` where it is left out."""
    numbers = [int(n) for n in op.facts.get(name, [1, 1])]
    if len(numbers) != 2 or min(numbers) < 1:
        raise op.error(f"{name} must be two numbers from 1, not {numbers}")
    return numbers[0], numbers[1]


def pads_of(
    op: Operator,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int] = (1, 1),
) -> tuple[int, int, int, int]:
    """Padding ``(top, left, bottom, right)``, ``auto_pad`` worked out."""
    auto = op.facts.get("auto_pad", b"NOTSET").decode()
    if auto == "VALID":
        return 0, 0, 0, 0
    if auto == "NOTSET":
        pads = [int(p) for p in op.facts.get("pads", [0, 0, 0, 0])]
        if len(pads) != 4 or min(pads) < 0:
            raise op.error(f"pads must be four numbers from 0, not {pads}")
        return pads[0], pads[1], pads[2], pads[3]
    before, behind = [], []
    for size, taps, stride, dilation in zip(
        op.example(0).shape[2:], kernel, strides, dilations, strict=True
    ):
        missing = max((-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
        small, large = missing // 2, missing - missing // 2
        before.append(large if auto == "SAME_LOWER" else small)
        behind.append(small if auto == "SAME_LOWER" else large)
    return before[0], before[1], behind[0], behind[1]
