"""From a fake-quantised :class:`~pyadmm.network.Network` to the integer ``CompressedModel``."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyadmm.errors import PyadmmError
from pyadmm.fold import fold_dead
from pyadmm.model import (
    INPUT,
    MULT_LIMIT,
    SHIFT_LIMIT,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    MaxPool,
    Node,
    Requant,
)
from pyadmm.network import LayerFacts, Network, PoolFacts, WeightedStep
from pyadmm.quantize import quantize_weight
from pyadmm.spec import QFormat, signed_bits


def requant_of(ratio: float) -> Requant:
    """The requantiser whose ``mult / 2**shift`` is nearest to ``ratio``.

    >>> requant_of(0.3)
    Requant(mult=(39322,), shift=17)
    """
    if not 0 < ratio < MULT_LIMIT / 2:
        raise PyadmmError(f"requantise: ratio must be above 0 and below 32768, not {ratio}")
    shift = min(MULT_LIMIT.bit_length() - 2 - math.frexp(ratio)[1] + 1, SHIFT_LIMIT)
    mult = round(math.ldexp(ratio, shift))
    if mult == MULT_LIMIT:
        mult, shift = mult >> 1, shift - 1
    if mult < 1 or shift < 1:
        raise PyadmmError(f"requantise: ratio {ratio} needs a shift outside 1 to {SHIFT_LIMIT}")
    return Requant((mult,), shift)


@torch.no_grad()
def snap_scales(network: Network) -> None:
    """Move each activation scale to where the layer's requantiser is exactly ``mult / 2**shift``.

    The shift is at most 2**-16 of the scale; afterwards network and integer model agree.
    """
    scale = network.input.format.scale
    for layer in network.layers.values():
        if layer.facts.last:
            return
        unit = float(layer.log_q.exp()) * scale
        requant = requant_of(unit / float(layer.log_s.exp()))
        layer.log_s.fill_(math.log(unit * 2**requant.shift / requant.mult[0]))
        scale = float(layer.log_s.exp())


def to_compressed(network: Network, name: str) -> CompressedModel:
    """The integer model that computes what the quantised ``network`` computes.

    Cut-off channels come back as zeros, so the layers have their original shapes; what has become
    constant or unread by quantisation is folded (:mod:`pyadmm.fold`). The integers agree with
    :meth:`Network.forward` after :func:`snap_scales`, as far as floats hold them.
    """
    if not network.quantized:
        raise PyadmmError(f"model {name}: must be quantised before it becomes integers")
    nodes: list[Node] = []
    source, form = INPUT, network.input.format
    for step in network.chain:
        if isinstance(step, WeightedStep):
            nodes.append(layer := _layer(step, source, form))
            form = layer.output
            if step.facts.pool is not None:
                nodes.append(_max_pool(step.facts.pool, layer.name))
        elif step.facts.kind == "max":
            nodes.append(_max_pool(step.facts, source))
        else:
            nodes.append(average := _avg_pool(step.facts, source, form))
            form = average.output
        source = nodes[-1].name
    return fold_dead(CompressedModel(name, network.input, tuple(nodes)))


def _layer(step: WeightedStep, source: str, form: QFormat) -> CompressedLayer:
    facts, scale = step.facts, form.scale
    with torch.no_grad():
        q = step.log_q.exp()
        codes = quantize_weight(step.weight, q, facts.weight_bits, step.mask)
        full = torch.zeros(facts.spec.window_shape).flatten(2)
        inputs = step.inputs[: full.shape[1]]
        full[step.outputs[:, None], inputs[None, :]] = step.as_windows(codes)
        bias = torch.zeros(facts.spec.outputs)
        bias[step.outputs] = step.bias_codes(q * scale)
        step_size, unit = float(step.log_s.exp()), float(q) * scale
    layer = CompressedLayer(
        facts.spec,
        source,
        _integers(full).reshape(facts.spec.weight_shape).astype(np.int16),
        facts.weight_bits,
        _integers(bias),
        *_output(facts, unit, step_size),
        weight_scale=(float(q),),
    )
    if not facts.last:
        return layer
    bits = signed_bits(layer.accumulator_magnitude(form.max_magnitude))
    return replace(layer, output=QFormat(bits, True, unit))


def _output(facts: LayerFacts, unit: float, step_size: float) -> tuple[Requant, QFormat]:
    """Requantiser and output format; raw accumulators for the last layer."""
    if facts.last:
        return Requant(), QFormat(48, True, unit)
    return requant_of(unit / step_size), QFormat(facts.activation_bits, not facts.relu, step_size)


def _max_pool(pool: PoolFacts, source: str) -> MaxPool:
    return MaxPool(pool.name, source, pool.kernel, pool.stride)


def _avg_pool(pool: PoolFacts, source: str, form: QFormat) -> AvgPool:
    output = QFormat(form.bits, form.signed and not pool.relu, form.scale)
    requant = requant_of(1 / pool.kernel**2)
    return AvgPool(pool.name, source, pool.kernel, pool.stride, requant, output)


def _integers(values: Tensor) -> NDArray[np.int64]:
    return values.numpy().round().astype(np.int64)
