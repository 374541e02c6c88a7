"""The values that vendor reports hold: counts, ranges of counts, times, each perhaps unknown.

What a tool prints for "unknown" becomes ``None``, never 0; what is neither a value nor one of these
words is an error that names the field.
"""

from __future__ import annotations

import math
import re

from pyadmm.eda.parsers.source import Source
from pyadmm.eda.reports import CycleRange, TimeRange

_UNKNOWN = frozenset({"", "-", "--", "?", "undef", "na", "n/a", "nan", "inf", "none", "unknown"})
_COUNT = re.compile(r"\d{1,30}")
_NUMBER = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,3})?")
_PERCENTAGE = re.compile(r"\s*\([~<]?\s*[\d.]+\s*%?\)$")
_UNIT_NS = {"ps": 1e-3, "ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9, "sec": 1e9}


def is_unknown(text: str) -> bool:
    """Whether ``text`` is one of the tools' words for an unknown value."""
    return text.strip().lower() in _UNKNOWN


def count(source: Source, field: str, text: str) -> int | None:
    """A whole number of at least 0. A trailing percentage, ``14 (~0%)``, is dropped."""
    plain = _PERCENTAGE.sub("", text.strip())
    if is_unknown(plain):
        return None
    if not _COUNT.fullmatch(plain):
        source.fail(field, f"{_shown(text)} is no whole number")
    return int(plain)


def amount(source: Source, field: str, text: str) -> float | None:
    """A number of at least 0, whole where it can be (``0.5`` block-RAM tiles are possible)."""
    value = number(source, field, _PERCENTAGE.sub("", text.strip()))
    if value is not None and value < 0:
        source.fail(field, f"{_shown(text)} is negative")
    return int(value) if value is not None and value == int(value) else value


def number(source: Source, field: str, text: str) -> float | None:
    """A finite number, possibly negative (slacks)."""
    plain = text.strip()
    if is_unknown(plain):
        return None
    if not _NUMBER.fullmatch(plain) or not math.isfinite(float(plain)):
        source.fail(field, f"{_shown(text)} is no number")
    return float(plain)


def cycles(source: Source, field: str, least: str, most: str) -> CycleRange:
    """A range of clock cycles from its two ends.

    An end may itself be a range, ``16 ~ 2483040296``; then its outer end counts.
    """
    low = count(source, field, least.partition("~")[0])
    high = count(source, field, most.rpartition("~")[2])
    if low is not None and high is not None and low > high:
        source.fail(field, f"the least, {low}, is above the most, {high}")
    return CycleRange(low, high)


def times(source: Source, field: str, least: str, most: str) -> TimeRange:
    """A range of time in ns from its two ends, such as ``0.138 us`` or ``0 ns ~ 0.138 us``."""
    low = _time_ns(source, field, least.partition("~")[0])
    return TimeRange(low, _time_ns(source, field, most.rpartition("~")[2]))


def _time_ns(source: Source, field: str, text: str) -> float | None:
    """One time in ns; a number without a unit is in ns already."""
    plain = text.strip()
    if is_unknown(plain):
        return None
    digits, _, unit = plain.partition(" ")
    if not unit:
        match = re.fullmatch(r"(.*?[\d.])([a-z]+)", plain)
        digits, unit = (match[1], match[2]) if match else (plain, "ns")
    factor = _UNIT_NS.get(unit.strip().lower())
    if factor is None:
        source.fail(field, f"{_shown(text)} has no known unit of time")
    value = number(source, field, digits)
    return None if value is None else value * factor


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
