"""A network without its inactive channels."""

from __future__ import annotations

import torch
from torch import Tensor

from pyadmm.network.layers import WeightedStep
from pyadmm.network.steps import PoolStep, Step


def cut(steps: dict[str, Step], first: str, pools: list[str], second: str) -> bool:
    """Remove inactive channels of a producer and its one consumer, in ``steps``; tells whether any was."""
    producer, consumer = steps[first], steps[second]
    assert isinstance(producer, WeightedStep)
    assert isinstance(consumer, WeightedStep)
    constants = _constants(producer, [steps[name] for name in pools])
    keep = torch.nonzero(_active_outputs(producer, consumer, constants)).flatten()
    if len(keep) == len(producer.outputs):
        return False
    steps[first] = producer.select(keep, torch.arange(len(producer.inputs)))
    steps[second] = _without_inputs(consumer, keep, constants)
    return True


def _constants(producer: WeightedStep, pools: list[Step]) -> Tensor:
    """The constant that the consumer reads from an output without weights."""
    _, bias = producer.folded()
    constants = producer.facts.activation(bias)
    for pool in pools:
        assert isinstance(pool, PoolStep)
        constants = pool.facts.activation(constants)
    return constants


def _active_outputs(producer: WeightedStep, consumer: WeightedStep, constants: Tensor) -> Tensor:
    """Which outputs of ``producer`` must stay; at least one does."""
    made = producer.as_windows(producer.mask).flatten(1).any(1)
    read = consumer.as_windows(consumer.mask).any(2).any(0)
    foldable = constants == 0 if any(consumer.facts.spec.padding) else torch.ones_like(made)
    active = read & (made | ~foldable)
    if not bool(active.any()):
        active[0] = True
    return active


def _without_inputs(consumer: WeightedStep, keep: Tensor, constants: Tensor) -> WeightedStep:
    """``consumer`` reading only the channels ``keep``, the constants of the others in its bias."""
    dropped = constants.clone()
    dropped[keep] = 0
    gain = consumer.as_windows(consumer.weight.detach() * consumer.mask).sum(2)
    step = consumer.select(torch.arange(len(consumer.outputs)), keep)
    step.bias.data.add_(gain @ dropped)
    return step
