"""The ``.admm`` file: a :class:`CompressedModel` in as few bytes as we can, and back bit for bit.

A file is ``magic and version (1 byte) · CRC-24 of the rest (3 bytes, big-endian) · coded data``.
The coded data are one range-coder stream of the network's nodes in order, a layer's weights right
after its shape. ``docs/container.md`` describes the format.

Decoding is bounded: what a file may make us allocate or compute is limited by its own length and
by the constants below, whatever it declares.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pyadmm.container.budget import SYMBOL_LIMIT, Budget
from pyadmm.container.geometry import Geometry
from pyadmm.container.known_networks import NodeOutline, Outline, find_outline, outlines_known
from pyadmm.container.range_coder import Adaptive, Coder, Decoder, Encoder, Sizes
from pyadmm.container.sparse import code_matrix, is_balanced
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.model import (
    INPUT,
    Add,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    Concat,
    InputSpec,
    MaxPool,
    Node,
    Requant,
)
from pyadmm.model.types import LayerSpec, Pair, QFormat, Sides, signed_bits

MAGIC = b"\xa2"
"""``a``, and the version of the format; no UTF-8 text starts with such a byte."""
EXTENDED = b"\xa3"
"""The same of networks that version 2 cannot describe (:func:`needs_extension`)."""
BALANCED = b"\xa4"
"""Version 3 with a coding for window-balanced layers, where that makes the file smaller."""
FILE_LIMIT = 1 << 28
NODE_LIMIT = 500
"""Format look-ups recurse through pools: the limit keeps them far from Python's."""
NAME_LIMIT = 255
SIZE_LIMIT = (1 << 31) - 1
WEIGHT_LIMIT = 1 << 28
FREE_WEIGHTS = 1 << 20
WEIGHTS_PER_BYTE = 1 << 10
"""A file of ``n`` bytes holds at most ``FREE_WEIGHTS + n * WEIGHTS_PER_BYTE`` weights."""
FREE_SYMBOLS = 1 << 20
SYMBOLS_PER_BYTE = 1 << 6
"""The same for the gaps between non-zeros in layers that are coded statically."""
CHANNEL_LIMIT = 1 << 22
MAP_LIMIT = 1 << 26
"""Values of one padded feature map."""
SCALAR_LIMIT = 1 << 19
"""Biases, multipliers and scales of a file: they are coded one by one."""
BIAS_LIMIT = 1 << 48

_HEAD = 4
_CRC_MASK = (1 << 24) - 1
_DAMAGED = "get the file again"
_KINDS = ("conv", "linear", "maxpool", "avgpool", "add", "concat")
_STEMS = ("conv", "fc", "pool", "pool", "add", "concat")
_EXTENDED_KINDS = 1
"""The last of the kinds, which only version 3 of the format has."""
PARTS = ("header", "positions", "levels", "biases")
_MODEL_NAMES = ("lenet5", "lenet", "alexnet", "vgg16", "resnet20", "resnet56", "model")
_SCALE_ONE, _SCALE_POWER, _SCALE_SINGLE, _SCALE_DOUBLE = range(4)


def encode(model: CompressedModel) -> bytes:
    """The file of ``model``.

    :raises PyadmmError: for models beyond the limits above.
    """
    return _encode(model)[0]


def _encode(model: CompressedModel) -> tuple[bytes, dict[str, float]]:
    """The file of the version that gives the fewest bytes, the older one of equals."""
    plain = encode_as(model, EXTENDED if needs_extension(model) else MAGIC)
    if not any(is_balanced(layer.spec.window_shape, layer.codes) for layer in model.layers):
        return plain
    return min(plain, encode_as(model, BALANCED), key=lambda file: len(file[0]))


def encode_as(model: CompressedModel, magic: bytes) -> tuple[bytes, dict[str, float]]:
    """The file of ``model`` in one version of the format, and the bits of its parts by name.

    :param magic: ``EXTENDED`` or ``BALANCED``, or ``MAGIC`` unless :func:`needs_extension`.
    :raises PyadmmError: for models beyond the limits above.
    """
    encoder = Encoder()
    session = _Session(encoder, WEIGHT_LIMIT, Budget(), magic != MAGIC, magic == BALANCED)
    session.model(model)
    # Zeros after the stream change nothing; they entitle a nearly empty network to its weights.
    owed = max(
        -(-(session.weights - FREE_WEIGHTS) // WEIGHTS_PER_BYTE),
        -(-(SYMBOL_LIMIT - session.budget.symbols - FREE_SYMBOLS) // SYMBOLS_PER_BYTE),
    )
    content = encoder.finish().ljust(owed - _HEAD, b"\0")
    return seal(content, magic), encoder.sections


def needs_extension(model: CompressedModel) -> bool:
    """Whether ``model`` has what only version 3 of the format describes.

    That is signed data, unequal strides or paddings, dilation, pools with oblong windows, padding
    or a border, and concatenation.
    """
    return model.input.signed or any(_is_extended(node) for node in model.nodes)


def _is_extended(node: Node) -> bool:
    if isinstance(node, CompressedLayer):
        spec = node.spec
        even = len({*spec.stride}) == len({*spec.padding}) == 1
        return not even or spec.dilation != (1, 1)
    if isinstance(node, MaxPool | AvgPool):
        border = node.border if isinstance(node, AvgPool) else None
        square = len({*node.kernel}) == len({*node.stride}) == 1
        return not square or any(node.padding) or border is not None
    return isinstance(node, Concat)


def seal(content: bytes, magic: bytes = MAGIC) -> bytes:
    """The file of coded data ``content``: magic, version and checksum before it.

    The checksum is the lower 24 bits of CRC-32.
    """
    return magic + (zlib.crc32(content) & _CRC_MASK).to_bytes(_HEAD - 1, "big") + content


def decode(data: bytes) -> CompressedModel:
    """The model that :func:`encode` was given.

    :raises PyadmmError: for anything else than such a file.
    """
    magic = bytes(data[:1])
    known, old = magic in (MAGIC, EXTENDED, BALANCED), data[:3] == b"ADM"
    if old or (data and data[0] >> 4 == MAGIC[0] >> 4 and not known):
        version = data[3] if old and len(data) > 3 else data[0] & 15
        raise PyadmmError(
            f".admm file: version must be {MAGIC[0] & 15} to {BALANCED[0] & 15}, not {version}; "
            "read it with the pyadmm that wrote it"
        )
    if not known:
        raise PyadmmError(f".admm file: starts with {bytes(data[:4])!r}, so it is none; {_DAMAGED}")
    if len(data) > FILE_LIMIT:
        raise PyadmmError(f".admm file: must be at most {FILE_LIMIT} bytes, not {len(data)}")
    content = bytes(data[_HEAD:])
    if seal(content, magic) != data:
        raise PyadmmError(f".admm file: checksum is wrong, it is damaged or truncated; {_DAMAGED}")
    weights = min(WEIGHT_LIMIT, FREE_WEIGHTS + WEIGHTS_PER_BYTE * len(data))
    symbols = min(SYMBOL_LIMIT, FREE_SYMBOLS + SYMBOLS_PER_BYTE * len(data))
    try:
        budget = Budget(symbols=symbols)
        session = _Session(Decoder(content), weights, budget, magic != MAGIC, magic == BALANCED)
        return session.model(None)
    except PyadmmError as error:
        raise PyadmmError(f".admm file: not a valid model: {error}") from error


def save(model: CompressedModel, path: str | Path) -> None:
    """Write ``model`` to the ``.admm`` file ``path``, atomically.

    :raises PyadmmError: for a model beyond the limits of the format.
    :raises OutputError: where the file cannot be written.
    """
    write_atomic(Path(path), encode(model))


def load(path: str | Path) -> CompressedModel:
    """Read the model in the ``.admm`` file ``path``.

    :raises PyadmmError: naming the file, where it cannot be read or is no valid file.
    """
    try:
        return decode(read_bytes(Path(path)))
    except PyadmmError as error:
        raise PyadmmError(f"{path}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """The bytes of the file ``path``, at most one more than a valid file may have."""
    try:
        with path.open("rb") as file:
            return file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise PyadmmError(f"cannot be read: {error.strerror}; check the path") from error


def breakdown(data: bytes) -> list[tuple[str, float]]:
    """Bits of each part of a file, in file order; they sum to its whole length.

    Parts are ``checksum`` (magic, version and CRC), ``header``, then for every layer
    ``NAME.header``, ``.positions``, ``.levels``, ``.biases``, and ``padding``: what rounding up to
    whole bytes adds (it may be slightly below 0 where the last interval holds a short number).
    """
    model = decode(data)
    _, sections = _encode(model)
    parts = [("checksum", 8.0 * _HEAD), *sections.items()]
    return [*parts, ("padding", 8.0 * len(data) - sum(bits for _, bits in parts))]


@dataclass
class _Session:
    """One pass over a model: what is being coded, and all that the coding has learnt so far."""

    coder: Coder
    weight_limit: int
    budget: Budget
    extended: bool = False
    balanced: bool = False
    weights: int = 0
    scalars: int = 0
    sizes: dict[str, Sizes] = field(default_factory=dict)
    hits: dict[str, Adaptive] = field(default_factory=dict)
    guesses: dict[str, int] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    letters: Adaptive = field(default_factory=lambda: Adaptive(_letter_prior(), step=4))
    shapes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    formats: dict[str, QFormat] = field(default_factory=dict)
    grain: int = -2
    alive: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    # --- scalars -----------------------------------------------------------------------------

    def flag(self, name: str, value: bool | None, likely: bool = True) -> bool:
        """A yes or no of field ``name``; the ``likely`` one is cheaper from the start."""
        prior = np.array([1.0, 7.0] if likely else [7.0, 1.0])
        model = self.hits.setdefault(name, Adaptive(prior))
        return bool(model.code(self.coder, None if value is None else int(value)))

    def size(self, name: str, value: int | None, limit: int = SIZE_LIMIT) -> int:
        """A whole number of field ``name``, ``0 … limit``."""
        likely = 1 if name == "offset" else 0
        model = self.sizes.setdefault(name, Sizes(f"field {name}", limit, likely=likely))
        return model.code(self.coder, value)

    def guessed(self, name: str, value: int | None, guess: int, limit: int = SIZE_LIMIT) -> int:
        """The same, for a field that usually is what it was last time (``guess`` at first)."""
        expected = self.guesses.get(name, guess)
        if self.flag(f"{name} as expected", None if value is None else value == expected):
            return expected
        coded = self.size(name, value, limit)
        self.guesses[name] = coded
        return coded

    def pair(self, name: str, value: Pair | None, guess: int) -> Pair:
        """A number for rows and columns; two where they differ, which version 3 allows."""
        rows = self.guessed(name, None if value is None else value[0], guess)
        equal = None if value is None else value[0] == value[1]
        if not self.extended or self.flag(f"{name} is square", equal):
            return rows, rows
        return rows, self.size(f"{name} of columns", None if value is None else value[1])

    def sides(self, name: str, value: Sides | None) -> Sides:
        """A number for all sides; one for each where they differ, which version 3 allows."""
        first = self.guessed(name, None if value is None else value[0], 0)
        if not self.extended or self.flag(
            f"{name} is even", None if value is None else len({*value}) == 1
        ):
            return first, first, first, first
        left, bottom, right = (
            self.size(f"{name} of a side", None if value is None else value[i]) for i in (1, 2, 3)
        )
        return first, left, bottom, right

    def text(self, value: str | None) -> str:
        """A name, UTF-8."""
        raw = None if value is None else value.encode("utf-8", "surrogatepass")
        length = self.size("name length", None if raw is None else len(raw), NAME_LIMIT)
        coded = bytes(
            self.letters.code(self.coder, None if raw is None else raw[i]) for i in range(length)
        )
        try:
            return coded.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise PyadmmError(f"a name is no UTF-8: {coded!r}") from error

    def real(self, name: str, value: float | None, expected: float) -> float:
        """A float64 of field ``name``: the expected one, or as many bytes as it needs."""
        if self.flag(f"{name} as expected", None if value is None else value == expected):
            return expected
        form = None if value is None else _scale_form(value)
        prior = self.hits.setdefault("scale form", Adaptive(np.array([8.0, 1.0, 2.0, 1.0])))
        form = prior.code(self.coder, form)
        if form == _SCALE_ONE:
            return 1.0
        if form == _SCALE_POWER:
            exponent = None if value is None else int(np.frexp(value)[1]) - 1 + 1074
            return float(np.ldexp(1.0, self.size("exponent", exponent, 2097) - 1074))
        layout, bits = (">f", 32) if form == _SCALE_SINGLE else (">d", 64)
        raw = None if value is None else int.from_bytes(struct.pack(layout, value), "big")
        return float(
            struct.unpack(layout, self.coder.bits(bits, raw).to_bytes(bits // 8, "big"))[0]
        )

    def series(self, name: str, values: Sequence[int] | None, usual: int, limit: int) -> list[int]:
        """Numbers of which there are 1, ``usual`` or, rarely, some other count."""
        count = None if values is None else len(values)
        count = self._count(f"{name} count", count, usual)
        return [self.size(name, None if values is None else values[i], limit) for i in range(count)]

    def _count(self, name: str, count: int | None, usual: int) -> int:
        """How many values of ``name`` follow: 1, ``usual`` or some other count."""
        coded = self._any_count(name, count, usual)
        self._require_scalars(coded)
        return coded

    def _any_count(self, name: str, count: int | None, usual: int) -> int:
        if self.flag(f"{name} is 1", None if count is None else count == 1):
            return 1
        if self.flag(f"{name} is usual", None if count is None else count == usual):
            return usual
        return self.size(name, count, 1 << 16)

    def number_format(self, value: QFormat | None, expected: QFormat) -> QFormat:
        """A :class:`QFormat`; one flag where it is as expected."""
        if self.flag("format as expected", None if value is None else value == expected):
            return expected
        bits = self.guessed("bits", None if value is None else value.bits, expected.bits, 48)
        signed = self.flag("signed", None if value is None else value.signed, likely=False)
        scale = self.real("scale", None if value is None else value.scale, expected.scale)
        return QFormat(bits, signed, scale)

    def requant(self, value: Requant | None, outputs: int, last: bool = False) -> Requant:
        """A :class:`Requant`; the identity, usual in the last node, takes one flag."""
        identity = Requant()
        where = "identity at the end" if last else "identity"
        if self.flag(where, None if value is None else value == identity, likely=last):
            return identity
        mult = None if value is None else value.mult
        coded = tuple(self.series("mult", mult, outputs, (1 << 16) - 1))
        if not coded:
            raise PyadmmError("a requantiser has no multiplier")
        exponent = None if value is None else value.shift - value.mult[0].bit_length() + 16
        prior = self.hits.setdefault("exponent", Adaptive(_exponent_prior()))
        exponent = prior.code(self.coder, exponent)
        return Requant(coded, exponent - 16 + coded[0].bit_length())

    # --- network -----------------------------------------------------------------------------

    def model(self, model: CompressedModel | None) -> CompressedModel:
        """The whole network."""
        self.coder.mark("header")
        outline = self._outline(model)
        name = self._model_name(model, outline)
        if outline is None:
            count = self.size("nodes", None if model is None else len(model.nodes), NODE_LIMIT)
        else:
            count = len(outline.nodes)
        entry = self._input(
            None if model is None else model.input, None if outline is None else outline.input_shape
        )
        self.shapes[INPUT] = entry.shape
        self.formats[INPUT] = entry.format
        self.alive[INPUT] = np.ones(entry.shape[0], bool)
        nodes: list[Node] = []
        for place in range(count):
            node = self._node(
                None if model is None else model.nodes[place],
                None if outline is None else outline.nodes[place],
                place == count - 1,
            )
            self._require_map(node.name, node.output_shape([self.shapes[s] for s in node.sources]))
            nodes.append(node)
        self.coder.mark("header")
        return CompressedModel(name, entry, tuple(nodes))

    def _outline(self, model: CompressedModel | None) -> Outline | None:
        """The well-known network that this one looks like, if any."""
        outlines = outlines_known()
        found = None if model is None else find_outline(model)
        weights = np.array([*(6.0 for _ in outlines), 1.0])
        place = self.coder.symbol(weights, found)
        return outlines[place] if place < len(outlines) else None

    def _model_name(self, model: CompressedModel | None, outline: Outline | None) -> str:
        value = None if model is None else model.name
        if outline is not None:
            if self.flag("model name", None if value is None else value == outline.name):
                return outline.name
            return self.text(value)
        known = self.coder.number(
            len(_MODEL_NAMES) + 1, None if value is None else _known_name(value)
        )
        return self.text(value) if known == len(_MODEL_NAMES) else _MODEL_NAMES[known]

    def _input(self, value: InputSpec | None, known: tuple[int, int, int] | None) -> InputSpec:
        shape = known or tuple(
            self.guessed("input size", None if value is None else value.shape[i], guess)
            for i, guess in enumerate((1, 28, 28))
        )
        assert len(shape) == 3
        if min(shape) < 1:
            raise PyadmmError(f"input: sizes must be at least 1, not {shape}")
        self._require_map(INPUT, shape)
        bits = self.guessed("input bits", None if value is None else value.format.bits, 4, 48)
        signed = self.flag(
            "input signed", None if value is None else value.format.signed, likely=False
        )
        plain = QFormat(bits, signed)
        scale = self.real("scale", None if value is None else value.format.scale, 1 / plain.hi)
        data_signed = self.extended and self.flag(
            "data signed", None if value is None else value.signed, likely=False
        )
        # Those of the same data with inverted sign bits are bytes.
        offset = self.series(
            "offset", None if value is None else value.unsigned.offset, shape[0], 255
        )
        shift = self.guessed(
            "input shift", None if value is None else value.shift, max(0, 8 - bits), 7
        )
        offsets = tuple(o - 128 if data_signed else o for o in offset)
        return InputSpec(shape, replace(plain, scale=scale), offsets, shift, data_signed)

    def _node(self, node: Node | None, outline: NodeOutline | None, last: bool) -> Node:
        self.coder.mark(
            "header" if not isinstance(node, CompressedLayer) else f"{node.name}.header"
        )
        if outline is not None:
            kind, name, first = outline.kind, outline.name, outline.source
        else:
            kinds = len(_KINDS) - (0 if self.extended else _EXTENDED_KINDS)
            prior = self.hits.setdefault("kind", Adaptive(np.ones(kinds)))
            kind = prior.code(self.coder, None if node is None else _kind(node))
            name = self._name(kind, None if node is None else node.name)
            previous = next(reversed(self.shapes))
            first = self._source(None if node is None else node.sources[0], previous)
        made: Node
        if kind < 2:
            assert node is None or isinstance(node, CompressedLayer)
            spec = outline.spec if outline is not None else None
            if spec is None:
                spec = self._spec(None if node is None else node.spec, kind, name, first)
            made = self._layer(node, spec, first, last)
        elif kind == 4:
            assert node is None or isinstance(node, Add)
            second = self._source(None if node is None else node.sources[1], INPUT)
            made = self._add(node, name, (first, second))
        elif kind == 5:
            assert node is None or isinstance(node, Concat)
            made = self._concat(node, name, first)
        elif outline is not None:
            made = MaxPool(name, first, 2, 2)
        else:
            assert node is None or isinstance(node, MaxPool | AvgPool)
            made = self._pool(node, kind, name, first)
        self.shapes[name] = made.output_shape([self.shapes[s] for s in made.sources])
        self.formats[name] = self.formats[first] if isinstance(made, MaxPool) else made.output
        if not isinstance(made, CompressedLayer):
            alive = [self.alive[s] for s in made.sources]
            joined = isinstance(made, Concat)
            self.alive[name] = np.concatenate(alive) if joined else np.logical_or.reduce(alive)
        return made

    def _name(self, kind: int, value: str | None) -> str:
        """Names that follow the pattern ``conv1, pool1, conv2, fc1 …`` take one flag."""
        stem = _STEMS[kind]
        self.counters[stem] = self.counters.get(stem, 0) + 1
        usual = f"{stem}{self.counters[stem]}"
        if self.flag("usual name", None if value is None else value == usual):
            name = usual
        else:
            name = self.text(value)
        if name in self.shapes:
            raise PyadmmError(f"the name {name!r} occurs twice")
        return name

    def _source(self, value: str | None, usual: str) -> str:
        if self.flag("usual source", None if value is None else value == usual):
            return usual
        earlier = list(self.shapes)
        back = None if value is None else earlier[::-1].index(value)
        back = self.size("source", back, NODE_LIMIT)
        if back >= len(earlier):
            raise PyadmmError("a node reads from no earlier node")
        return earlier[-1 - back]

    def _pool(self, node: MaxPool | AvgPool | None, kind: int, name: str, source: str) -> Node:
        kernel = self.pair("window", None if node is None else node.kernel, 2)
        stride = self.pair("pool stride", None if node is None else node.stride, 2)
        padding: Sides = (0, 0, 0, 0)
        if self.extended:
            padding = self.sides("pool padding", None if node is None else node.padding)
        if kind == 2:
            return MaxPool(name, source, kernel, stride, padding)
        assert node is None or isinstance(node, AvgPool)
        requant = self.requant(None if node is None else node.requant, self.shapes[source][0])
        output = self.number_format(None if node is None else node.output, self.formats[source])
        border = self._border(node) if self.extended else None
        return AvgPool(name, source, kernel, stride, requant, output, padding, border)

    def _border(self, pool: AvgPool | None) -> Sides | None:
        """The border of an average pool, if it has any."""
        absent = None if pool is None else pool.border is None
        if self.flag("no border", absent):
            return None
        return self.sides("border", None if pool is None else pool.border)

    def _concat(self, node: Concat | None, name: str, first: str) -> Concat:
        count = self.size("parts", None if node is None else len(node.sources), NODE_LIMIT)
        rest = [
            self._source(None if node is None else node.sources[i], first) for i in range(1, count)
        ]
        requants = [
            self.requant(None if node is None else node.requants[i], 1) for i in range(count)
        ]
        output = self.number_format(None if node is None else node.output, self.formats[first])
        return Concat(name, (first, *rest), tuple(requants), output)

    def _add(self, node: Add | None, name: str, sources: tuple[str, str]) -> Add:
        mult = [
            self.size("mult", None if node is None else node.mult[i], (1 << 16) - 1)
            for i in range(2)
        ]
        shift = self.size("shift", None if node is None else node.shift, 63)
        output = self.number_format(None if node is None else node.output, self.formats[sources[0]])
        return Add(name, sources, (mult[0], mult[1]), shift, output)

    def _layer(
        self, layer: CompressedLayer | None, spec: LayerSpec, source: str, last: bool
    ) -> CompressedLayer:
        name = spec.name
        self._require_map(f"layer {name}", _padded(spec))
        self.weights += spec.weights
        if self.weights > self.weight_limit:
            raise PyadmmError(
                f"layer {name}: {self.weights} weights so far exceed the {self.weight_limit} that "
                "a file of this length may hold"
            )
        weight_bits = self.guessed("weight bits", None if layer is None else layer.weight_bits, 3)
        if not 1 <= weight_bits <= 8:
            raise PyadmmError(f"layer {name}: weight bits must be 1 to 8, not {weight_bits}")
        requant = self.requant(None if layer is None else layer.requant, spec.outputs, last)
        scale = self._weight_scale(None if layer is None else layer.weight_scale, spec, requant)
        alive = self._alive_inputs(spec, source)
        geometry = Geometry(name, spec.window_shape, weight_bits, alive, self.balanced)
        codes = code_matrix(
            self.coder, geometry, None if layer is None else layer.codes, self.budget
        ).reshape(spec.weight_shape)
        self.coder.mark(f"{name}.biases")
        live: NDArray[np.bool_] = np.any(codes.reshape(spec.outputs, -1), axis=1)
        bias = self._biases(None if layer is None else layer.bias, live, requant)
        self.alive[name] = live | (bias != 0)
        self.coder.mark(f"{name}.header")
        made = CompressedLayer(
            spec, source, codes, weight_bits, bias, requant, self.formats[source], scale
        )
        expected = self._expected_output(made)
        output = self.number_format(None if layer is None else layer.output, expected)
        return replace(made, output=output)

    def _weight_scale(
        self, scales: tuple[float, ...] | None, spec: LayerSpec, requant: Requant
    ) -> tuple[float, ...]:
        """One scale, one per output, or (count 0) the first, from which multipliers give all."""
        count = None if scales is None else len(scales)
        if scales is not None and len(scales) > 1:
            count = 0 if scales == requant.channel_scales(scales[0], spec.outputs) else count
        count = self._count("scale count", count, spec.outputs)
        found = tuple(
            self.real("weight scale", None if scales is None else scales[i], 1.0)
            for i in range(max(count, 1))
        )
        if count:
            return found
        self._require_scalars(spec.outputs)
        return requant.channel_scales(found[0], spec.outputs)

    def _expected_output(self, layer: CompressedLayer) -> QFormat:
        """Raw accumulators as wide as they must be, or activations as wide as the last ones."""
        form = self.formats[layer.source]
        scale = layer.requant.output_scale(layer.weight_scale[0] * form.scale)
        if not (scale > 0 and np.isfinite(scale)):
            scale = 1.0
        if layer.requant == Requant():
            magnitude = layer.accumulator_magnitude(form.max_magnitude)
            bits = min(max(signed_bits(magnitude), 2), 48)
            return QFormat(bits, True, scale)
        return QFormat(self.guesses.get("bits", form.bits), False, scale)

    def _alive_inputs(self, spec: LayerSpec, source: str) -> NDArray[np.bool_]:
        """Which of the ``C // groups`` channels of a window may matter (all, with groups)."""
        alive = self.alive[source]
        return alive if spec.groups == 1 else np.ones(spec.kernel_channels, bool)

    def _spec(self, spec: LayerSpec | None, kind: int, name: str, source: str) -> LayerSpec:
        shape = self.shapes[source]

        def of(get: Callable[[LayerSpec], int]) -> int | None:
            return None if spec is None else get(spec)

        outputs = self.size("outputs", of(lambda s: s.outputs))
        if _KINDS[kind] == "linear":
            channels, height, width = shape
            return LayerSpec(name, "linear", (outputs, channels * height * width), shape)
        rows = self.guessed("kernel", of(lambda s: s.kernel[0]), 5)
        if self.flag("square", None if spec is None else spec.kernel[0] == spec.kernel[1]):
            columns = rows
        else:
            columns = self.size("kernel columns", of(lambda s: s.kernel[1]))
        stride = self.pair("stride", None if spec is None else spec.stride, 1)
        padding = self.sides("padding", None if spec is None else spec.padding)
        groups = self.guessed("groups", of(lambda s: s.groups), 1)
        dilation = (1, 1)
        if self.extended:
            dilation = self.pair("dilation", None if spec is None else spec.dilation, 1)
        if groups < 1 or shape[0] % groups:
            raise PyadmmError(f"layer {name}: {groups} groups do not split {shape[0]} channels")
        weight_shape = (outputs, shape[0] // groups, rows, columns)
        return LayerSpec(name, "conv", weight_shape, shape, stride, padding, groups, dilation)

    def _biases(
        self, bias: NDArray[np.int64] | None, live: NDArray[np.bool_], requant: Requant
    ) -> NDArray[np.int64]:
        """Biases: common trailing zeros once, then per output zero or not, sign, magnitude."""
        self._require_scalars(len(live))
        values = None if bias is None else [int(b) for b in bias]
        shift = self._bias_shift(None if values is None else _trailing_zeros(values), requant)
        zero = {True: Adaptive(np.array([3.0, 1.0])), False: Adaptive(np.array([1.0, 15.0]))}
        sign = Adaptive(np.ones(2))
        magnitudes = Sizes("a bias", BIAS_LIMIT - 1, likely=5)
        result = np.zeros(len(live), np.int64)
        for i, is_live in enumerate(live.tolist()):
            value = None if values is None else values[i]
            if zero[is_live].code(self.coder, None if value is None else int(value == 0)):
                continue
            negative = sign.code(self.coder, None if value is None else int(value < 0))
            magnitude = magnitudes.code(
                self.coder, None if value is None else (abs(value) >> shift) - 1
            )
            value = (-1 if negative else 1) * ((magnitude + 1) << shift)
            if abs(value) > BIAS_LIMIT:
                raise PyadmmError(f"a bias must be within ±{BIAS_LIMIT}, not {value}")
            result[i] = value
        return result

    def _bias_shift(self, value: int | None, requant: Requant) -> int:
        """Common trailing zeros; layers round their biases to the same share of an output step."""
        exponent = requant.shift - requant.mult[0].bit_length()
        guess = max(0, exponent + self.grain)
        if self.flag("bias shift as expected", None if value is None else value == guess):
            return guess
        coded = self.size("bias shift", value, 47)
        self.grain = coded - exponent
        return coded

    def _require_scalars(self, count: int) -> None:
        self.scalars += count
        if self.scalars > SCALAR_LIMIT:
            raise PyadmmError(f"more than {SCALAR_LIMIT} biases, multipliers and scales")

    def _require_map(self, name: str, shape: tuple[int, int, int]) -> None:
        channels, height, width = shape
        if channels > CHANNEL_LIMIT or channels * height * width > MAP_LIMIT:
            raise PyadmmError(
                f"{name}: a map of {shape} exceeds the limit of {CHANNEL_LIMIT} channels or "
                f"{MAP_LIMIT} values"
            )


def _letter_prior() -> NDArray[np.float64]:
    prior = np.ones(256)
    prior[list(b"abcdefghijklmnopqrstuvwxyz0123456789._-")] = 16.0
    return prior


def _exponent_prior() -> NDArray[np.float64]:
    """Of a requantiser's ``shift - bits of mult + 16``: mostly a ratio of 1/256 to 1."""
    prior = np.ones(64)
    prior[16:24] += 15.0
    return prior


def _known_name(name: str) -> int:
    return _MODEL_NAMES.index(name) if name in _MODEL_NAMES else len(_MODEL_NAMES)


def _kind(node: Node) -> int:
    if isinstance(node, CompressedLayer):
        return _KINDS.index(node.spec.kind)
    return {MaxPool: 2, AvgPool: 3, Add: 4, Concat: 5}[type(node)]


def _scale_form(value: float) -> int:
    if value == 1.0:
        return _SCALE_ONE
    if value > 0 and np.isfinite(value) and np.frexp(value)[0] == 0.5:
        return _SCALE_POWER
    packed = struct.pack(">d", value)
    with np.errstate(over="ignore"):
        single = float(np.float32(value))
    return _SCALE_SINGLE if struct.pack(">d", single) == packed else _SCALE_DOUBLE


def _padded(spec: LayerSpec) -> tuple[int, int, int]:
    channels, height, width = spec.input_shape
    return channels, height + sum(spec.row_padding), width + sum(spec.column_padding)


def _trailing_zeros(values: list[int]) -> int:
    """How often all ``values`` can be halved; 0 where all are 0."""
    union = 0
    for value in values:
        union |= abs(value)
    return (union & -union).bit_length() - 1 if union else 0


# --- command line --------------------------------------------------------------------------------
