"""What a clock estimate before placement is worth: the period to expect when the design is routed.

The estimate charges a net by its loads and knows no distances (:mod:`pyadmm.eda.sta`), so routed
designs are slower. :data:`ROUTE_MODEL` is fitted to the designs that were routed
(``experiments/results/routed.csv``, ``python -m experiments.routed_calibration``; error in
``docs/timing.md``). What it gives is an expectation and no clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_UNIT_LUT = 1000.0


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
    """Routed over estimated period: ``base`` for 1,000 LUTs, ``per_octave`` more for twice as many."""

    base: float
    per_octave: float = 0.0

    def period_ns(self, estimate_ns: float, lut: float) -> float:
        """The period to expect of a design of ``lut`` LUTs that is estimated at ``estimate_ns``.

        >>> RouteModel(1.2, 0.1).period_ns(5.0, 4000.0)
        7.0
        """
        return estimate_ns * (self.base + self.per_octave * _octaves(lut))

    def error(self, design: RoutedDesign) -> float:
        """Expected over routed period, less 1."""
        return self.period_ns(design.estimate_ns, design.lut) / design.routed_ns - 1


ROUTE_MODEL = RouteModel(1.380)
"""Fitted to all routed designs of the table."""


def fit(designs: Sequence[RoutedDesign], *, by_size: bool) -> RouteModel:
    """The model with the least sum of squared relative errors on ``designs``.

    :param by_size: whether the factor may depend on the number of LUTs, which needs two designs.
    """
    share = np.array([design.estimate_ns / design.routed_ns for design in designs])
    octaves = np.array([_octaves(design.lut) for design in designs])
    columns = [share, share * octaves] if by_size else [share]
    found = np.linalg.lstsq(np.stack(columns, axis=1), np.ones(len(designs)), rcond=None)[0]
    return RouteModel(*(float(number) for number in found))


def left_out_errors(designs: Sequence[RoutedDesign], *, by_size: bool) -> list[float]:
    """The error on each design of the model that is fitted to those of other names."""
    return [
        fit([other for other in designs if other.name != design.name], by_size=by_size).error(
            design
        )
        for design in designs
    ]


def _octaves(lut: float) -> float:
    return math.log2(max(lut, 1.0) / _UNIT_LUT)
