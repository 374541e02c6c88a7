"""Tables of documentation pages that are made from measured rows."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def with_tables(page: Path, tables: Mapping[str, str]) -> str:
    """The text of ``page`` with these contents between ``<!-- NAME -->`` and ``<!-- end of NAME -->``.

    :raises PyadmmError: where a mark is missing.
    """
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        if text.count(first) != 1 or text.count(last) != 1:
            raise PyadmmError(f"{page}: must have the marks {first.strip()} and {last} once each")
        before, rest = text.split(first)
        text = f"{before}{first}\n{table}\n\n{last}{rest.split(last)[1]}"
    return text


def write_tables(page: Path, tables: Mapping[str, str]) -> None:
    """Replace the tables of ``page``."""
    write_atomic(page, with_tables(page, tables))
