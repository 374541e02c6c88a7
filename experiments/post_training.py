"""The table of post-training compression: real networks, sparsities, bits and methods.

``python -m experiments.post_training --data-dir DIR`` appends what is missing to
``experiments/results/post_training.csv``; a row that is there is not measured again. The folder has
``networks/*.onnx`` and the data that these were made for (``docs/post_training.md`` says which).
Accuracy is that of the integer model, computed by onnxruntime from its exported graph, whose logits
are compared with the integer model's on some images. Calibration and test images are disjoint. With
``--finetune EPOCHS`` the compressed networks are distilled afterwards; ``finetuned`` in the table is
that number. With ``--state DIR`` an interrupted row goes on where it was; delete the folder when the
code changes.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import pickle
import re
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pyadmm import container
from pyadmm.compression.post_training.finetune import finetune
from pyadmm.compression.post_training.pipeline import (
    Calibration,
    Sensitivity,
    compress_post_training,
    measure_sensitivity,
)
from pyadmm.compression.post_training.settings import PostTraining
from pyadmm.core.files import write_atomic
from pyadmm.datasets.calibration import fitted
from pyadmm.model import InputSpec
from pyadmm.model.onnx import export_onnx, run_onnx
from pyadmm.model.types import QFormat
from pyadmm.network.graph import Network
from pyadmm.network.onnx_import import import_onnx
from pyadmm.network.to_integer import to_compressed
from pyadmm.network.trace import trace

OUT = Path("experiments/results/post_training.csv")
FIELDS = (
    *("network", "sparsity_percent", "weight_bits", "activation_bits", "method", "finetuned"),
    *("dense_accuracy", "accuracy", "loss_points", "paired_se"),
    *("images", "bytes", "seconds", "peak_mb"),
)
SPARSITIES = (0, 50, 60, 75, 90)
METHODS = ("admm", "magnitude", "greedy")
_CHECKED = 4
"""Images on which onnxruntime's logits are compared with the integer model's."""
_BATCH = 25

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Data:
    """Calibration images, test images and their labels; bytes ``(N, C, H, W)``."""

    calibration: Bytes
    test: Bytes
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Subject:
    """A network: how bytes become its input, and where its data come from."""

    input: InputSpec
    data: Callable[[Path], Data]


def _cifar10(folder: Path, calibration: int = 20_000, test_images: int = 10_000) -> Data:
    """CIFAR-10: random training images to calibrate, the test images."""
    base = folder / "cifar10" / "cifar-10-batches-py"

    def read(name: str) -> tuple[Bytes, list[int]]:
        with (base / name).open("rb") as file:
            batch = pickle.load(file, encoding="bytes")
        return np.asarray(batch[b"data"]).reshape(-1, 3, 32, 32), batch[b"labels"]

    train = np.concatenate([read(f"data_batch_{i}")[0] for i in range(1, 6)])
    chosen = np.random.default_rng(0).permutation(len(train))[:calibration]
    test, labels = read("test_batch")
    return Data(train[chosen], test[:test_images], np.array(labels[:test_images]))


def _halves(path: str, channels_last: bool, folder: Path) -> Data:
    """Rows 0 … 199 to calibrate, the other rows to test."""
    with np.load(folder / path) as held:
        x, y = held["x"], held["y"]
    x = x.transpose(0, 3, 1, 2) if channels_last else x
    if x.dtype == np.int8:
        x = (x.astype(np.int16) + 128).astype(np.uint8)
    x = np.ascontiguousarray(x)
    return Data(x[:200], x[200:], y[200:])


def _imagenet(side: int, fit: str, bgr: bool, folder: Path) -> Data:
    calibration, _ = _pictures(folder / "imagenet" / "calib.tar", side, fit)
    test, labels = _pictures(folder / "imagenet" / "dev.tar", side, fit)
    if bgr:
        calibration, test = calibration[:, ::-1].copy(), test[:, ::-1].copy()
    return Data(calibration, test, labels)


def _pictures(path: Path, side: int, fit: str) -> tuple[Bytes, NDArray[np.int64]]:
    with tarfile.open(path) as tar:
        listing = tar.extractfile("labels.csv")
        assert listing is not None
        rows = list(csv.DictReader(io.TextIOWrapper(listing, "utf-8")))
        images = []
        for row in rows:
            file = tar.extractfile(row["file"])
            assert file is not None
            picture = fitted(Image.open(file).convert("RGB"), side, side, fit)
            images.append(np.asarray(picture, np.uint8).transpose(2, 0, 1))
    return np.stack(images), np.array([int(row["label"]) for row in rows])


def _spec(
    shape: tuple[int, int, int], *, scale: float, offset: tuple[int, ...] = (0,)
) -> InputSpec:
    reach = max(*offset, *(255 - o for o in offset))
    bits = 8 if not any(offset) else reach.bit_length() + 1
    if set(offset) == {128}:
        bits = 8
    return InputSpec(shape, QFormat(bits, any(offset), scale), offset)


def _mobilenet(side: int) -> Subject:
    spec = _spec((3, side, side), scale=1 / 128, offset=(128,))
    return Subject(spec, partial(_imagenet, side, "stretch", False))


SUBJECTS = {
    "resnet8": Subject(_spec((3, 32, 32), scale=1.0), _cifar10),
    "ds_cnn": Subject(
        _spec((1, 49, 10), scale=0.5847029, offset=(211,)),
        partial(_halves, "kws/dev.npz", False),
    ),
    "vww_mobilenet_v1_025_96": Subject(
        _spec((3, 96, 96), scale=1 / 255), partial(_halves, "vww/dev.npz", True)
    ),
    "mobilenet_v1_025_128": _mobilenet(128),
    "mobilenet_v1_050_160": _mobilenet(160),
    "squeezenet_v1_0": Subject(
        _spec((3, 227, 227), scale=1.0, offset=(104, 117, 123)),
        partial(_imagenet, 227, "stretch", True),
    ),
    "mobilenet_v2_100_224": _mobilenet(224),
    "efficientnet_lite0": Subject(
        _spec((3, 224, 224), scale=1 / 128, offset=(127,)),
        partial(_imagenet, 224, "crop", False),
    ),
}


class Clock:
    """Processor seconds and the peak of memory of a piece of work, over all its interruptions.

    :param path: file that keeps them; ``None``: nowhere.
    """

    def __init__(self, path: Path | None) -> None:
        known = path is not None and path.is_file()
        self.path = path
        self.before, self.peak = json.loads(path.read_text()) if path and known else (0.0, 0.0)
        self.began = time.process_time()
        _reset_peak()

    def read(self) -> tuple[float, float]:
        """Seconds and megabytes so far; they are kept."""
        seconds = self.before + time.process_time() - self.began
        self.peak = max(self.peak, _peak_mb())
        if self.path is not None:
            write_atomic(self.path, json.dumps([seconds, self.peak]))
        return seconds, self.peak


class Runs:
    """All runs of one network: what they share is made once.

    :param images: to calibrate with, at most.
    :param state: folder of what is done; ``None``: an interrupted row is begun anew.
    """

    def __init__(self, name: str, folder: Path, images: int, state: Path | None = None) -> None:
        self.name = name
        self.state = None if state is None else state / f"{name}-{images}"
        subject = SUBJECTS[name]
        self.data = subject.data(folder)
        imported = import_onnx(folder / "networks" / f"{name}.onnx")
        network = trace(imported.without_quantizers().module, subject.input)
        self.calibration = Calibration.of(network, torch.from_numpy(self.data.calibration[:images]))
        self.right = self._kept("dense", self._dense)
        self._sensitivity: dict[bool, tuple[Sensitivity, float]] = {}

    def _kept(self, name: str, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, from the state where it is there."""
        path = None if self.state is None else self.state / f"{name}.pkl"
        if path is not None and path.is_file():
            return pickle.loads(path.read_bytes())
        made = make()
        if path is not None:
            write_atomic(path, pickle.dumps(made))
        return made

    @torch.no_grad()
    def _dense(self) -> NDArray[np.bool_]:
        """Which test images the dense network classifies rightly."""
        network = self.calibration.network
        images = torch.from_numpy(self.data.test)
        logits = [network(network.encode(part)) for part in images.split(_BATCH)]
        return torch.cat(logits).argmax(1).numpy() == self.data.labels

    def _measured(self, settings: PostTraining) -> tuple[Sensitivity, float]:
        """The sensitivity, with curves where weights are pruned, and the seconds that it took."""
        pruned = settings.sparsity > 0

        def measure() -> tuple[Sensitivity, float]:
            began = time.process_time()
            found = measure_sensitivity(self.calibration, settings)
            return found, time.process_time() - began

        if pruned not in self._sensitivity:
            self._sensitivity[pruned] = self._kept(f"sensitivity-{pruned}", measure)
        return self._sensitivity[pruned]

    def _compress(self, settings: PostTraining) -> tuple[Network, float, float]:
        """The compressed network, seconds and megabytes."""
        _reset_peak()
        sensitivity, spent = self._measured(settings)
        peak = _peak_mb()
        clock = self._clock(settings)
        network, _ = compress_post_training(
            self.calibration,
            settings,
            sensitivity=sensitivity,
            state=self.state,
            watch=lambda _, layers: clock.read(),
        )
        seconds, own = clock.read()
        return network, seconds + spent, max(peak, own)

    def _clock(self, settings: PostTraining, epochs: int = 0) -> Clock:
        facts = settings.method, settings.weight_bits, settings.sparsity, epochs
        return Clock(self.state and self.state / f"{'-'.join(map(str, facts))}.json")

    def _finetune(
        self, network: Network, settings: PostTraining, epochs: int
    ) -> tuple[Network, float, float]:
        """The distilled network, seconds and megabytes of the distillation."""
        clock = self._clock(settings, epochs)
        network = finetune(
            network,
            self.calibration,
            epochs,
            settings.seed,
            state=self.state,
            watch=lambda _: clock.read(),
        )
        return network, *clock.read()

    def row(self, settings: PostTraining, epochs: int) -> dict[str, Any]:
        """Compress one network with one setting and measure it."""
        network, seconds, peak = self._compress(settings)
        if epochs > 0:
            network, more, peak = self._finetune(network, settings, epochs)
            seconds += more
        model = to_compressed(network, re.sub(r"\W", "_", self.name))
        logits = _logits(model, self.data.test)
        right = logits.argmax(1) == self.data.labels
        difference = self.right.astype(float) - right.astype(float)
        return {
            "network": self.name,
            "sparsity_percent": round(100 * settings.sparsity),
            "weight_bits": settings.weight_bits,
            "activation_bits": settings.activation_bits,
            "method": settings.method,
            "finetuned": epochs,
            "dense_accuracy": f"{100 * self.right.mean():.2f}",
            "accuracy": f"{100 * right.mean():.2f}",
            "loss_points": f"{100 * difference.mean():.2f}",
            "paired_se": f"{100 * difference.std(ddof=1) / math.sqrt(len(right)):.2f}",
            "images": len(right),
            "bytes": len(container.encode(model)),
            "seconds": f"{seconds:.1f}",
            "peak_mb": f"{peak:.0f}",
        }


def _logits(model: Any, images: Bytes) -> NDArray[np.int64]:
    """Integer logits by onnxruntime, some of them compared with the integer model's."""
    logits = run_onnx(export_onnx(model), images, _BATCH)
    np.testing.assert_array_equal(logits[:_CHECKED], model.run(images[:_CHECKED]))
    return logits


def _reset_peak() -> None:
    """Start to measure the peak of this process's memory anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def _known(out: Path) -> list[dict[str, str]]:
    if not out.is_file():
        return []
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    names = ("network", "sparsity_percent", "weight_bits", "method", "finetuned")
    return tuple(str(row[name]) for name in names)


def _write(out: Path, rows: Iterable[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    order = {name: i for i, name in enumerate((*SUBJECTS, *METHODS))}
    writer.writerows(
        sorted(
            rows,
            key=lambda r: (
                order[r["network"]],
                order[r["method"]],
                int(r["finetuned"]),
                -int(r["weight_bits"]),
                int(r["sparsity_percent"]),
            ),
        )
    )
    write_atomic(out, text.getvalue())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the rows that are missing; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", default=os.environ.get("PYADMM_DATA_DIR"), type=Path)
    parser.add_argument("--out", default=OUT, type=Path)
    parser.add_argument("--networks", nargs="+", default=list(SUBJECTS), choices=list(SUBJECTS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--bits", nargs="+", default=[8, 4], type=int)
    parser.add_argument("--sparsities", nargs="+", default=list(SPARSITIES), type=int)
    parser.add_argument("--calibration", default=1000, type=int, help="images at most")
    parser.add_argument("--finetune", default=0, type=int, metavar="EPOCHS")
    parser.add_argument("--state", type=Path, metavar="DIR", help="go on after an interruption")
    options = parser.parse_args(arguments)
    if options.data_dir is None:
        parser.error("give --data-dir or set PYADMM_DATA_DIR")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    for name in options.networks:
        runs = None
        for method, bits, percent in product(options.methods, options.bits, options.sparsities):
            settings = PostTraining(percent / 100, bits, method=method)
            wanted = name, str(percent), str(bits), method, str(options.finetune)
            if wanted in {_key(row) for row in _known(options.out)}:
                continue
            runs = runs or Runs(name, options.data_dir, options.calibration, options.state)
            row = runs.row(settings, options.finetune)
            print(",".join(str(row[field]) for field in FIELDS), flush=True)
            _write(options.out, [*_known(options.out), row])
    return 0


if __name__ == "__main__":
    sys.exit(main())
