"""An epoch of a pruned LeNet-5 with `sparse: true` beside one without, in turns, one thread.

    python benchmarks/sparse_training.py        # the non-zeros of a 300x network in models/
    python benchmarks/sparse_training.py models/lenet5-quick-seed0.admm --rounds 5

The network has the file's non-zeros; its weights are drawn anew, as time does not depend on them.
Images are random bytes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from pyadmm import container, zoo
from pyadmm.activations import calibrate
from pyadmm.compression import to_network
from pyadmm.network import Network
from pyadmm.settings import CompressSettings
from pyadmm.training import EpochTrainer, Images

_SHAPE = (1, 28, 28)


def _network(path: Path, *, quantized: bool) -> Network:
    """LeNet-5 with the non-zeros of the file, without its dead channels."""
    torch.manual_seed(0)
    network = to_network(zoo.build("lenet5"), CompressSettings(weight_bits=4), _SHAPE)
    for layer in container.load(path).layers:
        step = network.layers[layer.spec.name]
        codes = torch.from_numpy(layer.codes.astype("float32"))
        step.apply_mask((codes != 0).float().reshape(step.mask.shape))
    network = network.shrink()
    if quantized:
        for step in network.layers.values():
            step.fit_weight_scale()
        calibrate(network, _images(500))
        network.quantized = True
    return network


def _images(count: int) -> Images:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, *_SHAPE), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.randint(0, 10, (count,), generator=generator))


def _seconds(network: Network, images: Images, *, sparse: bool) -> float:
    network.sparse = sparse
    optimizer = torch.optim.Adam(list(network.trainable()), lr=1e-4, fused=True)
    trainer = EpochTrainer(
        network, network.encode, optimizer, 128, 1, distort=0.07, module=network, native=sparse
    )
    start = time.perf_counter()
    trainer.train(images, 1, "benchmark", lambda _: 1e-4)
    return time.perf_counter() - start


def main() -> None:
    """Print medians and the spread of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parents[1] / "models" / "lenet5-record-300-seed30.admm"
    parser.add_argument("model", nargs="?", type=Path, default=default, help="(%(default)s)")
    parser.add_argument("--images", type=int, default=12_800, help="of an epoch (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = _images(options.images)
    for quantized in (False, True):
        network = _network(options.model, quantized=quantized)
        for sparse in (False, True):
            _seconds(network, _images(1280), sparse=sparse)
        pairs = [
            (_seconds(network, images, sparse=False), _seconds(network, images, sparse=True))
            for _ in range(options.rounds)
        ]
        ratios = sorted(plain / sparse for plain, sparse in pairs)
        plain, sparse = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"{'levels' if quantized else 'floats'}, {network.nnz:,} weights, "
            f"{len(images):,} images: {plain:.2f} s, sparse {sparse:.2f} s; "
            f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), "
            f"{options.rounds} rounds"
        )


if __name__ == "__main__":
    main()
