"""Numbers and facts of ``report.html`` in words."""

from __future__ import annotations

from collections.abc import Sequence

from pyadmm.report.html_page import Cell
from pyadmm.report.record import Accuracy, Quantity

UNKNOWN = "unknown"


def number(value: float | None, pattern: str = "{:,.0f}") -> str:
    """``value`` in ``pattern``, or :data:`UNKNOWN`."""
    return UNKNOWN if value is None else pattern.format(value)


def times(value: float | None) -> str:
    """A ratio as ``×85.4``.

    >>> times(85.4321), times(1913.2), times(None)
    ('×85.4', '×1,913', 'unknown')
    """
    if value is None:
        return UNKNOWN
    return f"×{value:,.0f}" if value >= 1000 else f"×{value:.3g}"


def duration(seconds: float | None) -> str:
    """Wall time in words, with the unit that fits.

    >>> duration(2.04), duration(402.7), duration(4000)
    ('2.0 s', '6 min 43 s', '1 h 6 min')
    """
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def percent(accuracy: Accuracy | None) -> str:
    """``99.07 % ± 0.10`` over its images."""
    if accuracy is None:
        return UNKNOWN
    error = 100 * accuracy.standard_error
    return f"{100 * accuracy.value:.2f} % ± {error:.2f} ({accuracy.images:,} images)"


def quantity_cell(quantity: Quantity | None, pattern: str = "{:,.0f}") -> Cell:
    """A cell with a figure and its basis."""
    if quantity is None:
        return text_cell(None)
    return Cell(pattern.format(quantity.value), basis=quantity.basis)


def text_cell(text: str | None, note: str = "") -> Cell:
    """A cell with a text, or the word for unknown facts."""
    unknown = text is None or text in ("", UNKNOWN)
    return Cell(UNKNOWN if unknown else str(text), note, style="unknown" if unknown else "")


def scales_text(scales: Sequence[float]) -> str:
    """The weight scales of a layer: one, or the range of those of its channels."""
    if not scales:
        return UNKNOWN
    if len(scales) == 1:
        return f"{scales[0]:.4g}"
    return f"{min(scales):.3g} … {max(scales):.3g} ({len(scales)} channels)"


def unbroken(text: str) -> str:
    """``text`` with spaces that do not break lines."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def decimals(percent: float | None) -> int:
    """Decimals that a published accuracy was printed with: one, or two where it needs them."""
    return 1 if percent is None or round(percent, 1) == percent else 2
