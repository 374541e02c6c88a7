"""Area and clock of one layer's kernel: engines, weight memories, index decoders, input frames.

The open flow synthesises the project's RTL with Yosys, piece by piece: one sparse engine (a group
is an exact copy of another), the dense engine with all its groups, and one bank of the input frame.
The requantiser behind the engines is the same for both families and is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import PyadmmError
from pyadmm.eda.reports import SynthesisReport
from pyadmm.eda.yosys import Design, synthesise_all
from pyadmm.hardware.boards import Board
from pyadmm.hardware.plan import StagePlan, engine_shape, selects_products
from pyadmm.model.types import Resources

CAPACITY_STEP = 256
"""Step of the depths of weight memories, words, so that few depths need synthesis."""
SMALL_CAPACITY_STEP = 32
"""The same for memories below one step."""
_LOGIC_CAPACITY = 512
"""The engine is synthesised once, with a weight memory of this depth, which is then exchanged for
the one that is needed."""


@dataclass(frozen=True)
class Measured:
    """Figures of one kernel, measured by a tool.

    :param basis: stage of the tool run (``post-synthesis``, ``csynth``, ``post-route``).
    """

    resources: Resources
    clock_estimate_ns: float | None
    basis: str
    tool: str
    version: str


class Measure(Protocol):
    """Measures kernels; how is up to the tool behind it."""

    def __call__(self, stages: Sequence[StagePlan], board: Board) -> list[Measured]:
        """One result per stage, in order."""


def rounded_capacity(entries: int) -> int:
    """Depth of the weight memory built for ``entries`` words.

    >>> rounded_capacity(1), rounded_capacity(33), rounded_capacity(257)
    (32, 64, 512)
    """
    step = CAPACITY_STEP if entries > CAPACITY_STEP else SMALL_CAPACITY_STEP
    return max(math.ceil(entries / step), 1) * step


def kernel_sources(top: str) -> tuple[Path, ...]:
    """The SystemVerilog files that module ``top`` needs, itself included, one module a file.

    Leaving the others out keeps a cached result valid when they change.

    :raises PyadmmError: where there is no such module.
    """
    folder = asset_dir("hls") / "rtl"
    available = {path.stem: path for path in folder.glob("*.sv")}
    if top not in available:
        raise PyadmmError(f"kernels: no module {top} in hls/rtl")
    needed, open_names = {top}, [top]
    while open_names:
        text = available[open_names.pop()].read_text(encoding="utf-8")
        found = (set(re.findall(r"(\w+)\s+#\(", text)) & set(available)) - needed
        needed |= found
        open_names.extend(found)
    return tuple(available[name] for name in sorted(needed))


@dataclass(frozen=True)
class OpenFlow:
    """Measures kernels by synthesis with Yosys.

    :param jobs: synthesis runs at once; the number of cores by default.
    :param dask_address: a Dask scheduler to run them on instead.
    """

    jobs: int | None = None
    dask_address: str | None = None

    def __call__(self, stages: Sequence[StagePlan], board: Board) -> list[Measured]:
        """Area and clock estimate of every kernel; runs are shared between equal pieces."""
        pieces = [_Pieces.of(stage, board) for stage in stages]
        designs = {_key(design): design for piece in pieces for design in piece.designs}
        reports = synthesise_all(list(designs.values()), self.jobs, self.dask_address)
        by_key = dict(zip(designs, reports, strict=True))
        return [piece.total(by_key) for piece in pieces]


_Key = tuple[object, ...]


def _key(design: Design) -> _Key:
    """What tells designs of one board from each other."""
    return (design.top, *sorted(design.parameters.items()))


@dataclass(frozen=True)
class _Pieces:
    """The designs whose areas make up one kernel, and how often each counts.

    The engine is measured with a weight memory of a fixed depth; ``counts`` takes that memory out
    (negative) and puts the needed one in.
    """

    designs: tuple[Design, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, stage: StagePlan, board: Board) -> _Pieces:
        family = stage.config.family
        engine = engine_design(stage, board)
        copies = stage.groups if family == "sparse" else stage.config.walkers
        banks, words, bits = stage.frame_banks
        parts = [(engine, copies), (_memory(board, words, bits), banks * stage.frame_copies)]
        if stage.fold > 1:
            parts.append((_splitter(stage, board), 1))
        capacity = "WEIGHT_CAPACITY" if family == "dense" else "ENTRY_CAPACITY"
        built = engine.parameters[capacity]
        needed = rounded_capacity(stage.entry_capacity)
        if built != needed:
            for bits, count in _weight_memories(stage):
                parts.append((_memory(board, int(built), bits), -count))
                parts.append((_memory(board, needed, bits), count))
        return cls(tuple(p[0] for p in parts), tuple(p[1] for p in parts))

    def total(self, reports: dict[_Key, SynthesisReport]) -> Measured:
        """The kernel's resources and its slowest piece."""
        total, clock = Resources(), 0.0
        for design, count in zip(self.designs, self.counts, strict=True):
            report = reports[_key(design)]
            total += Resources(**report.resources.known()).scaled(count)
            if report.clock_estimate_ns is None or report.version is None:
                raise PyadmmError(f"synthesis of {design.top}: no clock estimate or version")
            clock = max(clock, report.clock_estimate_ns)
        last = reports[_key(self.designs[0])]
        return Measured(total, clock, last.stage, last.tool, str(last.version))


def _weight_memories(stage: StagePlan) -> list[tuple[int, int]]:
    """Widths of the weight memories, and how many have each."""
    if stage.config.family != "balanced":
        return [(stage.weight_word_bits, stage.groups)]
    form, programs = stage.balanced_format, stage.config.walkers
    others = stage.groups - programs
    return [(form.bits, programs), *([(form.entry_bits, others)] if others else [])]


def _splitter(stage: StagePlan, board: Board) -> Design:
    """What tells a channel's place in a folded frame."""
    channels = stage.spec.input_shape[0]
    bits = max((channels - 1).bit_length(), 1)
    parameters = {"LIMIT": channels, "DIVISOR": stage.fold, "VALUE_BITS": bits}
    return _design(board, "divide_const", parameters)


def _memory(board: Board, depth: int, width: int) -> Design:
    address = max((depth - 1).bit_length(), 1)
    return _design(board, "ram_sdp", {"WIDTH": width, "DEPTH": depth, "ADDR_BITS": address})


def engine_design(stage: StagePlan, board: Board) -> Design:
    """The engine of ``stage``: of one group for a sparse kernel, else of all groups."""
    makers = {"sparse": _sparse_engine, "dense": _dense_engine, "balanced": _balanced_engine}
    return makers[stage.config.family](stage, board)


def _sparse_engine(stage: StagePlan, board: Board) -> Design:
    parameters = {
        **engine_shape(stage),
        "INDEX_BITS": stage.config.index_bits,
        "ENTRY_CAPACITY": _LOGIC_CAPACITY,
        "ACC_MUX": int(selects_products(stage)),
    }
    return _design(board, "sparse_engine", parameters)


def _balanced_engine(stage: StagePlan, board: Board) -> Design:
    shape = engine_shape(stage)
    if stage.fold > 1:
        row = {"IN_WIDTH": stage.fold, "KERNEL_W": stage.fold}
        shape |= {"IN_CHANNELS": stage.window_channels, **row}
    parameters = {
        **shape,
        "GROUPS": stage.lockstep,
        "GROUP_BITS": max((stage.lockstep - 1).bit_length(), 1),
        "WINDOW": stage.config.window,
        "INDEX_BITS": stage.config.index_bits,
        "ENTRY_CAPACITY": _LOGIC_CAPACITY,
        "ACC_MUX": int(selects_products(stage)),
    }
    return _design(board, "balanced_engine", parameters)


def _dense_engine(stage: StagePlan, board: Board) -> Design:
    parameters = {
        **engine_shape(stage),
        "OUT_CHANNELS": stage.spec.outputs,
        "CONV_GROUPS": stage.spec.groups,
        "GROUPS": stage.groups,
        "GROUP_BITS": max((stage.groups - 1).bit_length(), 1),
        # The dense engine checks that all its weights fit.
        "WEIGHT_CAPACITY": rounded_capacity(stage.entry_capacity),
    }
    return _design(board, "dense_engine", parameters)


def _design(board: Board, top: str, parameters: dict[str, int]) -> Design:
    return Design.for_board(board, top, kernel_sources(top), parameters, use_dsp=False)


@dataclass(frozen=True)
class RecordedReports:
    """Measures by looking up reports that a vendor's tool has written.

    :param reports: per kernel, keyed ``(family, tile_rows, groups)``; its resources must be those
        of the whole kernel, weight memories included.
    """

    reports: dict[tuple[str, int, int], SynthesisReport]

    def __call__(self, stages: Sequence[StagePlan], board: Board) -> list[Measured]:
        """The recorded figures of every stage.

        :raises PyadmmError: where a report is missing or lacks a figure that the comparison needs.
        """
        return [self._one(stage) for stage in stages]

    def _one(self, stage: StagePlan) -> Measured:
        config = stage.config
        key = (config.family, config.tile_rows, config.groups)
        report = self.reports.get(key)
        if report is None:
            raise PyadmmError(
                f"break-even {stage.name}: no report for the {config.family} kernel with "
                f"{config.tile_rows} rows and {config.groups} groups"
            )
        known = report.resources.known()
        missing = {"lut", "ff", "dsp", "bram18"} - set(known)
        if missing:
            raise PyadmmError(
                f"break-even {stage.name}: the report of {report.design} has no "
                f"{', '.join(sorted(missing))}"
            )
        return Measured(
            Resources(**known),
            report.clock_estimate_ns,
            report.stage,
            report.tool,
            report.version or "unknown version",
        )
