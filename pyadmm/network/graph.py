"""The network under compression: a graph of layers, pools and sums, float or fake-quantised.

One :class:`Network` goes through the whole pipeline. Its
:class:`~pyadmm.network.execution.Numerics` say with which numbers it computes. With floats, batch
norms keep learning; they are folded into their layers before the network is quantised
(:meth:`Network.fold_norms`). With integers, activations are codes and every step does in floats
what :mod:`pyadmm.model` does in integers. Inactive channels can be cut off
(:meth:`Network.shrink`), which makes later epochs cheaper; index buffers remember where the active
ones were.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pyadmm.core.schema import from_json, from_plain, to_plain
from pyadmm.cpu_kernels import sparse_conv_blocked as blocks
from pyadmm.model import INPUT, InputSpec
from pyadmm.network.execution import DENSE, Execution, Numerics
from pyadmm.network.facts import (
    AddFacts,
    AffineFacts,
    ConcatFacts,
    CurveFacts,
    LayerFacts,
    PoolFacts,
    ProductFacts,
    ShortcutFacts,
)
from pyadmm.network.layers import Coded, Norm, WeightedStep, new_norm
from pyadmm.network.shrink import cut
from pyadmm.network.steps import (
    AddStep,
    AffineStep,
    ConcatStep,
    CurveStep,
    PoolStep,
    ProductStep,
    ShortcutStep,
    Step,
)


class Network(nn.Module):
    """A graph of steps on input codes ``(N, C, H, W)`` (floats with the integers of ``input``).

    It is made in evaluation mode; norms go on learning their statistics after :meth:`train`. All of
    it is on the device of its first layer, and what is made from it is there too.

    :param steps: in topological order; the last one gives the logits.
    :param sources: step -> the steps that it reads (:data:`~pyadmm.model.INPUT` for the input);
        ``None`` for a chain.
    :param numerics: the numbers that it computes with; :meth:`at` makes networks of others.
    :param notes: what tracing left out of the module.
    :param ending: the operation at the end that tracing left out, such as ``softmax``.
    """

    offset: Tensor

    def __init__(
        self,
        input_spec: InputSpec,
        steps: Sequence[Step],
        numerics: Numerics = Numerics.FLOAT,
        sources: Mapping[str, tuple[str, ...]] | None = None,
        *,
        notes: tuple[str, ...] = (),
        ending: str = "",
    ) -> None:
        super().__init__()
        self.input = input_spec
        self.steps = nn.ModuleList(steps)
        self.numerics = numerics
        self.notes = notes
        self.ending = ending
        names = [INPUT, *(step.name for step in steps)]
        chain = {name: (source,) for source, name in pairwise(names)}
        self.sources = dict(chain if sources is None else sources)
        offset = torch.tensor(input_spec.offset, dtype=torch.int16).reshape(1, -1, 1, 1)
        self.register_buffer("offset", offset, persistent=False)
        weights = (step.weight for step in steps if isinstance(step, WeightedStep))
        self.to(next(weights, offset).device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.eval()

    @property
    def quantized(self) -> bool:
        """Whether it computes with integers."""
        return self.numerics is Numerics.INTEGER

    def at(self, numerics: Numerics) -> Network:
        """A copy that computes with ``numerics``."""
        return Network(self.input, self.copy().chain, numerics, self.sources)

    @property
    def chain(self) -> list[Step]:
        """All steps in topological order."""
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

    def forward(self, codes: Tensor, how: Execution = DENSE) -> Tensor:
        """Real logits ``(N, classes)`` of input codes."""
        if not self.quantized:
            for _, x in self._real_steps(self._laid_out(codes, how), how):
                logits = x
            if logits.ndim == blocks.BLOCKS:
                logits = blocks.from_blocks(logits)
            return logits.flatten(1)[: len(codes)]
        first = blocks.to_blocks(codes) if self._blocked(codes, how) else codes
        for _, found in self.walk_codes(first, how):
            logits, scale = found
        if logits.ndim == blocks.BLOCKS:
            logits = blocks.from_blocks(logits)
        real = logits if gives_logits(self.chain[-1]) else logits * scale
        return real.flatten(1)[: len(codes)]

    def walk_codes(self, codes: Tensor, how: Execution = DENSE) -> Iterator[tuple[Step, Coded]]:
        """Every step of the quantised network with its codes and their scale, in order.

        The last step may give real logits (:func:`gives_logits`).
        """
        values: dict[str, Coded] = {INPUT: (codes, codes.new_full((), self.input.format.scale))}
        for step, inputs in self._inputs(values):
            if isinstance(step, WeightedStep):
                values[step.name] = step.forward_codes(*inputs, nonzeros=how.nonzeros)
            else:
                values[step.name] = step.forward_codes(*inputs)
            yield step, values[step.name]

    def walk(self, codes: Tensor) -> Iterator[tuple[Step, Tensor]]:
        """Every step of the float network with its real outputs, in order."""
        return self._real_steps(codes * self.input.format.scale, DENSE)

    def finish(self, values: Mapping[str, Tensor], name: str) -> Tensor:
        """Real logits ``(N, classes)`` of the float network, from what its steps gave up to ``name``.

        :param values: step -> real outputs, of all steps up to ``name`` that later ones read; they
            stay as they are.
        """
        place = [step.name for step in self.chain].index(name) + 1
        held = dict(values)
        logits = held[name]
        for step, inputs in self._inputs(held, place):
            held[step.name] = logits = self._real(step, inputs, DENSE)
        return logits.flatten(1)

    def _real_steps(self, x: Tensor, how: Execution) -> Iterator[tuple[Step, Tensor]]:
        """:meth:`walk` from real inputs, in blocks or not."""
        values: dict[str, Tensor] = {INPUT: x}
        for step, inputs in self._inputs(values):
            values[step.name] = self._real(step, inputs, how)
            yield step, values[step.name]

    def _real(self, step: Step, inputs: Sequence[Tensor], how: Execution) -> Tensor:
        """Real outputs of one step."""
        found: Tensor
        if isinstance(step, WeightedStep):
            levels = self.numerics is Numerics.LEVELS
            found = step(*inputs, levels=levels, nonzeros=how.nonzeros)
        else:
            found = step(*inputs)
        return found

    def _laid_out(self, codes: Tensor, how: Execution) -> Tensor:
        """Real inputs, in blocks of images where the network goes through in those."""
        real = codes * self.input.format.scale
        if not self._blocked(real, how):
            return real
        return blocks.to_blocks(real.bfloat16() if how.bfloat16 and self.training else real)

    def _blocked(self, x: Tensor, how: Execution) -> bool:
        """Whether maps go through the network in blocks of images.

        Norms in training would count the zeros that fill a block.
        """
        if not how.blocks or x.dtype != torch.float32 or x.device.type != "cpu":
            return False
        if not all(_blockable(step) for step in self.chain):
            return False
        return len(x) % blocks.LANES == 0 or not (self.training and self.norms)

    def _inputs(self, values: dict[str, Any], first: int = 0) -> Iterator[tuple[Step, list[Any]]]:
        """Every step from ``first`` on and what it reads; what nobody reads later leaves ``values``."""
        chain = self.chain
        last_use = {s: i for i, step in enumerate(chain) for s in self.sources[step.name]}
        for place, step in enumerate(chain[first:], first):
            sources = self.sources[step.name]
            inputs = [values[source] for source in sources]
            for source in {s for s in sources if last_use[s] == place}:
                del values[source]
            yield step, inputs

    def execution(self, *, sparse: bool, bfloat16: bool = False) -> Execution:
        """The fastest execution for the present masks.

        :param sparse: by the non-zero weights, where that is faster: with few zeros, blocks of
            images would be slower than PyTorch.
        :param bfloat16: as in :class:`~pyadmm.network.execution.Execution`.
        """
        masks = (layer.mask.numel() for layer in self.layers.values())
        enough = self.nnz <= blocks.MOST_LEFT * sum(masks)
        return Execution(sparse, sparse and enough, bfloat16)

    @property
    def norms(self) -> list[Norm]:
        """Batch norms that are not folded."""
        steps = (step for step in self.chain if isinstance(step, WeightedStep | AffineStep))
        return [step.norm for step in steps if step.norm is not None]

    def fold_norms(self) -> Network:
        """An equal network (in evaluation mode) without batch norms."""
        steps = [
            step.without_norm() if isinstance(step, WeightedStep | AffineStep) else step
            for step in self.copy().chain
        ]
        return Network(self.input, steps, self.numerics, self.sources)

    def encode(self, images: Tensor) -> Tensor:
        """Input codes (float) of byte images ``(N, C, H, W)``; equals ``InputSpec.quantize``.

        The images may be anywhere, the codes are where the network is.
        """
        spec = self.input
        images = images.to(self.offset.device)
        if any(spec.offset):
            codes = (images.to(torch.int16) - self.offset) >> spec.shift
        else:
            codes = images >> spec.shift
        values = codes.to(torch.float32, memory_format=torch.channels_last)
        return values.clamp_(spec.format.lo, spec.format.hi)

    def shrink(self) -> Network:
        """An equal network without inactive channels: constant outputs and unread inputs.

        An output without weights is a constant: it moves into the next bias. Where the next layer pads,
        this is possible only for a constant of 0. An output that no later weight reads is removed with
        its weights, so ``nnz`` can fall. Outputs that reach several layers, a sum or a grouped
        convolution stay.
        """
        steps = {step.name: step for step in self.chain}
        pairs = [pair for name in steps if (pair := self._pair(steps, name)) is not None]
        while sum(cut(steps, *pair) for pair in pairs):
            pass
        return Network(self.input, list(steps.values()), self.numerics, self.sources)

    def _pair(self, steps: Mapping[str, Step], name: str) -> tuple[str, list[str], str] | None:
        """``name``, the pools after it and the one layer that reads it, if all of that is so."""
        readers: list[str] = []
        current = name
        while True:
            reading = [reader for reader, read in self.sources.items() if current in read]
            if len(reading) != 1 or not isinstance(steps[reading[0]], PoolStep | WeightedStep):
                return None
            current = reading[0]
            if isinstance(steps[current], WeightedStep):
                break
            readers.append(current)
        for end in (steps[name], steps[current]):
            if not isinstance(end, WeightedStep) or end.facts.spec.groups > 1:
                return None
        return name, readers, current

    def state(self) -> dict[str, Any]:
        """Everything, as tensors and text: what :meth:`from_state` takes."""
        steps = tuple(map(_StepState.of, self.chain))
        structure = _Structure(self.numerics, self.input, steps, self.sources)
        tensors = {name: value.detach().clone() for name, value in self.state_dict().items()}
        return {"structure": json.dumps(to_plain(structure)), "tensors": tensors}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Network:
        """The network that :meth:`state` described."""
        structure = from_json(_Structure, state["structure"], "network state")
        steps = []
        for place, step in enumerate(structure.steps):
            start = f"steps.{place}."
            own = {k: v for k, v in state["tensors"].items() if k.startswith(start)}
            steps.append(step.restored({k.removeprefix(start): v for k, v in own.items()}))
        return cls(structure.input, steps, structure.numerics, structure.sources)

    def copy(self) -> Network:
        """An independent copy of the network."""
        return Network.from_state(self.state())

    def trainable(self) -> Iterator[nn.Parameter]:
        """Weights, biases and norms, without the scales of quantisation.

        A bias before a norm has no effect and is left out.
        """
        for step in self.chain:
            if isinstance(step, WeightedStep):
                yield step.weight
                yield from (step.bias,) if step.norm is None else step.norm.parameters()
            elif isinstance(step, AffineStep) and step.norm is not None:
                yield from step.norm.parameters()

    def scales(self) -> Iterator[nn.Parameter]:
        """Logarithms of the scales that matter."""
        for step in self.chain:
            if isinstance(step, WeightedStep):
                yield step.log_q
            if step.output is not None:
                yield step.log_s


def _blockable(step: Step) -> bool:
    """Whether ``step`` can and should compute in blocks of images."""
    if isinstance(step, AffineStep | CurveStep | ProductStep):
        return False
    if isinstance(step, ShortcutStep):
        return not any(step.facts.padding)
    if isinstance(step, PoolStep):
        return step.facts.square
    if not isinstance(step, WeightedStep):
        return True
    spec, pool = step.facts.spec, step.facts.pool
    even = len({*spec.stride}) == len({*spec.padding}) == 1 and spec.dilation == (1, 1)
    fits = even and spec.stride[0] <= blocks.MOST_STRIDE and (pool is None or pool.square)
    return fits and not step.facts.plainly_pooled


def gives_logits(step: Step) -> bool:
    """Whether a quantised ``step`` gives real numbers instead of codes."""
    return isinstance(step, WeightedStep | PoolStep) and step.facts.last


_STEPS: dict[str, tuple[Any, Any]] = {
    "weighted": (LayerFacts, WeightedStep),
    "pool": (PoolFacts, PoolStep),
    "add": (AddFacts, AddStep),
    "concat": (ConcatFacts, ConcatStep),
    "curve": (CurveFacts, CurveStep),
    "product": (ProductFacts, ProductStep),
    "affine": (AffineFacts, AffineStep),
    "shortcut": (ShortcutFacts, ShortcutStep),
}


def input_bits(network: Network) -> dict[str, int]:
    """Bits of the codes that every weighted layer reads, by its name."""
    bits = {INPUT: network.input.format.bits}
    for step in network.chain:
        source = bits[network.sources[step.name][0]]
        bits[step.name] = source if step.output is None else step.output.bits
    return {name: bits[network.sources[name][0]] for name in network.layers}


@dataclass(frozen=True)
class _NormState:
    """A batch norm without its tensors; ``kind`` is that of its layer."""

    kind: Literal["conv", "linear"]
    eps: float
    momentum: float | None


@dataclass(frozen=True)
class _StepState:
    """A step without its tensors.

    :param facts: plain data of the class that ``kind`` says.
    """

    kind: str
    norm: _NormState | None
    facts: Any

    @classmethod
    def of(cls, step: Step) -> _StepState:
        kind = next(kind for kind, (facts, _) in _STEPS.items() if isinstance(step.facts, facts))
        norm = step.norm if isinstance(step, WeightedStep | AffineStep) else None
        held = None if norm is None else _NormState(_norm_kind(norm), norm.eps, norm.momentum)
        return cls(kind, held, to_plain(step.facts))

    def restored(self, tensors: Mapping[str, Tensor]) -> Step:
        """The step with its own tensors."""
        facts = from_plain(_STEPS[self.kind][0], self.facts, f"network state, {self.kind}")
        norm = None if self.norm is None else _fresh_norm(tensors, self.norm)
        step: Step
        if self.kind == "weighted":
            step = _weighted(facts, tensors, norm)
        elif self.kind == "affine":
            step = AffineStep(facts, tensors["gain"].clone(), tensors["shift"].clone(), norm)
        else:
            step = _STEPS[self.kind][1](facts)
        step.load_state_dict(tensors)
        return step


@dataclass(frozen=True)
class _Structure:
    """A network without its tensors."""

    numerics: Numerics
    input: InputSpec
    steps: tuple[_StepState, ...]
    sources: Mapping[str, tuple[str, ...]]


def _norm_kind(norm: Norm) -> Literal["conv", "linear"]:
    return "conv" if isinstance(norm, nn.BatchNorm2d) else "linear"


def _fresh_norm(own: Mapping[str, Tensor], norm: _NormState) -> Norm:
    return new_norm(norm.kind, len(own["norm.weight"]), norm.eps, norm.momentum)


def _weighted(facts: LayerFacts, own: Mapping[str, Tensor], norm: Norm | None) -> WeightedStep:
    step = WeightedStep(facts, own["weight"], own["bias"], norm)
    step.outputs, step.inputs = own["outputs"].clone(), own["inputs"].clone()
    step.log_q = nn.Parameter(own["log_q"].clone())
    return step
