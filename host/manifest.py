"""Reading ``manifest.json``, the one place that the driver's knowledge of a design comes from.

Standard library only. A manifest may be truncated or hostile: every field is checked for
presence, type and range, and the first bad one raises :class:`ManifestError` naming it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ManifestError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = "pyadmm-manifest"
VERSION = 1
MANIFEST_NAME = "manifest.json"
REGISTERS = ("ap_ctrl", "mode", "count", "ident", "cycles")
MODES = ("infer", "load", "read_back")
KERNELS = ("hls", "rtl")

_SIZE_LIMIT = 4 << 20
_FILE_LIMIT = 1 << 30
_SIDE_LIMIT = 1 << 16
_WORDS_LIMIT = 1 << 26
_MODELS_LIMIT = 16
_NODES_LIMIT = 4096
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")
_INSTANCE = re.compile(r"[A-Za-z_][A-Za-z0-9_/]{0,199}")
_VLNV = re.compile(r"[\w.-]+:[\w.-]+:[\w.-]+:[\w.-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileFact:
    """A file of the bundle and the sha256 digest that it must have."""

    path: Path
    sha256: str

    def read(self) -> bytes:
        """Content of the file.

        :raises ManifestError: if it is missing, too large, or has another digest.
        """
        try:
            size = self.path.stat().st_size
            if size > _FILE_LIMIT:
                raise ManifestError(f"{self.path.name}: {size} bytes exceed {_FILE_LIMIT}")
            content = self.path.read_bytes()
        except OSError as error:
            raise ManifestError(f"{self.path.name}: cannot be read: {error}") from error
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.sha256:
            raise ManifestError(
                f"{self.path.name}: sha256 is {digest[:16]}…, but the manifest says "
                f"{self.sha256[:16]}…; the file is damaged or of another model: copy the whole "
                "bundle again"
            )
        return content


@dataclass(frozen=True)
class LayerFact:
    """Where the words of one layer lie in the weight image."""

    name: str
    offset: int
    words: int


@dataclass(frozen=True)
class ModelFact:
    """One set of weights for the design, with its test vectors and its CPU reference.

    :param words: length of the weight image in 32-bit words.
    :param logit_scale: real value of one unit of the integer logits.
    :param images: ``.npy`` of ``(N, C, H, W)``; ``logits`` int32 ``(N, classes)``;
        ``labels`` int64 ``(N,)``.
    :param nodes: the network for :class:`host.cpu.Network`; its arrays are in ``network``.
    """

    name: str
    weights: FileFact
    words: int
    logit_scale: float
    layers: tuple[LayerFact, ...]
    images: FileFact
    logits: FileFact
    labels: FileFact
    network: FileFact
    nodes: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class DesignFact:
    """The design of the bitstream, as the manifest describes it.

    :param digest: sha256 of the build plan; ``ident`` is its first 32 bits.
    :param kernel: ``hls`` or ``rtl``.
    :param ip: instance name of the accelerator in the block design; ``vlnv`` its type.
    :param dma: instance name of the AXI DMA.
    :param bitfile: ``.bit`` in the bundle, or None where none was built.
    """

    digest: str
    ident: int
    kernel: str
    ip: str
    vlnv: str
    dma: str
    bitfile: Path | None


@dataclass(frozen=True)
class Manifest:
    """All that the driver knows about a bundle.

    :param input_shape: ``(C, H, W)`` of an image.
    :param input_dtype: ``uint8``, or ``int8``, whose sign bits :meth:`stream_bytes` inverts.
    :param packed: whether the input stream takes the clamped integers instead of bytes, each in
        ``pixel_bits`` bits.
    :param input_words: 32-bit words of one image on the input stream; ``output_words`` of one
        result on the output stream, which are the logits.
    :param input_offset: ``offset[c]`` and ``input_shift``, ``input_lo``, ``input_hi`` of
        ``clamp((byte - offset[c]) >> shift, lo, hi)``, which the hardware applies to these bytes.
    :param clock_index: number of the PS clock that feeds the design; ``clock_mhz`` its rate.
    """

    path: Path
    board: str
    network: str
    input_shape: tuple[int, int, int]
    input_dtype: str
    classes: int
    input_offset: tuple[int, ...]
    input_shift: int
    input_lo: int
    input_hi: int
    packed: bool
    pixel_bits: int
    input_words: int
    output_words: int
    design: DesignFact
    clock_index: int
    clock_mhz: float
    registers: dict[str, int]
    modes: dict[str, int]
    models: tuple[ModelFact, ...]
    curves: FileFact | None

    def stream_bytes(self, images: NDArray[Any]) -> NDArray[np.uint8]:
        """``images`` of type :attr:`input_dtype` as the bytes that the hardware reads."""
        if self.input_dtype == "uint8":
            return images
        return images.view(np.uint8) ^ np.uint8(128)

    def model(self, name: str) -> ModelFact:
        """The model called ``name``."""
        for model in self.models:
            if model.name == name:
                return model
        names = ", ".join(model.name for model in self.models)
        raise ManifestError(f"{self.path.name}: no model {name!r}; the bundle has {names}")


class _Fields:
    """One JSON object under inspection; ``where`` is its dotted name in messages."""

    def __init__(self, file: str, where: str, value: Any) -> None:
        self.file, self.where = file, where
        if not isinstance(value, dict):
            raise self.wrong("", "must be an object")
        self.value: dict[str, Any] = value
        self.left = set(value)

    def wrong(self, key: str, what: str) -> ManifestError:
        """The error that the field ``key`` makes."""
        name = ".".join(part for part in (self.where, key) if part) or "the document"
        return ManifestError(f"{self.file}: field {name} {what}")

    def take(self, key: str, holds: Callable[[Any], bool], what: str) -> Any:
        """The value of ``key``, which must exist and for which ``holds`` must be true."""
        if key not in self.value:
            raise self.wrong(key, "is missing")
        self.left.discard(key)
        value = self.value[key]
        if not holds(value):
            raise self.wrong(key, f"must be {what}, not {str(value)[:60]!r}")
        return value

    def child(self, key: str) -> _Fields:
        """The object at ``key``."""
        value = self.take(key, lambda v: isinstance(v, dict), "an object")
        return _Fields(self.file, ".".join(filter(None, (self.where, key))), value)

    def children(self, key: str, least: int, most: int) -> list[_Fields]:
        """The objects in the list at ``key``, ``least`` to ``most`` of them."""
        values = self.take(
            key,
            lambda v: isinstance(v, list) and least <= len(v) <= most,
            f"a list of {least} to {most} objects",
        )
        prefix = ".".join(filter(None, (self.where, key)))
        return [_Fields(self.file, f"{prefix}[{i}]", value) for i, value in enumerate(values)]

    def integer(self, key: str, least: int, most: int) -> int:
        """A whole number in ``least … most``."""
        holds: Callable[[Any], bool] = lambda v: type(v) is int and least <= v <= most  # noqa: E731
        return int(self.take(key, holds, f"a whole number from {least} to {most}"))

    def integers(self, key: str, sizes: tuple[int, ...], least: int, most: int) -> tuple[int, ...]:
        """A list, as long as one of ``sizes``, of whole numbers in ``least … most``."""

        def holds(value: Any) -> bool:
            return (
                isinstance(value, list)
                and len(value) in sizes
                and all(type(v) is int and least <= v <= most for v in value)
            )

        lengths = " or ".join(map(str, sizes))
        return tuple(self.take(key, holds, f"a list of {lengths} numbers from {least} to {most}"))

    def text(self, key: str, pattern: re.Pattern[str], what: str) -> str:
        """A string that ``pattern`` matches whole."""

        def holds(value: Any) -> bool:
            return isinstance(value, str) and pattern.fullmatch(value) is not None

        return str(self.take(key, holds, what))

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of ``choices``."""
        return str(self.take(key, lambda v: v in choices, f"one of {', '.join(choices)}"))

    def file_fact(self, key: str, folder: Path) -> FileFact:
        """The object ``{"file": …, "sha256": …}`` at ``key``."""
        fields = self.child(key)
        name = fields.text("file", _PLAIN_NAME, "a plain file name")
        digest = fields.text("sha256", _SHA256, "64 lower-case hexadecimal digits")
        fields.finish()
        return FileFact(folder / name, digest)

    def finish(self) -> None:
        """Refuse fields that nobody asked for."""
        if self.left:
            raise self.wrong(sorted(self.left)[0], f"is unknown in version {VERSION}")


def read_manifest(path: str | Path) -> Manifest:
    """Read and validate a manifest; ``path`` is the file or the bundle's folder.

    :raises ManifestError: names the file and the first field that is wrong.
    """
    path = Path(path)
    if path.is_dir():
        path = path / MANIFEST_NAME
    document = _Fields(path.name, "", _load_json(path))
    document.take("format", lambda v: v == FORMAT, repr(FORMAT))
    document.take(
        "version",
        lambda v: type(v) is int and v == VERSION,
        f"{VERSION}; install the matching pyadmm-host",
    )
    manifest = _manifest(path, document)
    document.finish()
    return manifest


def _load_json(path: Path) -> Any:
    def refuse(constant: str) -> None:
        raise ManifestError(f"{path.name}: {constant} is not a number that JSON knows")

    try:
        with path.open("rb") as file:
            content = file.read(_SIZE_LIMIT + 1)
        if len(content) > _SIZE_LIMIT:
            raise ManifestError(f"{path.name}: is larger than {_SIZE_LIMIT} bytes")
        return json.loads(content.decode("utf-8"), parse_constant=refuse)
    except OSError as error:
        raise ManifestError(f"{path.name}: cannot be read: {error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError, ValueError) as error:
        raise ManifestError(f"{path.name}: is not JSON, perhaps truncated: {error}") from error


def _manifest(path: Path, document: _Fields) -> Manifest:
    name = re.compile(r"[ -~]{1,200}")
    board = document.text("board", name, "a printable name")
    network = document.text("network", name, "a printable name")
    entry = document.child("input")
    channels, height, width = entry.integers("shape", (3,), 1, _SIDE_LIMIT)
    dtype = entry.choice("dtype", ("uint8", "int8"))
    offset = entry.integers("offset", (1, channels), 0, 255)
    shift = entry.integer("shift", 0, 7)
    lo, hi = (entry.integer(key, -256, 255) for key in ("lo", "hi"))
    entry.finish()
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
    expected = -(-channels * height * width * pixel_bits // word_bits) * (word_bits // 32)
    input_words = streams.integer("input_words", expected, expected)
    classes = document.integer("classes", 1, _SIDE_LIMIT)
    output_words = streams.integer("output_words", classes, classes)
    streams.finish()
    clock = document.child("clock")
    clock_index = clock.integer("index", 0, 3)
    clock_mhz = clock.take(
        "mhz", lambda v: type(v) in (int, float) and 1 <= v <= 1000, "a rate from 1 to 1000 MHz"
    )
    clock.finish()
    return Manifest(
        path=path,
        board=board,
        network=network,
        input_shape=(channels, height, width),
        input_dtype=dtype,
        classes=classes,
        input_offset=offset,
        input_shift=shift,
        input_lo=lo,
        input_hi=hi,
        packed=packed,
        pixel_bits=pixel_bits,
        input_words=input_words,
        output_words=output_words,
        design=_design(path.parent, document.child("design")),
        clock_index=clock_index,
        clock_mhz=float(clock_mhz),
        registers=_numbers(document.child("registers"), REGISTERS, 0xFFFC, 4),
        modes=_numbers(document.child("modes"), MODES, 255, 1),
        models=_models(path.parent, document),
        curves=None if _is_null(document, "curves") else document.file_fact("curves", path.parent),
    )


def _is_null(fields: _Fields, key: str) -> bool:
    """Whether ``key`` is there and null; it may be null or an object."""
    return fields.take(key, lambda v: v is None or isinstance(v, dict), "null or an object") is None


def _numbers(fields: _Fields, names: tuple[str, ...], most: int, step: int) -> dict[str, int]:
    """One distinct multiple of ``step`` per name."""
    numbers: dict[str, int] = {}
    for name in names:
        taken = set(numbers.values())

        def holds(value: Any, taken: set[int] = taken) -> bool:
            return (
                type(value) is int
                and 0 <= value <= most
                and value % step == 0
                and value not in taken
            )

        numbers[name] = fields.take(name, holds, f"a multiple of {step} up to {most}, used once")
    fields.finish()
    return numbers


def _design(folder: Path, fields: _Fields) -> DesignFact:
    digest = fields.text("digest", _SHA256, "64 lower-case hexadecimal digits")
    ident = int(digest[:8], 16)
    bitfile = fields.take(
        "bitfile",
        lambda v: v is None or (isinstance(v, str) and _PLAIN_NAME.fullmatch(v) is not None),
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
        dma=fields.text("dma", _INSTANCE, "an instance name"),
        bitfile=None if bitfile is None else folder / bitfile,
    )
    fields.finish()
    return design


def _models(folder: Path, document: _Fields) -> tuple[ModelFact, ...]:
    models = tuple(
        _model(folder, fields) for fields in document.children("models", 1, _MODELS_LIMIT)
    )
    names = [model.name for model in models]
    if len(set(names)) != len(names):
        raise ManifestError(f"{document.file}: field models has two models of one name")
    return models


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < 1e30


def _model(folder: Path, fields: _Fields) -> ModelFact:
    words = fields.integer("words", 1, _WORDS_LIMIT)
    layers = []
    position = 0
    for entry in fields.children("layers", 1, _NODES_LIMIT):
        name = entry.text("name", _PLAIN_NAME, "a plain layer name")
        entry.integer("offset", position, position)
        length = entry.integer("words", 1, words - position)
        entry.finish()
        layers.append(LayerFact(name, position, length))
        position += length
    if position != words:
        raise ManifestError(
            f"{fields.file}: field {fields.where}.layers covers {position} of {words} words"
        )
    model = ModelFact(
        name=fields.text("name", _PLAIN_NAME, "a plain model name"),
        weights=fields.file_fact("weights", folder),
        words=words,
        logit_scale=float(fields.take("logit_scale", _is_positive, "a positive number")),
        layers=tuple(layers),
        images=fields.file_fact("images", folder),
        logits=fields.file_fact("logits", folder),
        labels=fields.file_fact("labels", folder),
        network=fields.file_fact("cpu_arrays", folder),
        nodes=tuple(node.value for node in fields.children("cpu_nodes", 1, _NODES_LIMIT)),
    )
    fields.finish()
    return model
