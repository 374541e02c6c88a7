"""Parameters of the layer-sequential array and the addresses of its registers."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from pyadmm.core.errors import PyadmmError

MAGIC = 0x5153_4450
VERSION = 3
BEAT = 8
"""Bytes of one transfer on a memory port."""
PORTS, CHANNELS = 2, 3
"""Memory ports: one for entries, one for maps. Their channels: entries in, maps in, maps out."""
SLICE = 16
"""Bytes of one transfer of the store."""
HEADER_BYTES = 128
DESCRIPTOR_BYTES = 128
MOST_GROUPS = 8
"""A RUN descriptor has so many places for the lengths of the groups' streams."""
TAPS = 256
"""Words of the tap table."""


@dataclass(frozen=True)
class SequentialArray:
    """One sparse compute array: what the hardware is built with and the compiler plans for.

    :param groups: groups ``G``; each decodes one entry per cycle. Two share a copy of the buffer.
    :param lanes: pixel lanes ``V`` of a group; also the bytes of one line of the buffer.
    :param lines: lines of the activation buffer.
    :param entry_words: 64-bit words of a group's entry buffer.
    :param masks: words of the mask table.
    :param lists: words of the repacking table.
    :param tiles: most tiles of one RUN.
    :param acc_bits: width of an accumulator, the bias included.
    :param drain: lanes that the drain requantises per cycle.
    """

    groups: int = 4
    lanes: int = 64
    lines: int = 2048
    entry_words: int = 1024
    masks: int = 2048
    lists: int = 2048
    tiles: int = 64
    acc_bits: int = 28
    drain: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.groups <= MOST_GROUPS:
            raise PyadmmError(
                f"sequential array: groups must be 1 to {MOST_GROUPS}, not {self.groups}"
            )
        if self.lanes not in (32, 64):
            raise PyadmmError(f"sequential array: lanes must be 32 or 64, not {self.lanes}")
        for name in ("lines", "entry_words", "masks", "lists", "tiles"):
            value = getattr(self, name)
            if value < 16 or value & (value - 1):
                raise PyadmmError(
                    f"sequential array: {name} must be a power of two from 16, not {value}"
                )
        if not 20 <= self.acc_bits <= 32:
            raise PyadmmError(f"sequential array: acc_bits must be 20 to 32, not {self.acc_bits}")
        if self.drain not in (4, 8, 16) or self.lanes > 8 * self.drain:
            raise PyadmmError(
                f"sequential array: drain must be 4, 8 or 16 lanes, and an eighth of {self.lanes} at least, "
                f"not {self.drain}"
            )

    @property
    def parameters(self) -> dict[str, int]:
        """Parameters of the top, in C++ and in SystemVerilog.

        >>> SequentialArray().parameters["LANES"]
        64
        """
        return {name.upper(): value for name, value in asdict(self).items()}

    @property
    def buffer_bytes(self) -> int:
        """Bytes of the activation buffer; addresses wrap at this size."""
        return self.lines * self.lanes

    @property
    def build(self) -> int:
        """What the register ``build`` reads, and the header of a program for the array says."""
        return VERSION | self.groups << 8 | self.lanes << 16

    @property
    def line_slices(self) -> int:
        """Transfers of the store that make one line."""
        return self.lanes // SLICE

    @property
    def slice_cycles(self) -> int:
        """Cycles that the drain takes for one transfer of the store."""
        return SLICE // self.drain

    @property
    def line_beats(self) -> int:
        """Transfers of one line."""
        return self.lanes // BEAT

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-accumulate operations per cycle of the whole array."""
        return self.groups * self.lanes


def named_array(text: str, subject: str) -> SequentialArray:
    """The array that ``GxV``, groups and lanes, or ``GxV/D`` names; ``D`` lanes of its drain.

    :param subject: of the error where it names none.

    >>> named_array("2x32", "array").macs_per_cycle
    64
    >>> named_array("1x32/4", "array").drain
    4
    """
    found = re.fullmatch(r"(\d{1,3})x(\d{1,3})(?:/(\d{1,2}))?", text)
    if found is None:
        raise PyadmmError(
            f"{subject} must be groups x lanes, such as 4x64, or with the lanes of the drain, such as 1x32/4, "
            f"not {text!r}"
        )
    drain = int(found[3] or SequentialArray.drain)
    return SequentialArray(groups=int(found[1]), lanes=int(found[2]), drain=drain)
