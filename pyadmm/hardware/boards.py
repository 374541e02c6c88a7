"""Boards: facts of a development board, loaded from ``boards/*.json`` and validated."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import PyadmmError
from pyadmm.model.types import Resources

Family = Literal["zynq7000", "zynqmp"]
_POSITIVE_NUMBERS = ("clock_mhz", "memory_bandwidth_mb_s")
_TEXTS = ("name", "part", "family", "vendor", "board_part", "processor", "source")
_RESOURCES = ("lut", "ff", "dsp", "bram18", "uram")


@dataclass(frozen=True)
class Board:
    """Facts of a board that planning and reports need.

    :param name: name of the board, which is the name of its file.
    :param part: full Xilinx part name, for example ``xc7z020clg400-1``.
    :param family: ``zynq7000`` or ``zynqmp``.
    :param vendor: who makes the board.
    :param board_part: name of its board files in Vivado.
    :param processor: cores and their clock, in words.
    :param clock_mhz: clock of the programmable logic that designs aim at, MHz.
    :param resources: of the whole chip.
    :param memory_bandwidth_mb_s: peak bandwidth of the processor's DDR memory, MB/s.
    :param source: documents that the figures come from.
    """

    name: str
    part: str
    family: Family
    vendor: str
    board_part: str
    processor: str
    clock_mhz: float
    memory_bandwidth_mb_s: float
    resources: Resources
    source: str

    @property
    def clock_ns(self) -> float:
        """Clock period of the programmable logic, ns."""
        return 1e3 / self.clock_mhz


def board_names() -> list[str]:
    """Names of the boards that come with pyadmm, sorted."""
    return sorted(path.stem for path in asset_dir("boards").glob("*.json"))


def load_board(name: str) -> Board:
    """The board called ``name``, or the one that a user's own file ``name`` (``*.json``) describes.

    :raises PyadmmError: for an unknown name (it lists the known ones) or a bad file.
    """
    if name.endswith(".json"):
        return read_board(Path(name))
    if name not in board_names():
        raise PyadmmError(
            f"board {name!r} is unknown; choose one of: {', '.join(board_names())}, "
            "or give your own board's .json file"
        )
    return read_board(asset_dir("boards") / f"{name}.json")


def read_board(path: Path) -> Board:
    """Read and validate one board file."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PyadmmError(f"board file {path.name}: cannot be read as JSON: {error}") from error
    if not isinstance(facts, dict):
        raise PyadmmError(f"board file {path.name}: must be a JSON object")
    expected = {*_TEXTS, *_POSITIVE_NUMBERS, "resources"}
    if set(facts) != expected:
        odd = ", ".join(sorted(set(facts) ^ expected))
        raise PyadmmError(f"board file {path.name}: missing or unknown fields: {odd}")
    for key in _TEXTS:
        _require(path, key, isinstance(facts[key], str) and bool(facts[key]), "non-empty text")
    for key in _POSITIVE_NUMBERS:
        _require(path, key, _is_number(facts[key]) and facts[key] > 0, "a positive number")
    _require(path, "family", facts["family"] in get_args(Family), f"one of {get_args(Family)}")
    _require(path, "name", facts["name"] == path.stem, f"{path.stem!r}, as the file is called")
    figures = facts.pop("resources")
    complete = isinstance(figures, dict) and set(figures) == set(_RESOURCES)
    _require(path, "resources", complete, f"an object of {', '.join(_RESOURCES)}")
    for key, value in figures.items():
        _require(path, f"resources.{key}", type(value) is int and value >= 0, "a whole number")
    return Board(**facts, resources=Resources(**figures))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require(path: Path, key: str, holds: bool, what: str) -> None:
    if not holds:
        raise PyadmmError(f"board file {path.name}: field {key} must be {what}")
