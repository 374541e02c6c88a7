"""Values of the nodes of a traced graph, in terms of the steps collected so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from pyadmm.model.types import Sides
from pyadmm.network.layers import Norm

Shape = tuple[int, ...]
Map = tuple[int, int, int]
NO_PADDING: Sides = (0, 0, 0, 0)


@dataclass(frozen=True)
class Value:
    """The value of a node of the graph: ``resample(pad(gain * output + shift))`` of a step.

    :param shape: of the tensor, without the batch; values are in the order of the step's map.
    :param gain: by channel of the map, or by value of a flattened map.
    :param norm: the batch norm that gain and shift are, if they are just that.
    :param padding: zeros around the map, after gain and shift.
    :param resample: matrices ``(H', H)`` and ``(W', W)`` by which rows and columns are averaged, which
        only a Linear can take up.
    :param places: which of the step's values, in their order, each of these is; only a Linear takes
        values in another order.
    :param sole: nothing else reads the step's output.
    :param ended: the operation at the end that does not change the order of logits, in words.
    :param ending: its node.
    """

    step: str
    shape: Shape
    gain: Tensor | None = None
    shift: Tensor | None = None
    norm: Norm | None = None
    padding: Sides = NO_PADDING
    resample: tuple[Tensor, Tensor] | None = None
    places: Tensor | None = None
    sole: bool = True
    ended: str = ""
    ending: fx.Node | None = None

    @property
    def plain(self) -> bool:
        """Whether it is the step's very output."""
        still = self.padding == NO_PADDING and self.resample is None and self.places is None
        return self.gain is None and still


def shape_of(node: fx.Node) -> Shape:
    """Shape of what ``node`` gives, the batch left out."""
    meta = node.meta["val"]
    first = meta[0] if isinstance(meta, tuple | list) else meta
    return tuple(int(size) for size in first.shape[1:])


def numbers(value: Any, count: int) -> list[int]:
    """``count`` numbers; one stands for all."""
    numbers = list(value) if isinstance(value, list | tuple) else [value]
    return [int(n) for n in (numbers * count if len(numbers) == 1 else numbers)]


def plus(a: Sequence[int], b: Sequence[int]) -> Sides:
    """The sum of two paddings, side by side."""
    top, left, bottom, right = (x + y for x, y in zip(a, b, strict=True))
    return top, left, bottom, right


def any_of(values: Tensor) -> bool:
    """Whether any is not 0; those on the meta device may be anything."""
    return values.is_meta or bool((values != 0).any())


def positive(values: Tensor) -> bool:
    """Whether all values are known and positive."""
    return not values.is_meta and bool((values > 0).all())


def shifts(value: Value) -> bool:
    """Whether something is added to a step's output."""
    return value.shift is not None and value.gain is not None and any_of(value.shift)
