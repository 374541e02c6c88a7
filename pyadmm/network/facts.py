"""The facts of each step of a network, which training does not change."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pyadmm.model import AvgPool, Requant
from pyadmm.model.types import LayerSpec, Pair, QFormat, Sides
from pyadmm.network.curves import Curve


@dataclass(frozen=True)
class Activation:
    """Activation of a step's result: none, a ReLU or a clamp.

    :param relu: negative values become 0.
    :param ceiling: values are clamped to ``0 … ceiling`` with ``relu``, otherwise to ``±ceiling``. The
        scale of a quantised step is limited so that no code exceeds it.
    """

    relu: bool = False
    ceiling: float | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """The activated values."""
        if self.ceiling is None:
            return F.relu(x) if self.relu else x
        return x.clamp(0.0 if self.relu else -self.ceiling, self.ceiling)

    def step(self, log_s: Tensor, output: QFormat) -> Tensor:
        """The output step that ``log_s`` says, as far as the ceiling lets it grow."""
        step = log_s.exp()
        limit = self.largest_step(output)
        return step if limit is None else step.clamp(max=limit)

    def largest_step(self, output: QFormat) -> float | None:
        """The step at which the outermost code of ``output`` is the ceiling."""
        return None if self.ceiling is None else self.ceiling / output.max_magnitude


NO_ACTIVATION = Activation()


@dataclass(frozen=True)
class PoolFacts:
    """A maximum or an average of windows.

    :param padding: at the top, left, bottom and right; it holds no values.
    :param signed: whether an average's output has negative values.
    :param divisor: of an average; the window's area by default.
    :param border: see :class:`~pyadmm.model.AvgPool`.
    :param activation: of an average.
    :param activation_bits: ``a`` of an average's output, once quantised.
    :param last: an average gives the logits, which are not requantised.
    """

    name: str
    kind: str
    kernel: Pair
    stride: Pair
    padding: Sides = (0, 0, 0, 0)
    signed: bool = False
    divisor: int | None = None
    border: Sides | None = None
    activation: Activation = NO_ACTIVATION
    activation_bits: int = 8
    last: bool = False

    @property
    def output(self) -> QFormat:
        """Format of an average's output codes (scale not filled in)."""
        return QFormat(self.activation_bits, self.signed and not self.activation.relu)

    @property
    def divided_by(self) -> int:
        """Divisor of a whole window."""
        return math.prod(self.kernel) if self.divisor is None else self.divisor

    @property
    def square(self) -> bool:
        """Whether :mod:`pyadmm.cpu_kernels.sparse_conv_blocked` has a kernel for it."""
        even = len({*self.kernel}) == len({*self.stride}) == len({*self.padding}) == 1
        return even and (self.kind == "max" or (not any(self.padding) and self.divisor is None))

    def padded(self, x: Tensor, value: float) -> tuple[Tensor, Pair]:
        """``x`` and its padding as PyTorch's pools take it: unequal sides are filled before."""
        top, left, bottom, right = self.padding
        if (
            (top, left) == (bottom, right)
            and 2 * top <= self.kernel[0]
            and (2 * left <= self.kernel[1])
        ):
            return x, (top, left)
        return F.pad(x, (left, right, top, bottom), value=value), (0, 0)

    def maximum(self, x: Tensor) -> Tensor:
        """Largest values of the windows of maps."""
        x, padding = self.padded(x, -math.inf)
        return F.max_pool2d(x, self.kernel, self.stride, padding)

    def total(self, x: Tensor) -> Tensor:
        """Sums of the windows of maps."""
        x, padding = self.padded(x, 0.0)
        return F.avg_pool2d(x, self.kernel, self.stride, padding, divisor_override=1)

    def shares(self, x: Tensor) -> Tensor | float:
        """What a whole window's divisor is divided by to become that of each window of ``x``."""
        if self.border is None:
            return 1.0
        pool = AvgPool(
            self.name,
            "",
            self.kernel,
            self.stride,
            Requant((1,)),
            self.output,
            self.padding,
            self.border,
        )
        return torch.from_numpy(pool.counts(x.shape[2:4])).to(x) / math.prod(self.kernel)


@dataclass(frozen=True)
class AddFacts:
    """A sum of two maps of one shape, and the activation that may follow.

    :param gains: what the maps are multiplied with first; above 0.
    """

    name: str
    activation: Activation = NO_ACTIVATION
    activation_bits: int = 8
    gains: tuple[float, float] = (1.0, 1.0)

    @property
    def output(self) -> QFormat:
        """Format of the output codes (scale not filled in)."""
        return QFormat(self.activation_bits, signed=not self.activation.relu)


@dataclass(frozen=True)
class ConcatFacts:
    """Channels of several maps one after the other, and the activation that may follow.

    :param signed: whether any of them has negative values.
    """

    name: str
    signed: bool
    activation: Activation = NO_ACTIVATION
    activation_bits: int = 8

    @property
    def output(self) -> QFormat:
        """Format of the output codes (scale not filled in)."""
        return QFormat(self.activation_bits, self.signed and not self.activation.relu)


@dataclass(frozen=True)
class CurveFacts:
    """A pointwise activation that is no clamp."""

    name: str
    curve: Curve
    activation_bits: int = 8
    activation: Activation = NO_ACTIVATION

    @property
    def output(self) -> QFormat:
        """Format of the output codes (scale not filled in)."""
        return QFormat(self.activation_bits, self.curve.signed and not self.activation.relu)


@dataclass(frozen=True)
class ProductFacts:
    """A product of two maps, and the activation that may follow.

    :param signed: whether any of them has negative values.
    """

    name: str
    signed: bool
    activation: Activation = NO_ACTIVATION
    activation_bits: int = 8

    @property
    def output(self) -> QFormat:
        """Format of the output codes (scale not filled in)."""
        return QFormat(self.activation_bits, self.signed and not self.activation.relu)


@dataclass(frozen=True)
class AffineFacts:
    """``gain[c] * x[c] + shift[c]`` of a map ``(C, H, W)``, and the activation that may follow."""

    name: str
    shape: tuple[int, int, int]
    activation: Activation = NO_ACTIVATION
    activation_bits: int = 8

    @property
    def output(self) -> QFormat:
        """Format of the output codes (scale not filled in)."""
        return QFormat(self.activation_bits, signed=not self.activation.relu)


@dataclass(frozen=True)
class ShortcutFacts:
    """A step that rearranges values without weights, such as shortcuts of type A (He et al. 2016, 4.2).

    The channels of the map ``(C, H, W)`` are put in the given ``order``, or stay as they are if it is
    empty. ``padding`` zeros are added around the map, and every ``stride``-th row and column is taken.
    ``before`` and ``after`` channels of zeros are added on both sides. Negative numbers cut rows,
    columns or channels off instead.
    """

    name: str
    input_shape: tuple[int, int, int]
    stride: Pair = (1, 1)
    before: int = 0
    after: int = 0
    padding: Sides = (0, 0, 0, 0)
    order: tuple[int, ...] = ()


@dataclass(frozen=True)
class LayerFacts:
    """Facts of a weighted layer: its full shape, and the pool and activation after it.

    :param activation: what follows (before or after ``pool``: both orders give the same).
    :param pool: max-pool that follows.
    :param last: it gives the logits, which are not requantised.
    :param weight_bits: ``n`` of the levels, once quantised.
    :param activation_bits: ``a`` of its output, once quantised.
    :param bias_fraction_bits: ``f``; a bias is kept to ``2**-f`` of an output step, once quantised:
        trailing zeros, hence few bytes.
    """

    spec: LayerSpec
    activation: Activation = NO_ACTIVATION
    pool: PoolFacts | None = None
    last: bool = False
    weight_bits: int = 8
    activation_bits: int = 8
    bias_fraction_bits: int = 2

    @property
    def relu(self) -> bool:
        """Whether its output has no negative values."""
        return self.activation.relu

    @property
    def output(self) -> QFormat:
        """Format of the output codes (scale not filled in); logits keep their sign at any width."""
        bits = max(2, self.activation_bits) if self.last else self.activation_bits
        return QFormat(bits, signed=not self.relu)

    @property
    def plainly_pooled(self) -> bool:
        """Whether it is what :mod:`pyadmm.cpu_kernels.sparse_conv_pool` has a kernel for."""
        spec, pool = self.spec, self.pool
        if spec.kind != "conv" or pool is None:
            return False
        plain = spec == LayerSpec(spec.name, "conv", spec.weight_shape, spec.input_shape)
        return plain and pool == PoolFacts(pool.name, "max", (2, 2), (2, 2), signed=pool.signed)
