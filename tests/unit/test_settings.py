"""Settings: presets, YAML, and one clear error for everything that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pyadmm.compression.schedule import keep
from pyadmm.core.errors import PyadmmError
from pyadmm.settings import PRESETS, CompressSettings, from_dict, load_settings, override, preset


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_survive_yaml(name: str, tmp_path: Path) -> None:
    settings = preset(name)
    path = tmp_path / "settings.yaml"
    plain = yaml.safe_load(yaml.safe_dump(_lists(settings.to_dict())))
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    assert load_settings(path) == settings


def test_admm_nn_has_the_published_weights_and_bits() -> None:
    """890 bytes of weights, as the paper counts them."""
    dense = {"conv1": 500, "conv2": 25_000, "fc1": 400_000, "fc2": 5_000}
    kept = {
        entry.pattern: (keep(dense[entry.pattern], entry.ratio or 1), entry.weight_bits or 0)
        for entry in preset("admm-nn").layers
    }
    assert kept == {"conv1": (100, 5), "conv2": (1330, 3), "fc1": (800, 2), "fc2": (350, 3)}
    assert sum(count * bits for count, bits in kept.values()) // 8 == 892


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _lists(v) for k, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, list | tuple) else value


def test_nested_fields_keep_the_preset() -> None:
    settings = from_dict({"preset": "standard", "admm": {"rho": 1}, "seed": 3})
    assert settings.admm.rho == 1.0
    assert settings.admm.rounds == preset("standard").admm.rounds
    assert settings.seed == 3


def test_override_changes_layers() -> None:
    layers = [{"pattern": "fc*", "weight_bits": 2}, {"pattern": "conv1", "ratio": 5}]
    settings = override(CompressSettings(), {"layers": layers}, "here")
    assert [(e.pattern, e.weight_bits, e.ratio) for e in settings.layers] == [
        ("fc*", 2, None),
        ("conv1", None, 5.0),
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pruning": 3}, "unknown field 'pruning'"),
        ({"preset": "slow"}, "preset 'slow' is unknown; choose one of"),
        ({"seed": "x"}, "seed: must be a whole number"),
        ({"seed": True}, "seed: must be a whole number"),
        ({"seed": -1}, "seed must not be negative"),
        ({"weight_bits": 9}, "weight_bits must be 1 to 8, not 9"),
        ({"weight_bits": 0}, "weight_bits must be 1 to 8, not 0"),
        ({"activation_bits": 9}, "activation_bits must be 1 to 8"),
        ({"bias_fraction_bits": 9}, "bias_fraction_bits must be -8 to 8"),
        ({"mult_bits": 17}, "mult_bits must be 1 to 16"),
        ({"pruning_ratio": 0.5}, "pruning_ratio must be at least 1"),
        ({"admm": 3}, "admm: must be a mapping"),
        ({"admm": {"level_iterations": -1}}, "level_iterations must not be negative"),
        ({"admm": {"rho": 0}}, "rho must be positive"),
        ({"admm": {"growth": 0.9}}, "growth must be at least 1"),
        ({"admm": {"rhoo": 1}}, "admm: unknown field 'rhoo'"),
        ({"admm": {"rounds": -1}}, "rounds must not be negative"),
        (
            {"admm": {"rounds": 2}, "continuous": {"epochs": 3}},
            "either admm: rounds or continuous: epochs must be 0, not 2",
        ),
        ({"admm": {"iterations": -1}}, "iterations must not be negative"),
        ({"admm": {"curvature": 1.5}}, "curvature must be 0 to 1"),
        ({"admm": {"crowding": -0.5}}, "crowding must be 0 to 2"),
        ({"admm": {"precision": "half"}}, "precision must be float32 or bfloat16, not 'half'"),
        ({"retrain": {"precision": 16}}, "precision: must be text"),
        ({"quantize": {"precision": "bfloat16"}}, "precision must be float32, not 'bfloat16'"),
        ({"distill": {"averaged_shifts": 9}}, "averaged_shifts must be 0 to 8"),
        ({"distill": {"cached_augmentations": -1}}, "cached_augmentations must not be negative"),
        ({"distill": {"precision": "half"}}, "distill: precision must be float32 or bfloat16"),
        (
            {"distill": {"averaged_shifts": 1, "cached_augmentations": 2}},
            "averaged_shifts and cached_augmentations exclude each other",
        ),
        ({"retrain": {"cutmix": 1.1}}, "cutmix must be 0 to 1"),
        ({"admm": {"cutmix": -0.1}}, "admm: cutmix must be 0 to 1"),
        ({"dense": {"cutmix": 0.5}}, "dense: cutmix needs a teacher; set it to 0"),
        (
            {"quantize": {"cutmix": 0.5}},
            "quantize: cutmix needs distill: {weight: 1, averaged_shifts: 0}",
        ),
        (
            {"admm": {"cutmix": 0.5}, "distill": {"weight": 1, "averaged_shifts": 1}},
            "admm: cutmix needs distill",
        ),
        ({"rounding": {"candidates": -1}}, "rounding: candidates must not be negative: -1"),
        ({"rounding": {"damping": 0}}, "rounding: damping must be positive"),
        ({"rounding": {"images": 0}}, "rounding: images must be at least 1, not 0"),
        ({"dense": {"lr": -1}}, "lr must be positive"),
        ({"dense": {"epochs": 1.5}}, "epochs: must be a whole number"),
        ({"distill": {"weight": 2}}, "weight must be 0 to 1"),
        ({"layers": {"pattern": "a"}}, "layers: must be a list"),
        ({"layers": [{"ratio": 3}]}, r"layers\[0\]\.pattern: must be present"),
        ({"layers": [{"pattern": "a", "ratio": 0}]}, "ratio must be at least 1"),
        ({"layers": [{"pattern": "a", "weight_bits": 12}]}, "weight_bits must be 1 to 8"),
        ({"break_even": {"a": 0.2}}, "must be at least 1"),
        ({"break_even": [1]}, "must be a mapping"),
        ({"input": {"bits": 0}}, "bits must be 1 to 8"),
    ],
)
def test_bad_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(PyadmmError, match=message):
        from_dict(values, "settings x.yaml")


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\x00"])
def test_bad_files_are_one_clear_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PyadmmError, match="settings .*bad.yaml"):
        load_settings(path)


def test_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(PyadmmError, match="cannot be read"):
        load_settings(tmp_path / "none.yaml")


def test_who_gives_rounds_or_epochs_chooses_how_is_pruned() -> None:
    """Whatever the preset chose."""
    for name in PRESETS:
        rounds = from_dict({"preset": name, "admm": {"rounds": 2}})
        assert (rounds.admm.rounds, rounds.continuous.epochs) == (2, 0)
        whole = from_dict({"preset": name, "continuous": {"epochs": 3}})
        assert (whole.admm.rounds, whole.continuous.epochs) == (0, 3)
    kept = from_dict({"preset": "quick", "admm": {"lr": 1e-3}})
    assert kept.continuous == PRESETS["quick"].continuous


def test_old_names_are_read_with_a_note() -> None:
    with pytest.warns(FutureWarning) as notes:
        settings = from_dict({"exchange": {"cycles": 2}, "distill": {"looks": 3, "views": 0}}, "x")
    assert settings.regrow.cycles == 2
    assert settings.distill.cached_augmentations == 3
    assert [str(note.message) for note in notes] == [
        "x: exchange is now called regrow",
        "x, distill: looks is now called cached_augmentations",
        "x, distill: views is now called averaged_shifts",
    ]


BASES = {
    "standard": preset("standard"),
    "admm-nn": preset("admm-nn"),
    "no dense": override(preset("quick"), {"dense": {"epochs": 0}}, "test"),
    "no levels": override(preset("quick"), {"quantize": {"epochs": 0}}, "test"),
}


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"admm": {"iterations": 3}}, "admm, iterations"),
        ({"admm": {"retrain_epochs": 3}}, "admm, retrain_epochs"),
        ({"admm": {"joint": False}}, "admm, joint"),
        ({"admm": {"rho": 0.5}}, "admm, rho"),
        ({"admm": {"growth": 2.0}}, "admm, growth"),
        ({"admm": {"rounds": 2}, "continuous": {"ramp": 0.5}}, "continuous, ramp"),
        ({"preset": "standard", "continuous": {"rho": 3.0}}, "continuous, rho"),
        ({"dense": {"lr": 0.1}, "preset": "no dense"}, "dense, lr"),
        ({"retrain": {"lr": 0.1}}, "retrain, lr"),
        ({"quantize_norms": {"batch_size": 7}}, "quantize_norms, batch_size"),
        ({"quantize": {"freeze_from": 0.5}, "preset": "no levels"}, "quantize, freeze_from"),
        ({"regrow": {"share": 0.5}}, "regrow, share"),
        ({"rounding": {"damping": 0.5}}, "rounding, damping"),
        ({"local_search": {"lr": 0.5}}, "local_search, lr"),
        ({"distill": {"temperature": 3.0}, "preset": "admm-nn"}, "distill, temperature"),
        ({"window": 9}, "window"),
        ({"lockstep": 9}, "lockstep"),
        ({"fill": 0.9}, "fill"),
    ],
    ids=str,
)
def test_a_setting_without_effect_is_refused(values: dict[str, Any], field: str) -> None:
    values = dict(values)
    base = BASES.get(values.pop("preset", "quick"))
    with pytest.raises(PyadmmError, match=f"^x, {field}: has no effect: .*; "):
        override(base or preset("quick"), values, "x")


@pytest.mark.parametrize(
    "values",
    [
        {"admm": {"rounds": 2, "iterations": 3, "rho": 0.5}},
        {"admm": {"level_iterations": 1, "rho": 0.5}},
        {"continuous": {"rho": 3.0}},
        {"retrain": {"epochs": 1, "lr": 0.1}},
        {"retrain": {"epochs": 0, "lr": 0.1}},
        {"regrow": {"cycles": 1}, "retrain": {"lr": 0.1}},
        {"sparsity": "balanced", "window": 9},
        {"layers": [{"pattern": "fc1", "sparsity": "balanced"}], "window": 9},
    ],
    ids=str,
)
def test_a_setting_with_an_effect_or_switched_off_by_name_is_taken(values: dict[str, Any]) -> None:
    assert from_dict(values, "x") != preset("quick")
