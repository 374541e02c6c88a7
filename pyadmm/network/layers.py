"""The layers of a network: their facts and how each computes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyadmm.admm.projections import joint_scale, level_codes, top_mask
from pyadmm.cpu_kernels import sparse_conv_blocked as blocks
from pyadmm.cpu_kernels import sparse_conv_pool as convolution
from pyadmm.model import AvgPool, Requant
from pyadmm.model.types import LayerSpec, Pair, QFormat, Sides
from pyadmm.network.fake_quant import (
    multipliers,
    quantize_weight,
    requantize,
    round_half_up,
    round_into,
    scaled_ratios,
    snapped_ratios,
    straight_through,
)

_BLOCKS = blocks.BLOCKS


_LOGIT_STEP = 0.25
"""What counts as output step of the last layer, in units of the logit."""


_RATIO_BITS = 16
"""Width of a layer's multipliers."""


_LEAST_GAIN = 2.0**-12
"""Of a norm's channel, relative to its layer's largest."""


AFFINE_UNIT = 16
"""What an affine step multiplies the codes of its largest channels with."""


_LEAST_AFFINE = 2.0**-6
"""Gain, relative to the largest, below which a channel has a smaller multiplier instead."""


Coded: TypeAlias = tuple[Tensor, Tensor]
"""Integer codes, as floats, and the scale that makes them real numbers."""


Norm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d


@dataclass(frozen=True)
class Activation:
    """What is applied to a step's result: nothing, a ReLU or a clamp.

    :param relu: negative values become 0.
    :param ceiling: values are clamped to ``0 … ceiling`` with ``relu``, else to ``±ceiling``; a
        quantised step keeps its scale so small that no code means more.
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
    :param border: see :class:`~pyadmm.model.integer.AvgPool`.
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
    """Moves values without weights, such as shortcuts of type A (He et al. 2016, section 4.2).

    Every ``stride``-th row and column of a map ``(C, H, W)`` with ``padding`` zeros around it,
    between ``before`` and ``after`` channels of zeros; so many channels are cut off where they are
    negative.
    """

    name: str
    input_shape: tuple[int, int, int]
    stride: Pair = (1, 1)
    before: int = 0
    after: int = 0
    padding: Sides = (0, 0, 0, 0)


@dataclass(frozen=True)
class LayerFacts:
    """What is fixed about a weighted layer: full shape, and what follows it.

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


class WeightedStep(nn.Module):
    """Convolution or linear layer, then batch norm, max-pool, ReLU, requantisation, if any.

    ``weight`` is the latent weight of the active channels; ``mask`` is 0 where it is pruned;
    ``frozen`` holds the level codes that no longer change, 0 where they still may. ``norm`` is
    ``None`` where the layer has none, or it is folded. Real inputs in blocks of images
    (:mod:`pyadmm.cpu_kernels.sparse_conv_blocked`) give outputs in blocks, by the non-zero weights of a convolution.
    ``log_q`` is the logarithm of the weight scale ``q``: one number, or one per output channel
    where a norm was folded.
    """

    mask: Tensor
    frozen: Tensor
    outputs: Tensor
    inputs: Tensor

    def __init__(
        self, facts: LayerFacts, weight: Tensor, bias: Tensor, norm: Norm | None = None
    ) -> None:
        super().__init__()
        self.facts = facts
        self.norm = norm
        self._nonzeros: tuple[Tensor, tuple[object, ...], Any] | None = None
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())
        self.log_q = nn.Parameter(weight.new_zeros(()))
        self.log_s = nn.Parameter(weight.new_zeros(()))
        self.register_buffer("mask", torch.ones_like(weight))
        self.register_buffer("frozen", torch.zeros_like(weight))
        channels = facts.spec.outputs, facts.spec.input_shape[0]
        for name, count in zip(("outputs", "inputs"), channels, strict=True):
            self.register_buffer(name, torch.arange(count, device=weight.device))

    @property
    def name(self) -> str:
        """The name of the layer."""
        return self.facts.spec.name

    @property
    def nnz(self) -> int:
        """Weights that are left."""
        return int(torch.count_nonzero(self.mask))

    def as_windows(self, tensor: Tensor) -> Tensor:
        """A tensor of the weight's shape as ``(O, C / groups, KH * KW)``, for both kinds."""
        return tensor.reshape(len(self.outputs), -1, math.prod(self.facts.spec.kernel))

    @property
    def output(self) -> QFormat | None:
        """Format of the output codes (scale not filled in); ``None`` for logits."""
        return None if self.facts.last else self.facts.output

    @property
    def step_size(self) -> Tensor:
        """Real value of one output step."""
        return self.facts.activation.step(self.log_s, self.facts.output)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Accumulators of ``x`` with ``weight`` and ``bias``."""
        spec = self.facts.spec
        if spec.kind == "linear":
            return F.linear(x.flatten(1), weight, bias)
        top, left, bottom, right = spec.padding
        if (top, left) != (bottom, right):
            x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
        return F.conv2d(x, weight, bias, spec.stride, (top, left), spec.dilation, spec.groups)

    def pooled(self, x: Tensor) -> Tensor:
        """Max-pooled if a pool follows (it commutes with what is monotone)."""
        pool = self.facts.pool
        return x if pool is None else pool.maximum(x)

    def pooled_product(
        self, x: Tensor, weight: Tensor, bias: Tensor, *, nonzeros: bool = False
    ) -> Tensor:
        """Accumulators behind the pool, by the non-zeros where that is wanted and possible."""
        if not nonzeros or not self._plainly_pooled(x):
            return self.pooled(self.product(x, weight, bias))
        size = tuple(x.shape[1:])
        return convolution.conv_pool(x, weight, bias, self._places(convolution.NonZeros.of, size))

    def _taps(self, x: Tensor) -> blocks.Taps:
        spec = self.facts.spec

        def find(mask: Tensor, size: tuple[int, int, int]) -> blocks.Taps:
            stride, padding = spec.square_stride, spec.square_padding
            return blocks.Taps.of(mask, size, stride, padding, spec.groups)

        return self._places(find, tuple(x.shape[1:4]))

    def _places(self, find: Callable[[Tensor, Any], Any], size: tuple[int, ...]) -> Any:
        """Of the weights, found anew when the mask or the size of the input has changed."""
        state = self.mask._version, size
        known = self._nonzeros
        if known is None or known[0] is not self.mask or known[1] != state:
            known = self._nonzeros = self.mask, state, find(self.mask, size)
        return known[2]

    def _plainly_pooled(self, x: Tensor) -> bool:
        if not self.facts.plainly_pooled or x.dtype != torch.float32:
            return False
        (height, width), (rows, columns) = x.shape[2:], self.facts.spec.kernel
        return convolution.fits((height - rows + 1, width - columns + 1))

    def forward(self, x: Tensor, *, levels: bool = False, nonzeros: bool = False) -> Tensor:
        """Real outputs of real inputs.

        :param levels: the weights are at their levels.
        :param nonzeros: as in :class:`~pyadmm.network.execution.Execution`.
        """
        weight = self.weight_codes() * self.row_q if levels else self.weight
        if x.ndim == _BLOCKS and self.facts.spec.kind == "conv":
            return self._of_blocks(x, weight)
        if x.ndim == _BLOCKS:
            x = blocks.from_blocks(x)
        if self.norm is None:
            acc = self.pooled_product(x, weight, self.bias, nonzeros=nonzeros)
            return self.facts.activation(acc)
        else:  # it subtracts the bias again: a gradient would cost time and be rounding errors
            acc = self.norm(self.product(x, weight, self.bias.detach()))
        return self.facts.activation(self.pooled(acc))

    def _of_blocks(self, x: Tensor, weight: Tensor) -> Tensor:
        """Real outputs of real inputs in blocks, in blocks."""
        facts, taps = self.facts, self._taps(x)
        relu = facts.relu and facts.pool is None
        if self.norm is None:
            y = blocks.conv(x, weight, self.bias, taps, relu=relu)
        else:
            assert isinstance(self.norm, nn.BatchNorm2d)
            y = blocks.conv_norm(x, weight, self.bias, self.norm, taps, relu=relu)
        y = self._blocks_pooled(y)
        return y if relu and facts.activation == Activation(True) else facts.activation(y)

    def _blocks_pooled(self, y: Tensor) -> Tensor:
        pool = self.facts.pool
        if pool is None:
            return y
        return blocks.max_pool(y, pool.kernel[0], pool.stride[0], pool.padding[0])

    def forward_codes(self, x: Coded, *, nonzeros: bool = False) -> Coded:
        """Output codes and their scale, from input codes and theirs; real logits if last.

        :param nonzeros: as in :class:`~pyadmm.network.execution.Execution`.
        """
        assert self.norm is None, "norms are folded before a network is quantised"
        codes, scale = x
        unit, step, output = self.log_q.exp() * scale, self.step_size, self.facts.output
        if codes.ndim == _BLOCKS and self.facts.spec.kind == "linear":
            codes = blocks.from_blocks(codes)
        weight, bias = self.weight_codes(), self.bias_codes(unit)
        if codes.ndim == _BLOCKS:
            acc = self._blocks_pooled(
                blocks.conv(codes, weight, bias, self._taps(codes), relu=False)
            )
        else:
            acc = self.pooled_product(codes, weight, bias, nonzeros=nonzeros)
        if self.facts.last:
            return acc * self.per_channel(unit, acc.ndim), scale
        ratio = self.per_channel(self.ratio(scale), acc.ndim)
        return requantize(acc, ratio, output.lo, output.hi), step

    def weight_codes(self) -> Tensor:
        """Level codes of the weights, 0 where they are pruned."""
        return quantize_weight(self.weight, self.row_q, self.facts.weight_bits, self.mask)

    def ratio(self, scale: Tensor) -> Tensor:
        """What accumulators are multiplied with to become output codes, per channel or for all.

        :param scale: of the input codes.
        """
        ratio = self.log_q.exp() * scale / self.step_size
        return snapped_ratios(ratio.reshape(-1), _RATIO_BITS).reshape(ratio.shape)

    def channel_multipliers(self, scale: Tensor) -> tuple[tuple[int, ...], int]:
        """Multipliers of the active channels and their shift, where each channel has its own."""
        ratio = self.log_q.exp() * scale / self.step_size
        return multipliers(ratio, _RATIO_BITS)

    @property
    def row_q(self) -> Tensor:
        """``q``, of a shape that divides the weight."""
        q = self.log_q.exp()
        return q if q.ndim == 0 else q.reshape(-1, *[1] * (self.weight.ndim - 1))

    @property
    def row_factor(self) -> Tensor:
        """Magnitude of what the norm multiplies each output with, of a shape for the weight."""
        factor = self._norm_factor()
        if factor is None:
            return torch.ones_like(self.mask)
        return factor.abs().reshape(-1, *[1] * (self.weight.ndim - 1)).expand_as(self.mask)

    def per_channel(self, values: Tensor, dims: int) -> Tensor:
        """``values``, one or one per output channel, of a shape that multiplies accumulators.

        :param dims: dimensions of the accumulators.
        """
        spatial = self.facts.spec.kind == "conv" and values.ndim == 1
        return values.reshape(-1, *[1] * (dims - 2)) if spatial else values

    def bias_step(self, unit: Tensor) -> Tensor:
        """What biases are whole multiples of, in integers of accumulator ``unit``."""
        step = _LOGIT_STEP if self.facts.last else self.step_size.detach()
        shift = torch.floor(torch.log2(step / unit.detach())) - self.facts.bias_fraction_bits
        return torch.exp2(shift.clamp(min=0))

    def bias_codes(self, unit: Tensor) -> Tensor:
        """The bias in integers of accumulator ``unit``, with trailing zeros where harmless."""
        step = self.bias_step(unit)
        smooth = self.bias / unit
        return straight_through(round_half_up(smooth.detach() / step) * step, smooth)

    def apply_mask(self, mask: Tensor) -> None:
        """Prune where ``mask`` is 0, for good."""
        self.mask.mul_(mask)
        with torch.no_grad():
            self.weight.mul_(self.mask)

    @torch.no_grad()
    def freeze(self, share: float) -> None:
        """Freeze ``share`` of the weights at their levels: those nearest to them."""
        smooth = self.weight / self.row_q
        codes = level_codes(smooth, 1.0, self.facts.weight_bits) * self.mask
        distance = (smooth - codes).abs()
        distance[self.frozen != 0] = -1.0
        distance[self.mask == 0] = math.inf
        chosen = top_mask(-distance, round(share * self.nnz))
        self.frozen.copy_(torch.where(self.frozen != 0, self.frozen, codes * chosen))

    @torch.no_grad()
    def hold_frozen(self) -> None:
        """Bring the latent weights that are frozen back to their levels."""
        self.weight.copy_(torch.where(self.frozen != 0, self.frozen * self.row_q, self.weight))

    def fit_weight_scale(self) -> None:
        """Set ``q`` to the exact least-squares scale of the weights that are left."""
        q = joint_scale(self.weight.detach(), self.nnz, self.facts.weight_bits)
        self.log_q = nn.Parameter(self.weight.new_full((), math.log(q)))

    @torch.no_grad()
    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias with the norm ``gamma (y - mean) / sqrt(var + eps) + beta`` in them.

        They equal the layer in evaluation mode; without a norm they are the layer's own.
        """
        factor = self._norm_factor()
        if self.norm is None or factor is None:
            return self.weight.detach(), self.bias.detach()
        assert self.norm.running_mean is not None
        weight = self.weight * factor.reshape(-1, *[1] * (self.weight.ndim - 1))
        return weight, (self.bias - self.norm.running_mean) * factor + self.norm.bias

    def without_norm(self) -> WeightedStep:
        """A copy with its norm folded; each channel's ``q`` takes the norm's factor, codes stay."""
        step = copy.deepcopy(self)
        weight, bias = self.folded()
        factor = self._norm_factor()
        if factor is None:
            return step
        step.weight.data.copy_(weight)
        step.bias.data.copy_(bias)
        step.frozen.mul_(factor.sign().reshape(-1, *[1] * (self.weight.ndim - 1)))
        gain = factor.abs().clamp(min=_LEAST_GAIN * float(factor.abs().max()))
        gain[~self.as_windows(self.mask).flatten(1).any(1)] = (
            gain.max()
        )  # inactive: any scale will do
        step.log_q = nn.Parameter(self.log_q.detach() + gain.log())
        step.norm = None
        return step

    def _norm_factor(self) -> Tensor | None:
        """``gamma / sqrt(var + eps)`` of the norm, by channel."""
        if self.norm is None:
            return None
        return norm_factor(self.norm)

    def select(self, outputs: Tensor, inputs: Tensor) -> WeightedStep:
        """A copy with only these active output and input channels (positions, not names)."""
        weight = self.as_windows(self.weight.detach())[outputs][:, inputs]
        mask = self.as_windows(self.mask)[outputs][:, inputs]
        shape: tuple[int, ...] = (len(outputs), -1)
        if self.facts.spec.kind == "conv":
            shape = (len(outputs), weight.shape[1], *self.facts.spec.kernel)
        norm = None if self.norm is None else _selected_norm(self.norm, outputs)
        step = WeightedStep(self.facts, weight.reshape(shape), self.bias[outputs], norm)
        step.mask = mask.reshape(shape).clone()
        step.frozen = torch.zeros_like(step.mask)
        step.outputs, step.inputs = self.outputs[outputs], self.inputs[inputs]
        log_q = self.log_q.detach()
        step.log_q = nn.Parameter(log_q[outputs] if log_q.ndim else log_q.clone())
        step.log_s.data.copy_(self.log_s.data)
        return step


class _ScaledStep(nn.Module):
    """A step without weights whose output has a scale of its own."""

    facts: Any

    def __init__(self, facts: Any) -> None:
        super().__init__()
        self.facts = facts
        self.log_s = nn.Parameter(torch.zeros(()))

    @property
    def name(self) -> str:
        return str(self.facts.name)

    @property
    def output(self) -> QFormat | None:
        """Format of the output codes (scale not filled in); ``None`` where it is the input's."""
        form: QFormat = self.facts.output
        return form

    @property
    def step_size(self) -> Tensor:
        """Real value of one output step."""
        size: Tensor = self.facts.activation.step(self.log_s, self.facts.output)
        return size


class PoolStep(_ScaledStep):
    """A pool that could not be merged into the layer before it."""

    facts: PoolFacts

    @property
    def output(self) -> QFormat | None:
        """Format of an average's codes (scale not filled in); ``None`` for logits and maxima."""
        return None if self.facts.kind == "max" or self.facts.last else self.facts.output

    def forward(self, x: Tensor) -> Tensor:
        """The pooled values of ``x``."""
        facts = self.facts
        if x.ndim == _BLOCKS:
            return self._of_blocks(x)
        if facts.kind == "max":
            return facts.maximum(x)
        return facts.activation(facts.total(x) / (facts.divided_by * facts.shares(x)))

    def _of_blocks(self, x: Tensor) -> Tensor:
        facts = self.facts
        kernel, stride = facts.kernel[0], facts.stride[0]
        if facts.kind == "max":
            return blocks.max_pool(x, kernel, stride, facts.padding[0])
        return facts.activation(blocks.average_pool(x, kernel, stride))

    def forward_codes(self, x: Coded) -> Coded:
        """Pooled codes; an average has a scale of its own. Real logits if last."""
        codes, scale = x
        facts = self.facts
        if facts.kind == "max":
            return self.forward(codes), scale
        if codes.ndim == _BLOCKS:
            total = blocks.average_pool(codes, facts.kernel[0], facts.stride[0], divisor=1)
        else:
            total = facts.total(codes)
        if facts.last:
            return total * (scale / facts.divided_by), scale
        step, output = self.step_size, facts.output
        mult, shift = self.scaled(scale)
        ratio = torch.ldexp(mult, -shift)
        shares = facts.shares(codes)
        if not isinstance(shares, float):  # as the integer model rounds the multipliers
            ratio = straight_through(torch.ldexp(torch.floor(mult / shares + 0.5), -shift), ratio)
        ratio = straight_through(ratio, scale / (facts.divided_by * shares * step))
        return requantize(total, ratio, output.lo, output.hi), step

    def scaled(self, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Multiplier and shift of a whole window's sum, from the scale of its codes."""
        ratio = (scale / (self.facts.divided_by * self.step_size)).reshape(1)
        largest = 1.0 if self.facts.border is None else math.prod(self.facts.kernel)
        mult, shift = scaled_ratios(ratio, largest=largest)
        return mult[0], shift


class AddStep(_ScaledStep):
    """A residual sum, then its activation, if any."""

    facts: AddFacts

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The sum of real inputs."""
        a, b = _alike(a, b)
        first, second = self.facts.gains
        total = a + b if (first, second) == (1, 1) else a * first + b * second
        return self.facts.activation(total)

    def forward_codes(self, a: Coded, b: Coded) -> Coded:
        """Codes of the sum, both inputs brought to its scale and rounded once."""
        step, output = self.step_size, self.facts.output
        ratio = snapped_ratios(self.ratios(torch.stack([a[1], b[1]])))
        first, second = _alike(a[0], b[0])
        total = first * ratio[0] + second * ratio[1]
        return round_into(total, output.lo, output.hi), step

    def ratios(self, scales: Tensor) -> Tensor:
        """What the codes of both sources, of the given scales, are multiplied with."""
        gained = [scale * gain for scale, gain in zip(scales, self.facts.gains, strict=True)]
        return torch.stack(gained) / self.step_size


class ConcatStep(_ScaledStep):
    """Channels one after the other, then their activation, if any."""

    facts: ConcatFacts

    def forward(self, *inputs: Tensor) -> Tensor:
        """All channels of real inputs."""
        return self.facts.activation(torch.cat(_alike(*inputs), 1))

    def forward_codes(self, *inputs: Coded) -> Coded:
        """Codes of all channels, each input brought to the output's scale."""
        step, output = self.step_size, self.facts.output
        parts = [
            requantize(codes, snapped_ratios((scale / step).reshape(1))[0], output.lo, output.hi)
            for codes, scale in inputs
        ]
        return torch.cat(_alike(*parts), 1), step


class AffineStep(_ScaledStep):
    """A gain and a shift per channel, or the batch norm that is one, then its activation, if any.

    Codes are multiplied by :data:`AFFINE_UNIT`, so that the shift is finer than their step; the
    gain's magnitude is in the requantiser of each channel.
    """

    facts: AffineFacts
    gain: Tensor
    shift: Tensor

    def __init__(
        self,
        facts: AffineFacts,
        gain: Tensor | None = None,
        shift: Tensor | None = None,
        norm: Norm | None = None,
    ) -> None:
        super().__init__(facts)
        channels = facts.shape[0]
        self.norm = norm
        device = None if norm is None else norm.weight.device
        self.register_buffer("gain", torch.ones(channels, device=device) if gain is None else gain)
        self.register_buffer(
            "shift", torch.zeros(channels, device=device) if shift is None else shift
        )

    def forward(self, x: Tensor) -> Tensor:
        """Real outputs of real inputs."""
        if self.norm is not None:
            return self.facts.activation(self.norm(x))
        gain, shift = (self._laid(v, x.ndim) for v in (self.gain, self.shift))
        return self.facts.activation(x * gain + shift)

    def forward_codes(self, x: Coded) -> Coded:
        """Output codes and their scale."""
        assert self.norm is None, "norms are folded before a network is quantised"
        codes, scale = x
        step, output = self.step_size, self.facts.output
        factor, shift = self.integers(scale)
        acc = codes * self._laid(factor, codes.ndim) + self._laid(shift, codes.ndim)
        ratio = snapped_ratios(self.ratios(scale), _RATIO_BITS)
        return requantize(acc, self._laid(ratio, acc.ndim), output.lo, output.hi), step

    def integers(self, scale: Tensor) -> tuple[Tensor, Tensor]:
        """What codes of ``scale`` are multiplied with and what is added, as whole numbers."""
        unit = self._units(scale)
        factor = torch.floor(self.gain * scale.detach() / unit + 0.5)
        return factor, torch.floor(self.shift / unit + 0.5)

    def ratios(self, scale: Tensor) -> Tensor:
        """What the accumulators of each channel are multiplied with to become output codes."""
        units = self._units(scale) * (scale / scale.detach())
        return units / self.step_size

    def _units(self, scale: Tensor) -> Tensor:
        """Real value of an accumulator's step, by channel; not too small where the gain is."""
        gain = self.gain.abs()
        largest = float(gain.max()) or 1.0
        return gain.clamp(min=_LEAST_AFFINE * largest) * scale.detach() / AFFINE_UNIT

    @staticmethod
    def _laid(values: Tensor, dims: int) -> Tensor:
        """``values`` by channel, of a shape for maps of so many dimensions."""
        return values.reshape(-1, *[1] * (dims - 2))

    def without_norm(self) -> AffineStep:
        """A copy with its norm in gain and shift."""
        step = copy.deepcopy(self)
        if self.norm is None:
            return step
        factor = norm_factor(self.norm)
        assert self.norm.running_mean is not None
        step.gain.copy_(factor)
        step.shift.copy_(self.norm.bias.detach() - self.norm.running_mean * factor)
        step.norm = None
        return step


class ShortcutStep(nn.Module):
    """A step that moves codes: its output has the scale of its input."""

    output = None

    def __init__(self, facts: ShortcutFacts) -> None:
        super().__init__()
        self.facts = facts

    @property
    def name(self) -> str:
        """The name of the step."""
        return self.facts.name

    def forward(self, x: Tensor) -> Tensor:
        """Subsampled values between channels of zeros."""
        facts = self.facts
        if any(facts.padding):
            top, left, bottom, right = facts.padding
            x = F.pad(x, (left, right, top, bottom))
        if facts.stride != (1, 1):
            x = x[:, :, :: facts.stride[0], :: facts.stride[1]]
        return F.pad(x, (0, 0) * (x.ndim - 2) + (facts.before, facts.after))

    def forward_codes(self, x: Coded) -> Coded:
        """The same of codes."""
        return self.forward(x[0]), x[1]


Step = WeightedStep | PoolStep | AddStep | ConcatStep | AffineStep | ShortcutStep


def new_norm(kind: str, channels: int, eps: float, momentum: float | None) -> Norm:
    """A fresh batch norm for the outputs of a ``conv`` or ``linear`` layer."""
    return (nn.BatchNorm2d if kind == "conv" else nn.BatchNorm1d)(channels, eps, momentum)


def _alike(*maps: Tensor) -> list[Tensor]:
    """``maps`` with equally many dimensions: as vectors where one of them is one."""
    if len({x.ndim for x in maps}) == 1:
        return list(maps)
    whole = [blocks.from_blocks(x) if x.ndim == _BLOCKS else x for x in maps]
    return [x.flatten(1) for x in whole]


def norm_factor(norm: Norm) -> Tensor:
    """``gamma / sqrt(var + eps)`` by channel."""
    assert norm.running_var is not None
    return (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach()


@torch.no_grad()
def _selected_norm(norm: Norm, channels: Tensor) -> Norm:
    """A copy of ``norm`` for some of its channels."""
    chosen = type(norm)(len(channels), norm.eps, norm.momentum).to(channels.device)
    for name, value in norm.state_dict().items():
        chosen.state_dict()[name].copy_(value[channels] if value.ndim else value)
    return chosen.train(norm.training)
