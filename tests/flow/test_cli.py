"""Bad input ends with one clear line before any work; YAML, options and Python are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyadmm.cli.run import COMMAND, configuration, main
from pyadmm.core.errors import MissingToolError, PyadmmError
from pyadmm.eda import yosys
from pyadmm.flow.config import FlowConfig, read_config
from pyadmm.flow.console import Reporter
from pyadmm.flow.runner import follow, selected_steps
from pyadmm.flow.session import Session


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments, "--dry-run"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    return message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--board", "pynq-z9"], ["pynq-z9", "pynq-z2", "kv260"]),
        (["--model", "lenet6"], ["lenet6", "lenet5"]),
        (["--preset", "slow"], ["slow", "quick", "standard"]),
        (["--until", "bake"], ["bake", "csim"]),
        (["--seed", "-1"], ["seed", "-1"]),
        (["--device", "tpu"], ["device", "tpu", "cpu, cuda"]),
        (["--config", "no-such-file.yaml"], ["no-such-file.yaml"]),
    ],
)
def test_unknown_names_are_listed(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    message = failure(capsys, *arguments)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bord: pynq-z2", ["bord", "board"]),
        ("seed: one", ["seed", "whole number"]),
        ("seed: true", ["seed", "whole number"]),
        ("- a list", ["mapping"]),
        ("board: [", ["YAML"]),
        ("compress: {pruning_ratio: 0.5}", ["pruning_ratio", "at least 1"]),
        ("compress: {weight_bits: 9}", ["weight_bits", "1 to 8"]),
        ("compress: {epochs: 3}", ["epochs", "pruning_ratio"]),
        ("compress: {pruning_ratio: 400000}", ["400000", "lower"]),
        ("compress: {layers: [{pattern: conv9, ratio: 2}]}", ["conv9", "conv1, conv2"]),
        ("compress: {layers: [{pattern: fc2, ratio: 9999}]}", ["fc2", "none of its 5000"]),
    ],
)
def test_bad_configurations_are_refused(
    text: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    message = failure(capsys, "--config", str(path))
    assert all(word in message for word in words), message


def test_yaml_options_and_python_give_one_configuration(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("board: kv260\nseed: 3\ncompress: {pruning_ratio: 30}\n")
    expected = FlowConfig(board="kv260", seed=3, compress={"pruning_ratio": 30})
    assert read_config(path) == expected
    options = COMMAND.parser().parse_args(["--config", str(path), "--seed", "4", "--until", "csim"])
    assert configuration(options) == FlowConfig(
        board="kv260", seed=4, until="csim", compress={"pruning_ratio": 30}
    )


def test_the_default_run_directory_says_what_is_in_it() -> None:
    assert FlowConfig(seed=2).run_dir == Path("runs/lenet5-pynq-z2-quick-seed2")


def test_an_unknown_step_is_an_error_in_python_too() -> None:
    with pytest.raises(PyadmmError, match="step 'x' is unknown"):
        selected_steps(FlowConfig(until="x"))


def test_break_even_is_measured_for_lenet5_unless_told_otherwise() -> None:
    def measures(**values: Any) -> bool:
        return "breakeven" in [step.name for step in selected_steps(FlowConfig(**values))]

    assert measures()
    assert not measures(model="resnet20")
    assert measures(model="alexnet", break_even=True)
    assert not measures(break_even=False)
    assert configuration(COMMAND.parser().parse_args(["--no-break-even"])).break_even is False
    assert configuration(COMMAND.parser().parse_args([])).break_even is None


def test_without_yosys_only_the_records_at_hand_are_floors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise MissingToolError("yosys: the package pyosys is not installed")

    monkeypatch.setattr(yosys, "tool_version", missing)
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path))
    assert set(Session(FlowConfig(), Reporter()).floors) == {"conv1", "conv2", "fc1", "fc2"}
    other = Session(FlowConfig(compress={"weight_bits": 5}), Reporter())
    assert other.floors == {}
    with pytest.raises(MissingToolError, match="pyosys is not installed"):
        _ = other.measured_break_even


@pytest.mark.parametrize("config", [FlowConfig(), FlowConfig(model="alexnet", break_even=True)])
def test_several_processes_do_not_wait_for_break_even(config: FlowConfig) -> None:
    with pytest.raises(PyadmmError, match=r"measure it alone first.*--no-break-even"):
        follow(config)
