"""Settings from dictionaries and YAML files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyadmm.core.errors import PyadmmError
from pyadmm.core.schema import changed
from pyadmm.core.yaml_file import read_yaml
from pyadmm.settings.presets import preset
from pyadmm.settings.settings import CompressSettings


def override(base: CompressSettings, values: Mapping[str, Any], source: str) -> CompressSettings:
    """``base`` with some fields changed; nested mappings change nested settings.

    One of ``admm: rounds`` and ``continuous: epochs`` prunes. Who gives one of them chooses it, and
    the other one of ``base`` becomes 0.

    :raises PyadmmError: for an unknown field or a value of the wrong type; it names ``source``.
    """
    values = _without_other(values, ("admm", "rounds"), ("continuous", "epochs"))
    values = _without_other(values, ("continuous", "epochs"), ("admm", "rounds"))
    return changed(base, values, source)


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
