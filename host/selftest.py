"""``python -m host.selftest``: the board gives the golden vectors' logits, bit for bit.

Exit status: 0 all equal, 1 a logit differs, 2 the test could not run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .accelerator import Accelerator, load_vectors
from .benchmark import report_errors
from .bundle import add_bundle_arguments, open_bundle
from .cpu import Network


@dataclass(frozen=True)
class SelfTest:
    """Outcome for one model: golden images, those that the board and the CPU got wrong.

    :param correct_labels: images that were classified right; None where their classes are unknown.
    """

    model: str
    images: int
    board_wrong: int
    cpu_wrong: int
    correct_labels: int | None

    @property
    def passed(self) -> bool:
        """Whether every logit of every image is the golden one."""
        return self.board_wrong == self.cpu_wrong == 0


def check(accelerator: Accelerator) -> SelfTest:
    """Run the golden vectors of the loaded model on the board and on the CPU."""
    model = accelerator.loaded()
    vectors = load_vectors(model)
    images, golden = vectors["images"], vectors["logits"]
    board = accelerator.logits(images)
    cpu = Network(model).logits(images)
    labels = vectors.get("labels")
    return SelfTest(
        model=model.name,
        images=len(images),
        board_wrong=int(np.count_nonzero((board != golden).any(1))),
        cpu_wrong=int(np.count_nonzero((cpu != golden).any(1))),
        correct_labels=None if labels is None else int((board.argmax(1) == labels).sum()),
    )


def describe(result: SelfTest) -> str:
    """The outcome in a line."""
    labels = ""
    if result.correct_labels is not None:
        labels = f"; {result.correct_labels} classified right"
    return (
        f"{'pass' if result.passed else 'FAIL'} {result.model}: {result.images} golden images, "
        f"{result.board_wrong} differ on the board, {result.cpu_wrong} on the CPU{labels}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m host.selftest", description="board = golden?")
    add_bundle_arguments(parser)
    options = parser.parse_args(arguments)
    results: list[SelfTest] = []

    def run() -> None:
        with open_bundle(options) as accelerator:
            names = (
                [options.model] if options.model else [m.name for m in accelerator.manifest.models]
            )
            for name in names:
                accelerator.load_model(name)
                result = check(accelerator)
                results.append(result)
                print(describe(result))

    status = report_errors(run)
    return status or int(not all(result.passed for result in results))


if __name__ == "__main__":
    sys.exit(main())
