"""One uninterrupted ADMM whose constraint tightens while ``Z`` and ``U`` are kept.

The rounds of :mod:`pyadmm.compression.admm_rounds` end with a hard projection, which throws ``U``
away. Here the constraint set of the Z-step shrinks instead, from the first pruning ratio to the
last, and at some point includes the levels. Distances approximate the loss: ``sum h (w - z)**2``,
where ``h`` is a power of the Fisher information, estimated from the gradients of training. With
``crowding``, ``h`` is larger in rows and columns with many entries of ``Z``, where a position takes
fewer bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pyadmm.admm.projections import (
    Kept,
    crowd,
    joint_scale,
    keep_joint,
    keep_largest,
    row_mask,
    top_mask,
)
from pyadmm.admm.solver import Admm, Projection, Residuals
from pyadmm.compression.admm_rounds import projected_accuracy
from pyadmm.compression.budgets import counts_of, pruning_targets, weighted_by
from pyadmm.compression.fisher import FISHER_FLOOR
from pyadmm.compression.importance import importance
from pyadmm.compression.lockstep import alike_mask, balanced_projection
from pyadmm.compression.phase import PhaseContext, PhaseResult, make_optimizer
from pyadmm.compression.schedule import Target
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings
from pyadmm.training import distributed
from pyadmm.training.checkpoint import Stateful
from pyadmm.training.seeds import digest_of
from pyadmm.training.trainer import cosine

_MEMORY = 0.999
"""Of the mean of squared gradients, for each batch."""
_LAYER_POWER = 0.25
"""Of a layer's mean Fisher information, where all of its weights count alike."""


class ContinuousAdmm:
    """ADMM from the first pruning ratio to the last, without an interruption."""

    name = "admm"

    def wanted(self, network: Network, settings: CompressSettings) -> bool:
        """Whether the settings give it epochs."""
        return settings.continuous.epochs > 0

    def run(self, network: Network, context: PhaseContext) -> PhaseResult:
        """Prune ``network`` by one uninterrupted run of ADMM."""
        settings = context.settings
        targets, decisions = pruning_targets(network, settings, context.data)
        run = _Run(_active_channels(network, targets, context), targets, context)
        phase = context.phase(
            settings.continuous.epochs,
            network,
            settings.admm,
            settings.continuous,
            settings.pruning_ratio,
            targets,
        )

        def epoch(number: int) -> tuple[dict[str, Any], bool]:
            return run.epoch(number, phase.epoch_seed(number)), False

        records = phase.run(run.parts, epoch)
        last = records[-1]
        ended = Residuals(last.primal or 0.0, last.dual or 0.0, last.rho or 0.0)
        outcome = ended.verdict(settings.admm.tolerance)
        return PhaseResult(run.pruned(), records, (outcome,), decisions)


def _active_channels(
    network: Network, targets: Mapping[str, Target], context: PhaseContext
) -> Network:
    """``network`` without the outputs of least importance, which exceed the limit of active ones."""
    settings = context.settings
    network = network.copy()
    matters = importance(network, context.data.train, settings.seed, settings.admm.curvature)
    first = min(settings.admm.first_ratio, settings.pruning_ratio)
    weighted = weighted_by(network, matters)
    counts = counts_of(network, targets, settings, first, weighted)
    for name, layer in network.layers.items():
        rows = targets[name].outputs or len(layer.weight)
        layer.apply_mask(row_mask(weighted[name], counts[name], rows).expand_as(layer.mask).float())
    return network.shrink()


class SquaredGradients:
    """Running means of the squared gradients of some weights: their Fisher information, scaled.

    :param means: by weight; all share one factor, which grows with the batches that were seen.
    """

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        self.weights = weights
        self.means = [torch.zeros_like(w) for w in weights]

    def observe(self) -> None:
        """Add the squares of the gradients that ``backward`` computed."""
        gradients = [w.grad for w in self.weights if w.grad is not None]
        torch._foreach_mul_(self.means, _MEMORY)
        torch._foreach_addcmul_(self.means, gradients, gradients, value=1 - _MEMORY)


class _Run:
    """The iteration: its network, its ADMM, the schedule of the target and the metric.

    A W-step takes some batches of training. The Z- and U-step follows before the next batch. The
    first one comes before all batches, because a trained network counts as the result of a W-step.
    """

    def __init__(
        self, network: Network, targets: Mapping[str, Target], context: PhaseContext
    ) -> None:
        settings = context.settings
        self.network, self.targets, self.context = network, targets, context
        self.settings, self.tightening = settings.admm, settings.continuous
        plain = replace(settings.admm.retraining, epochs=1)
        self.optimizer = make_optimizer([{"params": list(network.trainable())}], plain)
        self.trainer = context.trainer(
            network, plain, self.optimizer, self._before_step, self._pull
        )
        self.how = network.execution(sparse=settings.sparse)
        batches = math.ceil(len(context.data.train) / settings.admm.batch_size)
        self.batches = batches * self.tightening.epochs
        self.every = max(1, batches // self.tightening.updates)
        self.batch = 0
        self.layers = list(network.layers.values())
        self.weights = [layer.weight for layer in self.layers]
        self.squares = SquaredGradients(self.weights)
        self.residuals = Residuals(0.0, 0.0, settings.continuous.rho)
        self.admm = Admm(
            self.weights,
            [keep_all for _ in self.layers],
            settings.continuous.rho,
            relaxation=self.tightening.relaxation,
            balance=self.tightening.balance,
            memory=self.tightening.memory,
            follow=self.tightening.follow,
        )

    @property
    def parts(self) -> dict[str, Stateful]:
        """Everything that changes during the run."""
        return {
            "network": self.network,
            "optimizer": self.optimizer,
            "admm": self.admm,
            "run": self,
        }

    def state_dict(self) -> dict[str, Any]:
        """The state of the run besides network, optimizer and ADMM."""
        return {"batch": self.batch, "squares": self.squares.means, **vars(self.residuals)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.batch = int(state["batch"])
        for own, saved in zip(self.squares.means, state["squares"], strict=True):
            own.copy_(saved)
        self.residuals = Residuals(state["primal"], state["dual"], state["rho"])

    def epoch(self, number: int, seed: int) -> dict[str, Any]:
        """Train one epoch; its figures."""
        context = self.context
        self.network.train()
        loss = self.trainer.train(
            context.data.train,
            seed,
            f"{context.name}, epoch {number}",
            lambda d: self._rate(number, d),
        )
        self.network.eval()
        if number + 1 == self.tightening.epochs:
            self._z_and_u_step()
        right = projected_accuracy(self.network, self.admm.z, context.data.validation, self.how)
        nnz = sum(int(z.mask.sum()) for z in self.admm.z)
        return {"loss": loss, "val_accuracy": right, "nnz": nnz, **vars(self.residuals)}

    def _rate(self, epoch: int, done: float) -> float:
        """Learning rate: constant while the target tightens, then half a cosine down to 0."""
        ramp = self.tightening.ramp
        share = (epoch + done) / self.tightening.epochs
        if share < ramp:
            return self.settings.lr * min(1.0, 0.1 + 2 * (epoch + done))
        return cosine(self.settings.lr, (share - ramp) / (1 - ramp), warm=0.0)

    def _before_step(self) -> None:
        """After ``backward``: measure, and move ``Z`` and ``U`` if a W-step is over."""
        self.squares.observe()
        if self.batch % self.every == 0:
            self._z_and_u_step()
        self.batch += 1

    def _pull(self) -> None:
        """After the optimizer's step: the penalty."""
        self.admm.pull(self.optimizer.param_groups[0]["lr"])

    @torch.no_grad()
    def _z_and_u_step(self) -> None:
        """The Z- and U-step for the present constraint; candidates far from it are pruned."""
        metrics = {name: self._metric(i) for i, name in enumerate(self.network.layers)}
        counts = self._counts(metrics)
        self.admm.projections = [
            self._projection(name, counts[name], metrics[name]) for name in counts
        ]
        self.admm.follow = self.tightening.follow and not self._joint
        self.admm.growth = self.tightening.growth if self._tightened == 1 else 1.0
        self.residuals = self.admm.z_and_u_step()
        if distributed.size() > 1:
            held = [(z.mask, z.values) for z in self.admm.z]
            distributed.agree("the projection Z", digest_of(held))
        self._prune_far(counts, metrics)

    def _metric(self, i: int) -> Tensor:
        """``h`` of a layer, for weights as they are once the batch norm is folded into them."""
        factor = self.layers[i].row_factor.square()
        fisher, power = self.squares.means[i] / factor, self.settings.curvature
        mean = fisher[self.weights[i] != 0].mean()
        if power == 0:
            metric = (mean**_LAYER_POWER).expand_as(fisher)
        else:
            metric = (fisher + FISHER_FLOOR * mean) ** power
        return factor * metric * crowd(self.admm.z[i].mask) ** (2 * self.settings.crowding)

    @property
    def _joint(self) -> bool:
        """Whether ``Z`` is on levels by now."""
        levels_from = self.tightening.levels_from
        return levels_from < 1 and self.batch >= levels_from * self.batches

    @property
    def _tightened(self) -> float:
        """Share of the way, in logarithms, from the first pruning ratio to the last."""
        return min(1.0, self.batch / (self.tightening.ramp * self.batches))

    def _counts(self, metrics: Mapping[str, Tensor]) -> dict[str, int]:
        """Weights that each layer may keep now: the projection onto a number for the network."""
        settings = self.context.settings
        first = min(self.settings.first_ratio, settings.pruning_ratio)
        ratio = first * (settings.pruning_ratio / first) ** self._tightened
        pulled = zip(metrics.items(), self.weights, self.admm.u, strict=True)
        weighted = {name: (w.detach() + u) * h.sqrt() for (name, h), w, u in pulled}
        return counts_of(self.network, self.targets, settings, ratio, weighted)

    def _projection(self, name: str, count: int, metric: Tensor) -> Projection:
        target, bits = self.targets[name], self.targets[name].weight_bits
        joint = self._joint
        if target.balanced is not None:
            kernel = self.network.layers[name].facts.spec.kernel
            matters = metric.sqrt().reshape(len(metric), -1, *kernel)
            return balanced_projection(count, target, matters, joint, self.settings)

        def project(v: Tensor) -> Kept:
            if joint:
                return keep_joint(v, count, joint_scale(v, count, bits, metric), bits, metric)
            return keep_largest(v, count, metric)

        return project

    def _prune_far(self, counts: Mapping[str, int], metrics: Mapping[str, Tensor]) -> None:
        """Prune all but the best candidates, ``slack`` times as many as ``Z`` has.

        Those of a balanced layer are balanced, too: a window in which some rows in lock step have
        fewer candidates than others would waste steps.
        """
        layers = self.network.layers
        for (name, layer), u, z in zip(layers.items(), self.admm.u, self.admm.z, strict=True):
            count = min(round(self.tightening.slack * counts[name]), layer.nnz)
            gain = metrics[name] * (u + z.dense()).square()  # V = U + Z
            if (pattern := self.targets[name].balanced) is None:
                near = top_mask(gain, count)
            else:
                places = gain.reshape(len(gain), -1, *layer.facts.spec.kernel)
                near = alike_mask(places, pattern, count, counts[name]).reshape(gain.shape)
            layer.apply_mask((near | z.mask).float())
            u.mul_(layer.mask)

    def pruned(self) -> Network:
        """The network at the places of ``Z``, without inactive channels."""
        for layer, z in zip(self.network.layers.values(), self.admm.z, strict=True):
            layer.apply_mask(z.mask.float())
        return self.network.shrink()


def keep_all(w: Tensor) -> Kept:
    """The projection onto everything, which stands for ``Z`` until the first Z-step."""
    return Kept.of(w.detach().clone())
