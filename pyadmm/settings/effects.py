"""Settings without effect under the others: they are refused, with the reason and a remedy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pyadmm.core.errors import PyadmmError
from pyadmm.settings.settings import CompressSettings

Holds = Callable[[CompressSettings], bool]


@dataclass(frozen=True)
class _Idle:
    """Fields without an effect under some settings.

    :param section: of the settings; empty for the settings themselves.
    :param when: whether the settings leave them without effect.
    :param why: the reason and the remedy.
    :param switch: the field of the section that gives the others an effect. Who gives it, too, has
        said that the section is off.
    :param fields: those without effect; none: all of the section but ``switch``.
    """

    section: str
    when: Holds
    why: str
    switch: str = ""
    fields: tuple[str, ...] = ()

    def covers(self, name: str) -> bool:
        """Whether the field ``name`` of the section is one of them."""
        return name in self.fields if self.fields else name != self.switch


def _unused_quantize(s: CompressSettings) -> bool:
    return not (s.quantize.epochs or s.rounding.candidates or s.local_search.cycles or s.most_bytes)


def _nothing_balanced(s: CompressSettings) -> bool:
    return "balanced" not in (s.sparsity, *(layer.sparsity for layer in s.layers))


_IDLE = (
    _Idle(
        "admm",
        lambda s: s.admm.rounds == 0,
        "continuous prunes and admm has no rounds; set admm: {rounds: N} too, or leave it out",
        "rounds",
        ("iterations", "retrain_epochs", "joint"),
    ),
    _Idle(
        "admm",
        lambda s: s.admm.rounds == 0 and s.admm.level_iterations == 0,
        "continuous prunes and has a rho and a growth of its own; set those of continuous, or "
        "admm: {rounds: N}",
        "rounds",
        ("rho", "growth"),
    ),
    _Idle(
        "continuous",
        lambda s: s.continuous.epochs == 0,
        "its epochs are 0, as the rounds of admm prune; set continuous: {epochs: N} and leave "
        "admm: rounds out",
        "epochs",
    ),
    _Idle(
        "dense",
        lambda s: s.dense.epochs == 0,
        "its epochs are 0; set dense: {epochs: N} too",
        "epochs",
    ),
    _Idle(
        "regrow",
        lambda s: s.regrow.cycles == 0,
        "its cycles are 0; set regrow: {cycles: N} too",
        "cycles",
    ),
    _Idle(
        "retrain",
        lambda s: s.retrain.epochs == 0 and s.regrow.cycles == 0,
        "its epochs are 0; set retrain: {epochs: N} too",
        "epochs",
    ),
    _Idle(
        "quantize_norms",
        lambda s: s.quantize_norms.epochs == 0,
        "its epochs are 0; set quantize_norms: {epochs: N} too",
        "epochs",
    ),
    _Idle(
        "quantize",
        _unused_quantize,
        "its epochs are 0; set quantize: {epochs: N} too",
        "epochs",
    ),
    _Idle(
        "rounding",
        lambda s: s.rounding.candidates == 0,
        "its candidates are 0; set rounding: {candidates: N} too",
        "candidates",
    ),
    _Idle(
        "local_search",
        lambda s: s.local_search.cycles == 0,
        "its cycles are 0; set local_search: {cycles: N} too",
        "cycles",
    ),
    _Idle(
        "distill",
        lambda s: s.distill.weight == 0,
        "its weight is 0; set distill: {weight: 0.7} too",
        "weight",
    ),
    _Idle(
        "",
        _nothing_balanced,
        "no layer is balanced; set sparsity: balanced too",
        fields=("window", "lockstep", "fill"),
    ),
)


def require_effect(
    base: CompressSettings, settings: CompressSettings, values: Mapping[str, Any], source: str
) -> None:
    """Refuse ``values`` that differ from ``base`` and change nothing in ``settings``.

    :param values: what was given, as nested mappings; ``settings`` are ``base`` with them.
    :raises PyadmmError: naming the first such field and ``source``.
    """
    for idle in _IDLE:
        given: Any = values.get(idle.section, {}) if idle.section else values
        if not isinstance(given, Mapping) or idle.switch in given or not idle.when(settings):
            continue
        parts = [getattr(s, idle.section) if idle.section else s for s in (base, settings)]
        for name in given:
            before, after = (getattr(part, name) for part in parts)
            if idle.covers(name) and before != after:
                path = f"{idle.section}, {name}" if idle.section else name
                raise PyadmmError(f"{source}, {path}: has no effect: {idle.why}")
