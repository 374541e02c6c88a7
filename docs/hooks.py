"""MkDocs hook: parts of pages that are made from the commands and from stored results.

A page holds one of :data:`MARKS` where such a part belongs.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyadmm.breakeven import BreakEven
from pyadmm.breakeven.store import shipped_records
from pyadmm.cli.main import COMMANDS, command, usage

_KERNELS = {"sparse": "unstructured", "balanced": "windows", "shared": "shared"}
_FAMILIES = Path(__file__).parents[1] / "experiments" / "results" / "breakeven.csv"
_ROLE = re.compile(r":(?:mod|class|meth|func|attr|data|exc):<code>(?:~[\w.]*\.)?([^<]*)</code>")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace every mark of :data:`MARKS` by the text that it stands for."""
    for mark, text in MARKS.items():
        if mark in markdown:
            markdown = markdown.replace(mark, text())
    return markdown


def on_page_content(html: str, **_: Any) -> str:
    """Show the last part of a name instead of a Sphinx role, such as ``:class:`~a.B```."""
    return _ROLE.sub(r"<code>\1</code>", html)


def commands() -> str:
    """The help of ``pyadmm`` and of every subcommand."""
    parts = [_block(usage())]
    parts += [
        f"## pyadmm {name}\n\n{_block(command(name).parser().format_help())}" for name in COMMANDS
    ]
    return "\n\n".join(parts)


def breakeven_records(records: Iterable[BreakEven] | None = None) -> str:
    """A table of the break-even records of the package: a row for a layer, a column for a board."""
    records = list(shipped_records().values() if records is None else records)
    boards = sorted({record.board for record in records})
    found: dict[tuple[str, str, str, str], dict[str, str]] = {}
    for record in records:
        bits = f"{record.weight_bits} / {record.activation_bits}"
        place = {"resident": "on chip", "streamed": "in DDR"}[record.storage]
        row = found.setdefault((record.layer, bits, place, _KERNELS[record.family]), {})
        row[record.board] = "none" if record.ratio is None else f"{record.ratio:.2f}×"
    rows = [
        [*key, *(row.get(board, "–") for board in boards)] for key, row in sorted(found.items())
    ]
    return _table(["layer", "weight / activation bits", "weights", "kernels", *boards], rows)


def breakeven_families(rows: Iterable[Mapping[str, str]] | None = None) -> str:
    """A table of the measured kernel families: a row for a board and a layer."""
    if rows is None:
        with _FAMILIES.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    measured: dict[tuple[str, str], dict[str, Mapping[str, str]]] = {}
    for row in (row for row in rows if row["dense_lut"]):  # others say why nothing was measured
        measured.setdefault((row["board"], row["layer"]), {})[row["family"]] = row
    lines = []
    for key, found in sorted(measured.items(), key=lambda item: (item[0][0] != "pynq-z2", item[0])):
        families = ("sparse", "balanced", "shared")
        ratios = [_ratio(found[name]) if name in found else "–" for name in families]
        best = next(found[name] for name in ("shared", "balanced", "sparse") if name in found)
        dense = f"{best['dense_rows']} × {best['dense_groups']}, {int(best['dense_lut']):,}"
        shown = (best[f"speedup_{portion}"] for portion in (50, 70, 80, 90))
        speedups = " / ".join(f"{float(text):.2f}" if text else "–" for text in shown)
        lines.append([*key, dense, *ratios, speedups])
    head = ["board", "layer", "dense kernel: rows × groups, LUTs", "unstructured", "windows"]
    return _table([*head, "shared", "speedup at 50 / 70 / 80 / 90 % pruned"], lines)


def _ratio(row: Mapping[str, str]) -> str:
    return f"{float(row['ratio']):.2f}×" if row["ratio"] else "none"


MARKS: dict[str, Callable[[], str]] = {
    "<!-- commands -->": commands,
    "<!-- break-even records -->": breakeven_records,
    "<!-- break-even families -->": breakeven_families,
}
"""The mark of each generated part and the function that makes its Markdown."""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"
