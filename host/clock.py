"""The clock of the programmable logic: never faster than the design is timed for."""

from __future__ import annotations

import pynq

from .errors import HostError

TOLERANCE = 0.001
"""How much faster than the design's clock counts as equal: PLLs make 99.999 MHz for 100."""
_DIVISOR_LIMIT = 63


def set_clock(index: int, mhz: float) -> float:
    """Set a clock of the processing system to the fastest rate up to ``mhz``; gives it in MHz.

    pynq by itself takes the nearest rate, which can be well above: asked for 200 MHz, a Zynq
    UltraScale+ with its usual 1,500 MHz PLL would run at 214.3 MHz.

    :param index: number of the clock, 0 to 3.
    :raises HostError: if the board cannot make a rate that slow.
    """
    pynq.Clocks.set_pl_clk(index, div0=_DIVISOR_LIMIT, div1=1)
    source = float(pynq.Clocks.get_pl_clk(index)) * _DIVISOR_LIMIT
    div0, div1 = divisors(source, mhz)
    pynq.Clocks.set_pl_clk(index, div0=div0, div1=div1)
    return float(pynq.Clocks.get_pl_clk(index))


def divisors(source_mhz: float, mhz: float) -> tuple[int, int]:
    """The smallest divisors, each up to 63, that bring ``source_mhz`` down to ``mhz`` or less.

    >>> divisors(1499.985, 200.0)
    (8, 1)
    >>> divisors(1000.0, 100.0)
    (10, 1)
    """
    least = source_mhz / (mhz * (1 + TOLERANCE))
    limits = range(1, _DIVISOR_LIMIT + 1)
    fitting = [(a * b, b, a) for b in limits for a in limits if a * b >= least]
    if not fitting:
        raise HostError(f"clock: {source_mhz:g} MHz cannot be divided down to {mhz:g} MHz")
    _, div1, div0 = min(fitting)
    return div0, div1
