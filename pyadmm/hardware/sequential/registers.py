"""The register map of the layer-sequential top; control is the ``ap_ctrl_hs`` protocol."""

from __future__ import annotations

AP_CTRL, BASE, STATUS, IDENT, BUILD, CYCLES, RUNS = 0x00, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38
"""Byte offsets: control, base address of the memory, how the last program ended, identifier,
version and array, cycles of the last program, RUNs that it finished."""

PROFILE_INDEX, PROFILE_CYCLES, PROFILE_WAITS = 0x40, 0x48, 0x50
"""Byte offsets: which RUN, the cycle in which it ended, cycles in which a group waited in it."""

PROFILED_RUNS = 512
"""RUNs whose cycles are kept; later ones overwrite the first."""

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
