"""What each ONNX operator becomes in torch: a standard layer, a function, or a constant.

:class:`GraphReader` walks over the nodes of a graph in order. Nodes whose inputs are all constants are
evaluated at once; every other node is one call in an ``fx`` graph. Shapes are followed on torch's
``meta`` device, so a graph that asks for huge maps allocates nothing.
"""

from __future__ import annotations

import keyword
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from pyadmm.core.errors import PyadmmError
from pyadmm.model.onnx import package

QONNX_DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas")
_CONSTANT_LIMIT = 1 << 26
"""Most values that one folded constant may have."""
_MAP_LIMIT = 1 << 28
_TAILS = ("Softmax", "LogSoftmax", "Sigmoid", "ArgMax")
"""Operators that are dropped at the end of a network: they keep the order of the logits."""
_FOLDED = frozenset(
    {"Cast", "CastLike", "Identity", "Constant", "ConstantOfShape", "Reshape", "Transpose"}
    | {"Squeeze", "Unsqueeze", "Flatten", "Gather", "Concat", "Slice", "Split", "Expand", "Range"}
    | {"Mul", "Add", "Sub", "Div", "Sqrt", "Neg", "Abs", "Pow", "Exp", "Log", "Reciprocal"}
    | {"Floor", "Ceil", "Round", "Clip", "Max", "Min", "Equal", "Where", "MatMul", "Gemm"}
    | {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "Shape", "Size"}
    | {"QuantizeLinear", "DequantizeLinear"}
)
_REARRANGED = ("Transpose", "Reshape", "Identity", "Cast", "Squeeze", "Unsqueeze", "Flatten")
"""Operators that keep the values of a constant."""
_WIDEST = 32
Array = NDArray[Any]


class Quantizer(nn.Module):
    """``y = (clamp(round(x / scale + zero), lo, hi) - zero) * scale``: rounds activations.

    :param rounding: ``"even"`` (to nearest, ties to even), ``"floor"``, ``"ceil"`` or ``"trunc"``.
    :param late_zero: whether ``zero`` is added behind the rounding (QDQ), or before (QONNX).
    """

    scale: Tensor
    zero: Tensor

    def __init__(
        self,
        scale: Array,
        zero: Array,
        lo: int,
        hi: int,
        *,
        rounding: str = "even",
        late_zero: bool = True,
    ) -> None:
        super().__init__()
        self.lo, self.hi = lo, hi
        self.rounding = rounding
        self.late_zero = late_zero
        self.register_buffer("scale", torch.from_numpy(np.array(scale, np.float32)))
        self.register_buffer("zero", torch.from_numpy(np.array(zero, np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        """``x`` rounded to the codes of the quantiser."""
        before, behind = (0, self.zero) if self.late_zero else (self.zero, 0)
        codes = _ROUNDINGS[self.rounding](x / self.scale + before) + behind
        return (codes.clamp(self.lo, self.hi) - self.zero) * self.scale


_ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "even": torch.round,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "trunc": torch.trunc,
}
_QONNX_ROUNDINGS = {"ROUND": "even", "FLOOR": "floor", "CEIL": "ceil", "ROUND_TO_ZERO": "trunc"}


class GraphReader:
    """Builds the ``fx`` graph of an ONNX graph, node by node.

    :param onnx: the package.
    :param proto: the model, external data loaded.
    :param path: for messages.
    """

    def __init__(self, onnx: Any, proto: Any, path: str) -> None:
        self.onnx = onnx
        self.path = path
        self.proto = proto
        self.opsets = {entry.domain: entry.version for entry in proto.opset_import}
        self.output = proto.graph.output[0].name if proto.graph.output else ""
        self.constants: dict[str, Array] = {
            tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer
        }
        self.values: dict[str, fx.Node] = {}
        self.pending: dict[str, tuple[str, Quantizer]] = {}
        """Outputs of ``QuantizeLinear``: the tensor that it reads, and the quantiser."""
        self.widths: dict[str, int] = {}
        """Bits of quantised constants."""
        self.weight_bits: dict[str, int] = {}
        """Bits of the weights of layers."""
        self.notes: list[str] = []
        self.tail: list[str] = []
        self.readers: dict[str, int] = {}
        for node in proto.graph.node:
            for name in node.input:
                self.readers[name] = self.readers.get(name, 0) + 1
        self.graph = fx.Graph()
        self.modules: dict[str, Any] = {}

    def start(self, name: str, shape: Sequence[int], flat: bool) -> None:
        """Place the input; ``flat`` where the graph reads it as a vector."""
        node = self.graph.placeholder("input")
        node.meta["example"] = torch.empty(*shape, device="meta")
        self.values[name] = node
        if flat:
            self.values[name] = self.module("input_flatten", nn.Flatten(1), node)

    def read(self, node: Any) -> None:
        """Add one node, or fold it."""
        op = Operator(self, node)
        if op.folds:
            self._fold(op)
            return
        handler = _HANDLERS.get(op.kind) if op.known_domain else None
        if handler is None:
            domain = f" of domain {node.domain}" if node.domain else ""
            raise op.error(
                f"{node.op_type}{domain} is not supported; supported are: "
                + ", ".join(sorted(_HANDLERS))
            )
        try:
            handler(op)
        except PyadmmError:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, KeyError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise op.error(f"does not fit its input: {reason}") from error
        made = self.values.get(node.output[0])
        if made is not None and made.op == "call_module":
            for name in node.input[1:2]:
                if name in self.widths:
                    self.weight_bits[str(made.target)] = self.widths[name]

    def _fold(self, op: Operator) -> None:
        inputs = {name: self.constants[name] for name in op.node.input if name}
        self._fold_width(op)
        if op.kind == "Quant":
            self.constants[op.node.output[0]] = _quantised_constant(op)
            return
        _limit_constants(op, list(inputs.values()))
        opsets = {**self.opsets, "": self.opsets.get("", self.opsets.get("ai.onnx", 17))}
        evaluator = package("onnx.reference").ReferenceEvaluator(op.node, opsets=opsets)
        results = evaluator.run(None, inputs)
        self.constants.update(zip(op.node.output, results, strict=True))

    def _fold_width(self, op: Operator) -> None:
        """Bits of a constant that is quantised, or that holds the values of one that is."""
        read = op.node.input[0] if op.node.input else ""
        if op.kind == "Quant":
            width = _bit_width(op)
        elif op.kind == "DequantizeLinear":
            width = self.constants[read].dtype.itemsize * 8
        elif op.kind in _REARRANGED and read in self.widths:
            width = self.widths[read]
        else:
            return
        self.widths[op.node.output[0]] = width

    def finish(self) -> fx.GraphModule:
        """The module; the graph's output must have been made."""
        if self.output not in self.values:
            raise PyadmmError(
                f"{self.path}: no node gives the output {self.output!r}; export the network again"
            )
        self.graph.output(self.values[self.output])
        module = fx.GraphModule(self.modules, self.graph)
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise PyadmmError(
                    f"{self.path}: {name} must hold finite numbers, but some are NaN or infinite"
                )
        module.meta["tail"] = self.tail
        module.meta["weight_bits"] = self.weight_bits
        module.graph.eliminate_dead_code()
        module.recompile()
        return module

    def module(self, name: str, module: nn.Module, *inputs: fx.Node) -> fx.Node:
        """A call of a layer."""
        target = self._free_name(name)
        self.modules[target] = module
        made = self.graph.call_module(target, inputs)
        return self._followed(made, module, inputs)

    def function(self, function: Callable[..., Any], *inputs: Any, **options: Any) -> fx.Node:
        """A call of a function; nodes and numbers are its arguments."""
        made = self.graph.call_function(function, inputs, options)
        arguments = fx.map_arg(inputs, lambda node: node.meta["example"])
        made.meta["example"] = _small(function(*arguments, **options))
        return made

    def buffer(self, name: str, values: Array) -> fx.Node:
        """A constant that takes part in arithmetic."""
        target = self._free_name(name)
        tensor = torch.from_numpy(np.array(values, np.float32))
        self.modules[target] = tensor
        made = self.graph.get_attr(target)
        made.meta["example"] = tensor.to("meta")
        return made

    def _followed(self, made: fx.Node, module: nn.Module, inputs: Sequence[fx.Node]) -> fx.Node:
        state = {k: v.to("meta") for k, v in module.state_dict().items()}
        examples = tuple(node.meta["example"] for node in inputs)
        module.eval()
        made.meta["example"] = _small(torch.func.functional_call(module, state, examples))
        return made

    def _free_name(self, wanted: str) -> str:
        """A module path that Python and torch can hold, close to ``wanted``, not used yet."""
        parts = [_identifier(part) for part in re.sub(r"[^\w.]+", "_", wanted).split(".") if part]
        name = ".".join(parts) or "layer"
        if self._clashes(name):
            name = name.replace(".", "_")
        stem, number = name, 1
        while self._clashes(name):
            number += 1
            name = f"{stem}_{number}"
        return name

    def _clashes(self, name: str) -> bool:
        return any(
            name == other or name.startswith(f"{other}.") or other.startswith(f"{name}.")
            for other in self.modules
        )


_TAKEN = frozenset(dir(fx.GraphModule))


def _identifier(part: str) -> str:
    """``part`` such that it is neither a keyword nor something that modules have already."""
    return f"{part}_" if part in _TAKEN or keyword.iskeyword(part) else part


def _small(example: Tensor) -> Tensor:
    if example.numel() > _MAP_LIMIT:
        raise ValueError(f"a map of shape {tuple(example.shape)} is too large")
    return example


def _limit_constants(op: Operator, inputs: list[Array]) -> None:
    """Refuse constants whose folding would need memory out of proportion to the file."""
    size = 0
    if op.kind in ("Expand", "ConstantOfShape"):
        size = math.prod(int(n) for n in inputs[-1].reshape(-1)[:16])
    elif op.kind == "Range":
        start, limit, delta = (float(x) for x in inputs)
        size = int((limit - start) / delta) if delta else 0
    elif inputs and op.kind not in ("Concat", "Gather", "Slice"):
        try:
            size = math.prod(np.broadcast_shapes(*(x.shape for x in inputs)))
        except ValueError:
            size = 0
    if not -_CONSTANT_LIMIT <= size <= _CONSTANT_LIMIT:
        raise op.error(f"gives a constant of {size} values; at most {_CONSTANT_LIMIT} are read")


class Operator:
    """One ONNX node with its attributes, and what the reader knows about its inputs."""

    def __init__(self, reader: GraphReader, node: Any) -> None:
        self.reader = reader
        self.node = node
        self.kind: str = node.op_type
        self.facts = {a.name: reader.onnx.helper.get_attribute_value(a) for a in node.attribute}
        self.name: str = node.name or (node.output[0] if node.output else node.op_type)

    def error(self, text: str) -> PyadmmError:
        """The error that says ``text`` about this node."""
        return PyadmmError(f"{self.reader.path}: node {self.name}: {text}")

    @property
    def known_domain(self) -> bool:
        """Whether the operator is ONNX' own or QONNX'."""
        if self.kind == "Quant":
            return self.node.domain in QONNX_DOMAINS
        return self.node.domain in ("", "ai.onnx")

    @property
    def folds(self) -> bool:
        """Whether the node gives a constant."""
        if self.kind == "Shape" and self.node.input[0] in self.reader.values:
            shape = self.example(0).shape
            start, end = self.facts.get("start", 0), self.facts.get("end", len(shape))
            self.reader.constants[self.node.output[0]] = np.array(shape[start:end], np.int64)
            self.reader.readers[self.node.input[0]] -= 1
            self.node = self.reader.onnx.helper.make_node(
                "Identity", [self.node.output[0]], [self.node.output[0]]
            )
            self.kind = "Identity"
            return True
        constant = all(name in self.reader.constants for name in self.node.input if name)
        return constant and self.known_domain and (self.kind in _FOLDED or self.kind == "Quant")

    @property
    def tensor_inputs(self) -> list[str]:
        """Inputs that are not constants."""
        return [name for name in self.node.input if name and name not in self.reader.constants]

    def value(self, place: int) -> fx.Node:
        """The ``fx`` node of an input that is no constant."""
        name = self.node.input[place]
        found = self.reader.values.get(name)
        if found is None:
            if name in self.reader.pending:
                raise self.error(
                    f"reads the integers {name!r}; a QuantizeLinear must be followed by a "
                    "DequantizeLinear, other integer operators are not supported"
                )
            raise self.error(f"reads {name!r}, which no earlier node gives")
        return found

    def example(self, place: int) -> Tensor:
        """A tensor of the shape of an input, without data."""
        example: Tensor = self.value(place).meta["example"]
        return example

    def constant(self, place: int, what: str) -> Array | None:
        """A constant input; ``None`` where it is left out."""
        if place >= len(self.node.input) or not self.node.input[place]:
            return None
        name = self.node.input[place]
        if name not in self.reader.constants:
            raise self.error(f"its {what} must be a constant, but {name!r} is computed")
        return self.reader.constants[name]

    def weights(self, place: int, what: str) -> Tensor | None:
        """A constant input in float32, its own memory."""
        values = self.constant(place, what)
        return None if values is None else torch.from_numpy(np.array(values, np.float32))

    def numbers(self, name: str, place: int) -> list[int] | None:
        """Whole numbers that are an attribute in old operator sets and an input in new ones."""
        if name in self.facts:
            given = self.facts[name]
            return list(given) if isinstance(given, Sequence) else [given]
        found = self.constant(place, name)
        return None if found is None else [int(v) for v in np.asarray(found).reshape(-1)]

    def give(self, value: fx.Node) -> None:
        """Set the node's output."""
        self.reader.values[self.node.output[0]] = value

    def layer(self, module: nn.Module, *, suffix: str = "") -> None:
        """Give what ``module`` makes of the first input."""
        self.give(self.reader.module(self.name + suffix, module, self.value(0)))

    @property
    def at_end(self) -> bool:
        """Whether the node gives the network's output."""
        return self.node.output[0] == self.reader.output


# --- layers with weights -------------------------------------------------------------------------


def _conv(op: Operator) -> None:
    weight, bias = op.weights(1, "weight"), op.weights(2, "bias")
    if weight is None or weight.ndim != 4:
        shape = None if weight is None else tuple(weight.shape)
        raise op.error(f"only convolutions in two dimensions are supported, not weight {shape}")
    outputs, channels, *kernel = weight.shape
    groups = int(op.facts.get("group", 1))
    strides, dilations = (_pair(op, name) for name in ("strides", "dilations"))
    top, left, bottom, right = _pads(op, kernel, strides, dilations)
    symmetric = (top, left) == (bottom, right)
    module = nn.Conv2d(
        channels * groups,
        outputs,
        tuple(kernel),  # type: ignore[arg-type]
        strides,
        (top, left) if symmetric else 0,
        dilations,
        groups,
        bias=bias is not None,
        device="meta",
    )
    module.weight = nn.Parameter(weight)
    if bias is not None:
        module.bias = nn.Parameter(bias)
    x = op.value(0)
    if not symmetric:
        x = op.reader.module(f"{op.name}_pad", nn.ZeroPad2d((left, right, top, bottom)), x)
    op.give(op.reader.module(op.name, module, x))


def _pair(op: Operator, name: str) -> tuple[int, int]:
    numbers = [int(n) for n in op.facts.get(name, [1, 1])]
    if len(numbers) != 2 or min(numbers) < 1:
        raise op.error(f"{name} must be two numbers from 1, not {numbers}")
    return numbers[0], numbers[1]


def _pads(
    op: Operator,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int] = (1, 1),
) -> tuple[int, int, int, int]:
    """Padding ``(top, left, bottom, right)``, ``auto_pad`` worked out."""
    auto = op.facts.get("auto_pad", b"NOTSET").decode()
    if auto == "VALID":
        return 0, 0, 0, 0
    if auto == "NOTSET":
        pads = [int(p) for p in op.facts.get("pads", [0, 0, 0, 0])]
        if len(pads) != 4 or min(pads) < 0:
            raise op.error(f"pads must be four numbers from 0, not {pads}")
        return pads[0], pads[1], pads[2], pads[3]
    before, behind = [], []
    for size, taps, stride, dilation in zip(
        op.example(0).shape[2:], kernel, strides, dilations, strict=True
    ):
        missing = max((-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
        small, large = missing // 2, missing - missing // 2
        before.append(large if auto == "SAME_LOWER" else small)
        behind.append(small if auto == "SAME_LOWER" else large)
    return before[0], before[1], behind[0], behind[1]


def _gemm(op: Operator) -> None:
    weight, bias = op.weights(1, "weight"), op.weights(2, "bias")
    if weight is None or weight.ndim != 2 or op.facts.get("transA", 0):
        raise op.error("its weight must be a constant matrix and its input not transposed")
    weight = weight if op.facts.get("transB", 0) else weight.T
    weight = weight * float(op.facts.get("alpha", 1.0))
    if bias is not None:
        bias = bias.reshape(-1).expand(len(weight)) * float(op.facts.get("beta", 1.0))
    _linear(op, weight, bias, op.value(0))


def _linear(op: Operator, weight: Tensor, bias: Tensor | None, x: fx.Node) -> None:
    module = nn.Linear(weight.shape[1], len(weight), bias=bias is not None, device="meta")
    module.weight = nn.Parameter(weight.contiguous())
    if bias is not None:
        module.bias = nn.Parameter(bias.clone())
    op.give(op.reader.module(op.name, module, x))


def _matmul(op: Operator) -> None:
    weight = op.weights(1, "second factor")
    if weight is None or weight.ndim != 2 or op.example(0).ndim != 2:
        raise op.error("only a matrix of activations times a constant matrix is supported")
    _linear(op, weight.T, None, op.value(0))


def _batch_norm(op: Operator) -> None:
    gamma, beta, mean, variance = (
        op.weights(i, what) for i, what in enumerate(("scale", "bias", "mean", "variance"), 1)
    )
    if gamma is None or beta is None or mean is None or variance is None:
        raise op.error("must have scale, bias, mean and variance")
    kind = nn.BatchNorm1d if op.example(0).ndim == 2 else nn.BatchNorm2d
    module = kind(len(gamma), eps=float(op.facts.get("epsilon", 1e-5)))
    module.weight, module.bias = nn.Parameter(gamma), nn.Parameter(beta)
    module.running_mean, module.running_var = mean, variance
    op.layer(module)


# --- activations ---------------------------------------------------------------------------------


def _clip(op: Operator) -> None:
    lo, hi = (_limit(op, place, name) for place, name in ((1, "min"), (2, "max")))
    op.layer(_clamp(lo, hi))


def _limit(op: Operator, place: int, name: str) -> float:
    found = op.constant(place, name)
    value = op.facts.get(name) if found is None else float(np.asarray(found).reshape(()))
    missing = -math.inf if name == "min" else math.inf
    limit = missing if value is None else float(value)
    return missing if abs(limit) >= float(np.finfo(np.float32).max) else limit


def _clamp(lo: float, hi: float) -> nn.Module:
    if (lo, hi) == (0.0, math.inf):
        return nn.ReLU()
    if (lo, hi) == (0.0, 6.0):
        return nn.ReLU6()
    return nn.Identity() if (lo, hi) == (-math.inf, math.inf) else nn.Hardtanh(lo, hi)


def _leaky(op: Operator) -> None:
    op.layer(nn.LeakyReLU(float(op.facts.get("alpha", 0.01))))


def _prelu(op: Operator) -> None:
    slope = op.weights(1, "slope")
    if slope is None:
        raise op.error("must have a slope")
    module = nn.PReLU(slope.numel())
    module.weight = nn.Parameter(slope.reshape(-1))
    op.layer(module)


def _simple(make: Callable[[], nn.Module]) -> Callable[[Operator], None]:
    return lambda op: op.layer(make())


def _tail(op: Operator) -> None:
    """An activation behind the logits, which is dropped; elsewhere only a sigmoid is a layer."""
    if op.at_end:
        op.reader.tail.append(op.kind)
        op.reader.notes.append(
            f"{op.kind} at the end is left out: the network gives the logits before it"
        )
        op.give(op.value(0))
    elif op.kind == "Sigmoid":
        op.layer(nn.Sigmoid())
    else:
        raise op.error(f"{op.kind} is supported at the end of a network only")


# --- pools and padding ---------------------------------------------------------------------------


def _max_pool(op: Operator) -> None:
    kernel, strides, dilations = (_pair(op, n) for n in ("kernel_shape", "strides", "dilations"))
    pads = _pads(op, kernel, strides, dilations)
    if len([name for name in op.node.output if name]) > 1:
        raise op.error("a pool that gives the places of its maxima is not supported")
    x, padding = _padded(op, pads, kernel, -math.inf)
    ceil = bool(op.facts.get("ceil_mode", 0))
    module = nn.MaxPool2d(kernel, strides, padding, dilations, ceil_mode=ceil)
    op.give(op.reader.module(op.name, module, x))


def _average_pool(op: Operator) -> None:
    kernel, strides = _pair(op, "kernel_shape"), _pair(op, "strides")
    pads = _pads(op, kernel, strides)
    counted = bool(op.facts.get("count_include_pad", 0))
    if pads[:2] != pads[2:] and not counted:
        raise op.error(f"an average that does not count its padding must pad alike, not {pads}")
    x, padding = _padded(op, pads, kernel, 0.0)
    ceil = bool(op.facts.get("ceil_mode", 0))
    module = nn.AvgPool2d(kernel, strides, padding, ceil_mode=ceil, count_include_pad=counted)
    op.give(op.reader.module(op.name, module, x))


def _padded(
    op: Operator, pads: Sequence[int], kernel: Sequence[int], value: float
) -> tuple[fx.Node, tuple[int, int]]:
    """The input of a pool, padded by a layer of its own where torch's pool cannot."""
    top, left, bottom, right = pads
    x = op.value(0)
    fits = all(p <= k // 2 for p, k in zip(pads[:2], kernel, strict=True))
    if (top, left) == (bottom, right) and fits:
        return x, (top, left)
    sides = left, right, top, bottom
    padding: nn.Module = nn.ConstantPad2d(sides, value)
    if value == 0.0 or _not_negative(op, x):
        padding = nn.ZeroPad2d(sides)
    return op.reader.module(f"{op.name}_pad", padding, x), (0, 0)


def _not_negative(op: Operator, x: fx.Node) -> bool:
    """Whether ``x`` comes from a ReLU, so that zeros do not change a maximum."""
    module = op.reader.modules.get(str(x.target)) if x.op == "call_module" else None
    if isinstance(module, nn.Hardtanh):
        return module.min_val >= 0
    return isinstance(module, nn.ReLU)


def _pad(op: Operator) -> None:
    pads = op.numbers("pads", 1) or []
    value = op.constant(2, "value")
    filling = float(op.facts.get("value", 0.0)) if value is None else float(value.reshape(()))
    mode = op.facts.get("mode", b"constant").decode()
    rank = op.example(0).ndim
    axes = op.numbers("axes", 3) or list(range(rank))
    if mode != "constant" or len(pads) != 2 * len(axes) or min(pads) < 0:
        raise op.error(f"only padding with a constant is supported, not {mode} {pads}")
    before, behind = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis], behind[axis] = pads[place], pads[place + len(axes)]
    if any(before[:2] + behind[:2]) or rank != 4:
        raise op.error(f"only rows and columns can be padded, not {pads}")
    sides = before[3], behind[3], before[2], behind[2]
    op.layer(nn.ZeroPad2d(sides) if filling == 0 else nn.ConstantPad2d(sides, filling))


def _global_average(op: Operator) -> None:
    op.layer(nn.AdaptiveAvgPool2d(1))


def _reduce_mean(op: Operator) -> None:
    rank = op.example(0).ndim
    axes = sorted(a % rank for a in (op.numbers("axes", 1) or range(rank)))
    if axes != [2, 3] or rank != 4:
        raise op.error(f"only the mean over rows and columns is supported, not over axes {axes}")
    op.layer(nn.AdaptiveAvgPool2d(1))
    if not op.facts.get("keepdims", 1):
        pooled = op.reader.values[op.node.output[0]]
        op.give(op.reader.module(f"{op.name}_flatten", nn.Flatten(1), pooled))


# --- shapes --------------------------------------------------------------------------------------


def _same(op: Operator) -> None:
    op.give(op.value(0))


def _dropout(op: Operator) -> None:
    mode = op.constant(2, "training mode")
    if mode is not None and bool(np.asarray(mode).reshape(())):
        raise op.error("is in training mode; export the network in evaluation mode")
    _same(op)


def _cast(op: Operator) -> None:
    kinds = op.reader.onnx.TensorProto
    if op.facts.get("to") not in (kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE, kinds.BFLOAT16):
        raise op.error("activations can only be cast to floating point")
    if op.facts["to"] != kinds.FLOAT:
        op.reader.notes.append(f"{op.name}: activations are computed in float32")
    _same(op)


def _flatten(op: Operator) -> None:
    if int(op.facts.get("axis", 1)) % op.example(0).ndim != 1:
        raise op.error(f"must flatten from axis 1 on, not {op.facts.get('axis')}")
    op.layer(nn.Flatten(1))


def _reshape(op: Operator) -> None:
    before = op.example(0)
    target = [int(n) for n in np.asarray(op.constant(1, "shape")).reshape(-1)]
    if not op.facts.get("allowzero", 0):
        target = [before.shape[i] if n == 0 else n for i, n in enumerate(target)]
    _to_shape(op, before.reshape(target).shape)


def _to_shape(op: Operator, shape: Sequence[int]) -> None:
    """Give the input in another ``shape``; the batch must stay first."""
    before = op.example(0).shape
    if tuple(shape) == tuple(before):
        _same(op)
    elif len(shape) == 2 and shape[0] == before[0]:
        op.layer(nn.Flatten(1))
    elif shape[0] == before[0]:
        op.give(op.reader.function(torch.reshape, op.value(0), (-1, *shape[1:])))
    else:
        raise op.error(f"the first axis must stay the batch, but {before} becomes {tuple(shape)}")


def _squeeze(op: Operator) -> None:
    shape = op.example(0).shape
    axes = op.numbers("axes", 1)
    gone = {a % len(shape) for a in axes} if axes else {i for i, n in enumerate(shape) if n == 1}
    if 0 in gone and axes is None:
        gone.discard(0)
    _to_shape(op, [n for i, n in enumerate(shape) if i not in gone])


def _unsqueeze(op: Operator) -> None:
    shape = list(op.example(0).shape)
    axes = op.numbers("axes", 1) or []
    rank = len(shape) + len(axes)
    for axis in sorted(a % rank for a in axes):
        shape.insert(axis, 1)
    _to_shape(op, shape)


def _concat(op: Operator) -> None:
    rank = op.example(0).ndim
    if int(op.facts.get("axis", 1)) % rank != 1:
        raise op.error(f"only channels can be joined (axis 1), not axis {op.facts.get('axis')}")
    parts = [op.value(i) for i in range(len(op.node.input))]
    op.give(op.reader.function(torch.cat, parts, dim=1))


# --- arithmetic ----------------------------------------------------------------------------------


def _arithmetic(function: Callable[..., Any]) -> Callable[[Operator], None]:
    def handle(op: Operator) -> None:
        if len(op.tensor_inputs) == 1 and function is operator.add and _as_bias(op):
            return
        inputs = [_operand(op, place) for place in range(2)]
        op.give(op.reader.function(function, *inputs))

    return handle


def _operand(op: Operator, place: int) -> Any:
    """An input of an arithmetic operator: a value, a number, or a constant per channel."""
    name = op.node.input[place]
    if name not in op.reader.constants:
        return op.value(place)
    values = op.reader.constants[name]
    if values.size == 1:
        return float(values.reshape(()))
    return op.reader.buffer(f"{op.name}_constant", values)


def _as_bias(op: Operator) -> bool:
    """Add a constant vector to the bias of the layer before, if nothing else reads that layer."""
    place = 0 if op.node.input[1] in op.reader.constants else 1
    x, values = op.value(place), op.weights(1 - place, "summand")
    module = op.reader.modules.get(str(x.target)) if x.op == "call_module" else None
    single = op.reader.readers[op.node.input[place]] == 1
    if not isinstance(module, nn.Linear | nn.Conv2d) or not single or values is None:
        return False
    outputs = len(module.weight)
    axes = [1] * values.ndim
    channel = 1 if isinstance(module, nn.Linear) else 3
    if values.ndim >= channel:
        axes[-channel] = outputs
    if values.numel() > 1 and tuple(values.shape) != tuple(axes):
        return False
    added = values.reshape(-1).expand(outputs)
    module.bias = nn.Parameter(added.clone() if module.bias is None else module.bias + added)
    op.give(x)
    return True


# --- quantisers ----------------------------------------------------------------------------------


def _quantize_linear(op: Operator) -> None:
    scale, zero = op.constant(1, "scale"), op.constant(2, "zero point")
    if scale is None:
        raise op.error("must have a scale")
    kind = np.dtype(np.uint8) if zero is None else zero.dtype
    if kind.kind not in "iu":
        raise op.error(f"only integers can be quantised to, not {kind}")
    facts = np.iinfo(kind)
    shape = [1] * op.example(0).ndim
    if scale.size > 1:
        shape[int(op.facts.get("axis", 1))] = scale.size
    zeros = np.zeros(1) if zero is None else zero
    sizes = [np.asarray(v, np.float32).reshape(shape if v.size > 1 else 1) for v in (scale, zeros)]
    quantizer = Quantizer(sizes[0], sizes[1], int(facts.min), int(facts.max))
    op.reader.pending[op.node.output[0]] = op.node.input[0], quantizer


def _dequantize_linear(op: Operator) -> None:
    found = op.reader.pending.get(op.node.input[0])
    if found is None:
        raise op.error("reads integers that no QuantizeLinear gives")
    source, quantizer = found
    scale = op.constant(1, "scale")
    if scale is None or not np.array_equal(scale.reshape(-1), quantizer.scale.numpy().reshape(-1)):
        raise op.error("its scale must be that of the QuantizeLinear before it")
    op.give(op.reader.module(op.name, quantizer, op.reader.values[source]))


def _quant(op: Operator) -> None:
    op.layer(_qonnx_quantizer(op))


def _qonnx_quantizer(op: Operator) -> Quantizer:
    """That of a QONNX ``Quant`` node: inputs x, scale, zero point, bit width."""
    scale, zero = op.constant(1, "scale"), op.constant(2, "zero point")
    if scale is None or zero is None:
        raise op.error("must have a scale, a zero point and a bit width")
    bits = _bit_width(op)
    mode = op.facts.get("rounding_mode", b"ROUND").decode().upper()
    if mode not in _QONNX_ROUNDINGS:
        raise op.error(f"rounding mode {mode} is not supported")
    lo, hi = quant_range(bits, op.facts)
    rounding = _QONNX_ROUNDINGS[mode]
    return Quantizer(scale, zero, lo, hi, rounding=rounding, late_zero=False)


def quant_range(bits: int, facts: Mapping[str, Any]) -> tuple[int, int]:
    """The least and the greatest integer of a ``Quant`` node with attributes ``facts``.

    >>> quant_range(4, {}), quant_range(4, {"signed": 0}), quant_range(4, {"narrow": 1})
    ((-8, 7), (0, 15), (-7, 7))
    """
    signed, narrow = bool(facts.get("signed", 1)), bool(facts.get("narrow", 0))
    steps = 1 << (bits - signed)
    return -steps + narrow if signed else 0, steps - 1 - (narrow and not signed)


def _bit_width(op: Operator) -> int:
    """The bit width of a ``Quant`` node."""
    width = op.constant(3, "bit width")
    bits = None if width is None else float(np.asarray(width).reshape(-1)[0])
    if bits is None or not (1 <= bits <= _WIDEST and bits == int(bits)):
        raise op.error(f"its bit width must be a whole number from 1 to {_WIDEST}, not {bits}")
    return int(bits)


def _quantised_constant(op: Operator) -> Array:
    values = op.weights(0, "tensor")
    assert values is not None
    result: Array = _qonnx_quantizer(op)(values).numpy()
    return result


_HANDLERS: dict[str, Callable[[Operator], None]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "Relu": _simple(nn.ReLU),
    "Clip": _clip,
    "LeakyRelu": _leaky,
    "PRelu": _prelu,
    "Tanh": _simple(nn.Tanh),
    "HardSwish": _simple(nn.Hardswish),
    **dict.fromkeys(_TAILS, _tail),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _simple(lambda: nn.AdaptiveMaxPool2d(1)),
    "ReduceMean": _reduce_mean,
    "Pad": _pad,
    "Identity": _same,
    "Dropout": _dropout,
    "Cast": _cast,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Add": _arithmetic(operator.add),
    "Sub": _arithmetic(operator.sub),
    "Mul": _arithmetic(operator.mul),
    "Div": _arithmetic(operator.truediv),
    "QuantizeLinear": _quantize_linear,
    "DequantizeLinear": _dequantize_linear,
    "Quant": _quant,
}
