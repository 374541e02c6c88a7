"""Whether a ``.bit`` says what its FASM says: project X-Ray's ``bit2fasm`` decodes it, and both are
compared feature by feature.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from pyadmm.core.errors import MissingToolError, PyadmmError
from pyadmm.core.process import run_tool
from pyadmm.eda.bitstream import FRAME_WORDS, configuration_frames, find_database, find_program

DECODER, READER = "bit2fasm", "bitread"
_TIMEOUT_S = 1800.0
_MEMORY_MB = 8192
_ECC_WORD, _ECC_BITS = 50, 0x1FFF
"""Word of a frame, and its bits, that hold the frame's own check sum (AMD UG470)."""
_VALUE = re.compile(
    r"(?P<name>[^\[=\s]+)\[(?P<high>\d+)(?::(?P<low>\d+))?\]\s*(?:=\s*(?P<value>\S+))?"
)
_NUMBER = re.compile(r"(?:\d+)?'(?P<base>[bh])(?P<digits>[0-9a-fA-F_]+)\Z")
_SHOWN = 5
_REQUIRED = "required_features.fasm"
"""Features of a part that ``fasm2frames`` adds to every design."""


@dataclass(frozen=True)
class DecodedBit:
    """A ``.bit`` compared with the FASM that it was made of.

    :param bits: that are set, check sums of the frames left out.
    :param unknown: set bits that no feature explains.
    :param features: of the FASM that set bits.
    :param wires: features of the FASM that set none: fixed wires, and values that are zero.
    :param lost: features of the FASM that do not come back though they set bits.
    :param added: features that set bits, come back, and are neither in the FASM nor those that
        every bitstream of the part has.
    """

    bits: int
    unknown: int
    features: int
    wires: int
    lost: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether FASM and bitstream say the same, and every set bit is explained."""
        return not (self.unknown or self.lost or self.added)

    @property
    def summary(self) -> str:
        """Bits, features and what differs, in one line."""
        odd = [
            f"{len(names):,} {what}: {', '.join(names[:_SHOWN])}"
            for what, names in (("lost", self.lost), ("not in the FASM", self.added))
            if names
        ]
        return (
            f"decoded: {self.bits:,} bits set, {self.unknown:,} of them unknown; "
            f"{self.features - len(self.lost):,} of {self.features:,} features of the FASM come back, "
            f"{self.wires:,} more set no bit" + "".join(f"; {text}" for text in odd)
        )


def check_bitstream(fasm: Path, bit: Path, part: str) -> DecodedBit:
    """Decode ``bit`` and compare it with ``fasm``.

    :raises MissingToolError: without ``bit2fasm``, ``bitread`` or X-Ray's database.
    :raises ToolError: where decoding fails.
    """
    database = find_database(part)
    with tempfile.TemporaryDirectory(prefix="pyadmm-decode-") as name:
        run = run_tool(
            [
                find_program(DECODER), "--db-root", database.resolve(), "--part", part,
                "--bitread", find_program(READER), "--verbose", bit.resolve(),
            ],
            log=Path(name) / "decoded.fasm",
            timeout_s=_TIMEOUT_S,
            cwd=Path(name),
            memory_mb=_MEMORY_MB,
        )  # fmt: skip
    lines = run.output.splitlines()
    wanted, found = _set_features_of(fasm), set_features(lines)
    known = _Database(database, part)
    missing = wanted - found
    lost = tuple(sorted(feature for feature in missing if known.sets_bits(feature)))
    beyond = found - wanted - _set_features_of(database / part / _REQUIRED)
    return DecodedBit(
        set_bits(bit.read_bytes()),
        sum("unknown_bit" in line for line in lines),
        len(wanted) - len(missing) + len(lost),
        len(missing) - len(lost),
        lost,
        tuple(sorted(feature for feature in beyond if known.sets_bits(feature))),
    )


def _set_features_of(file: Path) -> set[str]:
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return set_features(text.splitlines())


def set_bits(content: bytes) -> int:
    """Bits that a ``.bit`` sets in frames, their check sums left out."""
    frames = np.frombuffer(configuration_frames(content), ">u4").reshape(-1, FRAME_WORDS).copy()
    frames[:, _ECC_WORD] &= ~np.uint32(_ECC_BITS)
    return int(np.bitwise_count(frames).sum())


def set_features(lines: Iterable[str]) -> set[str]:
    """Features that FASM sets; of a value with several bits each bit that is one.

    >>> sorted(set_features(["A.INIT[3:0] = 4'b0101", "B.ON", "C[2]  # why", "D.OFF[1:0] = 2'b00"]))
    ['A.INIT[0]', 'A.INIT[2]', 'B.ON', 'C[2]']
    """
    return {feature for line in lines for feature in _features(line.partition("#")[0].strip())}


def _features(text: str) -> Iterator[str]:
    text = text.partition("{")[0].strip()
    match = _VALUE.fullmatch(text)
    if match is None:
        name, _, value = (part.strip() for part in text.partition("="))
        if name and (not value or _number(value)):
            yield name
        return
    high = int(match["high"])
    low = int(match["low"] or high)
    number = 1 if match["value"] is None else _number(match["value"])
    for place in range(high - low + 1):
        if number >> place & 1:
            yield f"{match['name']}[{low + place}]"


def _number(text: str) -> int:
    match = _NUMBER.match(text)
    if match is None:
        return int(text)
    return int(match["digits"].replace("_", ""), 2 if match["base"] == "b" else 16)


class _Database:
    """What X-Ray's database says of features."""

    def __init__(self, folder: Path, part: str) -> None:
        self.folder = folder
        device = re.sub(r"[a-z]{3}\d+(-\d)?$", "", part)
        file = folder / device / "tilegrid.json"
        if not file.is_file():
            raise MissingToolError(f"bitstream: no {file.name} of {device} in {folder}")
        try:
            tiles = json.loads(file.read_text("utf-8"))
            self.kinds = {str(tile): str(facts["type"]) for tile, facts in tiles.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PyadmmError(
                f"{file}: each tile must have a type ({error!r}); get project X-Ray's database anew"
            ) from error

    def sets_bits(self, feature: str) -> bool:
        """Whether a feature sets a bit; one that the database does not know is taken to."""
        tile, _, rest = feature.partition(".")
        kind = self.kinds.get(tile)
        return kind is None or f"{kind}.{rest}" not in _without_bits(self.folder, kind)


@cache
def _without_bits(folder: Path, kind: str) -> frozenset[str]:
    """Features of a kind of tile that set no bit: fixed wires, and those of zeros only."""
    names = []
    for file in (folder / f"ppips_{kind.lower()}.db", folder / f"segbits_{kind.lower()}.db"):
        if file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                name, *bits = line.split()
                if all(bit.startswith("!") or not bit[0].isdigit() for bit in bits):
                    names.append(name)
    return frozenset(names)
