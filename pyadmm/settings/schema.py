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

    :raises PyadmmError: for an unknown field or a value of the wrong type; it names ``source``.
    """
    return changed(base, values, source)


def from_dict(values: Mapping[str, Any], source: str = "settings") -> CompressSettings:
    """The settings in plain data.

    :param values: fields of :class:`CompressSettings` by name, as in a YAML file; ``preset: NAME``
        chooses the preset that missing fields are taken from.
    :param source: how errors call the data.
    :raises PyadmmError: for an unknown field or a value that is not allowed; it names the field.
    """
    values = dict(values)
    return changed(preset(values.pop("preset", "quick")), values, source)


def load_settings(path: Path) -> CompressSettings:
    """The settings in the YAML file ``path``; see :func:`from_dict`.

    :raises PyadmmError: for a file that cannot be read, or a bad field; it names both.
    """
    values = read_yaml(path, "settings")
    if not isinstance(values, dict):
        raise PyadmmError(f"settings {path}: must be a mapping, such as 'pruning_ratio: 85'")
    return from_dict(values, f"settings {path}")
