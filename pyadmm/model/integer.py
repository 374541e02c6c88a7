"""The compressed integer model and its golden reference, :meth:`CompressedModel.run`.

Numerics contract: this module, the generated C++, the generated RTL and the board give the same
integers on every input. A weight is a level code ``w`` in ``{-M/2 … -1, 1 … M/2}``, ``M = 2**n``
(ADMM-NN section 3.4.2: there is no zero level), or 0 where it is pruned. Accumulators are exact;
every stage that changes scale does so by :class:`~pyadmm.model.requant.Requant`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.model.input_spec import INPUT, InputSpec
from pyadmm.model.joins import Add, Concat
from pyadmm.model.pointwise import PRODUCT_BITS, Lookup, Product
from pyadmm.model.pooling import AvgPool, MaxPool
from pyadmm.model.types import IntArray, QFormat, signed_bits
from pyadmm.model.weighted_layer import CompressedLayer

ACCUMULATOR_BITS_LIMIT = 48
_BATCH = 500
BATCH_INTEGERS = 1 << 27
"""Most integers that the golden model holds at once: 1 GB."""
Node: TypeAlias = CompressedLayer | MaxPool | AvgPool | Add | Concat | Lookup | Product


@dataclass(frozen=True)
class CompressedModel:
    """A network in integers.

    :param name: name of the network, for files and messages.
    :param input: shape and encoding of the data.
    :param nodes: layers, pools, sums, concatenations, tables and products in topological order; the
        last node gives the logits.
    :raises PyadmmError: for a name that occurs twice, a source that is no earlier node, shapes or
        formats that do not fit, or an accumulator that is too wide.
    """

    name: str
    input: InputSpec
    nodes: tuple[Node, ...]
    _shapes: Mapping[str, tuple[int, int, int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        shapes = {INPUT: self.input.shape}
        for node in self.nodes:
            if node.name in shapes:
                raise PyadmmError(f"model {self.name}: the name {node.name!r} occurs twice")
            missing = [s for s in node.sources if s not in shapes]
            if missing:
                raise PyadmmError(
                    f"model {self.name}: {node.name} reads {missing[0]!r}, which is no earlier node"
                )
            shapes[node.name] = node.output_shape([shapes[s] for s in node.sources])
            self._require_formats(node)
        if not self.nodes:
            raise PyadmmError(f"model {self.name}: has no layers")
        object.__setattr__(self, "_shapes", shapes)
        for layer in self.layers:
            bits = self.accumulator_bits(layer.name)
            if bits > ACCUMULATOR_BITS_LIMIT:
                raise PyadmmError(
                    f"layer {layer.name}: an accumulator of {bits} bits exceeds "
                    f"{ACCUMULATOR_BITS_LIMIT}; use fewer weight or activation bits"
                )

    def _require_formats(self, node: Node) -> None:
        """Refuse sources whose integers ``node`` does not take."""
        if isinstance(node, Lookup):
            node.require_source(self.format_of(node.source))
        if isinstance(node, Product):
            bits = max(self.format_of(source).bits for source in node.sources)
            if bits > PRODUCT_BITS:
                raise PyadmmError(
                    f"product {node.name}: a factor has at most {PRODUCT_BITS} bits, not {bits}; "
                    "use fewer activation bits"
                )

    @property
    def layers(self) -> tuple[CompressedLayer, ...]:
        """The weighted layers, in order."""
        return tuple(n for n in self.nodes if isinstance(n, CompressedLayer))

    def layer(self, name: str) -> CompressedLayer:
        """The weighted layer called ``name``."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = ", ".join(layer.name for layer in self.layers)
        raise PyadmmError(f"model {self.name}: no layer {name!r}; it has {names}")

    def shape_of(self, name: str) -> tuple[int, int, int]:
        """``(C, H, W)`` that node ``name`` (or :data:`INPUT`) gives."""
        return self._shapes[name]

    def format_of(self, name: str) -> QFormat:
        """Number format that node ``name`` (or :data:`INPUT`) gives."""
        if name == INPUT:
            return self.input.format
        node = next(n for n in self.nodes if n.name == name)
        return self.format_of(node.source) if isinstance(node, MaxPool) else node.output

    def accumulator_bits(self, name: str) -> int:
        """Two's-complement width of the accumulators of layer ``name`` that no input can overflow.

        The intermediate result of requantisation is included.
        """
        layer = self.layer(name)
        magnitude = layer.accumulator_magnitude(self.format_of(layer.source).max_magnitude)
        return signed_bits(magnitude)

    @property
    def weights(self) -> int:
        """Number of weights of the dense network."""
        return sum(layer.spec.weights for layer in self.layers)

    @property
    def nnz(self) -> int:
        """Number of weights that are left."""
        return sum(layer.nnz for layer in self.layers)

    @property
    def pruning_ratio(self) -> float:
        """Dense weights over weights that are left."""
        return self.weights / max(self.nnz, 1)

    def run(
        self,
        images: NDArray[np.uint8] | NDArray[np.int8],
        most_integers: int = BATCH_INTEGERS,
    ) -> NDArray[np.int64]:
        """Logits ``(N, classes)`` of byte ``images`` ``(N, C, H, W)``: the golden reference.

        :param most_integers: held at once, 8 bytes each; images go through in batches.
        """
        size = self._images_at_once(most_integers)
        chunks = [images[i : i + size] for i in range(0, len(images), size)]
        last = self.nodes[-1].name
        empty = np.empty((0, int(np.prod(self.shape_of(last)))), np.int64)
        logits = [self.run_nodes(chunk)[last].reshape(len(chunk), -1) for chunk in chunks]
        return np.concatenate([empty, *logits])

    def _images_at_once(self, most_integers: int) -> int:
        """Images that :meth:`run` takes together: few where maps are large."""
        integers = math.prod(self.input.shape)
        columns = 0
        for node in self.nodes:
            channels, height, width = self.shape_of(node.name)
            integers += channels * height * width
            if isinstance(node, CompressedLayer):
                columns = max(columns, math.prod(node.spec.weight_shape[1:]) * height * width)
        return max(1, min(_BATCH, most_integers // (integers + columns)))

    def run_nodes(
        self, images: NDArray[np.uint8] | NDArray[np.int8]
    ) -> dict[str, NDArray[np.int64]]:
        """Integers of every node, by name, for ``images`` ``(N, C, H, W)``."""
        values: dict[str, NDArray[np.int64]] = {INPUT: self.input.quantize(images)}
        for node in self.nodes:
            magnitude = self.format_of(node.sources[0]).max_magnitude
            values[node.name] = node.run([values[s] for s in node.sources], magnitude)
        return values

    def accuracy(self, images: NDArray[np.uint8] | NDArray[np.int8], labels: IntArray) -> float:
        """Share of ``images`` whose largest logit (the first of equals) is at ``labels``."""
        if len(images) == 0:
            raise PyadmmError("accuracy: there are no images")
        return float(np.mean(self.run(images).argmax(1) == labels))

    def without_scales(self) -> CompressedModel:
        """The same integers with every ``weight_scale`` set to 1, which saves bytes of the file.

        The scales of all outputs are those that follow from it: logits in units of their own.
        """
        scales = {INPUT: self.input.format.scale}
        nodes: list[Node] = []
        for node in self.nodes:
            scale = scales[node.sources[0]]
            if isinstance(node, CompressedLayer):
                scale = node.requant.output_scale(scale)
                output = replace(node.output, scale=scale)
                nodes.append(replace(node, weight_scale=(1.0,), output=output))
            elif isinstance(node, MaxPool):
                nodes.append(node)
            elif isinstance(node, Concat):
                scale = node.requants[0].output_scale(scale)
                nodes.append(replace(node, output=replace(node.output, scale=scale)))
            else:
                nodes.append(replace(node, output=replace(node.output, scale=scale)))
            scales[node.name] = scale
        return replace(self, nodes=tuple(nodes))
