"""The networks of the ablation of ADMM, and its variants: plain settings.

All variants of a network train for as many epochs, on the same images, from the same dense network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pyadmm.core.errors import PyadmmError
from pyadmm.settings import CompressSettings, override, preset


@dataclass(frozen=True)
class Subject:
    """A network, and how long it is trained.

    :param base: what all variants share.
    :param bits: of weights, by pruning ratio.
    :param pruning: epochs; those of variants that retrain in floats are a part of them.
    :param levels: epochs at levels.
    :param spare: at most so many images that nothing has trained on are looked at.
    """

    base: CompressSettings
    shape: tuple[int, int, int]
    bits: Mapping[float, int]
    pruning: int
    levels: int
    spare: int


_LENET5 = Subject(
    override(
        preset("quick"),
        {
            "adapt": [],
            "continuous": {"epochs": 10, "growth": 1.08},
            "quantize": {"epochs": 4},
            "sparse": True,
        },
        "ablation",
    ),
    (1, 28, 28),
    {85.0: 4, 110.0: 3, 300.0: 4},
    10,
    4,
    55_000,
)
_VARIED = {"shift_pixels": 4, "flip": True}
_RESNET20 = Subject(
    override(
        preset("quick"),
        {
            "adapt": [],
            "activation_bits": 8,
            "filters_kept": 1,
            "neurons_kept": 1,
            "input": {"bits": 8, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
            "admm": {"first_ratio": 2, "lr": 1e-3, **_VARIED},
            "continuous": {"epochs": 5, "updates": 2, "rho": 100},
            "quantize_norms": {"epochs": 1, "lr": 1e-3, **_VARIED},
            "quantize": {"epochs": 0},
            "sparse": True,
        },
        "ablation",
    ),
    (3, 32, 32),
    {10.0: 4, 16.0: 4},
    5,
    1,
    5_000,
)
SUBJECTS = {"lenet5": _LENET5, "resnet20": _RESNET20}
_NO_PENALTY = 1e-9


def _rounds(subject: Subject) -> dict[str, Any]:
    """The rounds that ``quick`` had in version 0.1: an iteration and an epoch of retraining each."""
    rounds = subject.pruning // 2 - 1
    return {
        "continuous": {"epochs": 0},
        "admm": {
            "rounds": rounds,
            "iterations": 1,
            "retrain_epochs": 1,
            "curvature": 0.0,
            "lr": 1e-3,
        },
        "retrain": {"epochs": subject.pruning - 2 * rounds},
        "quantize": {"epochs": subject.base.quantize.epochs, "lr": 1e-3},
    }


def _paper(subject: Subject) -> dict[str, Any]:
    """ADMM-NN: of the epochs of pruning some are iterations, and so is the first at levels."""
    iterations = subject.pruning // 2 - 1
    return {
        "continuous": {"epochs": 0},
        "filters_kept": 1.0,
        "neurons_kept": 1.0,
        "admm": {"rounds": 1, "iterations": iterations, "retrain_epochs": 0, "curvature": 0.0,
                 "rho": 3e-3, "growth": 1.3, "joint": False, "level_iterations": 1, "lr": 1e-3},
        "retrain": {"epochs": subject.pruning - iterations},
        "quantize": {"epochs": max(0, subject.base.quantize.epochs - 1), "lr": 1e-3},
        "quantize_norms": {"epochs": max(0, subject.base.quantize_norms.epochs - 1)},
    }  # fmt: skip


def _two_phases(subject: Subject) -> dict[str, Any]:
    """Pruning ends early, and a retraining with a learning rate of its own follows."""
    epochs = round(0.6 * subject.pruning)
    return {"continuous": {"epochs": epochs}, "retrain": {"epochs": subject.pruning - epochs}}


VARIANTS: dict[str, tuple[str, Callable[[Subject], Mapping[str, Any]]]] = {
    "ours": ("one continuous run of ADMM", lambda _: {}),
    "ours, rho 0": (
        "the continuous run with `rho` 0",
        lambda _: {"continuous": {"rho": _NO_PENALTY}},
    ),
    "gradual, metric": (
        "gradual pruning in the same metric: no penalty, no return",
        lambda _: {"continuous": {"rho": _NO_PENALTY, "slack": 1.0}},
    ),
    "gradual": (
        "gradual pruning by plain magnitudes",
        lambda _: {
            "continuous": {"rho": _NO_PENALTY, "slack": 1.0},
            "admm": {"curvature": 0.0},
        },
    ),
    "rounds": ("the rounds that `quick` had in version 0.1", _rounds),
    "paper": ("ADMM-NN in as many epochs", _paper),
    "ours, Euclidean": (
        "ADMM with plain magnitudes in the Z-step",
        lambda _: {"admm": {"curvature": 0.0}},
    ),
    "ours, no memory": (
        "ADMM without multipliers (`U` is 0)",
        lambda _: {"continuous": {"memory": 0.0}},
    ),
    "ours, all pulled": (
        "ADMM with the penalty on the weights in `Z` as well",
        lambda _: {"continuous": {"follow": False}},
    ),
    "ours, rho constant": (
        "ADMM with the same `rho` to the end",
        lambda _: {"continuous": {"growth": 1.0}},
    ),
    "ours, two updates": (
        "ADMM with two Z- and U-steps an epoch instead of eight",
        lambda _: {"continuous": {"updates": 2}},
    ),
    "ours, levels": (
        "ADMM with levels in the Z-step from the middle on",
        lambda _: {"continuous": {"levels_from": 0.5}},
    ),
    "ours, relaxed": (
        "ADMM with over-relaxation of 1.6",
        lambda _: {"continuous": {"relaxation": 1.6}},
    ),
    "ours, two phases": ("ADMM, then a retraining that starts anew", _two_phases),
}
"""Name -> what it is, and what it changes in what all share."""


def settings_of(network: str, variant: str, ratio: float, seed: int) -> CompressSettings:
    """The settings of one run.

    :raises PyadmmError: for an unknown variant.
    """
    if variant not in VARIANTS:
        raise PyadmmError(
            f"ablation: variant {variant!r} is unknown; choose from: {'; '.join(VARIANTS)}"
        )
    subject = SUBJECTS[network]
    changed = override(subject.base, VARIANTS[variant][1](subject), f"ablation, {variant}")
    bits = subject.bits.get(ratio, 4)
    return replace(changed, pruning_ratio=ratio, weight_bits=bits, seed=seed)
