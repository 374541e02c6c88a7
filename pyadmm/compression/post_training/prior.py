"""The metric of the last layer's damping, where there are few calibration images per class.

Damping with the identity weighs all input directions equally. For the last layer more is known. If
an average over whole feature maps precedes it, it has one input per image, but the covariance within
the maps shows which inputs vary together. Classes without any calibration image have inputs along
their own weights: in a trained classifier, ``W W'`` resembles the covariance of the class means
(Papyan, Han & Donoho, PNAS 2020). With enough images per class, the images themselves are better.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pyadmm.network.layers import WeightedStep
from pyadmm.network.steps import PoolStep, Step

_BETWEEN = 0.3
"""Share of the covariance of the class weights in the metric."""
_LEAST = 1e-3
"""Share of the identity in the metric, which makes it positive definite."""
_SAMPLES_PER_CHANNEL = 8


def averages_whole_map(step: Step, size: Sequence[int]) -> bool:
    """Whether ``step`` averages whole maps of ``size`` (rows, columns)."""
    return (
        isinstance(step, PoolStep)
        and step.facts.kind != "max"
        and tuple(size) == tuple(step.facts.kernel)
    )


def places_within(channels: int, places: int, images: int) -> Tensor:
    """Positions of a map for :func:`within_images`, evenly spaced, as many as the estimate needs."""
    wanted = min(places, max(2, -(-_SAMPLES_PER_CHANNEL * channels // images)))
    return torch.arange(wanted) * places // wanted


def within_images(x: Tensor, places: Tensor) -> Tensor:
    """Sum over the images of ``(x - mean)(x - mean)'`` over positions of ``x``: ``(C, C)``.

    :param x: maps ``(N, C, H, W)``.
    """
    seen = x.flatten(2)[:, :, places]
    apart = (seen - seen.mean(2, keepdim=True)).transpose(1, 2).flatten(0, 1)
    return apart.T @ apart


def metric(step: WeightedStep, dense: Tensor, within: Tensor | None) -> Tensor | None:
    """``(1, K, K)`` of mean diagonal 1 for the last layer; ``None``, the identity, for others.

    :param dense: ``w0``, ``(g, K, O)``.
    :param within: covariance of the layer's inputs within the maps, of any scale; ``None``: unknown.
    """
    if not step.facts.last or step.facts.spec.groups > 1:
        return None
    inputs = dense.shape[1]
    identity = torch.eye(inputs, dtype=torch.float64)
    alike = identity if within is None or len(within) != inputs else _scaled(within.double())
    apart = dense[0].double() - dense[0].double().mean(1, keepdim=True)
    known = (1 - _BETWEEN) * alike + _BETWEEN * _scaled(apart @ apart.T)
    return ((1 - _LEAST) * known + _LEAST * identity).unsqueeze(0)


def _scaled(covariance: Tensor) -> Tensor:
    """With a mean diagonal of 1; the identity where all is 0."""
    size = covariance.diagonal().mean()
    return covariance / size if size > 0 else torch.eye(len(covariance), dtype=torch.float64)
