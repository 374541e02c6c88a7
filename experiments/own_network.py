"""How long the preset ``quick`` takes on an own network of ResNet-8's size.

ResNet-8 of MLPerf Tiny (77,360 weights) from its ONNX file, 10,000 training images of CIFAR-10, and
the whole test set: ``pyadmm run --until test`` (dense weights taken, ADMM, retraining,
quantisation, integer accuracy), or ``pyadmm.compress`` on the imported module. One row a run:

    python -m experiments.own_network --data-dir DATA --way python --out FILE.csv

``DATA`` holds ``networks/resnet8.onnx`` and ``cifar10/cifar-10-batches-py``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import pickle
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pyadmm
from pyadmm import container
from pyadmm.cli.run import main as run
from pyadmm.model import CompressedModel
from pyadmm.network.onnx_import import import_onnx
from pyadmm.settings import from_dict
from pyadmm.training.data import Images

IMAGES = 10_000
SETTINGS: dict[str, Any] = {"input": {"bits": 8, "scale": 255.0}}
"""The network reads pixels 0 … 255; all else is the preset's choice."""


def images(folder: Path, count: int) -> dict[str, Any]:
    """``count`` training images and all test images of CIFAR-10, as an ``.npz`` file names them."""

    def read(name: str) -> tuple[Any, Any]:
        with (folder / name).open("rb") as file:
            batch = pickle.load(file, encoding="bytes")
        return np.asarray(batch[b"data"]).reshape(-1, 3, 32, 32), np.array(batch[b"labels"])

    (x, y), (test, answers) = read("data_batch_1"), read("test_batch")
    return {"x_train": x[:count], "y_train": y[:count], "x_test": test, "y_test": answers}


def by_command(
    network: Path, data: dict[str, Any], folder: Path
) -> tuple[float, float, CompressedModel]:
    """Accuracies of the dense and the integer network on the test images, and the latter."""
    np.savez(folder / "data.npz", **data)
    config = {"model": str(network), "data": str(folder / "data.npz"), "until": "test"}
    config |= {"out": str(folder / "run"), "compress": SETTINGS}
    (folder / "c.yaml").write_text(json.dumps(config))
    if run(["--config", str(folder / "c.yaml")]) != 0:
        raise SystemExit("the run failed")
    facts = json.loads((folder / "run/steps/test.json").read_text())["facts"]
    (file,) = (folder / "run").glob("*.admm")
    return facts["dense_accuracy"], facts["accuracy"], container.load(file)


def by_python(network: Path, data: dict[str, Any]) -> tuple[float, float, CompressedModel]:
    """The same by :func:`pyadmm.compress`, the last tenth of the training images held out."""
    model = import_onnx(network).module
    x, y = data["x_train"], data["y_train"]
    first = len(x) - len(x) // 10
    parts = slice(0, first), slice(first, len(x))
    train, held_out = (Images.from_numpy(x[part], y[part]) for part in parts)
    settings = from_dict({"preset": "quick", **SETTINGS})
    compressed = pyadmm.compress(model, settings, train, held_out, name="resnet8")
    test = torch.from_numpy(data["x_test"]).float()
    with torch.no_grad():
        classes = torch.cat([model(part).argmax(1) for part in test.split(250)]).numpy()
    dense = float((classes == data["y_test"]).mean())
    return dense, compressed.accuracy(data["x_test"], data["y_test"]), compressed


def measure(folder: Path, way: str, count: int) -> dict[str, Any]:
    """One row of the table."""
    network = folder / "networks/resnet8.onnx"
    data = images(folder / "cifar10/cifar-10-batches-py", count)
    load = os.getloadavg()[0]
    wall, processor = time.monotonic(), time.process_time()
    if way == "python":
        dense, integer, model = by_python(network, data)
    else:
        with tempfile.TemporaryDirectory() as place:
            dense, integer, model = by_command(network, data, Path(place))
    return {
        "way": way,
        "ratio_by": "trials",
        "pruning_ratio": round(model.pruning_ratio, 2),
        "weight_bits": max(layer.weight_bits for layer in model.layers),
        "images": count,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load_before": round(load, 1),
        "wall_s": round(time.monotonic() - wall, 1),
        "processor_s": round(time.process_time() - processor, 1),
        "dense_test": dense,
        "integer_test": integer,
        "bytes": len(container.encode(model)),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Append a row to the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--way", choices=("command", "python"), default="command")
    parser.add_argument("--images", type=int, default=IMAGES, metavar="N", help="to train with")
    parser.add_argument("--out", type=Path, default=Path("experiments/results/own_network.csv"))
    options = parser.parse_args(arguments)
    row = measure(options.data_dir, options.way, options.images)
    new = not options.out.exists()
    with options.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(row)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
