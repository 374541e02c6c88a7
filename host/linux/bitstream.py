"""A ``.bit`` file as the kernel's fpga_manager wants it (often called ``.bit.bin``).

A ``.bit`` has a header of tagged fields before the configuration data, whose 32-bit words are in
big-endian order; the processor's configuration port takes them with their bytes reversed (AMD
UG585, chapter 6; Linux, ``drivers/fpga/zynq-fpga.c``).
"""

from __future__ import annotations

import struct

import numpy as np

from ..errors import HostError

SYNC, SWAPPED_SYNC = b"\xaa\x99\x55\x66", b"\x66\x55\x99\xaa"
_SYNC_LIMIT = 4096
_DATA_TAG = ord("e")


def configuration_data(content: bytes) -> bytes:
    """The configuration data of a ``.bit``, without its header.

    :raises HostError: if ``content`` is no whole ``.bit``.
    """
    try:
        (length,) = struct.unpack_from(">H", content)
        position = 2 + length + 2
        while content[position] != _DATA_TAG:
            (length,) = struct.unpack_from(">H", content, position + 1)
            position += 3 + length
        (length,) = struct.unpack_from(">I", content, position + 1)
    except (struct.error, IndexError) as error:
        raise HostError(
            "bitstream: has no .bit header; take the .bit that the tool wrote"
        ) from error
    data = content[position + 5 : position + 5 + length]
    if len(data) != length or length % 4:
        raise HostError(
            f"bitstream: holds {len(data)} of {length} bytes, which must be whole words; the file "
            "is truncated: copy it again"
        )
    return data


def bit_to_bin(content: bytes) -> bytes:
    """The bytes for fpga_manager; data that already is in that order stays as it is.

    :raises HostError: if there is no synchronisation word where configuration data has it.
    """
    if _has_word(content, SWAPPED_SYNC):
        return content
    data = configuration_data(content)
    if not _has_word(data, SYNC):
        raise HostError(
            "bitstream: no synchronisation word aa995566; the file is encrypted or no bitstream"
        )
    return np.frombuffer(data, ">u4").astype("<u4").tobytes()


def _has_word(data: bytes, word: bytes) -> bool:
    """Whether ``word`` lies at a multiple of four bytes near the beginning."""
    head = data[:_SYNC_LIMIT]
    return any(head[i : i + 4] == word for i in range(0, len(head), 4))
