"""ASCII tables, ``+---+`` borders and ``| cell |`` rows, as HLS and Vivado print them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyadmm.eda.parsers.source import Source

_BORDER = re.compile(r"\+[-+=]+\+")


@dataclass(frozen=True)
class Table:
    """One table of a text report.

    :param title: the nearest text line above it.
    :param heads: column names; header rows of the full width, joined per column.
    :param raw_rows: cells of the rows, with their leading blanks (a tree's indentation).
    :param full_heads: the same with the header cells that span several columns, which stand in
        each of them: ``Latency (cycles) min``.
    """

    title: str
    heads: tuple[str, ...]
    raw_rows: tuple[tuple[str, ...], ...]
    full_heads: tuple[str, ...] = ()

    def column(self, *names: str) -> int | None:
        """Index of the first column that has one of ``names``, with or without spanning heads."""
        for heads in (self.heads, self.full_heads):
            for index, head in enumerate(heads):
                if head in names:
                    return index
        return None

    def rows(self, source: Source) -> tuple[tuple[str, ...], ...]:
        """The rows, all as wide as the heads.

        :raises ReportError: where one is not. Tables that nobody reads are not held to this:
            an operator ``|`` in a table of expressions looks like a border.
        """
        for row in self.raw_rows:
            if len(row) != len(self.heads):
                source.fail(
                    self.title or self.heads[0],
                    f"a row has {len(row)} cells instead of {len(self.heads)}",
                )
        return self.raw_rows


def read_tables(source: Source) -> list[Table]:
    """All tables of the text.

    :raises ReportError: for a table that is cut off.
    """
    tables: list[Table] = []
    blocks: list[list[str]] | None = None
    title = waiting = border = ""
    lines = [line.strip() for line in source.text.split("\n")]
    for here, following in zip(lines, [*lines[1:], ""], strict=True):
        if blocks is None:
            if _BORDER.fullmatch(here):
                blocks, waiting, border = [[]], title, here
            elif here.strip("-= "):
                title = here
        elif here.startswith("|"):
            blocks[-1].append(here)
        elif not here.startswith("+"):
            source.fail(waiting or "table", "a table has no end, so the report is cut off")
        elif not _BORDER.fullmatch(here):
            continue  # cosim prints its RTL and Status heads within a border
        elif len(here) != len(border):
            source.fail(waiting or "table", "a border is cut off")
        elif following.startswith(("|", "+")):
            blocks.append([])
        else:
            tables.append(_table(source, waiting, border, blocks))
            blocks = None
    if blocks is not None:
        source.fail(waiting or "table", "a table has no end, so the report is cut off")
    return tables


def _table(source: Source, title: str, border: str, blocks: list[list[str]]) -> Table:
    heads = [_cells(source, title, line) for line in blocks[0]]
    rows = [_cells(source, title, line) for block in blocks[1:] for line in block]
    return Table(title, _heads(heads), tuple(rows), _full_heads(border, blocks[0]))


def _full_heads(border: str, lines: list[str]) -> tuple[str, ...]:
    """Column names with spanning heads in each column that they cover; none where lines differ.

    >>> _full_heads("+---+---+---+", ["|Latency|   |", "|min|max|LUT|"])
    ('Latency min', 'Latency max', 'LUT')
    """
    starts = [place for place, sign in enumerate(border[:-1]) if sign == "+"]
    names: list[list[str]] = [[] for _ in starts]
    for line in lines:
        bars = [place for place, sign in enumerate(line[:-1]) if sign == "|"]
        if len(line) != len(border) or not set(bars) <= set(starts):
            return ()
        for column, start in enumerate(starts):
            first = max(bar for bar in bars if bar <= start)
            text = line[first + 1 :].partition("|")[0].strip()
            names[column] += [text] if text else []
    return tuple(" ".join(parts) for parts in names)


def _heads(rows: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Column names; header cells that span several columns are left out."""
    if not rows:
        return ()
    full = [row for row in rows if len(row) == len(rows[-1])]
    columns = zip(*full, strict=True)
    return tuple(" ".join(part.strip() for part in column if part.strip()) for column in columns)


def _cells(source: Source, title: str, line: str) -> tuple[str, ...]:
    if not line.endswith("|") or len(line) < 2:
        source.fail(title or "table", "a row is cut off")
    return tuple(cell.rstrip() for cell in line[1:-1].split("|"))
