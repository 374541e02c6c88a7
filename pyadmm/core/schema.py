"""Data classes as plain data and back, once for the whole package, by the library ``cattrs``.

Reading is strict: a field that is missing, unknown or of another type is an error that names it.
"""

from __future__ import annotations

import json
from dataclasses import is_dataclass
from functools import cache, partial
from typing import Any, TypeVar, get_args, get_origin

from pyadmm.core.errors import PyadmmError

T = TypeVar("T")
_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def to_plain(value: Any) -> Any:
    """``value`` (data classes, tuples, numbers, text) as dictionaries and lists."""
    return _converter().unstructure(value)


def from_plain(kind: type[T], raw: Any, subject: str) -> T:
    """The ``kind`` that :func:`to_plain` turned into ``raw``.

    :param subject: what is read, for the error.
    :raises PyadmmError: naming the first field that is wrong.
    """
    try:
        return _converter().structure(raw, kind)
    except Exception as error:  # cattrs groups whatever a field raised
        raise PyadmmError(f"{subject}: {_own_words(error) or _first_reason(error)}") from error


def from_json(kind: type[T], text: str, subject: str) -> T:
    """As :func:`from_plain`, from JSON text."""
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PyadmmError(f"{subject}: not JSON: {error}") from error
    return from_plain(kind, raw, subject)


def _first_reason(error: Exception) -> str:
    from cattrs import transform_error  # noqa: PLC0415

    return str(transform_error(error)[0]).removesuffix(" @ $")


def _own_words(error: BaseException) -> str | None:
    """The message of a data class that refused its own values."""
    if isinstance(error, PyadmmError):
        return str(error)
    for inner in getattr(error, "exceptions", ()):
        if (words := _own_words(inner)) is not None:
            return words
    return None


def _scalar(kind: type) -> Any:
    accepted = (int, float) if kind is float else (kind,)

    def check(value: Any, _: type) -> Any:
        if not isinstance(value, accepted) or isinstance(value, bool) != (kind is bool):
            raise TypeError(f"must be {_NAMES[kind]}, not {value!r:.60}")
        return kind(value)

    return check


@cache
def _converter() -> Any:
    # Imported late: the Python of the simulated board reads no data classes and has no cattrs.
    from cattrs import Converter  # noqa: PLC0415
    from cattrs.gen import make_dict_structure_fn  # noqa: PLC0415

    converter = Converter(forbid_extra_keys=True)
    for kind in _NAMES:
        converter.register_structure_hook(kind, _scalar(kind))
    converter.register_structure_hook_factory(
        is_dataclass,
        lambda cls: make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True),
    )

    converter.register_structure_hook_func(
        lambda kind: get_origin(kind) is tuple, partial(_tuple, converter)
    )
    return converter


def _tuple(converter: Any, value: Any, kind: Any) -> tuple[Any, ...]:
    """A JSON list as the tuple ``kind``; its errors tell the place in the list."""
    from cattrs.errors import IterableValidationError, IterableValidationNote  # noqa: PLC0415

    if not isinstance(value, list | tuple):
        raise TypeError(f"must be a list, not {value!r:.60}")
    inner = get_args(kind)
    if inner[-1] is Ellipsis:
        inner = inner[:1] * len(value)
    if len(inner) != len(value):
        raise TypeError(f"must be a list of {len(inner)}, not of {len(value)}")
    items, errors = [], []
    for place, (item, hint) in enumerate(zip(value, inner, strict=True)):
        try:
            items.append(converter.structure(item, hint))
        except Exception as error:
            error.add_note(IterableValidationNote(f"item {place}", place, hint))
            errors.append(error)
    if errors:
        raise IterableValidationError("list", errors, kind)
    return tuple(items)
