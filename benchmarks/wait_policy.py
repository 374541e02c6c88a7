"""How waiting OpenMP threads slow training on a machine with other work.

A training step of LeNet-5 (batches of 128) is timed in processes of its own, with torch's OpenMP
threads spinning while they wait (OpenMP's default) and sleeping (``OMP_WAIT_POLICY=passive``, which
``pyadmm`` sets), in turn, with so many other processes that keep a core busy:

    python -m benchmarks.wait_policy --busy 0 2 --repeats 5 --out experiments/results/wait_policy.csv

Processor seconds count all threads, spinning ones too. The load average before each measurement
goes into the table, as other people's work counts.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

POLICIES = ("default", "passive")
_SPIN = "while True: pass"
_TIMEOUT_S = 900


def measure(steps: int) -> dict[str, float]:
    """Wall and processor milliseconds of a step in this process, whose environment is set."""
    import torch  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
    )
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    x, y = torch.rand(128, 1, 28, 28), torch.randint(0, 10, (128,))

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    for _ in range(5):
        step()
    walls = []
    processor = time.process_time()
    for _ in range(steps):
        begin = time.perf_counter()
        step()
        walls.append(1e3 * (time.perf_counter() - begin))
    return {
        "wall_ms": statistics.median(walls),
        "mean_ms": statistics.fmean(walls),
        "processor_ms": 1e3 * (time.process_time() - processor) / steps,
        "threads": torch.get_num_threads(),
    }


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that compute without end, while the body runs."""
    others = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def _child(policy: str, steps: int) -> dict[str, float]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    if policy == "passive":
        environment["OMP_WAIT_POLICY"] = "passive"
    command = [sys.executable, "-m", "benchmarks.wait_policy", "--child", str(steps)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, os.cpu_count() or 1])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("experiments/results/wait_policy.csv"))
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(measure(options.child)))
        return 0
    rows = []
    for others in options.busy:
        for repeat in range(options.repeats):
            for policy in POLICIES:
                load = os.getloadavg()[0]
                with busy(others):
                    found = _child(policy, options.steps)
                rows.append(
                    {"busy": others, "repeat": repeat, "policy": policy, "load": load, **found}
                )
                print(rows[-1], flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
