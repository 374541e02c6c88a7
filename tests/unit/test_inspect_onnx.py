"""``pyadmm inspect NET.onnx`` shows the network that pyadmm reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pyadmm.cli import inspect

onnx = pytest.importorskip("onnx", reason="pip install 'pyadmm[export]'")
pytest.importorskip("onnxruntime", reason="pip install 'pyadmm[export]'")


@pytest.fixture
def net(tmp_path: Path) -> Path:
    helper = onnx.helper
    weights = {
        "w": np.ones((4, 2, 3, 3), "f4"),
        "d": np.ones((4, 1, 3, 3), "f4"),
        "l": np.ones((64, 3), "f4"),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "d"], ["c"], name="second", pads=[1, 1, 1, 1], group=4),
        helper.make_node("Add", ["p", "c"], ["s"], name="sum"),
        helper.make_node("Sigmoid", ["s"], ["g"], name="curve"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "l"], ["m"], name="last"),
        helper.make_node("Softmax", ["m"], ["y"], name="soft"),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, ["N", 2, 8, 8])],
        [helper.make_tensor_value_info("y", kind, ["N", 3])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


def test_steps_shapes_and_notes_are_shown(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect.main([str(net)]) == 0
    said = capsys.readouterr().out
    lines = {line.split()[0]: " ".join(line.split()) for line in said.splitlines() if line.strip()}
    assert lines["first"] == "first conv, ReLU, max pool 2x2 input 4x2x3x3 4x4x4 72 4,608"
    assert lines["second"] == "second depthwise conv first 4x1x3x3 4x4x4 36 576"
    assert "add" in lines
    assert lines["last"].endswith("3x64 3 192 192")
    assert "note: Softmax at the end is left out" in said
    assert "good, 5 steps, 300 weights, 5,376 multiplications an image, equals onnxruntime" in said


def test_the_same_as_json_and_a_check_alone(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect.main([str(net), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["input_shape"] == [2, 8, 8]
    assert (facts["weights"], facts["macs"], len(facts["steps"])) == (300, 5376, 5)
    assert facts["difference_from_onnxruntime"] < 1e-5
    assert inspect.main([str(net), "--check"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_damaged_file_is_one_line(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net.write_bytes(net.read_bytes()[:100])
    assert inspect.main([str(net)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"error: {net}: ")
