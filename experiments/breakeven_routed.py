"""Break-even at routed clocks beside break-even after synthesis: a row a layer.

    python -m experiments.breakeven_routed                      the four layers of LeNet-5 quick
    python -m experiments.breakeven_routed --layer alexnet.conv4 --seeds 3

writes ``experiments/results/breakeven_routed.csv``. Records are those of the package, where it has them;
every shape of kernel is placed and routed with openXC7, as ``pyadmm breakeven --basis post-route`` does.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pyadmm.breakeven import BreakEven, KernelPoint, LayerCase, layer_case, measurements
from pyadmm.breakeven.post_route import at_routed_clocks
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.eda.route_flow import RouteSettings
from pyadmm.flow.config import FlowConfig
from pyadmm.flow.console import Reporter
from pyadmm.flow.session import Session
from pyadmm.hardware.boards import load_board

RESULTS = Path(__file__).parent / "results" / "breakeven_routed.csv"


@dataclass(frozen=True)
class Row:
    """One layer at both bases.

    :param dense: rows x groups of the dense kernel.
    :param sparse: those of the sparse kernels on the curve.
    :param synthesised: break-even ratio at estimated clocks; ``none``: below 1 up to 90 % pruned.
    :param routed: the same at routed clocks.
    """

    layer: str
    board: str
    bits: str
    dense: str
    dense_lut: float
    dense_estimate_ns: float
    dense_routed_ns: float
    sparse: str
    sparse_estimate_ns: str
    sparse_routed_ns: str
    synthesised: str
    routed: str
    seeds: int
    tool: str


def row(before: BreakEven, after: BreakEven, seeds: int) -> Row:
    """A record and the same record at routed clocks as one row."""
    sparse = {_shape(k): k for k in _sparse(before)}
    routed = {_shape(k): k for k in _sparse(after)}
    return Row(
        before.layer,
        before.board,
        f"{before.weight_bits}/{before.activation_bits}",
        _shape(before.dense),
        before.dense.resources.lut,
        _period(before.dense),
        _period(after.dense),
        " ".join(sparse),
        _periods(sparse.values()),
        _periods(routed.values()),
        _ratio(before),
        _ratio(after),
        seeds,
        f"{after.tool} {after.version}",
    )


def _sparse(record: BreakEven) -> list[KernelPoint]:
    return [point.sparse for point in record.curve if point.sparse is not None]


def _shape(kernel: KernelPoint) -> str:
    return f"{kernel.config.tile_rows}x{kernel.config.groups}"


def _period(kernel: KernelPoint) -> float:
    assert kernel.clock_estimate_ns is not None
    return round(kernel.clock_estimate_ns, 2)


def _periods(kernels: Iterable[KernelPoint]) -> str:
    return " ".join(f"{_period(kernel):.2f}" for kernel in kernels)


def _ratio(record: BreakEven) -> str:
    return "none" if record.ratio is None else f"{record.ratio:.2f}"


def store(rows: Sequence[Row], path: Path = RESULTS) -> None:
    """Put ``rows`` into the table; a row of the same layer and board is replaced."""
    kept = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            kept = list(csv.DictReader(file))
    new = {(each.layer, each.board) for each in rows}
    kept = [each for each in kept if (each["layer"], each["board"]) not in new]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Row.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted([*kept, *map(asdict, rows)], key=lambda each: each["layer"]))
    write_atomic(path, text.getvalue())


def _cases(labels: Sequence[str] | None) -> Sequence[LayerCase]:
    if labels:
        return [layer_case(label) for label in labels]
    # Small kernels first: each layer has its row as soon as it is routed.
    return sorted(Session(FlowConfig(), Reporter()).layer_cases, key=lambda case: case.spec.macs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; exit status 1 where a layer has no result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layer", action="append", metavar="NETWORK.LAYER")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="layers of LeNet-5 to route")
    parser.add_argument("--board", default="pynq-z2")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args(arguments)
    board, status = load_board(options.board), 0
    settings = RouteSettings(tuple(range(1, options.seeds + 1)))
    for case in _cases(options.layer):
        if options.only and case.spec.name not in options.only:
            continue
        try:
            found = measurements([case], board)
            status |= not found.results
            for record in found.results:
                made = row(record, at_routed_clocks(record, case, board, settings), options.seeds)
                store([made])
                print(made)
        except PyadmmError as error:
            print(f"{case.label}: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
