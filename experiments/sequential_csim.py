"""Whole images on the C++ twin of the layer-sequential array: ``python -m experiments.sequential_csim NETWORK…``.

Programs and weights are those of :mod:`experiments.sequential`. Every output is compared with the golden model. The
C++ is compiled with g++ and counts no cycles; it shows that the integers are right. Rows go to
``results/sequential_csim.csv``.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from experiments.sequential import subject_of
from experiments.sequential_imports import SHIPPED
from experiments.sequential_networks import SHAPES
from pyadmm.core.files import cache_dir, write_atomic
from pyadmm.eda.sequential_csim import SequentialCsim, build_csim
from pyadmm.eda.sequential_simulation import infer, place
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.sequential.compiler import compile_model

RESULTS = Path(__file__).parent / "results" / "sequential_csim.csv"


@dataclass(frozen=True)
class Row:
    """One line of the results."""

    network: str
    weights: str
    lanes: str
    images_per_start: int
    images_equal: str
    compile_s: float
    csim_s_per_image: float
    golden_s_per_image: float


def measure(name: str, least: int, per_start: int | None = None) -> Row:
    """Run at least ``least`` random images and compare all outputs.

    :param per_start: images of one start; ``None``: as in :mod:`experiments.sequential`.
    """
    subject = subject_of(name, load_board("pynq-z2"), None)
    array, model = subject.array, subject.model
    begin = time.perf_counter()
    compiled = compile_model(model, array, per_start) if per_start else subject.compiled()
    compile_s = time.perf_counter() - begin
    starts = -(-least // compiled.images)
    rng, equal, seconds = np.random.default_rng(2), 0, [0.0, 0.0]
    program = build_csim(array, cache_dir() / "simulators")
    with SequentialCsim(program, compiled.program.memory_bytes) as top:
        place(top, compiled)
        for _ in range(starts):
            shape = (compiled.images, *model.input.shape)
            images = rng.integers(0, 256, shape, np.uint8).view(model.input.dtype)
            begin = time.perf_counter()
            logits, _ = infer(top, compiled, images)
            middle = time.perf_counter()
            equal += int(np.all(logits == model.run(images), axis=1).sum())
            seconds = [seconds[0] + middle - begin, seconds[1] + time.perf_counter() - middle]
    total = starts * compiled.images
    return Row(
        network=name,
        weights="random" if name in SHAPES else "trained",
        lanes=f"{array.groups}x{array.lanes}",
        images_per_start=compiled.images,
        images_equal=f"{equal}/{total}",
        compile_s=round(compile_s, 1),
        csim_s_per_image=round(seconds[0] / total, 3),
        golden_s_per_image=round(seconds[1] / total, 3),
    )


def merged(fresh: Row, path: Path) -> str:
    """The CSV of ``path`` with ``fresh`` in place of the row of the same network."""
    rows: dict[str, Mapping[str, object]] = {}
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            rows = {row["network"]: row for row in csv.DictReader(file)}
    rows[fresh.network] = asdict(fresh)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(Row.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[name] for name in sorted(rows))
    return out.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the networks named; status 1 where an output differs."""
    known = sorted((*SHIPPED, *SHAPES))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "networks", nargs="+", choices=known, metavar="NETWORK", help=", ".join(known)
    )
    parser.add_argument("--images", type=int, default=2, help="images, at least (default 2)")
    parser.add_argument("--per-start", type=int, metavar="N", help="images of one start")
    options = parser.parse_args(argv)
    wrong = False
    for name in options.networks:
        row = measure(name, options.images, options.per_start)
        write_atomic(RESULTS, merged(row, RESULTS))
        print(row, flush=True)
        equal, total = row.images_equal.split("/")
        wrong |= equal != total
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
