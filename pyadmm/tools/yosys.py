"""Open synthesis with Yosys (the ``pyosys`` package): resources by cell type, clock estimate.

One design is one child process with a time-out and a memory bound; its
:class:`~pyadmm.synthesis.SynthesisReport` is cached by a digest of sources, parameters, commands
and tool version. A run that fails leaves nothing in the cache.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pyadmm.boards import Board
from pyadmm.errors import MissingToolError, PyadmmError, ToolError
from pyadmm.files import cache_dir, write_atomic
from pyadmm.synthesis import ResourceUse, SynthesisReport
from pyadmm.timing import DELAYS, METHOD
from pyadmm.tools.process import run_tool

TOOL = "yosys"
CACHE_VERSION = 2
"""Part of every cache key: raise it when counting or timing changes."""
DEFAULT_TIMEOUT_S = 900.0
DEFAULT_MEMORY_GIB = 8.0

ChipFamily = Literal["xc7", "xcup"]
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
_FREE = ("CARRY4", "CARRY8", "MUXF7", "MUXF8", "MUXF9", "BUFG", "IBUF", "OBUF", "VCC", "GND")


@dataclass(frozen=True)
class Design:
    """One module to synthesise.

    :param top: name of the module.
    :param sources: SystemVerilog files.
    :param parameters: values of the module's parameters: integers, or sized Verilog literals.
    :param family: chip family, 7-series or UltraScale+.
    :param use_dsp: whether multipliers may become DSP blocks.
    """

    top: str
    sources: tuple[Path, ...]
    parameters: Mapping[str, int | str]
    family: ChipFamily = "xc7"
    use_dsp: bool = True
    part: str | None = None
    clock_target_ns: float | None = None

    def __post_init__(self) -> None:
        if not _NAME.match(self.top):
            raise PyadmmError(f"synthesis: {self.top!r} is no module name")
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

    def commands(self) -> list[str]:
        """The Yosys commands, in order."""
        dsp = "" if self.use_dsp else " -nodsp"
        # One command: a module checks its parameters whenever one of them changes.
        values = "".join(f" -set {name} {value}" for name, value in self.parameters.items())
        return [
            *(f'read_verilog -sv -defer "{source}"' for source in self.sources),
            *([f"chparam{values} {self.top}"] if values else []),
            f"hierarchy -check -top {self.top}",
            f"synth_xilinx -family {self.family} -noiopad -noclkbuf{dsp} -top {self.top}",
            "flatten -noscopeinfo",
            "opt_merge",
            "clean",
            f"select {self.top}",
            "write_json -compat-int -selected netlist.json",
        ]

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the result, hexadecimal."""
        digest = hashlib.sha256()
        facts = {
            "cache": CACHE_VERSION,
            "tool": tool_version(),
            "commands": self.commands()[len(self.sources) :],
            "delays": repr(DELAYS[self.family]),
        }
        digest.update(json.dumps(facts, sort_keys=True).encode())
        for source in self.sources:
            digest.update(hashlib.sha256(source.read_bytes()).digest())
        return digest.hexdigest()


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
    cached = cache_dir() / "yosys" / f"{design.digest}.json"
    if cached.is_file():
        report = SynthesisReport.from_json(cached.read_text(encoding="utf-8"))
    else:
        report = _run(design, timeout_s, memory_gib)
        write_atomic(cached, report.to_json())
    return replace(report, part=design.part, clock_target_ns=design.clock_target_ns)


def synthesise_all(
    designs: Sequence[Design],
    jobs: int | None = None,
    dask_address: str | None = None,
    progress: Callable[[SynthesisReport], None] = lambda report: None,
) -> list[SynthesisReport]:
    """Reports of ``designs``, in order, several at a time.

    :param jobs: child processes at once; the number of cores by default.
    :param dask_address: scheduler of a running Dask cluster that does the work instead.
    :raises ToolError: as :func:`synthesise`.
    """
    if dask_address is not None:
        return _on_dask(designs, dask_address)
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        reports = []
        for report in pool.map(synthesise, designs):
            progress(report)
            reports.append(report)
        return reports


def _on_dask(designs: Iterable[Design], address: str) -> list[SynthesisReport]:
    try:
        distributed = importlib.import_module("distributed")
    except ImportError as error:
        raise ToolError("dask: not installed; pip install 'pyadmm[dask]'") from error
    try:
        with distributed.Client(address, timeout="10s") as client:
            reports: list[SynthesisReport] = client.gather(
                client.map(synthesise, list(designs), pure=False)
            )
    except OSError as error:
        raise ToolError(f"dask: no scheduler at {address}: {error}") from error
    return reports


def _run(design: Design, timeout_s: float, memory_gib: float) -> SynthesisReport:
    tool_version()
    with tempfile.TemporaryDirectory(prefix="pyadmm-yosys-") as name:
        folder = Path(name)
        request = {
            "top": design.top,
            "family": design.family,
            "commands": _absolute(design),
        }
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        run_tool(
            [sys.executable, "-m", "pyadmm.tools._yosys_child", "request.json"],
            log=folder / "log.txt",
            timeout_s=timeout_s,
            cwd=folder,
            memory_mb=int(memory_gib * 1024),
            environment={"PYTHONPATH": _import_path()},
            remedy=f"while synthesising {design.top} within {memory_gib:g} GiB",
        )
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    cells: dict[str, int] = result["cells"]
    listed = ", ".join(f"{kind} {count}" for kind, count in sorted(cells.items()))
    return SynthesisReport(
        design=design.top,
        tool=TOOL,
        version=result["creator"].split("(")[0].strip(),
        stage="post-synthesis",
        clock_estimate_ns=round(result["clock_ns"], 3),
        clock_method=METHOD,
        resources=count_resources(cells),
        plan_digest=design.digest,
        notes=(f"cells: {listed}", result["path"]),
    )


def _absolute(design: Design) -> list[str]:
    resolved = replace(design, sources=tuple(source.resolve() for source in design.sources))
    return resolved.commands()


def _import_path() -> str:
    """Where the child finds this package: beside whatever the parent already has."""
    root = Path(__file__).resolve().parents[2]
    return os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
