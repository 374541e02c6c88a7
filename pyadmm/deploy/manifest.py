"""``manifest.json`` of a bundle as data classes, for writing it and for adding to it.

The board reads the file with ``host/manifest.py``, which needs nothing but the standard library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

from pyadmm.core.schema import Rule, from_json, to_json, to_plain

MANIFEST = "manifest.json"
_OPTIONAL_STREAMS, _OPTIONAL_DESIGN = ("pixel_bits", "input_word_bits"), ("dma",)


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle and its digest."""

    file: str
    sha256: str


@dataclass(frozen=True)
class LayerEntry:
    """Place of one layer's words in the weight image."""

    name: str
    offset: int
    words: int


@dataclass(frozen=True)
class GoldenEntry:
    """Test vectors and CPU reference of a network.

    :param logit_scale: real value of one unit of the integer logits.
    :param labels: None where the true classes are not known.
    :param cpu_nodes: the network as ``host.cpu`` reads it; its arrays are in ``cpu_arrays``.
    """

    name: str
    logit_scale: float
    images: FileEntry
    logits: FileEntry
    labels: FileEntry | None
    cpu_arrays: FileEntry
    cpu_nodes: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class ModelEntry(GoldenEntry):
    """One set of weights for a dataflow design.

    :param words: length of the weight image in 32-bit words.
    """

    words: int
    layers: tuple[LayerEntry, ...]
    weights: FileEntry


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
class RangeEntry:
    """Pixels ``start … stop - 1``."""

    start: int
    stop: int


@dataclass(frozen=True)
class MapEntry:
    """Place of a program's input or output in memory (docs/kernels.md, "Maps").

    :param wide: pixels of each RUN, where an activation takes four planes of bytes.
    """

    shape: tuple[int, int, int]
    base: int
    stride: int
    rows: int
    pitch: int
    row_phases: int
    column_phases: int
    span: int
    signed: bool
    wide: tuple[RangeEntry, ...]


@dataclass(frozen=True)
class CounterEntry:
    """The layer that one of the array's counters is for."""

    name: str


@dataclass(frozen=True)
class ProgramEntry:
    """Facts of a program that the driver needs besides its bytes.

    :param start_images: images that one start takes.
    """

    input: InputEntry
    classes: int
    memory_bytes: int
    start_images: int
    source: MapEntry
    result: MapEntry
    layers: tuple[CounterEntry, ...]


@dataclass(frozen=True)
class NetworkEntry(ProgramEntry, GoldenEntry):
    """One network for the layer-sequential array; its files lie in ``folder``."""

    folder: str
    program: FileEntry


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

    :param dma: instance of the DMA; absent from the file where the design has none.
    :param bitfile: ``.bit`` in the bundle, or None where none was built.
    """

    digest: str
    ident: int
    kernel: str
    ip: str
    vlnv: str
    bitfile: str | None
    dma: str | None = None


@dataclass(frozen=True)
class BundleManifest:
    """Fields that the manifests of both architectures have.

    :param network: what the design was made for.
    """

    format: str
    version: int
    board: str
    network: str
    clock: ClockEntry
    design: DesignEntry
    registers: Mapping[str, int]
    curves: FileEntry | None

    def with_bitstream(self, bitfile: str, clock_mhz: float | None = None) -> Self:
        """The manifest of the bundle with a bitstream.

        :param clock_mhz: the fastest clock of the bitstream; the board then runs it no faster.
        """
        clock = self.clock if clock_mhz is None else replace(self.clock, mhz=clock_mhz)
        return replace(self, design=replace(self.design, bitfile=bitfile), clock=clock)

    def to_json(self) -> bytes:
        """The bytes of the file: JSON, a field a line, without what the architecture does not have."""
        plain = to_plain(self)
        optional = {"streams": _OPTIONAL_STREAMS, "design": _OPTIONAL_DESIGN}
        for key, names in optional.items():
            held = plain.get(key, {})
            for name in names:
                if name in held and held[name] is None:
                    del held[name]
        return (to_json(plain) + "\n").encode()


@dataclass(frozen=True)
class Manifest(BundleManifest):
    """All that the driver knows of a dataflow design and its models."""

    input: InputEntry
    classes: int
    streams: StreamsEntry
    modes: Mapping[str, int]
    models: tuple[ModelEntry, ...]


@dataclass(frozen=True)
class SequentialManifest(BundleManifest):
    """All that the driver knows of the layer-sequential array and its networks.

    :param architecture: ``sequential``; files of dataflow designs have no such field.
    :param build: what the register ``build`` reads.
    :param status: what each status of a program means.
    """

    architecture: Literal["sequential"]
    build: int
    status: Mapping[str, str]
    models: tuple[NetworkEntry, ...]


def parse_manifest(content: bytes) -> Manifest | SequentialManifest:
    """The manifest in a file, of either architecture.

    :raises PyadmmError: naming the first field that is wrong.
    """
    try:
        sequential = "architecture" in json.loads(content)
    except (ValueError, TypeError):
        sequential = False  # the reader below names the error
    text = content.decode("utf-8", "replace")
    if sequential:
        return from_json(SequentialManifest, text, MANIFEST)
    return from_json(Manifest, text, MANIFEST)
