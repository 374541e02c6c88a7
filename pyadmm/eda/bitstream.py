"""From FASM to a ``.bit`` with project X-Ray's tools, and what a ``.bit`` says about itself.

``fasm2frames`` and ``xc7frames2bit`` are on the PATH or under ``OPENXC7``; X-Ray's database of the
family is ``PRJXRAY_DB_DIR`` (with or without the family's folder), as openXC7's own projects name it.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyadmm.core.errors import MissingToolError, ToolError
from pyadmm.core.files import write_atomic
from pyadmm.core.process import run_tool

FRAMES, WRITER = "fasm2frames", "xc7frames2bit"
DATABASE_VARIABLE = "PRJXRAY_DB_DIR"
FAMILY = "zynq7"
FRAME_WORDS = 101
"""32-bit words of a configuration frame of the 7 series (AMD UG470)."""
_REMEDY = (
    "install openXC7 (https://github.com/openXC7), or build the bitstream with Vivado and add it with "
    "'pyadmm deploy FOLDER --bitstream FILE.bit'"
)
_DATABASE_PLACES = ("share/nextpnr/prjxray-db", "share/prjxray-db", "prjxray-db")
_TIMEOUT_S = 3600.0
_MEMORY_MB = 8192
_SYNC = b"\xaa\x99\x55\x66"
_FRAME_DATA, _IDCODE = 0b00010, 0b01100
"""Registers of the configuration logic (AMD UG470, table 5-23)."""


@dataclass(frozen=True)
class BitstreamTools:
    """An installation of project X-Ray's bitstream tools.

    :param database: X-Ray's folder of the family, with a folder for every part.
    """

    frames: str
    writer: str
    database: Path


@dataclass(frozen=True)
class BitFacts:
    """The facts that a ``.bit`` states.

    :param part: from its header.
    :param idcode: of the chip that it is for, as its configuration commands check it.
    :param frames: configuration frames that it writes.
    """

    part: str
    nbytes: int
    idcode: int
    frames: int


def find_tools(part: str) -> BitstreamTools:
    """The tools and the database of ``part``.

    :raises MissingToolError: where one is missing.
    """
    return BitstreamTools(find_program(FRAMES), find_program(WRITER), find_database(part))


def find_program(name: str) -> str:
    """A program of project X-Ray, on the PATH or under ``OPENXC7``.

    :raises MissingToolError: where it is missing.
    """
    root = os.environ.get("OPENXC7")
    path = os.pathsep.join(filter(None, [root and f"{root}/bin", root, os.environ.get("PATH")]))
    program = shutil.which(name, path=path)
    if program is None:
        raise MissingToolError(f"{name} is not on the PATH nor under OPENXC7; {_REMEDY}")
    return program


def find_database(part: str) -> Path:
    """X-Ray's folder of the family that knows ``part``.

    :raises MissingToolError: where there is none.
    """
    for folder in _database_places():
        if (folder / part / "part.yaml").is_file():
            return folder
    raise MissingToolError(
        f"bitstream: no {part}/part.yaml of project X-Ray's database; name its folder in "
        f"{DATABASE_VARIABLE}"
    )


def _database_places() -> Iterator[Path]:
    root, given = os.environ.get("OPENXC7"), os.environ.get(DATABASE_VARIABLE)
    bases = [Path(given)] if given else []
    bases += [Path(root) / place for place in _DATABASE_PLACES] if root else []
    for base in bases:
        yield from (base, base / FAMILY)


def write_bitstream(fasm: Path, part: str, bit: Path, timeout_s: float = _TIMEOUT_S) -> BitFacts:
    """Assemble a ``.bit`` from the FASM of a routed design.

    :raises ToolError: where a tool is missing, fails, or writes no whole bitstream.
    """
    tools = find_tools(part)
    chip = tools.database / part
    with tempfile.TemporaryDirectory(prefix="pyadmm-bit-") as name:
        folder = Path(name)
        frames, made = folder / "design.frames", folder / "design.bit"
        steps: list[list[str | Path]] = [
            [
                tools.frames, "--part", part, "--db-root", tools.database.resolve(),
                fasm.resolve(), frames,
            ],
            [
                tools.writer, "--part_name", part, "--part_file", (chip / "part.yaml").resolve(),
                "--frm_file", frames, "--output_file", made,
            ],
        ]  # fmt: skip
        for step in steps:
            run_tool(
                step,
                log=folder / "log.txt",
                timeout_s=timeout_s,
                cwd=folder,
                memory_mb=_MEMORY_MB,
                remedy=_REMEDY,
            )
        content = made.read_bytes() if made.is_file() else b""
    facts = read_bit(content)
    write_atomic(bit, content)
    return facts


def read_bit(content: bytes) -> BitFacts:
    """The facts of a ``.bit``.

    :raises ToolError: if it has no header, no IDCODE or no whole frames.
    """
    part, _ = _header(content)
    code = next((code for code in _payloads(content, _IDCODE) if len(code) == 4), bytes(4))
    (idcode,) = struct.unpack(">I", code)
    words = len(configuration_frames(content)) // 4
    if not idcode or not words or words % FRAME_WORDS:
        raise ToolError(
            f"bitstream: IDCODE 0x{idcode:08x} and {words} words of frames, which must be whole "
            f"frames of {FRAME_WORDS}; the .bit is damaged"
        )
    return BitFacts(part, len(content), idcode, words // FRAME_WORDS)


def configuration_frames(content: bytes) -> bytes:
    """The frames that a ``.bit`` writes, one after the other.

    :raises ToolError: if it has no header or no synchronisation word.
    """
    return b"".join(_payloads(content, _FRAME_DATA))


def bit_bin(content: bytes) -> bytes:
    """A ``.bit`` as Linux' fpga_manager takes it (``.bit.bin``): no header, bytes of words reversed.

    :raises ToolError: if it has no header.
    """
    data = _header(content)[1]
    words = struct.unpack(f">{len(data) // 4}I", data[: len(data) // 4 * 4])
    return struct.pack(f"<{len(words)}I", *words)


def _payloads(content: bytes, register: int) -> Iterator[bytes]:
    """Words that a ``.bit`` writes to one register of the configuration logic."""
    _, data = _header(content)
    begin = data.find(_SYNC)
    if begin < 0:
        raise ToolError("bitstream: no synchronisation word; the tool wrote no whole .bit")
    return (payload for to, payload in _writes(data[begin + len(_SYNC) :]) if to == register)


def _header(content: bytes) -> tuple[str, bytes]:
    """Part name and configuration data of a ``.bit``."""
    part, position = "", 0
    try:
        (length,) = struct.unpack_from(">H", content)
        position = 2 + length + 2
        while content[position : position + 1] != b"e":
            (length,) = struct.unpack_from(">H", content, position + 1)
            text = content[position + 3 : position + 3 + length]
            if content[position : position + 1] == b"b":
                part = text.rstrip(b"\0").decode("ascii")
            position += 3 + length
        (length,) = struct.unpack_from(">I", content, position + 1)
    except (struct.error, UnicodeDecodeError) as error:
        raise ToolError("bitstream: no header of a .bit; the tool wrote another file") from error
    return part, content[position + 5 : position + 5 + length]


def _writes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The configuration packets that write: register and payload."""
    register, position = 0, 0
    while position + 4 <= len(data):
        (head,) = struct.unpack_from(">I", data, position)
        position += 4
        kind, operation = head >> 29, head >> 27 & 3
        if kind == 1:
            register, count = head >> 13 & 0x3FFF, head & 0x7FF
        elif kind == 2:
            count = head & 0x7FFFFFF
        else:
            continue
        if operation == 2 and count:
            yield register, data[position : position + 4 * count]
            position += 4 * count
