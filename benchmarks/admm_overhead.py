"""Time of a training step with ADMM over the same step without, and with a naive autograd penalty.

    python benchmarks/admm_overhead.py

``continuous`` is what one uninterrupted ADMM does in a step: it measures squared gradients, and its
penalty is a proximal step that leaves out the weights in ``Z``. All variants run interleaved in one
process on the same LeNet-5 and the same batch, so that a disturbance of the machine hits them
alike. An overhead is the median, over rounds, of the ratio inside one round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pyadmm import zoo
from pyadmm.admm.projections import keep_largest
from pyadmm.admm.solver import Admm
from pyadmm.compression.continuous_admm import SquaredGradients
from pyadmm.network.graph import Network
from pyadmm.network.input_encoding import input_spec
from pyadmm.network.trace import trace
from pyadmm.settings import InputSettings

_LEARNING_RATE = 1e-4
VARIANTS = ("plain", "admm", "continuous", "autograd")


def _stepper(variant: str, codes: Tensor, labels: Tensor) -> Callable[[], None]:
    """A training step of its own network."""
    torch.manual_seed(0)
    network: Network = trace(zoo.build("lenet5"), input_spec(InputSettings(), (1, 28, 28)))
    weights = [layer.weight for layer in network.layers.values()]
    projections = [lambda w: keep_largest(w, w.numel() // 20)] * len(weights)
    admm = Admm(weights, projections, 1e-2, follow=variant == "continuous")
    squares = SquaredGradients(weights)
    held = [z.dense() for z in admm.z]
    optimizer = torch.optim.Adam(network.trainable(), lr=_LEARNING_RATE, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        loss = F.cross_entropy(network(codes), labels)
        if variant == "autograd":
            for w, z, u in zip(weights, held, admm.u, strict=True):
                loss = loss + admm.rho / 2 * (w - z + u).square().sum()
        loss.backward()
        if variant == "continuous":
            squares.observe()
        if variant == "admm":
            admm.add_penalty_gradient()
        optimizer.step()
        if variant == "continuous":
            admm.pull(_LEARNING_RATE)

    return step


def measure(
    batch_size: int, rounds: int, burst: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds per step of each variant in each of ``rounds`` interleaved bursts of steps."""
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(0, 16, (batch_size, 1, 28, 28), generator=generator).float()
    labels = torch.randint(0, 10, (batch_size,), generator=generator)
    steps = {variant: _stepper(variant, codes, labels) for variant in VARIANTS}
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for number in range(rounds + 1):
        for variant, step in steps.items():
            begin = clock()
            for _ in range(burst):
                step()
            if number > 0:  # the first round warms up
                seconds[variant].append((clock() - begin) / burst)
    return seconds


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--burst", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--processor-time", action="store_true", help="not wall time: for a busy machine"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.processor_time else time.perf_counter
    seconds = measure(arguments.batch_size, arguments.rounds, arguments.burst, clock)
    overhead = {}
    for variant in VARIANTS[1:]:
        ratios = [t / p for t, p in zip(seconds[variant], seconds["plain"], strict=True)]
        overhead[variant] = round(statistics.median(ratios) - 1, 4)
    milliseconds = {v: round(statistics.median(s) * 1e3, 3) for v, s in seconds.items()}
    print(json.dumps({"step_ms": milliseconds, "overhead": overhead, **vars(arguments)}))


if __name__ == "__main__":
    main()
