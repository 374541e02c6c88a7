"""The pruning schedule: pure functions that decide, from names and numbers, the ratio of each layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TypeAlias

import torch
from torch import Tensor

from pyadmm.admm.balanced import BalancedPattern
from pyadmm.core.errors import PyadmmError
from pyadmm.model.types import LayerSpec
from pyadmm.settings import CompressSettings

_SEARCH_STEPS = 8
NEAR = 1.5
"""By which factor a layer may be pruned beyond its plan or its inactive outputs, for speed."""


@dataclass(frozen=True)
class Target:
    """The compression target of one layer.

    :param ratio: pruning ratio; ``None`` where the global target decides.
    :param least: least pruning ratio of a layer without a ``ratio``.
    :param sparsity: pattern of the remaining weights; ``window``, ``lockstep`` and ``fill`` are its
        parameters.
    """

    ratio: float | None
    weight_bits: int
    activation_bits: int
    bias_fraction_bits: int
    outputs: int | None
    sparsity: str = "unstructured"
    window: int = 1
    lockstep: int = 1
    fill: float = 1.0
    least: float = 1.0

    @property
    def balanced(self) -> BalancedPattern | None:
        """The layer's window-balanced set; ``None`` where it is unstructured."""
        if self.sparsity == "unstructured":
            return None
        return BalancedPattern(self.window, self.lockstep, self.fill)


def layer_targets(specs: Sequence[LayerSpec], settings: CompressSettings) -> dict[str, Target]:
    """The compression target of every layer, from the settings.

    :raises PyadmmError: for a pattern that matches no layer, and for what cannot be reached.
    """
    names = [spec.name for spec in specs]
    for entry in settings.layers:
        _require_match(entry.pattern, names)
    for name in settings.break_even:
        _require_match(name, names)
    targets = {spec.name: _target(spec, settings, spec is specs[-1]) for spec in specs}
    weights = {spec.name: spec.weights for spec in specs}
    fixed = sum(
        keep(weights[name], target.ratio)
        for name, target in targets.items()
        if target.ratio is not None
    )
    free = [name for name, target in targets.items() if target.ratio is None]
    budget = math.floor(sum(weights.values()) / settings.pruning_ratio) - fixed
    if free and budget < len(free):
        raise PyadmmError(
            f"settings: pruning_ratio {settings.pruning_ratio:g} leaves {budget} weights for "
            f"{', '.join(free)}, at least one each is needed; use a lower pruning_ratio"
        )
    return targets


def _require_match(pattern: str, names: Sequence[str]) -> None:
    if not any(fnmatchcase(name, pattern) for name in names):
        raise PyadmmError(
            f"layer {pattern!r} is unknown: it matches none of {', '.join(names)} "
            f"(supported are Conv2d and Linear layers, by exact name or pattern)"
        )


def _target(spec: LayerSpec, settings: CompressSettings, last: bool) -> Target:
    chosen: dict[str, float | int | str | None] = {
        "ratio": None,
        "weight_bits": settings.weight_bits,
        "activation_bits": settings.activation_bits,
        "bias_fraction_bits": settings.bias_fraction_bits,
        "outputs": None,
        "sparsity": settings.sparsity,
        "window": settings.window,
        "lockstep": settings.lockstep,
        "fill": settings.fill,
    }
    for entry in settings.layers:
        if fnmatchcase(spec.name, entry.pattern):
            said = {key: getattr(entry, key) for key in chosen}
            chosen |= {key: value for key, value in said.items() if value is not None}
    share = settings.filters_kept if spec.kind == "conv" else settings.neurons_kept
    if chosen["outputs"] is None and share < 1 and not last and chosen["ratio"] != 1:
        chosen["outputs"] = math.ceil(share * spec.outputs)
    target = Target(**chosen)  # type: ignore[arg-type]
    if target.balanced is not None and spec.groups > 1:
        raise PyadmmError(
            f"layer {spec.name}: balanced patterns take no convolution groups, but it has "
            f"{spec.groups}; set its sparsity to unstructured"
        )
    if target.ratio is not None and target.ratio > spec.weights:
        raise PyadmmError(
            f"layer {spec.name}: a pruning ratio of {target.ratio:g} would leave none of its "
            f"{spec.weights} weights; use at most {spec.weights}"
        )
    return target


def keep(weights: int, ratio: float) -> int:
    """The number of weights that a pruning ratio leaves, at least one.

    >>> keep(25000, 18.8), keep(500, 1.0)
    (1329, 500)
    """
    return max(1, math.floor(weights / ratio + 1e-9))


def round_ratios(first: float, last: float, rounds: int) -> list[float]:
    """Global pruning ratios of progressive rounds, geometric from ``first`` to ``last``.

    >>> round_ratios(10, 160, 3)
    [10.0, 40.0, 160.0]
    """
    if rounds == 1 or first >= last:
        return [float(last)] * rounds
    factor = (last / first) ** (1 / (rounds - 1))
    return [round(first * factor**i, 6) for i in range(rounds - 1)] + [float(last)]


def partial_ratio(ratio: float, progress: float) -> float:
    """``ratio ** progress``: the ratio of a layer after the part ``progress``, 0 … 1, of the schedule."""
    return ratio**progress


def allocate(saliency: Mapping[str, Tensor], total: int) -> dict[str, int]:
    """Distribute ``total`` weights over layers: each layer gets its part of the globally most
    salient ones.

    With ``saliency = w**2 * sensitivity`` (second-order loss change of pruning ``w``) this is the
    allocation of least total loss change. Every layer keeps at least one.

    >>> allocate({"a": torch.tensor([9.0, 8, 1]), "b": torch.tensor([5.0, 0])}, 3)
    {'a': 2, 'b': 1}
    """
    everything = torch.cat([s.reshape(-1) for s in saliency.values()])
    if not len(saliency) <= total <= len(everything):
        raise PyadmmError(
            f"schedule: cannot share {total} weights over {len(saliency)} layers with "
            f"{len(everything)} weights"
        )
    owner = torch.cat([s.new_full((s.numel(),), i).long() for i, s in enumerate(saliency.values())])
    chosen = owner[torch.topk(everything, total).indices]
    counts = torch.bincount(chosen, minlength=len(saliency)).tolist()
    while 0 in counts:
        counts[counts.index(0)] += 1
        counts[counts.index(max(counts))] -= 1
    return dict(zip(saliency, counts, strict=True))


@dataclass(frozen=True)
class Decision:
    """The decision of the schedule about a layer, and its reason.

    :param before: pruning ratio without regard to hardware.
    :param ratio: planned pruning ratio; that of a dense layer counts its inactive outputs only, and
        is 1 where it has none.
    :param floor: its break-even pruning ratio; ``None`` where it is unknown.
    :param dense: whether its active outputs keep all their weights.
    :param fixed: whether the layer gets exactly ``ratio``. Otherwise the rounds of ADMM distribute the
        weights that the fixed layers leave.
    """

    layer: str
    before: float
    ratio: float
    floor: float | None
    reason: str
    dense: bool = False
    fixed: bool = False


Cycles: TypeAlias = Callable[[Sequence[Decision]], float]
"""Cycles between two images of the network of which so much is decided."""


def plan_ratios(
    weights: Mapping[str, int],
    ratios: Mapping[str, float],
    floors: Mapping[str, float],
    total_ratio: float | None = None,
    *,
    active: Mapping[str, int] | None = None,
    cycles: Cycles | None = None,
) -> list[Decision]:
    """Make ``dense or ratio >= break_even`` hold (ADMM-NN Figure 5, the restoring step).

    A layer below its floor becomes dense again. Outputs that were pruned as a whole stay pruned,
    because this makes dense hardware faster, too. A layer that is below by at most :data:`NEAR` is
    raised to its floor instead if this makes the network faster. With a ``total_ratio``, the other
    layers are pruned further by a common factor until the total holds. Where this would take all
    their weights, the largest of the layers that would become dense is raised to its floor as well.

    :param weights: layer -> weights of the dense layer.
    :param ratios: layer -> pruning ratio without regard to hardware.
    :param floors: layer -> break-even pruning ratio (some layers may be missing).
    :param active: layer -> weights of the active outputs; ``None``: all of them.
    :param cycles: cycles of the network under a plan; ``None``: no layer is raised for speed.
    :raises PyadmmError: if the total cannot be reached.
    """
    whole = {name: 1.0 if active is None else weights[name] / active[name] for name in ratios}

    def planned(raised: Mapping[str, str]) -> list[Decision]:
        return _within_total(weights, ratios, floors, total_ratio, whole=whole, raised=raised)

    reasons: dict[str, str] = {}
    notes: dict[str, str] = {}
    plan = planned(reasons)
    for name in [d.layer for d in plan if d.dense and _near(d, weights)] if cycles else []:
        assert cycles is not None
        other = planned({**reasons, name: "raised to its break-even"})
        slow, fast = (cycles(each) for each in (plan, other))
        if fast < slow:
            reasons[name] = (
                f"raised to its break-even: then an image takes {fast:,.0f} cycles (modelled), not "
                f"{slow:,.0f} as with the layer dense"
            )
            plan = planned(reasons)
        else:
            notes[name] = f"; raised to it, an image would take {fast:,.0f} cycles (modelled), not "
            notes[name] += f"{slow:,.0f}"
    return [replace(d, reason=d.reason + notes.get(d.layer, "")) for d in plan]


def _near(decision: Decision, weights: Mapping[str, int]) -> bool:
    """Whether a dense layer can be pruned to its break-even at little loss."""
    floor, now = decision.floor or math.inf, max(decision.before, decision.ratio)
    return floor <= min(NEAR * now, weights[decision.layer])


def _within_total(
    weights: Mapping[str, int],
    ratios: Mapping[str, float],
    floors: Mapping[str, float],
    total_ratio: float | None,
    *,
    whole: Mapping[str, float],
    raised: Mapping[str, str],
) -> list[Decision]:
    """The decisions with ``raised`` layers at their floor, and more of them if the total needs it.

    :param whole: layer -> pruning ratio at which its active outputs keep all their weights.
    :param raised: layer -> why.
    """
    raised = dict(raised)
    while True:
        decisions = _restore(ratios, floors, raised, whole)
        if total_ratio is None:
            return decisions
        budget = math.floor(sum(weights.values()) / total_ratio)
        further = _prune_further(weights, decisions, budget)
        if further is not None:
            return further
        dense = [d.layer for d in decisions if d.dense and (d.floor or 1) <= weights[d.layer]]
        if not dense:
            raise PyadmmError(
                f"schedule: a total pruning ratio of {total_ratio:g} cannot be reached with the "
                f"break-even ratios {dict(floors)}; use a lower ratio"
            )
        largest = max(dense, key=lambda name: weights[name])
        raised[largest] = "raised to its break-even: dense, it would take the whole budget"


def _restore(
    ratios: Mapping[str, float],
    floors: Mapping[str, float],
    raised: Mapping[str, str],
    whole: Mapping[str, float],
) -> list[Decision]:
    decisions = []
    for name, ratio in ratios.items():
        floor = floors.get(name)
        if floor is None or ratio >= floor:
            why = "no break-even is known" if floor is None else "at or above its break-even"
            decisions.append(Decision(name, ratio, ratio, floor, why))
        elif name in raised:
            decisions.append(Decision(name, ratio, floor, floor, raised[name], fixed=True))
        else:
            why = f"stays dense: {ratio:.3g} is below its break-even of {floor:.3g}"
            if whole[name] > 1:
                why += f"; its active outputs keep all their weights, {1 / whole[name]:.0%} of all"
            decisions.append(Decision(name, ratio, whole[name], floor, why, dense=True, fixed=True))
    return decisions


def _prune_further(
    weights: Mapping[str, int], decisions: list[Decision], budget: int
) -> list[Decision] | None:
    """The pruned layers with their ratios multiplied by one factor until the total fits, or ``None``."""

    def kept(factor: float) -> int:
        return sum(keep(weights[d.layer], _further_ratio(d, factor, weights)) for d in decisions)

    if kept(1.0) <= budget:
        return decisions
    high = float(sum(weights.values()))
    if kept(high) > budget:
        return None
    low = 1.0
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if kept(middle) <= budget else (middle, high)
    return [
        _further(d, high, weights, f"pruned {high:.3g}x further to make up for dense layers")
        for d in decisions
    ]


def _further_ratio(decision: Decision, factor: float, weights: Mapping[str, int]) -> float:
    if decision.dense:
        return decision.ratio
    return min(decision.ratio * factor, float(weights[decision.layer]))


def _further(decision: Decision, factor: float, weights: Mapping[str, int], why: str) -> Decision:
    """``decision`` with ``factor`` times its ratio, for the reason ``why``; unchanged if dense."""
    if decision.dense or factor == 1:
        return decision
    ratio = _further_ratio(decision, factor, weights)
    return replace(decision, ratio=ratio, reason=f"{decision.reason}; {why}")


@dataclass(frozen=True)
class Search:
    """The outcome of :func:`search_hardware_aware`.

    :param trials: ``(factor, validation accuracy)`` of every candidate that was trained.
    """

    decisions: list[Decision]
    accuracy: float
    trials: list[tuple[float, float]]


def search_hardware_aware(
    weights: Mapping[str, int],
    ratios: Mapping[str, float],
    floors: Mapping[str, float],
    evaluate: Callable[[Mapping[str, float]], float],
    *,
    least_accuracy: float,
    largest_factor: float = 4.0,
    steps: int = _SEARCH_STEPS,
    active: Mapping[str, int] | None = None,
    cycles: Cycles | None = None,
) -> Search:
    """ADMM-NN, figure 5: restore layers below break-even, then raise the other ratios by binary
    search.

    :param evaluate: compresses to some ratios and gives the validation accuracy.
    :param least_accuracy: that a candidate must have.
    :param largest_factor: by which the pruned layers may be pruned further at most.
    :param active: as for :func:`plan_ratios`; ``cycles`` too.
    :raises PyadmmError: if the restored ratios themselves miss ``least_accuracy``.
    """
    restored = plan_ratios(weights, ratios, floors, active=active, cycles=cycles)

    def candidate(factor: float) -> list[Decision]:
        why = f"pruned {factor:.3g}x further, accuracy allows it"
        return [_further(decision, factor, weights, why) for decision in restored]

    def score(factor: float) -> float:
        return evaluate({d.layer: d.ratio for d in candidate(factor)})

    best = score(1.0)
    trials = [(1.0, best)]
    if best < least_accuracy:
        raise PyadmmError(
            f"schedule: the layers above break-even give a validation accuracy of {best:.4f}, "
            f"below the least of {least_accuracy:.4f}; use lower pruning ratios"
        )
    low, high = 1.0, largest_factor
    for _ in range(steps):
        middle = math.sqrt(low * high)
        trials.append((middle, score(middle)))
        if trials[-1][1] >= least_accuracy:
            low, best = middle, trials[-1][1]
        else:
            high = middle
    return Search(candidate(low), best, trials)
