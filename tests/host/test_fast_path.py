"""The C path, compiled for real, against registers in memory and a thread that answers them."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from pyadmm.deploy.simulated_board.stage import Stage

from .conftest import run_json

ERRORS = {
    "send_error": ("DmaError", ("send (MM2S)", "slave error", "halted")),
    "receive_error": ("DmaError", ("receive (S2MM)", "decode error")),
    "receive_silent": ("HardwareTimeout", ("receive (S2MM)", "0.2 s")),
    "short": ("DmaError", ("16 bytes came before TLAST",)),
    "core_busy": ("HardwareTimeout", ("core", "0.2 s", "busy")),
    "no_compiler": ("HostError", ("no C compiler", "apt install gcc")),
}


@pytest.fixture(scope="module")
def outcomes(stage: Stage) -> dict[str, Any]:
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        pytest.skip("the C path needs a C compiler; none is on PATH")
    return run_json(stage, "mapped")


def test_one_transfer_gives_the_golden_logits(outcomes: dict[str, Any]) -> None:
    result = outcomes["whole"]
    assert result["equal"]
    assert result["image_arrived"]
    assert result["sent"] == [[0x1234_5678_0000, 64]]
    assert result["mode_count"] == [0, 1]
    assert 0 < result["ns"][0] <= result["ns"][1]


def test_a_long_image_is_sent_in_chunks(outcomes: dict[str, Any]) -> None:
    result = outcomes["chunks"]
    assert result["equal"]
    assert [length for _, length in result["sent"]] == [24, 24, 16]
    assert [address - 0x1234_5678_0000 for address, _ in result["sent"]] == [0, 24, 48]


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_spelt_out(outcomes: dict[str, Any], name: str) -> None:
    kind, words = ERRORS[name]
    assert outcomes[name]["error"] == kind
    assert all(word in outcomes[name]["message"] for word in words), outcomes[name]["message"]
