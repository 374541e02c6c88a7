"""The integer model as an ONNX graph, for users of other compilers and run times.

Two forms, both equal to :meth:`CompressedModel.run` integer by integer:

* **integer** (:func:`export_onnx`): standard operators only. ``Conv`` and ``MatMul`` work on
  ``float32`` numbers that are integers below ``2**24``, so every partial sum is exact in any order;
  where a layer's accumulators could reach further, its input is split into digits that keep them
  below. Biases, multipliers and shifts are ``int64``. ``ConvInteger`` and ``MatMulInteger`` are not
  used: they take 8 bits only, and some kernels saturate sums of two products at 16 bits.
* **QONNX** (:func:`export_qonnx`): ``float32`` tensors of integers, ``Quant`` nodes (scale 1) that
  say the bits of weights and activations. Where ``float32`` would round a requantised value to
  another integer, that requantiser computes in ``float64``.

Needs the package ``onnx`` (``pip install 'pyadmm[export]'``).
"""

from __future__ import annotations

import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyadmm import __version__
from pyadmm.core.errors import MissingToolError, PyadmmError
from pyadmm.model.input_spec import INPUT
from pyadmm.model.integer import CompressedModel
from pyadmm.model.joins import Add, Concat
from pyadmm.model.pointwise import Lookup, Product
from pyadmm.model.pooling import AvgPool, MaxPool
from pyadmm.model.requant import Requant
from pyadmm.model.types import QFormat
from pyadmm.model.weighted_layer import CompressedLayer

OPSET = 17
IR_VERSION = 8
QONNX_DOMAIN = "qonnx.custom_op.general"
IMAGES, LOGITS = "images", "logits"
"""Names of the graph's input and output."""

_FLOAT32_EXACT = 1 << 24
_MOST_STEPS = 1 << 22
CHECK_IMAGES = 16


def export_onnx(model: CompressedModel) -> bytes:
    """``model`` in integer form: byte ``images`` ``(N, C, H, W)`` in, int64 ``logits`` ``(N, O)`` out.

    :raises PyadmmError: for a layer with more weights than its products can be summed exactly.
    :raises MissingToolError: without the package ``onnx``.
    """
    return _IntegerForm(model).build()


def export_qonnx(model: CompressedModel, batch: int = 1) -> bytes:
    """``model`` in QONNX form: float32 ``images`` of byte values in, float32 integer ``logits`` out.

    :param batch: the graph's fixed batch size, which QONNX tools want to know.
    :raises PyadmmError: for a layer whose accumulators can pass ``2**24``.
    :raises MissingToolError: without the package ``onnx``.
    """
    if batch < 1:
        raise PyadmmError(f"export: batch must be at least 1, not {batch}")
    return _QonnxForm(model, batch).build()


def run_onnx(
    graph: bytes, images: NDArray[np.uint8], batch: int | None = None
) -> NDArray[np.int64]:
    """Logits that onnxruntime computes with the integer form.

    :param batch: images that it is given at once; all of them by default.
    """
    session = runtime_session(graph)
    size = batch or max(len(images), 1)
    parts = [images[i : i + size] for i in range(0, max(len(images), 1), size)]
    return np.concatenate([session.run([LOGITS], {IMAGES: part})[0] for part in parts])


def runtime_session(graph: bytes | str) -> Any:
    """An onnxruntime session on the CPU whose threads sleep while they wait.

    :param graph: a serialised model or the path of one.
    """
    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = (
        4  # what it refuses, it raises; its warnings are not about our work
    )
    return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def run_qonnx(graph: bytes, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Logits that the executor of the package ``qonnx`` computes; the batch must be the graph's."""
    onnx = package("onnx")
    wrapper = package("qonnx.core.modelwrapper").ModelWrapper(onnx.load_from_string(graph))
    execute = package("qonnx.core.onnx_exec").execute_onnx
    logits = execute(wrapper, {IMAGES: images.astype(np.float32)})[LOGITS]
    return np.asarray(logits).astype(np.int64)


def package(name: str) -> Any:
    """Import an optional package.

    :raises MissingToolError: where it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingToolError(
            f"export: the package {name.partition('.')[0]} cannot be imported ({error}); "
            "install it with: pip install 'pyadmm[export]'"
        ) from error


class _Form(ABC):
    """Builds a graph; node ``i`` of the model writes the tensor ``i/name``."""

    int64, float32, float64 = np.dtype(np.int64), np.dtype(np.float32), np.dtype(np.float64)

    def __init__(self, model: CompressedModel, batch: int | str) -> None:
        self.onnx = package("onnx")
        self.model = model
        self.batch = batch
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.shapes: list[Any] = []
        self.values: dict[str, str] = {}
        self.scope = ""
        self.serial = 0

    def build(self) -> bytes:
        """The serialised, checked model."""
        model = self.model
        self.scope = f"0/{INPUT}"
        self.values[INPUT] = self.input()
        for place, node in enumerate(model.nodes, 1):
            self.scope, self.serial = f"{place}/{node.name}", 0
            sources = [self.values[s] for s in node.sources]
            self.values[node.name] = self.node(node, sources)
        self.op("Flatten", [self.values[model.nodes[-1].name]], axis=1, output=LOGITS)
        return self._serialised()

    @abstractmethod
    def input(self) -> str:
        """Tensor of the network's input integers."""

    @abstractmethod
    def layer(self, node: CompressedLayer, x: str) -> str:
        """Tensor of a layer's outputs."""

    @abstractmethod
    def average(self, node: AvgPool, x: str) -> str:
        """Tensor of an average pool's outputs."""

    @abstractmethod
    def maximum(self, node: MaxPool, x: str) -> str:
        """Tensor of a max-pool's outputs."""

    @abstractmethod
    def add(self, node: Add, a: str, b: str) -> str:
        """Tensor of a residual sum."""

    @abstractmethod
    def scaled(self, node: Concat, place: int, x: str) -> str:
        """Tensor of a source's channels in a concatenation."""

    @abstractmethod
    def product(self, node: Product, a: str, b: str) -> str:
        """Tensor of a product of two maps."""

    @abstractmethod
    def lookup(self, node: Lookup, x: str) -> str:
        """Tensor of a table's entries."""

    def gathered(self, node: Lookup, x: str, dtype: np.dtype) -> str:
        """Entries, as ``dtype``, for the int64 integers ``x``."""
        place = self.op("Sub", [x, self.constant(node.first, self.int64)])
        return self.op("Gather", [self.constant(node.table, dtype), place])

    def concat(self, node: Concat, *sources: str) -> str:
        """Tensor of a concatenation."""
        parts = [self.scaled(node, place, x) for place, x in enumerate(sources)]
        return self.op("Concat", parts, axis=1)

    input_type: np.dtype
    output_type: np.dtype

    def node(self, node: Any, sources: Sequence[str]) -> str:
        """Tensor of any node's outputs."""
        kinds = {
            CompressedLayer: self.layer,
            AvgPool: self.average,
            MaxPool: self.maximum,
            Add: self.add,
            Concat: self.concat,
            Lookup: self.lookup,
            Product: self.product,
        }
        emit: Any = kinds.get(type(node))
        if emit is None:
            raise PyadmmError(f"export: {node.name} is a {type(node).__name__}, not supported")
        return str(emit(node, *sources))

    def op(
        self, kind: str, inputs: Sequence[str], *, output: str = "", domain: str = "", **facts: Any
    ) -> str:
        """Append an operator; gives its output's name."""
        self.serial += 1
        output = output or f"{self.scope}/{self.serial}.{kind.lower()}"
        made = self.onnx.helper.make_node(
            kind, list(inputs), [output], name=f"{output}.op", domain=domain, **facts
        )
        self.nodes.append(made)
        return output

    def constant(self, value: Any, dtype: np.dtype) -> str:
        """Name of an initializer; equal scalars are shared."""
        array = np.asarray(value, dtype)
        name = f"{dtype.name}:{array.item()}" if array.ndim == 0 else f"{self.scope}/constant"
        if array.ndim > 0:
            name = f"{name}.{self.serial}.{len(self.constants)}"
        if name not in self.constants:
            self.constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def cast(self, x: str, dtype: np.dtype) -> str:
        """``x`` in another type."""
        return self.op("Cast", [x], to=self.onnx.helper.np_dtype_to_tensor_dtype(dtype))

    def products(self, layer: CompressedLayer, x: str, weights: str) -> str:
        """``sum_k w[o, k] x[k, p]`` as ``(N, O, H_out, W_out)``."""
        spec = layer.spec
        if spec.kind == "linear":
            flat = self.op("MatMul", [self.op("Flatten", [x], axis=1), weights])
            return self.op("Reshape", [flat, self.constant([0, spec.outputs, 1, 1], self.int64)])
        return self.op(
            "Conv",
            [x, weights],
            kernel_shape=spec.kernel,
            strides=spec.stride,
            pads=spec.padding,
            dilations=spec.dilation,
            group=spec.groups,
        )

    def sums(self, node: AvgPool, x: str, ones: str) -> str:
        """Sums over the windows of an average pool."""
        return self.op(
            "Conv",
            [x, ones],
            kernel_shape=node.kernel,
            strides=node.stride,
            pads=node.padding,
            group=self.model.shape_of(node.source)[0],
        )

    def pooled(self, node: MaxPool, x: str) -> str:
        """Maxima over the windows of a max-pool."""
        return self.op(
            "MaxPool", [x], kernel_shape=node.kernel, strides=node.stride, pads=node.padding
        )

    def multipliers(self, node: AvgPool) -> NDArray[np.int64]:
        """Multipliers of an average pool, of a shape that multiplies its sums."""
        if node.border is None:
            return np.reshape(node.requant.mult, (1, -1, 1, 1))
        return node.multipliers(self.model.shape_of(node.source)[1:])[None]

    def ones(self, node: AvgPool) -> NDArray[np.int8]:
        """Depthwise kernel that sums a window."""
        channels = self.model.shape_of(node.source)[0]
        return np.ones((channels, 1, *node.kernel), np.int8)

    def _serialised(self) -> bytes:
        helper, model = self.onnx.helper, self.model
        classes = math.prod(model.shape_of(model.nodes[-1].name))
        tensor = helper.np_dtype_to_tensor_dtype
        graph = helper.make_graph(
            self.nodes,
            model.name or "model",
            [
                helper.make_tensor_value_info(
                    IMAGES, tensor(self.input_type), [self.batch, *model.input.shape]
                )
            ],
            [
                helper.make_tensor_value_info(
                    LOGITS, tensor(self.output_type), [self.batch, classes]
                )
            ],
            list(self.constants.values()),
            value_info=self.shapes,
        )
        opsets = [helper.make_opsetid("", OPSET), *self.opsets()]
        proto = helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=IR_VERSION,
            producer_name="pyadmm",
            producer_version=__version__,
        )
        logits = model.format_of(model.nodes[-1].name)
        facts = {"input_scale": model.input.format.scale, "logit_scale": logits.scale}
        helper.set_model_props(proto, {f"pyadmm.{key}": repr(v) for key, v in facts.items()})
        inferred = self.onnx.shape_inference.infer_shapes(proto, strict_mode=True)
        self.onnx.checker.check_model(inferred)
        return bytes(inferred.SerializeToString())

    def opsets(self) -> list[Any]:
        """Operator sets besides ONNX' own."""
        return []


class _IntegerForm(_Form):
    """int64 between the nodes; float32 in ``Conv``, ``MatMul`` and ``MaxPool`` only."""

    output_type = np.dtype(np.int64)

    def __init__(self, model: CompressedModel) -> None:
        super().__init__(model, "N")
        self.input_type = model.input.dtype

    def input(self) -> str:
        entry = self.model.input
        offset = self.constant(np.reshape(entry.offset, (1, -1, 1, 1)), self.int64)
        x = self.op("Sub", [self.cast(IMAGES, self.int64), offset])
        return self._clamp(self._floor_shift(x, entry.shift), entry.format)

    def layer(self, node: CompressedLayer, x: str) -> str:
        codes = node.codes
        if node.spec.kind == "linear":
            codes = np.ascontiguousarray(codes.T)
        largest = int(np.abs(codes).max(initial=0))
        stored = np.dtype(np.int8 if largest < 128 else np.int16)
        weights = self.cast(self.constant(codes, stored), self.float32)
        per_output = np.abs(node.codes.reshape(len(node.codes), -1).astype(np.int64)).sum(1)
        form = self.model.format_of(node.source)
        acc = self._exact(
            node.name, x, form, int(per_output.max()), lambda d: self.products(node, d, weights)
        )
        bias = self.constant(node.bias.reshape(1, -1, 1, 1), self.int64)
        return self._requantise(self.op("Add", [acc, bias]), node.requant, node.output)

    def average(self, node: AvgPool, x: str) -> str:
        ones = self.cast(self.constant(self.ones(node), np.dtype(np.int8)), self.float32)
        form = self.model.format_of(node.source)
        area = node.area
        total = self._exact(node.name, x, form, area, lambda d: self.sums(node, d, ones))
        mult = self.constant(self.multipliers(node), self.int64)
        return self._rounded(self.op("Mul", [total, mult]), node.requant.shift, node.output)

    def maximum(self, node: MaxPool, x: str) -> str:
        narrow = self.model.format_of(node.source).max_magnitude < _FLOAT32_EXACT
        held = self.cast(x, self.float32 if narrow else self.float64)
        return self.cast(self.pooled(node, held), self.int64)

    def add(self, node: Add, a: str, b: str) -> str:
        scaled = [
            self.op("Mul", [x, self.constant(mult, self.int64)])
            for x, mult in zip((a, b), node.mult, strict=True)
        ]
        return self._rounded(self.op("Add", scaled), node.shift, node.output)

    def scaled(self, node: Concat, place: int, x: str) -> str:
        return self._requantise(x, node.requants[place], node.output)

    def product(self, node: Product, a: str, b: str) -> str:
        return self._requantise(self.op("Mul", [a, b]), node.requant, node.output)

    def lookup(self, node: Lookup, x: str) -> str:
        return self.gathered(node, x, self.int64)

    def _exact(self, name: str, x: str, form: QFormat, reach: int, sums: Any) -> str:
        """Exact ``sums`` of ``x``, whose ``sum |w|`` is at most ``reach`` for every output."""
        if reach * form.max_magnitude < _FLOAT32_EXACT:
            return self.cast(sums(self.cast(x, self.float32)), self.int64)
        width = (_FLOAT32_EXACT // max(reach, 1)).bit_length() - 1
        if width < 1:
            raise PyadmmError(
                f"export: {name} has outputs with sum |code| = {reach}, sums in float32 are exact "
                f"below {_FLOAT32_EXACT}; use fewer weight bits"
            )
        total, rest, bits = "", x, form.bits
        for place in range(0, bits, width):
            digit = rest
            if place + width < bits:
                base = self.constant(1 << width, self.int64)
                digit = self.op("Mod", [rest, base])
                rest = self.op("Div", [self.op("Sub", [rest, digit]), base])
            part = self.cast(sums(self.cast(digit, self.float32)), self.int64)
            if place:
                part = self.op("Mul", [part, self.constant(1 << place, self.int64)])
            total = self.op("Add", [total, part]) if total else part
        return total

    def _requantise(self, acc: str, requant: Requant, form: QFormat) -> str:
        mult = self.constant(np.reshape(requant.mult, (1, -1, 1, 1)), self.int64)
        return self._rounded(self.op("Mul", [acc, mult]), requant.shift, form)

    def _rounded(self, value: str, shift: int, form: QFormat) -> str:
        half = self.constant(1 << (shift - 1), self.int64)
        return self._clamp(self._floor_shift(self.op("Add", [value, half]), shift), form)

    def _floor_shift(self, value: str, shift: int) -> str:
        """``value >> shift``: ``BitShift`` knows no signed numbers, and ``Div`` truncates."""
        if shift == 0:
            return value
        base = self.constant(1 << shift, self.int64)
        low = self.op("Mod", [value, base])
        return self.op("Div", [self.op("Sub", [value, low]), base])

    def _clamp(self, value: str, form: QFormat) -> str:
        limits = [self.constant(limit, self.int64) for limit in (form.lo, form.hi)]
        return self.op("Clip", [value, *limits])


class _QonnxForm(_Form):
    """float32 integers everywhere, ``Quant`` nodes of scale 1."""

    input_type = np.dtype(np.float32)
    output_type = np.dtype(np.float32)

    def opsets(self) -> list[Any]:
        return [self.onnx.helper.make_opsetid(QONNX_DOMAIN, 1)]

    def input(self) -> str:
        entry = self.model.input
        offset = self.constant(np.reshape(entry.offset, (1, -1, 1, 1)), self.float32)
        x = self.op("Sub", [IMAGES, offset])
        if entry.shift:
            x = self.op("Mul", [x, self.constant(2.0**-entry.shift, self.float32)])
        return self._quant(x, entry.format, INPUT)

    def layer(self, node: CompressedLayer, x: str) -> str:
        peak = node.accumulator_magnitude(self.model.format_of(node.source).max_magnitude)
        self._require_exact(node.name, peak)
        codes = self.constant(node.codes.astype(np.float32), self.float32)
        # A code of n bits has no zero and reaches +-2**(n-1): one bit more, two's complement.
        held = self._quant_node(codes, QFormat(node.weight_bits + 1, True), node.codes.shape)
        if node.spec.kind == "linear":
            held = self.op("Transpose", [held], perm=(1, 0))
        bias = self.constant(node.bias.reshape(1, -1, 1, 1), self.float32)
        acc = self.op("Add", [self.products(node, x, held), bias])
        return self._requantise(node.name, acc, node.requant, node.output, peak)

    def average(self, node: AvgPool, x: str) -> str:
        peak = node.area * self.model.format_of(node.source).max_magnitude
        self._require_exact(node.name, peak)
        total = self.sums(node, x, self.constant(self.ones(node), self.float32))
        mult, shape = self.multipliers(node), self.model.shape_of(node.name)
        shift = node.requant.shift
        return self._multiplied(total, mult, node.output, shift=shift, peak=peak, shape=shape)

    def scaled(self, node: Concat, place: int, x: str) -> str:
        source, requant = node.sources[place], node.requants[place]
        peak = self.model.format_of(source).max_magnitude
        mult, shape = np.reshape(requant.mult, (1, -1, 1, 1)), self.model.shape_of(source)
        shift = requant.shift
        return self._multiplied(x, mult, node.output, shift=shift, peak=peak, shape=shape)

    def maximum(self, node: MaxPool, x: str) -> str:
        return self.pooled(node, x)

    def product(self, node: Product, a: str, b: str) -> str:
        peak = math.prod(self.model.format_of(s).max_magnitude for s in node.sources)
        exact = self.float32 if peak < _FLOAT32_EXACT else self.float64
        both = self.op("Mul", [self._as(a, exact), self._as(b, exact)])
        dtype = exact
        if not float32_rounds_alike(node.requant, node.output, peak):
            dtype = self.float64
        factor = self.constant(node.requant.mult[0] / 2.0**node.requant.shift, dtype)
        scaled = self.op("Mul", [both if dtype == exact else self.cast(both, dtype), factor])
        return self._rounded(scaled, node.output, dtype, self.model.shape_of(node.name))

    def lookup(self, node: Lookup, x: str) -> str:
        entries = self.gathered(node, self.cast(x, self.int64), self.float32)
        return self._quant(entries, node.output, node.name)

    def add(self, node: Add, a: str, b: str) -> str:
        peaks = [self.model.format_of(s).max_magnitude for s in node.sources]
        reach = sum(m * p for m, p in zip(node.mult, peaks, strict=True)) + (1 << node.shift)
        dtype = self.float32 if reach < _FLOAT32_EXACT else self.float64
        scaled = [
            self.op("Mul", [self._as(x, dtype), self.constant(mult / 2**node.shift, dtype)])
            for x, mult in zip((a, b), node.mult, strict=True)
        ]
        shape = self.model.shape_of(node.name)
        return self._rounded(self.op("Add", scaled), node.output, dtype, shape)

    def _require_exact(self, name: str, peak: int) -> None:
        if peak >= _FLOAT32_EXACT:
            raise PyadmmError(
                f"export: the accumulators of {name} reach {peak}, float32 is exact below "
                f"{_FLOAT32_EXACT}; export the integer form (without --qonnx)"
            )

    def _requantise(self, name: str, acc: str, requant: Requant, form: QFormat, peak: int) -> str:
        mult, shape = np.reshape(requant.mult, (1, -1, 1, 1)), self.model.shape_of(name)
        return self._multiplied(acc, mult, form, shift=requant.shift, peak=peak, shape=shape)

    def _multiplied(
        self,
        acc: str,
        mult: NDArray[np.int64],
        form: QFormat,
        *,
        shift: int,
        peak: int,
        shape: tuple[int, int, int],
    ) -> str:
        """``clamp(floor(acc * mult / 2**shift + 0.5))`` of ``shape``, where ``|acc| <= peak``."""
        requant = Requant(tuple(np.unique(mult).tolist()), shift)
        dtype = self.float32 if float32_rounds_alike(requant, form, peak) else self.float64
        factor = self.constant(mult / 2.0**shift, dtype)
        return self._rounded(self.op("Mul", [self._as(acc, dtype), factor]), form, dtype, shape)

    def _rounded(
        self, scaled: str, form: QFormat, dtype: np.dtype, shape: tuple[int, int, int]
    ) -> str:
        value = self.op("Add", [scaled, self.constant(0.5, dtype)])
        if dtype == self.float64:
            value = self.cast(self.op("Floor", [value]), self.float32)
        return self._quant_node(value, form, (self.batch, *shape))

    def _as(self, x: str, dtype: np.dtype) -> str:
        return x if dtype == self.float32 else self.cast(x, dtype)

    def _quant(self, x: str, form: QFormat, name: str) -> str:
        return self._quant_node(x, form, (self.batch, *self.model.shape_of(name)))

    def _quant_node(self, x: str, form: QFormat, shape: Sequence[int | str]) -> str:
        """``clamp(floor(x), lo, hi)``; says the shape, which no inference knows."""
        facts = [self.constant(value, self.float32) for value in (1.0, 0.0, form.bits)]
        signed = int(form.signed)
        output = self.op(
            "Quant",
            [x, *facts],
            domain=QONNX_DOMAIN,
            signed=signed,
            narrow=0,
            rounding_mode="FLOOR",
        )
        kind = self.onnx.TensorProto.FLOAT
        self.shapes.append(self.onnx.helper.make_tensor_value_info(output, kind, shape))
        return output


def float32_rounds_alike(requant: Requant, form: QFormat, peak: int) -> bool:
    """Whether ``clamp(floor(acc * (mult / 2**shift) + 0.5))`` in float32 is the requantiser.

    Both are monotone in ``acc``, so they agree on all of ``-peak … peak`` if they agree on both
    sides of every step of the exact one, and at the ends. ``False`` where there are too many steps.
    """
    return all(_rounds_alike(mult, requant.shift, form, peak) for mult in set(requant.mult))


def _rounds_alike(mult: int, shift: int, form: QFormat, peak: int) -> bool:
    exact = Requant((mult,), shift)
    ends = exact.apply(np.array([[-peak, peak]]), form)[0]
    if max(abs(int(end)) for end in ends) >= _FLOAT32_EXACT:
        return False
    if peak * mult % (1 << shift) == 0 and mult == 1 << shift:
        return peak < _FLOAT32_EXACT // 2
    levels = int(ends[1] - ends[0])
    if levels > _MOST_STEPS:
        return False
    y = np.arange(ends[0] + 1, ends[1] + 1, dtype=np.int64)
    first = -(((1 << (shift - 1)) - (y << shift)) // mult)
    acc = np.unique(np.concatenate([first, first - 1, [-peak, peak]]).clip(-peak, peak))
    factor, half = np.float32(mult / 2.0**shift), np.float32(0.5)
    rounded = np.floor(acc.astype(np.float32) * factor + half)
    found = np.clip(rounded, np.float32(form.lo), np.float32(form.hi)).astype(np.int64)
    return bool(np.array_equal(found, exact.apply(acc[None], form)[0]))


def check(model: CompressedModel, graph: bytes, images: NDArray[np.uint8], qonnx: bool) -> None:
    """Compare the logits of ``graph`` with the integer model's.

    :raises PyadmmError: where one differs.
    :raises MissingToolError: without onnxruntime (or, for QONNX, qonnx).
    """
    found = (run_qonnx if qonnx else run_onnx)(graph, images)
    if not np.array_equal(found, model.run(images)):
        raise PyadmmError(
            f"export: the graph of {model.name} gives other logits than the integer model; this is "
            "a defect of pyadmm or of the run time: please report it"
        )
