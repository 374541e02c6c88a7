"""Open synthesis with Yosys (the ``pyosys`` package): resources by cell type, clock estimate.

A child process with a time-out and a memory bound maps several designs side by side, each a
module of its own whose boundary is kept, because reading cell libraries and mapping rules takes
longer than most designs. Every design's :class:`~pyadmm.eda.reports.SynthesisReport` is cached by a
digest of sources, parameters, commands and tool version. A run that fails leaves nothing in the
cache; the designs of a batch that fails are tried again one by one, so that the error names one.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import math
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pyadmm.core.errors import MissingToolError, PyadmmError, ToolError
from pyadmm.core.files import cache_dir, write_atomic
from pyadmm.core.process import run_tool
from pyadmm.eda.reports import ResourceUse, SynthesisReport
from pyadmm.eda.sta import DELAYS, METHOD
from pyadmm.hardware.boards import Board

TOOL = "yosys"
CACHE_VERSION = 3
"""Part of every cache key: raise it when counting or timing changes."""
DEFAULT_TIMEOUT_S = 900.0
DEFAULT_MEMORY_GIB = 8.0
MOST_IN_BATCH = 24
"""Designs that one child process maps."""
_WRAPPER = "pyadmm_batch"
PLACED_TOP = "route_harness"
"""The module that :func:`map_for_placement` maps."""
DASK_TIMEOUT_S = 5.0
"""How long a Dask scheduler and its workers may take to answer."""

ChipFamily = Literal["xc7", "xcup"]
_SCHEDULER = re.compile(r"(tcp|tls)://(?P<host>[\w.-]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})\Z")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_LITERAL = re.compile(r"[0-9]+'s?[bdhBDH][0-9a-fA-F_]+\Z")

_LUTS: Mapping[str, int] = {
    **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
    "INV": 1,
    "SRL16E": 1,
    "SRLC16E": 1,
    "SRLC32E": 1,
    "RAM32X1S": 1,
    "RAM64X1S": 1,
    "RAM128X1S": 2,
    "RAM256X1S": 4,
    "RAM512X1S": 8,
    "RAM32X1D": 2,
    "RAM64X1D": 2,
    "RAM128X1D": 4,
    "RAM256X1D": 8,
    "RAM32M": 4,
    "RAM64M": 4,
    "RAM32M16": 8,
    "RAM64M8": 8,
    "RAM32X16DR8": 8,
    "RAM64X8SW": 8,
}
_FLIP_FLOPS = ("FDRE", "FDSE", "FDCE", "FDPE", "LDCE", "LDPE")
_BRAM18 = {"RAMB18E1": 1, "RAMB36E1": 2, "RAMB18E2": 1, "RAMB36E2": 2}
_DSPS = ("DSP48E1", "DSP48E2")
_PROCESSOR = re.compile(r"^\s*PS7\b", re.MULTILINE)
_FREE = ("PS7", "CARRY4", "CARRY8", "MUXF7", "MUXF8", "MUXF9", "BUFG", "IBUF", "OBUF", "VCC", "GND")


@dataclass(frozen=True)
class Design:
    """One module to synthesise.

    :param top: name of the module.
    :param sources: SystemVerilog files.
    :param parameters: values of the module's parameters: integers, or sized Verilog literals.
    :param family: chip family, 7-series or UltraScale+.
    :param use_dsp: whether multipliers may become DSP blocks.
    :param boxes: modules whose instances stay empty, because they are synthesised by themselves.
    """

    top: str
    sources: tuple[Path, ...]
    parameters: Mapping[str, int | str]
    family: ChipFamily = "xc7"
    use_dsp: bool = True
    part: str | None = None
    clock_target_ns: float | None = None
    boxes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for module in (self.top, *self.boxes):
            if not _NAME.match(module):
                raise PyadmmError(f"synthesis: {module!r} is no module name")
        if self.family not in DELAYS:
            raise PyadmmError(
                f"synthesis of {self.top}: family must be one of {sorted(DELAYS)}, "
                f"not {self.family!r}"
            )
        for name, value in self.parameters.items():
            if not _NAME.match(name) or not (
                isinstance(value, int) or (isinstance(value, str) and _LITERAL.match(value))
            ):
                raise PyadmmError(
                    f"synthesis of {self.top}: parameter {name!r} = {value!r} must be an integer "
                    "or a sized literal such as 8'hff"
                )
        for source in self.sources:
            if not source.is_file():
                raise PyadmmError(f"synthesis of {self.top}: source file {source.name} is missing")
            if not re.fullmatch(r"[\w./+@ -]+", str(source)):
                raise PyadmmError(
                    f"synthesis of {self.top}: path {source} has characters that Yosys scripts "
                    "cannot quote; move it"
                )

    @classmethod
    def for_board(
        cls,
        board: Board,
        top: str,
        sources: Sequence[Path],
        parameters: Mapping[str, int | str],
        use_dsp: bool = True,
    ) -> Design:
        """The module on the chip of ``board``, aiming at its clock."""
        family: ChipFamily = "xc7" if board.family == "zynq7000" else "xcup"
        return cls(top, tuple(sources), parameters, family, use_dsp, board.part, board.clock_ns)

    @property
    def kind(self) -> tuple[tuple[Path, ...], ChipFamily, bool, tuple[str, ...]]:
        """What designs of one batch have in common."""
        return self.sources, self.family, self.use_dsp, self.boxes

    def commands(self) -> list[str]:
        """The Yosys commands that map every module that the batch's wrapper holds, in order."""
        dsp = "" if self.use_dsp else " -nodsp"
        return [
            *_reading(self.sources),
            *_library(self.sources),
            f"read_verilog -sv {_WRAPPER}.sv",
            f"hierarchy -check -top {_WRAPPER}",
            *(f"blackbox A:hdlname={name}" for name in self.boxes),
            f"synth_xilinx -family {self.family} -noiopad -noclkbuf{dsp} -top {_WRAPPER}",
            "flatten -noscopeinfo",
            "opt_merge",
            "clean",
            "write_json -compat-int netlist.json",
        ]

    def instance(self, name: str) -> str:
        """SystemVerilog that puts the module into the wrapper."""
        values = ", ".join(f".{key}({value})" for key, value in self.parameters.items())
        bound = f" #({values})" if values else ""
        return f"  (* keep, keep_hierarchy *) {self.top}{bound} {name} ();\n"

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the result, hexadecimal."""
        digest = hashlib.sha256()
        facts = {
            "cache": CACHE_VERSION,
            "tool": tool_version(),
            "commands": self.commands()[len(self.sources) :],
            "module": self.instance("design"),
            "delays": repr(DELAYS[self.family]),
        }
        digest.update(json.dumps(facts, sort_keys=True).encode())
        for source in self.sources:
            digest.update(hashlib.sha256(source.read_bytes()).digest())
        return digest.hexdigest()


def _reading(sources: Sequence[Path]) -> list[str]:
    return [f'read_verilog -sv -defer "{source.resolve()}"' for source in sources]


def _library(sources: Sequence[Path]) -> list[str]:
    """The declarations of the chip's own cells, where a source instantiates the processor."""
    if not any(_PROCESSOR.search(source.read_text(encoding="utf-8")) for source in sources):
        return []
    return [f"read_verilog -lib +/xilinx/{name}.v" for name in ("cells_sim", "cells_xtra")]


def tool_version() -> str:
    """Version of the installed ``pyosys`` package.

    :raises ToolError: where it is missing.
    """
    try:
        return importlib.metadata.version("pyosys")
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingToolError(
            "yosys: the package pyosys is not installed; pip install 'pyadmm[rtl]'"
        ) from error


def count_resources(cells: Mapping[str, int]) -> ResourceUse:
    """Resources of a mapped netlist by cell type; BRAM in 18 Kb halves.

    Shift registers and LUT RAM count the LUTs that they fill. Two small LUTs are not paired into
    one: Vivado does that, so LUT figures here are an upper bound. Carry chains and wide
    multiplexers come with their slices and cost no LUT.

    >>> count_resources({"LUT6": 3, "RAM64M": 1, "RAMB36E1": 1, "FDRE": 5, "CARRY4": 2})
    ResourceUse(lut=7, ff=5, dsp=0, bram18=2, uram=0)

    :raises ToolError: for a cell type that it does not know.
    """
    unknown = set(cells) - {*_LUTS, *_FLIP_FLOPS, *_BRAM18, *_DSPS, *_FREE, "URAM288"}
    if unknown:
        raise ToolError(f"yosys: cannot count cells of type {', '.join(sorted(unknown))}")
    return ResourceUse(
        lut=sum(cells.get(name, 0) * luts for name, luts in _LUTS.items()),
        ff=sum(cells.get(name, 0) for name in _FLIP_FLOPS),
        dsp=sum(cells.get(name, 0) for name in _DSPS),
        bram18=sum(cells.get(name, 0) * halves for name, halves in _BRAM18.items()),
        uram=cells.get("URAM288", 0),
    )


def synthesise(
    design: Design,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    memory_gib: float = DEFAULT_MEMORY_GIB,
) -> SynthesisReport:
    """Report of ``design``, from the cache or by running Yosys.

    :raises ToolError: with the last lines of the log where Yosys fails, hangs, runs out of memory
        or is missing.
    """
    return _synthesise_batch((design,), timeout_s, memory_gib)[0]


def synthesise_all(
    designs: Sequence[Design],
    jobs: int | None = None,
    dask_address: str | None = None,
    progress: Callable[[SynthesisReport], None] = lambda report: None,
    *,
    dask_timeout_s: float = DASK_TIMEOUT_S,
) -> list[SynthesisReport]:
    """Reports of ``designs``, in order, several batches at a time.

    :param jobs: child processes at once; the number of cores by default.
    :param dask_address: scheduler of a running Dask cluster that does the work instead.
    :param dask_timeout_s: how long the scheduler and its workers may take to answer.
    :raises ToolError: as :func:`synthesise`.
    """
    jobs = jobs or os.cpu_count() or 1
    known = {i: report for i, design in enumerate(designs) if (report := _cached(design))}
    batches = _batches(designs, [i for i in range(len(designs)) if i not in known], jobs)
    work = [tuple(designs[i] for i in batch) for batch in batches]
    if dask_address is not None:
        answers = iter(_on_dask(work, dask_address, dask_timeout_s))
        return _collect(known, batches, answers, progress)
    with ThreadPoolExecutor(jobs) as pool:
        return _collect(known, batches, pool.map(_synthesise_batch, work), progress)


def _collect(
    known: dict[int, SynthesisReport],
    batches: Sequence[Sequence[int]],
    answers: Iterator[list[SynthesisReport]],
    progress: Callable[[SynthesisReport], None],
) -> list[SynthesisReport]:
    """All reports, by the place of their design."""
    for report in known.values():
        progress(report)
    for batch, reports in zip(batches, answers, strict=True):
        for place, report in zip(batch, reports, strict=True):
            known[place] = report
            progress(report)
    return [known[place] for place in sorted(known)]


def _batches(designs: Sequence[Design], places: Iterable[int], jobs: int) -> list[list[int]]:
    """``places`` of designs of one kind together, in parts that keep ``jobs`` processes busy."""
    kinds: dict[Any, list[int]] = {}
    for place in places:
        kinds.setdefault(designs[place].kind, []).append(place)
    batches = []
    for members in kinds.values():
        parts = max(min(jobs, len(members)), math.ceil(len(members) / MOST_IN_BATCH))
        batches += [members[start::parts] for start in range(parts)]
    return sorted(batches, key=len)


def _synthesise_batch(
    designs: Sequence[Design],
    timeout_s: float = DEFAULT_TIMEOUT_S,
    memory_gib: float = DEFAULT_MEMORY_GIB,
) -> list[SynthesisReport]:
    """Reports of designs of one kind, by one run or from the cache."""
    missing = [design for design in designs if _cached(design) is None]
    try:
        fresh = _run(missing, timeout_s, memory_gib) if missing else []
    except MissingToolError:
        raise
    except ToolError:
        if len(missing) == 1:
            raise
        for design in missing:
            _synthesise_batch((design,), timeout_s, memory_gib)
        fresh = []
    for report in fresh:
        write_atomic(_cache_file(str(report.plan_digest)), report.to_json())
    reports = [_cached(design) for design in designs]
    return [report for report in reports if report is not None]


def _cache_file(digest: str) -> Path:
    return cache_dir() / "yosys" / f"{digest}.json"


def _cached(design: Design) -> SynthesisReport | None:
    file = _cache_file(design.digest)
    if not file.is_file():
        return None
    report = SynthesisReport.from_json(file.read_text(encoding="utf-8"))
    return replace(report, part=design.part, clock_target_ns=design.clock_target_ns)


def _on_dask(
    batches: Sequence[Sequence[Design]], address: str, timeout_s: float
) -> list[list[SynthesisReport]]:
    """Reports of ``batches`` by the workers of a Dask cluster; they go into this cache too.

    :raises ToolError: where ``distributed`` is missing, no scheduler or worker answers, or a
        worker dies.
    """
    try:
        distributed = importlib.import_module("distributed")
    except ImportError as error:
        raise MissingToolError("dask: not installed; pip install 'pyadmm[dask]'") from error
    _reach(address, timeout_s)
    try:
        with distributed.Client(address, timeout=f"{timeout_s} s") as client:
            client.wait_for_workers(1, timeout=timeout_s)
            reports: list[list[SynthesisReport]] = client.gather(
                client.map(_synthesise_batch, list(batches), pure=False)
            )
    except (OSError, distributed.KilledWorker) as error:
        raise ToolError(
            f"dask: the cluster at {address} gave no result: {error}; it needs a worker with "
            "pyadmm[rtl] that sees the same files"
        ) from error
    for report in (report for batch in reports for report in batch):
        write_atomic(_cache_file(str(report.plan_digest)), report.to_json())
    return reports


def _reach(address: str, timeout_s: float) -> None:
    """Open and close a connection: Dask's own client takes half a minute to give up.

    :raises ToolError: for an address of another form, or where nobody listens.
    """
    match = _SCHEDULER.match(address)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ToolError(f"dask: a scheduler's address is tcp://HOST:PORT, not {address!r}")
    try:
        host = match["host"].strip("[]")
        socket.create_connection((host, int(match["port"])), timeout_s).close()
    except OSError as error:
        raise ToolError(
            f"dask: no scheduler at {address}: {error}; start one with 'dask scheduler'"
        ) from error


@dataclass(frozen=True)
class Module:
    """A module with its parameters' values.

    :param source: what the source calls it.
    :param parameters: binary literals by name.
    :param instances: name of every instance in it -> key of its module.
    :param ports: direction and width by name, in order.
    """

    source: str
    parameters: Mapping[str, str]
    instances: Mapping[str, str]
    ports: Mapping[str, tuple[str, int]]


def elaborate(
    top: str,
    sources: Sequence[Path],
    timeout_s: float = DEFAULT_TIMEOUT_S,
    parameters: Mapping[str, int | str] | None = None,
) -> dict[str, Module]:
    """The modules that ``top`` is made of, itself included; equal ones once.

    :param parameters: of ``top``; the source's own values by default.
    :returns: modules by a key that :attr:`Module.instances` name them by.
    :raises ToolError: as :func:`synthesise`.
    """
    design = Design(top, tuple(sources), parameters or {})
    values = "".join(f" -chparam {name} {value}" for name, value in design.parameters.items())
    reading = [*_reading(design.sources), *_library(design.sources)]
    request = {"commands": [*reading, f"hierarchy -check -top {top}{values}"]}
    remedy = f"while elaborating {top}"
    result = _in_child("elaborate", request, remedy, timeout_s, DEFAULT_MEMORY_GIB)
    return {key: Module(**facts) for key, facts in result["modules"].items()}


def map_for_placement(
    body: str,
    sources: Sequence[Path],
    netlist: Path,
    *,
    top: str = PLACED_TOP,
    use_dsp: bool = True,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    memory_gib: float = DEFAULT_MEMORY_GIB,
) -> None:
    """Map the module ``top``, given by ``body`` or a source, to one flat netlist for nextpnr-xilinx.

    Modules are mapped one by one and flattened afterwards. Shift registers are left as flip-flops:
    two of different enables in one slice make the router of nextpnr-xilinx wait for ever.

    :param netlist: the JSON file to write.
    :raises ToolError: as :func:`synthesise`.
    """
    design = Design(top, tuple(sources), {}, use_dsp=use_dsp)
    request = {
        "wrapper": _WRAPPER,
        "body": body,
        "commands": [
            *_reading(design.sources),
            f"read_verilog -sv {_WRAPPER}.sv",
            f"hierarchy -top {top}",
            f"synth_xilinx -family {design.family} -noiopad -noclkbuf -nosrl"
            f"{'' if use_dsp else ' -nodsp'} -top {top}",
            "flatten -noscopeinfo",
            "opt_merge",
            "clean",
            "write_json netlist.json",
        ],
    }
    remedy = f"while mapping for placement within {memory_gib:g} GiB"
    _in_child("map", request, remedy, timeout_s, memory_gib, netlist=netlist)


def _run(designs: Sequence[Design], timeout_s: float, memory_gib: float) -> list[SynthesisReport]:
    """Map designs of one kind in one child process."""
    instances = {f"design{place}": design for place, design in enumerate(designs)}
    body = "".join(design.instance(name) for name, design in instances.items())
    request = {
        "wrapper": _WRAPPER,
        "body": f"module {_WRAPPER} ();\n{body}endmodule\n",
        "family": designs[0].family,
        "boxes": designs[0].boxes,
        "commands": designs[0].commands(),
    }
    remedy = f"while synthesising {designs[0].top} within {memory_gib:g} GiB"
    result = _in_child("synthesise", request, remedy, timeout_s, memory_gib)
    version = result["creator"].split("(")[0].strip()
    return [_report(design, version, result["designs"][name]) for name, design in instances.items()]


def _in_child(
    task: str,
    request: Mapping[str, Any],
    remedy: str,
    timeout_s: float,
    memory_gib: float,
    *,
    netlist: Path | None = None,
) -> dict[str, Any]:
    """What ``_yosys_child`` answers to ``request``.

    :param task: ``elaborate``, ``synthesise`` or ``map``.
    :param netlist: where the netlist goes that ``map`` leaves.
    :raises ToolError: with the last lines of the log.
    """
    tool_version()
    with tempfile.TemporaryDirectory(prefix="pyadmm-yosys-") as name:
        folder = Path(name)
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        run_tool(
            [sys.executable, "-m", "pyadmm.eda._yosys_child", task, "request.json"],
            log=folder / "log.txt",
            timeout_s=timeout_s,
            cwd=folder,
            memory_mb=int(memory_gib * 1024),
            environment={"PYTHONPATH": _import_path()},
            remedy=remedy,
            name="yosys",
        )
        result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if netlist is not None:
            shutil.copyfile(folder / "netlist.json", netlist)
    return result


def _report(design: Design, version: str, mapped: Mapping[str, Any]) -> SynthesisReport:
    cells: dict[str, int] = mapped["cells"]
    listed = ", ".join(f"{kind} {count}" for kind, count in sorted(cells.items()))
    return SynthesisReport(
        design=design.top,
        tool=TOOL,
        version=version,
        stage="post-synthesis",
        clock_estimate_ns=round(mapped["clock_ns"], 3),
        clock_method=METHOD,
        resources=count_resources(cells),
        plan_digest=design.digest,
        notes=(f"cells: {listed}", mapped["path"]),
    )


def _import_path() -> str:
    """PYTHONPATH of the child: this package, then what the parent has."""
    root = Path(__file__).resolve().parents[2]
    return os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
