"""What a layer-sequential array takes of a chip, and the largest one that fits a board. Modelled figures.

The model takes one synthesised array for each number of lanes apart (``area.json``, written by ``python -m
experiments.sequential_area``): modules of every group, copies of the activation buffer, one for two groups, and the
rest, which is taken to be the same for any number of groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pyadmm.core.errors import PyadmmError
from pyadmm.core.schema import from_json
from pyadmm.hardware.boards import Board
from pyadmm.hardware.design_space import CHIP_SHARE
from pyadmm.hardware.sequential.array import MOST_GROUPS, SequentialArray
from pyadmm.model.types import Resources

BASIS = "modelled"
_FILE = Path(__file__).with_name("area.json")
_LANES = (64, 32)


@dataclass(frozen=True)
class AreaPoint:
    """What synthesis counted for an array of some groups and lanes.

    :param whole: of all modules together.
    :param buffer: of the activation buffer, all its copies together.
    :param in_groups: of the modules that every group has, all groups together.
    """

    groups: int
    lanes: int
    whole: Resources
    buffer: Resources
    in_groups: Resources

    def scaled_to(self, groups: int) -> Resources:
        """The same array with another number of groups."""
        rest = self.whole + (self.buffer + self.in_groups).scaled(-1)
        copies = self.buffer.scaled(_copies(groups) / _copies(self.groups))
        return rest + copies + self.in_groups.scaled(groups / self.groups)


@dataclass(frozen=True)
class AreaTable:
    """The content of ``area.json``, the file of measured points.

    :param source: the command that wrote it.
    :param points: one for each number of lanes.
    """

    source: str
    points: tuple[AreaPoint, ...]


def _copies(groups: int) -> int:
    return -(-groups // 2)


@cache
def _points() -> dict[int, AreaPoint]:
    """The points of ``area.json`` by their lanes."""
    table = from_json(AreaTable, _FILE.read_text(encoding="utf-8"), str(_FILE))
    return {point.lanes: point for point in table.points}


def modelled_area(groups: int, lanes: int) -> Resources:
    """Resources of an array with the default depths of all its memories.

    :raises PyadmmError: for lanes that no array has.
    """
    if lanes not in _points():
        raise PyadmmError(f"sequential array: lanes must be one of {_LANES}, not {lanes}")
    return _points()[lanes].scaled_to(groups)


def require_room(groups: int, lanes: int, board: Board, share: float = CHIP_SHARE) -> None:
    """Refuse an array that takes more than ``share`` of the board's chip (modelled).

    :raises PyadmmError: every resource that is short, with its need and its limit.
    """
    over = modelled_area(groups, lanes).over(board.resources.scaled(share))
    if over:
        short = "; ".join(
            f"{name}: needs {need:,.0f}, limit {limit:,.0f} ({share:.0%} of the chip)"
            for name, (need, limit) in over.items()
        )
        raise PyadmmError(
            f"the sequential array of {groups} x {lanes} does not fit {board.name} ({BASIS}): {short}"
        )


def largest_array(board: Board, share: float = CHIP_SHARE) -> SequentialArray:
    """The array of most lanes in all groups that fits ``share`` of the chip; of two alike, that of fewer groups.

    >>> from pyadmm.hardware.boards import load_board
    >>> found = largest_array(load_board("pynq-z2"))
    >>> found.groups, found.lanes
    (4, 64)

    :raises PyadmmError: where not even the smallest one fits; it says what is short.
    """
    limit = board.resources.scaled(share)
    sizes = [(groups, lanes) for lanes in _LANES for groups in range(1, MOST_GROUPS + 1)]
    fitting = [size for size in sizes if modelled_area(*size).fits(limit)]
    if not fitting:
        try:
            require_room(1, min(_LANES), board, share)
        except PyadmmError as error:
            raise PyadmmError(f"{error}; it is the smallest one, take a larger board") from error
    groups, lanes = max(fitting, key=lambda size: (size[0] * size[1], size[1]))
    return SequentialArray(groups=groups, lanes=lanes)
