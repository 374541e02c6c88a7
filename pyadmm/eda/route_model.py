"""What a clock estimate before placement is worth: the period to expect when the design is routed.

The estimate charges a net by its loads and knows no distances (:mod:`pyadmm.eda.sta`), so routed
designs are slower. Distances grow with the side of the area that a design takes, the square root of
its LUTs. :data:`ROUTE_MODEL` is fitted to the designs that were routed
(``experiments/results/routed.csv``, ``python -m experiments.routed_calibration``; error in
``docs/timing.md``). What it gives is an expectation and no clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RoutedDesign:
    """One design that was estimated and routed.

    :param name: states of one design have one name.
    :param lut: as synthesis counts them.
    """

    name: str
    lut: float
    estimate_ns: float
    routed_ns: float


@dataclass(frozen=True)
class RouteModel:
    """``scale`` of the estimate, and ``per_side`` ns for every unit of the square root of the LUTs."""

    scale: float = 1.0
    per_side: float = 0.0

    def period_ns(self, estimate_ns: float, lut: float) -> float:
        """The period to expect of a design of ``lut`` LUTs that is estimated at ``estimate_ns``.

        >>> RouteModel(per_side=0.05).period_ns(6.0, 10000.0)
        11.0
        """
        return self.scale * estimate_ns + self.per_side * math.sqrt(lut)

    def error(self, design: RoutedDesign) -> float:
        """Expected over routed period, less 1."""
        return self.period_ns(design.estimate_ns, design.lut) / design.routed_ns - 1


ROUTE_MODEL = RouteModel(per_side=0.0512)
"""Fitted to all routed designs of the table."""


def fit(designs: Sequence[RoutedDesign], *, by_size: bool) -> RouteModel:
    """The model with the least sum of squared relative errors on ``designs``.

    :param by_size: whether the distances are fitted, beside the estimate as it is, or a scale of it.
    """
    share = np.array([design.estimate_ns / design.routed_ns for design in designs])
    side = np.array([math.sqrt(design.lut) / design.routed_ns for design in designs])
    if by_size:
        return RouteModel(per_side=float(side @ (1 - share) / (side @ side)))
    return RouteModel(scale=float(share.sum() / (share @ share)))


def left_out_errors(designs: Sequence[RoutedDesign], *, by_size: bool) -> list[float]:
    """The error on each design of the model that is fitted to those of other names."""
    return [
        fit([other for other in designs if other.name != design.name], by_size=by_size).error(
            design
        )
        for design in designs
    ]
