"""The kernel that is built for a layer whose break-even is measured, and how long its groups work."""

from __future__ import annotations

import math
from dataclasses import replace

from pyadmm.breakeven.cases import LayerCase
from pyadmm.hardware.group_balance import assign_groups
from pyadmm.hardware.plan import KernelConfig, StagePlan
from pyadmm.model.types import IntArray, LayerSpec


def kernel_stage(case: LayerCase, config: KernelConfig, entries: int) -> StagePlan:
    """The kernel to build for ``case``.

    Streamed weights: one convolution group, of which it holds two channels per group of lanes.

    :param entries: depth of a group's weight memory.
    """
    spec = case.spec if case.resident or case.spec.groups == 1 else one_group(case.spec)
    slots = 2 if not case.resident else math.ceil(spec.outputs / config.groups)
    stage = replace(case, spec=spec).stage(config, entries, slots)
    if case.resident or config.family == "sparse":
        return stage
    shape = (min(2 * config.groups, spec.outputs), *spec.weight_shape[1:])
    return replace(stage, spec=replace(spec, weight_shape=shape))


def busy_cycles(counts: IntArray, groups: int, pause: bool) -> list[int]:
    """Cycles that every group of a sparse kernel works on one tile of all its channels.

    :param counts: entries of every output channel.
    :param pause: whether a cycle passes between tiles (:func:`selects_products`).
    """
    return [
        int(counts[members].sum()) + pause * len(members)
        for members in assign_groups(counts, groups)
    ]


def one_group(spec: LayerSpec) -> LayerSpec:
    """One convolution group of ``spec`` as a layer of its own."""
    outputs, channels = spec.outputs // spec.groups, spec.kernel_channels
    shape = (outputs, *spec.weight_shape[1:])
    return replace(
        spec, weight_shape=shape, input_shape=(channels, *spec.input_shape[1:]), groups=1
    )
