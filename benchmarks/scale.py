"""Cost at the scale of ImageNet networks, on synthetic weights of their real shapes.

    python benchmarks/scale.py [--models alexnet resnet50 vgg16] [--rounds 3] [--json OUT.json]

For every network: one Z/U update of ADMM (CPU seconds of one thread, and peak memory as a multiple
of the weights, which are counted in it) with our projections and with two plain ones of the same
tensors, sort-based top-k in numpy and ``torch.kthvalue``; encoding and decoding of the container;
planning and generating an HLS accelerator. Weights are normal random numbers, pruned to the ratios
of ADMM-NN. The time is that of the first update; all variants take turns in one process, and a
ratio is the median of the ratios inside a round. Memory is counted by the kernel, one process for
each variant, in which glibc gives freed memory back from 1 MB on, so that it is what is in use.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from experiments.onchip_plans import RECIPES, random_model
from pyadmm import container, zoo
from pyadmm.admm.projections import Kept, joint_scale, keep_joint, keep_largest
from pyadmm.admm.solver import Admm, Projection
from pyadmm.codegen.hls import generate
from pyadmm.core.files import write_atomic
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.mapping import loads_by_index_bits, plan_accelerator
from pyadmm.hardware.plan import KernelConfig

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


@dataclass
class Plain:
    """The plain update: dense ``Z``, a copy for every operation."""

    weights: list[nn.Parameter]
    projections: list[Callable[[Tensor], Tensor]]
    z: list[Tensor]
    u: list[Tensor]

    @torch.no_grad()
    def z_and_u_step(self) -> tuple[float, float]:
        """``Z := proj(W + U)``, ``U := U + W - Z``, and both residuals."""
        primal = dual = size = 0.0
        for i, (w, project) in enumerate(zip(self.weights, self.projections, strict=True)):
            z = project(w + self.u[i])
            dual += float((z - self.z[i]).square().sum())
            self.z[i] = z
            self.u[i] += w - z
            primal += float((w - z).square().sum())
            size += float(w.square().sum())
        return math.sqrt(primal / size), math.sqrt(dual / size)


PLAIN = {"numpy sort": sorted_top_k, "torch.kthvalue": kthvalue_top_k}
OURS = ("ours", "ours, levels")
VARIANTS = (*OURS, *PLAIN)


def resident(field: str = "VmRSS") -> int:
    """Memory of this process in bytes; ``VmHWM`` is the most since :func:`forget_peak`."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * next(int(row.split()[1]) for row in text.splitlines() if row.startswith(field))


def forget_peak() -> None:
    """Let the kernel count the peak from here on."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def state(name: str, variant: str, weights: list[nn.Parameter]) -> Admm | Plain:
    """The state of a variant, before its first update."""
    counts = [int(w.numel() / RATIOS[name]) for w in weights]
    if variant in PLAIN:
        project = PLAIN[variant]
        dense = [lambda v, n=count: project(v, n) for count in counts]
        z, u = [torch.zeros_like(w) for w in weights], [torch.zeros_like(w) for w in weights]
        return Plain(weights, dense, z, u)
    recipe = RECIPES[name]

    def compact(count: int, bits: int) -> Projection:
        if variant == "ours":
            return lambda v: keep_largest(v, count)
        return lambda v: keep_joint(v, count, joint_scale(v, count, bits), bits)

    bits = [recipe.conv_bits if w.ndim == 4 else recipe.linear_bits for w in weights]
    return Admm(weights, [compact(n, b) for n, b in zip(counts, bits, strict=True)], 1e-3)


def random_weights(name: str) -> list[nn.Parameter]:
    """Weights of the network's shapes."""
    generator = torch.Generator().manual_seed(0)
    empty = [torch.empty(shape) for shape in shapes(name)]
    return [nn.Parameter(w.normal_(0, 0.02, generator=generator)) for w in empty]


def memory(name: str, variant: str) -> float:
    """Peak memory of the second update, in multiples of the weights, which are counted in it."""
    torch.set_num_threads(1)
    # What torch loads for a network's shapes and at its first operations is none of ours.
    shapes(name)
    small = state(name, variant, [nn.Parameter(torch.randn(1 << 18))])
    small.z_and_u_step()
    base = resident()
    weights = random_weights(name)
    admm = state(name, variant, weights)
    admm.z_and_u_step()
    forget_peak()
    admm.z_and_u_step()
    return (resident("VmHWM") - base) / (4 * sum(w.numel() for w in weights))


def alone(function: Callable[[str, str], float], *arguments: str) -> float:
    """The result of ``function`` in a process of its own."""
    os.environ["MALLOC_TRIM_THRESHOLD_"] = str(1 << 20)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def update(name: str, rounds: int, variants: Sequence[str]) -> dict[str, object]:
    """Seconds and memory of a Z/U update, with our projections and with the plain ones."""
    peaks = {variant: alone(memory, name, variant) for variant in variants}
    weights = random_weights(name)
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    golden: list[Tensor] = []
    for _ in range(rounds):
        for variant in variants:
            admm = state(name, variant, weights)
            begin = time.process_time()
            admm.z_and_u_step()
            seconds[variant].append(time.process_time() - begin)
            if variant in OURS[1:]:
                continue
            found = [z.dense() if isinstance(z, Kept) else z for z in admm.z]
            golden = golden or found
            same = all(torch.equal(a, b) for a, b in zip(golden, found, strict=True))
            if not same:
                raise SystemExit(f"{name}: the projection of {variant} differs")
    ratios = {
        variant: statistics.median(
            theirs / ours for theirs, ours in zip(taken, seconds["ours"], strict=True)
        )
        for variant, taken in seconds.items()
    }
    return {
        "weights": sum(w.numel() for w in weights),
        "seconds": {v: statistics.median(t) for v, t in seconds.items()},
        "seconds_range": {v: [min(t), max(t)] for v, t in seconds.items()},
        "times_ours": ratios,
        "memory_times_weights": peaks,
    }


def _timed(action: Callable[[], object], rounds: int) -> tuple[object, float]:
    """Result and median CPU seconds."""
    taken = []
    result: object = None
    for _ in range(rounds):
        begin = time.process_time()
        result = action()
        taken.append(time.process_time() - begin)
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
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = {}
    for name in options.models:
        found: dict[str, object] = {}
        if "update" in options.parts:
            found["update"] = update(name, options.rounds, options.variants)
        if "files" in options.parts:
            found["files"] = files(name, options.rounds)
        figures[name] = found
        print(json.dumps({name: found}), flush=True)
    if options.json:
        write_atomic(options.json, json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
