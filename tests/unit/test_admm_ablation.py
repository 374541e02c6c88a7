"""The ablation of ADMM: what its variants have in common, its means and its pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.admm_ablation import plot, write_residuals
from experiments.admm_table import DOCS, means_table, numbers, page_tables, pairs_table, paper_table
from experiments.admm_variants import SUBJECTS, VARIANTS, settings_of
from experiments.page_tables import with_tables
from pyadmm.core.errors import PyadmmError
from pyadmm.flow.estimate import epochs_of


@pytest.mark.parametrize("network", SUBJECTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_all_variants_train_for_as_many_epochs(network: str, variant: str) -> None:
    subject = SUBJECTS[network]
    for ratio, bits in subject.bits.items():
        settings = settings_of(network, variant, ratio, 3)
        epochs = epochs_of(settings)
        assert epochs["prune"] + epochs["retrain"] == subject.pruning
        assert epochs["quantize"] + settings.admm.level_iterations == subject.levels
        assert settings.dense == subject.base.dense
        assert (settings.pruning_ratio, settings.weight_bits, settings.seed) == (ratio, bits, 3)


def test_the_network_without_a_penalty_differs_by_the_penalty_alone() -> None:
    ours, without = (settings_of("lenet5", name, 110.0, 0) for name in ("ours", "ours, rho 0"))
    assert ours.continuous.rho > 1
    assert without.continuous.rho < 1e-6
    changed = without.to_dict()
    changed["continuous"]["rho"] = ours.continuous.rho
    assert changed == ours.to_dict()


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(PyadmmError, match="variant 'theirs' is unknown; choose from: ours; "):
        settings_of("lenet5", "theirs", 110.0, 0)


def test_residuals_are_written_and_plotted(tmp_path: Path) -> None:
    common = {"network": "lenet5", "ratio": 110.0, "variant": "ours", "seed": 0}
    rows = [{**common, "history": [[0, 0.0, 0.5], [1, 0.25, 0.125], [2, 0.001, 0.0]]}]
    write_residuals(rows, tmp_path / "r.csv")
    lines = (tmp_path / "r.csv").read_text().splitlines()
    assert lines[0] == "network,ratio,variant,seed,epoch,primal,dual"
    assert lines[2] == "lenet5,110.0,ours,0,1,0.25,0.125"
    plot(rows, tmp_path / "r.svg")
    assert "primal" in (tmp_path / "r.svg").read_text()


def row(**changed: Any) -> dict[str, Any]:
    return {
        "network": "lenet5",
        "ratio": 110.0,
        "weight_bits": 3,
        "variant": "ours",
        "seed": 0,
        "val_loss": 0.03,
        "val_accuracy": 0.99,
        "spare_loss": None,
        "train_loss": 0.02,
        "test_accuracy": None,
        "bytes": 3000,
        "cpu_minutes": 0.5,
        **changed,
    }


def test_means_have_standard_errors() -> None:
    rows = [row(seed=1, val_loss=0.05), row(), row(variant="rounds", bytes=3100)]
    assert means_table(rows).splitlines()[2:] == [
        "| lenet5, 110x, 3 | one continuous run of ADMM | 2 | 0.0400 ± 0.0100 | 99.00 ± 0.00 | | "
        "0.0200 ± 0.0000 | | 3,000 ± 0 | 0.50 ± 0.00 |",
        "| | the rounds that `quick` had in version 0.1 | 1 | 0.0300 | 99.00 | | 0.0200 | | 3,100 | "
        "0.50 |",
    ]


def test_pairs_are_of_the_same_seed() -> None:
    """Seeds that one of the two has not are left out; the differences have the mean 0.02."""
    rows = [
        row(seed=0),
        row(seed=1, val_loss=0.05, val_accuracy=0.98),
        row(seed=2),
        row(variant="rounds", seed=1, val_loss=0.02, val_accuracy=0.99),
        row(variant="rounds", seed=0, val_loss=0.02, val_accuracy=0.99),
        row(variant="rounds", seed=3),
        row(variant="gradual", seed=7),
    ]
    assert pairs_table(rows).splitlines()[2:] == [
        "| lenet5, 110x | the rounds that `quick` had in version 0.1 | 2 | +0.0200 ± 0.0100 | | "
        "−0.50 ± 0.50 | |"
    ]


def test_the_rows_of_the_paper_stand_beside_its_figures() -> None:
    facts = {"preset": "admm-nn-167", "nnz": 2450, "weight_bytes": 2450, "bytes": 4000}
    rows = [{**facts, "validation_accuracy": v, "test_accuracy": None} for v in (0.98, 0.99)]
    assert paper_table(rows).splitlines()[2:] == [
        "| `admm-nn-167` | 2,580 weights (167x), 99.0 % | 2 | 2,450 ± 0 | 2,450 ± 0 | 4,000 ± 0 | "
        "98.50 ± 0.50 | |"
    ]


def test_a_row_of_the_file_has_numbers() -> None:
    assert numbers({"variant": "ours", "seed": "3", "test_accuracy": ""}) == {
        "variant": "ours",
        "seed": 3.0,
        "test_accuracy": None,
    }


def test_the_page_has_the_tables_of_the_rows() -> None:
    made = with_tables(DOCS, page_tables())
    text = DOCS.read_text(encoding="utf-8")
    assert made == text, "run python -m experiments.admm_table"
