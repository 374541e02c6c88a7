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
_MEMORY = ("ports", "port_bits", "sustained_mb_s", "source")
_PORT_BITS = (32, 64, 128)


@dataclass(frozen=True)
class MemoryPorts:
    """The board's memory as masters in the programmable logic reach it.

    :param ports: AXI ports of the processor system that lead to the memory without the caches.
    :param port_bits: data width of a port, bits.
    :param sustained_mb_s: what all ports together move in the long run, reads and writes, MB/s.
    :param source: documents or measurements that the figures come from.
    """

    ports: int
    port_bits: int
    sustained_mb_s: float
    source: str


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
    :param memory: ports to the memory and the rate that they sustain; ``None`` where the board file does not
        say, which only the layer-sequential architecture minds.
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
    memory: MemoryPorts | None = None

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
    if set(facts) - {"memory"} != expected:
        odd = ", ".join(sorted((set(facts) - {"memory"}) ^ expected))
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
    memory = _memory(path, facts) if "memory" in facts else None
    return Board(**{**facts, "memory": memory}, resources=Resources(**figures))


def _memory(path: Path, facts: dict[str, Any]) -> MemoryPorts:
    """The field ``memory`` of a board file, checked."""
    found, peak = facts["memory"], facts["memory_bandwidth_mb_s"]
    complete = isinstance(found, dict) and set(found) == set(_MEMORY)
    _require(path, "memory", complete, f"an object of {', '.join(_MEMORY)}")
    ports, bits, rate = found["ports"], found["port_bits"], found["sustained_mb_s"]
    _require(path, "memory.ports", type(ports) is int and ports > 0, "a whole number from 1")
    _require(path, "memory.port_bits", bits in _PORT_BITS, f"one of {_PORT_BITS}")
    possible = _is_number(rate) and 0 < rate <= peak
    _require(path, "memory.sustained_mb_s", possible, f"above 0, at most the peak of {peak:g}")
    told = isinstance(found["source"], str) and bool(found["source"])
    _require(path, "memory.source", told, "non-empty text")
    return MemoryPorts(**found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require(path: Path, key: str, holds: bool, what: str) -> None:
    if not holds:
        raise PyadmmError(f"board file {path.name}: field {key} must be {what}")
