"""The self-test of the vendor tools: every stage on a tiny design, and one archive to send back."""

from __future__ import annotations

import platform
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pyadmm import __version__
from pyadmm.codegen.vendor_params import Flavour, vendor_files
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.eda.reports import SynthesisReport
from pyadmm.eda.vendor.selftest_design import selftest_params, selftest_sources
from pyadmm.eda.vendor.vitis import STAGES, Hls, find_hls, read_cosim, read_csynth, run_hls
from pyadmm.eda.vendor.vivado import Vivado, build_bitstream, find_vivado, read_implementation
from pyadmm.hardware.boards import Board, load_board

REPORT = "selftest.md"
ARCHIVE = "pyadmm-vendor-selftest.zip"
NO_TOOL = (
    "none of vitis-run, vitis_hls, vivado_hls and vivado is on the PATH, so nothing was run and "
    "nothing can be said about them; source settings64.sh of your AMD installation and start again"
)
_PACKED = frozenset({".md", ".tcl", ".cfg", ".xml", ".rpt", ".log", ".hwh"})
_PACKED_LIMIT = 8 * 1024 * 1024
_MARKS = {True: "x", False: "FAILED", None: "not run"}


@dataclass(frozen=True)
class Check:
    """One line of the list: what was tried and what came of it.

    :param passed: ``None`` where it was not run, with the reason in ``detail``.
    """

    name: str
    passed: bool | None
    detail: str


def selftest(output: Path, board_name: str, timeout_s: float) -> int:
    """Try every stage that the tools on the PATH have; write the list and the archive.

    :return: 0 if all that could run passed, 1 if something failed, 3 if there is no tool at all.
    :raises PyadmmError: for an unknown board.
    """
    board = load_board(board_name)
    if not any(shutil.which(name) for name in ("vitis-run", "vitis_hls", "vivado_hls", "vivado")):
        print(NO_TOOL)
        return 3
    checks = list(_checks(output, board, timeout_s))
    write_atomic(output / REPORT, _markdown(board, checks))
    _pack(output)
    print(_markdown(board, checks))
    print(f"Please look through {output / ARCHIVE}, then send it to the authors of pyadmm.")
    return int(any(check.passed is False for check in checks))


def _checks(output: Path, board: Board, timeout_s: float) -> Iterator[Check]:
    """Every check, each run when it is asked for."""
    tool: list[Hls | Vivado | None] = [None, None]

    def probe(index: int, find: Callable[[], Hls | Vivado | None], what: str) -> str:
        tool[index] = find()
        found = tool[index]
        if found is None:
            raise _NotRunError(f"{what} is not on the PATH")
        return f"{getattr(found, 'name', 'vivado')} {found.version or 'of unknown version'}"

    yield _check("HLS on the PATH", lambda: probe(0, find_hls, "HLS"))
    yield _check("Vivado on the PATH", lambda: probe(1, find_vivado, "Vivado"))
    hls, vivado = tool
    exported = False
    if isinstance(hls, Hls):
        for check in _hls_checks(output / "hls", board, hls, timeout_s):
            exported = exported or (check.name == "HLS export_ip" and check.passed is True)
            yield check
    if isinstance(vivado, Vivado):
        _write(output / "rtl", board, "rtl")
        yield from _vivado_checks(output / "rtl", "RTL", vivado, timeout_s)
        if exported:
            yield from _vivado_checks(output / "hls", "HLS", vivado, timeout_s)
        else:
            yield Check("bitstream of the HLS IP", None, "there is no exported HLS IP")


def _hls_checks(folder: Path, board: Board, hls: Hls, timeout_s: float) -> Iterator[Check]:
    _write(folder, board, "hls")
    failed = ""
    for stage in STAGES:
        name = f"HLS {stage}"
        if failed and stage != "csynth":
            yield Check(name, None, f"needs {failed}, which failed")
            continue
        check = _check(name, partial(_run_stage, folder, stage, hls, timeout_s))
        yield check
        if stage == "csynth" and check.passed is False:
            failed = stage
        if check.passed and stage == "csynth":
            yield _check("csynth report is understood", lambda: _loop_facts(read_csynth(folder)))
        if check.passed and stage == "cosim":
            yield _check("cosim report is understood", lambda: _cosim_facts(folder))


def _run_stage(folder: Path, stage: str, hls: Hls, timeout_s: float) -> str:
    begin = time.monotonic()
    run_hls(folder, [stage], hls, timeout_s)
    return f"{time.monotonic() - begin:.0f} s"


def _loop_facts(report: SynthesisReport) -> str:
    loops = [*report.loops, *(loop for module in report.modules for loop in module.loops)]
    found = [loop for loop in loops if loop.name.split("/")[-1] == "add_one"]
    if [loop.pipeline_ii for loop in found] != [1]:
        raise PyadmmError(f"loop add_one should have II = 1: {found}")
    return f"{report.tool} {report.version}, {report.part}, {report.resources.known()}, II = 1"


def _cosim_facts(folder: Path) -> str:
    report = read_cosim(folder)
    if not report.passed:
        raise PyadmmError(f"co-simulation did not pass: {report.runs}")
    return ", ".join(f"{run.language} {run.status} {run.latency}" for run in report.runs)


def _vivado_checks(folder: Path, flavour: str, vivado: Vivado, timeout_s: float) -> Iterator[Check]:
    begin = time.monotonic()

    def build() -> str:
        build_bitstream(folder, vivado, timeout_s)
        return f"{time.monotonic() - begin:.0f} s"

    check = _check(f"bitstream of the {flavour} IP", build)
    yield check
    if check.passed:
        yield _check(
            f"Vivado reports of the {flavour} IP are understood",
            lambda: _implementation_facts(folder),
        )


def _implementation_facts(folder: Path) -> str:
    report = read_implementation(folder)
    return (
        f"{report.version}, {report.part}, {report.resources.known()}, "
        f"slack {report.slack_ns} ns, {report.power_w} W"
    )


class _NotRunError(PyadmmError):
    """A check that cannot be run here."""


def _check(name: str, action: Callable[[], str]) -> Check:
    try:
        return Check(name, True, action())
    except _NotRunError as reason:
        return Check(name, None, str(reason))
    except PyadmmError as error:
        return Check(name, False, str(error))


def _write(folder: Path, board: Board, flavour: Flavour) -> None:
    """The tiny design with its build files, as the flow would write a real one."""
    params = selftest_params(board, flavour)
    for name, text in {**selftest_sources(), **vendor_files(params)}.items():
        write_atomic(folder / name, text)


def _markdown(board: Board, checks: list[Check]) -> str:
    lines = [
        "# pyadmm: self-test of the vendor tools",
        "",
        f"- pyadmm {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"- board {board.name}, part {board.part}, {board.clock_ns:g} ns",
        "",
    ]
    for check in checks:
        first, _, rest = check.detail.partition("\n")
        lines.append(f"- [{_MARKS[check.passed]}] {check.name}: {first}")
        lines += [f"      {line}" for line in rest.splitlines()]
    return "\n".join(lines) + "\n"


def _pack(output: Path) -> None:
    """List, parameters, logs and reports, not the tools' databases."""
    files = sorted(
        path
        for path in output.rglob("*")
        if path.is_file()
        and path.suffix in _PACKED
        and path.stat().st_size <= _PACKED_LIMIT
        and not {"vivado", "ip"} & set(path.relative_to(output).parts)
        and "solution1" not in path.parts
    )
    with zipfile.ZipFile(output / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(output))
