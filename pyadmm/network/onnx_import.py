"""From an ONNX file to a torch module that computes the same numbers.

The result is an ``fx.GraphModule`` of standard torch layers, so everything that takes a torch module
takes an ONNX file as well. Float graphs, graphs with ``QuantizeLinear``/``DequantizeLinear`` pairs and
QONNX graphs (``Quant`` nodes) are read; constant parts are folded, batch norms stay layers of their
own. :mod:`pyadmm.network.onnx_operators` says what each operator becomes.

Needs the package ``onnx`` (``pip install 'pyadmm[export]'``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from pyadmm.core.errors import PyadmmError
from pyadmm.model.onnx import package, runtime_session
from pyadmm.network.onnx_operators import GraphReader, Quantizer

_FILE_LIMIT = 1 << 31
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
        module.meta["tail"] = self.module.meta["tail"]
        return Imported(module, self.input_shape, notes)


def import_onnx(path: Path | str, input_shape: Sequence[int] | None = None) -> Imported:
    """Read the network in the ONNX file ``path``, with external data in the same folder, if any.

    :param input_shape: ``(C, H, W)``, where the file leaves some of it open.
    :raises PyadmmError: for a file that is damaged or incomplete, or an operator that is not
        supported; the message names the node.
    :raises MissingToolError: without the package ``onnx``.
    """
    path = Path(path)
    onnx = package("onnx")
    try:
        return _imported(onnx, path, input_shape)
    except PyadmmError:
        raise
    except Exception as error:  # a foreign file can break its parser in any way
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PyadmmError(
            f"{path}: cannot be read as an ONNX network: {reason}; check that the file is complete "
            "and that its external data lie beside it"
        ) from error


def _imported(onnx: Any, path: Path, input_shape: Sequence[int] | None) -> Imported:
    size = path.stat().st_size
    if not 0 < size < _FILE_LIMIT:
        raise PyadmmError(f"{path}: must have 1 to {_FILE_LIMIT - 1} bytes, not {size}")
    proto = onnx.load(str(path))
    reader = GraphReader(onnx, proto, str(path))
    name, shape = _only_input(path, proto.graph, reader.constants, input_shape)
    rank = len(next(v for v in proto.graph.input if v.name == name).type.tensor_type.shape.dim)
    reader.start(name, shape, flat=rank == 2)
    for node in proto.graph.node:
        reader.read(node)
    module = reader.finish()
    return Imported(module.eval(), shape[1:], tuple(reader.notes))


def _only_input(
    path: Path, graph: Any, constants: dict[str, Any], given: Sequence[int] | None
) -> tuple[str, tuple[int, int, int, int]]:
    """Name and shape ``(N, C, H, W)`` of the one input; an open ``N`` is 1."""
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise PyadmmError(
            f"{path}: a network must have 1 input and 1 output, not {len(inputs)} and "
            f"{len(graph.output)}; export it with one of each"
        )
    dims = [d.dim_value if d.dim_value > 0 else 0 for d in inputs[0].type.tensor_type.shape.dim]
    own = [*dims[1:], *[1] * (4 - len(dims))]
    wanted = list(own if given is None else given)
    clash = any(a and b and a != b for a, b in zip(own, wanted, strict=False))
    if len(dims) not in (2, 4) or len(wanted) != 3 or clash or min(wanted) < 1:
        raise PyadmmError(
            f"{path}: the input must have a shape (N, C, H, W) of which only N is open, not "
            f"{tuple(dims)} (0 is open); give its shape C,H,W"
        )
    return inputs[0].name, (max(dims[0], 1), *wanted)  # type: ignore[return-value]


def runtime_outputs(path: Path | str, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """What onnxruntime computes with the file on ``inputs`` ``(N, C, H, W)``.

    :raises MissingToolError: without the package ``onnxruntime``.
    """
    package("onnxruntime")
    try:
        session = runtime_session(str(path))
        (entry,) = session.get_inputs()
        shaped = inputs.reshape(len(inputs), *inputs.shape[1 : len(entry.shape)])
        found: NDArray[np.float32] = session.run(None, {entry.name: shaped})[0]
    except Exception as error:  # onnxruntime has exceptions of its own, without a common base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PyadmmError(f"{path}: onnxruntime refuses it: {reason}") from error
    return found


@torch.no_grad()
def check_import(path: Path | str, imported: Imported, seed: int = 0) -> float:
    """Compare the module with onnxruntime on two random inputs.

    :returns: the largest difference, relative to the largest output.
    :raises PyadmmError: where it exceeds 1e-3.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(2, *imported.input_shape, generator=generator)
    found = imported.module(inputs)
    wanted = torch.from_numpy(np.array(runtime_outputs(path, inputs.numpy())))
    for tail in imported.module.meta["tail"]:
        found = _TAILS[tail](found)
    difference = _relative(found.reshape(wanted.shape), wanted)
    if not difference <= _TOLERANCE:
        raise PyadmmError(
            f"{path}: the imported network differs from onnxruntime by {difference:.2g} of the "
            "largest output; this is a defect of pyadmm: please report it"
        )
    return difference


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
