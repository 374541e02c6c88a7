"""One pass over a network's nodes, for writing and for reading: shapes, formats, weights, biases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pyadmm.container.budget import Budget
from pyadmm.container.fields import FieldCoder
from pyadmm.container.geometry import Geometry
from pyadmm.container.known_networks import NodeOutline, Outline, find_outline, outlines_known
from pyadmm.container.range_coder import Adaptive, Sizes
from pyadmm.container.sparse import code_matrix
from pyadmm.core.errors import PyadmmError
from pyadmm.model import (
    INPUT,
    Add,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    Concat,
    InputSpec,
    Lookup,
    MaxPool,
    Node,
    Product,
    Requant,
)
from pyadmm.model.pointwise import LOOKUP_BITS
from pyadmm.model.types import LayerSpec, QFormat, Sides, signed_bits

NODE_LIMIT = 500
"""Format look-ups recurse through pools: the limit keeps them far from Python's."""
CHANNEL_LIMIT = 1 << 22
MAP_LIMIT = 1 << 26
"""Values of one padded feature map."""
BIAS_LIMIT = 1 << 48
_KINDS = ("conv", "linear", "maxpool", "avgpool", "add", "concat", "lookup", "product")
_STEMS = ("conv", "fc", "pool", "pool", "add", "concat", "act", "mul")
_PLAIN_KINDS, _EXTENDED_KINDS = 5, 6
"""How many of the kinds version 2 of the format has, and how many versions 3 and 4."""
_MODEL_NAMES = ("lenet5", "lenet", "alexnet", "vgg16", "resnet20", "resnet56", "model")


@dataclass(kw_only=True)
class NetworkCoder(FieldCoder):
    """One pass over a network: what is being coded, and all that the coding has learnt so far.

    :param weight_limit: most weights of the network, pruned ones included.
    :param budget: work that the positions may take.
    :param balanced: whether the version of the file has the coding of window-balanced layers.
    :param tabled: whether it has tables and products of maps.
    :param map_limit: most values of one padded feature map.
    """

    weight_limit: int
    budget: Budget
    balanced: bool = False
    tabled: bool = False
    map_limit: int = MAP_LIMIT
    weights: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    formats: dict[str, QFormat] = field(default_factory=dict)
    bias_step: int = -2
    active: dict[str, NDArray[np.bool_]] = field(default_factory=dict)

    def model(self, model: CompressedModel | None) -> CompressedModel:
        """Code the whole network, node by node."""
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
        self.active[INPUT] = np.ones(entry.shape[0], bool)
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
            kinds = _EXTENDED_KINDS if self.extended else _PLAIN_KINDS
            kinds = len(_KINDS) if self.tabled else kinds
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
        elif kind == 6:
            assert node is None or isinstance(node, Lookup)
            made = self._lookup(node, name, first)
        elif kind == 7:
            assert node is None or isinstance(node, Product)
            second = self._source(None if node is None else node.sources[1], INPUT)
            made = self._product(node, name, (first, second))
        elif outline is not None:
            made = MaxPool(name, first, 2, 2)
        else:
            assert node is None or isinstance(node, MaxPool | AvgPool)
            made = self._pool(node, kind, name, first)
        self.shapes[name] = made.output_shape([self.shapes[s] for s in made.sources])
        self.formats[name] = self.formats[first] if isinstance(made, MaxPool) else made.output
        if not isinstance(made, CompressedLayer):
            active = [self.active[s] for s in made.sources]
            joined = isinstance(made, Concat)
            self.active[name] = np.concatenate(active) if joined else np.logical_or.reduce(active)
            if isinstance(made, Lookup) and made.table[-made.first] != 0:
                self.active[name][:] = True  # what is always 0 becomes another number
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

    def _lookup(self, node: Lookup | None, name: str, source: str) -> Lookup:
        """A table: the output's format, then every entry's step from the one before."""
        form = self.formats[source]
        if form.bits > LOOKUP_BITS:
            raise PyadmmError(f"lookup {name}: reads {form.bits} bits, {LOOKUP_BITS} are the most")
        output = self.number_format(None if node is None else node.output, form)
        self.require_scalars(1 << form.bits)
        table: list[int] = []
        last = 0
        for place in range(1 << form.bits):
            step = None if node is None else _zigzag(node.table[place] - last)
            last += _from_zigzag(self.size("table step", step))
            table.append(last)
        return Lookup(name, source, form.lo, tuple(table), output)

    def _product(self, node: Product | None, name: str, sources: tuple[str, str]) -> Product:
        requant = self.requant(None if node is None else node.requant, 1)
        output = self.number_format(None if node is None else node.output, self.formats[sources[0]])
        return Product(name, sources, requant, output)

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
        active = self._active_inputs(spec, source)
        geometry = Geometry(name, spec.window_shape, weight_bits, active, self.balanced)
        codes = code_matrix(
            self.coder, geometry, None if layer is None else layer.codes, self.budget
        ).reshape(spec.weight_shape)
        self.coder.mark(f"{name}.biases")
        live: NDArray[np.bool_] = np.any(codes.reshape(spec.outputs, -1), axis=1)
        bias = self._biases(None if layer is None else layer.bias, live, requant)
        self.active[name] = live | (bias != 0)
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
        count = self.count("scale count", count, spec.outputs)
        found = tuple(
            self.real("weight scale", None if scales is None else scales[i], 1.0)
            for i in range(max(count, 1))
        )
        if count:
            return found
        self.require_scalars(spec.outputs)
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

    def _active_inputs(self, spec: LayerSpec, source: str) -> NDArray[np.bool_]:
        """Which of the ``C // groups`` channels of a window may matter (all, with groups)."""
        active = self.active[source]
        return active if spec.groups == 1 else np.ones(spec.kernel_channels, bool)

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
        self.require_scalars(len(live))
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
        guess = max(0, exponent + self.bias_step)
        if self.flag("bias shift as expected", None if value is None else value == guess):
            return guess
        coded = self.size("bias shift", value, 47)
        self.bias_step = coded - exponent
        return coded

    def _require_map(self, name: str, shape: tuple[int, int, int]) -> None:
        channels, height, width = shape
        if channels > CHANNEL_LIMIT or channels * height * width > self.map_limit:
            raise PyadmmError(
                f"{name}: a map of {shape} exceeds the limit of {CHANNEL_LIMIT} channels or "
                f"{self.map_limit} values"
            )


def _known_name(name: str) -> int:
    return _MODEL_NAMES.index(name) if name in _MODEL_NAMES else len(_MODEL_NAMES)


def _kind(node: Node) -> int:
    if isinstance(node, CompressedLayer):
        return _KINDS.index(node.spec.kind)
    return {MaxPool: 2, AvgPool: 3, Add: 4, Concat: 5, Lookup: 6, Product: 7}[type(node)]


def _zigzag(value: int) -> int:
    """A whole number without its sign: 0, -1, 1, -2, 2 … become 0, 1, 2, 3, 4 …"""
    return 2 * value if value >= 0 else -2 * value - 1


def _from_zigzag(value: int) -> int:
    """The inverse of :func:`_zigzag`."""
    return value // 2 if value % 2 == 0 else -(value + 1) // 2


def _padded(spec: LayerSpec) -> tuple[int, int, int]:
    channels, height, width = spec.input_shape
    return channels, height + sum(spec.row_padding), width + sum(spec.column_padding)


def _trailing_zeros(values: list[int]) -> int:
    """How often all ``values`` can be halved; 0 where all are 0."""
    union = 0
    for value in values:
        union |= abs(value)
    return (union & -union).bit_length() - 1 if union else 0
