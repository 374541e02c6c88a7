"""The register maps as SystemVerilog: the block of constants in each register file of ``hls/rtl``.

``python -m pyadmm.codegen.registers`` writes the blocks after a change of
:mod:`pyadmm.hardware.registers`; a test compares them.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyadmm.core.assets import asset_dir
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.hardware.registers import DATAFLOW, Register
from pyadmm.hardware.sequential.registers import SEQUENTIAL

FILES = {"axi_control.sv": DATAFLOW, "seq_registers.sv": SEQUENTIAL}
"""Register file -> its map."""
_BEGIN = "  // Word addresses, written by pyadmm.codegen.registers.\n"
_END = "  // End of the word addresses.\n"


def verilog_block(registers: Sequence[Register]) -> str:
    """A constant for each register: the bits of its address above the word's bytes."""
    lines = [
        f"  localparam logic [4:0] {one.name.upper()} = 5'h{one.offset >> 2:02x};  // {one.meaning}\n"
        for one in registers
    ]
    return "".join([_BEGIN, *lines, _END])


def with_block(text: str, registers: Sequence[Register]) -> str:
    """The source ``text`` with its block of constants made anew.

    :raises PyadmmError: where it has none.
    """
    begin, end = text.find(_BEGIN), text.find(_END)
    if not 0 <= begin < end:
        raise PyadmmError(
            f"registers: a source lacks the lines {_BEGIN.strip()} and {_END.strip()}"
        )
    return text[:begin] + verilog_block(registers) + text[end + len(_END) :]


def main() -> None:
    """Write the blocks of all register files."""
    for name, registers in FILES.items():
        path = asset_dir("hls") / "rtl" / name
        write_atomic(path, with_block(path.read_text(encoding="utf-8"), registers))


if __name__ == "__main__":
    main()
