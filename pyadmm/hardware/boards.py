"""Boards: facts of a development board, loaded from ``boards/*.json`` and validated."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import PyadmmError
from pyadmm.core.schema import Problem, Rule, field_words, from_json, from_plain, setting_words
from pyadmm.model.types import Resources

Family = Literal["zynq7000", "zynqmp"]
Text = Annotated[str, Rule("non-empty text", bool)]
Rate = Annotated[float, Rule("a positive number", lambda rate: rate > 0)]
Share = Annotated[float, Rule("above 0 and at most 1", lambda share: 0 < share <= 1)]
Whole = Annotated[int, Rule("a whole number", lambda count: count >= 0)]


@dataclass(frozen=True)
class MemoryPorts:
    """The board's memory as masters in the programmable logic reach it.

    :param ports: AXI ports of the processor system that lead to the memory without the caches.
    :param port_bits: data width of a port, bits.
    :param sustained_mb_s: what all ports together move in the long run, reads and writes, MB/s.
    :param source: documents or measurements that the figures come from.
    """

    ports: Annotated[int, Rule("a whole number from 1", lambda ports: ports > 0)]
    port_bits: Literal[32, 64, 128]
    sustained_mb_s: Rate
    source: Text


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
        say. The layer-sequential architecture needs it.
    :param routed_share: share of the chip's LUTs, as synthesis counts them, of the largest design that
        has been routed with open tools (openXC7); ``None`` where none has.
    """

    name: Text
    part: Text
    family: Family
    vendor: Text
    board_part: Text
    processor: Text
    clock_mhz: Rate
    memory_bandwidth_mb_s: Rate
    resources: Resources
    source: Text
    memory: MemoryPorts | None = None
    routed_share: Share | None = None

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
    subject = f"board file {path.name}"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PyadmmError(f"{subject}: cannot be read: {error}; check the path") from error
    facts: dict[str, Any] = from_json(dict[str, Any], text, subject)
    board = from_plain(Board, facts, subject, words=_words)
    # Digests of break-even records hold the chip's figures as whole numbers.
    chip = from_plain(_Chip, facts["resources"], f"{subject}, resources", words=_words)
    if board.name != path.stem:
        raise PyadmmError(
            f"{subject}: field name must be {path.stem!r}, as the file is called, not {board.name!r}"
        )
    memory, peak = board.memory, board.memory_bandwidth_mb_s
    if memory is not None and memory.sustained_mb_s > peak:
        raise PyadmmError(
            f"{subject}: field memory.sustained_mb_s must be above 0, at most the peak of {peak:g}, "
            f"not {memory.sustained_mb_s:g}"
        )
    return replace(board, resources=Resources(**asdict(chip)))


@dataclass(frozen=True)
class _Chip:
    """The resources of a chip in whole numbers, every one of them given."""

    lut: Whole
    ff: Whole
    dsp: Whole
    bram18: Whole
    uram: Whole


def _words(subject: str, problem: Problem) -> str:
    return (setting_words if problem.known else field_words)(subject, problem)
