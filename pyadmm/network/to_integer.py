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
    Concat,
    Lookup,
    MaxPool,
    Node,
    Product,
    Requant,
)
from pyadmm.model.folding import fold_inactive
from pyadmm.model.pointwise import LOOKUP_BITS
from pyadmm.model.types import LayerSpec, QFormat, signed_bits
from pyadmm.network.facts import PoolFacts, ShortcutFacts
from pyadmm.network.fake_quant import multipliers
from pyadmm.network.graph import Network
from pyadmm.network.layers import WeightedStep
from pyadmm.network.steps import (
    AFFINE_UNIT,
    AddStep,
    AffineStep,
    ConcatStep,
    CurveStep,
    PoolStep,
    ProductStep,
    ShortcutStep,
    Step,
)

_LAYER_BITS = 16
"""Width of the multipliers of a layer that has one per channel."""
_AFFINE_BITS = AFFINE_UNIT.bit_length()


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

    A scale changes by at most a factor of ``1 ± 2**-mult_bits``. Afterwards network and integer model
    agree except at exact ties, which a float may round the other way and which are more frequent with
    few bits. Sums, averages and layers with a multiplier per channel are left out, because their ratios
    are exact already.
    """
    for step, scale in with_input_scales(network):
        if isinstance(step, WeightedStep) and not step.facts.last and step.log_q.ndim == 0:
            unit = float(step.log_q.exp()) * scale
            requant = requant_of(unit / float(step.step_size), mult_bits)
            limit = step.facts.activation.largest_step(step.facts.output)
            if limit is not None and requant.output_scale(unit) > limit:
                requant = replace(requant, mult=(requant.mult[0] + 1,))
            step.log_s.fill_(math.log(requant.output_scale(unit)))


@torch.no_grad()
def with_input_scales(network: Network) -> Iterator[tuple[Step, float]]:
    """Every step of a quantised network, in order, and the scale of what it reads (first)."""
    scales = {INPUT: network.input.format.scale}
    for step in network.chain:
        scale = scales[network.sources[step.name][0]]
        yield step, scale
        if not isinstance(step, ShortcutStep) and step.output is not None:
            scale = float(step.step_size)
        scales[step.name] = scale


def to_compressed(network: Network, name: str) -> CompressedModel:
    """The integer model that computes what the quantised ``network`` computes.

    Removed channels come back as zeros, so the layers have their original shapes. Channels that
    quantisation made constant or unread are folded (:mod:`pyadmm.model.folding`). The integers equal
    those of :meth:`Network.forward` after :func:`snap_scales`, within the precision of floats. A
    shortcut without weights becomes a 1x1 convolution of ones, which counts as weights.
    """
    if not network.quantized:
        raise PyadmmError(f"model {name}: must be quantised before it becomes integers")
    network = network.copy().cpu()
    nodes: list[Node] = []
    made = {INPUT: (INPUT, network.input.format)}
    for step in network.chain:
        inputs = [made[source] for source in network.sources[step.name]]
        new, form = _nodes(step, inputs)
        nodes += new
        made[step.name] = nodes[-1].name, form
    return fold_inactive(CompressedModel(name, network.input, tuple(nodes)))


def _nodes(step: Step, inputs: list[tuple[str, QFormat]]) -> tuple[list[Node], QFormat]:
    """The nodes of ``step`` and the format of the last one.

    :param inputs: nodes that it reads and their formats.
    """
    source, form = inputs[0]
    if isinstance(step, WeightedStep):
        layer = _layer(step, source, form)
        pool = step.facts.pool
        return [layer, *([] if pool is None else [_max_pool(pool, layer.name)])], layer.output
    if isinstance(step, PoolStep) and step.facts.kind == "max":
        return [_max_pool(step.facts, source)], form
    if isinstance(step, ShortcutStep):
        return _shortcut(step.facts, source, form), form
    made: Node
    if isinstance(step, AddStep):
        made = _add(step, inputs)
    elif isinstance(step, ConcatStep):
        made = _concat(step, inputs)
    elif isinstance(step, CurveStep):
        made = _lookup(step, source, form)
    elif isinstance(step, ProductStep):
        made = _product(step, inputs)
    elif isinstance(step, AffineStep):
        made = _affine(step, source, form)
    else:
        made = _avg_pool(step, source, form)
    return [made], made.output


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
    """``q``; of every channel as its multiplier has it, where each has one (inactive ones too)."""
    q = step.log_q.exp()
    if q.ndim == 0:
        return (float(q),)
    mult = torch.tensor(requant.mult, dtype=q.dtype, device=q.device)[step.outputs]
    largest = int(mult.argmax())  # the one that rounding changed least
    unit = float((q[largest] / mult[largest]).float())
    return requant.channel_scales(unit * requant.mult[0], step.facts.spec.outputs)


def _output(step: WeightedStep, scale: Tensor) -> tuple[Requant, QFormat]:
    """Requantiser and output format; raw accumulators for the last layer."""
    facts, step_size = step.facts, float(step.step_size)
    if facts.last:
        return Requant(), QFormat(48, True)
    output = replace(facts.output, scale=step_size)
    if step.log_q.ndim == 0:
        return requant_of(float(step.log_q.exp() * scale) / step_size), output
    mult, shift = step.channel_multipliers(scale)
    full = torch.ones(facts.spec.outputs, dtype=torch.int64)
    full[step.outputs] = torch.tensor(mult)
    return Requant(tuple(full.tolist()), shift), output


def _max_pool(pool: PoolFacts, source: str) -> MaxPool:
    return MaxPool(pool.name, source, pool.kernel, pool.stride, pool.padding)


@torch.no_grad()
def _avg_pool(step: PoolStep, source: str, form: QFormat) -> AvgPool:
    """The average; as logits, plain sums with as many bits as they need."""
    facts = step.facts
    window = {"kernel": facts.kernel, "stride": facts.stride, "padding": facts.padding}
    if facts.last:
        peak = math.prod(facts.kernel) * form.max_magnitude
        output = QFormat(signed_bits(peak), True, form.scale / facts.divided_by)
        return AvgPool(facts.name, source, requant=Requant(), output=output, **window)
    mult, shift = step.scaled(torch.tensor(form.scale, dtype=step.log_s.dtype))
    requant = Requant((int(mult),), int(shift))
    output = replace(facts.output, scale=float(step.step_size))
    return AvgPool(
        facts.name, source, requant=requant, output=output, border=facts.border, **window
    )


@torch.no_grad()
def _add(step: AddStep, inputs: list[tuple[str, QFormat]]) -> Add:
    (first, a), (second, b) = inputs
    scale = step.step_size
    mult, shift = multipliers(step.ratios(torch.tensor([a.scale, b.scale], dtype=scale.dtype)))
    output = replace(step.facts.output, scale=float(scale))
    return Add(step.name, (first, second), (mult[0], mult[1]), shift, output)


@torch.no_grad()
def _concat(step: ConcatStep, inputs: list[tuple[str, QFormat]]) -> Concat:
    scale = step.step_size
    ratios = [torch.tensor([form.scale], dtype=scale.dtype) / scale for _, form in inputs]
    requants = tuple(Requant(*multipliers(ratio)) for ratio in ratios)
    output = replace(step.facts.output, scale=float(scale))
    return Concat(step.name, tuple(name for name, _ in inputs), requants, output)


@torch.no_grad()
def _lookup(step: CurveStep, source: str, form: QFormat) -> Lookup:
    if form.bits > LOOKUP_BITS:
        raise PyadmmError(
            f"layer {step.name}: reads integers of {form.bits} bits, but its table takes at most "
            f"{LOOKUP_BITS}; use fewer activation bits or input bits"
        )
    output = replace(step.facts.output, scale=float(step.step_size))
    return Lookup(step.name, source, form.lo, step.table(form), output)


@torch.no_grad()
def _product(step: ProductStep, inputs: list[tuple[str, QFormat]]) -> Product:
    (first, a), (second, b) = inputs
    scales = (torch.tensor(form.scale, dtype=step.log_s.dtype) for form in (a, b))
    requant = Requant(*multipliers(step.ratio(*scales)))
    output = replace(step.facts.output, scale=float(step.step_size))
    return Product(step.name, (first, second), requant, output)


@torch.no_grad()
def _affine(step: AffineStep, source: str, form: QFormat) -> CompressedLayer:
    """The depthwise 1x1 convolution that multiplies each channel and adds to it."""
    scale = torch.tensor(form.scale, dtype=step.log_s.dtype)
    factor, shift = step.integers(scale)
    channels = step.facts.shape[0]
    spec = LayerSpec(step.name, "conv", (channels, 1, 1, 1), step.facts.shape, groups=channels)
    mult, exponent = multipliers(step.ratios(scale), _LAYER_BITS)
    output = replace(step.facts.output, scale=float(step.step_size))
    codes = _integers(factor).reshape(spec.weight_shape).astype(np.int16)
    requant = Requant(mult, exponent)
    unit = float(step.step_size) * mult[0] / 2.0**exponent / form.scale
    scales = requant.channel_scales(unit, channels)
    return CompressedLayer(
        spec, source, codes, _AFFINE_BITS, _integers(shift), requant, output, scales
    )


def _shortcut(facts: ShortcutFacts, source: str, form: QFormat) -> list[Node]:
    """The convolution that moves channel ``c`` to ``before + c`` as it is.

    It has one row and column, and one more for each that is cut off.
    """
    channels = facts.input_shape[0]
    outputs = facts.before + channels + facts.after
    top, left, bottom, right = (max(-side, 0) for side in facts.padding)
    padding = [max(side, 0) for side in facts.padding]
    shape = (outputs, channels, top + 1 + bottom, left + 1 + right)
    spec = LayerSpec(facts.name, "conv", shape, facts.input_shape, facts.stride, padding)
    codes = np.zeros(shape, np.int16)
    places = np.eye(outputs, channels, -facts.before, dtype=np.int16)
    if facts.order:
        places = places[:, np.argsort(facts.order)]
    codes[:, :, top, left] = places
    bias = np.zeros(outputs, np.int64)
    return [CompressedLayer(spec, source, codes, 1, bias, Requant(), form)]


def _integers(values: Tensor) -> NDArray[np.int64]:
    return values.numpy().round().astype(np.int64)
