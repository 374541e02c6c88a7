"""Placement and routing with openXC7's ``nextpnr-xilinx``: the clock of a routed design.

The tool is on the PATH or under ``OPENXC7``. Its own timing report leaves block RAM, DSP blocks and
LUT RAM out, so the period here is that of :mod:`pyadmm.eda.sta` over the routed wires. Results are
cached by a digest of netlist, constraints, chip database, tool version, seed and clock target.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pyadmm.codegen.hls import render
from pyadmm.core.errors import MissingToolError, PyadmmError, ToolError
from pyadmm.core.files import cache_dir, write_atomic
from pyadmm.core.process import run_tool
from pyadmm.core.schema import from_json, to_json
from pyadmm.eda.netlist_json import Netlist, read_netlist
from pyadmm.eda.reports import ResourceUse, SynthesisReport
from pyadmm.eda.routed_netlist import read_wires, timed_netlist
from pyadmm.eda.sta import ROUTED_SERIES7, ClockEstimate, estimate_clock

TOOL = "nextpnr-xilinx"
METHOD = "routed: own static timing over the wires of nextpnr-xilinx"
"""What a clock from this module is labelled with."""
NOT_TIMED = "not timed: pads, the processor's ports, clock skew (0.2 ns of margin instead)"
DEFAULT_TIMEOUT_S = 3600.0
DEFAULT_MEMORY_GIB = 6.0
CACHE_VERSION = 1
"""Part of every cache key: raise it when timing or counting changes."""
_CHIP_FOLDERS = ("share/nextpnr/xilinx-chipdb", "share/nextpnr-xilinx", "chipdb")
_VERSION = re.compile(r"Version (\S+?)\)")
_BEL = re.compile(r"(?P<site>.+)/(?P<letter>[A-D])[56]LUT\Z")
# Pins of banks 13, 34 and 35 that boards with this package lead somewhere; only the site matters.
_HARNESS_PINS = {"clk_pin": "H16", "reset_pin": "D19", "shift_pin": "D20", "parity_pin": "R14"}
_HARNESS_PACKAGE = "clg400"
_REMAP = "map the design again with pyadmm.eda.yosys.map_for_placement"
_LESS = "use less of the chip ('--chip-share')"


@dataclass(frozen=True)
class OpenXc7:
    """An installation of openXC7's place and route.

    :param router: the program ``nextpnr-xilinx``.
    :param chip_database: of the part that is routed.
    """

    router: str
    version: str
    chip_database: Path


def find_openxc7(part: str) -> OpenXc7:
    """The tool and its database of ``part``.

    ``OPENXC7`` names the folder of an installation; without it the tool is looked for on the PATH.
    The database is ``OPENXC7_CHIPDB``, a file or a folder, or lies in the installation or, as
    openXC7's own projects have it, in the folder ``CHIPDB``; its file is called after the part.

    :raises MissingToolError: where either is missing.
    """
    root = os.environ.get("OPENXC7")
    path = os.pathsep.join(filter(None, [root and f"{root}/bin", root, os.environ.get("PATH")]))
    router = shutil.which(TOOL, path=path)
    if router is None:
        raise MissingToolError(
            f"{TOOL} is not on the PATH nor under OPENXC7; install openXC7 "
            "(https://github.com/openXC7), or go on with the estimate of post-synthesis"
        )
    names = _database_names(part)
    for place in _database_places(root, Path(router)):
        found = next((file for name in names if (file := place / name).is_file()), None)
        if place.is_file() or found is not None:
            return OpenXc7(router, _version(router), found or place)
    raise MissingToolError(
        f"{TOOL}: no chip database {' or '.join(names)}; name its file or folder in OPENXC7_CHIPDB"
    )


def _database_names(part: str) -> tuple[str, ...]:
    """File names, most exact first: with speed grade, with package, of the device.

    >>> _database_names("xc7z020clg400-1")
    ('xc7z020clg400-1.bin', 'xc7z020clg400.bin', 'xc7z020.bin')
    """
    package = part.rpartition("-")[0] or part
    device = re.sub(r"[a-z]{3}\d+$", "", package)
    return f"{part}.bin", f"{package}.bin", f"{device}.bin"


def _database_places(root: str | None, router: Path) -> Iterator[Path]:
    for variable in ("OPENXC7_CHIPDB", "CHIPDB"):
        if given := os.environ.get(variable):
            yield Path(given)
    for base in (Path(root) if root else None, router.resolve().parent.parent):
        if base is not None:
            yield from (base / folder for folder in _CHIP_FOLDERS)


@cache
def _version(router: str) -> str:
    with tempfile.TemporaryDirectory(prefix="pyadmm-nextpnr-") as name:
        run = run_tool([router, "--version"], log=Path(name) / "log.txt", timeout_s=60)
    match = _VERSION.search(run.output)
    if match is None:
        raise ToolError(f"{TOOL}: {router} --version names no version: {run.output.strip()!r}")
    return match[1]


@dataclass(frozen=True)
class RouteJob:
    """One netlist to place and route.

    :param netlist: JSON of :func:`pyadmm.eda.yosys.map_for_placement`.
    :param constraints: XDC text: pins and clock.
    :param part: full part name.
    :param clock_ns: what placement aims at; the result may be slower or faster.
    """

    design: str
    netlist: Path
    constraints: str
    part: str
    clock_ns: float
    timeout_s: float = DEFAULT_TIMEOUT_S
    memory_gib: float = DEFAULT_MEMORY_GIB


@dataclass(frozen=True)
class Routed:
    """One design, placed and routed with one seed.

    :param report: of stage ``post-route``; its clock is the slowest path between registers.
    :param seconds: of the tool's run.
    """

    seed: int
    seconds: float
    report: SynthesisReport


def place_and_route(
    job: RouteJob, seeds: Sequence[int], jobs: int = 1, keep: Path | None = None
) -> list[Routed]:
    """Results for ``seeds``, in order, from the cache or by running the tool.

    :param jobs: runs at once; each takes a core and 1 to 2 GiB.
    :param keep: folder for FASM, routed netlist, wire delays and log, ``seed<N>.fasm``, ``.json``,
        ``.sdf`` and ``.log``; with it the cache is not read.
    :raises ToolError: where the tool is missing, fails or runs out of time, with what to try.
    """
    tool = find_openxc7(job.part)
    check_netlist(read_netlist(job.netlist, _REMAP), job.design)
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        return list(pool.map(lambda seed: _routed(job, tool, seed, keep), seeds))


def median_period(runs: Sequence[Routed]) -> float:
    """Median of the periods, ns."""
    return statistics.median(_period(run) for run in runs)


def typical(runs: Sequence[Routed]) -> Routed:
    """The run whose period is nearest to the median."""
    middle = median_period(runs)
    return min(runs, key=lambda run: abs(_period(run) - middle))


def _period(run: Routed) -> float:
    assert run.report.clock_estimate_ns is not None
    return run.report.clock_estimate_ns


def _routed(job: RouteJob, tool: OpenXc7, seed: int, keep: Path | None) -> Routed:
    digest = _digest(job, tool, seed)
    file = cache_dir() / TOOL / f"{digest}.json"
    if keep is None and (stored := _stored(file)) is not None:
        return stored
    run = _run(job, tool, seed, digest, keep)
    write_atomic(file, to_json(run, lines=False))
    return run


def _stored(file: Path) -> Routed | None:
    """The result in a file of the cache; None where it is absent or damaged."""
    try:
        return from_json(Routed, file.read_text(encoding="utf-8"), str(file))
    except (OSError, ValueError, PyadmmError):
        return None


def _digest(job: RouteJob, tool: OpenXc7, seed: int) -> str:
    """SHA-256 of everything that decides the result, hexadecimal."""
    facts = {
        "cache": CACHE_VERSION,
        "netlist": hashlib.sha256(job.netlist.read_bytes()).hexdigest(),
        "database": _file_digest(tool.chip_database),
        "tool": tool.version,
        "constraints": job.constraints,
        "clock_ns": job.clock_ns,
        "seed": seed,
        "delays": repr(ROUTED_SERIES7),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@cache
def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _run(job: RouteJob, tool: OpenXc7, seed: int, digest: str, keep: Path | None) -> Routed:
    with tempfile.TemporaryDirectory(prefix="pyadmm-nextpnr-") as name:
        folder = Path(name)
        (folder / "pins.xdc").write_text(job.constraints, encoding="utf-8")
        log = folder / "log.txt"
        try:
            run = run_tool(
                [
                    tool.router, "--chipdb", tool.chip_database.resolve(), "--xdc", "pins.xdc",
                    "--json", job.netlist.resolve(), "--write", "routed.json", "--sdf", "wires.sdf",
                    "--fasm", "design.fasm", "--freq", f"{1e3 / job.clock_ns:.3f}",
                    "--seed", str(seed), "--timing-allow-fail",
                ],
                log=log,
                timeout_s=job.timeout_s,
                cwd=folder,
                memory_mb=int(job.memory_gib * 1024),
            )  # fmt: skip
        except ToolError as error:
            raise ToolError(f"{job.design}, seed {seed}: {error}; {_advice(job, log)}") from error
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            for file, kept in (
                ("design.fasm", "fasm"),
                ("log.txt", "log"),
                ("routed.json", "json"),
                ("wires.sdf", "sdf"),
            ):
                shutil.copyfile(folder / file, keep / f"seed{seed}.{kept}")
        routed = read_netlist(folder / "routed.json")
        with (folder / "wires.sdf").open(encoding="utf-8") as sdf:
            clock = estimate_clock(*_timing(routed, sdf))
    return Routed(
        seed, run.seconds, _report(job, tool, seed, digest=digest, routed=routed, clock=clock)
    )


def _timing(routed: Netlist, sdf: Iterator[str]) -> tuple[Any, Any, Any]:
    netlist, wires = timed_netlist(routed, read_wires(sdf))
    return netlist, ROUTED_SERIES7, wires


def _report(
    job: RouteJob,
    tool: OpenXc7,
    seed: int,
    *,
    digest: str,
    routed: Netlist,
    clock: ClockEstimate,
) -> SynthesisReport:
    late = sum(end > job.clock_ns for end in clock.ends)
    return SynthesisReport(
        design=job.design,
        tool=TOOL,
        version=tool.version,
        stage="post-route",
        part=job.part,
        clock_target_ns=job.clock_ns,
        clock_estimate_ns=round(clock.period_ns, 3),
        clock_method=METHOD,
        slack_ns=round(job.clock_ns - clock.period_ns, 3),
        resources=placed_resources(routed),
        plan_digest=digest,
        notes=(
            f"seed {seed}; {late:,} of {len(clock.ends):,} endpoints later than "
            f"{job.clock_ns:g} ns",
            NOT_TIMED,
            clock.summary,
        ),
    )


def placed_resources(routed: Netlist) -> ResourceUse:
    """What a placed netlist takes up; two small LUTs in one place count once."""
    (module,) = routed["modules"].values()
    kinds: Counter[str] = Counter()
    luts = set()
    for cell in module["cells"].values():
        kinds[cell["type"]] += 1
        place = _BEL.match(cell["attributes"].get("NEXTPNR_BEL", ""))
        if cell["type"] == "SLICE_LUTX" and place is not None:
            luts.add((place["site"], place["letter"]))
    return ResourceUse(
        lut=len(luts),
        ff=kinds["SLICE_FFX"],
        dsp=kinds["DSP48E1_DSP48E1"],
        bram18=kinds["RAMB18E1_RAMB18E1"] + 2 * kinds["RAMB36E1_RAMB36E1"],
        uram=0,
    )


def check_netlist(netlist: Netlist, design: str) -> None:
    """Raise for a netlist that nextpnr-xilinx cannot read.

    :raises PyadmmError: with what to change.
    """
    kinds = {cell["type"] for cell in _top_cells(netlist)}
    unknown = sorted(kind for kind in kinds if kind.startswith("$"))
    if unknown or not kinds:
        raise PyadmmError(
            f"{design}: the netlist's top has {', '.join(unknown) or 'no'} cells, and {TOOL} takes "
            "those of Xilinx' library; map it with synth_xilinx, then 'flatten -noscopeinfo'"
        )


def _top_cells(netlist: Netlist) -> list[Mapping[str, Any]]:
    """The cells of the module that is marked as the top."""
    for module in netlist["modules"].values():
        if int(str(module.get("attributes", {}).get("top", 0)), 2):
            return list(module["cells"].values())
    return []


def _advice(job: RouteJob, log: Path) -> str:
    """What to try after a run that failed, from where it stood and what the design holds."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    cells = _top_cells(read_netlist(job.netlist, _REMAP))
    if "Running main router loop" in text:
        return _routing_advice(text, cells)
    separate = sum(cell["type"] == "DSP48E1" and not _cascaded(cell) for cell in cells)
    return (
        f"placement did not end: {separate} DSP blocks stand alone, and {TOOL} 0.8 puts those only "
        "into the lower half of each pair: cascade some or use fewer than half of the chip's"
        if separate
        else f"placement did not end: {_LESS}, or give it more time"
    )


def _routing_advice(log: str, cells: Sequence[Mapping[str, Any]]) -> str:
    overused = re.findall(r"overused=(\d+)", log)
    left = f"{int(overused[-1]):,} wires still shared; " if overused else ""
    enables = {
        str(cell["connections"].get("CE", cell["connections"].get("WE")))
        for cell in cells
        if cell["type"].startswith(("SRL", "RAM32X", "RAM64X", "RAM128X"))
    }
    shifts = any(cell["type"].startswith("SRL") for cell in cells)
    if shifts and len(enables) > 1:
        return (
            f"routing did not end: {left}shift registers and LUT RAMs have {len(enables)} write "
            "enables, and two of them in one slice are never routed: map with synth_xilinx -nosrl"
        )
    return f"routing did not end: {left}{_LESS}, another seed, or more time"


def _cascaded(cell: Mapping[str, Any]) -> bool:
    return any(isinstance(bit, int) for bit in cell["connections"].get("PCIN", ()))


@dataclass(frozen=True)
class HarnessPort:
    """A port of a module; ``low`` is its first bit in the harness' register."""

    name: str
    width: int
    low: int


def route_harness(
    top: str,
    ports: Mapping[str, tuple[str, int]],
    parameters: Mapping[str, int | str] | None = None,
    *,
    clock: str = "clk",
    reset: str = "rst",
    reset_low: bool = False,
) -> str:
    """SystemVerilog that puts registers around module ``top`` and leads them to four pins.

    :param ports: direction and width by name.
    :raises PyadmmError: where clock or reset is no port.
    """
    for name in (clock, reset):
        if name not in ports:
            raise PyadmmError(f"harness of {top}: {name!r} is no port; name clock and reset")
    inputs, outputs = harness_sides(ports, clock, reset)
    return render(
        "route_harness.sv.j2",
        {
            "top": top,
            "parameters": dict(parameters or {}),
            "clock": clock,
            "reset": reset,
            "reset_low": reset_low,
            "inputs": inputs,
            "outputs": outputs,
            "input_bits": sum(port.width for port in inputs),
            "output_bits": sum(port.width for port in outputs),
        },
    )


def harness_sides(
    ports: Mapping[str, tuple[str, int]], clock: str, reset: str
) -> tuple[list[HarnessPort], list[HarnessPort]]:
    """Inputs and outputs of a module, one behind the other in the registers of its harness."""
    sides: dict[str, list[HarnessPort]] = {"input": [], "output": []}
    for name, (direction, width) in ports.items():
        if name not in (clock, reset):
            side = sides[direction]
            side.append(HarnessPort(name, width, sum(port.width for port in side)))
    return sides["input"], sides["output"]


def harness_constraints(part: str, clock_ns: float) -> str:
    """XDC of the harness' pins and clock.

    :raises PyadmmError: for a part of another package.
    """
    if _HARNESS_PACKAGE not in part:
        raise PyadmmError(
            f"harness for {part}: its pins are known for package {_HARNESS_PACKAGE} only; route "
            "for a board with it, such as pynq-z2"
        )
    lines = [f"create_clock -period {clock_ns:g} -name clk [get_ports clk_pin]"]
    for port, pin in _HARNESS_PINS.items():
        lines.append(f"set_property LOC {pin} [get_ports {port}]")
        lines.append(f"set_property IOSTANDARD LVCMOS33 [get_ports {port}]")
    return "\n".join(lines) + "\n"
