"""Mapping of one layer on hardware: family and size of the kernel, fields of its entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pyadmm.core.errors import PyadmmError
from pyadmm.model import SHIFT_LIMIT

KernelFamily = Literal["sparse", "dense", "balanced", "unrolled"]
WORD_BITS = 32
"""Width of the two streams and of a weight image's words."""


def index_width(count: int) -> int:
    """``clog2(count)``: bits that index ``count`` things; 0 for one thing.

    >>> [index_width(n) for n in (1, 2, 5, 8)]
    [0, 1, 3, 3]
    """
    return (count - 1).bit_length()


def free_shifts(acc_bits: int, shift: int) -> tuple[int, int]:
    """The requantising shifts around ``shift`` that cost no hardware beyond that of one shift.

    ``mult`` is shifted left once for all lanes instead, as far as the second operand of a DSP block
    has room for it (25 bits with accumulators of up to 18 bits, otherwise 18).

    >>> free_shifts(12, 20), free_shifts(12, 1), free_shifts(20, 20)
    ((16, 24), (1, 9), (20, 21))
    """
    room = 8 if acc_bits <= 18 else 1
    low = max(1, min(shift - room // 2, SHIFT_LIMIT - room))
    return low, low + room


@dataclass(frozen=True)
class KernelConfig:
    """Mapping of one layer on a kernel.

    :param family: ``sparse`` (families 1 and 2 of the design), ``dense`` (family 4), ``balanced``
        (family 5: groups in lock step share windows) or ``unrolled`` (family 3: weights are
        constants of the hardware).
    :param tile_rows: ``R``, output rows computed at once; a group has ``R * W_out`` lanes.
        ``unrolled``: 1, or the rows of a max-pool's window.
    :param groups: ``G``, output channels computed at once; all of them by ``unrolled``.
    :param index_bits: ``D``, width of an entry's channel advance; unused (0) by ``dense``.
    :param window: ``M``, places of a window of a ``balanced`` kernel; 1 elsewhere.
    :param walkers: parts of a ``balanced`` kernel's groups that each run in lock step, with a program
        and a copy of the input frame of its own; 1 elsewhere.
    :param entry_capacity: entries (sparse), steps (balanced) or weights (dense) a group can hold;
        ``None``: as many as the model at hand needs.
    :param slot_capacity: output channels a group can hold; ``None``: as many as needed.
    :param dsp_groups: groups whose lanes multiply in DSP blocks; the others do it in fabric.
    :param block_frame: keep the input frame in block RAM, however small it is.
    :param ultra_frame: build the input frame of UltraRAM, which only some UltraScale+ chips have.
    :param pixels: output pixels of a row that ``unrolled`` computes per cycle; 1 elsewhere.
    """

    family: KernelFamily
    tile_rows: int
    groups: int
    index_bits: int = 0
    entry_capacity: int | None = None
    slot_capacity: int | None = None
    dsp_groups: int = 0
    block_frame: bool = False
    ultra_frame: bool = False
    pixels: int = 1
    window: int = 1
    walkers: int = 1

    def __post_init__(self) -> None:
        if self.family not in get_args(KernelFamily):
            raise PyadmmError(
                f"kernel: family must be sparse, dense, balanced or unrolled, not {self.family!r}"
            )
        sizes = {
            "tile_rows": self.tile_rows,
            "groups": self.groups,
            "entry_capacity": self.entry_capacity,
            "slot_capacity": self.slot_capacity,
            "pixels": self.pixels,
            "window": self.window,
            "walkers": self.walkers,
        }
        for what, size in sizes.items():
            if size is not None and size < 1:
                raise PyadmmError(f"kernel: {what} must be at least 1, not {size}")
        if self.index_bits < 0:
            raise PyadmmError(f"kernel: index_bits must be at least 0, not {self.index_bits}")
        if self.block_frame and self.ultra_frame:
            raise PyadmmError("kernel: a frame is block_frame or ultra_frame, not both; choose one")
        if self.groups % self.walkers:
            raise PyadmmError(
                f"kernel: walkers must divide the {self.groups} groups, not {self.walkers}"
            )
        if not 0 <= self.dsp_groups <= self.groups:
            raise PyadmmError(
                f"kernel: dsp_groups must be 0 to the {self.groups} groups, not {self.dsp_groups}"
            )


@dataclass(frozen=True)
class EntryFormat:
    """Field widths of one sparse entry, least significant first: code, kw, kh, dc, mac, last."""

    code_bits: int
    kw_bits: int
    kh_bits: int
    index_bits: int

    @property
    def kw_lsb(self) -> int:
        """Lowest bit of the field ``kw``, the kernel column."""
        return self.code_bits

    @property
    def kh_lsb(self) -> int:
        """Lowest bit of the field ``kh``, the kernel row."""
        return self.kw_lsb + self.kw_bits

    @property
    def dc_lsb(self) -> int:
        """Lowest bit of the field ``dc``, the channel advance."""
        return self.kh_lsb + self.kh_bits

    @property
    def mac_bit(self) -> int:
        """Position of the bit ``mac``, which is 0 in a filler."""
        return self.dc_lsb + self.index_bits

    @property
    def last_bit(self) -> int:
        """Position of the bit ``last``, which ends an output channel."""
        return self.mac_bit + 1

    @property
    def bits(self) -> int:
        """Width of an entry."""
        return self.last_bit + 1

    @property
    def max_advance(self) -> int:
        """Largest channel advance of one entry, ``2**D - 1``."""
        return (1 << self.index_bits) - 1


@dataclass(frozen=True)
class BalancedFormat:
    """Field widths of a balanced entry, and of the program that group 0's entries carry.

    Least significant first: code, choice; in group 0 then sub-window, kh, dc, last.
    """

    code_bits: int
    choice_bits: int
    sub_bits: int
    kh_bits: int
    index_bits: int

    @property
    def entry_bits(self) -> int:
        """Width of an entry without the program."""
        return self.code_bits + self.choice_bits

    @property
    def kh_lsb(self) -> int:
        """Lowest bit of the field ``kh``, the kernel row."""
        return self.entry_bits + self.sub_bits

    @property
    def dc_lsb(self) -> int:
        """Lowest bit of the field ``dc``, the channel advance."""
        return self.kh_lsb + self.kh_bits

    @property
    def last_bit(self) -> int:
        """Position of the bit ``last``, which ends a slot."""
        return self.dc_lsb + self.index_bits

    @property
    def bits(self) -> int:
        """Width of group 0's entries, program included."""
        return self.last_bit + 1

    @property
    def max_advance(self) -> int:
        """Largest channel advance of one step, ``2**D - 1``."""
        return (1 << self.index_bits) - 1
