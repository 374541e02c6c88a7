"""The importance of each layer's output, and the number of weights that each layer keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pyadmm.model import INPUT
from pyadmm.network.graph import Network
from pyadmm.network.layers import WeightedStep
from pyadmm.training.seeds import seed_of

Array = NDArray[np.float64]
_IMAGES = 96
_BATCH = 8
_IMAGES_PER_CLASS = 8
"""With fewer, the information says little more than which classes the images have."""
_MEASURED, _LEAST_MEASURED = 64, 16
_MACS = 1 << 40
"""Of all passes that measure what pruning does: large networks are measured on fewer images."""
GRID = (0.0, 0.3, 0.6, 0.85, 0.97)
"""Sparsities at which the divergence that a layer causes is measured."""
_LEFT_DENSE = 0.01
"""Share of all weights that the smallest layers hold together: they stay dense."""
_LEAST_COST = 1e-9
_STEPS = 60
"""Of the bisection for the price of a weight."""


def output_gradients(network: Network, images: Tensor, seed: int) -> dict[str, Tensor]:
    """Per layer, ``E sum_p (dL/dy_op)**2`` of its outputs ``(O,)``, over positions with gradient.

    The loss is the cross entropy with labels drawn from the network's own predictions, so the
    expectation is the Fisher information of the outputs: half of it times a squared error of the
    output is the loss to second order. No labels are needed.

    :param network: of floats, without norms.
    """
    generator = torch.Generator().manual_seed(seed_of(seed, "post-training-fisher"))
    seen: dict[str, Tensor] = {}
    sums = {n: torch.zeros(step.facts.spec.outputs) for n, step in network.layers.items()}

    def keep(step: WeightedStep, _: object, output: Tensor) -> None:
        output.retain_grad()
        seen[step.name] = output

    hooks = [step.register_forward_hook(keep) for step in network.layers.values()]
    count = min(_IMAGES, len(images))
    try:
        for start in range(0, count, _BATCH):
            logits = network(network.encode(images[start : min(start + _BATCH, count)]))
            drawn = torch.multinomial(logits.detach().softmax(1), 1, generator=generator)[:, 0]
            F.cross_entropy(logits, drawn, reduction="sum").backward()
            for name, output in seen.items():
                assert output.grad is not None
                live = output.grad.square()
                if network.layers[name].facts.relu:
                    live = live * (output.detach() > 0)
                sums[name] += live.flatten(2).sum((0, 2)) if live.ndim > 2 else live.sum(0)
    finally:
        for hook in hooks:
            hook.remove()
        network.zero_grad()
    return {name: total / count for name, total in sums.items()}


def show_classes(network: Network, images: Tensor) -> bool:
    """Whether there are enough images per class for :func:`output_gradients`."""
    classes = network(network.encode(images[:1])).shape[1]
    return bool(min(len(images), _IMAGES) >= _IMAGES_PER_CLASS * classes)


def output_weights(gradients: Tensor, groups: int) -> Tensor:
    """``r`` of a layer's problem, ``(g, 1, O/g)``, mean 1: the importance of each output.

    The square root tempers estimates from few images.
    """
    root = gradients.double().clamp(min=0).sqrt()
    mean = root.mean()
    if not mean > 0:
        return torch.ones(groups, 1, len(root) // groups, dtype=torch.float64)
    return (root / mean).clamp(min=0.05).reshape(groups, 1, -1)


@torch.no_grad()
def divergences(
    network: Network,
    images: Tensor,
    pruned: Callable[[str], Sequence[tuple[Tensor, Tensor]]],
    names: Sequence[str],
) -> dict[str, tuple[float, ...]]:
    """How much each layer alone changes the network's classes, for some of its pruned versions.

    It is the mean Kullback-Leibler divergence of the network's classes from those with the layer's
    other weights. The maps in front of a layer are computed once for all its versions.

    :param network: of floats, without norms.
    :param images: bytes ``(N, C, H, W)``.
    :param pruned: gives the weights and biases of a layer's versions by its name.
    :param names: of the layers.
    """
    values = {INPUT: network.encode(images) * network.input.format.scale}
    wanted = network(network.encode(images)).log_softmax(1)
    found: dict[str, tuple[float, ...]] = {}
    last_use = {s: step.name for step in network.chain for s in network.sources[step.name]}
    for step in network.chain:
        inputs = [values[source] for source in network.sources[step.name]]
        own = step(*inputs)
        for source in network.sources[step.name]:
            if last_use[source] == step.name:
                values.pop(source, None)
        if isinstance(step, WeightedStep) and step.name in names:
            costs = []
            for weight, bias in pruned(step.name):
                other = step.facts.activation(step.pooled_product(inputs[0], weight, bias))
                logits = network.finish(values | {step.name: other}, step.name).log_softmax(1)
                costs.append(_divergence(wanted, logits))
            found[step.name] = tuple(costs)
        values[step.name] = own
    return found


def images_measured(macs: int, layers: int) -> int:
    """Images that :func:`divergences` should be measured on.

    A layer's versions cost the end of a pass each, half of a pass on average.

    :param macs: of one pass through the network.
    :param layers: whose versions are measured.

    >>> images_measured(14_000_000, 18), images_measured(4_100_000_000, 53)
    (64, 16)
    """
    room = _MACS // max(1, layers * (len(GRID) - 1) * macs // 2)
    return max(_LEAST_MEASURED, min(_MEASURED, room))


def _divergence(wanted: Tensor, found: Tensor) -> float:
    return float(F.kl_div(found, wanted, reduction="batchmean", log_target=True))


def layers_to_prune(weights: Mapping[str, int]) -> list[str]:
    """All layers but the smallest, which hold one per cent of the weights together.

    Pruning the smallest layers would save little, and they are the most sensitive.

    :param weights: of each layer.
    """
    left = _LEFT_DENSE * sum(weights.values())
    chosen = []
    for name in sorted(weights, key=lambda name: weights[name]):
        left -= weights[name]
        if left < 0:
            chosen.append(name)
    return [name for name in weights if name in chosen]


@dataclass(frozen=True)
class Curve:
    """The cost of pruning a layer, by its sparsity.

    :param weights: of the layer.
    :param costs: divergence of the network's classes at each sparsity of :data:`GRID`.
    """

    weights: int
    costs: tuple[float, ...]

    def at(self, sparsity: Sequence[float] | Array) -> Array:
        """Cost at any sparsity, interpolated between the measured points by powers of the sparsity."""
        wanted = np.log(np.maximum(sparsity, 1e-6))
        costs = np.log(np.maximum.accumulate(np.maximum(self.costs[1:], _LEAST_COST)))
        known = np.log(GRID[1:])
        found = np.interp(wanted, known, costs)
        power = (costs[1] - costs[0]) / (known[1] - known[0])
        below = costs[0] + max(power, 1.0) * (wanted - known[0])
        curve = np.exp(np.where(wanted < known[0], below, found))
        return np.asarray(np.where(np.asarray(sparsity) > 0, curve, 0.0))


def allocate(
    curves: Mapping[str, Curve],
    zeros: float,
    most: float,
    break_even: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Each layer's sparsity, so that all together have ``zeros`` at the least total cost.

    All layers have the same marginal cost per weight, which is found by bisection. A layer with a
    break-even ratio is dense or at least that sparse.

    :param curves: of the layers that may be pruned.
    :param zeros: weights that become 0, in all these layers.
    :param most: sparsity of no layer is larger.
    """
    options = {n: _options(most, (break_even or {}).get(n, 1.0)) for n in curves}
    costs = {name: curve.at(options[name]) for name, curve in curves.items()}

    def chosen(price: float) -> dict[str, float]:
        paid = {n: costs[n] - price * curves[n].weights * options[n] for n in curves}
        return {n: float(options[n][paid[n].argmin()]) for n in curves}

    low, high = -60.0, 60.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        pruned = sum(curves[n].weights * s for n, s in chosen(math.exp(middle)).items())
        low, high = (middle, high) if pruned < zeros else (low, middle)
    return _trimmed(curves, chosen(math.exp(high)), zeros, break_even or {})


def _options(most: float, ratio: float) -> Array:
    steps = np.arange(1, 200) / 200
    return np.concatenate([[0.0], steps[(steps >= 1 - 1 / ratio) & (steps <= most)]])


def _trimmed(
    curves: Mapping[str, Curve],
    chosen: dict[str, float],
    wanted: float,
    break_even: Mapping[str, float],
) -> dict[str, float]:
    """Undo the excess zeros of the last bisection step, in the layers where a zero costs most."""
    surplus = sum(curves[n].weights * s for n, s in chosen.items()) - wanted

    def price(name: str) -> float:
        return float(curves[name].at([chosen[name]])[0]) / curves[name].weights

    for name in sorted(chosen, key=price, reverse=True):
        room = max(chosen[name] - (1 - 1 / break_even.get(name, 1.0)), 0.0)
        part = min(room * curves[name].weights, max(surplus, 0.0))
        chosen[name] -= part / curves[name].weights
        surplus -= part
    return chosen
