"""From a fake-quantised :class:`~pyadmm.network.graph.Network` to the integer ``CompressedModel``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyadmm.core.errors import PyadmmError
from pyadmm.model import (
    INPUT,
    MULT_LIMIT,
    SHIFT_LIMIT,
    Add,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    MaxPool,
    Node,
    Requant,
)
from pyadmm.model.folding import fold_dead
from pyadmm.model.types import LayerSpec, QFormat, signed_bits
from pyadmm.network.fake_quant import multipliers
from pyadmm.network.graph import Network
from pyadmm.network.layers import AddStep, PoolFacts, PoolStep, ShortcutFacts, Step, WeightedStep


def requant_of(ratio: float, bits: int = 16) -> Requant:
    """The requantiser whose ``mult / 2**shift`` is nearest to ``ratio``, in lowest terms.

    :param bits: significant bits of ``mult``; ratios of ``2**(bits - 1)`` and more take more.

    >>> requant_of(0.3), requant_of(0.3, 4)
    (Requant(mult=(19661,), shift=16), Requant(mult=(5,), shift=4))
    """
    if not 0 < ratio < MULT_LIMIT / 2:
        raise PyadmmError(f"requantise: ratio must be above 0 and below 32768, not {ratio}")
    shift = min(max(bits - math.frexp(ratio)[1], 1), SHIFT_LIMIT)
    mult = round(math.ldexp(ratio, shift))
    if mult == MULT_LIMIT:
        mult, shift = mult >> 1, shift - 1
    if mult < 1 or shift < 1:
        raise PyadmmError(f"requantise: ratio {ratio} needs a shift outside 1 to {SHIFT_LIMIT}")
    while mult % 2 == 0 and shift > 1:
        mult, shift = mult >> 1, shift - 1
    return Requant((mult,), shift)


@torch.no_grad()
def snap_scales(network: Network, mult_bits: int = 16) -> None:
    """Move each layer's activation scale to where its requantiser is exactly ``mult / 2**shift``.

    The shift is at most ``2**-mult_bits`` of the scale; afterwards network and integer model agree
    but for exact ties, of which few bits make more and which a float may round the other way.
    (Sums, averages and layers with a multiplier per channel need no move: theirs are integers
    already.)
    """
    for step, scale in with_input_scales(network):
        if isinstance(step, WeightedStep) and not step.facts.last and step.log_q.ndim == 0:
            unit = float(step.log_q.exp()) * scale
            requant = requant_of(unit / float(step.log_s.exp()), mult_bits)
            step.log_s.fill_(math.log(requant.output_scale(unit)))


def with_input_scales(network: Network) -> Iterator[tuple[Step, float]]:
    """Every step of a quantised network, in order, and the scale of what it reads (first)."""
    scales = {INPUT: network.input.format.scale}
    for step in network.chain:
        scale = scales[network.sources[step.name][0]]
        yield step, scale
        scales[step.name] = scale if step.output is None else float(step.log_s.detach().exp())


def to_compressed(network: Network, name: str) -> CompressedModel:
    """The integer model that computes what the quantised ``network`` computes.

    Cut-off channels come back as zeros, so the layers have their original shapes; what has become
    constant or unread by quantisation is folded (:mod:`pyadmm.model.folding`). The integers agree with
    :meth:`Network.forward` after :func:`snap_scales`, as far as floats hold them. A shortcut
    without weights becomes a 1x1 convolution of ones, which counts as weights there.
    """
    if not network.quantized:
        raise PyadmmError(f"model {name}: must be quantised before it becomes integers")
    network = network.copy().cpu()
    nodes: list[Node] = []
    made = {INPUT: (INPUT, network.input.format)}
    shapes = {INPUT: network.input.shape}
    for step in network.chain:
        inputs = [made[source] for source in network.sources[step.name]]
        new, form = _nodes(step, inputs, shapes[inputs[0][0]])
        for node in new:
            shapes[node.name] = node.output_shape([shapes[s] for s in node.sources])
        nodes += new
        made[step.name] = nodes[-1].name, form
    return fold_dead(CompressedModel(name, network.input, tuple(nodes)))


def _nodes(
    step: Step, inputs: list[tuple[str, QFormat]], shape: tuple[int, int, int]
) -> tuple[list[Node], QFormat]:
    """The nodes of ``step`` and the format of the last one.

    :param inputs: nodes that it reads and their formats.
    :param shape: of the first of them.
    """
    source, form = inputs[0]
    if isinstance(step, WeightedStep):
        layer = _layer(step, source, form)
        pool, output = step.facts.pool, layer.output
        pools = [] if pool is None else _max_pool(pool, layer.name, layer.spec.output_shape, output)
        return [layer, *pools], output
    if isinstance(step, AddStep):
        total = _add(step, inputs)
        return [total], total.output
    if not isinstance(step, PoolStep):
        return [_shortcut(step.facts, source, form)], form
    if step.facts.kind == "max":
        return _max_pool(step.facts, source, shape, form), form
    average = _avg_pool(step, source, form)
    return [average], average.output


def _layer(step: WeightedStep, source: str, form: QFormat) -> CompressedLayer:
    facts = step.facts
    with torch.no_grad():
        dtype = step.weight.dtype
        scale = torch.tensor(form.scale, dtype=dtype)
        unit = step.log_q.exp() * scale
        full = torch.zeros(facts.spec.window_shape, dtype=dtype).flatten(2)
        inputs = step.inputs[: full.shape[1]]
        full[step.outputs[:, None], inputs[None, :]] = step.as_windows(step.weight_codes())
        bias = torch.zeros(facts.spec.outputs, dtype=dtype)
        bias[step.outputs] = step.bias_codes(unit)
        requant, output = _output(step, scale)
    layer = CompressedLayer(
        facts.spec,
        source,
        _integers(full).reshape(facts.spec.weight_shape).astype(np.int16),
        facts.weight_bits,
        _integers(bias),
        requant,
        output,
        weight_scale=_weight_scale(step, requant),
    )
    if step.log_q.ndim == 0:
        exact = requant.output_scale(layer.weight_scale[0] * form.scale)
        layer = replace(layer, output=replace(output, scale=exact))
    if not facts.last:
        return layer
    bits = signed_bits(layer.accumulator_magnitude(form.max_magnitude))
    return replace(layer, output=replace(layer.output, bits=bits))


@torch.no_grad()
def _weight_scale(step: WeightedStep, requant: Requant) -> tuple[float, ...]:
    """``q``; of every channel as its multiplier has it, where each has one (dead ones too)."""
    q = step.log_q.exp()
    if q.ndim == 0:
        return (float(q),)
    mult = torch.tensor(requant.mult, dtype=q.dtype, device=q.device)[step.outputs]
    largest = int(mult.argmax())  # the one that rounding changed least
    unit = float((q[largest] / mult[largest]).float())
    return requant.channel_scales(unit * requant.mult[0], step.facts.spec.outputs)


def _output(step: WeightedStep, scale: Tensor) -> tuple[Requant, QFormat]:
    """Requantiser and output format; raw accumulators for the last layer."""
    facts, step_size = step.facts, float(step.log_s.exp())
    if facts.last:
        return Requant(), QFormat(48, True)
    output = replace(facts.output, scale=step_size)
    if step.log_q.ndim == 0:
        return requant_of(float(step.log_q.exp() * scale) / step_size), output
    mult, shift = step.channel_multipliers(scale)
    full = torch.ones(facts.spec.outputs, dtype=torch.int64)
    full[step.outputs] = torch.tensor(mult)
    return Requant(tuple(full.tolist()), shift), output


def _max_pool(
    pool: PoolFacts, source: str, shape: tuple[int, int, int], form: QFormat
) -> list[Node]:
    """The pool of a map of ``shape``, after a 1x1 convolution of ones that adds its padding.

    The codes are unsigned where there is padding (tracing sees to it), so zeros never win.
    """
    if pool.padding == 0:
        return [MaxPool(pool.name, source, pool.kernel, pool.stride)]
    channels = shape[0]
    ones = (channels, 1, 1, 1)
    spec = LayerSpec(f"{pool.name}.pad", "conv", ones, shape, 1, pool.padding, channels)
    return [
        _copying(spec, source, np.ones(ones, np.int16), form),
        MaxPool(pool.name, spec.name, pool.kernel, pool.stride),
    ]


@torch.no_grad()
def _avg_pool(step: PoolStep, source: str, form: QFormat) -> AvgPool:
    facts, scale = step.facts, step.log_s.exp()
    mult, shift = multipliers(
        (torch.tensor(form.scale, dtype=scale.dtype) / (facts.kernel**2 * scale)).reshape(1)
    )
    output = replace(facts.output, scale=float(scale))
    return AvgPool(facts.name, source, facts.kernel, facts.stride, Requant(mult, shift), output)


@torch.no_grad()
def _add(step: AddStep, inputs: list[tuple[str, QFormat]]) -> Add:
    (first, a), (second, b) = inputs
    scale = step.log_s.exp()
    mult, shift = multipliers(torch.tensor([a.scale, b.scale], dtype=scale.dtype) / scale)
    output = replace(step.facts.output, scale=float(scale))
    return Add(step.name, (first, second), (mult[0], mult[1]), shift, output)


def _shortcut(facts: ShortcutFacts, source: str, form: QFormat) -> CompressedLayer:
    """The 1x1 convolution that moves channel ``c`` to ``before + c`` as it is."""
    channels = facts.input_shape[0]
    outputs = facts.before + channels + facts.after
    shape = (outputs, channels, 1, 1)
    spec = LayerSpec(facts.name, "conv", shape, facts.input_shape, facts.stride)
    codes = np.eye(outputs, channels, -facts.before, dtype=np.int16).reshape(shape)
    return _copying(spec, source, codes, form)


def _copying(
    spec: LayerSpec, source: str, codes: NDArray[np.int16], form: QFormat
) -> CompressedLayer:
    """A layer of ones and zeros that moves integers as they are."""
    bias = np.zeros(spec.outputs, np.int64)
    return CompressedLayer(spec, source, codes, 1, bias, Requant(), form)


def _integers(values: Tensor) -> NDArray[np.int64]:
    return values.numpy().round().astype(np.int64)
