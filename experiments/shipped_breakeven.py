"""``python -m experiments.shipped_breakeven``: measure the break-even records of the package.

The layers are those of the networks that pyadmm ships, with the bits of their presets or recipes.
Records that are at hand (package or cache) are taken, so an interrupted run goes on. What
``--network``, ``--board`` and ``--family`` leave out is not measured, but its records at hand are
kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

from pyadmm.breakeven import BreakEven, LayerCase, Settings, measurements
from pyadmm.breakeven.settings import PrunedFamily
from pyadmm.breakeven.store import SHIPPED_FILE, known, ship
from pyadmm.cli.command import guarded
from pyadmm.flow.config import FlowConfig, read_config
from pyadmm.flow.console import Reporter
from pyadmm.flow.session import Session
from pyadmm.hardware.boards import Board, board_names

_RECIPES = Path(__file__).parents[1] / "recipes"
NETWORKS = {
    "lenet5-quick": FlowConfig(model="lenet5", preset="quick"),
    "lenet5-standard": FlowConfig(model="lenet5", preset="standard"),
    "resnet20": read_config(_RECIPES / "resnet20-cifar10.yaml"),
}
"""Networks with a shipped file, as their runs are configured."""

FAMILIES: tuple[PrunedFamily, ...] = get_args(PrunedFamily)
_Record = tuple[LayerCase, Board, BreakEven]


def cases(network: str, board: str) -> tuple[Sequence[LayerCase], Board]:
    """Every layer of a network on a board."""
    config = NETWORKS[network].override({"board": board}, "shipped table")
    session = Session(config, Reporter())
    return session.layer_cases, session.board


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, then write the table; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", nargs="*", default=board_names(), help="default: all")
    parser.add_argument(
        "--network", nargs="*", choices=NETWORKS, default=list(NETWORKS), help="default: all"
    )
    parser.add_argument(
        "--family", nargs="*", choices=FAMILIES, default=FAMILIES[:1], help="default: sparse"
    )
    options = parser.parse_args(arguments)
    return guarded(lambda: _make(options.board, options.network, options.family))


def _make(boards: Sequence[str], networks: Sequence[str], families: Sequence[PrunedFamily]) -> int:
    records: list[_Record] = []
    for network in NETWORKS:
        for name in board_names():
            layers, board = cases(network, name)
            for family in FAMILIES:
                wanted = network in networks and name in boards and family in families
                take = _measured if wanted else _at_hand
                records += take(layers, board, family)
    ship(records, Settings())
    print(f"wrote {SHIPPED_FILE.name}: {SHIPPED_FILE.stat().st_size:,} bytes")
    return 0


def _measured(layers: Sequence[LayerCase], board: Board, family: PrunedFamily) -> Iterator[_Record]:
    for case in layers:
        found = measurements([case], board, family=family)
        for result, source in zip(found.results, found.sources, strict=True):
            ratio = "none" if result.ratio is None else f"{result.ratio:.2f}x"
            print(f"{case.label} on {board.name}, {family}: {ratio} ({source})", flush=True)
            yield case, board, result
        for gap in found.missing:
            print(gap.text, flush=True)


def _at_hand(layers: Sequence[LayerCase], board: Board, family: PrunedFamily) -> Iterator[_Record]:
    for case in layers:
        if (found := known(case, board, Settings(), family)) is not None:
            yield case, board, found[0]


if __name__ == "__main__":
    sys.exit(main())
