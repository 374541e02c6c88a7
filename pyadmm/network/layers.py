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
from pyadmm.model.types import LayerSpec, QFormat
from pyadmm.network.fake_quant import (
    multipliers,
    quantize_weight,
    requantize,
    round_half_up,
    round_into,
    snapped_ratios,
    straight_through,
)

_BLOCKS = 5
"""Dimensions of maps in blocks of images (:mod:`pyadmm.cpu_kernels.sparse_conv_blocked`)."""


_LOGIT_STEP = 0.25
"""What counts as output step of the last layer, in units of the logit."""


_RATIO_BITS = 16
"""Width of a layer's multipliers."""


_LEAST_GAIN = 2.0**-12
"""Of a norm's channel, relative to its layer's largest."""


Coded: TypeAlias = tuple[Tensor, Tensor]
"""Integer codes, as floats, and the scale that makes them real numbers."""


Norm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d


@dataclass(frozen=True)
class PoolFacts:
    """A square pool; ``relu`` where a ReLU follows an average.

    :param padding: of a maximum of values that are not negative, on all sides.
    :param signed: whether an average's output has negative values.
    :param activation_bits: ``a`` of an average's output, once quantised.
    """

    name: str
    kind: str
    kernel: int
    stride: int
    relu: bool = False
    padding: int = 0
    signed: bool = False
    activation_bits: int = 8

    @property
    def output(self) -> QFormat:
        """Format of an average's output codes (scale not filled in)."""
        return QFormat(self.activation_bits, self.signed and not self.relu)


@dataclass(frozen=True)
class AddFacts:
    """A residual sum of two maps of one shape, and the ReLU that may follow."""

    name: str
    relu: bool = False
    activation_bits: int = 8

    @property
    def output(self) -> QFormat:
        """Format of the output codes (scale not filled in)."""
        return QFormat(self.activation_bits, signed=not self.relu)


@dataclass(frozen=True)
class ShortcutFacts:
    """A shortcut without weights (option A of He et al. 2016, section 4.2).

    Every ``stride``-th row and column of a map ``(C, H, W)``, between ``before`` and ``after``
    channels of zeros.
    """

    name: str
    input_shape: tuple[int, int, int]
    stride: int = 1
    before: int = 0
    after: int = 0


@dataclass(frozen=True)
class LayerFacts:
    """What is fixed about a weighted layer: full shape, and what follows it.

    :param relu: a ReLU follows (before or after ``pool``: both orders give the same).
    :param pool: max-pool that follows.
    :param last: it gives the logits, which are not requantised.
    :param weight_bits: ``n`` of the levels, once quantised.
    :param activation_bits: ``a`` of its output, once quantised.
    :param bias_fraction_bits: ``f``; a bias is kept to ``2**-f`` of an output step, once quantised:
        trailing zeros, hence few bytes.
    """

    spec: LayerSpec
    relu: bool = False
    pool: PoolFacts | None = None
    last: bool = False
    weight_bits: int = 8
    activation_bits: int = 8
    bias_fraction_bits: int = 2

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
        channels = spec.weight_shape, spec.input_shape
        plain = spec == LayerSpec(spec.name, "conv", *channels)
        return plain and (pool.kernel, pool.stride, pool.padding) == (2, 2, 0)


class WeightedStep(nn.Module):
    """Convolution or linear layer, then batch norm, max-pool, ReLU, requantisation, if any.

    ``weight`` is the latent weight of the channels that live; ``mask`` is 0 where it is pruned;
    ``frozen`` holds the level codes that no longer change, 0 where they still may. ``norm`` is
    ``None`` where the layer has none, or it is folded. With ``levels`` the float network computes
    with the weights' levels. With ``sparse`` only non-zero weights are multiplied where a max-pool
    follows a plain convolution (:mod:`pyadmm.cpu_kernels.sparse_conv_pool`). Real inputs in blocks of images
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
        self.levels = False
        self.sparse = False
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

    def product(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Accumulators."""
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
        return x if pool is None else F.max_pool2d(x, pool.kernel, pool.stride, pool.padding)

    def pooled_product(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Accumulators behind the pool, by the non-zeros where that is wanted and possible."""
        if not self.sparse or not self._plainly_pooled(x):
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

    def forward(self, x: Tensor) -> Tensor:
        """Real outputs of real inputs."""
        weight = self.weight_codes() * self.row_q if self.levels else self.weight
        if x.ndim == _BLOCKS and self.facts.spec.kind == "conv":
            return self._of_blocks(x, weight)
        if x.ndim == _BLOCKS:
            x = blocks.from_blocks(x)
        if self.norm is None:
            acc = self.pooled_product(x, weight, self.bias)
            return F.relu(acc) if self.facts.relu else acc
        else:  # it subtracts the bias again: a gradient would cost time and be rounding errors
            acc = self.norm(self.product(x, weight, self.bias.detach()))
        acc = self.pooled(acc)
        return F.relu(acc) if self.facts.relu else acc

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
        return F.relu(y) if facts.relu and not relu else y

    def _blocks_pooled(self, y: Tensor) -> Tensor:
        pool = self.facts.pool
        return y if pool is None else blocks.max_pool(y, pool.kernel, pool.stride, pool.padding)

    def forward_codes(self, x: Coded) -> Coded:
        """Output codes and their scale, from input codes and theirs; real logits if last."""
        assert self.norm is None, "norms are folded before a network is quantised"
        codes, scale = x
        unit, step, output = self.log_q.exp() * scale, self.log_s.exp(), self.facts.output
        if codes.ndim == _BLOCKS and self.facts.spec.kind == "linear":
            codes = blocks.from_blocks(codes)
        weight, bias = self.weight_codes(), self.bias_codes(unit)
        if codes.ndim == _BLOCKS:
            acc = self._blocks_pooled(
                blocks.conv(codes, weight, bias, self._taps(codes), relu=False)
            )
        else:
            acc = self.pooled_product(codes, weight, bias)
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
        ratio = self.log_q.exp() * scale / self.log_s.exp()
        return snapped_ratios(ratio.reshape(-1), _RATIO_BITS).reshape(ratio.shape)

    def channel_multipliers(self, scale: Tensor) -> tuple[tuple[int, ...], int]:
        """Multipliers of the living channels and their shift, where each channel has its own."""
        ratio = self.log_q.exp() * scale / self.log_s.exp()
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

    def bias_grain(self, unit: Tensor) -> Tensor:
        """What biases are whole multiples of, in integers of accumulator ``unit``."""
        step = _LOGIT_STEP if self.facts.last else self.log_s.detach().exp()
        shift = torch.floor(torch.log2(step / unit.detach())) - self.facts.bias_fraction_bits
        return torch.exp2(shift.clamp(min=0))

    def bias_codes(self, unit: Tensor) -> Tensor:
        """The bias in integers of accumulator ``unit``, with trailing zeros where harmless."""
        grain = self.bias_grain(unit)
        smooth = self.bias / unit
        return straight_through(round_half_up(smooth.detach() / grain) * grain, smooth)

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
        gain[~self.as_windows(self.mask).flatten(1).any(1)] = gain.max()  # dead: any scale will do
        step.log_q = nn.Parameter(self.log_q.detach() + gain.log())
        step.norm = None
        return step

    def _norm_factor(self) -> Tensor | None:
        """``gamma / sqrt(var + eps)`` of the norm, by channel."""
        if self.norm is None:
            return None
        assert self.norm.running_var is not None
        return (self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)).detach()

    def select(self, outputs: Tensor, inputs: Tensor) -> WeightedStep:
        """A copy with only these living output and input channels (positions, not names)."""
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


class PoolStep(nn.Module):
    """A pool that could not be merged into the layer before it."""

    def __init__(self, facts: PoolFacts) -> None:
        super().__init__()
        self.facts = facts
        self.log_s = nn.Parameter(torch.zeros(()))

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def output(self) -> QFormat | None:
        """Format of the output codes (scale not filled in); ``None`` where it is the input's."""
        return None if self.facts.kind == "max" else self.facts.output

    def forward(self, x: Tensor) -> Tensor:
        """Pooled values."""
        if x.ndim == _BLOCKS:
            return self._of_blocks(x)
        if self.facts.kind == "max":
            return F.max_pool2d(x, self.facts.kernel, self.facts.stride, self.facts.padding)
        y = F.avg_pool2d(x, self.facts.kernel, self.facts.stride)
        return F.relu(y) if self.facts.relu else y

    def _of_blocks(self, x: Tensor) -> Tensor:
        facts = self.facts
        if facts.kind == "max":
            return blocks.max_pool(x, facts.kernel, facts.stride, facts.padding)
        y = blocks.average_pool(x, facts.kernel, facts.stride)
        return F.relu(y) if facts.relu else y

    def forward_codes(self, x: Coded) -> Coded:
        """Pooled codes; an average has a scale of its own."""
        codes, scale = x
        if self.facts.kind == "max":
            return self.forward(codes), scale
        area, step, output = self.facts.kernel**2, self.log_s.exp(), self.facts.output
        size = self.facts.kernel, self.facts.stride
        if codes.ndim == _BLOCKS:
            total = blocks.average_pool(codes, *size, divisor=1)
        else:
            total = F.avg_pool2d(codes, *size, divisor_override=1)
        ratio = snapped_ratios((scale / (area * step)).reshape(1))
        return requantize(total, ratio[0], output.lo, output.hi), step


class AddStep(nn.Module):
    """A residual sum, then ReLU, if any."""

    def __init__(self, facts: AddFacts) -> None:
        super().__init__()
        self.facts = facts
        self.log_s = nn.Parameter(torch.zeros(()))

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def output(self) -> QFormat | None:
        """Format of the output codes (scale not filled in)."""
        return self.facts.output

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The sum of real inputs."""
        return F.relu(a + b) if self.facts.relu else a + b

    def forward_codes(self, a: Coded, b: Coded) -> Coded:
        """Codes of the sum, both inputs brought to its scale and rounded once."""
        step, output = self.log_s.exp(), self.facts.output
        ratio = snapped_ratios(torch.stack([a[1], b[1]]) / step)
        total = a[0] * ratio[0] + b[0] * ratio[1]
        return round_into(total, output.lo, output.hi), step


class ShortcutStep(nn.Module):
    """A shortcut without weights: it moves codes, and its output has the scale of its input."""

    output = None

    def __init__(self, facts: ShortcutFacts) -> None:
        super().__init__()
        self.facts = facts

    @property
    def name(self) -> str:
        return self.facts.name

    def forward(self, x: Tensor) -> Tensor:
        """Subsampled values between channels of zeros."""
        facts = self.facts
        x = x[:, :, :: facts.stride, :: facts.stride]
        return F.pad(x, (0, 0) * (x.ndim - 2) + (facts.before, facts.after))

    def forward_codes(self, x: Coded) -> Coded:
        """The same of codes."""
        return self.forward(x[0]), x[1]


Step = WeightedStep | PoolStep | AddStep | ShortcutStep


def new_norm(kind: str, channels: int, eps: float, momentum: float | None) -> Norm:
    """A fresh batch norm for the outputs of a ``conv`` or ``linear`` layer."""
    return (nn.BatchNorm2d if kind == "conv" else nn.BatchNorm1d)(channels, eps, momentum)


@torch.no_grad()
def _selected_norm(norm: Norm, channels: Tensor) -> Norm:
    """A copy of ``norm`` for some of its channels."""
    chosen = type(norm)(len(channels), norm.eps, norm.momentum).to(channels.device)
    for name, value in norm.state_dict().items():
        chosen.state_dict()[name].copy_(value[channels] if value.ndim else value)
    return chosen.train(norm.training)
