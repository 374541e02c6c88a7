"""The networks of the experiment have the published sizes; its results merge by network."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.sequential import Row, ideal_cycles, merged
from experiments.sequential_networks import random_network
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.hardware.sequential.compiler import compile_model


@pytest.mark.parametrize(
    ("name", "macs", "weights"),
    [
        ("ds-cnn", 2_656_768, 22_016),
        ("vww-mobilenet", 7_489_664, 208_112),
        ("resnet8", 12_501_632, 77_360),
    ],
)
def test_networks_have_their_published_sizes(name: str, macs: int, weights: int) -> None:
    model = random_network(name)
    assert sum(layer.spec.macs for layer in model.layers) == macs
    assert model.weights == weights
    assert model.nnz == weights
    assert ideal_cycles(model, SequentialArray()) == macs / 256


@pytest.mark.slow
def test_inverted_residuals_are_chains_and_sums_in_place() -> None:
    """The planner begins anew after a sum in place did not fit: the chain that comes first then has a place."""
    compiled = compile_model(random_network("mobilenet-v2"))
    chained = {step.step.lowered.name for step in compiled.steps if step.rolling}
    assert {"conv1", "block1.0.depthwise"} <= chained
    assert len(compiled.runs) == sum(len(step.runs) for step in compiled.steps)


def test_a_new_row_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    row = Row(
        "b", "pynq-z2", "1/2", "8", "4x64", 1, 10, 100, "target", 1.0, "1/1", 0.5, "", "random"
    )
    path = tmp_path / "results.csv"
    path.write_text(merged([row, replace(row, network="a")], path))
    path.write_text(merged([replace(row, board="kv260", cycles_per_image=5)], path))
    path.write_text(merged([replace(row, cycles_per_image=7)], path))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [(one["network"], one["board"], one["cycles_per_image"]) for one in rows]
    assert found == [("a", "pynq-z2", "10"), ("b", "kv260", "5"), ("b", "pynq-z2", "7")]
