"""``manifest.json`` of a bundle as data classes, for writing it and for adding to it.

The board reads the file with ``host/manifest.py``, which needs nothing but the standard library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pyadmm.core.schema import Rule, from_json, to_plain

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle and its digest."""

    file: str
    sha256: str


@dataclass(frozen=True)
class LayerEntry:
    """Where the words of one layer lie in the weight image."""

    name: str
    offset: int
    words: int


@dataclass(frozen=True)
class ModelEntry:
    """One set of weights with its test vectors and its CPU reference.

    :param words: length of the weight image in 32-bit words.
    :param logit_scale: real value of one unit of the integer logits.
    :param cpu_nodes: the network as ``host.cpu`` reads it; its arrays are in ``cpu_arrays``.
    """

    name: str
    words: int
    logit_scale: float
    layers: tuple[LayerEntry, ...]
    weights: FileEntry
    images: FileEntry
    logits: FileEntry
    labels: FileEntry
    cpu_arrays: FileEntry
    cpu_nodes: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class InputEntry:
    """An image and what the hardware makes of its bytes.

    :param shape: ``(C, H, W)``.
    """

    shape: tuple[int, int, int]
    dtype: str
    offset: tuple[int, ...]
    shift: int
    lo: int
    hi: int


@dataclass(frozen=True)
class StreamsEntry:
    """Widths and lengths of the two streams.

    :param pixel_bits: of packed pixels; absent from the file where the stream takes bytes.
    :param input_word_bits: absent from the file where it is 32.
    """

    word_bits: int
    byte_order: str
    input_words: int
    output_words: int
    pixel_bits: int | None = None
    input_word_bits: int | None = None


@dataclass(frozen=True)
class ClockEntry:
    """The clock of the programmable logic: number of the processor's clock, and MHz."""

    index: int
    mhz: Annotated[float, Rule("a positive number", lambda mhz: mhz > 0)]


@dataclass(frozen=True)
class DesignEntry:
    """The hardware that the bundle is for.

    :param bitfile: ``.bit`` in the bundle, or None where none was built.
    """

    digest: str
    ident: int
    kernel: str
    ip: str
    vlnv: str
    dma: str
    bitfile: str | None


@dataclass(frozen=True)
class Manifest:
    """All that the driver knows of a design and its models."""

    format: str
    version: int
    board: str
    network: str
    input: InputEntry
    classes: int
    streams: StreamsEntry
    clock: ClockEntry
    design: DesignEntry
    registers: Mapping[str, int]
    modes: Mapping[str, int]
    models: tuple[ModelEntry, ...]
    curves: FileEntry | None

    def to_json(self) -> bytes:
        """The bytes of the file: JSON, a field a line."""
        plain = to_plain(self)
        streams = plain["streams"]
        plain["streams"] = {key: value for key, value in streams.items() if value is not None}
        return (json.dumps(plain, indent=1, allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> Manifest:
        """The manifest in a file.

        :raises PyadmmError: naming the first field that is wrong.
        """
        return from_json(cls, content.decode("utf-8", "replace"), MANIFEST)
