"""``python -m experiments.shipped_breakeven``: measure the break-even records of the package.

The layers are those of the networks that pyadmm ships, with the bits of their presets, on every
board. Records that are at hand (package or cache) are taken, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from pyadmm.breakeven import BreakEven, LayerCase, Settings, measurements
from pyadmm.breakeven.store import SHIPPED_FILE, ship
from pyadmm.cli.command import guarded
from pyadmm.flow.config import FlowConfig
from pyadmm.flow.console import Reporter
from pyadmm.flow.session import Session
from pyadmm.hardware.boards import Board, board_names

NETWORKS = (
    FlowConfig(model="lenet5", preset="quick"),
    FlowConfig(model="lenet5", preset="standard"),
    FlowConfig(model="resnet20", compress={"weight_bits": 4, "activation_bits": 8}),
)
"""Networks with a shipped file, as their runs are configured."""


def cases(boards: Sequence[str], networks: int) -> Iterator[tuple[LayerCase, Board]]:
    """Every layer of the first ``networks`` networks on every board."""
    for board in boards:
        for config in NETWORKS[:networks]:
            session = Session(config.override({"board": board}, "shipped table"), Reporter())
            for case in session.layer_cases:
                yield case, session.board


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing, then write the table; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--board", action="append", help="default: all")
    parser.add_argument("--networks", type=int, default=len(NETWORKS), help="only the first N")
    options = parser.parse_args(arguments)
    return guarded(lambda: _make(options.board or board_names(), options.networks))


def _make(boards: Sequence[str], networks: int) -> int:
    records: list[tuple[LayerCase, Board, BreakEven]] = []
    for case, board in cases(boards, networks):
        found = measurements([case], board)
        for result, source in zip(found.results, found.sources, strict=True):
            ratio = "none" if result.ratio is None else f"{result.ratio:.2f}x"
            print(f"{case.label} on {board.name}: {ratio} ({source})", flush=True)
            records.append((case, board, result))
        for gap in found.missing:
            print(gap.text, flush=True)
    ship(records, Settings())
    print(f"wrote {SHIPPED_FILE.name}: {SHIPPED_FILE.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
