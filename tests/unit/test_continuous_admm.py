"""One uninterrupted ADMM: its target, its residuals, and going on where it was stopped."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pyadmm.compression.phase import PhaseResult
from pyadmm.compression.pipeline import admm_phase, to_network, train_dense
from pyadmm.settings import CompressSettings, from_dict
from pyadmm.training.checkpoint import Checkpoint
from pyadmm.training.data import Data
from pyadmm.training.seeds import digest_of
from tests.unit.quarters import quarter_data, quarter_model

torch.set_num_threads(1)

_SHAPE = (1, 8, 8)


def _settings(**continuous: Any) -> CompressSettings:
    return from_dict(
        {
            "preset": "quick",
            "pruning_ratio": 8,
            "filters_kept": 0.7,
            "neurons_kept": 0.5,
            "dense": {"epochs": 4, "lr": 5e-3, "batch_size": 32, "shift_pixels": 0},
            "admm": {
                "first_ratio": 3,
                "lr": 1e-2,
                "batch_size": 32,
                "curvature": 0.5,
            },
            "continuous": {"epochs": 6, "updates": 1, "ramp": 0.5, **continuous},
        }
    )


@cache
def _trained() -> tuple[nn.Module, Data]:
    """The dense network, which all settings of these tests train alike, and its data."""
    model, data = quarter_model(), quarter_data()
    train_dense(model, _settings(), data)
    return model, data


def _pruned(settings: CompressSettings, folder: Path | None = None) -> PhaseResult:
    assert settings.dense == _settings().dense
    model, data = _trained()
    return admm_phase(to_network(model, settings, _SHAPE), settings, data, checkpoint_dir=folder)


def test_the_target_tightens_and_both_residuals_fall() -> None:
    result = _pruned(_settings(epochs=12))
    records, network = result.records, result.network
    assert [r.phase for r in records] == ["admm"] * 12
    assert [r.nnz for r in records] == sorted((r.nnz for r in records), reverse=True)
    assert records[-1].nnz <= network.weights // 8 < records[0].nnz
    assert network.nnz <= records[-1].nnz
    assert records[-1].val_accuracy > 0.9
    held = records[5:-1]  # the target is reached, the learning rate falls
    assert held[-1].primal is not None
    assert held[0].primal is not None
    assert held[-1].primal < held[0].primal / 2
    assert held[-1].dual is not None
    assert held[0].dual is not None
    assert held[-1].dual < held[0].dual / 2
    assert result.status[0].startswith("not converged: primal")


def test_a_run_says_that_it_has_converged() -> None:
    """With the penalty that holds at the end, ``W`` is where ``Z`` is."""
    settings = _settings(epochs=12, rho=100.0)
    loose = replace(settings, admm=replace(settings.admm, tolerance=0.005))
    assert _pruned(loose).status == ("converged",)


def test_channels_that_may_not_stay_are_gone_from_the_start() -> None:
    layers = _pruned(_settings()).network.layers
    assert len(layers["0"].outputs) <= 5
    assert len(layers["5"].outputs) <= 12


@pytest.mark.parametrize("levels_from", [0.0, 0.5])
def test_levels_are_part_of_the_constraint(levels_from: float) -> None:
    """From then on ``Z`` holds at most ``2 ** bits`` values a layer."""
    seen: list[list[int]] = []
    settings = _settings(levels_from=levels_from)
    save = Checkpoint.save

    def look(self: Checkpoint, state: Any) -> None:
        seen.append([len(z[z != 0].unique()) for z in state["admm"]["z"]])
        save(self, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", look)
        _pruned(settings)
    most = 1 << settings.weight_bits
    on_levels = [max(values) <= most for values in seen]
    assert on_levels == [number >= levels_from * 6 for number in range(6)]


def test_an_interrupted_run_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _settings(relaxation=1.5, balance=1.2, levels_from=0.5)
    expected = _pruned(settings)
    save = Checkpoint.save

    def save_then_stop(self: Checkpoint, state: Any) -> None:
        save(self, state)
        if "admm" in state and state["epoch"] in {2, 4}:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_then_stop)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                _pruned(settings, tmp_path)
    resumed = _pruned(settings, tmp_path)
    assert digest_of(resumed.network.state()) == digest_of(expected.network.state())
    plain = [{**asdict(r), "seconds": 0.0} for r in expected.records]
    assert [{**asdict(r), "seconds": 0.0} for r in resumed.records] == plain


def test_every_ingredient_changes_the_result() -> None:
    base = _settings()
    variants = [
        base,
        _settings(relaxation=1.6),
        _settings(balance=1.5, updates=4),
        _settings(slack=1.0),
        _settings(follow=False),
        _settings(rho=1e-9),
        _settings(growth=1.1),
        _settings(memory=0.5),
        replace(base, admm=replace(base.admm, curvature=0.0)),
        replace(base, admm=replace(base.admm, crowding=0.5)),
    ]
    assert len({digest_of(_pruned(s).network.state()) for s in variants}) == len(variants)
