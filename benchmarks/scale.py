"""Cost at the scale of ImageNet networks, on synthetic weights of their real shapes.

    python benchmarks/scale.py [--models alexnet resnet50 vgg16] [--rounds 3] [--json OUT.json]

For every network: one Z/U update of ADMM (seconds, and peak memory as a multiple of the weights,
which are counted in it) with our projection and with two plain ones of the same tensors, sort-based
top-k in numpy and ``torch.kthvalue``; encoding and decoding of the container; planning and
generating an HLS accelerator. Weights are normal random numbers, pruned to the ratios of ADMM-NN;
all variants take turns in one process, and a ratio is the median of the ratios inside a round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pyadmm import container, zoo
from pyadmm.admm import Admm, Projection
from pyadmm.boards import load_board
from pyadmm.codegen import generate
from pyadmm.files import write_atomic
from pyadmm.onchip import RECIPES, random_model
from pyadmm.plan import KernelConfig
from pyadmm.planner import loads_by_index_bits, plan_accelerator
from pyadmm.project import project_cardinality

RATIOS = {"resnet50": 7.0, "alexnet": 24.0, "vgg16": 26.0}
GROUPS = 16


def shapes(name: str) -> list[tuple[int, ...]]:
    """Weight shapes of the layers of a network of the zoo."""
    with torch.device("meta"):
        model = zoo.build(name)
    layers = (m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    return [tuple(layer.weight.shape) for layer in layers]


def sorted_top_k(w: Tensor, count: int) -> Tensor:
    """Plain reference: a full sort of the magnitudes in numpy."""
    values = w.reshape(-1).numpy()
    order = np.argsort(-np.abs(values))
    result = np.zeros_like(values)
    result[order[:count]] = values[order[:count]]
    return torch.from_numpy(result).reshape(w.shape)


def kthvalue_top_k(w: Tensor, count: int) -> Tensor:
    """Plain reference: the threshold by ``torch.kthvalue``."""
    magnitude = w.abs().reshape(-1)
    threshold = torch.kthvalue(magnitude, magnitude.numel() - count + 1).values
    return w * (w.abs() >= threshold)


PROJECTIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "ours": project_cardinality,
    "numpy sort": sorted_top_k,
    "torch.kthvalue": kthvalue_top_k,
}


class Peak:
    """Largest resident memory, in bytes, while the body runs; sampled every millisecond."""

    def __enter__(self) -> Peak:
        self.bytes = resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.001):
            self.bytes = max(self.bytes, resident())


def resident() -> int:
    """Resident memory of this process in bytes."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def update(name: str, rounds: int) -> dict[str, object]:
    """Seconds and memory of a Z/U update, with our projection and with the plain ones."""
    base = resident()
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(s, generator=generator) * 0.02) for s in shapes(name)]
    total = sum(w.numel() for w in weights)
    counts = [max(1, int(w.numel() / RATIOS[name])) for w in weights]

    def projections(project: Callable[[Tensor, int], Tensor]) -> list[Projection]:
        return [lambda w, n=count: project(w, n) for count in counts]

    admm = Admm(weights, projections(project_cardinality), 1e-3)
    start = admm.state_dict()
    start = {"z": [z.clone() for z in start["z"]], "u": [u.clone() for u in start["u"]], "rho": 1.0}
    seconds: dict[str, list[float]] = {variant: [] for variant in PROJECTIONS}
    memory: dict[str, list[float]] = {variant: [] for variant in PROJECTIONS}
    golden: list[Tensor] = []
    extra = sum(t.numel() for t in start["z"] + start["u"]) * 4
    for _ in range(rounds):
        for variant, project in PROJECTIONS.items():
            admm.projections = projections(project)
            admm.load_state_dict(start)
            with Peak() as peak:
                begin = time.perf_counter()
                admm.z_step()
                admm.u_step()
                seconds[variant].append(time.perf_counter() - begin)
            memory[variant].append((peak.bytes - base - extra) / (4 * total))
            golden = golden or list(admm.z)
            same = all(torch.equal(a, b) for a, b in zip(golden, admm.z, strict=True))
            if not same:
                raise SystemExit(f"{name}: the projection of {variant} differs")
    ratios = {
        variant: statistics.median(
            theirs / ours for theirs, ours in zip(taken, seconds["ours"], strict=True)
        )
        for variant, taken in seconds.items()
    }
    # `golden` keeps the first result alive: one more copy of Z, which is no part of the update.
    return {
        "weights": total,
        "seconds": {v: statistics.median(t) for v, t in seconds.items()},
        "seconds_range": {v: [min(t), max(t)] for v, t in seconds.items()},
        "times_ours": ratios,
        "memory_times_weights": {v: m[0] for v, m in memory.items()},
    }


def _timed(action: Callable[[], object], rounds: int) -> tuple[object, float]:
    """Result and median wall seconds."""
    taken = []
    result: object = None
    for _ in range(rounds):
        begin = time.perf_counter()
        result = action()
        taken.append(time.perf_counter() - begin)
    return result, statistics.median(taken)


def files(name: str, rounds: int) -> dict[str, object]:
    """Seconds of the container and of code generation."""
    model = random_model(name)
    data, encode = _timed(lambda: container.encode(model), rounds)
    assert isinstance(data, bytes)
    _, decode = _timed(lambda: container.decode(data), rounds)
    board = load_board("zcu104")
    images = np.zeros((0, *model.input.shape), np.uint8)

    def build() -> object:
        configs = {}
        for layer in model.layers:
            loads = loads_by_index_bits(layer)
            index = min(loads, key=lambda d: int(loads[d].sum()) * (layer.weight_bits + d + 2))
            groups = min(GROUPS, layer.spec.outputs)
            configs[layer.name] = KernelConfig("sparse", 1, groups, index)
        return generate(model, plan_accelerator(model, board, configs), images)

    _, codegen = _timed(build, 1)
    return {
        "nnz": model.nnz,
        "bytes": len(data),
        "encode_s": encode,
        "decode_s": decode,
        "codegen_s": codegen,
    }


def main() -> None:
    """Run and print; one JSON object per network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(RATIOS), choices=list(RECIPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", default=["update", "files"])
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = {}
    for name in options.models:
        found: dict[str, object] = {}
        if "update" in options.parts:
            found["update"] = update(name, options.rounds)
        if "files" in options.parts:
            found["files"] = files(name, options.rounds)
        figures[name] = found
        print(json.dumps({name: found}), flush=True)
    if options.json:
        write_atomic(options.json, json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
