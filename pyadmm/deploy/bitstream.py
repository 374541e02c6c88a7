"""Bitstreams of a run, made by open tools or by Vivado, added to its bundle for the board."""

from __future__ import annotations

import math
from pathlib import Path

from pyadmm.codegen.rtl import RTL_IDENT_FILE, rtl_ident
from pyadmm.codegen.system import (
    CHIP_TOP,
    SEQUENTIAL_CHIP_TOP,
    chip_build,
    chip_hwh,
    sequential_chip_build,
)
from pyadmm.core.errors import PyadmmError, ToolError
from pyadmm.core.files import write_atomic
from pyadmm.deploy.bundle import add_bitstream, read_dataflow, write_deploy
from pyadmm.deploy.manifest import DesignEntry, Manifest
from pyadmm.deploy.sequential import read_design, read_sequential
from pyadmm.eda.bitstream import bit_bin
from pyadmm.eda.chip_flow import ROUTED_REPORT, Chip, build_chip
from pyadmm.eda.route_flow import RouteSettings
from pyadmm.eda.vendor.vivado import build_bitstream
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.plan import BuildPlan


def add_open_bitstream(run: Path, settings: RouteSettings) -> tuple[Chip, float]:
    """Build the whole chip of a run with openXC7 and add ``.bit``, ``.bit.bin`` and ``.hwh`` to its
    bundle; the next report of the run has the routed clock.

    :param run: folder of a run up to ``deploy``.
    :returns: the chip, and the clock that the manifest got, MHz.
    :raises PyadmmError: where the folder is another one, or RTL and bundle are of two designs.
    :raises ToolError: where a tool is missing, fails or runs out of time.
    """
    deploy = bundle_folder(run)
    _, manifest = read_dataflow(deploy)
    build = _rtl(run / "build" / "rtl")
    _require_same(build, manifest)
    board = load_board(manifest.board)
    chip = build_chip(chip_build(build), CHIP_TOP, board, settings, chip_folder(run))
    report = run / "build" / "rtl" / ROUTED_REPORT
    report.parent.mkdir(exist_ok=True)
    write_atomic(report, chip.best.report.to_json())
    return chip, _add(chip, board, manifest.design, deploy)


def add_array_bitstream(folder: Path, settings: RouteSettings) -> tuple[Chip, float]:
    """Build the whole chip of a bundle for the layer-sequential array and add its files, as
    :func:`add_open_bitstream` does. It runs every network that is compiled for the array.

    :param folder: the deploy folder of the bundle; the chip's files are made in ``chip`` inside.
    :raises PyadmmError: where the bundle is for the array in C++, or for other RTL than that of this version.
    :raises ToolError: where a tool is missing, fails or runs out of time.
    """
    manifest, design = read_sequential(folder), read_design(folder)
    if (manifest.design.kernel, manifest.design.digest) != ("rtl", design.digest):
        raise PyadmmError(
            f"bitstream: {folder} is for an array in {manifest.design.kernel} with the number "
            f"0x{manifest.design.ident:08x}, but the RTL of this version is 0x{design.digest[:8]}; make the bundle anew"
        )
    build = sequential_chip_build(design.array)
    chip = build_chip(build, SEQUENTIAL_CHIP_TOP, design.board, settings, folder / "chip")
    return chip, _add(chip, design.board, manifest.design, folder)


def _add(chip: Chip, board: Board, design: DesignEntry, deploy: Path) -> float:
    """Write what goes with the chip's ``.bit`` and add it to the bundle; gives the clock, MHz."""
    mhz = clock_mhz(chip.period_ns, board.clock_mhz)
    hwh = chip_hwh(board, design.ip, design.vlnv, design.dma, mhz)
    write_atomic(chip.bit.with_suffix(".hwh"), hwh)
    write_atomic(chip.bit.with_name(f"{chip.bit.name}.bin"), bit_bin(chip.bit.read_bytes()))
    write_deploy(deploy, add_bitstream(deploy, chip.bit, mhz))
    return mhz


def add_vendor_bitstream(run: Path, timeout_s: float) -> Path:
    """Build the block design of a run with Vivado and add ``.bit`` and ``.hwh`` to its bundle.

    :returns: the ``.bit``.
    :raises ToolError: without Vivado, or where it fails or leaves no bitstream.
    """
    deploy, folder = bundle_folder(run), run / "build" / "rtl"
    read_dataflow(deploy)
    build_bitstream(folder, timeout_s=timeout_s)
    found = sorted(folder.glob("*.bit"))
    if len(found) != 1:
        raise ToolError(
            f"vivado: {folder} holds {len(found)} bitstreams, not one; remove the others and build again"
        )
    write_deploy(deploy, add_bitstream(deploy, found[0]))
    return found[0]


def bundle_folder(run: Path) -> Path:
    """Where a run keeps the bundle of its RTL."""
    return run / "deploy" / "rtl"


def chip_folder(run: Path) -> Path:
    """Where the files of a run's chip are made."""
    return run / "build" / "chip"


def clock_mhz(period_ns: float, board_mhz: float) -> float:
    """The clock that a routed design runs at: at most the board's, rounded down to 0.1 MHz.

    >>> clock_mhz(8.0, 100.0), clock_mhz(12.34, 100.0)
    (100.0, 81.0)
    """
    return min(board_mhz, math.floor(1e4 / period_ns) / 10)


def _rtl(folder: Path) -> BuildPlan:
    """The RTL build that a run left."""
    files = {
        f"rtl/{path.name}": path.read_text(encoding="utf-8")
        for path in sorted((folder / "rtl").glob("*.*v"))
    }
    if RTL_IDENT_FILE not in files:
        raise PyadmmError(
            f"bitstream: {folder} holds no RTL; give the folder of a run that went on to 'deploy'"
        )
    return BuildPlan(files)


def _require_same(build: BuildPlan, manifest: Manifest) -> None:
    ident, wanted = rtl_ident(build), manifest.design.ident
    if ident != wanted:
        raise PyadmmError(
            f"bitstream: the RTL says it is 0x{ident:08x}, the bundle is for 0x{wanted:08x}; run "
            "the flow again, so that both are of one design"
        )
