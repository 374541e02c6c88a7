"""Means and pairs of the ablation of ADMM, and the tables of ``docs/admm.md``.

``python -m experiments.admm_table`` writes what stands there between the two marks of each table
anew, from ``experiments/results/admm_ablation.csv`` and ``admm_nn.csv``.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.admm_variants import VARIANTS
from experiments.page_tables import read, write_tables

RESULTS = Path(__file__).parent / "results"
ABLATION = RESULTS / "admm_ablation.csv"
PAPER = RESULTS / "admm_nn.csv"
DOCS = Path("docs/admm.md")
OURS = "ours"
"""The variant that all others are compared with."""
_MEASURES = (
    ("val_loss", 4, 1),
    ("val_accuracy", 2, 100),
    ("spare_loss", 4, 1),
    ("train_loss", 4, 1),
    ("test_accuracy", 2, 100),
    ("bytes", 0, 1),
    ("cpu_minutes", 2, 1),
)
"""Columns of the table of means, their digits and their unit."""
_COMPARED = (
    ("val_loss", 4, 1),
    ("spare_loss", 4, 1),
    ("val_accuracy", 2, 100),
    ("test_accuracy", 2, 100),
)
"""The same of the table of pairs."""
_REPRODUCED = (
    ("nnz", 0, 1),
    ("weight_bytes", 0, 1),
    ("bytes", 0, 1),
    ("validation_accuracy", 2, 100),
    ("test_accuracy", 2, 100),
)
"""The same of the table of the paper's rows."""
_PAPER = {
    "admm-nn-85": "5,060 weights (85x), 99.2 %",
    "admm-nn-167": "2,580 weights (167x), 99.0 %",
    "admm-nn": "2,570 weights, 890 bytes of weights (1,910x), 99.0 %",
}
"""Of LeNet-5 (Ren et al., ASPLOS 2019); the first two prune alone."""

Row = Mapping[str, Any]


def numbers(row: Mapping[str, str]) -> dict[str, Any]:
    """A row of the CSV file with numbers for what is one, and ``None`` for what is empty."""
    texts = "network", "variant", "preset", "pruning"
    return {
        name: text if name in texts else float(text) if text else None for name, text in row.items()
    }


def page_tables() -> dict[str, str]:
    """The tables of the repository's rows."""
    return tables(*([numbers(row) for row in read(path)] for path in (ABLATION, PAPER)))


def by_variant(rows: Iterable[Row]) -> dict[tuple[str, float, str], list[Row]]:
    """The rows of each network, ratio and variant, in the order of :data:`VARIANTS`."""
    order = list(VARIANTS)

    def place(row: Row) -> tuple[str, float, int, int]:
        return row["network"], row["ratio"], order.index(row["variant"]), row["seed"]

    groups: dict[tuple[str, float, str], list[Row]] = {}
    for row in sorted(rows, key=place):
        groups.setdefault((row["network"], row["ratio"], row["variant"]), []).append(row)
    return groups


def means_table(rows: Iterable[Row]) -> str:
    """Means and standard errors over the seeds, as Markdown."""
    lines = [
        "| network, ratio, bits | variant | seeds | val. cross-entropy | val., % | spare loss | "
        "train loss | test, % | bytes | CPU min |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    before = None
    for (network, ratio, variant), group in by_variant(rows).items():
        where = f"{network}, {ratio:g}x, {group[0]['weight_bits']:g}"
        cells = (_mean([row[name] for row in group], *unit) for name, *unit in _MEASURES)
        start = "" if where == before else where
        lines.append(_line(start, VARIANTS[variant][0], str(len(group)), *cells))
        before = where
    return "\n".join(lines)


def pairs_table(rows: Iterable[Row]) -> str:
    """``ours`` less every other variant: mean and standard error over the seeds of both."""
    lines = [
        "| network, ratio | ADMM less … | pairs | val. cross-entropy | spare loss | val., points | "
        "test, points |",
        "|---|---|---|---|---|---|---|",
    ]
    groups, before = by_variant(rows), None
    for (network, ratio, variant), group in groups.items():
        pairs = _pairs(groups.get((network, ratio, OURS), []), group)
        if variant == OURS or not pairs:
            continue
        where = f"{network}, {ratio:g}x"
        cells = (_mean(differences(pairs, name), *unit, sign="+") for name, *unit in _COMPARED)
        start = "" if where == before else where
        lines.append(_line(start, VARIANTS[variant][0], str(len(pairs)), *cells))
        before = where
    return "\n".join(lines)


def _pairs(ours: Iterable[Row], others: Iterable[Row]) -> list[tuple[Row, Row]]:
    """The rows of seeds that both have."""
    own = {row["seed"]: row for row in ours}
    return [(own[row["seed"]], row) for row in others if row["seed"] in own]


def differences(pairs: Iterable[tuple[Row, Row]], column: str) -> list[float | None]:
    """First less second of every pair; ``None`` where one of them has no value."""
    return [
        None if a[column] is None or b[column] is None else a[column] - b[column] for a, b in pairs
    ]


def _mean(values: Iterable[float | None], digits: int, unit: float, sign: str = "") -> str:
    """Mean, and its standard error where there are several values; empty where there is none.

    >>> _mean([1.0, None, 3.0], 1, 1)
    '2.0 ± 1.0'
    >>> _mean([-0.25], 1, 100, sign="+")
    '−25.0'
    """
    known = [unit * value for value in values if value is not None]
    if not known:
        return ""
    mean = f"{statistics.mean(known):{sign},.{digits}f}".replace("-", "−")
    if len(known) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(known) / len(known) ** 0.5:.{digits}f}"


def _line(*cells: str) -> str:
    """A line of a table, empty cells with one space."""
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def paper_table(rows: Sequence[Row]) -> str:
    """ADMM-NN's rows of LeNet-5: what the paper has, and means and standard errors of our seeds."""
    lines = [
        "| preset | paper | seeds | weights | bytes of weights alone | whole file | val., % | test, % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for preset, paper in _PAPER.items():
        own = [row for row in rows if row["preset"] == preset]
        if own:
            cells = (_mean([row[name] for row in own], *unit) for name, *unit in _REPRODUCED)
            lines.append(_line(f"`{preset}`", paper, str(len(own)), *cells))
    return "\n".join(lines)


def tables(rows: Sequence[Row], reproduced: Sequence[Row]) -> dict[str, str]:
    """All tables of the page, by the name of their marks.

    :param reproduced: rows of ``admm_nn.csv``.
    """
    return {
        "ablation": means_table(rows),
        "pairs": pairs_table(rows),
        "paper": paper_table(reproduced),
    }


def main() -> int:
    """Write the tables; gives the exit status."""
    write_tables(DOCS, page_tables())
    return 0


if __name__ == "__main__":
    sys.exit(main())
