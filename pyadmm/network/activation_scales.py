"""Scales of activations, from what a network computes on some training images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyadmm.model.types import QFormat
from pyadmm.network.graph import Network
from pyadmm.network.steps import ShortcutStep
from pyadmm.training.data import Images

_IMAGES = 2000
_CANDIDATES = 40
_VALUES = 1 << 23


@torch.no_grad()
def calibrate(network: Network, images: Images) -> None:
    """Set activation scales to those of least squared error on some training images."""
    count = min(_IMAGES, len(images))
    size = images.evaluated_together(count)
    found: dict[str, list[Tensor]] = {}
    for start in range(0, count, size):
        part = images.at(slice(start, min(start + size, count)))
        for step, values in network.walk(network.encode(part)):
            if step.output is not None:
                stride = 1 + values.numel() * count // len(part) // _VALUES
                found.setdefault(step.name, []).append(values.flatten()[::stride].clone())
    for step in network.chain:
        if not isinstance(step, ShortcutStep) and step.output is not None:
            limit = step.facts.activation.largest_step(step.output)
            scale = clip_scale(torch.cat(found[step.name]), step.output, limit)
            step.log_s.fill_(math.log(scale))


def clip_scale(values: Tensor, form: QFormat, limit: float | None) -> float:
    """The step of ``form`` with the least squared error on ``values``, of some candidates.

    Values that are all 0, behind a ReLU that never fires, fit any step: they get one as if they
    reached 1.

    :param limit: no step may be larger.
    """
    peak = float(values.abs().max())
    peak = max(peak, torch.finfo(torch.float32).tiny) if peak else 1.0
    steps = [peak * (i + 1) / _CANDIDATES / form.hi for i in range(_CANDIDATES)]
    if limit is not None:
        steps = [min(step, limit) for step in steps]

    def error(step: float) -> float:
        codes = torch.floor(values / step + 0.5).clamp_(form.lo, form.hi)
        return float((codes * step - values).square().sum())

    return min(steps, key=error)
