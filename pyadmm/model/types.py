"""Frozen, validated facts about layers, number formats and chip resources.

This module imports nothing of pyadmm but its errors, and no torch: every other room may use it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError

LayerKind = Literal["conv", "linear"]
IntArray = NDArray[np.integer]
Pair: TypeAlias = tuple[int, int]
"""One number for rows, one for columns."""
Sides: TypeAlias = tuple[int, int, int, int]
"""One number for each side of a map: top, left, bottom, right."""


def pair(value: int | Sequence[int]) -> Pair:
    """``value`` for rows and columns; one number counts for both.

    >>> pair(2), pair([1, 3])
    ((2, 2), (1, 3))
    """
    rows, columns = (value, value) if isinstance(value, int) else value
    return rows, columns


def sides(value: int | Sequence[int]) -> Sides:
    """``value`` for top, left, bottom, right; one number counts for all, two for rows and columns.

    >>> sides(1), sides((0, 2)), sides((0, 0, 1, 1))
    ((1, 1, 1, 1), (0, 2, 0, 2), (0, 0, 1, 1))
    """
    if isinstance(value, int):
        return value, value, value, value
    top, left, bottom, right = value if len(value) == 4 else (*value, *value)
    return top, left, bottom, right


def positions(size: int, padding: Pair, taps: int, stride: int, dilation: int = 1) -> int:
    """Positions of a window of ``taps`` on ``size`` values; incomplete windows do not count.

    >>> positions(28, (0, 0), 5, 1), positions(8, (0, 1), 3, 2)
    (24, 4)
    """
    return (size + sum(padding) - dilation * (taps - 1) - 1) // stride + 1


@dataclass(frozen=True, init=False)
class LayerSpec:
    """Shape of one weighted layer, ``out[o, p] = bias[o] + sum_k w[o, k] x[k, p]``.

    A linear layer on a feature map is a convolution whose kernel covers the whole map, so both
    kinds share one geometry: ``k`` runs over ``(channel, kernel row, kernel column)``, row-major,
    which is also the order of ``flatten``.

    :param weight_shape: ``(O, C // groups, KH, KW)`` for a convolution, ``(O, C*H*W)`` for linear.
    :param input_shape: ``(C, H, W)``; a linear layer on a plain vector has ``(K, 1, 1)``.
    :param stride: of rows and columns; one number for both.
    :param padding: zeros at the top, left, bottom and right; one number for all sides, two for
        rows and columns.
    :param groups: convolution groups; ``C`` of them make it depthwise.
    :param dilation: distance of the kernel's rows and columns; one number for both.
    """

    name: str
    kind: LayerKind
    weight_shape: tuple[int, ...]
    input_shape: tuple[int, int, int]
    stride: Pair
    padding: Sides
    groups: int
    dilation: Pair

    def __init__(  # noqa: PLR0917
        self,
        name: str,
        kind: LayerKind,
        weight_shape: tuple[int, ...],
        input_shape: tuple[int, int, int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        groups: int = 1,
        dilation: int | Sequence[int] = 1,
    ) -> None:
        facts = {
            "name": name,
            "kind": kind,
            "weight_shape": weight_shape,
            "input_shape": input_shape,
            "stride": pair(stride),
            "padding": sides(padding),
            "groups": groups,
            "dilation": pair(dilation),
        }
        for field, value in facts.items():
            object.__setattr__(self, field, value)
        self._check()

    def _check(self) -> None:
        sizes = (*self.weight_shape, *self.input_shape, *self.stride, self.groups, *self.dilation)
        if any(size < 1 for size in sizes) or min(self.padding) < 0:
            raise PyadmmError(f"layer {self.name}: sizes must be at least 1, not {sizes}")
        rank = {"conv": 4, "linear": 2}.get(self.kind)
        if rank is None:
            raise PyadmmError(f"layer {self.name}: kind must be conv or linear, not {self.kind!r}")
        if len(self.weight_shape) != rank:
            raise PyadmmError(
                f"layer {self.name}: a {self.kind} weight has {rank} dimensions, "
                f"not shape {self.weight_shape}"
            )
        channels, height, width = self.input_shape
        if self.kind == "linear":
            if self.weight_shape[1] != channels * height * width:
                raise PyadmmError(
                    f"layer {self.name}: weight {self.weight_shape} does not take an input of "
                    f"shape {self.input_shape}"
                )
            if {*self.stride, self.groups, *self.dilation} != {1} or any(self.padding):
                raise PyadmmError(
                    f"layer {self.name}: linear has no stride, padding, dilation or groups"
                )
            return
        if self.outputs % self.groups or self.weight_shape[1] * self.groups != channels:
            raise PyadmmError(
                f"layer {self.name}: {self.groups} groups do not split weight "
                f"{self.weight_shape} on {channels} input channels"
            )
        if min(self.output_shape) < 1:
            raise PyadmmError(
                f"layer {self.name}: kernel {self.kernel} is larger than the padded input "
                f"{self.input_shape}"
            )

    @property
    def outputs(self) -> int:
        """Number of output channels ``O``."""
        return self.weight_shape[0]

    @property
    def kernel(self) -> tuple[int, int]:
        """``(KH, KW)``; for a linear layer the whole input map."""
        if self.kind == "linear":
            return self.input_shape[1], self.input_shape[2]
        return self.weight_shape[2], self.weight_shape[3]

    @property
    def kernel_channels(self) -> int:
        """Input channels that one output channel sees, ``C // groups``."""
        return self.input_shape[0] // self.groups

    @property
    def depthwise(self) -> bool:
        """Whether output channel ``o`` sees input channel ``o`` alone, of several."""
        return self.kernel_channels == 1 and self.outputs == self.groups > 1

    @property
    def window_shape(self) -> tuple[int, int, int, int]:
        """The weight as ``(O, C // groups, KH, KW)``, for both kinds."""
        return (self.outputs, self.kernel_channels, *self.kernel)

    @property
    def square_stride(self) -> int:
        """The stride that rows and columns share; raises where they do not."""
        if self.stride[0] != self.stride[1]:
            raise self._not_square("stride", self.stride)
        return self.stride[0]

    @property
    def square_padding(self) -> int:
        """The padding that all sides share; raises where they do not."""
        if len(set(self.padding)) > 1:
            raise self._not_square("padding", self.padding)
        return self.padding[0]

    def _not_square(self, what: str, values: tuple[int, ...]) -> PyadmmError:
        return PyadmmError(
            f"layer {self.name}: a kernel of the hardware has one {what} for all sides, not "
            f"{values}; make them equal"
        )

    @property
    def row_padding(self) -> Pair:
        """Zeros above and below the map."""
        return self.padding[0], self.padding[2]

    @property
    def column_padding(self) -> Pair:
        """Zeros left and right of the map."""
        return self.padding[1], self.padding[3]

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """Shape of the output map, ``(O, H_out, W_out)``."""
        _, height, width = self.input_shape
        paddings = self.row_padding, self.column_padding
        facts = zip((height, width), paddings, self.kernel, self.stride, self.dilation, strict=True)
        rows, columns = (positions(*fact) for fact in facts)
        return self.outputs, rows, columns

    @property
    def weights(self) -> int:
        """Number of weights, biases not counted."""
        return math.prod(self.weight_shape)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the dense layer for one input.

        >>> LayerSpec("conv2", "conv", (50, 20, 5, 5), (20, 12, 12)).macs
        1600000
        """
        _, height, width = self.output_shape
        return self.weights * height * width


@dataclass(frozen=True)
class QFormat:
    """An integer number format; sole owner of its range, rounding, saturation and types.

    ``value = integer * scale``. Rounding is to nearest, ties towards plus infinity, as the
    hardware's add-half-then-shift does.
    """

    bits: int
    signed: bool
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 48:
            raise PyadmmError(f"number format: bits must be 1 to 48, not {self.bits}")
        if self.signed and self.bits < 2:
            raise PyadmmError("number format: a signed format needs at least 2 bits")
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise PyadmmError(f"number format: scale must be positive, not {self.scale}")

    @property
    def lo(self) -> int:
        """Smallest integer of the format."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def hi(self) -> int:
        """Largest integer of the format."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def max_magnitude(self) -> int:
        """Largest absolute value of any integer of this format."""
        return max(self.hi, -self.lo)

    def saturate(self, integers: IntArray) -> NDArray[np.int64]:
        """The integers clamped to ``lo … hi``, as int64."""
        return np.clip(integers, self.lo, self.hi).astype(np.int64, copy=False)

    def quantize(self, values: NDArray[np.floating]) -> NDArray[np.int64]:
        """Nearest integers of real ``values``, saturated.

        >>> QFormat(4, False, 0.5).quantize(np.array([-1.0, 0.25, 0.3, 99.0])).tolist()
        [0, 1, 1, 15]
        """
        return self.saturate(np.floor(np.asarray(values) / self.scale + 0.5).astype(np.int64))


def signed_bits(magnitude: int) -> int:
    """Bits of a two's-complement number that holds ``-magnitude … magnitude``.

    >>> signed_bits(127), signed_bits(128)
    (8, 9)
    """
    return int(magnitude).bit_length() + 1


@dataclass(frozen=True)
class Resources:
    """Chip resources; BRAM in 18 Kb halves (``RAMB18E1`` = 1, ``RAMB36E1`` = 2)."""

    lut: float = 0
    ff: float = 0
    dsp: float = 0
    bram18: float = 0
    uram: float = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def scaled(self, factor: float) -> Resources:
        """Every resource times ``factor``: a share of a chip, or several copies of a design."""
        return Resources(*(value * factor for value in self.values()))

    def values(self) -> tuple[float, ...]:
        """The figures in the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def fits(self, budget: Resources) -> bool:
        """Whether every figure is within ``budget``."""
        return not self.over(budget)

    def over(self, budget: Resources) -> dict[str, tuple[float, float]]:
        """The resources that exceed ``budget``, as ``name -> (need, limit)``."""
        return {
            field.name: (need, limit)
            for field, need, limit in zip(fields(self), self.values(), budget.values(), strict=True)
            if need > limit
        }
