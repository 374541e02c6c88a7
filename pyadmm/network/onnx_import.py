"""From an ONNX file to a torch module that computes the same numbers.

The result is an ``fx.GraphModule`` of standard torch layers, so everything that takes a torch module
takes an ONNX file as well. Float graphs, graphs with ``QuantizeLinear``/``DequantizeLinear`` pairs and
QONNX graphs (``Quant`` nodes) are read; constant parts are folded, batch norms stay layers of their
own. :mod:`pyadmm.network.onnx_ops` says what each operator becomes.

Needs the package ``onnx`` (``pip install 'pyadmm[export]'``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from pyadmm.core.errors import PyadmmError
from pyadmm.model.onnx import package, runtime_session
from pyadmm.network.onnx_ops.builder import GraphBuilder
from pyadmm.network.onnx_ops.node import QONNX_DOMAINS
from pyadmm.network.onnx_ops.quantisation import quant_range
from pyadmm.network.onnx_ops.quantizer import Quantizer
from pyadmm.network.onnx_ops.reader import read_node

_FILE_LIMIT = 1 << 31
_MOST_BITS = 8
_TOLERANCE = 1e-3
"""Of a comparison with onnxruntime, relative to the largest output: both sum in float32."""


@dataclass(frozen=True, eq=False)
class Imported:
    """A network of an ONNX file.

    :param module: computes what the file computes on inputs ``(N, *input_shape)``, float32.
    :param notes: what was left out of the graph, for the user; empty where nothing was.
    """

    module: fx.GraphModule
    input_shape: tuple[int, int, int]
    notes: tuple[str, ...]

    @property
    def quantizers(self) -> dict[str, Quantizer]:
        """The quantisers of activations, by the name of their node."""
        found = self.module.named_modules()
        return {name: module for name, module in found if isinstance(module, Quantizer)}

    def bits(self) -> dict[str, tuple[int | None, int | None]]:
        """Bits of the weights and of the outputs of layers that the file quantises, by layer."""
        outputs: dict[str, int] = {}
        modules = dict(self.module.named_modules())
        for node in self.module.graph.nodes:
            quantizer = modules.get(str(node.target)) if node.op == "call_module" else None
            layer = self._layer_before(node) if isinstance(quantizer, Quantizer) else None
            if isinstance(quantizer, Quantizer) and layer is not None:
                outputs[layer] = (quantizer.hi - quantizer.lo).bit_length()
        weights: dict[str, int] = self.module.meta["weight_bits"]
        layers = [name for name in modules if name in weights or name in outputs]
        return {name: (_code(weights.get(name)), _code(outputs.get(name))) for name in layers}

    def _layer_before(self, node: fx.Node) -> str | None:
        """The weighted layer whose values reach ``node`` through nothing but single inputs."""
        while len(node.all_input_nodes) == 1:
            (node,) = node.all_input_nodes
            module = (
                self.module.get_submodule(str(node.target)) if node.op == "call_module" else None
            )
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
                return str(node.target)
        return None

    def without_quantizers(self) -> Imported:
        """The float network: activations are no longer rounded, weights stay as they are."""
        copied: dict[fx.Node, fx.Node] = {}
        graph = fx.Graph()
        for node in self.module.graph.nodes:
            if node.op == "call_module" and node.target in self.quantizers:
                copied[node] = copied[node.args[0]]
            else:
                copied[node] = graph.node_copy(node, lambda n: copied[n])
        notes = self.notes
        if self.quantizers:
            notes = (*notes, f"{len(self.quantizers)} quantisers of activations are set anew")
        module = fx.GraphModule(self.module, graph).eval()
        module.meta.update(self.module.meta)
        return Imported(module, self.input_shape, notes)


def import_onnx(path: Path | str, input_shape: Sequence[int] | None = None) -> Imported:
    """Read the network in the ONNX file ``path``, with external data in the same folder, if any.

    :param input_shape: ``(C, H, W)``, where the file leaves some of it open; 0 is what it says.
    :raises PyadmmError: for a file that is damaged or incomplete, or an operator that is not
        supported; the message names the node.
    :raises MissingToolError: without the package ``onnx``.
    """
    return _read_file(Path(path), lambda onnx, path: _imported(onnx, path, input_shape))


_Found = TypeVar("_Found")


def _read_file(path: Path, read: Callable[[Any, Path], _Found]) -> _Found:
    """What ``read`` finds in a foreign file; every error becomes ours."""
    onnx = package("onnx")
    _require_size(path)
    try:
        return read(onnx, path)
    except PyadmmError:
        raise
    except Exception as error:  # a foreign file can break its parser in any way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PyadmmError(
            f"{path}: cannot be read as an ONNX network: {reason}; check that the file is complete "
            "and that its external data are in the same folder"
        ) from error


def _require_size(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise PyadmmError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if not 0 < size < _FILE_LIMIT:
        raise PyadmmError(f"{path}: must have 1 to {_FILE_LIMIT - 1} bytes, not {size}")


def _imported(onnx: Any, path: Path, input_shape: Sequence[int] | None) -> Imported:
    proto = onnx.load(str(path))
    builder = GraphBuilder(onnx, proto, str(path))
    entry = _only_input(path, proto.graph)
    name, dims = entry.name, _dims(entry)
    last = _channels_last(proto.graph, name)
    shape = _input_shape(path, dims, input_shape, channels_last=last)
    builder.start(name, shape, len(dims), last)
    for node in proto.graph.node:
        read_node(builder, node)
    module = builder.finish()
    return Imported(module.eval(), shape[1:], tuple(builder.notes))


def _only_input(path: Path | str, graph: Any) -> Any:
    """The one input that is no constant."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise PyadmmError(
            f"{path}: a network must have 1 input and 1 output, not {len(inputs)} and "
            f"{len(graph.output)}; export it with one of each"
        )
    return inputs[0]


def own_shape(path: Path | str) -> tuple[int, ...]:
    """``(C, H, W)`` that an ONNX file says it reads; 0 where it leaves that open.

    :raises PyadmmError: as :func:`import_onnx`.
    """
    return _read_file(Path(path), _declared)


def _declared(onnx: Any, path: Path) -> tuple[int, ...]:
    graph = onnx.load(str(path), load_external_data=False).graph
    entry = _only_input(path, graph)
    return _inner(_dims(entry), channels_last=_channels_last(graph, entry.name))


def _dims(entry: Any) -> tuple[int, ...]:
    """Sizes of an input's axes, 0 where they are open."""
    dims = entry.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.dim_value > 0 else 0 for d in dims)


def _channels_last(graph: Any, name: str) -> bool:
    """Whether all that reads the input moves its last axis to the channels, as exports of Keras do."""
    readers = [node for node in graph.node if name in node.input]
    perms = [
        tuple(fact.ints)
        for node in readers
        for fact in node.attribute
        if node.op_type == "Transpose" and fact.name == "perm"
    ]
    return bool(readers) and len(perms) == len(readers) and set(perms) <= {(0, 2, 1), (0, 3, 1, 2)}


def _input_shape(
    path: Path, dims: Sequence[int], given: Sequence[int] | None, *, channels_last: bool
) -> tuple[int, int, int, int]:
    """``(N, C, H, W)``; an open ``N`` is 1, a line a map of one row, a vector one of one value."""
    own = _inner(dims, channels_last=channels_last)
    wanted = list(own if given is None else map(_first_set, given, own))
    if len(wanted) == 3 and any(a and b and a != b for a, b in zip(own, wanted, strict=False)):
        raise PyadmmError(
            f"{path}: takes inputs of shape {tuple(own)}, but the data have {tuple(wanted)}; give "
            "data of the network's shape"
        )
    if len(dims) not in (2, 3, 4) or len(wanted) != 3 or min(wanted) < 1:
        raise PyadmmError(
            f"{path}: the input must have a shape (N, C, H, W), (N, C, L) or (N, K) of which only "
            f"N is open, not {tuple(dims)} (0 is open); give its shape C,H,W"
        )
    return max(dims[0], 1), *wanted  # type: ignore[return-value]


def _inner(dims: Sequence[int], *, channels_last: bool) -> tuple[int, ...]:
    """Sizes of the axes of a map: a line is one of one row, a vector one of one value."""
    inner = list(dims[1:])
    if channels_last:
        inner = [inner[-1], *inner[:-1]]
    if len(inner) == 2:
        inner.insert(1, 1)
    return *inner, *[1] * (3 - len(inner))


def _code(bits: int | None) -> int | None:
    """Bits that a layer can be compressed to; ``None`` for wider ones."""
    return bits if bits is not None and bits <= _MOST_BITS else None


def _first_set(given: int, own: int) -> int:
    return given or own


def runtime_outputs(path: Path | str, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """What onnxruntime computes with the file on ``inputs`` ``(N, C, H, W)``.

    :raises MissingToolError: without the package ``onnxruntime``.
    """
    package("onnxruntime")
    try:
        graph = _standard(Path(path))
        try:
            session = runtime_session(graph)
        except Exception as error:  # as above
            if "NOT_IMPLEMENTED" not in str(error):
                raise
            return _reference_outputs(path, inputs)
        (entry,) = session.get_inputs()
        shaped = _as_read(path, inputs).astype(_RUNTIME_TYPES.get(entry.type, np.float32))
        found = [session.run(None, {entry.name: part})[0] for part in _batches(shaped, entry)]
    except Exception as error:  # onnxruntime has exceptions of its own, without a common base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PyadmmError(f"{path}: onnxruntime refuses it: {reason}") from error
    return np.concatenate(found)[: len(inputs)].astype(np.float32)


_RUNTIME_TYPES = {
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}
"""Types of inputs besides float32."""


def _as_read(path: Path | str, inputs: NDArray[Any]) -> NDArray[Any]:
    """``inputs`` ``(N, C, H, W)`` in the shape that the file reads."""
    graph = package("onnx").load(str(path), load_external_data=False).graph
    entry = _only_input(path, graph)
    rank = len(_dims(entry))
    if rank < 4:
        inputs = inputs.reshape(*inputs.shape[: rank - 1], -1)
    return np.moveaxis(inputs, 1, -1) if _channels_last(graph, entry.name) else inputs


def _batches(inputs: NDArray[Any], entry: Any) -> list[NDArray[Any]]:
    """``inputs`` in batches of the size that the file fixes; the last one is filled up."""
    size = entry.shape[0]
    if not isinstance(size, int) or size < 1:
        return [inputs]
    missing = -len(inputs) % size
    whole = np.concatenate([inputs, np.repeat(inputs[-1:], missing, 0)])
    return list(whole.reshape(-1, size, *inputs.shape[1:]))


def _reference_outputs(path: Path | str, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """What ONNX' own evaluator computes, where onnxruntime lacks an operator for some type."""
    proto = package("onnx").load(str(path))
    entry = _only_input(path, proto.graph)
    kind = package("onnx").helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
    shaped = _as_read(path, inputs).astype(kind)
    (found,) = package("onnx.reference").ReferenceEvaluator(proto).run(None, {entry.name: shaped})
    return np.asarray(found, np.float32)


def _standard(path: Path) -> str | bytes:
    """The graph in standard operators: the file, or its bytes with every ``Quant`` node spelt out."""
    onnx = package("onnx")
    proto = onnx.load(str(path))
    if not any(
        node.op_type == "Quant" and node.domain in QONNX_DOMAINS for node in proto.graph.node
    ):
        return str(path)
    nodes = [part for node in proto.graph.node for part in _spelt_out(onnx, proto.graph, node)]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    found: bytes = proto.SerializeToString()
    return found


def _spelt_out(onnx: Any, graph: Any, node: Any) -> list[Any]:
    """``((clip(round(x / scale + zero), lo, hi) - zero) * scale)`` in standard operators."""
    if node.op_type != "Quant" or node.domain not in QONNX_DOMAINS:
        return [node]
    x, scale, zero, width = node.input
    facts = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    lo, hi = quant_range(_held(onnx, graph, width), facts)
    stem = node.output[0]
    for name, value in (("lo", lo), ("hi", hi)):
        made = onnx.numpy_helper.from_array(np.array(value, np.float32), f"{stem}/{name}")
        graph.initializer.append(made)
    rounding = _ROUND_OPERATORS[facts.get("rounding_mode", b"ROUND").decode().upper()]
    chain = [
        ("Div", [x, scale], {}),
        ("Add", ["", zero], {}),
        *((operator, [""], options) for operator, options in rounding),
        ("Clip", ["", f"{stem}/lo", f"{stem}/hi"], {}),
        ("Sub", ["", zero], {}),
        ("Mul", ["", scale], {}),
    ]
    nodes: list[Any] = []
    for place, (operator, read, options) in enumerate(chain):
        last = place == len(chain) - 1
        inputs = [name or nodes[-1].output[0] for name in read]
        output = stem if last else f"{stem}/{place}"
        nodes.append(onnx.helper.make_node(operator, inputs, [output], name=output, **options))
    return nodes


_FLOAT, _INT64 = 1, 7  # numbers of ONNX' tensor types
_ROUND_OPERATORS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "ROUND": [("Round", {})],
    "FLOOR": [("Floor", {})],
    "CEIL": [("Ceil", {})],
    "ROUND_TO_ZERO": [("Cast", {"to": _INT64}), ("Cast", {"to": _FLOAT})],
}


def _held(onnx: Any, graph: Any, name: str) -> int:
    """The number that a constant of the graph holds."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] == name:
            tensors[name] = onnx.helper.get_attribute_value(node.attribute[0])
    return int(onnx.numpy_helper.to_array(tensors[name]).reshape(-1)[0])


_TRIES = 4
"""Random inputs for networks that round: where a sum lies just between two levels, both are right."""


@torch.no_grad()
def check_import(path: Path | str, imported: Imported, seed: int = 0) -> float:
    """Compare the module with onnxruntime on random inputs, two at a time.

    :returns: the largest difference, relative to the largest output; of a network that rounds, that
        of the inputs which are nearest.
    :raises PyadmmError: where it exceeds 1e-3.
    """
    difference = _difference(path, imported, seed)
    tries = _TRIES if imported.quantizers else 1
    for more in range(1, tries):
        if difference <= _TOLERANCE:
            break
        difference = min(difference, _difference(path, imported, seed + more))
    if not difference <= _TOLERANCE:
        raise PyadmmError(
            f"{path}: the imported network differs from onnxruntime by {difference:.2g} of the "
            "largest output; this is a defect of pyadmm: please report it"
        )
    return difference


def _difference(path: Path | str, imported: Imported, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(2, *imported.input_shape, generator=generator)
    if _reads_bytes(path):
        inputs = (inputs * 40 + 100).round().clamp(0, 127)  # of signed and of unsigned ones
    found = imported.module(inputs)
    wanted = torch.from_numpy(np.array(runtime_outputs(path, inputs.numpy())))
    for tail in imported.module.meta["tail"]:
        found = _TAILS[tail](found)
    return _relative(found.reshape(wanted.shape), wanted)


def _reads_bytes(path: Path | str) -> bool:
    """Whether the network reads whole numbers."""
    onnx = package("onnx")
    graph = onnx.load(str(path), load_external_data=False).graph
    kind = _only_input(path, graph).type.tensor_type.elem_type
    return kind in (onnx.TensorProto.UINT8, onnx.TensorProto.INT8)


_TAILS: dict[str, Any] = {
    "Softmax": lambda x: x.softmax(1),
    "LogSoftmax": lambda x: x.log_softmax(1),
    "Sigmoid": torch.sigmoid,
    "ArgMax": lambda x: x.argmax(1).float(),
}


def _relative(found: Tensor, wanted: Tensor) -> float:
    largest = float(wanted.abs().max())
    difference = float((found - wanted).abs().max())
    return difference / max(largest, math.ulp(1.0))
