"""Time and size of the ``.admm`` file: LeNet-5, and a random sparse network of AlexNet's shapes.

    python benchmarks/container.py [--model FILE.admm] [--rounds 5] [--json OUT.json]

Prints medians of wall and CPU time over the rounds. ``--model`` takes a trained network's file in
place of the synthetic LeNet-5, whose 1,400 weights lie in rows and columns of uneven density.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pyadmm import container
from pyadmm.core.files import write_atomic
from pyadmm.model import INPUT, CompressedLayer, CompressedModel, InputSpec, MaxPool, Node, Requant
from pyadmm.model.reorder import sort_channels
from pyadmm.model.types import LayerSpec, QFormat

ACTIVATIONS = QFormat(4, False)
CONVOLUTIONS = (
    # outputs, kernel, stride, padding, groups, pooled
    (96, 11, 4, 0, 1, True),
    (256, 5, 1, 2, 2, True),
    (384, 3, 1, 1, 1, False),
    (384, 3, 1, 1, 2, False),
    (256, 3, 1, 1, 2, True),
)
LINEARS = (4096, 4096, 1000)
LENET5 = (
    # layer, weight shape, input shape, source, non-zeros
    ("conv1", (20, 1, 5, 5), (1, 28, 28), INPUT, 130),
    ("conv2", (50, 20, 5, 5), (20, 12, 12), "pool1", 450),
    ("fc1", (500, 800), (50, 4, 4), "pool2", 620),
    ("fc2", (10, 500), (500, 1, 1), "fc1", 200),
)


def alexnet(density: float, seed: int) -> CompressedModel:
    """AlexNet's shapes (61 M weights) with random weights: 5-bit convolutions, 3-bit the rest."""
    rng = np.random.default_rng(seed)
    shape = (3, 227, 227)
    nodes: list[Node] = []
    source = INPUT
    for place, (outputs, kernel, stride, padding, groups, pooled) in enumerate(CONVOLUTIONS, 1):
        weight_shape = (outputs, shape[0] // groups, kernel, kernel)
        spec = LayerSpec(f"conv{place}", "conv", weight_shape, shape, stride, padding, groups)
        nodes.append(_random_layer(rng, spec, source, density, 5))
        source, shape = spec.name, spec.output_shape
        if pooled:
            pool = MaxPool(f"pool{place}", source, 3, 2)
            nodes.append(pool)
            source, shape = pool.name, pool.output_shape([shape])
    for place, outputs in enumerate(LINEARS, 1):
        spec = LayerSpec(f"fc{place}", "linear", (outputs, int(np.prod(shape))), shape)
        nodes.append(_random_layer(rng, spec, source, density, 3))
        source, shape = spec.name, spec.output_shape
    return CompressedModel("alexnet", InputSpec((3, 227, 227), QFormat(8, False)), tuple(nodes))


def _random_layer(
    rng: np.random.Generator, spec: LayerSpec, source: str, density: float, weight_bits: int
) -> CompressedLayer:
    codes = np.zeros(spec.weights, np.int16)
    kept = np.flatnonzero(rng.random(spec.weights, np.float32) < density)
    codes[kept] = _levels(rng, len(kept), weight_bits)
    bias = rng.integers(-500, 500, spec.outputs)
    return CompressedLayer(
        spec, source, codes.reshape(spec.weight_shape), weight_bits, bias, Requant((200,), 18),
        ACTIVATIONS,
    )  # fmt: skip


def _levels(rng: np.random.Generator, count: int, weight_bits: int) -> np.ndarray:
    return rng.integers(1, 2 ** (weight_bits - 1) + 1, count) * rng.choice([-1, 1], count)


def lenet5(seed: int) -> CompressedModel:
    """LeNet-5 with 1,400 weights; a cell's chance is its row's times its column's, both uneven."""
    rng = np.random.default_rng(seed)
    nodes: list[Node] = []
    alive = np.ones(1, bool)
    for name, weight_shape, input_shape, source, nonzeros in LENET5:
        spec = LayerSpec(
            name, "conv" if len(weight_shape) == 4 else "linear", weight_shape, input_shape
        )  # type: ignore[arg-type]
        columns = spec.weights // spec.outputs
        chance = np.outer(rng.lognormal(0, 1.5, spec.outputs), rng.lognormal(0, 1, columns))
        chance[:, ~np.repeat(alive, columns // len(alive))] = 0
        order = np.argsort(-chance.reshape(-1) * rng.exponential(1, spec.weights))[:nonzeros]
        codes = np.zeros(spec.weights, np.int16)
        codes[order] = _levels(rng, nonzeros, 3)
        codes = codes.reshape(spec.weight_shape)
        alive = codes.reshape(spec.outputs, -1).any(1)
        bias = np.where(alive, 4 * rng.integers(-100, 100, spec.outputs), 0)
        nodes.append(
            CompressedLayer(spec, source, codes, 3, bias, Requant((200,), 14), ACTIVATIONS)
        )
        if name.startswith("conv"):
            nodes.append(MaxPool(f"pool{name[-1]}", name, 2, 2))
    entry = InputSpec((1, 28, 28), QFormat(4, False), shift=4)
    return sort_channels(CompressedModel("lenet5", entry, tuple(nodes)))


def measure(action: Callable[[], object], rounds: int) -> dict[str, float]:
    """Median wall and CPU seconds of ``action``."""
    wall, cpu = [], []
    for _ in range(rounds):
        starts = time.perf_counter(), time.process_time()
        action()
        wall.append(time.perf_counter() - starts[0])
        cpu.append(time.process_time() - starts[1])
    return {"wall_s": statistics.median(wall), "cpu_s": statistics.median(cpu)}


def report(model: CompressedModel, rounds: int) -> dict[str, object]:
    """Size and times of one network, printed and returned."""
    data = container.encode(model)
    container.decode(data)
    times = {
        "encode": measure(lambda: container.encode(model), rounds),
        "decode": measure(lambda: container.decode(data), rounds),
    }
    print(
        f"{model.name}: {model.nnz} of {model.weights} weights, {len(data)} bytes, "
        f"{8 * len(data) / model.nnz:.2f} bits per weight left"
    )
    for action, taken in times.items():
        print(f"  {action}: {taken['wall_s']:.4f} s wall, {taken['cpu_s']:.4f} s CPU (medians)")
    return {
        "weights": model.weights,
        "nnz": model.nnz,
        "bytes": len(data),
        "parts_bits": dict(container.breakdown(data)),
        **times,
    }


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, help="an .admm file in place of the LeNet-5")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    small = lenet5(0) if options.model is None else container.load(options.model)
    figures = {
        "lenet5": report(small, 4 * options.rounds),
        "alexnet": report(alexnet(0.04, 0), options.rounds),
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process: {peak:.0f} MiB")
    if options.json:
        write_atomic(options.json, json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
