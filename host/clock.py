"""The clock of the programmable logic: never faster than the design is timed for."""

from __future__ import annotations

from .errors import HostError

TOLERANCE = 0.001
"""How much faster than the design's clock counts as equal: PLLs make 99.999 MHz for 100."""
DIVISOR_LIMIT = 63


def divisors(source_mhz: float, mhz: float) -> tuple[int, int]:
    """The smallest divisors, each up to 63, that bring ``source_mhz`` down to ``mhz`` or less.

    >>> divisors(1499.985, 200.0)
    (8, 1)
    >>> divisors(1000.0, 100.0)
    (10, 1)
    """
    least = source_mhz / (mhz * (1 + TOLERANCE))
    limits = range(1, DIVISOR_LIMIT + 1)
    fitting = [(a * b, b, a) for b in limits for a in limits if a * b >= least]
    if not fitting:
        raise HostError(f"clock: {source_mhz:g} MHz cannot be divided down to {mhz:g} MHz")
    _, div1, div0 = min(fitting)
    return div0, div1
