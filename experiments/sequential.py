"""Images per second of the layer-sequential array: ``python -m experiments.sequential NETWORK…``.

Cycles are counted by simulating the RTL on whole images with the memory model below, and every output is
compared with the golden model. LeNet-5 and ResNet-20 are the trained models of ``models/``. With ``--data-dir``
the ONNX files of :data:`~experiments.sequential_imports.IMPORTS` are quantised without training and their own
images are used. The other networks have their published shapes and *random* weights at the densities of
:data:`~experiments.sequential_networks.DENSITIES`, and random images: cycles depend on the positions of the
weights, not on what they compute. The clock is the board's target, not a routed one. The memory moves what the
board's file says that it sustains, entries, maps in and maps out together. A count goes on where an earlier one
stopped, so that many images can be counted in pieces.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.sequential_imports import IMPORTS, SHIPPED, imported, real_images, shipped
from experiments.sequential_networks import SHAPES, random_network
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import cache_dir, write_atomic
from pyadmm.eda.sequential_simulation import (
    MemoryModel,
    SequentialTop,
    build_sequential,
    infer,
    place,
)
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.sequential.area import largest_array
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.hardware.sequential.compiler import Compiled
from pyadmm.hardware.sequential.roofline import best_images, sustained_bytes_per_cycle
from pyadmm.model import CompressedLayer, CompressedModel

RESULTS = Path(__file__).parent / "results" / "sequential.csv"
LATENCY = 30
"""A guess; on a PYNQ-Z2 reads of 128 bytes one after the other were measured to take 37 cycles
(github.com/ammrat13/pynqz2-ram-tester)."""
_KEPT_SECONDS = 20.0
"""After so long the state of a count is written again."""


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


@dataclass(frozen=True)
class Subject:
    """A network on a board.

    :param images: of the network's data, or None for random ones.
    """

    model: CompressedModel
    board: Board
    images: NDArray[np.uint8] | None = None

    @property
    def array(self) -> SequentialArray:
        """The largest array that the board has room for."""
        return largest_array(self.board)

    @property
    def rate(self) -> float:
        """Bytes per cycle that the memory sustains."""
        return sustained_bytes_per_cycle(self.board)

    def compiled(self) -> Compiled:
        """The program, for as many images per run as suit it."""
        return best_images(self.model, self.array, self.rate)

    def data(self, total: int) -> NDArray[np.uint8]:
        """The first ``total`` images; after the last one comes the first one again."""
        if self.images is not None:
            return self.images[np.arange(total) % len(self.images)]
        shape = (total, *self.model.input.shape)
        return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


def count(subject: Subject, compiled: Compiled, least: int) -> Count:
    """Simulate at least ``least`` images and compare them all; those of earlier counts of the same program count.

    :raises PyadmmError: where an output differs from the golden model.
    """
    model, batch = subject.model, compiled.images
    simulator = build_sequential(subject.array, cache_dir() / "simulators")
    state = _State.of(subject, compiled, simulator)
    total, kept = -(-least // batch) * batch, time.monotonic()
    data = subject.data(total)
    with SequentialTop(simulator, compiled.program.memory_bytes) as top:
        top.memory(MemoryModel(LATENCY, subject.rate))
        place(top, compiled)
        for first in range(state.images, total, batch):
            images = data[first : first + batch]
            logits, result = infer(top, compiled, images)
            if not np.array_equal(logits, model.run(images)):
                raise PyadmmError(f"{model.name}: image {first} differs from the golden model")
            state.images, state.cycles = first + batch, state.cycles + result.cycles
            if time.monotonic() - kept > _KEPT_SECONDS or first + batch >= total:
                state.keep()
                kept = time.monotonic()
    return Count(compiled, state.images, state.cycles)


@dataclass
class _State:
    """How far a count has come, in a file of the cache."""

    path: Path
    images: int = 0
    cycles: int = 0

    @classmethod
    def of(cls, subject: Subject, compiled: Compiled, simulator: Path) -> _State:
        """The state of an earlier count of the same program, simulator and images, or the start."""
        digest = hashlib.sha256(compiled.program.image + subject.data(1).tobytes())
        digest.update(f"{simulator.parent.name} {subject.rate} {LATENCY}".encode())
        path = cache_dir() / "sequential_counts" / f"{digest.hexdigest()[:24]}.json"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            return cls(path)
        held = json.loads(path.read_text(encoding="utf-8"))
        return cls(path, held["images"], held["cycles"])

    def keep(self) -> None:
        """Write the state."""
        write_atomic(self.path, json.dumps({"images": self.images, "cycles": self.cycles}))


def ideal_cycles(model: CompressedModel, array: SequentialArray) -> float:
    """Multiplications of the layers over the array's rate."""
    work = 0
    for layer in model.layers:
        _, height, width = model.shape_of(layer.name)
        work += layer.nnz * height * width
    return work / array.macs_per_cycle


def subject_of(name: str, board: Board, folder: Path | None) -> Subject:
    """The trained network with its images, or one of random weights where there is no ``folder``.

    :raises PyadmmError: for a network that needs a folder.
    """
    if name in SHIPPED:
        return Subject(shipped(name), board, real_images(name, folder) if folder else None)
    if name in IMPORTS and folder:
        return Subject(imported(name, folder), board, real_images(name, folder))
    if name not in SHAPES:
        raise PyadmmError(
            f"network {name}: needs --data-dir, a folder with networks/*.onnx and data"
        )
    return Subject(random_network(name), board)


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


def measure(name: str, subject: Subject, least: int, with_dense: bool) -> Row:
    """Simulate one network, and its dense form where asked."""
    model, array, board = subject.model, subject.array, subject.board
    compiled = subject.compiled()
    counted = count(subject, compiled, least)
    bits = sorted({layer.weight_bits for layer in model.layers})
    random = name in SHAPES and subject.images is None
    return Row(
        network=name,
        board=board.name,
        weights_left=f"1/{model.pruning_ratio:.1f}",
        weight_bits="/".join(map(str, bits)),
        lanes=f"{array.groups}x{array.lanes}",
        images_per_run=compiled.images,
        cycles_per_image=round(counted.per_image),
        clock_mhz=board.clock_mhz,
        clock_basis="target",
        images_per_s=round(board.clock_mhz * 1e6 / counted.per_image, 1),
        images_equal=f"{counted.images}/{counted.images}",
        array_efficiency=round(ideal_cycles(model, array) / counted.per_image, 3),
        speedup_over_dense=f"{_dense(subject) / counted.per_image:.2f}" if with_dense else "",
        weights="random" if random else "trained",
    )


def _dense(subject: Subject) -> float:
    """Cycles an image of the network with a weight at every position."""
    dense = replace(subject, model=_filled(subject.model))
    compiled = dense.compiled()
    return count(dense, compiled, compiled.images).per_image


def merged(fresh: Sequence[Row], path: Path) -> str:
    """The CSV of ``path`` with ``fresh`` rows in place of those of the same networks and boards."""
    rows: dict[tuple[str, str], Mapping[str, object]] = {}
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            rows = {(row["network"], row["board"]): row for row in csv.DictReader(file)}
    rows |= {(row.network, row.board): asdict(row) for row in fresh}
    out = io.StringIO()
    writer = csv.DictWriter(out, list(Row.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[key] for key in sorted(rows))
    return out.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the networks named; the results go to ``results/sequential.csv``."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = sorted({*SHIPPED, *SHAPES, *IMPORTS})
    parser.add_argument("networks", nargs="*", default=known, help=f"any of {', '.join(known)}")
    parser.add_argument("--board", default="pynq-z2", help="(default: pynq-z2)")
    parser.add_argument("--images", type=int, default=2, help="images to simulate, at least")
    parser.add_argument("--dense", action="store_true", help="simulate the dense network too")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("PYADMM_DATA_DIR"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(argv)
    for name in options.networks:
        if name not in known:
            parser.error(f"network {name!r} is unknown; choose from {', '.join(known)}")
        start = time.monotonic()
        folder = Path(options.data_dir) if options.data_dir else None
        subject = subject_of(name, load_board(options.board), folder)
        row = measure(name, subject, options.images, options.dense)
        write_atomic(options.out, merged([row], options.out))
        print(row, f"{time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
