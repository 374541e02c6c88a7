"""Data of the template of ``report.html``: tiles, charts, tables and their cells."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from markupsafe import Markup


@dataclass(frozen=True)
class Cell:
    """One table cell: its text, a smaller second line, a basis, a bar of ``share`` per cent."""

    text: str
    note: str = ""
    basis: str = ""
    share: int | None = None
    style: str = ""


@dataclass(frozen=True)
class Row:
    """One row of a table of the page."""

    cells: tuple[Cell, ...]
    style: str = ""


@dataclass(frozen=True)
class Table:
    """``numeric`` holds the numbers of the right-aligned columns."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    numeric: frozenset[int] = frozenset()
    note: str = ""
    empty: str = "Nothing is recorded: unknown."

    def known(self) -> Table:
        """The table without columns in which nothing is known, such as of steps that did not run."""
        rows = [row.cells for row in self.rows]
        kept = [
            place
            for place in range(len(self.columns))
            if not place or not rows or any(cells[place].style != "unknown" for cells in rows)
        ]
        return replace(
            self,
            columns=tuple(self.columns[place] for place in kept),
            rows=tuple(Row(tuple(r.cells[p] for p in kept), r.style) for r in self.rows),
            numeric=frozenset(new for new, old in enumerate(kept) if old in self.numeric),
        )


@dataclass(frozen=True)
class Tile:
    """A headline figure; ``basis`` is shown as a tag."""

    label: str
    value: str
    note: str
    extra: str = ""
    basis: str = ""


@dataclass(frozen=True)
class Chart:
    """One chart of the page with its title and caption."""

    title: str
    caption: str
    svg: Markup | None


@dataclass(frozen=True)
class Page:
    """Everything the template lays out."""

    title: str
    subtitle: str
    alerts: tuple[tuple[str, str], ...]
    tiles: tuple[Tile, ...]
    done: tuple[str, ...]
    needs_vendor_tools: tuple[str, ...]
    training: tuple[Chart, ...]
    layer_charts: tuple[Chart, ...]
    curves: Chart | None
    hardware_chart: Chart
    tables: dict[str, Table] = field(default_factory=dict)
