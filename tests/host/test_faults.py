"""Faults on the simulated board: each gives its clear error, and the driver works afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyadmm.simboard.stage import Stage

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
    "clock_is_set",
    "no_c_path",
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
