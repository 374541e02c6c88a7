"""Settings from dictionaries and YAML files."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from pyadmm.core.errors import PyadmmError
from pyadmm.core.yaml_file import read_yaml
from pyadmm.settings.presets import preset
from pyadmm.settings.settings import CompressSettings, LayerTarget


def override(base: CompressSettings, values: Mapping[str, Any], source: str) -> CompressSettings:
    """``base`` with some fields changed; nested mappings change nested settings.

    :raises PyadmmError: for an unknown field or a value of the wrong type; it names ``source``.
    """
    return _override(base, values, source)


def from_dict(values: Mapping[str, Any], source: str = "settings") -> CompressSettings:
    """The settings in plain data.

    :param values: fields of :class:`CompressSettings` by name, as in a YAML file; ``preset: NAME``
        chooses the preset that missing fields are taken from.
    :param source: how errors call the data.
    :raises PyadmmError: for an unknown field or a value that is not allowed; it names the field.
    """
    values = dict(values)
    return _override(preset(values.pop("preset", "quick")), values, source)


def load_settings(path: Path) -> CompressSettings:
    """The settings in the YAML file ``path``; see :func:`from_dict`.

    :raises PyadmmError: for a file that cannot be read, or a bad field; it names both.
    """
    values = read_yaml(path, "settings")
    if not isinstance(values, dict):
        raise PyadmmError(f"settings {path}: must be a mapping, such as 'pruning_ratio: 85'")
    return from_dict(values, f"settings {path}")


def _override(base: Any, values: Mapping[str, Any], where: str) -> Any:
    """Data class ``base`` with ``values``, checked against the annotations of its class."""
    hints = get_type_hints(type(base))
    names = [f.name for f in fields(base)]
    changes = {}
    for key, value in values.items():
        if key not in names:
            raise PyadmmError(f"{where}: unknown field {key!r}; known are: {', '.join(names)}")
        changes[key] = _convert(hints[key], getattr(base, key), value, f"{where}, {key}")
    try:
        return replace(base, **changes)
    except PyadmmError as error:
        raise PyadmmError(f"{where}: {error}") from error


def _convert(hint: Any, current: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise PyadmmError(f"{where}: must be a mapping of fields, not {value!r}")
        return _override(current, value, where)
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        if not isinstance(value, list | tuple):
            raise PyadmmError(f"{where}: must be a list, not {value!r}")
        return tuple(_convert_item(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if get_origin(hint) is Mapping:
        if not isinstance(value, Mapping):
            raise PyadmmError(f"{where}: must be a mapping of layer to number, not {value!r}")
        return {str(k): _convert_item(float, v, f"{where}.{k}") for k, v in value.items()}
    return _convert_item(hint, value, where)


def _convert_item(hint: Any, value: Any, where: str) -> Any:
    """A scalar, an optional scalar or a :class:`LayerTarget`."""
    if hint is LayerTarget:
        if not isinstance(value, Mapping) or not isinstance(value.get("pattern"), str):
            raise PyadmmError(f"{where}: must be a mapping with a 'pattern', not {value!r}")
        return _override(LayerTarget(value["pattern"]), value, where)
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    kind = next(option for option in options if option is not type(None))
    accepted = (int, float) if kind is float else (kind,)
    if not isinstance(value, accepted) or isinstance(value, bool) != (kind is bool):
        raise PyadmmError(f"{where}: must be {kind.__name__}, not {value!r}")
    return kind(value)
