"""Speed of the golden integer model: ``python benchmarks/golden.py MODEL.admm``."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from pyadmm import container


def main() -> None:
    """Time :meth:`CompressedModel.run` on random images, several times in one process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    model = container.load(options.model)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (options.images, *model.input.shape)).astype(np.uint8)
    model.run(images[:100])
    speeds = []
    for _ in range(options.rounds):
        start = time.perf_counter()
        model.run(images)
        speeds.append(options.images / (time.perf_counter() - start))
    print(
        f"{options.model.name}: median {statistics.median(speeds):,.0f} images/s "
        f"(least {min(speeds):,.0f}, most {max(speeds):,.0f}; {options.rounds} rounds)"
    )


if __name__ == "__main__":
    main()
