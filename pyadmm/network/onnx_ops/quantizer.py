"""The torch module that rounds activations as a quantiser of an ONNX graph does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[Any]


class Quantizer(nn.Module):
    """``y = (clamp(round(x / scale + zero), lo, hi) - zero) * scale``: rounds activations.

    :param rounding: ``"even"`` (to nearest, ties to even), ``"floor"``, ``"ceil"`` or ``"trunc"``.
    :param late_zero: whether ``zero`` is added behind the rounding (QDQ), or before (QONNX).
    """

    scale: Tensor
    zero: Tensor

    def __init__(
        self,
        scale: Array,
        zero: Array,
        lo: int,
        hi: int,
        *,
        rounding: str = "even",
        late_zero: bool = True,
    ) -> None:
        super().__init__()
        self.lo, self.hi = lo, hi
        self.rounding = rounding
        self.late_zero = late_zero
        self.register_buffer("scale", torch.from_numpy(np.array(scale, np.float32)))
        self.register_buffer("zero", torch.from_numpy(np.array(zero, np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` rounded to the codes of the quantiser."""
        before, behind = (0, self.zero) if self.late_zero else (self.zero, 0)
        codes = _ROUNDINGS[self.rounding](x / self.scale + before) + behind
        return (codes.clamp(self.lo, self.hi) - self.zero) * self.scale


_ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "even": torch.round,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "trunc": torch.trunc,
}
