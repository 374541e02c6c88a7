"""Latest endpoints of a routed netlist, by the modules where their paths start and end.

    python -m experiments.routed_designs lenet5-410x-small --keep DIR
    python -m experiments.routed_paths DIR/lenet5-410x-small --seed 1 --limit 8

Names are cut where synthesis made them up, so a row stands for the registers of one module.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from pyadmm.eda.routed_netlist import read_wires, timed_netlist
from pyadmm.eda.sta import ROUTED_SERIES7, LatePath, late_paths

_MADE_UP = re.compile(r"\$(?:abc|auto|procdff|aiger)\S*")
_NAME_CHARACTERS = 80


def paths(folder: Path, seed: int, limit_ns: float) -> list[LatePath]:
    """The late paths of the netlist that routing with ``seed`` left in ``folder``."""
    routed = json.loads((folder / f"seed{seed}.json").read_text(encoding="utf-8"))
    with (folder / f"seed{seed}.sdf").open(encoding="utf-8") as sdf:
        netlist, wires = timed_netlist(routed, read_wires(sdf))
    return late_paths(netlist, ROUTED_SERIES7, limit_ns, wires)


def short(cell: str) -> str:
    """Type and module of a cell.

    >>> short(r"FDRE.D $flatten\\\\design.\\\\pack.$auto$ff.cc:337:slice$7")
    'FDRE.D design.pack'
    """
    named = _MADE_UP.sub("", cell.replace("$flatten", "")).replace("\\", "")
    return named.rstrip(".")[:_NAME_CHARACTERS]


def grouped(found: Iterable[LatePath]) -> dict[tuple[str, str], list[LatePath]]:
    """Paths by the modules of their ends; the latest group first."""
    groups: dict[tuple[str, str], list[LatePath]] = defaultdict(list)
    for path in found:
        groups[short(path.start), short(path.end)].append(path)
    return groups


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: a line a group, of its latest path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="kept files of a design")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=float, default=8.0, metavar="NS")
    options = parser.parse_args(arguments)
    groups = grouped(paths(options.folder, options.seed, options.limit))
    print(f"{sum(map(len, groups.values()))} endpoints later than {options.limit:g} ns")
    for (start, end), members in groups.items():
        latest = members[0]
        print(
            f"{latest.period_ns:.2f} ns, {len(members)} endpoints, {latest.levels} levels, "
            f"longest wire {latest.longest_wire_ns:.2f} ns: {start} -> {end}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
