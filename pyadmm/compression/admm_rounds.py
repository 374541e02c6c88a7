"""The rounds of ADMM: iterations, hard pruning, masked retraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyadmm.admm.projections import (
    Kept,
    crowded_mask,
    joint_scale,
    keep_joint,
    keep_largest,
    optimal_scale,
    project_levels,
    row_mask,
)
from pyadmm.admm.solver import Admm, Projection, Residuals
from pyadmm.compression.budgets import counts_of, pruning_targets, weighted_by
from pyadmm.compression.importance import importance
from pyadmm.compression.lockstep import balanced_projection
from pyadmm.compression.phase import PhaseContext, PhaseResult, make_optimizer, train_masked
from pyadmm.compression.schedule import Target, round_ratios
from pyadmm.network.execution import Execution
from pyadmm.network.graph import Network
from pyadmm.settings import AdmmSettings, CompressSettings
from pyadmm.training import distributed
from pyadmm.training.checkpoint import (
    Checkpoint,
    EpochRecord,
    Phase,
    Stateful,
    as_text,
    records_of,
)
from pyadmm.training.data import Images, accuracy
from pyadmm.training.devices import device_of
from pyadmm.training.seeds import digest_of
from pyadmm.training.trainer import cosine


@dataclass(frozen=True)
class _Round:
    """The target of one round of ADMM: the number of weights of each layer, on levels if ``joint``.

    :param kernels: ``(KH, KW)`` of each layer.
    """

    counts: Mapping[str, int]
    matters: Mapping[str, Tensor]
    targets: Mapping[str, Target]
    joint: bool
    kernels: Mapping[str, tuple[int, int]]

    def projections(self, settings: AdmmSettings) -> list[Projection]:
        """One for each layer."""
        projections = []
        for name, count in self.counts.items():
            target, matters = self.targets[name], self.matters[name]
            make = _projection
            if target.balanced is not None:
                make = balanced_projection
                matters = matters.reshape(len(matters), -1, *self.kernels[name])
            projections.append(make(count, target, matters, self.joint, settings))
        return projections


class AdmmRounds:
    """ADMM in progressive rounds.

    A round allocates the weights to the layers, runs ADMM, prunes by the last projection, removes
    inactive channels and retrains the remaining weights. The last round may project onto levels as
    well. Rounds whose ratio the network has already reached are skipped.
    """

    name = "admm"

    def wanted(self, network: Network, settings: CompressSettings) -> bool:
        """Whether the settings prune in rounds and not by one uninterrupted ADMM."""
        return settings.continuous.epochs == 0

    def run(self, network: Network, context: PhaseContext) -> PhaseResult:
        """Prune ``network`` in rounds of ADMM and masked retraining."""
        settings, admm = context.settings, context.settings.admm
        targets, decisions = pruning_targets(network, settings, context.data)
        ratios = round_ratios(admm.first_ratio, settings.pruning_ratio, admm.rounds)
        records: list[EpochRecord] = []
        status = []
        done = network.weights / network.nnz
        for number, ratio in enumerate(ratios):
            if 1 < done >= ratio < ratios[-1]:
                continue
            joint = admm.joint and number == len(ratios) - 1 and admm.iterations > 0
            of_round = context.named(f"{number + 1}")
            epochs, outcome, network = _whole_round(network, targets, ratio, joint, of_round)
            records += epochs
            status.append(outcome)
        return PhaseResult(network, records, tuple(status), decisions)


class AdmmToLevels:
    """ADMM that pulls the remaining weights to levels (ADMM-NN section 3.4.2).

    The mask stays as it is; the weights end near levels, not at them.
    """

    name = "admm-levels"

    def wanted(self, network: Network, settings: CompressSettings) -> bool:
        """Whether the settings give it iterations."""
        return settings.admm.level_iterations > 0

    def run(self, network: Network, context: PhaseContext) -> PhaseResult:
        """The same network with weights closer to levels."""
        settings = context.settings.admm
        layers = network.layers.values()
        projections = [_levels(layer.mask > 0, layer.facts.weight_bits) for layer in layers]
        weights = [layer.weight for layer in layers]
        admm = Admm(weights, projections, settings.rho, settings.growth)
        bits = [layer.facts.weight_bits for layer in layers]
        phase = context.phase(settings.level_iterations, network, settings, bits)
        records, outcome = _iterate(network, admm, context, phase, network.nnz)
        return PhaseResult(network, records, (outcome,))


def _whole_round(
    network: Network,
    targets: Mapping[str, Target],
    ratio: float,
    joint: bool,
    context: PhaseContext,
) -> tuple[list[EpochRecord], str, Network]:
    """ADMM to ``ratio``, then masked retraining: epochs, outcome and network.

    A finished round is loaded from one checkpoint. The checkpoints of its phases, which are several
    times as large, are deleted.

    :param context: named by the round's number.
    """
    settings = context.settings
    whole, pruning, retraining = (
        context.named(f"{part}-{context.name}") for part in ("round", "admm", "retrain")
    )
    kept = whole.phase(0, network, settings.admm, ratio, joint, targets).checkpoint
    ended = kept.load()
    if ended is not None:
        _forget(pruning, retraining)  # a run that was killed in between has not
        after = Network.from_state(ended["network"]).to(device_of(network))
        return records_of(ended["records"]), ended["outcome"], after
    matters = importance(network, context.data.train, settings.seed, settings.admm.curvature)
    counts = counts_of(network, targets, settings, ratio, weighted_by(network, matters))
    kernels = {name: layer.facts.spec.kernel for name, layer in network.layers.items()}
    aim = _Round(counts, matters, targets, joint, kernels)
    records, outcome = _admm_round(network, aim, pruning)
    network = network.shrink()
    records += train_masked(network, settings.admm.retraining, retraining)
    kept.save({"network": network.state(), "records": as_text(records), "outcome": outcome})
    _forget(pruning, retraining)
    return records, outcome, network


def _forget(*phases: PhaseContext) -> None:
    """Delete the checkpoints of the phases of a finished round."""
    for phase in phases:
        Checkpoint(phase.folder, phase.name, "").remove()


def _admm_round(
    network: Network, aim: _Round, context: PhaseContext
) -> tuple[list[EpochRecord], str]:
    """ADMM on ``network`` in place, ending with the hard projection."""
    settings = context.settings.admm
    layers = network.layers
    projections = aim.projections(settings)
    if settings.iterations == 0:
        for layer, project in zip(layers.values(), projections, strict=True):
            layer.apply_mask(project(layer.weight.detach()).mask)
        return [], "magnitude"
    weights = [layer.weight for layer in layers.values()]
    admm = Admm(weights, projections, settings.rho, settings.growth)
    phase = context.phase(settings.iterations, network, settings, *vars(aim).values())
    records, outcome = _iterate(network, admm, context, phase, sum(aim.counts.values()))
    for layer, z in zip(layers.values(), admm.z, strict=True):
        layer.apply_mask(z.mask)
    return records, outcome


def _levels(mask: Tensor, bits: int) -> Projection:
    """The projection onto levels of the entries under ``mask``, all others being 0."""

    def project(w: Tensor) -> Kept:
        values = w[mask]
        return Kept(mask, project_levels(values, optimal_scale(values, bits), bits))

    return project


def _iterate(
    network: Network, admm: Admm, context: PhaseContext, phase: Phase, nnz: int
) -> tuple[list[EpochRecord], str]:
    """Run ``admm`` until both residuals are small; returns the records and why it stopped.

    The learning rate restarts in every iteration (ADMM-NN section 3.3).
    """
    settings = context.settings.admm
    plain = replace(settings.retraining, epochs=1)
    optimizer = make_optimizer([{"params": list(network.trainable())}], plain)
    trainer = context.trainer(network, plain, optimizer, admm.add_penalty_gradient)
    how = network.execution(sparse=context.settings.sparse)

    def w_step(number: int) -> float:
        where = f"{context.name}, iteration {number}"
        seed = phase.epoch_seed(number)
        network.train()
        loss = trainer.train(context.data.train, seed, where, lambda d: cosine(settings.lr, d))
        network.eval()
        return loss

    def iteration(number: int) -> tuple[dict[str, Any], bool]:
        loss = w_step(number)  # W := argmin f(W) + rho/2 |W - Z + U|^2
        residuals = admm.z_and_u_step()  # Z := proj(W + U); U := U + W - Z
        if distributed.size() > 1:
            held = [(z.mask, z.values) for z in admm.z]
            distributed.agree("the projection Z", digest_of(held))
        right = projected_accuracy(network, admm.z, context.data.validation, how)
        figures = {"loss": loss, "val_accuracy": right, "nnz": nnz, **vars(residuals)}
        return figures, residuals.below(settings.tolerance)

    parts: dict[str, Stateful] = {"network": network, "optimizer": optimizer, "admm": admm}
    records = phase.run(parts, iteration)
    last = records[-1]
    ended = Residuals(last.primal or 0.0, last.dual or 0.0, last.rho or 0.0)
    return records, ended.verdict(settings.tolerance)


def _projection(
    count: int, target: Target, matters: Tensor, joint: bool, settings: AdmmSettings
) -> Projection:
    """The projection of one layer: cardinality, active outputs, and levels if ``joint``."""
    bits, rows = target.weight_bits, target.outputs

    def project(w: Tensor) -> Kept:
        if rows is not None and rows < len(w):
            w = w * row_mask(w, count, rows)
        if settings.curvature > 0 or settings.crowding > 0:
            w = w * crowded_mask(w * matters, count, settings.crowding)
        if joint and count == w.numel():
            return Kept.of(project_levels(w, optimal_scale(w, bits), bits))
        if joint:
            return keep_joint(w, count, joint_scale(w, count, bits), bits)
        return keep_largest(w, count)

    return project


def projected_accuracy(network: Network, z: Sequence[Kept], data: Images, how: Execution) -> float:
    """Validation accuracy with the weights at ``Z``."""
    weights = [layer.weight.data for layer in network.layers.values()]
    trained = [w.clone() for w in weights]
    for weight, kept in zip(weights, z, strict=True):
        weight.copy_(kept.dense())
    right = accuracy(lambda images: network(network.encode(images), how), data)
    torch._foreach_copy_(weights, trained)
    return right
