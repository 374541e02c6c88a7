"""Steps without weights to compress: pools, sums, concatenation, affine maps, rearrangements."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyadmm.cpu_kernels import sparse_conv_blocked as blocks
from pyadmm.model.types import QFormat
from pyadmm.network.facts import (
    AddFacts,
    AffineFacts,
    ConcatFacts,
    CurveFacts,
    PoolFacts,
    ProductFacts,
    ShortcutFacts,
)
from pyadmm.network.fake_quant import (
    requantize,
    round_into,
    scaled_ratios,
    snapped_ratios,
    straight_through,
)
from pyadmm.network.layers import RATIO_BITS, Coded, Norm, WeightedStep, norm_factor

_BLOCKS = blocks.BLOCKS
AFFINE_UNIT = 16
"""Factor of an affine step for the codes of its largest channels."""
_LEAST_AFFINE = 2.0**-6
"""Gain, relative to the largest, below which a channel has a smaller multiplier instead."""


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
        """Factors for the codes of both sources, which have the given scales."""
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


class CurveStep(_ScaledStep):
    """A pointwise activation that is no clamp; of codes, a table."""

    facts: CurveFacts

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to real inputs, value by value."""
        return self.facts.activation(self.facts.curve(x))

    def forward_codes(self, x: Coded) -> Coded:
        """Codes of the activated values."""
        codes, scale = x
        step, output = self.step_size, self.facts.output
        return round_into(self.facts.curve(codes * scale) / step, output.lo, output.hi), step

    @torch.no_grad()
    def table(self, form: QFormat) -> tuple[int, ...]:
        """Output codes of all integers of ``form``, in order."""
        codes = torch.arange(form.lo, form.hi + 1, dtype=self.log_s.dtype)
        made, _ = self.forward_codes((codes, codes.new_tensor(form.scale)))
        return tuple(made.long().tolist())


class ProductStep(_ScaledStep):
    """A product of two maps; the second may have one value a channel. Then an activation, if any."""

    facts: ProductFacts

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The product of real inputs."""
        return self.facts.activation(a * _beside(b, a))

    def forward_codes(self, a: Coded, b: Coded) -> Coded:
        """Codes of the product."""
        step, output = self.step_size, self.facts.output
        ratio = snapped_ratios(self.ratio(a[1], b[1]))[0]
        return requantize(a[0] * _beside(b[0], a[0]), ratio, output.lo, output.hi), step

    def ratio(self, first: Tensor, second: Tensor) -> Tensor:
        """Factor for products of codes of both scales, ``(1,)``."""
        return (first * second / self.step_size).reshape(1)


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
        ratio = snapped_ratios(self.ratios(scale), RATIO_BITS)
        return requantize(acc, self._laid(ratio, acc.ndim), output.lo, output.hi), step

    def integers(self, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Factor and summand for codes of ``scale``, as whole numbers."""
        unit = self._units(scale)
        factor = torch.floor(self.gain * scale.detach() / unit + 0.5)
        return factor, torch.floor(self.shift / unit + 0.5)

    def ratios(self, scale: Tensor) -> Tensor:
        """Factor of each channel's accumulators that gives output codes."""
        units = self._units(scale) * (scale / scale.detach())
        return units / self.step_size

    def _units(self, scale: Tensor) -> Tensor:
        """Real value of an accumulator's step, by channel; not too small where the gain is."""
        gain = self.gain.abs()
        largest = float(gain.max()) or 1.0
        return gain.clamp(min=_LEAST_AFFINE * largest) * scale.detach() / AFFINE_UNIT

    @staticmethod
    def _laid(values: Tensor, dims: int) -> Tensor:
        """``values`` by channel, shaped for maps of ``dims`` dimensions."""
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
        if facts.order:
            x = x[:, list(facts.order)]
        if any(facts.padding):
            top, left, bottom, right = facts.padding
            x = F.pad(x, (left, right, top, bottom))
        if facts.stride != (1, 1):
            x = x[:, :, :: facts.stride[0], :: facts.stride[1]]
        return F.pad(x, (0, 0) * (x.ndim - 2) + (facts.before, facts.after))

    def forward_codes(self, x: Coded) -> Coded:
        """The same of codes."""
        return self.forward(x[0]), x[1]


Step = (
    WeightedStep
    | PoolStep
    | AddStep
    | ConcatStep
    | CurveStep
    | ProductStep
    | AffineStep
    | ShortcutStep
)


def _beside(factor: Tensor, x: Tensor) -> Tensor:
    """``factor`` with as many dimensions as ``x``: a vector becomes maps of one value."""
    return (
        factor.reshape(*factor.shape[:2], *[1] * (x.ndim - 2)) if factor.ndim < x.ndim else factor
    )


def _alike(*maps: Tensor) -> list[Tensor]:
    """``maps`` with equally many dimensions: as vectors where one of them is one."""
    if len({x.ndim for x in maps}) == 1:
        return list(maps)
    whole = [blocks.from_blocks(x) if x.ndim == _BLOCKS else x for x in maps]
    return [x.flatten(1) for x in whole]
