"""Reading ``manifest.json``, the one place that the driver's knowledge of a design comes from.

The field ``architecture`` says what the bitstream holds: ``sequential`` is the layer-sequential
array, whose networks are programs; without the field every layer has an engine of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ManifestError
from .fields import (
    NODES_LIMIT,
    PLAIN_NAME,
    SHA256,
    SIDE_LIMIT,
    VERSION,
    WORDS_LIMIT,
    Fields,
    FileFact,
    is_null,
    is_positive,
    load_json,
    numbers_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = "pyadmm-manifest"
MANIFEST_NAME = "manifest.json"
REGISTERS = ("ap_ctrl", "mode", "count", "ident", "cycles")
SEQUENTIAL_REGISTERS = (
    *("ap_ctrl", "base", "status", "ident", "build", "cycles", "runs"),
    *("profile_index", "profile_cycles", "profile_waits"),
)
MODES = ("infer", "load", "read_back")
KERNELS = ("hls", "rtl")
SEQUENTIAL = "sequential"

_MODELS_LIMIT = 16
_MEMORY_LIMIT = 1 << 31
_PRINTABLE = re.compile(r"[ -~]{1,200}")
_INSTANCE = re.compile(r"[A-Za-z_][A-Za-z0-9_/]{0,199}")
_VLNV = re.compile(r"[\w.-]+:[\w.-]+:[\w.-]+:[\w.-]+")
_PHASES = ("row_phases", "column_phases")
_MAP_FIELDS = ("base", "stride", "rows", "pitch", *_PHASES, "span")


@dataclass(frozen=True)
class InputFact:
    """How a model reads images.

    :param shape: ``(C, H, W)`` of an image.
    :param dtype: ``uint8``, or ``int8``, whose sign bits :meth:`stream_bytes` inverts.
    :param offset: of every channel or of all: the network's integers are
        ``clamp((byte - offset[c]) >> shift, lo, hi)`` of these bytes.
    """

    shape: tuple[int, int, int]
    dtype: str
    offset: tuple[int, ...]
    shift: int
    lo: int
    hi: int

    def stream_bytes(self, images: NDArray[Any]) -> NDArray[np.uint8]:
        """``images`` of type :attr:`dtype` as the bytes that the offsets count from."""
        if self.dtype == "uint8":
            return images
        return images.view(np.uint8) ^ np.uint8(128)


@dataclass(frozen=True)
class LayerFact:
    """Where the words of one layer lie in the weight image."""

    name: str
    offset: int
    words: int


@dataclass(frozen=True)
class ModelFact:
    """One network of the bundle, with its test vectors and its CPU reference.

    :param classes: length of its integer logits; ``logit_scale`` is the real value of one unit.
    :param images: ``.npy`` of ``(N, C, H, W)``; ``logits`` int32 ``(N, classes)``;
        ``labels`` int64 ``(N,)``, or None where the true classes are not known.
    :param nodes: the network for :class:`host.cpu.Network`; its arrays are in ``network``.
    """

    name: str
    input: InputFact
    classes: int
    logit_scale: float
    images: FileFact
    logits: FileFact
    labels: FileFact | None
    network: FileFact
    nodes: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class WeightsModel(ModelFact):
    """Weights for a dataflow design.

    :param words: length of the weight image in 32-bit words.
    """

    weights: FileFact
    words: int
    layers: tuple[LayerFact, ...]


@dataclass(frozen=True)
class MapFact:
    """Where a program's input or output lies (docs/kernels.md, "Maps").

    :param base: its first byte in the program's memory; the plane of a channel has ``stride`` bytes.
    :param wide: ranges of pixels, one for each RUN, where an activation takes four planes of bytes.
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
    wide: tuple[tuple[int, int], ...]

    def positions(self, images: int) -> NDArray[np.int64]:
        """Byte of every pixel in the plane of its channel, ``(images, H, W)``."""
        n, h, w = np.ogrid[:images, : self.shape[1], : self.shape[2]]
        phase = (h % self.row_phases) * self.column_phases + w % self.column_phases
        row = n * self.rows + h // self.row_phases
        pixel = row * self.pitch + w // self.column_phases
        return np.asarray(phase * self.span + pixel, np.int64)


@dataclass(frozen=True)
class ProgramModel(ModelFact):
    """A program for the layer-sequential array.

    :param memory_bytes: of memory that it needs; the program lies at its begin.
    :param start_images: images that one start takes.
    :param layers: names of the layers, in the order of the array's counters.
    """

    program: FileFact
    memory_bytes: int
    start_images: int
    source: MapFact
    result: MapFact
    layers: tuple[str, ...]


@dataclass(frozen=True)
class DesignFact:
    """The design of the bitstream, as the manifest describes it.

    :param digest: sha256 of the build plan; ``ident`` is its first 32 bits.
    :param kernel: ``hls`` or ``rtl``.
    :param ip: instance name of the accelerator in the block design; ``vlnv`` its type.
    :param bitfile: ``.bit`` in the bundle, or None where none was built.
    """

    digest: str
    ident: int
    kernel: str
    ip: str
    vlnv: str
    bitfile: Path | None


@dataclass(frozen=True)
class Manifest:
    """All that the driver knows about a bundle.

    :param network: what the design was made for.
    :param clock_index: number of the PS clock that feeds the design; ``clock_mhz`` its rate.
    :param registers: byte offsets by name.
    """

    path: Path
    board: str
    network: str
    design: DesignFact
    clock_index: int
    clock_mhz: float
    registers: dict[str, int]
    models: tuple[ModelFact, ...]
    curves: FileFact | None

    def model(self, name: str) -> ModelFact:
        """The model called ``name``."""
        for model in self.models:
            if model.name == name:
                return model
        names = ", ".join(model.name for model in self.models)
        raise ManifestError(f"{self.path.name}: no model {name!r}; the bundle has {names}")


@dataclass(frozen=True)
class DataflowManifest(Manifest):
    """Of a design with an engine for every layer; all its models have one input and one output.

    :param dma: instance name of the AXI DMA.
    :param packed: whether the input stream takes the clamped integers instead of bytes, each in
        ``pixel_bits`` bits.
    :param input_words: 32-bit words of one image on the input stream; ``output_words`` of one
        result on the output stream, which are the logits.
    """

    dma: str
    modes: dict[str, int]
    packed: bool
    pixel_bits: int
    input_words: int
    output_words: int


@dataclass(frozen=True)
class SequentialManifest(Manifest):
    """Of the layer-sequential array; every model has a shape of its own.

    :param build: what the register ``build`` reads: version, groups and lanes of the array.
    :param status: what each status of a program means.
    """

    build: int
    status: dict[int, str]


def read_manifest(path: str | Path) -> Manifest:
    """Read and validate a manifest; ``path`` is the file or the bundle's folder.

    :raises ManifestError: names the file and the first field that is wrong.
    """
    path = Path(path)
    if path.is_dir():
        path = path / MANIFEST_NAME
    document = Fields(path.name, "", load_json(path))
    document.take("format", lambda v: v == FORMAT, repr(FORMAT))
    document.take(
        "version",
        lambda v: type(v) is int and v == VERSION,
        f"{VERSION}; install the matching pyadmm-host",
    )
    # Bundles of dataflow designs do not name their architecture.
    sequential = "architecture" in document.value
    if sequential:
        document.choice("architecture", (SEQUENTIAL,))
    manifest = (_sequential if sequential else _dataflow)(path, document)
    document.finish()
    return manifest


def _common(path: Path, document: Fields) -> dict[str, Any]:
    """The fields that the manifest of every architecture has."""
    clock = document.child("clock")
    index = clock.integer("index", 0, 3)
    mhz = clock.take(
        "mhz", lambda v: type(v) in (int, float) and 1 <= v <= 1000, "a rate from 1 to 1000 MHz"
    )
    clock.finish()
    return {
        "path": path,
        "board": document.text("board", _PRINTABLE, "a printable name"),
        "network": document.text("network", _PRINTABLE, "a printable name"),
        "clock_index": index,
        "clock_mhz": float(mhz),
        "curves": None
        if is_null(document, "curves")
        else document.file_fact("curves", path.parent),
    }


def _dataflow(path: Path, document: Fields) -> Manifest:
    common = _common(path, document)
    entry = _input(document.child("input"))
    streams = document.child("streams")
    streams.take("word_bits", lambda v: type(v) is int and v == 32, "32")
    streams.choice("byte_order", ("little",))
    # Bundles of streams of bytes, 32 bits wide, do not name them.
    packed = "pixel_bits" in streams.value
    pixel_bits = streams.integer("pixel_bits", 1, 8) if packed else 8
    if pixel_bits not in (1, 2, 4, 8):
        raise streams.wrong("pixel_bits", f"must be 1, 2, 4 or 8, not {pixel_bits}")
    wide = "input_word_bits" in streams.value
    word_bits = streams.integer("input_word_bits", 64, 64) if wide else 32
    bits = int(np.prod(entry.shape, dtype=object)) * pixel_bits
    expected = -(-bits // word_bits) * (word_bits // 32)
    input_words = streams.integer("input_words", expected, expected)
    classes = document.integer("classes", 1, SIDE_LIMIT)
    output_words = streams.integer("output_words", classes, classes)
    streams.finish()
    design = document.child("design")
    return DataflowManifest(
        **common,
        dma=design.text("dma", _INSTANCE, "an instance name"),
        design=_design(path.parent, design),
        registers=numbers_of(document.child("registers"), REGISTERS, 0xFFFC, 4),
        models=_models(document, lambda one: _weights_model(path.parent, one, entry, classes)),
        modes=numbers_of(document.child("modes"), MODES, 255, 1),
        packed=packed,
        pixel_bits=pixel_bits,
        input_words=input_words,
        output_words=output_words,
    )


def _sequential(path: Path, document: Fields) -> Manifest:
    common = _common(path, document)
    status = document.child("status")
    texts = {
        int(code): status.text(code, _PRINTABLE, "a printable text")
        for code in sorted(status.value)
        if code.isdigit() and len(code) <= 3
    }
    status.finish()
    return SequentialManifest(
        **common,
        design=_design(path.parent, document.child("design")),
        registers=numbers_of(document.child("registers"), SEQUENTIAL_REGISTERS, 0xFFFC, 4),
        models=_models(document, lambda one: _program_model(path.parent, one)),
        build=document.integer("build", 0, (1 << 32) - 1),
        status=texts,
    )


def _input(fields: Fields) -> InputFact:
    channels, height, width = fields.integers("shape", (3,), 1, SIDE_LIMIT)
    fact = InputFact(
        shape=(channels, height, width),
        dtype=fields.choice("dtype", ("uint8", "int8")),
        offset=fields.integers("offset", (1, channels), 0, 255),
        shift=fields.integer("shift", 0, 7),
        lo=fields.integer("lo", -256, 255),
        hi=fields.integer("hi", -256, 255),
    )
    fields.finish()
    return fact


def _design(folder: Path, fields: Fields) -> DesignFact:
    digest = fields.text("digest", SHA256, "64 lower-case hexadecimal digits")
    ident = int(digest[:8], 16)
    bitfile = fields.take(
        "bitfile",
        lambda v: v is None or (isinstance(v, str) and PLAIN_NAME.fullmatch(v) is not None),
        "null or a plain file name",
    )
    design = DesignFact(
        digest=digest,
        ident=fields.take(
            "ident", lambda v: type(v) is int and v == ident, f"{ident}, the digest's first 32 bits"
        ),
        kernel=fields.choice("kernel", KERNELS),
        ip=fields.text("ip", _INSTANCE, "an instance name"),
        vlnv=fields.text("vlnv", _VLNV, "vendor:library:name:version"),
        bitfile=None if bitfile is None else folder / bitfile,
    )
    fields.finish()
    return design


def _models(document: Fields, read: Callable[[Fields], ModelFact]) -> tuple[ModelFact, ...]:
    models = tuple(read(fields) for fields in document.children("models", 1, _MODELS_LIMIT))
    names = [model.name for model in models]
    if len(set(names)) != len(names):
        raise ManifestError(f"{document.file}: field models has two models of one name")
    return models


def _model_facts(folder: Path, fields: Fields) -> dict[str, Any]:
    """The fields that a model of every architecture has; their files lie in ``folder``."""
    labels = None if is_null(fields, "labels") else fields.file_fact("labels", folder)
    return {
        "name": fields.text("name", PLAIN_NAME, "a plain model name"),
        "logit_scale": float(fields.take("logit_scale", is_positive, "a positive number")),
        "images": fields.file_fact("images", folder),
        "logits": fields.file_fact("logits", folder),
        "labels": labels,
        "network": fields.file_fact("cpu_arrays", folder),
        "nodes": tuple(node.value for node in fields.children("cpu_nodes", 1, NODES_LIMIT)),
    }


def _weights_model(folder: Path, fields: Fields, entry: InputFact, classes: int) -> ModelFact:
    words = fields.integer("words", 1, WORDS_LIMIT)
    layers = []
    position = 0
    for one in fields.children("layers", 1, NODES_LIMIT):
        name = one.text("name", PLAIN_NAME, "a plain layer name")
        one.integer("offset", position, position)
        length = one.integer("words", 1, words - position)
        one.finish()
        layers.append(LayerFact(name, position, length))
        position += length
    if position != words:
        raise ManifestError(
            f"{fields.file}: field {fields.where}.layers covers {position} of {words} words"
        )
    model = WeightsModel(
        **_model_facts(folder, fields),
        input=entry,
        classes=classes,
        weights=fields.file_fact("weights", folder),
        words=words,
        layers=tuple(layers),
    )
    fields.finish()
    return model


def _program_model(folder: Path, fields: Fields) -> ModelFact:
    own = folder / fields.text("folder", PLAIN_NAME, "a plain folder name")
    facts = _model_facts(own, fields)
    memory = fields.integer("memory_bytes", 1, _MEMORY_LIMIT)
    images = fields.integer("start_images", 1, SIDE_LIMIT)
    layers = []
    for one in fields.children("layers", 1, NODES_LIMIT):
        layers.append(one.text("name", _PRINTABLE, "a printable name"))
        one.finish()
    entry = _input(fields.child("input"))
    source = _map(fields.child("source"), memory, images)
    result = _map(fields.child("result"), memory, images)
    halves = source.shape[0] // entry.shape[0]
    if source.shape != (halves * entry.shape[0], *entry.shape[1:]) or halves > 2:
        raise fields.wrong("source", f"has shape {source.shape}, not that of the input")
    classes = int(np.prod(result.shape))
    model = ProgramModel(
        **facts,
        input=entry,
        classes=fields.integer("classes", classes, classes),
        program=fields.file_fact("program", own),
        memory_bytes=memory,
        start_images=images,
        source=source,
        result=result,
        layers=tuple(layers),
    )
    fields.finish()
    return model


def _map(fields: Fields, memory: int, images: int) -> MapFact:
    """A map whose every byte lies within ``memory`` bytes."""
    channels, height, width = fields.integers("shape", (3,), 1, SIDE_LIMIT)
    numbers = {key: fields.integer(key, key in _PHASES, memory) for key in _MAP_FIELDS}
    wide = tuple(_range(one, memory) for one in fields.children("wide", 0, NODES_LIMIT))
    found = MapFact(
        shape=(channels, height, width),
        signed=fields.take("signed", lambda v: type(v) is bool, "true or false"),
        wide=wide,
        **numbers,
    )
    fields.finish()
    if found.base + channels * found.stride > memory:
        raise fields.wrong("base", f"places the map beyond the program's {memory} bytes")
    held = (
        min(found.stride // 4, sum(stop - start for start, stop in wide)) if wide else found.stride
    )
    if any(4 * stop > found.stride for _, stop in wide) or _last_pixel(found, images) >= held:
        raise fields.wrong("stride", f"leaves no room for the {images} images of a start")
    return found


def _last_pixel(held: MapFact, images: int) -> int:
    """Bound of :meth:`MapFact.positions`."""
    rows, columns = held.row_phases, held.column_phases
    _, height, width = held.shape
    phase = (min(rows, height) - 1) * columns + min(columns, width) - 1
    row = (images - 1) * held.rows + (height - 1) // rows
    return phase * held.span + row * held.pitch + (width - 1) // columns


def _range(fields: Fields, memory: int) -> tuple[int, int]:
    start = fields.integer("start", 0, memory)
    stop = fields.integer("stop", start, memory)
    fields.finish()
    return start, stop
