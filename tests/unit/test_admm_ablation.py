"""The ablation of ADMM: what its variants have in common, and its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.admm_ablation import SUBJECTS, VARIANTS, plot, settings_of, table, write_residuals
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


def test_the_table_has_means_and_standard_errors() -> None:
    row = {
        "network": "lenet5",
        "ratio": 110.0,
        "variant": "ours",
        "val_accuracy": 0.99,
        "spare_loss": None,
        "train_loss": 0.02,
        "test_accuracy": None,
        "bytes": 3000,
        "primal": 1e-3,
        "dual": 1e-4,
        "cpu_minutes": 0.5,
    }
    text = table([{**row, "val_loss": 0.03}, {**row, "val_loss": 0.05}])
    assert text.splitlines()[-1].startswith("| lenet5, 110x | ours | 2 | 0.0400 ± 0.0100 | 99.00 ")
