"""The tables of the documentation are those of the measured rows."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from experiments.page_tables import read, with_tables
from experiments.post_training import FIELDS, OUT
from experiments.post_training_table import (
    DOCS,
    SIZES,
    loss_table,
    packed_bytes,
    size_table,
    tables,
    targets_table,
)
from pyadmm.core.errors import PyadmmError
from pyadmm.model import InputSpec
from pyadmm.model.types import QFormat
from pyadmm.network.trace import trace


def test_the_page_has_the_tables_of_the_rows() -> None:
    made = with_tables(DOCS, tables(read(OUT), read(SIZES)))
    text = DOCS.read_text(encoding="utf-8")
    assert made == text, "run python -m experiments.post_training_table"


def row(**changed: str) -> dict[str, str]:
    values = ("ds_cnn", "50", "8", "8", "admm", "0", "90.00", "88.75", "1.25", "0.40", "300")
    return dict(zip(FIELDS, (*values, "1000", "1.5", "400"), strict=True)) | changed


def test_losses_stand_by_method_and_sparsity() -> None:
    rows = [
        row(),
        row(sparsity_percent="0", loss_points="-0.04"),
        row(sparsity_percent="90", finetuned="8", loss_points="-2.50"),
        row(method="greedy", weight_bits="4"),
    ]
    assert loss_table(rows).splitlines()[2:] == [
        "| DS-CNN, 8 | ADMM | 0.0 ± 0.4 | 1.2 ± 0.4 | | | |",
        "| | ADMM, distilled | | | | | −2.5 ± 0.4 |",
        "| DS-CNN, 4 | greedy | | 1.2 ± 0.4 | | | |",
    ]


def test_sizes_are_compared_with_float32() -> None:
    size = {"network": "ds_cnn", "float32_bytes": "8000", "int8_gzip_bytes": "2000"}
    last = size_table([row()], [size]).splitlines()[-1]
    assert last == "| DS-CNN | 8,000 | 2,000 (4.0×) | | | 1,000 (8.0×) | | | |"


def test_targets_are_shown_with_what_is_left() -> None:
    networks = ("resnet8", "ds_cnn", "vww_mobilenet_v1_025_96")
    rows = [row(network=n, sparsity_percent=s) for n in networks for s in ("0", "50")]
    assert targets_table(rows).splitlines()[3] == (
        "| DS-CNN | 90 % | 90.00 % | 88.75 % | 88.75 % |"
    )


def test_packed_bytes_are_those_of_weights_scales_and_biases() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    weight = torch.tensor([[1.27, -0.5, 0.0, 0.01], [0.0, 0.0, 0.0, 0.0]])
    with torch.no_grad():
        module[1].weight.copy_(weight)
    network = trace(module, InputSpec((1, 2, 2), QFormat(8, False, 1.0))).fold_norms()
    codes = np.array([[127, -50, 0, 1], [0, 0, 0, 0]], np.int8)
    scales = np.array([0.01, 1e-30 / 127], np.float32)
    data = codes.tobytes() + scales.tobytes() + module[1].bias.detach().numpy().tobytes()
    assert packed_bytes(network) == (4 * 10, len(gzip.compress(data, 9, mtime=0)))


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(PyadmmError, match="marks"):
        with_tables(page, {"losses": "| a |"})
