"""The period to expect when routed: its fit, its error, and that its numbers are those of the table."""

from __future__ import annotations

import pytest

from experiments.routed_calibration import calibrations, main, routed_designs
from pyadmm.eda.route_model import ROUTE_MODEL, RoutedDesign, RouteModel, fit, left_out_errors

TRUE = RouteModel(per_side=0.04)


def design(lut: float, estimate_ns: float, off: float = 1.0, name: str = "") -> RoutedDesign:
    routed_ns = TRUE.period_ns(estimate_ns, lut) * off
    return RoutedDesign(name or f"{lut}", lut, estimate_ns, routed_ns)


def test_the_fit_finds_the_numbers_that_made_the_designs() -> None:
    designs = [design(500, 5), design(2000, 6), design(16000, 7)]
    assert fit(designs, by_size=True) == RouteModel(1.0, pytest.approx(0.04))
    slower = [RoutedDesign("", lut, 5.0, 6.5) for lut in (100, 10000)]
    assert fit(slower, by_size=False) == RouteModel(pytest.approx(1.3), 0.0)


def test_a_design_says_nothing_of_its_own_error() -> None:
    """Three designs of one model, and two states of a fourth that are twice as slow."""
    odd = [design(lut, 6, off=2.0, name="odd") for lut in (4000, 5000)]
    errors = left_out_errors(
        [design(500, 5), design(2000, 6), design(16000, 7), *odd], by_size=True
    )
    assert errors[3:] == pytest.approx([-0.5, -0.5])
    assert max(errors[:3]) > 0.1


def test_the_shipped_numbers_are_fitted_to_the_routed_designs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where this fails: python -m experiments.routed_calibration, then ROUTE_MODEL."""
    best, other = calibrations([design for _, design in routed_designs()])
    assert best.rms <= other.rms
    assert ROUTE_MODEL.scale == pytest.approx(best.model.scale, abs=0.001)
    assert ROUTE_MODEL.per_side == pytest.approx(best.model.per_side, abs=0.0001)
    assert main() == 0
    assert f"leave-one-out error {best.rms:.0%} root mean square" in capsys.readouterr().out
