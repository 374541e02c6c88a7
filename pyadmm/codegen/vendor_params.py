"""Parameters of the vendor tools for one accelerator: ``params.tcl`` and ``hls_config.cfg``.

:func:`render` is pure; the fixed script ``build.tcl`` reads the first file, Vitis' component flow
(``v++ -c --mode hls``) the second.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Literal, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pyadmm.core.assets import asset_dir, asset_file
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import Board, Family

Flavour = Literal["hls", "rtl"]
Interface = Literal["stream", "memory"]
"""Interface for data: two streams that a DMA serves, or two memory masters of its own."""

TOP = "pyadmm_top"
"""Name of the accelerator's function and module, and of its IP."""
IP_VERSION = "1.0"
_IP_OWNERS = {"hls": ("xilinx.com", "hls"), "rtl": ("pyadmm", "rtl")}
DMA_CELL = "axi_dma_0"
"""Instance name of the AXI DMA in the block design."""
DMA_LENGTH_BITS = 26
"""Width of the DMA's length register: transfers up to 64 MiB (the default, 14, stops at 16 KiB)."""

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
_PROJECT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
_PART = re.compile(r"[A-Za-z0-9-]{4,60}")
_SPECIAL = frozenset('\\"$[]{};#')


@dataclass(frozen=True)
class VendorParams:
    """All that ``build.tcl`` must know. Paths are relative to the folder of ``build.tcl``.

    :param project: file name of the results, ``PROJECT.bit`` and ``PROJECT.hwh``.
    :param top: C++ function and Verilog module of the accelerator; also the IP's name.
    :param board_part: board files that Vivado uses where they are installed; may be empty.
    :param clock_ns: clock period of the programmable logic.
    :param sources: C++ sources for synthesis; ``testbenches`` and ``testbench_data`` for csim and
        cosim only.
    :param cflags: compiler flags of all C++ files, without ``-I``.
    :param csim_arguments: command-line arguments of the test bench.
    :param stream_bits: width of what the accelerator gives, ``in_stream_bits`` of what it takes.
    :param flavour: which accelerator goes into the bitstream, the HLS or the RTL one.
    :param rtl_sources: Verilog and SystemVerilog; must contain ``TOP.v``, because Vivado's IP
        packager takes no SystemVerilog top.
    :param rtl_include_dirs: for Verilog's ``include``.
    :param interface: ``stream`` or ``memory``: whether a DMA or the accelerator itself moves data.
    :param jobs: parallel runs of Vivado.
    """

    project: str
    top: str
    part: str
    board_part: str
    family: Family
    clock_ns: float
    sources: tuple[str, ...] = ()
    testbenches: tuple[str, ...] = ()
    testbench_data: tuple[str, ...] = ()
    include_dirs: tuple[str, ...] = ()
    cflags: str = "-std=c++14"
    csim_arguments: str = ""
    stream_bits: int = 32
    in_stream_bits: int = 32
    dma_length_bits: int = DMA_LENGTH_BITS
    flavour: Flavour = "hls"
    rtl_sources: tuple[str, ...] = ()
    rtl_include_dirs: tuple[str, ...] = ()
    interface: Interface = "stream"
    jobs: int = 4

    def __post_init__(self) -> None:
        self._pattern("project", self.project, _PROJECT, "a plain file name without its suffix")
        self._pattern("top", self.top, _IDENTIFIER, "a C++ and Verilog identifier")
        self._pattern("part", self.part, _PART, "a part name such as xc7z020clg400-1")
        self._require("family", self.family in get_args(Family), f"one of {get_args(Family)}")
        self._require("flavour", self.flavour in get_args(Flavour), f"one of {get_args(Flavour)}")
        kinds = get_args(Interface)
        self._require("interface", self.interface in kinds, f"one of {kinds}")
        self._require("clock_ns", 1.0 <= self.clock_ns <= 100.0, "1 to 100 ns")
        self._require("stream_bits", self.stream_bits in (32, 64, 128), "32, 64 or 128")
        self._require("in_stream_bits", self.in_stream_bits in (32, 64), "32 or 64")
        self._require("dma_length_bits", 8 <= self.dma_length_bits <= 26, "8 to 26")
        self._require("jobs", 1 <= self.jobs <= 64, "1 to 64")
        for field in ("board_part", "cflags", "csim_arguments"):
            self._printable(field, getattr(self, field))
        for field in ("sources", "testbenches", "testbench_data", "rtl_sources"):
            self._paths(field)
        for field in ("include_dirs", "rtl_include_dirs"):
            self._paths(field)
        if self.flavour == "hls":
            self._require("sources", bool(self.sources), "at least one C++ file for flavour hls")
        else:
            names = {PurePosixPath(path).name for path in self.rtl_sources}
            self._require("rtl_sources", f"{self.top}.v" in names, f"files with {self.top}.v")

    @property
    def clock_mhz(self) -> float:
        """Clock frequency, MHz, to 1 Hz."""
        return round(1e3 / self.clock_ns, 6)

    @property
    def ip_vendor(self) -> str:
        """Vendor of the accelerator's IP; HLS packages under its own name."""
        return _IP_OWNERS[self.flavour][0]

    @property
    def ip_library(self) -> str:
        """Library of the accelerator's IP: which back end made it."""
        return _IP_OWNERS[self.flavour][1]

    @property
    def vlnv(self) -> str:
        """Vendor, library, name and version of the accelerator's IP, as the ``.hwh`` says it."""
        return f"{self.ip_vendor}:{self.ip_library}:{self.top}:{IP_VERSION}"

    @property
    def cell(self) -> str:
        """Instance name of the accelerator in the block design."""
        return f"{self.top}_0"

    def _require(self, field: str, holds: bool, what: str) -> None:
        if not holds:
            raise PyadmmError(
                f"vendor build {self.project}: {field} must be {what}, not {getattr(self, field)!r}"
            )

    def _pattern(self, field: str, text: str, pattern: re.Pattern[str], what: str) -> None:
        self._require(field, pattern.fullmatch(text) is not None, what)

    def _printable(self, field: str, text: str) -> None:
        self._require(
            field, all(ch.isprintable() and ord(ch) < 0x10000 for ch in text), "one printable line"
        )

    def _paths(self, field: str) -> None:
        """Relative, below the folder, with ``/``: the same on Linux and Windows."""
        for path in getattr(self, field):
            self._printable(field, path)
            parts = PurePosixPath(path).parts
            relative = bool(path) and not path.startswith("/") and ":" not in path
            self._require(
                field,
                relative and ".." not in parts and "\\" not in path,
                "relative paths below the folder of build.tcl, with '/'",
            )


def vendor_params(
    board: Board,
    *,
    project: str,
    top: str = TOP,
    sources: tuple[str, ...] = (),
    testbenches: tuple[str, ...] = (),
    testbench_data: tuple[str, ...] = (),
    include_dirs: tuple[str, ...] = (),
    csim_arguments: str = "",
    in_stream_bits: int = 32,
    rtl_sources: tuple[str, ...] = (),
    flavour: Flavour = "hls",
    interface: Interface = "stream",
) -> VendorParams:
    """Parameters for ``board`` at its clock, with the defaults for everything else.

    Takes what :func:`pyadmm.codegen.hls.vendor_context` or
    :func:`pyadmm.codegen.sequential.sequential_context` gives as its keywords.
    """
    return VendorParams(
        project=project,
        top=top,
        part=board.part,
        board_part=board.board_part,
        family=board.family,
        clock_ns=board.clock_ns,
        sources=sources,
        testbenches=testbenches,
        testbench_data=testbench_data,
        include_dirs=include_dirs,
        csim_arguments=csim_arguments,
        in_stream_bits=in_stream_bits,
        rtl_sources=rtl_sources,
        flavour=flavour,
        interface=interface,
    )


def render(params: VendorParams) -> dict[str, str]:
    """File name to text of ``params.tcl`` and, where there are C++ sources, ``hls_config.cfg``."""
    names = ["params.tcl", *(["hls_config.cfg"] if params.sources else [])]
    facts = {
        "p": params,
        "ip_version": IP_VERSION,
        "dma_cell": DMA_CELL,
    }
    return {name: _templates().get_template(f"{name}.j2").render(facts) for name in names}


def vendor_files(params: VendorParams) -> dict[str, str]:
    """Name and text of each file that the tools need besides the sources: ``build.tcl`` and parameters."""
    script = asset_file("build.tcl").read_text(encoding="utf-8")
    return {"build.tcl": script, **render(params)}


def tcl_word(value: str | float) -> str:
    r"""``value`` as one word of Tcl in which nothing is substituted.

    >>> tcl_word("a $b [c]")
    '"a \\$b \\[c\\]"'
    """
    return '"' + "".join(_tcl_letter(letter) for letter in str(value)) + '"'


def tcl_list(values: tuple[str, ...]) -> str:
    """Tcl code that makes a list of exactly ``values``."""
    return "[list" + "".join(f" {tcl_word(value)}" for value in values) + "]"


def _tcl_letter(letter: str) -> str:
    if letter in _SPECIAL:
        return "\\" + letter
    return letter if letter.isascii() else f"\\u{ord(letter):04x}"


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(asset_dir("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters.update(tcl=tcl_word, tcl_list=tcl_list)
    return environment
