"""How much each layer's output matters, and from it how many weights each layer keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pyadmm.network.graph import Network
from pyadmm.network.layers import WeightedStep
from pyadmm.training.seeds import seed_of

Array = NDArray[np.float64]
_IMAGES = 96
_BATCH = 8
GRID = (0.0, 0.25, 0.5, 0.625, 0.75, 0.85, 0.92, 0.97)
"""Sparsities at which each layer's error is measured."""
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


def output_weights(gradients: Tensor, groups: int) -> Tensor:
    """``r`` of a layer's problem, ``(g, 1, O/g)``, mean 1: how much each output matters.

    The square root tempers estimates from few images.
    """
    root = gradients.double().clamp(min=0).sqrt()
    mean = root.mean()
    if not mean > 0:
        return torch.ones(groups, 1, len(root) // groups, dtype=torch.float64)
    return (root / mean).clamp(min=0.05).reshape(groups, 1, -1)


@dataclass(frozen=True)
class Curve:
    """What a layer costs by its sparsity.

    :param weights: of the layer.
    :param costs: loss to second order at each sparsity of :data:`GRID`.
    """

    weights: int
    costs: tuple[float, ...]

    def at(self, sparsity: Sequence[float] | Array) -> Array:
        """Costs in between: by the logarithm, linear up to the first sparsity of the grid."""
        wanted = np.asarray(sparsity)
        logs = np.log(np.maximum(self.costs[1:], 1e-30))
        steep = np.exp(np.interp(wanted, GRID[1:], logs))
        flat = np.interp(wanted, GRID, self.costs)
        return np.asarray(np.where(wanted < GRID[1], flat, steep))


def allocate(
    curves: Mapping[str, Curve],
    sparsity: float,
    most: float,
    break_even: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Each layer's sparsity, so that all together reach ``sparsity`` at the least total cost.

    Every layer chooses by the same price of a weight, which is found by bisection. A layer with a
    break-even ratio is dense or at least that sparse.

    :param most: sparsity of no layer is larger.
    """
    if sparsity <= 0:
        return dict.fromkeys(curves, 0.0)
    total = sum(curve.weights for curve in curves.values())
    options = {n: _options(most, (break_even or {}).get(n, 1.0)) for n in curves}
    costs = {name: curve.at(options[name]) for name, curve in curves.items()}

    def chosen(price: float) -> dict[str, float]:
        paid = {n: costs[n] - price * curves[n].weights * options[n] for n in curves}
        return {n: float(options[n][paid[n].argmin()]) for n in curves}

    low, high = -60.0, 60.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        pruned = sum(curves[n].weights * s for n, s in chosen(math.exp(middle)).items())
        low, high = (middle, high) if pruned < sparsity * total else (low, middle)
    return _trimmed(curves, chosen(math.exp(high)), sparsity * total, break_even or {})


def _options(most: float, ratio: float) -> Array:
    steps = np.arange(1, 200) / 200
    return np.concatenate([[0.0], steps[(steps >= 1 - 1 / ratio) & (steps <= most)]])


def _trimmed(
    curves: Mapping[str, Curve],
    chosen: dict[str, float],
    wanted: float,
    break_even: Mapping[str, float],
) -> dict[str, float]:
    """Give back what one step of the price took too much, by the layers that gain most from it."""
    surplus = sum(curves[n].weights * s for n, s in chosen.items()) - wanted

    def price(name: str) -> float:
        return float(curves[name].at([chosen[name]])[0]) / curves[name].weights

    for name in sorted(chosen, key=price, reverse=True):
        room = max(chosen[name] - (1 - 1 / break_even.get(name, 1.0)), 0.0)
        part = min(room * curves[name].weights, max(surplus, 0.0))
        chosen[name] -= part / curves[name].weights
        surplus -= part
    return chosen
