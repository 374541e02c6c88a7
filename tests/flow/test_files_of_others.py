"""Runs that start from a file: an ONNX network with its weights, an ``.admm`` file for a board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from pyadmm import container
from pyadmm.cli.main import main
from pyadmm.flow.config import FlowConfig
from pyadmm.flow.console import Reporter
from pyadmm.flow.session import Session
from pyadmm.model import CompressedModel, InputSpec
from pyadmm.model.types import QFormat
from tests.hls.chains import Recipe, random_chain

pytestmark = pytest.mark.slow

BRIEF: dict[str, Any] = {
    "pruning_ratio": 2,
    "filters_kept": 1,
    "neurons_kept": 1,
    "admm": {"rounds": 1, "iterations": 1, "retrain_epochs": 1, "first_ratio": 1.5},
    "retrain": {"epochs": 2},
    "quantize": {"epochs": 2},
}
SHAPE = (2, 4, 3)


def draw(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Windows of three kinds that are easy to tell."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    x = rng.integers(0, 60, (count, *SHAPE))
    x[np.arange(count), 0, labels] += 150
    return x.astype(np.uint8), labels


def trained() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and bias of a linear layer that tells the kinds."""
    torch.manual_seed(0)
    model = nn.Linear(24, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    x, y = draw(200, 9)
    inputs = torch.from_numpy(x.reshape(200, -1) / 255).float()
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), torch.from_numpy(y)).backward()
        optimizer.step()
    return model.weight.detach().numpy(), model.bias.detach().numpy()


def save_onnx(path: Path, quantised: str = "") -> None:
    """A flattened map and a linear layer; float, QONNX with 3 and 5 bits, or QDQ."""
    weight, bias = trained()
    tensors = {"w": weight, "b": bias, "step": np.float32(0.05), "zero": np.float32(0)}
    nodes = [helper.make_node("Flatten", ["x"], ["flat"])]
    if quantised == "qonnx":
        tensors |= {"three": np.float32(3), "five": np.float32(5), "wide": np.float32(1)}
        domain = "qonnx.custom_op.general"
        nodes += [
            helper.make_node(
                "Quant", ["w", "step", "zero", "three"], ["wq"], domain=domain, signed=1, narrow=0,
                rounding_mode="ROUND",
            ),
            helper.make_node("Gemm", ["flat", "wq", "b"], ["y"], name="fc", transB=1),
            helper.make_node(
                "Quant", ["y", "wide", "zero", "five"], ["logits"], domain=domain, signed=1,
                narrow=0, rounding_mode="ROUND",
            ),
        ]  # fmt: skip
    elif quantised == "qdq":
        tensors |= {"codes": np.round(weight / 0.05).astype(np.int8), "none": np.int8(0)}
        nodes += [
            helper.make_node("DequantizeLinear", ["codes", "step", "none"], ["wq"]),
            helper.make_node("Gemm", ["flat", "wq", "b"], ["logits"], name="fc", transB=1),
        ]
    else:
        nodes.append(helper.make_node("Gemm", ["flat", "w", "b"], ["logits"], name="fc", transB=1))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("qonnx.custom_op.general", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PYADMM_DATA", raising=False)
    x, y = draw(120, 1)
    test, answers = draw(60, 2)
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=test, y_test=answers)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"synthesis": False, "compress": BRIEF}))
    return tmp_path


def facts(step: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("r/steps", f"{step}.json").read_text())["facts"]
    return found


@pytest.mark.parametrize("quantised", ["", "qonnx", "qdq"])
def test_an_onnx_file_is_compressed_with_its_weights(here: Path, quantised: str) -> None:
    save_onnx(here / "net.onnx", quantised)
    line = ["run", "--config", "c.yaml", "--model", "net.onnx", "--data", "own.npz", "--out", "r"]
    assert main([*line, "--until", "test"]) == 0
    assert facts("dense")["epochs"] == []
    assert facts("dense")["validation_accuracy"] > 0.95
    assert facts("test")["accuracy"] > 0.9
    model = container.load(here / "r" / "net.admm")
    assert model.layer("fc").nnz <= 36
    expected = {"qonnx": 3, "qdq": 8}
    if quantised:
        assert model.layer("fc").weight_bits == expected[quantised]


def test_bits_of_a_quantised_file_are_the_start_but_the_user_has_the_last_word(
    here: Path,
) -> None:
    save_onnx(here / "net.onnx", "qonnx")

    def bits(**compress: Any) -> list[tuple[int | None, int | None]]:
        config = FlowConfig(model="net.onnx", data="own.npz", compress={**BRIEF, **compress})
        found = Session(config, Reporter()).settings.layers
        return [(layer.weight_bits, layer.activation_bits) for layer in found]

    assert bits() == [(3, 5)]
    assert bits(weight_bits=6) == [(None, 5)]
    assert bits(layers=[{"pattern": "*", "weight_bits": 2}]) == [(3, 5), (2, None)]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model", "gone.onnx", "--data", "own.npz"], "gone.onnx: cannot be read (No such file"),
        (["--model", "net.onnx"], "name its data: --data FILE.npz"),
        (["--model", "net.onnx", "--data", "own.npz", "--weights", "w.pt"], "takes no weights"),
        (
            ["--model", "net.onnx", "--data", "cifar10"],
            "takes inputs of shape (2, 4, 3), but the data have (3, 32, 32)",
        ),
        (["--model", "noise.onnx", "--data", "own.npz"], "cannot be read as an ONNX network"),
        (["--model", "gone.admm"], "gone.admm: cannot be read: No such file or directory"),
        (["--model", "noise.admm", "--data", "own.npz"], "noise.admm"),
        (["--model", "m.admm"], "takes images of shape (2, 6, 5); name some: --data FILE.npz"),
        (
            ["--model", "m.admm", "--data", "own.npz"],
            "has images of shape (2, 4, 3), but m takes (2, 6, 5)",
        ),
        (["--model", "m.admm", "--data", "own.npz", "--teacher", "lenet5"], "belong together"),
        (["--model", "m.admm", "--data", "own.npz", "--hardware-aware"], "no hardware-aware"),
        (["--model", "m.admm", "--data", "own.npz", "--until", "prune"], "'prune' is unknown"),
    ],
)
def test_what_does_not_fit_a_file_is_one_line(
    here: Path, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_onnx(here / "net.onnx")
    container.save(signed_model(), here / "m.admm")
    for name in ("noise.onnx", "noise.admm"):
        (here / name).write_bytes(b"\x08\x07\x12noise" * 9)
    assert main(["run", "--out", "r", *more]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not (here / "r").exists()


def signed_model() -> CompressedModel:
    """A padded network of int8 data."""
    spec = InputSpec((2, 6, 5), QFormat(8, True), signed=True)
    recipes = [
        Recipe(3, (3, 3), padding=1, density=0.5, pool=(2, 2)),
        Recipe(4, density=0.5, weight_bits=2, output=None),
    ]
    return random_chain("m", spec, recipes, np.random.default_rng(3))


def test_a_compressed_file_goes_straight_to_another_board(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of signed data, through g++, Verilator and the bundle."""
    model = signed_model()
    container.save(model, here / "m.admm")
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (30, *model.input.shape)).astype(np.int8)
    right = model.run(x).argmax(1)
    np.savez(here / "signed.npz", x_test=x, y_test=right)
    line = ["run", "--model", "m.admm", "--data", "signed.npz", "--board", "kv260", "--out", "r"]
    assert main([*line, "--no-synthesis"]) == 0
    out = capsys.readouterr().out
    assert "nothing is trained: m.admm has" in out
    assert "dense" not in [line.split()[1] for line in out.splitlines() if "/" in line[:9]]
    assert facts("test")["accuracy"] == 1
    assert facts("csim")["images"] == facts("cosim")["images"] == 30
    assert (here / "r" / "m.admm").read_bytes() == (here / "m.admm").read_bytes()
    manifest = json.loads((here / "r/deploy/rtl/bundle/manifest.json").read_text())
    assert (manifest["board"], manifest["input"]["dtype"]) == ("kv260", "int8")
    record = json.loads((here / "r" / "record.json").read_text())
    assert record["run"]["board"] == "kv260"
    assert (record["run"]["model"], record["run"]["preset"]) == ("m.admm", None)
    assert "preset" not in (here / "r" / "report.html").read_text().split("Done in this run")[0]
    assert record["accuracies"]["integer_test"]["value"] == 1
    assert record["accuracies"]["dense_test"] is None
    np.savez(here / "one.npz", x_test=x[:1], y_test=right[:1])
    one = ["--data", "one.npz", "--no-synthesis", "--until", "cosim"]
    assert main([*line[:3], *one, "--board", "kv260", "--out", "r"]) == 0
    assert facts("cosim")["images"] == facts("cosim")["stalled_images"] == 1
    assert facts("cosim")["interval_cycles"] > 0
    np.savez(here / "signed.npz", x_test=x, y_test=(right + 1) % 4)  # may begin with 1
    assert main([*line, "--no-synthesis", "--until", "test"]) == 0
    assert "the model knows nothing of these data: 0.00 %" in capsys.readouterr().out
