"""Settings of the comparison of kernels: families, and the share of the chip that they may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyadmm.breakeven.cases import LOGIC_SHARE, MEMORY_SHARE
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import Board
from pyadmm.model.types import Resources

PrunedFamily = Literal["sparse", "balanced", "shared"]


@dataclass(frozen=True)
class Settings:
    """Settings of the comparison of kernels.

    :param logic_share: of the chip's LUTs and flip-flops that the dense kernel may take; layers
        that are on chip together divide it. DSP blocks are left to the requantisers: both families
        multiply in LUTs.
    :param memory_share: of the chip's block RAM.
    :param further: pruned portions that a curve has beyond its own.
    """

    logic_share: float = LOGIC_SHARE
    memory_share: float = MEMORY_SHARE
    further: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("logic_share", "memory_share"):
            if not 0 < getattr(self, name) <= 1:
                raise PyadmmError(f"break-even: {name} must be above 0 and at most 1")
        for portion in self.further:
            if not 0 <= portion < 1:
                raise PyadmmError(f"break-even: pruned portion must be in 0 to 1, not {portion}")

    def budget(self, board: Board, layers: int = 1) -> Resources:
        """Resources of ``board`` that one of ``layers`` dense kernels may use."""
        chip = board.resources
        return Resources(
            lut=chip.lut * self.logic_share / layers,
            ff=chip.ff * self.logic_share / layers,
            dsp=0,
            bram18=chip.bram18 * self.memory_share,
            uram=0,
        )
