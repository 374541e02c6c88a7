"""The weighted layers of a network, and how they compute."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyadmm.admm.projections import joint_scale, level_codes, top_mask
from pyadmm.cpu_kernels import sparse_conv_blocked as blocks
from pyadmm.cpu_kernels import sparse_conv_pool as convolution
from pyadmm.model.types import QFormat
from pyadmm.network.facts import Activation, LayerFacts
from pyadmm.network.fake_quant import (
    multipliers,
    quantize_weight,
    requantize,
    round_half_up,
    snapped_ratios,
    straight_through,
)

_BLOCKS = blocks.BLOCKS
_LOGIT_STEP = 0.25
"""Output step of the last layer, in units of the logit."""
RATIO_BITS = 16
"""Width of a layer's multipliers."""
_LEAST_GAIN = 2.0**-12
"""Of a norm's channel, relative to its layer's largest."""
Coded: TypeAlias = tuple[Tensor, Tensor]
"""Integer codes, as floats, and the scale that makes them real numbers."""
Norm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d


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
        """Accumulators after the pool, by sparse products where they are wanted and possible."""
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
        """Positions of the weights; they are updated when the mask or the size of the input changes."""
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
        """Ratio of accumulators to output codes, per channel or for all.

        :param scale: of the input codes.
        """
        ratio = self.log_q.exp() * scale / self.step_size
        return snapped_ratios(ratio.reshape(-1), RATIO_BITS).reshape(ratio.shape)

    def channel_multipliers(self, scale: Tensor) -> tuple[tuple[int, ...], int]:
        """Multipliers of the active channels and their shift, where each channel has its own."""
        ratio = self.log_q.exp() * scale / self.step_size
        return multipliers(ratio, RATIO_BITS)

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
        """Step of biases, in integers of accumulator ``unit``."""
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


def new_norm(kind: str, channels: int, eps: float, momentum: float | None) -> Norm:
    """A fresh batch norm for the outputs of a ``conv`` or ``linear`` layer."""
    return (nn.BatchNorm2d if kind == "conv" else nn.BatchNorm1d)(channels, eps, momentum)


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
