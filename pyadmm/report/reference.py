"""Published results that a report shows next to ours; the figures are in ``reference/*.csv``.

What a figure counts differs from paper to paper, so every row says it (:attr:`counts`): the bits of
the weights alone, weights and indices, or every byte of a file.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pyadmm.report.record import RunRecord

_FOLDER = Path(__file__).resolve().parent / "reference"
OUR_COUNTS = "everything (file on disk)"


@dataclass(frozen=True)
class LiteratureRow:
    """One published result of a network.

    :param loss_points: accuracy lost against the paper's dense network, percentage points.
    :param size_ratio: dense 32-bit size over compressed size, as far as ``counts`` says.
    """

    method: str
    metric: str
    accuracy_percent: float | None
    loss_points: float | None
    pruning_ratio: float | None
    nnz: int | None
    bytes: int | None
    size_ratio: float | None
    counts: str
    source: str
    ours: bool = False


@cache
def literature(model: str) -> tuple[LiteratureRow, ...]:
    """Published results on ``model``, none for a model without any.

    >>> [row.bytes for row in literature("LeNet-5") if row.method == "ADMM-NN joint"]
    [890, 2730]
    """
    return tuple(
        LiteratureRow(
            method=row["method"],
            metric=row["metric"],
            accuracy_percent=_number(row["accuracy_percent"]),
            loss_points=_number(row["loss_points"]),
            pruning_ratio=_number(row["pruning_ratio"]),
            nnz=_count(row["nnz"]),
            bytes=_count(row["bytes"]),
            size_ratio=_number(row["size_ratio"]),
            counts=row["counts"],
            source=row["source"],
        )
        for row in _rows("literature.csv", model)
    )


@cache
def literature_ratios(model: str) -> dict[str, float]:
    """Published pruning ratio of the layers of ``model`` (ADMM-NN), by layer name.

    >>> literature_ratios("lenet5")["fc1"]
    500.0
    """
    return {row["layer"]: 100 / float(row["kept_percent"]) for row in _rows("layers.csv", model)}


def our_row(record: RunRecord) -> LiteratureRow:
    """The run itself, in the shape of a published result."""
    accuracy, dense = record.accuracies.integer_test, record.accuracies.dense_test
    file = record.file
    return LiteratureRow(
        method="pyadmm, this run",
        metric="top-1",
        accuracy_percent=None if accuracy is None else 100 * accuracy.value,
        loss_points=100 * (dense.value - accuracy.value) if dense and accuracy else None,
        pruning_ratio=record.pruning_ratio,
        nnz=record.nnz,
        bytes=None if file is None else file.bytes,
        size_ratio=None if file is None else file.ratio,
        counts=OUR_COUNTS,
        source="integer model, this record",
        ours=True,
    )


_BENCHMARKS = {"lenet": "MNIST", "resnet20": "CIFAR-10", "resnet56": "CIFAR-10"}
"""First letters of a model's name to the data set that published results on it are for."""


def comparison(record: RunRecord) -> tuple[LiteratureRow, ...]:
    """Our row first, then the published ones on the same model and data set."""
    return (our_row(record), *literature(comparable_model(record)))


def comparable_model(record: RunRecord) -> str:
    """The run's model, or nothing where it was trained on other data than published results are."""
    model, data = record.run.model or "", record.dataset.name
    for start, benchmark in _BENCHMARKS.items():
        if model.startswith(start) and data is not None and not data.startswith(benchmark):
            return ""
    return model


def _rows(name: str, model: str) -> Iterator[dict[str, str]]:
    key = re.sub(r"[^a-z0-9]", "", model.lower())
    with (_FOLDER / name).open(encoding="utf-8", newline="") as file:
        yield from (row for row in csv.DictReader(file) if row["model"] == key)


def _number(text: str) -> float | None:
    return float(text) if text else None


def _count(text: str) -> int | None:
    return int(text) if text else None
