"""An epoch of a pruned network with `sparse: true` beside one without, in turns.

    python benchmarks/sparse_training.py        # the non-zeros of a 300x LeNet-5 in models/
    python benchmarks/sparse_training.py models/lenet5-quick-seed0.admm --rounds 5
    python benchmarks/sparse_training.py models/resnet20-cifar10.admm --images 2560 --threads 2

The network has the file's non-zeros; its weights are drawn anew, as time does not depend on them.
Images are random bytes. Networks with norms are compared in floats, with maps in float32 and in
bfloat16, others in floats and at levels.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from pathlib import Path

import torch

from pyadmm import container, zoo
from pyadmm.compression.pipeline import to_network
from pyadmm.network.activation_scales import calibrate
from pyadmm.network.execution import Numerics
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings
from pyadmm.training.augmentation import Augmentation
from pyadmm.training.data import Images
from pyadmm.training.trainer import EpochTrainer


def _network(path: Path) -> Network:
    """A network of the zoo with the non-zeros of the file, without its dead channels."""
    torch.manual_seed(0)
    model = container.load(path)
    settings = CompressSettings(weight_bits=4)
    network = to_network(zoo.build(model.name), settings, model.input.shape)
    for layer in model.layers:
        step = network.layers.get(layer.spec.name)
        if step is not None:  # shortcuts are layers in the file only
            codes = torch.from_numpy(layer.codes.astype("float32"))
            step.apply_mask((codes != 0).float().reshape(step.mask.shape))
    return network.shrink()


def _quantized(network: Network) -> Network:
    network = network.copy()
    for step in network.layers.values():
        step.fit_weight_scale()
    calibrate(network, _images(network, 500))
    network = network.at(Numerics.INTEGER)
    return network


def _images(network: Network, count: int) -> Images:
    generator = torch.Generator().manual_seed(1)
    size = count, *network.input.shape
    pixels = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.randint(0, 10, (count,), generator=generator))


def _seconds(network: Network, images: Images, *, sparse: bool, bfloat16: bool) -> float:
    execution = network.execution(sparse=sparse, bfloat16=bfloat16)
    network.train()
    optimizer = torch.optim.Adam(list(network.trainable()), lr=1e-4, fused=True)
    how = Augmentation(1, distort=0.0 if network.norms else 0.07, native=sparse)
    trainer = EpochTrainer(
        partial(network, how=execution),
        network.encode,
        optimizer,
        128,
        how,
        module=network,
        native=sparse,
    )
    start = time.perf_counter()
    trainer.train(images, 1, "benchmark", lambda _: 1e-4)
    return time.perf_counter() - start


def _cases(network: Network) -> dict[str, tuple[Network, bool]]:
    """What is compared, by name; whether maps are kept in bfloat16."""
    if not network.norms:
        return {"floats": (network, False), "levels": (_quantized(network), False)}
    return {
        "floats": (network, False),
        "floats, maps in bfloat16 if sparse": (network.copy(), True),
    }


def main() -> None:
    """Print medians and the spread of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parents[1] / "models" / "lenet5-record-300-seed30.admm"
    parser.add_argument("model", nargs="?", type=Path, default=default, help="(%(default)s)")
    parser.add_argument("--images", type=int, default=12_800, help="of an epoch (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = _network(options.model)
    images, few = _images(network, options.images), _images(network, 640)
    for name, (current, bfloat16) in _cases(network).items():
        run = partial(_seconds, current, bfloat16=bfloat16)
        for sparse in (False, True):
            run(few, sparse=sparse)
        pairs = [
            (run(images, sparse=False), run(images, sparse=True)) for _ in range(options.rounds)
        ]
        ratios = sorted(plain / sparse for plain, sparse in pairs)
        plain, sparse = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"{name}, {network.nnz:,} weights, "
            f"{len(images):,} images: {plain:.2f} s, sparse {sparse:.2f} s; "
            f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), "
            f"{options.rounds} rounds"
        )


if __name__ == "__main__":
    main()
