"""Second-order rounding: all weights and biases of a float network are rounded together.

Rounding every weight to its nearest level is far from optimal, because the errors of different weights
can compensate each other. Near the trained network the loss is approximated by a quadratic form, its
curvature. Finding the levels that minimise it is a closest-vector problem, which simulated annealing
solves approximately in seconds. Sources: optimal brain surgeon (Hassibi & Stork, NIPS 1992); rounding
of one weight after another (Frantar & Alistarh, OBC, NeurIPS 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyadmm.compression.byte_budget import prune_to_budget
from pyadmm.compression.gauss_newton import Variables, curvature
from pyadmm.compression.phase import Held, PhaseContext, PhaseResult, augmented_loss
from pyadmm.cpu_kernels.anneal import anneal
from pyadmm.network.activation_scales import calibrate
from pyadmm.network.execution import Numerics
from pyadmm.network.graph import Network
from pyadmm.network.layers import WeightedStep
from pyadmm.network.to_integer import snap_scales, with_input_scales
from pyadmm.settings import CompressSettings
from pyadmm.training import distributed
from pyadmm.training.seeds import digest_of, seed_of

_DAMPINGS = 0.5, 1.0, 2.0
_FLOOR = 1e-4
"""Added to the curvature's diagonal, relative to its mean: some biases may not matter at all."""
_SCALE_HEATS = 1.0, 1.0, 1.0, 0.2
"""Of the searches between which scales are fitted, relative to the first one."""
_SCALE_SWEEPS = 5_000
_SWEEPS = 20_000
_HOT = 2.0
"""Heat at first, in units of what the nearest levels lose per variable."""
_COOLED = 1e-3
_BIAS_LIMIT = 1 << 20


class SecondOrderRounding:
    """Keeps the best of several roundings of a float network without norms, with fitted weight scales.

    Where the size of the file is limited, weights that do not fit are pruned first, and the rounding
    of the others compensates for them.
    """

    name = "rounding"

    def wanted(self, network: Network, settings: CompressSettings) -> bool:
        """Whether the settings give it candidates."""
        return settings.rounding.candidates > 0

    def run(self, network: Network, context: PhaseContext) -> PhaseResult:
        """The best rounding as a quantised network; there is one record per candidate.

        :raises PyadmmError: where the network has too many weights.
        :raises ToolError: where the search cannot be compiled.
        """
        Variables.of(network)  # too many are refused before any work
        settings, train = context.settings.rounding, context.settings.quantize
        tries = _Tries(network, context)
        chosen = context.settings
        limits = chosen.mult_bits, chosen.most_bytes, dict(chosen.break_even), context.model_name
        phase = context.phase(settings.candidates, network, settings, train, *limits)

        def candidate(number: int) -> tuple[dict[str, Any], bool]:
            return tries.candidate(number, phase.epoch_seed(number)), False

        records = phase.run({"network": tries.held}, candidate)
        return PhaseResult(tries.held.network, records)


class _Tries:
    """The candidate roundings of one network and the best so far; the curvature is measured on demand."""

    def __init__(self, network: Network, context: PhaseContext) -> None:
        self.network, self.context = network, context
        self.held = Held(network.copy())  # a float network before the first try
        self.least = math.inf
        self.matrix, self.dropped = torch.empty(0), torch.empty(0)

    def candidate(self, number: int, seed: int) -> dict[str, Any]:
        """Make one more rounding; returns the figures of the best one."""
        context, train = self.context, self.context.settings.quantize
        if not len(self.matrix):
            self._measure()
        damping = context.settings.rounding.damping * _DAMPINGS[number % len(_DAMPINGS)]
        rounded = _rounded(
            self.network,
            self.matrix,
            damping,
            dropped=self.dropped,
            context=context,
            seed=seed,
        )
        if distributed.size() > 1:
            distributed.agree("the rounded weights", digest_of(rounded.state()["tensors"]))
        loss = augmented_loss(rounded, train, context)
        if loss < self.least:
            self.held.network, self.least = rounded, loss
        best = self.held.network
        return {"loss": self.least, "val_accuracy": context.accuracy(best), "nnz": best.nnz}

    def _measure(self) -> None:
        """Measure the curvature, the weights that do not fit the file, and the loss of a
        checkpoint's result.
        """
        context, train = self.context, self.context.settings.quantize
        settings = context.settings.rounding
        seed = seed_of(context.settings.seed, context.name, "curvature")
        self.matrix = curvature(self.network, settings.images, train, context, seed)
        self.dropped = _dropped(self.network, self.matrix, settings.damping, context)
        if self.held.network.quantized:
            self.least = augmented_loss(self.held.network, train, context)


def _dropped(network: Network, matrix: Tensor, damping: float, context: PhaseContext) -> Tensor:
    """Which variables do not fit into the file, bool ``(V,)``."""
    variables = Variables.of(network)
    dropped = torch.zeros_like(variables.are_weights)
    if context.settings.most_bytes:
        seed = seed_of(context.settings.seed, context.name, "size")
        rounded = _rounded(network, matrix, damping, dropped=dropped, context=context, seed=seed)
        prune_to_budget(rounded, context.settings.most_bytes, context)
        left = {n: (la.mask, torch.ones_like(la.bias)) for n, la in rounded.layers.items()}
        dropped = variables.gather(left) == 0
    return dropped


@torch.no_grad()
def _rounded(
    network: Network,
    matrix: Tensor,
    damping: float,
    *,
    dropped: Tensor,
    context: PhaseContext,
    seed: int,
) -> Network:
    """``network`` at levels: first the scales are fitted, then weights and biases are rounded together.

    :param dropped: variables that become 0, bool ``(V,)``.
    """
    variables = Variables.of(network)
    diagonal = matrix.diagonal()
    damped = matrix + torch.diag(damping * diagonal + _FLOOR * diagonal.mean())
    rounded = network.copy()
    heat = _fit_scales(rounded, variables, damped, dropped, seed)
    calibrate(rounded, context.data.train)
    rounded = rounded.at(Numerics.INTEGER)
    snap_scales(rounded, context.settings.mult_bits)
    lattice = _Lattice.of(rounded, variables, variables.gather(_values(network))).without(dropped)
    codes = lattice.nearest(variables.gather(_values(rounded)))
    codes = lattice.search(codes, damped, heat, _SWEEPS, seed_of(seed, "all"))
    _place(rounded, variables, lattice.steps * codes)
    for layer in rounded.layers.values():
        layer.freeze(1.0)
    return rounded


@dataclass(frozen=True)
class _Lattice:
    """The allowed values of variables, multiples of their steps; all float64 or int64, ``(V,)``.

    :param start: their trained values, where the quadratic form is 0.
    :param limit: of the multiples' magnitudes.
    :param zero: whether a multiple may be 0, bool.
    """

    start: Tensor
    steps: Tensor
    limit: Tensor
    zero: Tensor

    @classmethod
    def of(cls, network: Network, variables: Variables, start: Tensor) -> _Lattice:
        """The lattice of a quantised ``network``."""
        steps, limits = {}, {}
        for step, scale in with_input_scales(network):
            if isinstance(step, WeightedStep):
                unit = step.log_q.detach().exp() * scale
                bias_step = (unit * step.bias_step(unit)).expand_as(step.bias)
                steps[step.name] = step.row_q.detach().expand_as(step.weight), bias_step
                limits[step.name] = _limits(step)
        weights = variables.are_weights
        return cls(start, variables.gather(steps), variables.gather(limits).long(), ~weights)

    def without(self, dropped: Tensor) -> _Lattice:
        """The lattice in which some variables can only be 0."""
        return replace(self, limit=self.limit * ~dropped, zero=self.zero | dropped)

    def nearest(self, values: Tensor) -> Tensor:
        """The multiples nearest to ``values``."""
        scaled = values / self.steps
        magnitude = torch.floor(scaled.abs() + 0.5).clamp(min=(~self.zero).double())
        magnitude = magnitude.minimum(self.limit.double())
        return torch.where(scaled < 0, -magnitude, magnitude).long()

    def excess(self, codes: Tensor, matrix: Tensor) -> float:
        """The increase of the loss by the quadratic model."""
        way = self.steps * codes - self.start
        return float(way @ matrix @ way) / 2

    def search(self, codes: Tensor, matrix: Tensor, heat: float, sweeps: int, seed: int) -> Tensor:
        """Multiples with a lower loss than ``codes``, or ``codes`` if none are found."""
        gradient = matrix @ (self.steps * codes - self.start)
        return anneal(
            matrix,
            gradient,
            self.steps,
            codes,
            limit=self.limit,
            zero=self.zero,
            sweeps=sweeps,
            hot=heat,
            cold=_COOLED * heat,
            seed=seed,
        ).long()


def _values(network: Network) -> dict[str, tuple[Tensor, Tensor]]:
    return {n: (la.weight.detach(), la.bias.detach()) for n, la in network.layers.items()}


def _limits(layer: WeightedStep) -> tuple[Tensor, Tensor]:
    most = 1 << (layer.facts.weight_bits - 1)
    return torch.full_like(layer.weight, most), torch.full_like(layer.bias, _BIAS_LIMIT)


def _fit_scales(
    network: Network, variables: Variables, matrix: Tensor, dropped: Tensor, seed: int
) -> float:
    """Quantise the weights in place and re-optimise the biases to compensate.

    Scales and levels are found in turn: the best scales of given levels are those of a linear
    regression.

    :returns: the temperature at which the search for levels began.
    """
    weights = variables.are_weights
    start = variables.gather(_values(network))
    across = matrix[~weights][:, weights]
    making_good = torch.linalg.solve(matrix[~weights][:, ~weights], across)
    reduced = matrix[weights][:, weights] - across.T @ making_good
    group, scales = _scale_groups(network, variables)
    limits = variables.gather({n: _limits(la) for n, la in network.layers.items()}).long()
    lattice = _Lattice(start[weights], scales[group], limits[weights], torch.zeros_like(group) > 0)
    lattice = lattice.without(dropped[weights])
    codes = lattice.nearest(lattice.start)
    heat = _HOT * lattice.excess(codes, reduced) / len(codes)
    for number, part in enumerate(_SCALE_HEATS):
        codes = lattice.search(codes, reduced, part * heat, _SCALE_SWEEPS, seed_of(seed, number))
        scales = _regressed(scales, group, codes, lattice.start, reduced)
        lattice = replace(lattice, steps=scales[group])
    levels = lattice.steps * codes
    values = start.clone()
    values[weights] = levels
    values[~weights] -= making_good @ (levels - lattice.start)
    _set_scales(network, scales)
    _place(network, variables, values)
    for (name, (gone, _)), places in zip(
        variables.split(dropped).items(), variables.places, strict=True
    ):
        layer = network.layers[name]
        left = torch.ones(layer.mask.numel())
        left[places[gone]] = 0
        layer.apply_mask(left.to(layer.mask).reshape(layer.mask.shape))
    return heat


def _scale_groups(network: Network, variables: Variables) -> tuple[Tensor, Tensor]:
    """The scale group of each weight, and the scales: one per layer, or one per output."""
    groups: dict[str, tuple[Tensor, Tensor]] = {}
    scales: list[Tensor] = []
    for name, layer in network.layers.items():
        first = sum(len(found) for found in scales)
        scales.append(layer.log_q.detach().exp().reshape(-1).cpu().double())
        own = torch.arange(first, first + len(scales[-1])).reshape(layer.row_q.shape)
        groups[name] = own.expand_as(layer.weight), torch.zeros(len(layer.bias))
    return variables.gather(groups)[variables.are_weights].long(), torch.cat(scales)


def _regressed(
    scales: Tensor, group: Tensor, codes: Tensor, start: Tensor, matrix: Tensor
) -> Tensor:
    """The scales of least loss for given levels; ``matrix`` is the curvature. A scale without levels stays."""
    found = scales.clone()
    used = torch.unique(group[codes != 0])
    columns = (group[:, None] == used) * codes[:, None].double()
    best = torch.linalg.solve(columns.T @ matrix @ columns, columns.T @ (matrix @ start))
    found[used] = torch.where(best > 0, best, found[used])
    return found


@torch.no_grad()
def _set_scales(network: Network, scales: Tensor) -> None:
    layers = network.layers.values()
    parts = scales.log().split([layer.log_q.numel() for layer in layers])
    for layer, part in zip(layers, parts, strict=True):
        layer.log_q.copy_(part.reshape(layer.log_q.shape))


@torch.no_grad()
def _place(network: Network, variables: Variables, values: Tensor) -> None:
    """Set the variables of ``network`` to ``values``."""
    for (name, (weights, biases)), places in zip(
        variables.split(values).items(), variables.places, strict=True
    ):
        layer = network.layers[name]
        flat = layer.weight.flatten().clone()
        flat[places.to(flat.device)] = weights.to(flat)
        layer.weight.copy_(flat.reshape(layer.weight.shape))
        layer.bias.copy_(biases)
