"""Faults on the simulated board: each gives its clear error, and the driver works afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyadmm.deploy.simulated_board.stage import Stage

from .conftest import run_json, stage_of

FAULTS = {
    "send_slave_error": ("DmaError", ("axi_dma_0 send (MM2S)", "slave error", "halted")),
    "receive_decode_error": ("DmaError", ("axi_dma_0 receive (S2MM)", "decode error")),
    "receive_never_ends": ("HardwareTimeout", ("receive (S2MM)", "0.2 s", "status: running")),
    "weights_corrupted": ("WeightsError", ("1 of", "layer conv1, word 3", "load them again")),
    "weights_corrupted_last_layer": ("WeightsError", ("1 of", "layer fc1")),
    "weights_corrupted_on_reload": ("WeightsError", ("model second", "word 0")),
    "other_bitstream": ("IdentError", ("0xdeadbeef", "0x01234567", "one flow")),
    "wrong_digest": ("ManifestError", ("first.weights.bin", "sha256", "copy the whole bundle")),
    "in_use": ("InUseError", ("in use by process", "close()")),
}
OTHERS = (
    "closed_then_opened",
    "wrong_images",
    "reload",
    "buffers_are_freed",
    "overlay_ip_just_works",
    "vivados_own_hwh",
    "clock_is_set",
    "no_c_path",
    "power",
    "benchmark",
)


@pytest.fixture(scope="module")
def outcomes(stage: Stage) -> dict[str, Any]:
    return run_json(stage, "scenarios", *FAULTS, *OTHERS)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_gives_its_error_and_the_driver_works_again(
    outcomes: dict[str, Any], name: str
) -> None:
    kind, words = FAULTS[name]
    result = outcomes[name]
    assert result["error"] == kind
    assert all(word in result["message"] for word in words), result["message"]
    assert result["works_after"]


def test_a_stuck_core_is_configured_anew_a_sound_one_is_not(outcomes: dict[str, Any]) -> None:
    assert outcomes["send_slave_error"]["downloads"] == 1
    assert outcomes["receive_never_ends"]["downloads"] == 0


def test_unverified_weights_are_not_used(outcomes: dict[str, Any]) -> None:
    assert "load_model()" in outcomes["weights_corrupted_on_reload"]["refuses"]


def test_another_process_is_told_who_holds_the_board(outcomes: dict[str, Any]) -> None:
    result = outcomes["in_use"]
    assert f"in use by process {result['pid']}" in result["other_process"]
    assert outcomes["closed_then_opened"]["works_after"]


def test_wrong_images_are_refused_by_name(outcomes: dict[str, Any]) -> None:
    result = outcomes["wrong_images"]
    assert "uint8" in result["floats"]["message"]
    assert "float32" in result["floats"]["message"]
    assert "(N, 1, 9, 7)" in result["shape"]["message"]
    assert "not list" in result["list"]["message"]
    assert all(result[name]["error"] == "InputError" for name in ("floats", "shape", "list"))
    assert result["empty"] == [0, 5]
    assert result["single"] == [1, 5]
    assert result["works_after"]


def test_a_second_model_loads_without_a_new_bitstream(outcomes: dict[str, Any]) -> None:
    result = outcomes["reload"]
    assert result["works_after"]
    assert result["model"] == "second"
    assert result["downloads"] == 0
    assert "no model 'third'" in result["unknown"]
    assert "first, second" in result["unknown"]


def test_buffers_are_freed_on_close(outcomes: dict[str, Any]) -> None:
    assert outcomes["buffers_are_freed"] == {"held": 2, "left": 0}


def test_pynq_binds_the_driver_by_itself(outcomes: dict[str, Any]) -> None:
    result = outcomes["overlay_ip_just_works"]
    assert result["driver"] == "AcceleratorIP"
    assert result["ident"] == 0x01234567
    assert result["idle"]
    assert result["cycles"] is None


def test_a_dma_is_understood_from_vivados_own_hwh(outcomes: dict[str, Any]) -> None:
    assert outcomes["vivados_own_hwh"] == {"length_bits": 26, "max_bytes": (1 << 26) - 4}


def test_the_clock_comes_from_the_manifest(outcomes: dict[str, Any]) -> None:
    result = outcomes["clock_is_set"]
    assert result["board"] == pytest.approx(result["wanted"], rel=0.01)


def test_the_c_path_says_why_it_cannot_run_on_a_simulated_board(outcomes: dict[str, Any]) -> None:
    assert "not mapped memory" in outcomes["no_c_path"]["message"]


def test_a_narrow_length_register_is_served_in_chunks(deploy: Path, tmp_path: Path) -> None:
    stage = stage_of(deploy, tmp_path, length_bits=8)
    result = run_json(stage, "scenarios", "chunks", "narrow_read_back")
    assert result["chunks"]["works_after"]
    assert result["chunks"]["max_bytes"] == 252
    assert result["chunks"]["images_per_run"] == 252 // 20
    refusal = result["narrow_read_back"]
    assert refusal["error"] == "WeightsError"
    assert "c_sg_length_width" in refusal["message"]


def test_power_is_measured_or_none(outcomes: dict[str, Any]) -> None:
    result = outcomes["power"]
    assert result["rails"] == pytest.approx({"12V": 6.5, "INT": 1.7})
    assert result["samples"] >= 2
    assert result["none"] is None
    assert result["board"] == 0
    assert result["good"]["rails"] == [{"meter": 2.5}]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_column", "meter meter.csv: has no column time_s"),
        ("no_number", "line 3, watts is 'nan', no number"),
        ("no_overlap", "no reading between 1.5 and 3.5 s"),
        ("short_row", "line 2, watts is None"),
    ],
)
def test_a_bad_meter_log_is_refused(outcomes: dict[str, Any], name: str, message: str) -> None:
    assert message in outcomes["power"][name]["message"]


def test_the_benchmark_keeps_core_dma_and_end_to_end_apart(outcomes: dict[str, Any]) -> None:
    result = outcomes["benchmark"]["json"]
    assert (result["basis"], result["device"]) == ("simulated", "simulated pynq-z2")
    assert [(t["path"], t["batch"]) for t in result["timings"]] == [("python", 1), ("python", 7)]
    for timing in result["timings"]:
        assert timing["core"] is None  # the stand-in counts no cycles, so there is no figure
        assert timing["images_per_s"]["core"] is None
        assert timing["dma"]["repeats"] == 4
        dma, end_to_end = (timing[key]["median_s"] for key in ("dma", "end_to_end"))
        assert 0 < dma < end_to_end
        assert timing["images_per_s"]["dma"] == pytest.approx(timing["batch"] / dma)
    assert "not mapped memory" in result["c_path_missing"]
    assert result["power"] is None
    assert set(result["cpu"]) == {"1", "7"}
    assert "at least one image" in outcomes["benchmark"]["empty"]["message"]
