"""From RTL to a routed design: registers around a module, mapping, placement, routing.

A module is routed by itself, between registers (:func:`pyadmm.eda.openxc7.route_harness`), so its
period is that of its own paths; the harness' LUTs and flip-flops are part of the resources.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyadmm.codegen.hls import TOP
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import cache_dir, write_atomic
from pyadmm.eda import yosys
from pyadmm.eda.netlist_json import read_netlist
from pyadmm.eda.openxc7 import (
    DEFAULT_MEMORY_GIB,
    DEFAULT_TIMEOUT_S,
    TOOL,
    Routed,
    RouteJob,
    find_openxc7,
    harness_constraints,
    place_and_route,
    route_harness,
)
from pyadmm.eda.sta import SERIES7, estimate_clock
from pyadmm.hardware.boards import Board
from pyadmm.hardware.plan import BuildPlan

_MAPPING_TIMEOUT_S = 3600.0
_HARNESS = 1
"""Part of the key of a cached netlist: raise it when harness or mapping changes."""
_CLOCK, _RESET = "ap_clk", "ap_rst_n"
MAPPED = "netlist.json"
"""Name of the mapped netlist in the folder of kept files."""


@dataclass(frozen=True)
class RouteSettings:
    """Seeds, limits and clock target of a routing run.

    :param seeds: of the placer; every one is a run of its own.
    :param jobs: runs at once.
    :param clock_ns: what placement aims at; ``None``: the board's clock.
    :param keep: folder for the mapped netlist (:data:`MAPPED`), and FASM, routed netlist and log of
        every seed.
    """

    seeds: tuple[int, ...] = (1,)
    jobs: int = 1
    clock_ns: float | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    memory_gib: float = DEFAULT_MEMORY_GIB
    keep: Path | None = None

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 1:
            raise PyadmmError(f"route: seeds must be different numbers from 1, not {self.seeds}")


@dataclass(frozen=True)
class RouteResult:
    """A module routed with every seed.

    :param estimate_ns: period of the same netlist by the fan-out model, before placement.
    :param mapped_lut: LUTs as synthesis counts them; placement adds some behind carry chains.
    """

    estimate_ns: float
    runs: tuple[Routed, ...]
    mapped_lut: float


def route_build(build: BuildPlan, board: Board, settings: RouteSettings) -> RouteResult:
    """The whole top of an RTL build, as :func:`pyadmm.codegen.rtl.generate_rtl` gives it.

    :raises PyadmmError: as :func:`route_module`.
    """
    with tempfile.TemporaryDirectory(prefix="pyadmm-route-") as name:
        sources = []
        for file, text in build.files.items():
            if Path(file).suffix in {".sv", ".v"}:
                path = Path(name) / Path(file).name
                path.write_text(text if isinstance(text, str) else text.decode(), encoding="utf-8")
                sources.append(path)
        return route_module(TOP, sources, {}, board, settings)


def route_module(
    top: str,
    sources: Sequence[Path],
    parameters: Mapping[str, int | str],
    board: Board,
    settings: RouteSettings,
    *,
    use_dsp: bool = True,
) -> RouteResult:
    """Map, place and route module ``top`` on the chip of ``board``.

    :param use_dsp: whether multipliers may become DSP blocks.
    :raises PyadmmError: for a board whose chip is none of openXC7's.
    :raises ToolError: where Yosys or nextpnr-xilinx is missing, fails or runs out of time.
    """
    if board.family != "zynq7000":
        raise PyadmmError(
            f"route for {board.name}: openXC7 routes 7-series chips, not {board.part}; choose a "
            "Zynq-7000 board, or build with Vivado"
        )
    find_openxc7(board.part)  # before minutes of mapping
    clock_ns = settings.clock_ns or board.clock_ns
    netlist = _mapped(top, sources, parameters, use_dsp)
    job = RouteJob(
        top,
        netlist,
        harness_constraints(board.part, clock_ns),
        board.part,
        clock_ns,
        settings.timeout_s,
        settings.memory_gib,
    )
    runs = place_and_route(job, settings.seeds, settings.jobs, settings.keep)
    if settings.keep is not None:
        shutil.copyfile(netlist, settings.keep / MAPPED)
    return route_result(netlist, yosys.PLACED_TOP, runs)


def route_result(netlist: Path, top: str, runs: Sequence[Routed]) -> RouteResult:
    """``runs`` with what synthesis says of the mapped netlist that they placed."""
    cells = _own_cells(netlist, top)
    mapped = yosys.count_resources(Counter(cell["type"] for cell in cells.values()))
    assert mapped.lut is not None
    return RouteResult(_estimate(cells), tuple(runs), mapped.lut)


def _mapped(
    top: str, sources: Sequence[Path], parameters: Mapping[str, int | str], use_dsp: bool
) -> Path:
    """The netlist of the harness around ``top``, from the cache or by running Yosys."""
    digest = hashlib.sha256(
        json.dumps([yosys.tool_version(), top, dict(parameters), use_dsp, _HARNESS]).encode()
    )
    for source in sources:
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    file = cache_dir() / TOOL / f"{digest.hexdigest()}.netlist.json"
    if not file.is_file():
        modules = yosys.elaborate(top, sources, _MAPPING_TIMEOUT_S, parameters)
        ports = next(module.ports for module in modules.values() if module.source == top)
        whole = _CLOCK in ports
        harness = route_harness(
            top,
            ports,
            parameters,
            clock=_CLOCK if whole else "clk",
            reset=_RESET if whole else "rst",
            reset_low=whole,
        )
        with tempfile.TemporaryDirectory(prefix="pyadmm-route-") as name:
            netlist = Path(name) / "netlist.json"
            yosys.map_for_placement(
                harness, sources, netlist, use_dsp=use_dsp, timeout_s=_MAPPING_TIMEOUT_S
            )
            write_atomic(file, netlist.read_bytes())
    return file


def _own_cells(netlist: Path, top: str) -> dict[str, Any]:
    """The cells of a mapped netlist, pads and clock buffers left out."""
    modules = read_netlist(netlist, f"remove {netlist}, and it is made anew")["modules"]
    return {
        name: cell
        for name, cell in modules[top]["cells"].items()
        if cell["type"] not in ("IBUF", "OBUF", "BUFG")
    }


def _estimate(cells: Mapping[str, Any]) -> float:
    """Period by the fan-out model."""
    return estimate_clock({"cells": cells, "ports": {}}, SERIES7).period_ns
