"""Checked reading of the bundle's JSON: every field has a type and a range, or an error names it.

Standard library only. What is read may be truncated or hostile.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ManifestError

VERSION = 1
SIDE_LIMIT = 1 << 16
WORDS_LIMIT = 1 << 26
NODES_LIMIT = 4096
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}")
SHA256 = re.compile(r"[0-9a-f]{64}")
_SIZE_LIMIT = 4 << 20
_FILE_LIMIT = 1 << 30


@dataclass(frozen=True)
class FileFact:
    """A file of the bundle and the sha256 digest that it must have."""

    path: Path
    sha256: str

    def read(self) -> bytes:
        """Content of the file.

        :raises ManifestError: if it is missing, too large, or has another digest.
        """
        try:
            size = self.path.stat().st_size
            if size > _FILE_LIMIT:
                raise ManifestError(f"{self.path.name}: {size} bytes exceed {_FILE_LIMIT}")
            content = self.path.read_bytes()
        except OSError as error:
            raise ManifestError(f"{self.path.name}: cannot be read: {error}") from error
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.sha256:
            raise ManifestError(
                f"{self.path.name}: sha256 is {digest[:16]}…, but the manifest says "
                f"{self.sha256[:16]}…; the file is damaged or of another model: copy the whole "
                "bundle again"
            )
        return content


class Fields:
    """One JSON object under inspection; ``where`` is its dotted name in messages."""

    def __init__(self, file: str, where: str, value: Any) -> None:
        self.file, self.where = file, where
        if not isinstance(value, dict):
            raise self.wrong("", "must be an object")
        self.value: dict[str, Any] = value
        self.left = set(value)

    def wrong(self, key: str, what: str) -> ManifestError:
        """The error that the field ``key`` makes."""
        name = ".".join(part for part in (self.where, key) if part) or "the document"
        return ManifestError(f"{self.file}: field {name} {what}")

    def take(self, key: str, holds: Callable[[Any], bool], what: str) -> Any:
        """The value of ``key``, which must exist and for which ``holds`` must be true."""
        if key not in self.value:
            raise self.wrong(key, "is missing")
        self.left.discard(key)
        value = self.value[key]
        if not holds(value):
            raise self.wrong(key, f"must be {what}, not {str(value)[:60]!r}")
        return value

    def child(self, key: str) -> Fields:
        """The object at ``key``."""
        value = self.take(key, lambda v: isinstance(v, dict), "an object")
        return Fields(self.file, ".".join(filter(None, (self.where, key))), value)

    def children(self, key: str, least: int, most: int) -> list[Fields]:
        """The objects in the list at ``key``, ``least`` to ``most`` of them."""
        values = self.take(
            key,
            lambda v: isinstance(v, list) and least <= len(v) <= most,
            f"a list of {least} to {most} objects",
        )
        prefix = ".".join(filter(None, (self.where, key)))
        return [Fields(self.file, f"{prefix}[{i}]", value) for i, value in enumerate(values)]

    def integer(self, key: str, least: int, most: int) -> int:
        """A whole number in ``least … most``."""
        holds: Callable[[Any], bool] = lambda v: type(v) is int and least <= v <= most  # noqa: E731
        return int(self.take(key, holds, f"a whole number from {least} to {most}"))

    def integers(self, key: str, sizes: tuple[int, ...], least: int, most: int) -> tuple[int, ...]:
        """A list, as long as one of ``sizes``, of whole numbers in ``least … most``."""

        def holds(value: Any) -> bool:
            return (
                isinstance(value, list)
                and len(value) in sizes
                and all(type(v) is int and least <= v <= most for v in value)
            )

        lengths = " or ".join(map(str, sizes))
        return tuple(self.take(key, holds, f"a list of {lengths} numbers from {least} to {most}"))

    def text(self, key: str, pattern: re.Pattern[str], what: str) -> str:
        """A string that ``pattern`` matches whole."""

        def holds(value: Any) -> bool:
            return isinstance(value, str) and pattern.fullmatch(value) is not None

        return str(self.take(key, holds, what))

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """The string at ``key``, one of ``choices``."""
        return str(self.take(key, lambda v: v in choices, f"one of {', '.join(choices)}"))

    def file_fact(self, key: str, folder: Path) -> FileFact:
        """The object ``{"file": …, "sha256": …}`` at ``key``."""
        fields = self.child(key)
        name = fields.text("file", PLAIN_NAME, "a plain file name")
        digest = fields.text("sha256", SHA256, "64 lower-case hexadecimal digits")
        fields.finish()
        return FileFact(folder / name, digest)

    def finish(self) -> None:
        """Refuse fields that nobody asked for."""
        if self.left:
            raise self.wrong(sorted(self.left)[0], f"is unknown in version {VERSION}")


def load_json(path: Path) -> Any:
    """The data in a file of JSON.

    :raises ManifestError: if it is missing, too large or not JSON.
    """

    def refuse(constant: str) -> None:
        raise ManifestError(f"{path.name}: {constant} is not a number that JSON knows")

    try:
        with path.open("rb") as file:
            content = file.read(_SIZE_LIMIT + 1)
        if len(content) > _SIZE_LIMIT:
            raise ManifestError(f"{path.name}: is larger than {_SIZE_LIMIT} bytes")
        return json.loads(content.decode("utf-8"), parse_constant=refuse)
    except OSError as error:
        raise ManifestError(f"{path.name}: cannot be read: {error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError, ValueError) as error:
        raise ManifestError(f"{path.name}: is not JSON, perhaps truncated: {error}") from error


def is_null(fields: Fields, key: str) -> bool:
    """Whether ``key`` is there and null; it may be null or an object."""
    return fields.take(key, lambda v: v is None or isinstance(v, dict), "null or an object") is None


def numbers_of(fields: Fields, names: tuple[str, ...], most: int, step: int) -> dict[str, int]:
    """One distinct multiple of ``step`` per name."""
    numbers: dict[str, int] = {}
    for name in names:
        taken = set(numbers.values())

        def holds(value: Any, taken: set[int] = taken) -> bool:
            return (
                type(value) is int
                and 0 <= value <= most
                and value % step == 0
                and value not in taken
            )

        numbers[name] = fields.take(name, holds, f"a multiple of {step} up to {most}, used once")
    fields.finish()
    return numbers


def is_positive(value: Any) -> bool:
    """Whether ``value`` is a finite number above 0."""
    return type(value) in (int, float) and 0 < value < 1e30
