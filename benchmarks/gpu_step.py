"""Time of a training step on a GPU, kernels started one by one and by one recorded CUDA graph.

    python benchmarks/gpu_step.py

Steps of 128 random images, from drawing the batch to the optimizer, the teacher's pass included.
Both variants take turns in one process, in bursts; medians and ranges over the bursts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch

from pyadmm import zoo
from pyadmm.compression import pipeline as compression
from pyadmm.core.errors import PyadmmError
from pyadmm.network.activation_scales import calibrate
from pyadmm.network.execution import Numerics
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings, from_dict, preset
from pyadmm.training import devices
from pyadmm.training.augmentation import Augmentation
from pyadmm.training.data import Images
from pyadmm.training.trainer import EpochTrainer

BATCH = 128
_RESNET = {
    "weight_bits": 4,
    "activation_bits": 8,
    "input": {"bits": 8},
    "retrain": {"optimizer": "sgd", "shift_pixels": 4, "flip": True, "precision": "bfloat16"},
}
CASES = (
    ("resnet20", "resnet20", "float"),
    ("resnet20", "resnet56", "float"),
    ("resnet20", "resnet56", "levels"),
    ("lenet5", "lenet5", "float"),
    ("lenet5", "lenet5", "integers"),
)


def _settings(model: str) -> CompressSettings:
    return preset("record-300") if model == "lenet5" else from_dict(_RESNET)


def _images(shape: tuple[int, int, int], count: int) -> Images:
    generator = torch.Generator().manual_seed(1)
    pool = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)
    return Images(pool, torch.randint(0, 10, (count,), generator=generator))


def _student(model: str, phase: str, images: Images, device: torch.device) -> Network:
    torch.manual_seed(0)
    network = compression.to_network(zoo.build(model).to(device), _settings(model), images.shape)
    for layer in network.layers.values():
        layer.fit_weight_scale()
    if phase == "levels":
        network = network.at(Numerics.LEVELS)
    if phase == "integers":
        network = network.fold_norms()
        calibrate(network, images)
        network = network.at(Numerics.INTEGER)
    return network.train()


def _epoch(
    case: tuple[str, str, str], captured: bool, images: Images, device: torch.device
) -> Callable[[int], float]:
    """A function that trains one epoch of a network of its own; gives seconds per step."""
    model, tutor, phase = case
    settings = _settings(model)
    train = settings.quantize if phase == "integers" else settings.retrain
    network = _student(model, phase, images, device)
    guide = compression.to_teacher(zoo.build(tutor).to(device), settings, images.shape)
    trainer = EpochTrainer(
        network,
        network.encode,
        torch.optim.SGD(network.trainable(), lr=1e-9, fused=True),
        BATCH,
        Augmentation.of(train),
        compression.shared_teacher(guide, settings),
        0.0,  # of distillation: a teacher that was never trained may give any logits
        precision=train.precision,
        module=network,
        captured=captured,
    )

    def run(seed: int) -> float:
        torch.cuda.synchronize()
        begin = time.perf_counter()
        trainer.train(images, seed, "benchmark", lambda done: 1e-9)
        torch.cuda.synchronize()
        return (time.perf_counter() - begin) / (len(images) // BATCH)

    run(0)
    return run


def main() -> int:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50, help="steps of a burst (%(default)s)")
    options = parser.parse_args()
    try:
        device = devices.choose("cuda")
    except PyadmmError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{torch.cuda.get_device_name(device)}, PyTorch {torch.__version__}; ms a step\n")
    print("| student | teacher | phase | one by one | graph | ratio |\n|---|---|---|---|---|---|")
    for case in CASES:
        images = _images(zoo.entry(case[0]).shape, BATCH * options.steps)
        runs = [_epoch(case, captured, images, device) for captured in (False, True)]
        pairs = [[run(1 + k) for run in runs] for k in range(options.rounds)]
        columns = [[1e3 * t for t in times] for times in zip(*pairs, strict=True)]
        cells = [f"{statistics.median(c):.2f} ({min(c):.2f} to {max(c):.2f})" for c in columns]
        ratio = statistics.median(plain / graph for plain, graph in pairs)
        print(f"| {' | '.join([*case, *cells])} | {ratio:.1f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
