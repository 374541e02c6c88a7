"""The system around the accelerator on a Zynq-7000: bridge, DMA and processor (``hls/system``).

Together with an RTL build it is a whole chip that needs no vendor IP. The register map is that of the
vendor's block design, so the host code drives either.
"""

from __future__ import annotations

import re

from pyadmm import __version__
from pyadmm.codegen.hls import IN_STREAM, TOP, render
from pyadmm.codegen.hwh import CORE_BASE, DMA_BASE, BlockDesign
from pyadmm.codegen.sequential_rtl import MASTERS, array_ident, generate_array
from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import Board
from pyadmm.hardware.plan import WORD_BITS, BuildPlan
from pyadmm.hardware.sequential.array import SequentialArray

__all__ = [
    "CHIP_TOP",
    "CORE_BASE",
    "DMA_BASE",
    "SEQUENTIAL_CHIP_TOP",
    "SEQUENTIAL_SYSTEM_TOP",
    "SYSTEM_TOP",
    "chip_build",
    "send_bits",
    "sequential_chip_build",
    "sequential_system_build",
    "system_files",
]

SYSTEM_TOP = "pyadmm_system"
"""The system without the processor, which simulation drives."""
CHIP_TOP = "pyadmm_zynq7"
"""The system with the processor: what is placed and routed."""
DMA_VLNV = "pyadmm:rtl:axi_dma:7.1"
"""Type of our DMA, which is register-compatible with the vendor's of that version."""
LENGTH_BITS, MEMORY_BITS = 26, 64
SEQUENTIAL_SYSTEM_TOP = "pyadmm_seq_system"
"""The layer-sequential array's system without the processor, which simulation drives."""
SEQUENTIAL_CHIP_TOP = "pyadmm_seq_chip"
"""That system with the processor and the parameters of an array: what is placed and routed."""
_CELL_FILES = (f"system/{CHIP_TOP}.sv", "system/zynq7_processor.sv")
_SEQUENTIAL_FOLDER = "system/sequential"
_SHARED = ("system/gp_bridge.sv", "system/zynq7_processor.sv")


def system_files(send_bits: int = WORD_BITS) -> dict[str, str]:
    """The modules of the system without the processor's cell, ``system/<module>.sv`` to text.

    :param send_bits: width of the accelerator's input stream.
    """
    return {name: text for name, text in _all_files(send_bits).items() if name not in _CELL_FILES}


def send_bits(build: BuildPlan) -> int:
    """Width of the input stream of an RTL build."""
    text = build.files[f"rtl/{TOP}.v"]
    text = text if isinstance(text, str) else text.decode()
    found = re.search(rf"\[(\d+):0\]\s+{IN_STREAM}_tdata", text)
    if found is None:
        raise PyadmmError(f"system: {TOP}.v has no port {IN_STREAM}_tdata")
    return int(found[1]) + 1


def chip_build(build: BuildPlan) -> BuildPlan:
    """The whole chip, with :data:`CHIP_TOP` as its top.

    :param build: the accelerator, as :func:`pyadmm.codegen.rtl.generate_rtl` gives it.
    """
    rtl = {name: text for name, text in build.files.items() if name.startswith("rtl/")}
    return BuildPlan({**rtl, **_all_files(send_bits(build))}, build.data)


def sequential_system_build(array: SequentialArray) -> BuildPlan:
    """The layer-sequential array in its system without the processor, for simulation.

    The top's parameters are those of :func:`~pyadmm.codegen.sequential_rtl.generate_array`.
    """
    bridge = {"system/gp_bridge.sv": _files("system")["system/gp_bridge.sv"]}
    system = f"{_SEQUENTIAL_FOLDER}/{SEQUENTIAL_SYSTEM_TOP}.sv"
    files = {**bridge, system: _files(_SEQUENTIAL_FOLDER)[system]}
    return BuildPlan({**generate_array(array).files, **files})


def sequential_chip_build(array: SequentialArray) -> BuildPlan:
    """The whole chip with the layer-sequential array, :data:`SEQUENTIAL_CHIP_TOP` as its top."""
    shared = {name: _files("system")[name] for name in _SHARED}
    parameters = {**array.parameters, "IDENT": f"32'h{array_ident(array):08x}"}
    context = {"generated_by": f"pyadmm {__version__}", "parameters": parameters}
    top = render("rtl_sequential_chip.sv.j2", {**context, "top": SEQUENTIAL_CHIP_TOP})
    made = {f"system/{SEQUENTIAL_CHIP_TOP}.sv": top}
    return BuildPlan(
        {**generate_array(array).files, **shared, **_files(_SEQUENTIAL_FOLDER), **made}
    )


def chip_hwh(
    board: Board, ip: str, vlnv: str, dma: str | None, clock_mhz: float | None = None
) -> str:
    """The ``.hwh`` of the whole chip.

    :param ip: instance of the accelerator, ``vlnv`` its type, ``dma`` instance of the DMA, as the
        manifest names them; None for the layer-sequential array, which has ports to memory.
    :param clock_mhz: rate of the logic's clock, by default the board's.
    :raises PyadmmError: for a board whose processor the system has no cell for.
    """
    if board.family != "zynq7000":
        raise PyadmmError(
            f"system: {board.name} is a {board.family}, but only Zynq-7000 boards have a system "
            "without vendor IP; use the vendor's flow for it"
        )
    design = BlockDesign(
        board.family,
        ip,
        vlnv,
        dma,
        LENGTH_BITS,
        clock_mhz or board.clock_mhz,
        dma_vlnv=DMA_VLNV,
        memory_bits=MEMORY_BITS,
        name=CHIP_TOP if dma else SEQUENTIAL_CHIP_TOP,
        tool=f"pyadmm {__version__}",
        masters=MASTERS if dma is None else (),
    )
    return design.to_hwh()


def _all_files(bits: int) -> dict[str, str]:
    files = _files("system")
    name = f"system/{SYSTEM_TOP}.sv"
    files[name] = files[name].replace("int SEND_BITS = 32", f"int SEND_BITS = {bits}")
    return files


def _files(folder: str) -> dict[str, str]:
    """The SystemVerilog files in a folder of ``hls``."""
    found = sorted((asset_dir("hls") / folder).glob("*.sv"))
    return {f"{folder}/{path.name}": path.read_text(encoding="utf-8") for path in found}
