"""Images per second of the layer-sequential array: ``python -m experiments.sequential NETWORK…``.

Cycles are counted by simulating the RTL on whole images with the memory model below, and every output is
compared with the golden model. LeNet-5 and ResNet-20 are the trained models of ``models/``; the other
networks have their published shapes and *random* weights at the densities of :data:`DENSITIES`: cycles
depend on the positions of the weights, not on what they compute. The clock is the board's target, not a
routed one. The memory moves what the board sustains (``boards/*.json``), entries, maps in and maps out together.
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

from experiments.sequential_networks import SHAPES, random_network
from pyadmm.container.codec import load
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import cache_dir, write_atomic
from pyadmm.eda.sequential_simulation import (
    MemoryModel,
    SequentialTop,
    build_sequential,
    infer,
    place,
)
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.hardware.sequential.compiler import Compiled, compile_model
from pyadmm.hardware.sequential.roofline import best_images, sustained_bytes_per_cycle
from pyadmm.model import CompressedLayer, CompressedModel

RESULTS = Path(__file__).parent / "results" / "sequential.csv"
MODELS = Path(__file__).parents[1] / "models"
TRAINED = {"lenet5-quick": "lenet5-quick-seed0", "resnet20-cifar10": "resnet20-cifar10"}
BOARD = "pynq-z2"
LATENCY = 30
"""Cycles from a burst's address to its first word. This is a guess; on a PYNQ-Z2 reads of 128 bytes one after the
other were measured to take 37 cycles (github.com/ammrat13/pynqz2-ram-tester)."""
IMAGES = {"alexnet": 4, "vgg16": 1, "resnet50": 1}
"""Images per run of the program; for all others the roofline chooses."""


@dataclass(frozen=True)
class Row:
    """One line of the results."""

    network: str
    board: str
    weights_left: str
    weight_bits: str
    lanes: str
    images_per_run: int
    cycles_per_image: int
    clock_mhz: float
    clock_basis: str
    images_per_s: float
    images_equal: str
    array_efficiency: float
    speedup_over_dense: str
    weights: str


@dataclass(frozen=True)
class Count:
    """What a simulation counted."""

    compiled: Compiled
    images: int
    cycles: int

    @property
    def per_image(self) -> float:
        """Clock cycles per image."""
        return self.cycles / self.images


def memory_rate() -> float:
    """Bytes per cycle that the memory of the board sustains."""
    return sustained_bytes_per_cycle(load_board(BOARD))


def compiled_for(model: CompressedModel, array: SequentialArray) -> Compiled:
    """The program of ``model``, for as many images per run as suit it."""
    if model.name in IMAGES:
        return compile_model(model, array, IMAGES[model.name])
    return best_images(model, array, memory_rate())


def count(compiled: Compiled, total: int) -> Count:
    """Simulate ``total`` random images and compare them all.

    :raises PyadmmError: where an output differs from the golden model.
    """
    model, array, batch = compiled.model, compiled.program.array, compiled.images
    data = np.random.default_rng(1).integers(0, 256, (total, *model.input.shape)).astype(np.uint8)
    cycles = 0
    program = build_sequential(array, cache_dir() / "simulators")
    with SequentialTop(program, compiled.program.memory_bytes) as top:
        top.memory(MemoryModel(LATENCY, memory_rate()))
        place(top, compiled)
        for first in range(0, total, batch):
            images = data[first : first + batch]
            logits, result = infer(top, compiled, images)
            if not np.array_equal(logits, model.run(images)):
                raise PyadmmError(f"{model.name}: image {first} differs from the golden model")
            cycles += result.cycles
    return Count(compiled, total, cycles)


def ideal_cycles(model: CompressedModel, array: SequentialArray) -> float:
    """Multiplications of the layers over the array's rate."""
    work = 0
    for layer in model.layers:
        _, height, width = model.shape_of(layer.name)
        work += layer.nnz * height * width
    return work / array.macs_per_cycle


def network(name: str, dense: bool = False) -> CompressedModel:
    """The trained model, or a random one of the published shapes."""
    if name in SHAPES:
        return random_network(name, dense)
    model = load(MODELS / f"{TRAINED[name]}.admm")
    return _filled(model) if dense else model


def _filled(model: CompressedModel) -> CompressedModel:
    """``model`` with a weight at every position: for counting the cycles of a dense network."""
    nodes = []
    for node in model.nodes:
        if isinstance(node, CompressedLayer):
            codes = np.where(node.codes == 0, 1, node.codes).astype(np.int16)
            node = type(node)(  # noqa: PLW2901
                node.spec,
                node.source,
                codes,
                node.weight_bits,
                node.bias,
                node.requant,
                node.output,
            )
        nodes.append(node)
    return CompressedModel(model.name, model.input, tuple(nodes))


def measure(name: str, total: int, with_dense: bool) -> Row:
    """Simulate one network, and its dense form where asked."""
    array, board = SequentialArray(), load_board(BOARD)
    model = network(name)
    compiled = compiled_for(model, array)
    batch = compiled.images
    total = -(-total // batch) * batch
    counted = count(compiled, total)
    speedup = ""
    if with_dense:
        other = compiled_for(network(name, dense=True), array)
        dense = count(other, other.images)
        speedup = f"{dense.per_image / counted.per_image:.2f}"
    bits = sorted({layer.weight_bits for layer in model.layers})
    return Row(
        network=name,
        board=BOARD,
        weights_left=f"1/{model.pruning_ratio:.1f}",
        weight_bits="/".join(map(str, bits)),
        lanes=f"{array.groups}x{array.lanes}",
        images_per_run=batch,
        cycles_per_image=round(counted.per_image),
        clock_mhz=board.clock_mhz,
        clock_basis="target",
        images_per_s=round(board.clock_mhz * 1e6 / counted.per_image, 1),
        images_equal=f"{total}/{total}",
        array_efficiency=round(ideal_cycles(model, array) / counted.per_image, 3),
        speedup_over_dense=speedup,
        weights="random" if name in SHAPES else "trained",
    )


def merged(fresh: Sequence[Row], path: Path) -> str:
    """The CSV of ``path`` with ``fresh`` rows in place of those of the same networks."""
    rows: dict[str, Mapping[str, object]] = {}
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            rows = {row["network"]: row for row in csv.DictReader(file)}
    rows |= {row.network: asdict(row) for row in fresh}
    out = io.StringIO()
    writer = csv.DictWriter(out, list(Row.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[name] for name in sorted(rows))
    return out.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the networks named; the results go to ``results/sequential.csv``."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = sorted((*TRAINED, *SHAPES))
    parser.add_argument("networks", nargs="*", default=known, help=f"any of {', '.join(known)}")
    parser.add_argument("--images", type=int, default=2, help="images to simulate, at least")
    parser.add_argument("--dense", action="store_true", help="simulate the dense network too")
    options = parser.parse_args(argv)
    for name in options.networks:
        if name not in known:
            parser.error(f"network {name!r} is unknown; choose from {', '.join(known)}")
        start = time.monotonic()
        row = measure(name, options.images, options.dense)
        write_atomic(RESULTS, merged([row], RESULTS))
        print(row, f"{time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
