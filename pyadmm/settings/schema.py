"""Settings from dictionaries and YAML files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyadmm.core.errors import PyadmmError
from pyadmm.core.schema import changed
from pyadmm.core.yaml_file import read_yaml
from pyadmm.settings.effects import require_effect
from pyadmm.settings.presets import preset
from pyadmm.settings.settings import CompressSettings

_TRAINING = frozenset(
    {
        "admm",
        "continuous",
        "regrow",
        "retrain",
        "quantize_norms",
        "quantize",
        "local_search",
        "distill",
    }
)
"""Sections whose learning rates and epochs belong together."""
_RENAMED: Mapping[str, Any] = {
    "exchange": "regrow",
    "polish": "local_search",
    "distill": {"looks": "cached_augmentations", "views": "averaged_shifts"},
}
"""Names of 0.1.0 that files may still have: the present one, or those of a nested mapping."""


def override(base: CompressSettings, values: Mapping[str, Any], source: str) -> CompressSettings:
    """``base`` with some fields changed; nested mappings change nested settings.

    One of ``admm: rounds`` and ``continuous: epochs`` prunes. Who gives one of them chooses it, and
    the other one of ``base`` becomes 0.

    :raises PyadmmError: for an unknown field, a value of the wrong type, or one that has no effect
        (:mod:`pyadmm.settings.effects`); it names ``source``.
    """
    values = _present(values, _RENAMED, source)
    whole = _without_other(values, ("admm", "rounds"), ("continuous", "epochs"))
    whole = _without_other(whole, ("continuous", "epochs"), ("admm", "rounds"))
    made = changed(base, whole, source)
    require_effect(base, made, values, source)
    return made if "adapt" in values else replace(made, adapt=_unsaid(base.adapt, values))


def _unsaid(adapt: tuple[str, ...], values: Mapping[str, Any]) -> tuple[str, ...]:
    """The settings that a preset chooses for the network and that ``values`` do not contain."""
    said = {*values, *(["training"] if _TRAINING & values.keys() else [])}
    return tuple(name for name in adapt if name not in said)


def _without_other(
    values: Mapping[str, Any], chosen: tuple[str, str], other: tuple[str, str]
) -> Mapping[str, Any]:
    """``values`` that also set ``other`` to 0, where they set ``chosen`` and say nothing of it."""
    here, there = (values.get(part, {}) for part, _ in (chosen, other))
    if not isinstance(here, Mapping) or not isinstance(there, Mapping):
        return values
    if here.get(chosen[1]) in (None, 0) or other[1] in there:
        return values
    return {**values, other[0]: {**there, other[1]: 0}}


def from_dict(values: Mapping[str, Any], source: str = "settings") -> CompressSettings:
    """The settings in plain data.

    :param values: fields of :class:`CompressSettings` by name, as in a YAML file; ``preset: NAME``
        chooses the preset that missing fields are taken from.
    :param source: how errors call the data.
    :raises PyadmmError: for an unknown field or a value that is not allowed; it names the field.
    """
    values = dict(values)
    return override(preset(values.pop("preset", "quick")), values, source)


def load_settings(path: Path) -> CompressSettings:
    """The settings in the YAML file ``path``; see :func:`from_dict`.

    :raises PyadmmError: for a file that cannot be read, or a bad field; it names both.
    """
    values = read_yaml(path, "settings")
    if not isinstance(values, dict):
        raise PyadmmError(f"settings {path}: must be a mapping, such as 'pruning_ratio: 85'")
    return from_dict(values, f"settings {path}")


def _present(values: Mapping[str, Any], renamed: Mapping[str, Any], source: str) -> dict[str, Any]:
    """``values`` under the present names, with a note about each old one."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        now = renamed.get(name, name)
        if isinstance(now, Mapping):
            inner = isinstance(value, Mapping)
            found[name] = _present(value, now, f"{source}, {name}") if inner else value
            continue
        if now != name:
            warnings.warn(f"{source}: {name} is now called {now}", FutureWarning, stacklevel=2)
        found[now] = value
    return found
