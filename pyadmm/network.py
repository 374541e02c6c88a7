"""The network under compression: a chain of weighted steps and pools, float or fake-quantised.

One :class:`Network` goes through the whole pipeline. While ``quantized`` is off it computes the
float network; when on, activations are integer codes and every step does in floats what
:mod:`pyadmm.model` does in integers. Dead channels can be cut off (:meth:`Network.shrink`), which
makes later epochs cheaper; index buffers remember where the living ones were.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyadmm.model import InputSpec
from pyadmm.project import joint_scale, level_codes, top_mask
from pyadmm.quantize import quantize_weight, requantize, round_half_up, straight_through
from pyadmm.spec import LayerSpec, QFormat

_BIAS_FRACTION_BITS = 2
"""A bias is kept to 2**-2 of an output step: trailing zeros, hence few bytes."""
_LOGIT_STEP = 0.25
"""What counts as output step of the last layer, in units of the logit."""


@dataclass(frozen=True)
class PoolFacts:
    """A square pool without padding; ``relu`` where a ReLU follows an average."""

    name: str
    kind: str
    kernel: int
    stride: int
    relu: bool = False


@dataclass(frozen=True)
class LayerFacts:
    """What is fixed about a weighted layer: full shape, and what follows it.

    :param relu: a ReLU follows (before or after ``pool``: both orders give the same).
    :param pool: max-pool that follows.
    :param last: it gives the logits, which are not requantised.
    :param weight_bits: ``n`` of the levels, once quantised.
    :param activation_bits: ``a`` of its output, once quantised.
    """

    spec: LayerSpec
    relu: bool = False
    pool: PoolFacts | None = None
    last: bool = False
    weight_bits: int = 8
    activation_bits: int = 8

    @property
    def output(self) -> QFormat:
        """Format of the output codes (scale not filled in)."""
        return QFormat(self.activation_bits, signed=not self.relu)


class WeightedStep(nn.Module):
    """Convolution or linear layer, then max-pool, ReLU and requantisation, if any.

    ``weight`` is the latent weight of the channels that live; ``mask`` is 0 where it is pruned;
    ``frozen`` holds the level codes that no longer change, 0 where they still may.
    """

    mask: Tensor
    frozen: Tensor
    outputs: Tensor
    inputs: Tensor

    def __init__(self, facts: LayerFacts, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.facts = facts
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())
        self.log_q = nn.Parameter(torch.zeros(()))
        self.log_s = nn.Parameter(torch.zeros(()))
        self.register_buffer("mask", torch.ones_like(weight))
        self.register_buffer("frozen", torch.zeros_like(weight))
        self.register_buffer("outputs", torch.arange(facts.spec.outputs))
        self.register_buffer("inputs", torch.arange(facts.spec.input_shape[0]))

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

    def product(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Accumulators, max-pooled if a pool follows (it commutes with what is monotone)."""
        spec, pool = self.facts.spec, self.facts.pool
        if spec.kind == "linear":
            acc = F.linear(x.flatten(1), weight, bias)
        else:
            acc = F.conv2d(x, weight, bias, spec.stride, spec.padding, 1, spec.groups)
        return acc if pool is None else F.max_pool2d(acc, pool.kernel, pool.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Real outputs of real inputs."""
        acc = self.product(x, self.weight, self.bias)
        return F.relu(acc) if self.facts.relu else acc

    def forward_codes(self, codes: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Output codes and their scale, from input codes and theirs; real logits if last."""
        q = self.log_q.exp()
        weight = quantize_weight(self.weight, q, self.facts.weight_bits, self.mask)
        acc = self.product(codes, weight, self.bias_codes(q * scale))
        if self.facts.last:
            return acc * (q * scale), scale
        output, step = self.facts.output, self.log_s.exp()
        return requantize(acc, q * scale / step, output.lo, output.hi), step

    def bias_codes(self, unit: Tensor) -> Tensor:
        """The bias in integers of accumulator ``unit``, with trailing zeros where harmless."""
        step = _LOGIT_STEP if self.facts.last else float(self.log_s.detach().exp())
        shift = math.floor(math.log2(step / float(unit.detach()))) - _BIAS_FRACTION_BITS
        grain = 2.0 ** max(shift, 0)
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
        smooth = self.weight / self.log_q.exp()
        codes = level_codes(smooth, 1.0, self.facts.weight_bits) * self.mask
        distance = (smooth - codes).abs()
        distance[self.frozen != 0] = -1.0
        distance[self.mask == 0] = math.inf
        chosen = top_mask(-distance, round(share * self.nnz))
        self.frozen.copy_(torch.where(self.frozen != 0, self.frozen, codes * chosen))

    @torch.no_grad()
    def hold_frozen(self) -> None:
        """Bring the latent weights that are frozen back to their levels."""
        self.weight.copy_(
            torch.where(self.frozen != 0, self.frozen * self.log_q.exp(), self.weight)
        )

    def fit_weight_scale(self) -> None:
        """Set ``q`` to the exact least-squares scale of the weights that are left."""
        q = joint_scale(self.weight.detach(), self.nnz, self.facts.weight_bits)
        self.log_q.data.fill_(math.log(q))

    def select(self, outputs: Tensor, inputs: Tensor) -> WeightedStep:
        """A copy with only these living output and input channels (positions, not names)."""
        weight = self.as_windows(self.weight.detach())[outputs][:, inputs]
        mask = self.as_windows(self.mask)[outputs][:, inputs]
        shape: tuple[int, ...] = (len(outputs), -1)
        if self.facts.spec.kind == "conv":
            shape = (len(outputs), weight.shape[1], *self.facts.spec.kernel)
        step = WeightedStep(self.facts, weight.reshape(shape), self.bias[outputs])
        step.mask = mask.reshape(shape).clone()
        step.frozen = torch.zeros_like(step.mask)
        step.outputs, step.inputs = self.outputs[outputs], self.inputs[inputs]
        step.log_q.data.copy_(self.log_q.data)
        step.log_s.data.copy_(self.log_s.data)
        return step


class PoolStep(nn.Module):
    """A pool that could not be merged into the layer before it."""

    def __init__(self, facts: PoolFacts) -> None:
        super().__init__()
        self.facts = facts

    @property
    def name(self) -> str:
        return self.facts.name

    def forward(self, x: Tensor) -> Tensor:
        """Pooled values."""
        if self.facts.kind == "max":
            return F.max_pool2d(x, self.facts.kernel, self.facts.stride)
        y = F.avg_pool2d(x, self.facts.kernel, self.facts.stride)
        return F.relu(y) if self.facts.relu else y

    def forward_codes(self, codes: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled codes; an average is rounded to the scale of its input."""
        y = self.forward(codes)
        return (y if self.facts.kind == "max" else round_half_up(y)), scale


Step = WeightedStep | PoolStep


class Network(nn.Module):
    """A chain of steps on input codes ``(N, C, H, W)`` (floats with the integers of ``input``)."""

    def __init__(self, input_spec: InputSpec, steps: list[Step], quantized: bool = False) -> None:
        super().__init__()
        self.input = input_spec
        self.steps = nn.ModuleList(steps)
        self.quantized = quantized
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def chain(self) -> list[Step]:
        """All steps in order."""
        return list(self.steps)  # type: ignore[arg-type]

    @property
    def layers(self) -> dict[str, WeightedStep]:
        """Weighted steps by name, in order."""
        return {step.name: step for step in self.chain if isinstance(step, WeightedStep)}

    @property
    def weights(self) -> int:
        """Weights of the dense network."""
        return sum(layer.facts.spec.weights for layer in self.layers.values())

    @property
    def nnz(self) -> int:
        """Weights that are left."""
        return sum(layer.nnz for layer in self.layers.values())

    def forward(self, codes: Tensor) -> Tensor:
        """Real logits ``(N, classes)`` of input codes."""
        if not self.quantized:
            x = codes * self.input.format.scale
            for step in self.chain:
                x = step(x)
            return x.flatten(1)
        scale = torch.tensor(self.input.format.scale, dtype=codes.dtype)
        for step in self.chain:
            codes, scale = step.forward_codes(codes, scale)
        return codes.flatten(1)

    def encode(self, images: Tensor) -> Tensor:
        """Input codes (float) of byte images ``(N, C, H, W)``; equals ``InputSpec.quantize``."""
        spec = self.input
        if any(spec.offset):
            offset = torch.tensor(spec.offset, dtype=torch.int16).reshape(1, -1, 1, 1)
            codes = (images.to(torch.int16) - offset) >> spec.shift
        else:
            codes = images >> spec.shift
        values = codes.to(torch.float32, memory_format=torch.channels_last)
        return values.clamp_(spec.format.lo, spec.format.hi)

    def shrink(self) -> Network:
        """An equal network without dead channels: constant outputs and inputs nobody reads.

        An output without weights is the constant ``relu(bias)``; it moves into the next bias (where
        the next layer pads, only if it is 0). An output that no later weight reads goes too, with
        the weights that made it, so ``nnz`` can fall.
        """
        steps = self.chain
        while True:
            cut = _cut_once(steps)
            if cut is None:
                return Network(self.input, steps, self.quantized)
            steps = cut

    def state(self) -> dict[str, Any]:
        """Everything, as tensors and text: what :meth:`from_state` takes."""
        structure = {
            "quantized": self.quantized,
            "input": asdict(self.input),
            "steps": [asdict(step.facts) for step in self.chain],
        }
        tensors = {name: value.detach().clone() for name, value in self.state_dict().items()}
        return {"structure": json.dumps(structure), "tensors": tensors}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Network:
        """The network that :meth:`state` described."""
        structure, tensors = json.loads(state["structure"]), state["tensors"]
        facts = structure["input"]
        input_spec = InputSpec(
            tuple(facts["shape"]),
            QFormat(**facts["format"]),
            tuple(facts["offset"]),
            facts["shift"],
        )
        steps = [_step_from_json(s, tensors, i) for i, s in enumerate(structure["steps"])]
        return cls(input_spec, steps, structure["quantized"])

    def copy(self) -> Network:
        """An independent copy."""
        return Network.from_state(self.state())

    def trainable(self) -> Iterator[nn.Parameter]:
        """Weights and biases, without the scales of quantisation."""
        for layer in self.layers.values():
            yield layer.weight
            yield layer.bias

    def scales(self) -> Iterator[nn.Parameter]:
        """Logarithms of the scales that matter."""
        for layer in self.layers.values():
            yield layer.log_q
            if not layer.facts.last:
                yield layer.log_s


def _step_from_json(facts: dict[str, Any], tensors: Mapping[str, Tensor], index: int) -> Step:
    if "spec" not in facts:
        return PoolStep(PoolFacts(**facts))
    own = {k.split(".", 2)[2]: v for k, v in tensors.items() if k.startswith(f"steps.{index}.")}
    spec = facts.pop("spec")
    for key in ("weight_shape", "input_shape"):
        spec[key] = tuple(spec[key])
    pool = facts.pop("pool")
    pool = None if pool is None else PoolFacts(**pool)
    step = WeightedStep(
        LayerFacts(spec=LayerSpec(**spec), pool=pool, **facts), own["weight"], own["bias"]
    )
    step.outputs, step.inputs = own["outputs"].clone(), own["inputs"].clone()
    step.load_state_dict(own)
    return step


def _cut_once(steps: list[Step]) -> list[Step] | None:
    """One producer/consumer pair relieved of dead channels; None where nothing is dead."""
    indices = [i for i, step in enumerate(steps) if isinstance(step, WeightedStep)]
    for first, second in pairwise(indices):
        producer, consumer = steps[first], steps[second]
        assert isinstance(producer, WeightedStep)
        assert isinstance(consumer, WeightedStep)
        if producer.facts.spec.groups > 1 or consumer.facts.spec.groups > 1:
            continue
        constants = _constants(producer, steps[first + 1 : second])
        keep = torch.nonzero(_living(producer, consumer, constants)).flatten()
        if len(keep) == len(producer.outputs):
            continue
        steps = list(steps)
        steps[first] = producer.select(keep, torch.arange(len(producer.inputs)))
        steps[second] = _without_inputs(consumer, keep, constants)
        return steps
    return None


def _constants(producer: WeightedStep, pools: list[Step]) -> Tensor:
    """What the consumer would read of an output that has no weights."""
    bias = producer.bias.detach()
    relu = producer.facts.relu or any(pool.facts.relu for pool in pools)
    return F.relu(bias) if relu else bias


def _living(producer: WeightedStep, consumer: WeightedStep, constants: Tensor) -> Tensor:
    """Which outputs of ``producer`` must stay; at least one does."""
    made = producer.as_windows(producer.mask).flatten(1).any(1)
    read = consumer.as_windows(consumer.mask).any(2).any(0)
    foldable = constants == 0 if consumer.facts.spec.padding else torch.ones_like(made)
    living = read & (made | ~foldable)
    if not bool(living.any()):
        living[0] = True
    return living


def _without_inputs(consumer: WeightedStep, keep: Tensor, constants: Tensor) -> WeightedStep:
    """``consumer`` reading only the channels ``keep``, the constants of the others in its bias."""
    dropped = constants.clone()
    dropped[keep] = 0
    gain = consumer.as_windows(consumer.weight.detach() * consumer.mask).sum(2)
    step = consumer.select(torch.arange(len(consumer.outputs)), keep)
    step.bias.data.add_(gain @ dropped)
    return step
