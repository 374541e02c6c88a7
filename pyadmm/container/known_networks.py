"""Well-known networks: their names, wiring and shapes take next to nothing in an ``.admm`` file.

The table is part of the file's format: a change of it needs a new version of the format.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pyadmm.model import INPUT, CompressedLayer, CompressedModel, MaxPool, Node
from pyadmm.model.types import LayerSpec

_CONV, _LINEAR, _MAX_POOL = range(3)


@dataclass(frozen=True)
class NodeOutline:
    """The part of a node that training does not change: a layer's ``spec``, or a 2x2 max-pool.

    :param kind: 0 convolution, 1 linear, 2 max-pool, as in the file's format.
    """

    kind: int
    name: str
    source: str
    spec: LayerSpec | None = None


@dataclass(frozen=True)
class Outline:
    """The outline of a whole network."""

    name: str
    input_shape: tuple[int, int, int]
    nodes: tuple[NodeOutline, ...]


@cache
def outlines_known() -> tuple[Outline, ...]:
    """The table, in the order of the file's format."""
    return (
        # LeCun et al. 1998, as in Caffe's examples.
        Outline(
            "lenet5",
            (1, 28, 28),
            (
                _layer("conv1", (20, 1, 5, 5), (1, 28, 28), INPUT),
                NodeOutline(_MAX_POOL, "pool1", "conv1"),
                _layer("conv2", (50, 20, 5, 5), (20, 12, 12), "pool1"),
                NodeOutline(_MAX_POOL, "pool2", "conv2"),
                _layer("fc1", (500, 800), (50, 4, 4), "pool2"),
                _layer("fc2", (10, 500), (500, 1, 1), "fc1"),
            ),
        ),
        Outline(
            "lenet300",
            (1, 28, 28),
            (
                _layer("fc1", (300, 784), (1, 28, 28), INPUT),
                _layer("fc2", (100, 300), (300, 1, 1), "fc1"),
                _layer("fc3", (10, 100), (100, 1, 1), "fc2"),
            ),
        ),
    )


def find_outline(model: CompressedModel) -> int:
    """Place in the table of the outline that fits ``model``, whatever its name; else its length."""
    nodes = tuple(_outline(node) for node in model.nodes)
    known = outlines_known()
    for place, outline in enumerate(known):
        if outline.input_shape == model.input.shape and outline.nodes == nodes:
            return place
    return len(known)


def _layer(
    name: str, weight_shape: tuple[int, ...], input_shape: tuple[int, int, int], source: str
) -> NodeOutline:
    kind = _CONV if len(weight_shape) == 4 else _LINEAR
    spec = LayerSpec(name, "conv" if kind == _CONV else "linear", weight_shape, input_shape)
    return NodeOutline(kind, name, source, spec)


def _outline(node: Node) -> NodeOutline | None:
    """``None`` for what the table cannot describe."""
    if isinstance(node, CompressedLayer):
        kind = _CONV if node.spec.kind == "conv" else _LINEAR
        return NodeOutline(kind, node.name, node.source, node.spec)
    if isinstance(node, MaxPool) and node == MaxPool(node.name, node.source, 2, 2):
        return NodeOutline(_MAX_POOL, node.name, node.source)
    return None
