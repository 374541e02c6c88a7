"""Data classes as plain data and back, once for the whole package, by the library ``cattrs``.

Reading is strict: a field that is missing, unknown, of another type or out of its range is an error
that names the field, the rule and the value.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache, partial
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from pyadmm.core.errors import PyadmmError

T = TypeVar("T")
FORMERLY = "formerly"
"""Metadata of a data class's field: the name that older files have for it."""
_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_PLAIN = (str, int, float, bool, list, tuple, dict, type(None))


class Range(NamedTuple):
    """Closed range of a number: ``Annotated[int, Range(0, 9)]``."""

    lo: float
    hi: float


class Rule(NamedTuple):
    """Rule for a value: ``Annotated[float, Rule("a positive number", lambda v: v > 0)]``.

    The value stays as it was written: a whole number in the place of a float remains one.

    :param words: the rule in the error's words.
    :param holds: whether a value of the right type keeps it.
    """

    words: str
    holds: Callable[[Any], bool]


class Limits(NamedTuple):
    """Limits of foreign data.

    :param items: of a list.
    :param text: characters of a text, which must be printable.
    """

    items: int
    text: int


@dataclass(frozen=True)
class Problem:
    """A field that breaks its rule.

    :param path: of the field, such as ``layers[1].nnz``; empty for the whole.
    :param rule: what it must be: ``a whole number``, ``present``.
    :param value: what it is; ``MISSING`` where it is not there.
    :param known: fields that there are, where this one is unknown.
    """

    path: str
    rule: str
    value: Any
    known: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The value, in few characters."""
        if self.value is MISSING or self.value is None:
            return "missing"
        text = reprlib.repr(self.value)
        return text if isinstance(self.value, _PLAIN) else f"{type(self.value).__name__} {text}"


Words = Callable[[str, Problem], str]
"""The message about a problem of a subject."""


def field_words(subject: str, problem: Problem) -> str:
    """``record.json: field layers[1].nnz must be a whole number, not '7'``."""
    path = problem.path or "(root)"
    return f"{subject}: field {path} must be {problem.rule}, not {problem.shown}"


def setting_words(subject: str, problem: Problem) -> str:
    """``settings x.yaml, admm: unknown field 'rhoo'; known are: rounds, …``."""
    parent, _, name = problem.path.rpartition(".")
    if problem.known:
        where = ", ".join(filter(None, [subject, parent]))
        return (
            f"{where}: unknown field {name.strip(chr(39))!r}; known are: {', '.join(problem.known)}"
        )
    where = ", ".join(filter(None, [subject, problem.path]))
    return f"{where}: must be {problem.rule}, not {problem.shown}"


def to_plain(value: Any) -> Any:
    """``value`` (data classes, tuples, numbers, text) as dictionaries and lists."""
    return _converter(None).unstructure(value)


def to_json(value: Any, *, lines: bool = True) -> str:
    """``value`` as JSON text; :func:`from_json` reads it.

    :param lines: a field a line; otherwise all in one line.
    :raises ValueError: for a number that JSON does not have (NaN, infinity).
    """
    layout: dict[str, Any] = {"indent": 1} if lines else {"separators": (",", ":")}
    return json.dumps(to_plain(value), allow_nan=False, **layout)


def from_plain(
    kind: type[T],
    raw: Any,
    subject: str,
    *,
    words: Words = field_words,
    limits: Limits | None = None,
    remedy: str = "",
) -> T:
    """The ``kind`` that :func:`to_plain` turned into ``raw``.

    :param subject: what is read, for the error.
    :param limits: refuse longer lists and texts.
    :param remedy: what the reader can do, for the end of the error.
    :raises PyadmmError: naming the first field that is wrong.
    """
    try:
        return _converter(limits).structure(raw, kind)
    except Exception as error:  # cattrs groups whatever a field raised
        said = next(_messages(error, subject, words))
        raise PyadmmError(f"{said}; {remedy}" if remedy else said) from error


def from_json(
    kind: type[T],
    text: str,
    subject: str,
    *,
    words: Words = field_words,
    limits: Limits | None = None,
    remedy: str = "",
) -> T:
    """As :func:`from_plain`, from JSON text."""
    try:
        raw = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        said = f"{subject}: not JSON: {error}"
        raise PyadmmError(f"{said}; {remedy}" if remedy else said) from error
    return from_plain(kind, raw, subject, words=words, limits=limits, remedy=remedy)


def changed(base: T, values: Mapping[str, Any], subject: str) -> T:
    """``base`` with some fields changed; nested mappings change nested data classes.

    :raises PyadmmError: in the words of :func:`setting_words`.
    """
    return from_plain(type(base), _merged(base, values), subject, words=setting_words)


def _merged(base: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(base)
    for key, value in values.items():
        current = getattr(base, str(key), None)
        inner = is_dataclass(current) and isinstance(value, Mapping)
        plain[str(key)] = _merged(current, value) if inner else value
    return plain


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


class _Mismatch(TypeError):
    """A value that is not what its type says."""

    def __init__(self, rule: str, value: Any) -> None:
        super().__init__(f"must be {rule}")
        self.rule, self.value = rule, value


def _messages(error: BaseException, subject: str, words: Words) -> Iterator[str]:
    """What to say about each of the errors in a tree of them, those of data classes as they are."""
    for path, leaf in _leaves(error, ""):
        if isinstance(leaf, PyadmmError):
            yield str(leaf) if str(leaf).startswith(f"{subject}: ") else f"{subject}: {leaf}"
        elif isinstance(leaf, _Mismatch):
            yield words(subject, Problem(path, leaf.rule, leaf.value))
        elif isinstance(leaf, KeyError):
            yield words(subject, Problem(path, "present", MISSING))
        elif (extra := getattr(leaf, "extra_fields", None)) is not None:
            known = tuple(f.name for f in fields(leaf.cl) if f.init)  # type: ignore[attr-defined]
            name = ascii(min(map(str, extra)))
            yield words(subject, Problem(_join(path, f"{name:.60}"), "absent", "there", known))
        else:
            yield words(subject, Problem(path, "valid", str(leaf)))


def _leaves(error: BaseException, path: str) -> Iterator[tuple[str, BaseException]]:
    inner = getattr(error, "exceptions", None)
    if inner is None:
        yield path, error
        return
    for each in inner:
        yield from _leaves(each, _join(path, _place(each)))


def _place(error: BaseException) -> str:
    """Where an error says that it happened: a field, an item, a key, or nowhere."""
    for note in getattr(error, "__notes__", ()):
        if (name := getattr(note, "name", None)) is not None:
            return str(name)
        if (index := getattr(note, "index", None)) is not None:
            return f"[{index}]" if isinstance(index, int) else str(index)
    return ""


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name and not name.startswith("[") else f"{path}{name}"


def _scalar(kind: type, limits: Limits | None) -> Any:
    accepted: tuple[type, ...] = (int, float) if kind is float else (kind,)

    def check(value: Any, _: Any) -> Any:
        if not isinstance(value, accepted) or isinstance(value, bool) != (kind is bool):
            raise _Mismatch(_NAMES[kind], value)
        if isinstance(value, str) and limits is not None:
            if len(value) > limits.text:
                raise _Mismatch(f"text of at most {limits.text} characters", value)
            if any(not (ch.isprintable() or ch in "\n\t") for ch in value):
                raise _Mismatch("printable text", value)
        return kind(value)

    return check


@cache
def _converter(limits: Limits | None) -> Any:
    # Imported late: the Python of the simulated board reads no data classes and has no cattrs.
    from cattrs import Converter  # noqa: PLC0415

    converter = Converter(forbid_extra_keys=True)
    for kind in _NAMES:
        converter.register_structure_hook(kind, _scalar(kind, limits))
    converter.register_structure_hook_factory(is_dataclass, partial(_of_class, converter))
    converter.register_unstructure_hook_func(is_dataclass, partial(_plain_fields, converter))
    readers: dict[Any, Callable[[Any, Any], Any]] = {
        tuple: partial(_tuple, converter, limits),
        Literal: _choice,
        Annotated: partial(_annotated, converter),
        Mapping: partial(_mapping, converter),
    }
    for origin, read in readers.items():
        converter.register_structure_hook_func(partial(_is_a, origin), read)
    return converter


def _plain_fields(converter: Any, value: Any) -> dict[str, Any]:
    """The fields of a data class by what they hold, whatever they are declared to hold."""
    return {f.name: converter.unstructure(getattr(value, f.name)) for f in fields(value) if f.init}


def _is_a(origin: Any, kind: Any) -> bool:
    return get_origin(kind) is origin


def _of_class(converter: Any, cls: Any) -> Callable[[Any, Any], Any]:
    """The reader of a data class; cattrs would forget what ``Annotated`` says of its fields."""
    from cattrs.gen import make_dict_structure_fn, override  # noqa: PLC0415

    def reading(hint: Any) -> Any:
        return override(struct_hook=lambda value, _: converter.structure(value, hint))

    plain, full = get_type_hints(cls), get_type_hints(cls, include_extras=True)
    own = {name: reading(full[name]) for name in plain if plain[name] != full[name]}
    structure = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True, **own)
    former = {f.metadata[FORMERLY]: f.name for f in fields(cls) if FORMERLY in f.metadata}

    def read(value: Any, kind: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _Mismatch("a mapping", value)
        named: dict[Any, Any] = {former.get(key, key): item for key, item in value.items()}
        return structure(named, kind)

    return read


def _tuple(converter: Any, limits: Limits | None, value: Any, kind: Any) -> tuple[Any, ...]:
    """A JSON list as the tuple ``kind``; its errors tell the place in the list."""
    if not isinstance(value, list | tuple):
        raise _Mismatch("a list", value)
    if limits is not None and len(value) > limits.items:
        raise _Mismatch(f"a list of at most {limits.items} items", value)
    inner = get_args(kind)
    if inner[-1] is Ellipsis:
        inner = inner[:1] * len(value)
    if len(inner) != len(value):
        raise _Mismatch(f"a list of {len(inner)}", value)
    return tuple(_each(converter, dict(enumerate(value)), inner, kind).values())


def _mapping(converter: Any, value: Any, kind: Any) -> dict[str, Any]:
    """A JSON object of names; its errors tell the name."""
    if not isinstance(value, Mapping):
        raise _Mismatch("a mapping", value)
    named = {str(name): item for name, item in value.items()}
    return _each(converter, named, (get_args(kind)[1],) * len(value), kind)


def _each(converter: Any, items: Mapping[Any, Any], hints: Sequence[Any], kind: Any) -> Any:
    """Every item by its hint."""
    from cattrs.errors import IterableValidationError, IterableValidationNote  # noqa: PLC0415

    read: dict[Any, Any] = {}
    errors: list[Exception] = []
    for (place, item), hint in zip(items.items(), hints, strict=True):
        try:
            read[place] = converter.structure(item, hint)
        except Exception as error:
            error.add_note(IterableValidationNote(f"item {place}", place, hint))
            errors.append(error)
    if errors:
        raise IterableValidationError("items", errors, kind)
    return read


def _choice(value: Any, kind: Any) -> Any:
    """One of the values of a ``Literal``."""
    options = get_args(kind)
    if not any(type(value) is type(option) and value == option for option in options):
        raise _Mismatch(f"one of {', '.join(map(str, options))}", value)
    return value


def _annotated(converter: Any, value: Any, kind: Any) -> Any:
    """A number in its :class:`Range`, or a value that keeps its :class:`Rule`."""
    base, *details = get_args(kind)
    rule = next((detail for detail in details if isinstance(detail, Rule)), None)
    if rule is None:
        limits = next(detail for detail in details if isinstance(detail, Range))
        words = f"{_NAMES[base]} from {limits.lo:.16g} to {limits.hi:.16g}"
        rule = Rule(words, lambda number: limits.lo <= number <= limits.hi)
    try:
        read = converter.structure(value, base)
    except (_Mismatch, OverflowError) as error:
        raise _Mismatch(rule.words, value) from error
    if not rule.holds(read):
        raise _Mismatch(rule.words, value)
    return value if rule in details else read
