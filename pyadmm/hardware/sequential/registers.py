"""The register map of the layer-sequential top, in the form of :mod:`pyadmm.hardware.registers`."""

from __future__ import annotations

from pyadmm.hardware.registers import CONTROL, CYCLES, IDENT, Register, offsets

BASE, STATUS, BUILD, RUNS = 0x10, 0x18, 0x28, 0x38
"""Byte offsets: base address of the memory, how the last program ended, version and array, RUNs
that it finished."""

PROFILE_INDEX, PROFILE_CYCLES, PROFILE_WAITS = 0x40, 0x48, 0x50
"""Byte offsets: which layer, its cycles in the last program, how many of them no RUN computed or a
group had no entries."""

SEQUENTIAL = (
    *CONTROL,
    Register("base", BASE, "byte address of the program in memory, a multiple of 4096"),
    Register("status", STATUS, "how the last program ended"),
    Register("ident", IDENT, "first 32 bits of the build's digest"),
    Register("build", BUILD, "version, groups << 8, lanes << 16"),
    Register("cycles", CYCLES, "clock cycles of the last program"),
    Register("runs", RUNS, "RUNs that the last program finished"),
    Register("profile_index", PROFILE_INDEX, "number of a layer"),
    Register("profile_cycles", PROFILE_CYCLES, "cycles of that layer"),
    Register("profile_waits", PROFILE_WAITS, "how many of them waited for memory"),
)
"""Registers of the layer-sequential top; its ``ap_ctrl`` has no auto-restart."""
OFFSETS = offsets(SEQUENTIAL)
"""Offsets by name, as the manifest of a bundle lists them."""

COUNTED_LAYERS = 512
"""Layers whose cycles are counted; more of them share the last counters."""

OK, BAD_HEADER, BAD_DESCRIPTOR, READ_ERROR, WRITE_ERROR, NO_PROGRESS, OUT_OF_RANGE = range(7)
"""Values of :data:`STATUS`."""

STATUS_TEXTS = {
    BAD_HEADER: "the program's header is not for this hardware",
    BAD_DESCRIPTOR: "a descriptor of the program is damaged",
    READ_ERROR: "memory answered a read with an error",
    WRITE_ERROR: "memory answered a write with an error",
    NO_PROGRESS: "no word moved for 65536 cycles",
    OUT_OF_RANGE: "the program reaches beyond its memory",
}
"""What a status other than :data:`OK` means."""
