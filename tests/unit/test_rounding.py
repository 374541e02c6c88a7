"""Rounding by a second-order model: the curvature, the search, and what comes of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pyadmm import container
from pyadmm.compression import gauss_newton as curved
from pyadmm.compression.byte_budget import prune_to_budget, smallest
from pyadmm.compression.gauss_newton import Variables, curvature
from pyadmm.compression.phase import PhaseContext, augmented_loss
from pyadmm.compression.pipeline import admm_phase, quantize, to_integer, to_network, train_dense
from pyadmm.core.errors import PyadmmError
from pyadmm.cpu_kernels.anneal import anneal
from pyadmm.network.activation_scales import calibrate
from pyadmm.network.execution import Numerics
from pyadmm.network.graph import Network
from pyadmm.network.to_integer import snap_scales, to_compressed
from pyadmm.settings import CompressSettings, from_dict
from pyadmm.training.checkpoint import EpochRecord
from pyadmm.training.data import Data
from pyadmm.training.distillation import Teacher
from tests.unit.quarters import quarter_data as _data
from tests.unit.quarters import quarter_images as _images
from tests.unit.quarters import quarter_model as _model

pytestmark = pytest.mark.slow

torch.set_num_threads(1)

_TRAIN = {"lr": 5e-3, "batch_size": 32, "shift_pixels": 0}


def _settings(**values: Any) -> CompressSettings:
    small = {
        "pruning_ratio": 3,
        "weight_bits": 2,
        "filters_kept": 1,
        "neurons_kept": 1,
        "dense": {"epochs": 6, **_TRAIN},
        "continuous": {"epochs": 0},
        "admm": {"rounds": 1, "iterations": 1, "retrain_epochs": 4, "curvature": 0, **_TRAIN},
        "quantize": {"epochs": 0, **_TRAIN},
        "rounding": {"candidates": 2, "images": 600},
        "distill": {"weight": 0.0},
    }
    return from_dict({**small, **values})


def _pruned(settings: CompressSettings, *, norm: bool = False) -> Network:
    model = _model(norm=norm)
    train_dense(model, settings, _data())
    return admm_phase(to_network(model, settings, (1, 8, 8)), settings, _data()).network


def _context(settings: CompressSettings) -> PhaseContext:
    return PhaseContext("rounding", settings, _data(), None, None, None)


# --- the search ----------------------------------------------------------------------------------


def _form(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Curvature with strong ties between its variables, slope and steps."""
    generator = torch.Generator().manual_seed(seed)
    roots = torch.randn(count, count, generator=generator, dtype=torch.float64)
    roots += 2 * torch.randn(count, 1, generator=generator, dtype=torch.float64)
    slope = 20 * torch.randn(count, generator=generator, dtype=torch.float64)
    return roots @ roots.T, slope, 0.3 + torch.rand(count, generator=generator).double()


def _energy(form: tuple[Tensor, Tensor, Tensor], codes: Tensor, new: Tensor) -> float:
    matrix, slope, step = form
    way = step * (new - codes)
    return float(slope @ way + way @ matrix @ way / 2)


@pytest.mark.parametrize("seed", range(6))
def test_annealing_finds_the_minimum_of_small_forms(seed: int) -> None:
    form = _form(6, seed)
    limit = torch.tensor([2, 2, 1, 2, 2, 1])
    zero = torch.tensor([False, True, False, False, True, True])
    codes = torch.tensor([1, 0, -1, 2, 0, 1])
    found = anneal(
        *form, codes, limit=limit, zero=zero, sweeps=5000, hot=100.0, cold=1e-2, seed=seed
    )
    ranges = [
        [c for c in range(-m, m + 1) if c or z]
        for m, z in zip(limit.tolist(), zero.tolist(), strict=True)
    ]
    every = [torch.tensor(chosen) for chosen in product(*ranges)]
    assert found.tolist() in [e.tolist() for e in every]
    least = min(_energy(form, codes, chosen) for chosen in every)
    assert _energy(form, codes, found) == pytest.approx(least)
    assert least < 0


def test_annealing_repeats_and_is_never_worse_than_its_start() -> None:
    form = _form(40, 1)
    codes = torch.ones(40, dtype=torch.int64)
    limit, zero = torch.full((40,), 8), torch.zeros(40, dtype=torch.bool)
    bounds: dict[str, Any] = {"limit": limit, "zero": zero, "sweeps": 50, "cold": 1e-2}
    first, again = (anneal(*form, codes, hot=1.0, seed=5, **bounds) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    wild = anneal(*form, codes, hot=1e6, seed=5, **{**bounds, "cold": 1e6})
    assert _energy(form, codes, wild) <= 0
    still = anneal(*form, codes, hot=0.0, seed=5, **{**bounds, "cold": 0.0})
    assert _energy(form, codes, still) < 0, "without heat it goes downhill"


# --- the curvature -------------------------------------------------------------------------------


def _exact(network: Network, images: Tensor, temperature: float) -> Tensor:
    """Gauss-Newton matrix of cross-entropy at a temperature, from all slopes of all logits."""
    variables = Variables.of(network)
    layers = network.layers
    parameters = [p for layer in layers.values() for p in (layer.weight, layer.bias)]
    total = torch.zeros(2 * (len(variables.are_weights),), dtype=torch.float64)
    for codes in network.encode(images):
        logits = network(codes[None])[0]
        rows = []
        for logit in logits:
            found = iter(torch.autograd.grad(logit, parameters, retain_graph=True))
            rows.append(variables.gather({name: (next(found), next(found)) for name in layers}))
        slopes = torch.stack(rows)
        shares = (logits.detach() / temperature).softmax(0).double()
        total += slopes.T @ (torch.diag(shares) - shares[:, None] * shares) @ slopes
    return total / len(images)


@pytest.mark.parametrize(("soft", "temperature"), [(0.0, 1.0), (1.0, 3.0)])
def test_the_curvature_is_that_of_the_loss_in_the_logits(soft: float, temperature: float) -> None:
    settings = _settings(distill={"weight": soft, "temperature": temperature})
    network = _pruned(settings)
    data = Data(_images(1000, 3), _images(10, 4))
    context = PhaseContext("rounding", settings, data, None, None, None)
    if soft:
        context = replace(context, teacher=Teacher(network, network.encode))
    draws = [curvature(network, 1000, settings.quantize, context, seed) for seed in range(20)]
    found = torch.stack(draws).mean(0)
    wanted = _exact(network, data.train.images, temperature if soft else 1.0)
    assert torch.equal(found, found.T)
    assert float((found - wanted).norm() / wanted.norm()) < 0.1
    torch.testing.assert_close(found.trace(), wanted.trace(), rtol=0.05, atol=0)


def test_too_many_variables_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings()
    network = _pruned(settings)
    monkeypatch.setattr(curved, "MOST_VARIABLES", 10)
    with pytest.raises(PyadmmError, match=r"weights and biases are left.*set candidates to 0"):
        quantize(network, settings, _data())


# --- the rounding --------------------------------------------------------------------------------


def _nearest(network: Network, settings: CompressSettings) -> Network:
    rounded = network.fold_norms()
    for layer in rounded.layers.values():
        if layer.log_q.ndim == 0:
            layer.fit_weight_scale()
    calibrate(rounded, _data().train)
    rounded = rounded.at(Numerics.INTEGER)
    snap_scales(rounded, settings.mult_bits)
    return rounded


@pytest.mark.parametrize("norm", [False, True])
def test_a_rounding_is_better_than_the_nearest_levels(norm: bool) -> None:
    settings = _settings()
    network = _pruned(settings, norm=norm)
    result = quantize(network, settings, _data())
    rounded = result.network
    losses = [r.loss for r in result.records]
    assert [r.phase for r in result.records] == ["rounding"] * 2
    assert losses == sorted(losses, reverse=True)
    context = _context(settings)
    assert augmented_loss(rounded, settings.quantize, context) == losses[-1]
    folded = network.fold_norms()
    trained = augmented_loss(folded, settings.quantize, context)
    nearest = augmented_loss(_nearest(network, settings), settings.quantize, context)
    assert losses[-1] - trained < 0.7 * (nearest - trained)
    assert rounded.nnz == network.nnz
    for name, layer in rounded.layers.items():
        assert torch.equal(layer.mask, folded.layers[name].mask)
        assert torch.equal(layer.frozen, layer.weight_codes()), "every weight is at a level"
    np.testing.assert_allclose(
        to_integer(rounded, _data()).validation_accuracy, result.records[-1].val_accuracy
    )


def test_polish_goes_on_from_a_rounding() -> None:
    polish = {"cycles": 3, "share": 0.3, "lr": 5e-3}
    result = quantize(_pruned(_settings()), _settings(local_search=polish), _data())
    assert [r.phase for r in result.records] == ["rounding"] * 2 + ["local-search"] * 3
    losses = [r.loss for r in result.records]
    assert losses[1:] == sorted(losses[1:], reverse=True)


def test_a_rounding_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    class _Stopped(Exception):
        pass

    def stop(record: EpochRecord, epochs: int) -> None:
        if record.epoch == 1:
            raise _Stopped

    settings = _settings(rounding={"candidates": 4, "images": 600})
    network = _pruned(settings)
    whole = quantize(network, settings, _data())
    with pytest.raises(_Stopped):
        quantize(network, settings, _data(), checkpoint_dir=tmp_path, progress=stop)
    resumed = quantize(network, settings, _data(), checkpoint_dir=tmp_path)
    assert [r.loss for r in resumed.records] == [r.loss for r in whole.records]
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], tensor), name


@pytest.mark.parametrize("other", [{"most_bytes": 400}, {"mult_bits": 7}])
def test_a_rounding_of_other_settings_is_done_anew(other: dict[str, Any], tmp_path: Path) -> None:
    network = _pruned(_settings())
    quantize(network, _settings(), _data(), checkpoint_dir=tmp_path)
    told: list[EpochRecord] = []
    quantize(
        *(network, _settings(**other), _data()),
        checkpoint_dir=tmp_path,
        progress=lambda record, _: told.append(record),
    )
    assert "rounding" in {record.phase for record in told}


def _size(network: Network) -> int:
    return len(container.encode(smallest(to_compressed(network, "quarters"))))


def test_what_a_small_file_leaves_out_is_made_up_for() -> None:
    settings = _settings()
    network = _pruned(settings)
    free = quantize(network, settings, _data(), name="quarters").network
    most = _size(free) - 12
    budget = replace(settings, most_bytes=most)
    fitting = quantize(network, budget, _data(), name="quarters").network
    assert _size(fitting) <= most
    assert fitting.nnz < free.nnz
    for layer in fitting.layers.values():
        assert torch.equal(layer.frozen, layer.weight_codes())
    trimmed = free.copy()
    prune_to_budget(trimmed, most, replace(_context(budget), model_name="quarters"))
    context = _context(settings)
    losses = [augmented_loss(n, settings.quantize, context) for n in (free, fitting, trimmed)]
    assert losses[1] - losses[0] < 0.7 * (losses[2] - losses[0])
