"""Break-even table of LeNet-5 and AlexNet conv4 on one board, cold and cached, with its run times.

``python benchmarks/breakeven.py [BOARD]`` works in an empty cache of its own.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from pyadmm.breakeven import BreakEven, break_even, layer_case, model_cases
from pyadmm.hardware.boards import load_board

GOAL = {0.5: 1.7, 0.7: 2.8, 0.8: 4.2, 0.9: 8.3}
"""Speedups asked for at portions pruned, AlexNet conv4 on the xc7z020; break-even at most 1.3."""


def table(board_name: str) -> tuple[list[BreakEven], float]:
    """LeNet-5's records and the seconds they took."""
    start = time.monotonic()
    board = load_board(board_name)
    results = [break_even(case, board) for case in model_cases("lenet5")]
    return results, time.monotonic() - start


def show(result: BreakEven) -> None:
    """One line per record."""
    ratio = "none" if result.ratio is None else f"{result.ratio:.2f}x"
    print(f"{result.layer} on {result.board}: {ratio} ({result.basis}, {result.version})")


def main() -> None:
    """Measure the break-even of the layers and print it."""
    board_name = sys.argv[1] if len(sys.argv) > 1 else "pynq-z2"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYADMM_CACHE"] = str(Path(folder))
        results, cold = table(board_name)
        _, cached = table(board_name)
        for result in results:
            show(result)
        print(f"LeNet-5 table: {cold:.0f} s cold (goal 300), {cached:.1f} s cached (goal 5)")
        conv4 = break_even(layer_case("alexnet.conv4"), load_board(board_name))
        show(conv4)
        for portion, goal in GOAL.items():
            print(f"  {portion:.0%} pruned: {conv4.speedup_at(portion)} (goal {goal})")


if __name__ == "__main__":
    main()
