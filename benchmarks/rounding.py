"""Three ways from a pruned LeNet-5 of floats to 4-bit levels, side by side: `docs/admm.md`.

    python benchmarks/rounding.py                    # three networks, about half an hour
    python benchmarks/rounding.py --seeds 0 --weight-bits 3

The networks are pruned to 300x in a short schedule. Then: every weight to its nearest level;
training at levels (`quantize`); the best of some second-order roundings (`rounding`). Judged by the
loss on moved training images, by validation, and by the bytes of the file.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from experiments import lenet5_records as record
from pyadmm import container, zoo
from pyadmm.compression.byte_budget import smallest
from pyadmm.compression.phase import PhaseContext, augmented_loss
from pyadmm.compression.pipeline import (
    PhaseResult,
    admm_phase,
    quantize,
    retrain,
    to_integer,
    to_network,
    train_dense,
)
from pyadmm.datasets import mnist
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings, RoundingSettings, preset
from pyadmm.training.data import Data, Images

_SHAPE = (1, 28, 28)


def _settings(seed: int, weight_bits: int) -> CompressSettings:
    """Those of `record-369` in a short schedule, labels only."""
    base = preset("record-369")
    return replace(
        base,
        seed=seed,
        weight_bits=weight_bits,
        bias_fraction_bits=-1,
        pruning_ratio=300.0,
        dense=replace(base.dense, epochs=6, precision="float32"),
        admm=replace(base.admm, first_ratio=5.0, rounds=16),
        regrow=replace(base.regrow, cycles=0),
        retrain=replace(base.retrain, epochs=24),
        local_search=replace(base.local_search, cycles=0),
        most_bytes=0,
        distill=replace(base.distill, weight=0.0),
    )


def _pruned(settings: CompressSettings, data: Data) -> Network:
    torch.manual_seed(settings.seed)
    model = zoo.build(record.MODEL)
    train_dense(model, settings, data)
    network = to_network(model, settings, _SHAPE)
    network = admm_phase(network, settings, data).network
    return retrain(network, settings, data).network


def _ways(settings: CompressSettings) -> Iterator[tuple[str, CompressSettings]]:
    training = settings.quantize
    yield "nearest levels", replace(settings, quantize=replace(training, epochs=0))
    yield f"{training.epochs} epochs at levels", settings
    yield "rounding", replace(settings, rounding=RoundingSettings(candidates=6))


def _row(result: PhaseResult, settings: CompressSettings, data: Data, seconds: float) -> str:
    context = PhaseContext("benchmark", settings, data, None, None, None)
    loss = augmented_loss(result.network, settings.quantize, context)
    integer = to_integer(result.network, data, record.MODEL)
    size = len(container.encode(smallest(integer.model)))
    right = 100 * integer.validation_accuracy
    return f"{loss:.4f} | {right:.2f} % | {size:,} | {seconds:.0f} s |"


def main() -> None:
    """Train, round, print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="0-2", help="such as 0 or 0-2 (%(default)s)")
    parser.add_argument("--weight-bits", type=int, default=4, help="(%(default)s)")
    parser.add_argument("--data-dir", type=Path, help="folder with the MNIST files")
    options = parser.parse_args()
    loaded = mnist.load(options.data_dir)
    data = Data.split(Images.from_numpy(loaded.train_images, loaded.train_labels))
    print("| seed | weights | levels by | loss, moved images | validation | bytes | time |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for seed in record.parse_seeds(options.seeds):
        settings = _settings(seed, options.weight_bits)
        network = _pruned(settings, data)
        context = PhaseContext("benchmark", settings, data, None, None, None)
        floats = augmented_loss(network, settings.quantize, context)
        print(f"| {seed} | {network.nnz:,} | (floats) | {floats:.4f} | | | |", flush=True)
        for name, chosen in _ways(settings):
            begin = time.perf_counter()
            result = quantize(network, chosen, data)
            row = _row(result, chosen, data, time.perf_counter() - begin)
            print(f"| | | {name} | {row}", flush=True)


if __name__ == "__main__":
    main()
