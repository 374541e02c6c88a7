"""The limit of the work that the coding of one file may take."""

from __future__ import annotations

from dataclasses import dataclass

LINE_LIMIT = 1 << 14
"""Most lines, and cells of a line, of an adaptively coded layer."""
WORK_LIMIT = 1 << 22
"""Adaptive coding of a whole file, in steps of about a microsecond."""
SYMBOL_LIMIT = 1 << 28
"""Gaps of all statically coded layers."""
_CELL_LIMIT = 1 << 13
"""Most cells, of active channels, of a layer that is coded by cells."""
_CELL_WORK = 4


@dataclass
class Budget:
    """Work that coding one file may still take.

    :param left: of adaptive coding, steps.
    :param symbols: of static coding.
    """

    left: int = WORK_LIMIT
    symbols: int = SYMBOL_LIMIT

    def affords(self, nonzeros: int, lines: int, cells: int) -> bool:
        """Whether a layer may be coded adaptively; if so, its work is deducted."""
        work = nonzeros * (16 + cells // 64) + lines + cells
        if max(lines, cells) > LINE_LIMIT or work > self.left:
            return False
        self.left -= work
        return True

    def affords_cells(self, cells: int) -> bool:
        """Whether a layer may be coded by cells; if so, its work is deducted."""
        work = _CELL_WORK * cells
        if cells > _CELL_LIMIT or work > self.left:
            return False
        self.left -= work
        return True

    def affords_symbols(self, count: int) -> bool:
        """Whether ``count`` more gaps may be coded; they are deducted."""
        self.symbols -= count
        return self.symbols >= 0
