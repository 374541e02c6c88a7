"""The pipeline on a small synthetic task: targets, errors before training, and killing it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pyadmm
from pyadmm import container
from pyadmm.compression import admm_rounds, regrow
from pyadmm.compression import pipeline as compression
from pyadmm.compression.byte_budget import smallest
from pyadmm.compression.fisher import gradient_statistics
from pyadmm.compression.phase import PhaseContext
from pyadmm.compression.pipeline import (
    admm_phase,
    quantize,
    retrain,
    shared_teacher,
    to_integer,
    to_network,
    train_dense,
)
from pyadmm.core.errors import PyadmmError
from pyadmm.network.graph import Network
from pyadmm.settings import CompressSettings, from_dict
from pyadmm.training import devices
from pyadmm.training.augmentation import Augmentation, batches, distorted, shifted
from pyadmm.training.checkpoint import EpochRecord
from pyadmm.training.data import Data, Images, accuracy
from pyadmm.training.distillation import Teacher, distillation_loss
from pyadmm.training.seeds import digest_of
from pyadmm.training.trainer import EpochTrainer
from tests.unit.quarters import quarter_data as _data
from tests.unit.quarters import quarter_images as _images
from tests.unit.quarters import quarter_model as _model

pytestmark = pytest.mark.slow

torch.set_num_threads(1)


def _settings(**values: Any) -> CompressSettings:
    small = {
        "pruning_ratio": 8,
        "filters_kept": 1,
        "neurons_kept": 1,
        "dense": {"epochs": 4, "lr": 5e-3, "batch_size": 32, "shift_pixels": 0},
        "continuous": {"epochs": 0},
        "admm": {
            "rounds": 2,
            "first_ratio": 3,
            "iterations": 2,
            "rho": 0.1,
            "retrain_epochs": 1,
            "lr": 3e-3,
            "batch_size": 32,
            "shift_pixels": 0,
            "curvature": 0,
        },
        "retrain": {"epochs": 3, "lr": 3e-3, "batch_size": 32, "shift_pixels": 0},
        "quantize": {"epochs": 4, "lr": 3e-3, "batch_size": 32, "shift_pixels": 1},
        "layers": [],
    }
    return from_dict({"preset": "quick", **small, **values})


def _run(folder: Path | None, settings: CompressSettings) -> tuple[Any, list[EpochRecord]]:
    model, data = _model(), _data()
    records = train_dense(model, settings, data, checkpoint_dir=folder)
    dense = to_network(model, settings, (1, 8, 8))
    pruned = admm_phase(dense, settings, data, checkpoint_dir=folder)
    tuned = retrain(pruned.network, settings, data, checkpoint_dir=folder, teacher=dense)
    final = quantize(tuned.network, settings, data, checkpoint_dir=folder, teacher=dense)
    return final.network, [*records, *pruned.records, *tuned.records, *final.records]


def test_pipeline_reaches_target_and_accuracy() -> None:
    settings = _settings()
    network, records = _run(None, settings)
    result = to_integer(network, _data(), "quarters")
    dense = [r for r in records if r.phase == "dense"]
    assert dense[-1].val_accuracy > 0.95
    assert result.validation_accuracy > 0.93
    assert result.model.pruning_ratio >= 8
    assert result.model.pruning_ratio < 16
    assert [r.phase for r in records if r.primal is not None] == ["admm-1"] * 2 + ["admm-2"] * 2
    first, second = [r for r in records if r.phase == "admm-1"]
    assert second.primal is not None
    assert first.primal is not None
    assert second.primal < first.primal
    assert second.rho == pytest.approx(0.13)
    for layer in result.model.layers:
        assert layer.weight_bits == settings.weight_bits
        assert np.abs(layer.codes).max() <= layer.max_code


def test_library_call_takes_loaders_and_leaves_the_model_alone() -> None:
    data = _data()
    model = _model()
    settings = _settings(quantize={"epochs": 1}, retrain={"epochs": 1})
    before = {k: v.clone() for k, v in model.state_dict().items()}
    loaders = [
        DataLoader(TensorDataset(part.images.float() / 255, part.labels), batch_size=64)
        for part in (data.train, data.validation)
    ]
    compressed = pyadmm.compress(model, settings, *loaders, name="quarters")
    again = pyadmm.compress(model, settings, data.train, data.validation, name="quarters")
    assert compressed.pruning_ratio >= 8
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    for one, other in zip(compressed.layers, again.layers, strict=True):
        np.testing.assert_array_equal(one.codes, other.codes)
        np.testing.assert_array_equal(one.bias, other.bias)
        assert one.requant == other.requant


def test_per_layer_targets_hold() -> None:
    settings = _settings(
        pruning_ratio=4,
        layers=[
            {"pattern": "0", "ratio": 1, "weight_bits": 5},
            {"pattern": "5", "ratio": 10, "outputs": 6, "weight_bits": 1, "activation_bits": 6},
        ],
    )
    network, _ = _run(None, settings)
    model = to_integer(network, _data()).model
    conv, hidden = model.layer("0"), model.layer("5")
    assert conv.weight_bits == 5
    assert conv.output.bits == 4
    assert hidden.nnz <= 129
    assert set(np.unique(hidden.codes)) <= {-1, 0, 1}
    assert hidden.output.bits == 6
    assert np.any(hidden.codes, axis=1).sum() <= 6


def test_layers_below_break_even_stay_dense() -> None:
    settings = _settings(break_even={"0": 30.0}, pruning_ratio=5)
    data = _data()
    dense = to_network(_model(), settings, (1, 8, 8))
    result = admm_phase(dense, settings, data)
    assert {d.layer: d.ratio for d in result.decisions}["0"] == 1.0
    assert result.network.nnz <= 1446 / 5
    assert result.network.layers["0"].nnz == 9 * len(result.network.layers["0"].outputs)


def test_dense_layers_keep_all_weights_of_the_filters_that_live() -> None:
    settings = _settings(break_even={"0": 30.0}, pruning_ratio=5, filters_kept=0.5)
    data = _data()
    dense = to_network(_model(), settings, (1, 8, 8))
    result = admm_phase(dense, settings, data)
    first = result.network.layers["0"]
    assert 1 <= len(first.outputs) <= dense.layers["0"].facts.spec.outputs // 2
    assert first.nnz == first.weight.numel() == 9 * len(first.outputs)
    assert result.decisions[0].dense


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layers": [{"pattern": "conv9", "ratio": 2}]}, "layer 'conv9' is unknown"),
        ({"layers": [{"pattern": "7", "ratio": 97}]}, "layer 7: .*would leave none"),
        ({"pruning_ratio": 1000}, "use a lower pruning_ratio"),
    ],
)
def test_impossible_targets_fail_before_training(values: dict[str, Any], message: str) -> None:
    seen: list[EpochRecord] = []
    data = _data()
    with pytest.raises(PyadmmError, match=message):
        pyadmm.compress(
            _model(),
            _settings(**values),
            data.train,
            data.validation,
            progress=lambda record, _: seen.append(record),
        )
    assert not seen


def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    settings = _settings()
    data = _data()
    model = _model()
    seen: list[EpochRecord] = []

    def poison(record: EpochRecord, _: int) -> None:
        seen.append(record)
        if record.epoch == 1:
            nn.init.constant_(model[0].weight, float("nan"))  # type: ignore[index]

    with pytest.raises(PyadmmError, match="dense, epoch 2: the loss is nan; training stopped"):
        train_dense(model, settings, data, checkpoint_dir=tmp_path, progress=poison)
    kept = torch.load(tmp_path / "dense.pt", weights_only=True)
    assert kept["epoch"] == 2
    assert all(torch.isfinite(v).all() for v in kept["network"].values())
    resumed = _model()
    records = train_dense(resumed, settings, data, checkpoint_dir=tmp_path)
    assert [r.epoch for r in records] == [0, 1, 2, 3]


_CHILD = """
    import os, signal, sys
    from pathlib import Path
    from tests.unit.test_compress import _run, _settings
    import pyadmm.training.checkpoint as training

    left = int(sys.argv[2])
    save = training.Checkpoint.save

    def save_then_die(self, state):
        global left
        save(self, state)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    training.Checkpoint.save = save_then_die
    _run(Path(sys.argv[1]), _settings())
"""


def test_killed_runs_resume_to_the_same_bits(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    for epochs in (3, 4, 5):  # dies in dense training, in ADMM, in retraining
        command = [sys.executable, "-c", textwrap.dedent(_CHILD), str(tmp_path), str(epochs)]
        died = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert died.returncode == -9, died.stderr
    network, records = _run(tmp_path, _settings())
    expected, undisturbed = _run(None, _settings())
    for name, tensor in expected.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name
    assert [_timeless(r) for r in records] == [_timeless(r) for r in undisturbed]


def test_finished_rounds_are_taken_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, data = _settings(), _data()
    teacher = _teacher(settings)
    first = admm_phase(teacher.network, settings, data, teacher=teacher, checkpoint_dir=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["round-1.pt", "round-2.pt"]
    (tmp_path / "round-2.pt").unlink()
    computed = []
    inner = admm_rounds.importance
    monkeypatch.setattr(admm_rounds, "importance", lambda *a: computed.append(1) or inner(*a))
    (tmp_path / "admm-1.pt").write_bytes(b"left behind by a run that was killed")
    for expected in (1, 0):  # without and with the second round's file
        again = admm_phase(
            teacher.network, settings, data, teacher=teacher, checkpoint_dir=tmp_path
        )
        assert len(computed) == expected
        assert sorted(path.name for path in tmp_path.iterdir()) == ["round-1.pt", "round-2.pt"]
        assert [_timeless(r) for r in again.records] == [_timeless(r) for r in first.records]
        assert again.status == first.status
        assert digest_of(again.network.state()) == digest_of(first.network.state())
        computed.clear()
    other = replace(settings, admm=replace(settings.admm, rho=0.2))
    anew = admm_phase(teacher.network, other, data, teacher=teacher, checkpoint_dir=tmp_path)
    fresh = admm_phase(teacher.network, other, data, teacher=teacher)
    assert digest_of(anew.network.state()) == digest_of(fresh.network.state())
    assert digest_of(anew.network.state()) != digest_of(first.network.state())


def test_a_pruned_network_is_pruned_further_within_its_mask() -> None:
    """The next of several goals starts from the float network of the one before."""
    settings, data = _settings(), _data()
    teacher = _teacher(settings)
    parent = admm_phase(teacher.network, settings, data, teacher=teacher).network
    further = replace(settings, pruning_ratio=16.0, admm=replace(settings.admm, rounds=4))
    result = admm_phase(parent, further, data, teacher=teacher)
    child = result.network
    assert [r.phase for r in result.records if r.phase.startswith("admm")] == (
        ["admm-3"] * 2 + ["admm-4"] * 2
    ), "3x and 5.2x are behind it"
    assert parent.nnz <= parent.weights // 8
    assert child.nnz <= child.weights // 16
    assert all(_positions(child)[name] <= _positions(parent)[name] for name in child.layers)


def _teacher(settings: CompressSettings, averaged_shifts: int = 0) -> Teacher:
    dense = to_network(_model(), settings, (1, 8, 8))
    return Teacher(dense, dense.encode, averaged_shifts)


def _positions(network: Network) -> dict[str, set[tuple[int, ...]]]:
    """Where each layer has weights, in the channels of the uncut network."""
    places = {}
    for name, layer in network.layers.items():
        kept = torch.nonzero(layer.as_windows(layer.mask)).tolist()
        outputs, inputs = layer.outputs.tolist(), layer.inputs.tolist()
        places[name] = {(outputs[o], inputs[i], k) for o, i, k in kept}
    return places


def test_no_iterations_prune_by_magnitude() -> None:
    """The plain comparison: no W-step, the largest weights stay."""
    small = _settings().admm
    settings = replace(_settings(), admm=replace(small, rounds=1, iterations=0, retrain_epochs=0))
    dense = to_network(_model(), settings, (1, 8, 8))
    result = admm_phase(dense, settings, _data())
    assert result.status == ("magnitude",)
    assert result.records == []
    for name, places in _positions(result.network).items():
        magnitude = dense.layers[name].as_windows(dense.layers[name].weight.detach()).abs()
        largest = magnitude.flatten().sort(descending=True).values
        floor = largest[min(dense.weights // 8, len(largest)) - 1]
        assert min(magnitude[place] for place in places) >= floor


def test_admm_pulls_the_weights_that_are_left_to_levels() -> None:
    """ADMM quantisation: same places, levels nearer with a penalty than without, residuals kept."""
    base = _settings().admm
    dense = to_network(_model(), _settings(), (1, 8, 8))
    pruned = admm_phase(dense, replace(_settings(), admm=replace(base, joint=False)), _data())
    away = []
    for rho in (1e-9, 1.0):
        admm = replace(base, level_iterations=3, rho=rho)
        settings = _settings(quantize={"epochs": 0})
        result = quantize(pruned.network, replace(settings, admm=admm), _data())
        assert [r.phase for r in result.records] == ["admm-levels"] * 3
        assert result.status[0].startswith("not converged: primal")
        assert _positions(result.network) == _positions(pruned.network)
        away.append(result.records[-1].primal or 0.0)
        layers = result.network.layers.values()
        moved = [float((la.weight_codes() * la.row_q - la.weight).norm()) for la in layers]
        assert min(moved) > 0, "the weights are near their levels, not at them"
    assert away[1] < away[0] / 2


def test_curvature_and_crowding_change_who_stays() -> None:
    settings, data = _settings(), _data()
    dense = to_network(_model(), settings, (1, 8, 8))
    chosen = []
    both = {"curvature": 0.5, "crowding": 1.0}
    for change in ({}, {"curvature": 0.5}, {"crowding": 1.0}, both):
        admm = replace(settings.admm, rounds=1, iterations=0, retrain_epochs=0, **change)
        network = admm_phase(dense, replace(settings, admm=admm), data).network
        assert network.nnz <= network.weights // 8
        chosen.append(_positions(network))
    assert not any(one == other for one, other in combinations(chosen, 2))


def _bfloat16_and_plain() -> tuple[tuple[Network, list[EpochRecord]], Network]:
    """What training in bfloat16 gives, and the same training in float32."""
    plain = _settings(quantize={"epochs": 1})
    phases = {name: getattr(plain, name) for name in ("dense", "admm", "retrain")}
    rounded = {name: replace(phase, precision="bfloat16") for name, phase in phases.items()}
    return _run(None, replace(plain, **rounded)), _run(None, plain)[0]


def _equal(one: Network, other: Network) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(
        v.shape == states[1][k].shape and torch.equal(v, states[1][k]) for k, v in states[0].items()
    )


def test_bfloat16_trains_in_its_own_way_and_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "multiplies_bfloat16", lambda device: True)
    (one, records), plain = _bfloat16_and_plain()
    (other, _), _ = _bfloat16_and_plain()
    assert [r for r in records if r.phase == "dense"][-1].val_accuracy > 0.95
    assert _equal(one, other)
    assert not _equal(one, plain)


def test_float32_takes_the_place_of_bfloat16_that_would_be_slower(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_bf16": False})
    with pytest.warns(UserWarning, match="precision bfloat16: this processor has no instructions"):
        (rounded, _), plain = _bfloat16_and_plain()
    assert _equal(rounded, plain)


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16", "bf16", "sve_bf16"])
def test_processors_that_multiply_bfloat16(feature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {feature: True})
    assert devices.multiplies_bfloat16(devices.CPU)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "riscv64"})
    assert not devices.multiplies_bfloat16(devices.CPU)
    assert devices.multiplies_bfloat16(torch.device("cuda"))


def _polished(folder: Path | None, cycles: int, distill: dict[str, int], **common: Any) -> Any:
    """A network at coarse levels, quantised for one epoch so that something is left to find."""
    train = {"epochs": 1, "lr": 3e-3, "batch_size": 32, "shift_pixels": 1}
    polish = {"cycles": cycles, "epochs": 2, "share": 0.5, "lr": 2e-2}
    settings = _settings(weight_bits=2, quantize=train, local_search=polish)
    network = to_network(_model(), settings, (1, 8, 8)).fold_norms()
    if distill:
        settings = replace(settings, distill=replace(settings.distill, **distill))
        common["teacher"] = network
    return quantize(network, settings, _data(), checkpoint_dir=folder, **common)


def test_polishing_keeps_what_lowers_the_loss() -> None:
    before, after = _polished(None, 0, {}).network, _polished(None, 6, {})
    losses = [r.loss for r in after.records if r.phase == "local-search"]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    for name, layer in after.network.layers.items():
        first = before.layers[name]
        assert torch.equal(layer.frozen, layer.weight_codes()), "every weight is at a level"
        assert torch.equal(layer.mask, first.mask)
        assert torch.equal(layer.log_q, first.log_q)
        assert torch.equal(layer.log_s, first.log_s)
    changed = [
        int((layer.frozen != before.layers[name].weight_codes()).sum())
        for name, layer in after.network.layers.items()
    ]
    assert sum(changed) > 0


@pytest.mark.parametrize(
    "distill", [{}, {"averaged_shifts": 1}, {"cached_augmentations": 3}], ids=str
)
def test_polishing_goes_on_where_it_was_stopped(tmp_path: Path, distill: dict[str, int]) -> None:
    class _Stopped(Exception):
        pass

    def stop(record: EpochRecord, epochs: int) -> None:
        if record.phase == "local-search" and record.epoch == 1:
            raise _Stopped

    whole = _polished(None, 4, distill)
    with pytest.raises(_Stopped):
        _polished(tmp_path, 4, distill, progress=stop)
    resumed = _polished(tmp_path, 4, distill)
    assert [r.loss for r in resumed.records] == [r.loss for r in whole.records]
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], tensor), name


def _regrown(folder: Path | None = None, cycles: int = 2, **values: Any) -> Any:
    """The pruned network, and what regrowing (without retraining after it) makes of it."""
    retraining = {"epochs": 0, "lr": 3e-3, "batch_size": 32, "shift_pixels": 1}
    swap = {"cycles": cycles, "share": 0.3, "grow_epochs": 1, "prune_epochs": 2, "lr": 5e-3}
    progress = values.pop("progress", None)
    settings = _settings(retrain=retraining, regrow=swap, **values)
    data = _data()
    dense = to_network(_model(), settings, (1, 8, 8))
    pruned = admm_phase(dense, settings, data).network
    result = retrain(pruned, settings, data, checkpoint_dir=folder, progress=progress)
    return pruned, result


def _places(network: Network) -> dict[str, set[Any]]:
    """Where the weights are, by channels of the dense network."""
    found = {}
    for name, layer in network.layers.items():
        rows, columns, taps = layer.as_windows(layer.mask).nonzero().T
        where = layer.outputs[rows], layer.inputs[columns], taps
        found[name] = set(zip(*(w.tolist() for w in where), strict=True))
    return found


def _counts(network: Network) -> dict[str, int]:
    return {name: layer.nnz for name, layer in network.layers.items()}


def test_regrowing_finds_other_places_for_the_weights_that_there_may_be() -> None:
    pruned, result = _regrown(cycles=3)
    before, after = _places(pruned), _places(result.network)
    assert any(after[name] - before[name] for name in before), "some places are new"
    allowed = pruned.weights // 8  # some were lost with dead channels, and come back
    assert 0.9 * pruned.nnz <= result.network.nnz <= allowed
    assert [r.phase for r in result.records] == ["regrow"] * 3
    assert [r.nnz for r in result.records][-1] == result.network.nnz
    for layer in result.network.layers.values():
        assert not layer.weight[layer.mask == 0].any()
    assert result.records[-1].val_accuracy > 0.9


def test_layers_with_a_ratio_of_their_own_keep_their_number_of_weights() -> None:
    layers = [{"pattern": "*", "ratio": 4.0}]
    pruned, result = _regrown(layers=layers, pruning_ratio=4)
    before, after = _counts(pruned), _counts(result.network)
    assert all(after[name] <= before[name] for name in before)
    assert _places(pruned) != _places(result.network)
    floors = dict.fromkeys(before, 1.5)
    pruned, result = _regrown(break_even=floors)
    before, after = _counts(pruned), _counts(result.network)
    assert all(after[name] <= before[name] for name in before)


def test_regrowing_adds_weights_that_the_ratio_allows(tmp_path: Path) -> None:
    pruned, _ = _regrown(pruning_ratio=8)
    settings = _settings(
        pruning_ratio=5,
        regrow={"cycles": 2, "share": 0.3, "grow_epochs": 1, "prune_epochs": 2},
        retrain={"epochs": 0, "batch_size": 32},
    )
    grown = retrain(pruned, settings, _data()).network
    assert pruned.nnz <= pruned.weights // 8
    retrain(pruned, settings, _data(), checkpoint_dir=tmp_path)
    wider = replace(settings, pruning_ratio=4)
    anew = retrain(pruned, wider, _data(), checkpoint_dir=tmp_path).network
    assert 0.9 * (pruned.weights // 4) < anew.nnz <= pruned.weights // 4
    assert 0.9 * (pruned.weights // 5) < grown.nnz <= pruned.weights // 5


def test_a_dense_network_has_nothing_to_regrow() -> None:
    settings = _settings(regrow={"cycles": 1}, retrain={"epochs": 0, "batch_size": 32})
    dense = to_network(_model(), settings, (1, 8, 8))
    assert _counts(retrain(dense, settings, _data()).network) == _counts(dense)


def test_what_regrowing_brings_back_lowers_the_loss_most() -> None:
    settings, data = _settings(dense={"epochs": 8, "lr": 5e-3, "batch_size": 32}), _data()
    model = _model()
    train_dense(model, settings, data)
    network = to_network(model, settings, (1, 8, 8))
    layer = network.layers["7"]
    bare = torch.ones_like(layer.mask)
    bare[:, :12] = 0  # nobody reads these neurons any more
    layer.apply_mask(bare)

    def loss() -> torch.Tensor:
        logits = network(network.encode(data.train.images))
        return torch.nn.functional.cross_entropy(logits, data.train.labels)

    context = PhaseContext("regrow", settings, data, None, None, None)
    statistics = gradient_statistics(network, data.train, settings.retrain, context, 1)
    (mean,) = torch.autograd.grad(loss(), [layer.weight])
    torch.testing.assert_close(statistics.mean["7"], mean)
    regrow.grow(network, ("7",), layer.nnz + 4, statistics)
    back = (layer.mask - bare).nonzero().tolist()
    assert len(back) == 4

    def lowered(row: int, column: int) -> float:
        """By one Newton step along one weight."""
        with torch.no_grad():
            before = float(loss())
            step = statistics.mean["7"][row, column] / statistics.fisher["7"][row, column]
            layer.weight[row, column] -= step
            after = float(loss())
            layer.weight[row, column] += step
        return before - after

    every = [lowered(row, column) for row in range(4) for column in range(12)]
    chosen = [lowered(row, column) for row, column in back]
    assert sum(chosen) / 4 > 1.5 * sum(every) / len(every)


def test_regrowing_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    class _Stopped(Exception):
        pass

    def stop(record: EpochRecord, epochs: int) -> None:
        if record.phase == "regrow" and record.epoch == 0:
            raise _Stopped

    _, whole = _regrown(cycles=3)
    with pytest.raises(_Stopped):
        _regrown(tmp_path, 3, progress=stop)
    _, resumed = _regrown(tmp_path, 3)
    assert [r.loss for r in resumed.records] == [r.loss for r in whole.records]
    assert _places(resumed.network) == _places(whole.network)
    assert _equal(resumed.network, whole.network)


def _validated(network: Network) -> float:
    return accuracy(lambda x: network(network.encode(x)), _data().validation)


def _fitted(most_bytes: int, **values: Any) -> tuple[Network, bytes]:
    """A quantised network whose file may have so many bytes, and the file."""
    settings = _settings(most_bytes=most_bytes, pruning_ratio=2, admm={"rounds": 1}, **values)
    dense = to_network(_model(), settings, (1, 8, 8))
    pruned = admm_phase(dense, settings, _data()).network
    network = quantize(pruned.fold_norms(), settings, _data(), name="quarters").network
    model = smallest(to_integer(network, _data(), "quarters").model)
    return network, container.encode(model)


def test_a_file_is_trimmed_to_the_bytes_that_it_may_have() -> None:
    free, content = _fitted(0)
    loose, same = _fitted(len(content))
    assert same == content
    assert _equal(loose, free)
    allowed = len(content) - 12
    network, fitting = _fitted(allowed)
    assert allowed - 4 < len(fitting) <= allowed
    assert network.nnz < free.nnz
    for name, layer in network.layers.items():
        before = free.layers[name]
        assert torch.equal(layer.weight_codes(), before.weight_codes() * layer.mask)
        assert torch.equal(layer.frozen, before.frozen * layer.mask)
    before_and_after = [_validated(free), _validated(network)]
    assert before_and_after[1] > before_and_after[0] - 0.05


def test_weights_without_room_go_before_levels_are_trained() -> None:
    norms = {"epochs": 2, "lr": 3e-3, "batch_size": 32}
    settings = _settings(pruning_ratio=2, admm={"rounds": 1}, quantize_norms=norms)
    pruned = admm_phase(to_network(_model(), settings, (1, 8, 8)), settings, _data()).network
    sizes, records = [], []
    for allowed in (0, 450):
        limited = replace(settings, most_bytes=allowed)
        result = quantize(pruned, limited, _data(), name="quarters")
        model = smallest(to_integer(result.network, _data(), "quarters").model)
        sizes.append(len(container.encode(model)))
        records.append(result.records)
    assert sizes[1] <= 450 < sizes[0]
    first = [list_of[0] for list_of in records]
    assert first[0].nnz == pruned.nnz
    assert first[1].nnz < pruned.nnz
    assert {record.phase for record in first} == {"quantize-norms"}


def test_trimming_leaves_layers_dense_that_break_even_keeps_dense() -> None:
    bound = {"break_even": {"7": 1.5}, "layers": [{"pattern": "7", "ratio": 1.0}]}
    _, full = _fitted(0, **bound)
    network, fitting = _fitted(len(full) - 12, **bound)
    assert len(fitting) <= len(full) - 12
    assert network.layers["7"].mask.all()


def test_a_file_that_cannot_be_so_small_is_refused() -> None:
    with pytest.raises(PyadmmError, match="most_bytes: even one weight a layer, .* more than 20"):
        _fitted(20)


def test_compress_gives_the_form_that_fits() -> None:
    settings, data = _settings(most_bytes=150), _data()
    model = compression.compress(_model(), settings, data.train, data.validation, name="quarters")
    assert len(container.encode(model)) <= 150


def test_a_teacher_that_counts_for_nothing_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, data = _settings(distill={"weight": 0.0}), _data()
    dense = to_network(_model(), settings, (1, 8, 8))
    alone = retrain(dense, settings, data).network
    monkeypatch.delattr(Teacher, "prepare")
    monkeypatch.delattr(Teacher, "logits")
    assert _equal(retrain(dense, settings, data, teacher=dense).network, alone)


def test_views_average_the_teacher_over_shifts() -> None:
    data, settings = _data(), _settings()
    teacher = _teacher(settings, averaged_shifts=1)
    teacher.prepare(data.train, 0)
    batch = next(iter(batches(data.train, 16, seed=1)))
    shifts = [shifted(batch.images, 1, torch.full((16,), shift)) for shift in range(9)]
    network = teacher.network
    assert isinstance(network, Network)
    with torch.no_grad():
        mean = torch.stack([network(network.encode(images)) for images in shifts]).mean(0)
    found = teacher.logits(batch, network.encode(batch.images), 0)
    torch.testing.assert_close(found, mean)


@pytest.mark.parametrize("views", [0, 1])
def test_a_teacher_knows_the_images_of_a_part(views: int) -> None:
    data, settings = _data(), _settings()
    teacher = _teacher(settings, averaged_shifts=views)
    network = teacher.network
    assert isinstance(network, Network)
    some, moved = data.train.take(torch.tensor([7, 3, 500, 41])), Augmentation(1)
    for images in (some, data.train, some, data.validation):  # which is another pool
        alone = _teacher(settings, averaged_shifts=views)
        teacher.prepare(images, 1)
        alone.prepare(Images(images.images.clone(), images.labels), 1)
        for batch in batches(images, 3, 1, moved):
            plain = batches(Images(images.images.clone(), images.labels), 3, 1, moved)
            same = next(b for b in plain if torch.equal(b.images, batch.images))
            codes = network.encode(batch.images)
            found = teacher.logits(batch, codes, 1)
            torch.testing.assert_close(found, alone.logits(same, codes, 1))


def _looking(
    teacher: Teacher,
    seeds: list[int],
    cutmix: float = 0.0,
    among: Tensor | None = None,
) -> EpochTrainer:
    network = teacher.network
    assert isinstance(network, Network)
    optimizer = torch.optim.SGD(list(network.trainable()), lr=0.0)
    how = Augmentation(1, flip=True, distort=0.1, cutmix=cutmix)
    return EpochTrainer(
        network, network.encode, optimizer, 16, how, teacher, cached_seeds=seeds, among=among
    )


def _by_row(trainer: EpochTrainer, data: Images, seed: int) -> dict[int, tuple[Tensor, Tensor]]:
    """Every image of an epoch and the teacher's logits of it, which it must know already."""
    teacher = trainer.teacher
    assert teacher is not None

    def unasked(codes: Tensor) -> Tensor:
        raise AssertionError("the teacher knows this image")

    found = {}
    for batch in trainer.batches(data, seed):
        logits = teacher.logits(batch, trainer.encode(batch.images), 1, unasked)
        found.update(zip(batch.index.tolist(), zip(batch.images, logits, strict=True), strict=True))
    return found


@pytest.mark.parametrize("cutmix", [0.0, 0.5])
def test_looks_come_again_and_the_teacher_knows_them(cutmix: float) -> None:
    data, settings = _data(), _settings()
    teacher = _teacher(settings)
    trainer = _looking(teacher, [11, 12], cutmix=cutmix, among=data.train.all_rows)
    one, other, again = (_by_row(trainer, data.train, seed) for seed in (4, 5, 6))
    assert len(one) == len(data.train)
    assert all(torch.equal(image, again[row][0]) for row, (image, _) in one.items())
    assert sum(torch.equal(image, other[row][0]) for row, (image, _) in one.items()) < len(one) / 10
    for found in (one, other):
        images, logits = (torch.stack(column) for column in zip(*found.values(), strict=True))
        with torch.no_grad():
            torch.testing.assert_close(logits, trainer.forward(trainer.encode(images)))
    part = _by_row(trainer, data.train.take(torch.tensor([9, 2])), 5)
    rows = data.train.rows(torch.tensor([9, 2])).tolist()
    assert sorted(part) == sorted(rows)
    assert all(torch.equal(part[row][0], other[row][0]) for row in rows)


@pytest.mark.parametrize("able", [True, False])
def test_a_teacher_may_multiply_in_bfloat16(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "multiplies_bfloat16", lambda device: able)
    data, found = _data(), {}
    for precision in ("float32", "bfloat16"):
        settings = _settings(distill={"cached_augmentations": 1, "precision": precision})
        teacher = shared_teacher(to_network(_model(), settings, (1, 8, 8)), settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = _by_row(_looking(teacher, [11]), data.train, 4)
        found[precision] = torch.stack([rows[row][1] for row in sorted(rows)])
    exact, rounded = found.values()
    assert rounded.dtype == torch.float32
    assert torch.equal(exact, rounded) == (not able)
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)


def test_looks_without_room_are_computed_with_each_batch() -> None:
    data, teacher = _data(), _teacher(_settings())
    teacher.cache_bytes = 1
    batch = next(_looking(teacher, [11, 12]).batches(data.train, 4))
    asked = []
    teacher.logits(batch, torch.zeros(16, 1, 8, 8), 1, lambda codes: asked.append(1) or codes)
    assert asked


def test_a_split_holds_out_the_same_images_every_time() -> None:
    everything = _images(600, 3)
    one, other = Data.split(everything), Data.split(everything)
    assert len(one.validation) == 50
    assert len(one.train) == 550
    assert torch.equal(one.validation.images, other.validation.images)
    assert one.train.digest == other.train.digest
    assert one.train.pool.data_ptr() == everything.pool.data_ptr()
    together = torch.cat([one.train.images, one.validation.images]).flatten(1).unique(dim=0)
    assert torch.equal(together, everything.images.flatten(1).unique(dim=0))


def test_images_of_wrong_types_and_numbers_are_refused() -> None:
    good = _images(4, 1)
    for pool, labels, places in (
        (good.pool.float(), good.labels, None),
        (good.pool[0], good.labels, None),
        (good.pool, good.labels[:3], None),
        (good.pool, good.labels, torch.tensor([1, 2])),
        (good.pool, good.labels.float(), None),
        (good.pool[:0], good.labels[:0], None),
    ):
        with pytest.raises(PyadmmError, match="^data: "):
            Images(pool, labels, places)


def _timeless(record: EpochRecord) -> dict[str, Any]:
    return asdict(replace(record, seconds=0.0))


def test_checkpoints_of_others_are_replaced_and_damaged_ones_refused(tmp_path: Path) -> None:
    data = _data()
    first = train_dense(_model(), _settings(), data, checkpoint_dir=tmp_path)
    other = train_dense(_model(), _settings(seed=1), data, checkpoint_dir=tmp_path)
    fresh = train_dense(_model(), _settings(seed=1), data)
    assert [_timeless(r) for r in other] == [_timeless(r) for r in fresh]
    assert other[0].loss != first[0].loss
    for identity, expected in (("", other), ("another forward", fresh)):
        told: list[EpochRecord] = []
        again = train_dense(
            *(_model(), _settings(seed=1), data),
            checkpoint_dir=tmp_path,
            progress=lambda record, _, told=told: told.append(record),
            identity=identity,
        )
        assert [_timeless(r) for r in again] == [_timeless(r) for r in expected]
        assert bool(told) == bool(identity)
    (tmp_path / "dense.pt").write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(PyadmmError, match="cannot be read .*; delete it to train again"):
        train_dense(_model(), _settings(), data, checkpoint_dir=tmp_path)


def test_batches_cover_everything_once_and_repeat() -> None:
    data, moved = _images(103, 5), Augmentation(1)
    first = list(batches(data, 10, 4, moved))
    index = torch.cat([b.index for b in first])
    assert sorted(index.tolist()) == list(range(103))
    for one, other in zip(first, batches(data, 10, 4, moved), strict=True):
        assert torch.equal(one.images, other.images)
    assert not torch.equal(index, torch.cat([b.index for b in batches(data, 10, 5, moved)]))


def test_shift_moves_the_picture() -> None:
    image = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
    still = shifted(image, 1, torch.tensor([4]))
    down = shifted(image, 1, torch.tensor([1]))
    assert torch.equal(still, image)
    assert down[0, 0].tolist() == [[0, 0, 0, 0], [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_distortion_shows_the_picture_through_a_linear_map() -> None:
    image = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
    identity, quarter_turn = torch.eye(2)[None], torch.tensor([[[0.0, 1.0], [-1.0, 0.0]]])
    twice_as_wide = torch.diag(torch.tensor([0.5, 1.0]))[None]
    assert torch.equal(distorted(image, identity), image)
    assert torch.equal(distorted(image, quarter_turn)[0, 0], image[0, 0].rot90(-1))
    # Places -0.75 ... 0.75 show what lies at half of that, between columns 0.75 and 2.25.
    assert distorted(image, twice_as_wide)[0, 0, 0].tolist() == [1, 1, 2, 2]


def test_distorted_batches_repeat_and_differ_from_image_to_image() -> None:
    data = Images(_images(1, 5).images.repeat(50, 1, 1, 1), torch.zeros(50, dtype=torch.int64))
    how = Augmentation(distort=0.2)
    first, again = (next(batches(data, 50, 4, how)).images for _ in range(2))
    assert torch.equal(first, again)
    assert len(first.flatten(1).unique(dim=0)) > 40
    plain = next(batches(data, 50, 4))
    assert torch.equal(plain.images, data.images)


def test_cutmix_covers_a_rectangle_with_the_same_part_of_another_training_image() -> None:
    train = _images(400, 3).take(torch.arange(100, 400))
    grey = torch.arange(400, dtype=torch.int64).remainder(251).to(torch.uint8)  # tells row from row
    train = replace(train, pool=grey[:, None, None, None].expand(400, 3, 12, 20).contiguous())
    areas, whole = [], 0
    for batch in batches(train, 64, 3, Augmentation(cutmix=0.75)):
        own = train.pool[batch.index]
        for image, before, row in zip(batch.images, own, batch.index.tolist(), strict=True):
            covered = (image != before).all(0)
            if not bool(covered.any()):
                assert torch.equal(image, before)
                whole += 1
                continue
            (other,) = image[:, covered].unique().tolist()
            assert any(int(grey[other + k]) == other for k in (0, 251) if 100 <= other + k < 400)
            rows, columns = covered.any(1), covered.any(0)
            assert torch.equal(covered, rows[:, None] & columns), row
            for line in (rows, columns):
                first, last = line.nonzero()[0, 0], line.nonzero()[-1, 0]
                assert bool(line[first : last + 1].all())
            areas.append(float(covered.float().mean()))
    assert 0.2 < whole / 300 < 0.35  # a quarter, and where a patch covers no pixel's corner
    assert 0.3 < sum(areas) / len(areas) < 0.45  # of half the image, cut at its border
    plain = next(batches(train, 64, 3))
    assert torch.equal(plain.images, train.pool[plain.index])


@pytest.mark.parametrize("how", [Augmentation(distort=0.3), Augmentation(cutmix=1.0)], ids=str)
def test_kept_logits_are_not_those_of_varied_images(how: Augmentation) -> None:
    data, settings = _data(), _settings()
    teacher = _teacher(settings)
    teacher.prepare(data.train, 0)
    network = teacher.network
    assert isinstance(network, Network)
    batch = next(batches(data.train, 16, 1, how))
    codes = network.encode(batch.images)
    with torch.no_grad():
        torch.testing.assert_close(teacher.logits(batch, codes, 0), network(codes))


def test_distillation_is_cross_entropy_plus_scaled_divergence() -> None:
    logits, teacher = torch.randn(5, 3), torch.randn(5, 3)
    labels = torch.tensor([0, 1, 2, 0, 1])
    hard = nn.functional.cross_entropy(logits, labels)
    soft = nn.functional.kl_div(
        (logits / 2).log_softmax(1), (teacher / 2).softmax(1), reduction="batchmean"
    )
    loss = distillation_loss(logits, labels, teacher, 0.3, 2.0)
    assert float(loss) == pytest.approx(float(0.7 * hard + 0.3 * 4 * soft), rel=1e-5)
    assert float(distillation_loss(logits, labels, None, 0.3, 2.0)) == pytest.approx(float(hard))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.randn(4, 1, 8, 8), "float images must be bytes / 255"),
        (torch.full((4, 1, 8, 8), 2.0), "float images must be bytes / 255"),
        (torch.zeros(4, 8, 8, dtype=torch.uint8), "batches must be images \\(N, C, H, W\\)"),
    ],
)
def test_images_that_are_no_bytes_are_refused(images: torch.Tensor, message: str) -> None:
    with pytest.raises(PyadmmError, match=message):
        Images.of([(images, torch.zeros(4, dtype=torch.int64))])


def test_an_empty_loader_is_refused() -> None:
    with pytest.raises(PyadmmError, match="gives no batches"):
        Images.of([])
