"""Numbers, texts and number formats of a network's description, coded with what is usual."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pyadmm.container.range_coder import Adaptive, Coder, Sizes
from pyadmm.core.errors import PyadmmError
from pyadmm.model import Requant
from pyadmm.model.types import Pair, QFormat, Sides

NAME_LIMIT = 255
SIZE_LIMIT = (1 << 31) - 1
SCALAR_LIMIT = 1 << 19
"""Biases, multipliers and scales of a file: they are coded one by one."""
_SCALE_ONE, _SCALE_POWER, _SCALE_SINGLE, _SCALE_DOUBLE = range(4)


@dataclass
class FieldCoder:
    """Codes named fields, numbers and texts, and holds all that the coding has learnt of each.

    :param extended: whether the version of the file describes more than version 2.
    :param scalars: numbers so far that are coded one by one, at most ``scalar_limit``.
    """

    coder: Coder
    extended: bool = False
    scalars: int = 0
    scalar_limit: int = SCALAR_LIMIT
    sizes: dict[str, Sizes] = field(default_factory=dict)
    hits: dict[str, Adaptive] = field(default_factory=dict)
    guesses: dict[str, int] = field(default_factory=dict)
    letters: Adaptive = field(default_factory=lambda: Adaptive(_letter_prior(), step=4))

    def flag(self, name: str, value: bool | None, likely: bool = True) -> bool:
        """A yes or no of field ``name``; the ``likely`` one is cheaper from the start."""
        prior = np.array([1.0, 7.0] if likely else [7.0, 1.0])
        model = self.hits.setdefault(name, Adaptive(prior))
        return bool(model.code(self.coder, None if value is None else int(value)))

    def size(self, name: str, value: int | None, limit: int = SIZE_LIMIT) -> int:
        """A whole number of field ``name``, ``0 … limit``."""
        likely = 1 if name == "offset" else 0
        model = self.sizes.setdefault(name, Sizes(f"field {name}", limit, likely=likely))
        return model.code(self.coder, value)

    def guessed(self, name: str, value: int | None, guess: int, limit: int = SIZE_LIMIT) -> int:
        """The same, for a field that usually is what it was last time (``guess`` at first)."""
        expected = self.guesses.get(name, guess)
        if self.flag(f"{name} as expected", None if value is None else value == expected):
            return expected
        coded = self.size(name, value, limit)
        self.guesses[name] = coded
        return coded

    def pair(self, name: str, value: Pair | None, guess: int) -> Pair:
        """A number for rows and columns; two where they differ, which version 3 allows."""
        rows = self.guessed(name, None if value is None else value[0], guess)
        equal = None if value is None else value[0] == value[1]
        if not self.extended or self.flag(f"{name} is square", equal):
            return rows, rows
        return rows, self.size(f"{name} of columns", None if value is None else value[1])

    def sides(self, name: str, value: Sides | None) -> Sides:
        """A number for all sides; one for each where they differ, which version 3 allows."""
        first = self.guessed(name, None if value is None else value[0], 0)
        if not self.extended or self.flag(
            f"{name} is even", None if value is None else len({*value}) == 1
        ):
            return first, first, first, first
        left, bottom, right = (
            self.size(f"{name} of a side", None if value is None else value[i]) for i in (1, 2, 3)
        )
        return first, left, bottom, right

    def text(self, value: str | None) -> str:
        """A name as UTF-8, letter by letter."""
        raw = None if value is None else value.encode("utf-8", "surrogatepass")
        length = self.size("name length", None if raw is None else len(raw), NAME_LIMIT)
        coded = bytes(
            self.letters.code(self.coder, None if raw is None else raw[i]) for i in range(length)
        )
        try:
            return coded.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise PyadmmError(f"a name is no UTF-8: {coded!r}") from error

    def real(self, name: str, value: float | None, expected: float) -> float:
        """A float64 of field ``name``: the expected one, or as many bytes as it needs."""
        if self.flag(f"{name} as expected", None if value is None else value == expected):
            return expected
        form = None if value is None else _scale_form(value)
        prior = self.hits.setdefault("scale form", Adaptive(np.array([8.0, 1.0, 2.0, 1.0])))
        form = prior.code(self.coder, form)
        if form == _SCALE_ONE:
            return 1.0
        if form == _SCALE_POWER:
            exponent = None if value is None else int(np.frexp(value)[1]) - 1 + 1074
            return float(np.ldexp(1.0, self.size("exponent", exponent, 2097) - 1074))
        layout, bits = (">f", 32) if form == _SCALE_SINGLE else (">d", 64)
        raw = None if value is None else int.from_bytes(struct.pack(layout, value), "big")
        return float(
            struct.unpack(layout, self.coder.bits(bits, raw).to_bytes(bits // 8, "big"))[0]
        )

    def series(self, name: str, values: Sequence[int] | None, usual: int, limit: int) -> list[int]:
        """Numbers of which there are 1, ``usual`` or, rarely, some other count."""
        count = None if values is None else len(values)
        count = self.count(f"{name} count", count, usual)
        return [self.size(name, None if values is None else values[i], limit) for i in range(count)]

    def count(self, name: str, count: int | None, usual: int) -> int:
        """How many values of ``name`` follow: 1, ``usual`` or some other count."""
        coded = self._any_count(name, count, usual)
        self.require_scalars(coded)
        return coded

    def _any_count(self, name: str, count: int | None, usual: int) -> int:
        if self.flag(f"{name} is 1", None if count is None else count == 1):
            return 1
        if self.flag(f"{name} is usual", None if count is None else count == usual):
            return usual
        return self.size(name, count, 1 << 16)

    def number_format(self, value: QFormat | None, expected: QFormat) -> QFormat:
        """A :class:`QFormat`; one flag where it is as expected."""
        if self.flag("format as expected", None if value is None else value == expected):
            return expected
        bits = self.guessed("bits", None if value is None else value.bits, expected.bits, 48)
        signed = self.flag("signed", None if value is None else value.signed, likely=False)
        scale = self.real("scale", None if value is None else value.scale, expected.scale)
        return QFormat(bits, signed, scale)

    def requant(self, value: Requant | None, outputs: int, last: bool = False) -> Requant:
        """A :class:`Requant`; the identity, usual in the last node, takes one flag."""
        identity = Requant()
        where = "identity at the end" if last else "identity"
        if self.flag(where, None if value is None else value == identity, likely=last):
            return identity
        mult = None if value is None else value.mult
        coded = tuple(self.series("mult", mult, outputs, (1 << 16) - 1))
        if not coded:
            raise PyadmmError("a requantiser has no multiplier")
        exponent = None if value is None else value.shift - value.mult[0].bit_length() + 16
        prior = self.hits.setdefault("exponent", Adaptive(_exponent_prior()))
        exponent = prior.code(self.coder, exponent)
        return Requant(coded, exponent - 16 + coded[0].bit_length())

    def require_scalars(self, count: int) -> None:
        """Count ``count`` more scalars; raises where they are too many."""
        self.scalars += count
        if self.scalars > self.scalar_limit:
            raise PyadmmError(f"more than {self.scalar_limit} biases, multipliers and scales")


def _letter_prior() -> NDArray[np.float64]:
    prior = np.ones(256)
    prior[list(b"abcdefghijklmnopqrstuvwxyz0123456789._-")] = 16.0
    return prior


def _exponent_prior() -> NDArray[np.float64]:
    """Of a requantiser's ``shift - bits of mult + 16``: mostly a ratio of 1/256 to 1."""
    prior = np.ones(64)
    prior[16:24] += 15.0
    return prior


def _scale_form(value: float) -> int:
    if value == 1.0:
        return _SCALE_ONE
    if value > 0 and np.isfinite(value) and np.frexp(value)[0] == 0.5:
        return _SCALE_POWER
    packed = struct.pack(">d", value)
    with np.errstate(over="ignore"):
        single = float(np.float32(value))
    return _SCALE_SINGLE if struct.pack(">d", single) == packed else _SCALE_DOUBLE
