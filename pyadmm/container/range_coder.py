"""Entropy coding for the ``.admm`` file: one description of the format serves both directions.

Code that knows the format calls a :class:`Coder` with every value in order. An :class:`Encoder`
writes the value that it is given; a :class:`Decoder` is given ``None`` and returns the value that
it reads. So writer and reader cannot disagree.

Probabilities are whole numbers (held in float64, exact below 2**53), never results of exp or log:
they are the same on every machine. The range coder is constriction's (24-bit probabilities).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import numpy as np
from constriction import stream
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError

Weights = NDArray[np.float64]
"""Unnormalised probabilities: whole numbers, at least 1, with a sum below 2**53."""

_RAW_BITS = 16
_STATE_BITS = 64
_WORD_BITS = 32
_HALVE_AT = 1 << 16
_LIKELY = 7.0
_STEP = 2

T = TypeVar("T")

Categorical = stream.model.Categorical
Uniform = stream.model.Uniform


class Coder(ABC):
    """Codes values in order; see the module's text for the two directions."""

    @abstractmethod
    def symbol(self, weights: Weights, symbol: int | None) -> int:
        """One of ``0 … len(weights) - 1``; where there is no choice, it takes no bits."""

    @abstractmethod
    def symbols(
        self, weights: Weights, count: int, symbols: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        """``count`` symbols of one distribution; fast for millions of them."""

    @abstractmethod
    def number(self, size: int, value: int | None) -> int:
        """One of ``0 … size - 1``, all equally likely; ``1 <= size <= 2**16``."""

    @abstractmethod
    def mark(self, section: str) -> None:
        """Begin ``section``: an encoder counts the bits that follow for it."""

    def bits(self, count: int, value: int | None) -> int:
        """An integer of ``count`` plain bits."""
        result = 0
        for low in range(0, count, _RAW_BITS):
            width = min(_RAW_BITS, count - low)
            part = None if value is None else value >> low & ((1 << width) - 1)
            result |= self.number(1 << width, part) << low
        return result


class Encoder(Coder):
    """Writes; :meth:`finish` gives the bytes and :attr:`sections` what each section took."""

    def __init__(self) -> None:
        self._range = stream.queue.RangeEncoder()
        self._marks: list[tuple[str, float]] = []

    def symbol(self, weights: Weights, symbol: int | None) -> int:
        """Write ``symbol``, with probability proportional to its weight."""
        assert symbol is not None
        assert 0 <= symbol < len(weights)
        if len(weights) > 1:
            self._range.encode(symbol, Categorical(weights, perfect=False))
        return symbol

    def symbols(
        self, weights: Weights, count: int, symbols: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        """Write ``symbols``, all of one distribution."""
        assert symbols is not None
        assert len(symbols) == count
        if len(weights) > 1 and count:
            self._range.encode(symbols, Categorical(weights, perfect=False))
        return symbols

    def number(self, size: int, value: int | None) -> int:
        """Write ``value``, one of ``size`` equally likely numbers."""
        assert value is not None
        assert 0 <= value < size <= 1 << _RAW_BITS
        if size > 1:
            self._range.encode(value, Uniform(size))
        return value

    def mark(self, section: str) -> None:
        """Count the following bits for ``section``."""
        self._marks.append((section, self._position()))

    def _position(self) -> float:
        """Information written so far, bits."""
        words, (_, width) = self._range.pos()
        return _WORD_BITS * words + _STATE_BITS - math.log2(width)

    @property
    def sections(self) -> dict[str, float]:
        """Bits per section, in order of first mark."""
        ends = [*self._marks, ("", self._position())]
        total: dict[str, float] = {}
        for (section, start), (_, end) in pairwise(ends):
            total[section] = total.get(section, 0.0) + end - start
        return total

    def finish(self) -> bytes:
        """The shortest bytes that decode to what was written, followed by endless zeros.

        A range coder may end on any number of its last interval ``[low, low + width)``; the one
        with the most trailing zeros is taken, and the zeros dropped.
        """
        words, (lower, width) = self._range.pos()
        content = b"".join(int(word).to_bytes(4, "big") for word in self._range.get_compressed())
        content = content.ljust(4 * words + 8, b"\0")
        inside = int.from_bytes(content, "big") >> 8 * (len(content) - 4 * words - 8)
        # A carry into the finished words may be undecided; `inside` tells which way it went.
        low = (inside >> _STATE_BITS << _STATE_BITS) + lower
        if low > inside:
            low -= 1 << _STATE_BITS
        assert low <= inside < low + width
        size = 4 * words + 8
        for kept in range(max(0, size - 8), size + 1):
            drop = 8 * (size - kept)
            value = -(-low >> drop)
            if value << drop < low + width:
                return value.to_bytes(kept, "big").rstrip(b"\0")
        raise AssertionError("an interval holds its own lower end")


class Decoder(Coder):
    """Reads; raises :class:`PyadmmError` for data that no encoder wrote."""

    def __init__(self, data: bytes) -> None:
        padded = data + bytes(8 + -len(data) % 4)
        self._range = stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))

    def symbol(self, weights: Weights, symbol: int | None) -> int:
        """Read a symbol; the argument is ignored."""
        if len(weights) == 1:
            return 0
        return int(_guarded(lambda: self._range.decode(Categorical(weights, perfect=False))))

    def symbols(
        self, weights: Weights, count: int, symbols: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        """Read ``count`` symbols of one distribution."""
        if len(weights) == 1 or count == 0:
            return np.zeros(count, np.int32)
        return _guarded(lambda: self._range.decode(Categorical(weights, perfect=False), count))

    def number(self, size: int, value: int | None) -> int:
        """Read one of ``size`` equally likely numbers."""
        return 0 if size == 1 else int(_guarded(lambda: self._range.decode(Uniform(size))))

    def mark(self, section: str) -> None:
        """Do nothing, because a decoder keeps no count."""


def _guarded(decode: Callable[[], T]) -> T:
    """Constriction raises AssertionError for data that no range encoder gives."""
    try:
        return decode()
    except AssertionError as error:
        raise PyadmmError("the coded data are damaged; get the file again") from error


class Adaptive:
    """A distribution over a small alphabet that learns from what it has coded.

    :param prior: starting weights, whole numbers of at least 1.
    :param step: added to the weight of a coded symbol.
    :param spread: added to its two neighbours, for symbols that are sizes.
    """

    def __init__(self, prior: Weights, step: int = 2, spread: int = 0) -> None:
        self._weights = np.array(prior, np.float64)
        self._total = float(self._weights.sum())
        self._step = step
        self._spread = spread

    def code(self, coder: Coder, symbol: int | None) -> int:
        """Code one symbol and learn it."""
        coded = coder.symbol(self._weights, symbol)
        self._weights[coded] += self._step
        if self._spread:
            self._weights[max(coded - 1, 0) : coded + 2] += self._spread
        self._total += self._step + 3 * self._spread
        if self._total > _HALVE_AT:
            self._weights = np.floor((self._weights + 1) / 2)
            self._total = float(self._weights.sum())
        return coded


class Contexts:
    """Distributions over one small alphabet, one for each context.

    A context's counts weigh as much as those of all contexts together after ``trust`` symbols:
    ``(own count + trust * share in all) / (own total + trust)``.

    :param size: of the alphabet.
    """

    def __init__(self, size: int, contexts: int, trust: int) -> None:
        self._all = np.ones(size)
        self._own = np.zeros((contexts, size))
        self._total = float(size)
        self._trust = float(trust)

    def code(self, coder: Coder, context: int, symbol: int | None) -> int:
        """Code one symbol in ``context`` and learn it."""
        own = self._own[context]
        coded = coder.symbol(own * self._total + self._trust * self._all, symbol)
        own[coded] += 1
        self._all[coded] += _STEP
        self._total += _STEP
        return coded


class Sizes:
    """Whole numbers ``0 … limit``: an adaptive bit length, then the bits below the leading one.

    :param subject: what the numbers are, for the error message.
    :param likely: this many bit lengths, from 0 on, are likely at first.
    """

    def __init__(self, subject: str, limit: int, spread: int = 1, likely: int = 0) -> None:
        self._subject = subject
        self._limit = limit
        prior = np.ones(limit.bit_length() + 1)
        prior[:likely] += _LIKELY
        self._lengths = Adaptive(prior, step=4, spread=spread)

    def code(self, coder: Coder, value: int | None) -> int:
        """Code one number of at most the limit.

        :raises PyadmmError: where ``value``, or what is read, exceeds the limit.
        """
        if value is not None:
            self._require(value)
        length = self._lengths.code(coder, None if value is None else value.bit_length())
        if length < 2:
            return length
        top = 1 << (length - 1)
        coded = top | coder.bits(length - 1, None if value is None else value ^ top)
        self._require(coded)
        return coded

    def _require(self, value: int) -> None:
        if not 0 <= value <= self._limit:
            raise PyadmmError(f"{self._subject} must be 0 to {self._limit}, not {value}")
