"""The binary program of the layer-sequential array (docs/kernels.md, "Layer-sequential")."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.sequential.array import (
    BEAT,
    DESCRIPTOR_BYTES,
    HEADER_BYTES,
    MAGIC,
    MOST_GROUPS,
    SLICE,
    VERSION,
    SequentialArray,
)

END, LOAD, RUN = 0, 1, 2
WAIT_LOAD, WAIT_RUN = 1 << 8, 1 << 9
TAG = 0x5AC3
"""Upper half of the first word of every descriptor."""
Target = Literal["buffer", "masks", "taps", "list"]
TARGETS: tuple[Target, ...] = ("buffer", "masks", "taps", "list")
MAC = 1 << 15
ESCALATE = 1
"""An entry without MAC whose code is this one multiplies the accumulators by 128."""
SKIP = 2
"""An entry without MAC whose code is this one takes what a sum adds, from the slot's own line."""
POSITION_BITS = 7
TAP_SIGNED = 1 << 24
LIST_ZERO, LIST_END = 1 << 32, 1 << 33
_DIGEST_BYTES = 32


@dataclass(frozen=True)
class Load:
    """Copy ``rows`` rows of ``beats`` transfers from memory into a table or the buffer.

    :param source: byte address of the first row, a multiple of 8; rows are ``stride`` bytes apart.
    :param index: first line of the buffer, or first word of a table.
    :param step: lines of the buffer from the start of a row to that of the next; lines wrap at its end.
    """

    source: int
    rows: int
    beats: int
    stride: int
    target: Target
    index: int
    step: int = 0
    wait_run: bool = True
    wait_load: bool = False


@dataclass(frozen=True)
class Sum:
    """What a RUN adds to its requantised results: ``(y * mult0 + skip * mult1) >> shift``, rounded and clamped."""

    mult0: int
    mult1: int
    shift: int
    low: int
    high: int
    signed: bool


@dataclass(frozen=True)
class Run:
    """Compute ``tiles`` tiles of every slot of the groups' streams.

    :param base: byte address in the buffer that the slots' starts count from.
    :param plane: bytes in the buffer from one channel to the next.
    :param taps: masks per tile; the mask of a tap is word ``mask_base + tile * taps + tap``.
    :param tap_bits: low bits of an entry's position that hold the tap.
    :param stored: transfers of ``SLICE`` bytes of a channel that are stored, or words of the list (``listed``).
    :param last_slices: transfers of the last tile that hold pixels; the others are not made.
    :param piece_stride: bytes from one piece of a list's output to the next.
    :param streams: byte address of group 0's stream; ``words`` are the groups' lengths.
    :param layer: number of the counters that take its cycles; ``first`` sets them, others add.
    """

    base: int
    plane: int
    tiles: int
    taps: int
    tap_bits: int
    maximum: bool
    to_buffer: bool
    listed: bool
    wide: bool
    low: int
    high: int
    stored: int
    last_slices: int
    piece_stride: int
    destination: int
    mask_base: int
    tap_base: int
    list_base: int
    streams: int
    words: tuple[int, ...]
    added: Sum | None = None
    layer: int = 0
    first: bool = True
    wait_run: bool = True
    wait_load: bool = True


@dataclass(frozen=True)
class Slot:
    """One output channel of one RUN.

    :param start: byte address, behind the run's base, of lane 0 of tile 0.
    :param destination: units of ``SLICE`` bytes behind the descriptor's destination.
    :param entries: uint16 words.
    :param skip: line of what a sum adds, behind the SKIP entry's tap.
    """

    start: int
    destination: int
    bias: int
    mult: int
    shift: int
    entries: NDArray[np.uint16]
    skip: int = 0

    @property
    def words(self) -> int:
        """64-bit words of the slot in its stream."""
        return 2 + -(-len(self.entries) // 4)


Descriptor: TypeAlias = Load | Run


@dataclass(frozen=True)
class Program:
    """A network compiled for the layer-sequential array.

    :param image: bytes that the driver places at the base address; maps follow behind them.
    :param memory_bytes: of the whole allocation, program and maps.
    """

    image: bytes
    memory_bytes: int
    array: SequentialArray


def pack_entries(
    channel: NDArray[np.integer], tap: NDArray[np.integer], code: NDArray[np.integer], tap_bits: int
) -> NDArray[np.uint16]:
    """Entries of one channel's weights, sorted by ``(channel, tap)``, with fillers.

    >>> pack_entries(np.array([0, 3]), np.array([1, 0]), np.array([1, -128]), 6).tolist()
    [33024, 16384, 16384, 49407]
    """
    if len(channel) == 0:
        return np.zeros(1, np.uint16)
    return pack_advances(np.diff(channel, prepend=0), tap, code, tap_bits)[0]


def pack_advances(
    advance: NDArray[np.integer], tap: NDArray[np.integer], code: NDArray[np.integer], tap_bits: int
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Entries of weights that lie ``advance`` channels behind the one before; where each weight's entry is."""
    limit = (1 << (POSITION_BITS - tap_bits)) - 1
    fillers = np.maximum(-(-advance // limit) - 1, 0) if limit else np.zeros_like(advance)
    if limit == 0 and advance.any():
        raise PyadmmError("sequential program: 7 tap bits leave none for the channel")
    ends = np.cumsum(fillers + 1) - 1
    words = np.full(ends[-1] + 1, limit << (8 + tap_bits), np.int64)
    rest = advance - fillers * limit
    sign_magnitude = np.where(code < 0, 0x80, 0) | (np.abs(code) - 1)
    words[ends] = MAC | (rest << (8 + tap_bits)) | (tap << 8) | sign_magnitude
    return words.astype(np.uint16), ends


def encode_slot(slot: Slot, buffer_bytes: int, last: bool) -> bytes:
    """Header and entries of one slot, a whole number of 64-bit words."""
    count = len(slot.entries)
    if not 1 <= count < 1 << 16:
        raise PyadmmError(f"sequential program: a slot of {count} entries; 1 to 65535 fit")
    if not 0 <= slot.destination < 1 << 24:
        raise PyadmmError(f"sequential program: destination {slot.destination} exceeds 24 bits")
    first = count | (slot.start % buffer_bytes) << 16 | slot.destination << 40
    first |= (slot.skip & 0xF) << 36
    second = (slot.bias & 0xFFFFFFFF) | slot.mult << 32 | slot.shift << 48 | int(last) << 63
    second |= (slot.skip >> 4) << 54
    padded = np.zeros(-(-count // 4) * 4, "<u2")
    padded[:count] = slot.entries
    return struct.pack("<QQ", first, second) + padded.tobytes()


def encode(descriptor: Descriptor) -> bytes:
    """The 128 bytes of a descriptor."""
    flags = (WAIT_LOAD if descriptor.wait_load else 0) | (WAIT_RUN if descriptor.wait_run else 0)
    if isinstance(descriptor, Load):
        words = [
            TAG << 16 | flags | LOAD,
            descriptor.source,
            descriptor.rows,
            descriptor.beats,
            descriptor.stride,
            TARGETS.index(descriptor.target),
            descriptor.index,
            descriptor.step,
        ]
    else:
        words = _run_words(descriptor, TAG << 16 | flags | RUN)
    return struct.pack("<32I", *words, *[0] * (32 - len(words)))


def _run_words(run: Run, first: int) -> list[int]:
    if len(run.words) > MOST_GROUPS or any(not 0 <= count < 1 << 32 for count in run.words):
        raise PyadmmError(f"sequential program: streams of {run.words} words do not fit")
    added = run.added
    flags = (
        run.maximum,
        run.to_buffer,
        run.listed,
        run.wide,
        bool(added),
        bool(added and added.signed),
    )
    head = [
        first,
        run.base,
        run.plane,
        run.tiles,
        run.taps | run.tap_bits << 8,
        sum(int(flag) << place for place, flag in enumerate(flags)) | run.last_slices << 8,
        run.low & 0xFFFFFFFF,
        run.high & 0xFFFFFFFF,
        run.stored,
        run.piece_stride,
        run.destination,
        run.mask_base,
        run.tap_base,
        run.list_base,
        run.streams,
        run.layer | run.first << 31,
    ]
    words = [*run.words, *[0] * (MOST_GROUPS - len(run.words))]
    if added is None:
        return head + words
    bounds = [added.low & 0xFFFFFFFF, added.high & 0xFFFFFFFF]
    return head + words + [added.mult0 | added.mult1 << 16, added.shift, *bounds]


def decode(data: bytes) -> Descriptor | None:
    """The descriptor in 128 bytes; None for END.

    :raises PyadmmError: where the bytes are no descriptor.
    """
    words = struct.unpack("<32I", data)
    kind, waits = words[0] & 0xFF, words[0]
    if words[0] >> 16 != TAG or kind not in (END, LOAD, RUN):
        raise PyadmmError(f"sequential program: {words[0]:#010x} begins no descriptor")
    if kind == END:
        return None
    wait = {"wait_run": bool(waits & WAIT_RUN), "wait_load": bool(waits & WAIT_LOAD)}
    if kind == LOAD:
        source, rows, per_row, stride = words[1:5]
        target = TARGETS[words[5] & 3]
        return Load(source, rows, per_row, stride, target, words[6], words[7], **wait)
    maximum, to_buffer, listed, wide, adds, signed = (bool(words[5] >> i & 1) for i in range(6))
    last = words[24:28]
    factors = last[0] & 0xFFFF, last[0] >> 16, last[1]
    return Run(
        base=words[1],
        plane=words[2],
        tiles=words[3],
        taps=words[4] & 0xFF,
        tap_bits=words[4] >> 8,
        maximum=maximum,
        to_buffer=to_buffer,
        listed=listed,
        wide=wide,
        low=_signed(words[6]),
        high=_signed(words[7]),
        stored=words[8],
        last_slices=words[5] >> 8,
        piece_stride=words[9],
        destination=words[10],
        mask_base=words[11],
        tap_base=words[12],
        list_base=words[13],
        streams=words[14],
        layer=words[15] & 0x1FF,
        first=bool(words[15] >> 31),
        words=words[16 : 16 + MOST_GROUPS],
        added=Sum(*factors, _signed(last[2]), _signed(last[3]), signed) if adds else None,
        **wait,
    )


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


def encode_end() -> bytes:
    """The descriptor that ends a program."""
    return struct.pack("<32I", TAG << 16 | WAIT_LOAD | WAIT_RUN | END, *[0] * 31)


def seal(body: bytes, memory_bytes: int, array: SequentialArray) -> bytes:
    """Header and ``body``; the header carries the digest of the body."""
    head = struct.pack(
        "<4I",
        MAGIC,
        VERSION | array.groups << 8 | array.lanes << 16,
        memory_bytes,
        HEADER_BYTES + len(body),
    )
    return head + bytes(HEADER_BYTES - 48) + hashlib.sha256(body).digest() + body


def check_image(image: bytes, array: SequentialArray) -> None:
    """Refuse an image that is truncated, damaged or made for another array.

    :raises PyadmmError: names what is wrong.
    """
    if len(image) < HEADER_BYTES + DESCRIPTOR_BYTES:
        raise PyadmmError(f"sequential program: {len(image)} bytes are no program")
    magic, build, _, length = struct.unpack_from("<4I", image)
    if magic != MAGIC or build & 0xFF != VERSION:
        raise PyadmmError(
            f"sequential program: begins with {magic:#x}, version {build & 0xFF}; expected "
            f"{MAGIC:#x}, version {VERSION}"
        )
    if (build >> 8 & 0xFF, build >> 16 & 0xFF) != (array.groups, array.lanes):
        raise PyadmmError(
            f"sequential program: was compiled for {build >> 8 & 0xFF} groups x "
            f"{build >> 16 & 0xFF} lanes, the array has {array.groups} x {array.lanes}"
        )
    digest = hashlib.sha256(image[HEADER_BYTES:]).digest()
    if length != len(image) or digest != image[HEADER_BYTES - _DIGEST_BYTES : HEADER_BYTES]:
        raise PyadmmError("sequential program: is truncated or damaged; compile it again")


def aligned(size: int, to: int) -> int:
    """``size`` rounded up to a multiple of ``to``.

    >>> aligned(13, 8)
    16
    """
    return -(-size // to) * to


def beats(size: int) -> int:
    """Transfers on a memory port that ``size`` bytes take."""
    return -(-size // BEAT)


def slices(size: int) -> int:
    """Transfers of the store that ``size`` bytes take."""
    return -(-size // SLICE)
