"""ONNX files as torch modules: equal to onnxruntime, or refused in one line that names the node."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pyadmm.core.errors import PyadmmError
from pyadmm.model import InputSpec
from pyadmm.model.types import QFormat
from pyadmm.network.onnx_import import Imported, check_import, import_onnx
from pyadmm.network.trace import trace

onnx = pytest.importorskip("onnx", reason="pip install 'pyadmm[export]'")
pytest.importorskip("onnxruntime", reason="pip install 'pyadmm[export]'")

NETWORKS = Path(os.environ.get("PYADMM_DATA_DIR") or "/nonexistent") / "networks"
REAL = (
    "ds_cnn",
    "efficientnet_lite0",
    "mobilenet_v1_025_128",
    "mobilenet_v1_050_160",
    "mobilenet_v2_100_224",
    "resnet8",
    "squeezenet_v1_0",
    "vww_mobilenet_v1_025_96",
)
SHAPE = (3, 9, 8)


def node(kind: str, *inputs: str, out: str, **facts: Any) -> Any:
    return onnx.helper.make_node(kind, list(inputs), [out], name=f"n_{out}", **facts)


def write(
    path: Path,
    nodes: Sequence[Any],
    constants: dict[str, Any] | None = None,
    *,
    opset: int = 17,
    shape: Sequence[int | str] = ("N", *SHAPE),
    kind: int = onnx.TensorProto.FLOAT,
) -> Path:
    helper = onnx.helper
    tensors = [
        onnx.numpy_helper.from_array(np.asarray(value), name)
        for name, value in (constants or {}).items()
    ]
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", _OUTPUT.get(kind, kind), None)],
        tensors,
    )
    domains = [helper.make_opsetid("", opset), helper.make_opsetid(QONNX, 1)]
    proto = helper.make_model(graph, opset_imports=domains, ir_version=8)
    path.write_bytes(proto.SerializeToString())
    return path


QONNX = "qonnx.custom_op.general"
_OUTPUT = {onnx.TensorProto.UINT8: onnx.TensorProto.FLOAT}


def floats(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def equal(path: Path) -> Imported:
    """The import, after a comparison with onnxruntime."""
    imported = import_onnx(path)
    assert check_import(path, imported) < 1e-5
    return imported


_MAXIMA = onnx.helper.make_node(
    "MaxPool", ["x"], ["y", "places"], name="n_y", kernel_shape=[3, 3], pads=[1, 1, 1, 1]
)
CONV = {"w": floats(4, 3, 3, 3), "b": floats(4, seed=1)}
ONE_LAYER: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "conv": ([node("Conv", "x", "w", "b", out="y", pads=[1, 1, 1, 1], strides=[2, 1])], CONV),
    "conv without bias": ([node("Conv", "x", "w", out="y", dilations=[2, 2])], CONV),
    "asymmetric": ([node("Conv", "x", "w", "b", out="y", pads=[0, 2, 1, 3])], CONV),
    "same upper": (
        [node("Conv", "x", "w", "b", out="y", auto_pad="SAME_UPPER", strides=[2, 2])],
        CONV,
    ),
    "same lower": (
        [node("Conv", "x", "w", "b", out="y", auto_pad="SAME_LOWER", strides=[2, 2])],
        CONV,
    ),
    "valid": ([node("Conv", "x", "w", "b", out="y", auto_pad="VALID")], CONV),
    "depthwise": (
        [node("Conv", "x", "d", out="y", group=3, pads=[1, 1, 1, 1])],
        {"d": floats(6, 1, 3, 3)},
    ),
    "relu6": (
        [node("Clip", "x", "lo", "hi", out="y")],
        {"lo": np.float32(0), "hi": np.float32(6)},
    ),
    "clip": ([node("Clip", "x", "", "hi", out="y")], {"hi": np.float32(0.5)}),
    "max pool": ([node("MaxPool", "x", out="y", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], {}),
    "max pool, asymmetric": (
        [node("MaxPool", "x", out="y", kernel_shape=[3, 2], strides=[2, 2], pads=[0, 0, 1, 1])],
        {},
    ),
    "max pool, ceil": (
        [node("MaxPool", "x", out="y", kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1)],
        {},
    ),
    "average": (
        [node("AveragePool", "x", out="y", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 1, 1, 1])],
        {},
    ),
    "average that counts": (
        [
            node(
                "AveragePool",
                "x",
                out="y",
                kernel_shape=[3, 3],
                pads=[0, 1, 1, 2],
                count_include_pad=1,
            )
        ],
        {},
    ),
    "pad": ([node("Pad", "x", "p", out="y")], {"p": np.array([0, 0, 1, 2, 0, 0, 3, 0])}),
    "prelu": ([node("PRelu", "x", "s", out="y")], {"s": floats(3, 1, 1)}),
    "scaled": ([node("Mul", "x", "s", out="y")], {"s": floats(1, 3, 1, 1)}),
    "swapped minus": ([node("Sub", "s", "x", out="y")], {"s": np.float32(2)}),
    "norm": (
        [node("BatchNormalization", "x", "g", "b", "m", "v", out="y", epsilon=0.01)],
        {"g": floats(3), "b": floats(3, seed=1), "m": floats(3, seed=2), "v": np.ones(3, "f4")},
    ),
    "concat": ([node("Concat", "x", "x", out="y", axis=-3)], {}),
    "hard sigmoid": ([node("HardSigmoid", "x", out="y")], {}),
    "hard sigmoid of torch": ([node("HardSigmoid", "x", out="y", alpha=1 / 6)], {}),
    "hard swish": ([node("HardSwish", "x", out="y")], {}),
    "sigmoid inside": ([node("Sigmoid", "x", out="s"), node("Mul", "x", "s", out="y")], {}),
    "elu": ([node("Elu", "x", out="y", alpha=0.5)], {}),
    "celu": ([node("Celu", "x", out="y", alpha=2.0)], {}),
    "selu": ([node("Selu", "x", out="y")], {}),
    "softplus": ([node("Softplus", "x", out="y")], {}),
    "gelu as exporters spell it": (
        [
            node("Div", "x", "r", out="d"),
            node("Erf", "d", out="e"),
            node("Add", "e", "one", out="a"),
            node("Mul", "x", "a", out="m"),
            node("Mul", "m", "half", out="y"),
        ],
        {"r": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)},
    ),
    "shuffle": (
        [
            node("Reshape", "x", "in", out="r"),
            node("Transpose", "r", out="t", perm=[0, 2, 1, 3, 4]),
            node("Reshape", "t", "out", out="y"),
        ],
        {"in": np.array([0, 3, 1, 9, 8]), "out": np.array([0, 3, 9, 8])},
    ),
    "slice": (
        [node("Slice", "x", "first", "last", "axes", "steps", out="y")],
        {
            "first": np.array([1, -9]),
            "last": np.array([3, 1 << 40]),
            "axes": np.array([1, 2]),
            "steps": np.array([1, 2]),
        },
    ),
    "pad that cuts off": (
        [node("Pad", "x", "p", out="y")],
        {"p": np.array([0, 0, -1, 2, 0, 0, 3, -2])},
    ),
    "pad of channels": (
        [node("Pad", "x", "p", out="y")],
        {"p": np.array([0, 1, 0, 0, 0, 2, 0, 0])},
    ),
    "pad of some axes": (
        [node("Pad", "x", "p", "v", out="y")],
        {"p": np.array([0, 0, 1, 2, 0, 0, 3, 0]), "v": np.float32(0.5)},
    ),
    "rows joined": ([node("Concat", "x", "x", out="y", axis=2)], {}),
    "curves": (
        [
            *(node("Abs", "x", out="a"), node("Neg", "a", out="b"), node("Exp", "b", out="c")),
            *(node("Sin", "c", out="d"), node("Cos", "d", out="e"), node("Pow", "e", "p", out="y")),
        ],
        {"p": np.float32(3)},
    ),
    "extremes": (
        [
            node("Max", "x", "z", out="a"),
            node("Min", "a", "n", "x", out="b"),
            node("Sum", "a", "b", "x", out="y"),
        ],
        {"z": np.float32(0.1), "n": floats(1, 1, 1, 1)},
    ),
    "unread places of maxima": ([_MAXIMA], {}),
    "mean of rows": ([node("ReduceMean", "x", out="y", axes=[-2], keepdims=0)], {}),
    "largest": ([node("ReduceMax", "x", out="y", axes=[2, 3])], {}),
    "sum of columns": ([node("ReduceSum", "x", "a", out="y")], {"a": np.array([3])}),
    "matrix of the last axis": ([node("MatMul", "x", "m", out="y")], {"m": floats(8, 5)}),
    "log_softmax before a reshape and a cast": (
        [
            *(node("Flatten", "x", out="f"), node("MatMul", "f", "m", out="l")),
            *(node("LogSoftmax", "l", out="s"), node("Reshape", "s", "r", out="t")),
            node("Identity", "t", out="y"),
        ],
        {"m": floats(216, 4), "r": np.array([-1, 4])},
    ),
}
NEWER: dict[str, tuple[int, list[Any]]] = {
    "mish": (18, [node("Mish", "x", out="y")]),
    "gelu": (20, [node("Gelu", "x", out="y")]),
    "gelu, tanh": (20, [node("Gelu", "x", out="y", approximate="tanh")]),
}


@pytest.mark.parametrize("name", ONE_LAYER)
def test_one_operator_equals_onnxruntime(name: str, tmp_path: Path) -> None:
    nodes, constants = ONE_LAYER[name]
    equal(write(tmp_path / "net.onnx", nodes, constants))


@pytest.mark.parametrize("name", NEWER)
def test_operators_of_newer_sets_equal_onnxruntime(name: str, tmp_path: Path) -> None:
    opset, nodes = NEWER[name]
    equal(write(tmp_path / "net.onnx", nodes, opset=opset))


@pytest.mark.parametrize("given", [True, False])
def test_a_split_equals_onnxruntime(tmp_path: Path, given: bool) -> None:
    sizes = {"sizes": np.array([1, 2])} if given else {}
    split = onnx.helper.make_node("Split", ["x", *sizes], ["a", "b"], axis=1 if given else 3)
    joined = [node("Concat", "b", "a", out="y", axis=1)]
    if not given:
        joined = [node("Add", "b", "a", out="y")]
    equal(write(tmp_path / "net.onnx", [split, *joined], sizes))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_compared_all_the_same(tmp_path: Path, batch: int) -> None:
    """Exporters fix the batch of the example, unless told otherwise."""
    equal(write(tmp_path / "net.onnx", *ONE_LAYER["conv"], shape=(batch, *SHAPE)))


@pytest.mark.parametrize("kind", ["FLOAT16", "DOUBLE"])
def test_networks_of_other_floats_are_compared(tmp_path: Path, kind: str) -> None:
    """onnxruntime has no convolution of doubles: ONNX' own evaluator takes its place."""
    kinds = {"FLOAT16": np.float16, "DOUBLE": np.float64}
    nodes, constants = ONE_LAYER["conv"]
    held = {name: value.astype(kinds[kind]) for name, value in constants.items()}
    path = write(tmp_path / "net.onnx", nodes, held, kind=getattr(onnx.TensorProto, kind))
    assert check_import(path, import_onnx(path)) < (1e-3 if kind == "FLOAT16" else 1e-5)


def test_a_network_that_reads_bytes_is_compared_on_bytes(tmp_path: Path) -> None:
    nodes, constants = ONE_LAYER["conv"]
    (made,) = nodes
    cast = onnx.helper.make_node("Cast", ["x"], ["f"], to=onnx.TensorProto.FLOAT)
    conv = onnx.helper.make_node("Conv", ["f", "w", "b"], ["y"], name=made.name, pads=[1, 1, 1, 1])
    equal(write(tmp_path / "net.onnx", [cast, conv], constants, kind=onnx.TensorProto.UINT8))


LINES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "a classifier of signals": (
        [
            node("Conv", "x", "w", "b", out="a", strides=[2], pads=[2, 1], dilations=[2]),
            node("BatchNormalization", "a", "g", "o", "m", "v", out="n"),
            node("Relu", "n", out="r"),
            node("MaxPool", "r", out="p", kernel_shape=[3], strides=[2], pads=[1, 1]),
            node("Conv", "p", "d", out="c", group=4, auto_pad="SAME_UPPER"),
            node("AveragePool", "c", out="q", kernel_shape=[2], strides=[2], ceil_mode=1),
            node("Flatten", "q", out="f"),
            node("Gemm", "f", "l", out="y"),
        ],
        {
            "w": floats(4, 2, 3),
            "b": floats(4),
            "g": floats(4, seed=1),
            "o": floats(4, seed=2),
            "m": floats(4, seed=3),
            "v": np.ones(4, "f4"),
            "d": floats(4, 1, 4),
            "l": floats(16, 3),
        },
    ),
    "a global average": (
        [
            node("Pad", "x", "p", out="a"),
            node("Conv", "a", "w", out="c"),
            node("LeakyRelu", "c", out="r"),
            node("GlobalAveragePool", "r", out="g"),
            node("Squeeze", "g", "last", out="s"),
            node("Gemm", "s", "l", out="y", transB=1),
        ],
        {
            "p": np.array([0, 0, 3, 0, 0, 0]),
            "w": floats(4, 2, 5),
            "last": np.array([2]),
            "l": floats(3, 4),
        },
    ),
    "maps made of lines": (
        [
            node("Unsqueeze", "x", "axis", out="u"),
            node("Conv", "u", "w", out="c"),
            node("Flatten", "c", out="f"),
            node("Gemm", "f", "l", out="y"),
        ],
        {"axis": np.array([2]), "w": floats(2, 2, 1, 3), "l": floats(60, 3)},
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_networks_of_lines_equal_onnxruntime_and_their_trace(name: str, tmp_path: Path) -> None:
    """Lines ``(N, C, L)`` are maps of one row."""
    imported = equal(write(tmp_path / "net.onnx", *LINES[name], shape=("N", 2, 32)))
    assert imported.input_shape == (2, 1, 32)
    _assert_traced(imported)


def _assert_traced(imported: Imported) -> None:
    network = trace(imported.module, InputSpec(imported.input_shape, QFormat(8, False, 1 / 255)))
    codes = torch.randint(0, 256, (3, *imported.input_shape)).float()
    with torch.no_grad():
        torch.testing.assert_close(
            network(codes), imported.module(codes / 255), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("lines", [False, True])
def test_inputs_whose_channels_come_last_are_turned(tmp_path: Path, lines: bool) -> None:
    """As exports of Keras read them: (N, H, W, C) or (N, L, C), transposed at once and at the end."""
    there, back = ([0, 2, 1], [0, 2, 1]) if lines else ([0, 3, 1, 2], [0, 2, 3, 1])
    kernel = floats(4, 2, 3) if lines else floats(4, 2, 3, 3)
    nodes = [
        node("Transpose", "x", out="t", perm=there),
        node("Conv", "t", "w", out="c"),
        node("Relu", "c", out="r"),
        node("Transpose", "r", out="b", perm=back),
        node("Flatten", "b", out="f"),
        node("MatMul", "f", "l", out="y"),
    ]
    constants = {"w": kernel, "l": floats(4 * (30 if lines else 7 * 6), 3)}
    shape = ("N", 32, 2) if lines else ("N", 9, 8, 2)
    imported = equal(write(tmp_path / "net.onnx", nodes, constants, shape=shape))
    assert imported.input_shape == ((2, 1, 32) if lines else (2, 9, 8))
    _assert_traced(imported)


def test_a_moved_batch_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx", [node("Transpose", "x", out="y")])
    with pytest.raises(PyadmmError, match="batch"):
        import_onnx(path)


def test_a_network_with_folded_constants_and_a_dynamic_flatten(tmp_path: Path) -> None:
    """float16 weights behind a Cast, ``view(x.size(0), -1)`` as exporters write it, MatMul + Add."""
    nodes = [
        node("Cast", "w16", out="w", to=onnx.TensorProto.FLOAT),
        node("Conv", "x", "w", "b", out="c", pads=[0, 0, 1, 1], strides=[2, 2]),
        node("Relu", "c", out="r"),
        node("MaxPool", "r", out="p", kernel_shape=[3, 3], strides=[1, 1], pads=[0, 0, 1, 1]),
        node("Dropout", "p", out="drop"),
        node("Shape", "drop", out="shape"),
        node("Gather", "shape", "zero", out="n"),
        node("Unsqueeze", "n", "axes", out="n1"),
        node("Concat", "n1", "minus", out="target", axis=0),
        node("Reshape", "drop", "target", out="flat"),
        node("MatMul", "flat", "fc", out="mm"),
        node("Add", "bias", "mm", out="logits"),
        node("Softmax", "logits", out="y", axis=1),
    ]
    constants = {
        "w16": CONV["w"].astype(np.float16),
        "b": CONV["b"],
        "zero": np.array(0),
        "axes": np.array([0]),
        "minus": np.array([-1]),
        "fc": floats(4 * 3 * 3, 5),
        "bias": floats(5),
    }
    path = write(tmp_path / "net.onnx", nodes, constants)
    imported = equal(path)
    kinds = [type(module).__name__ for module in imported.module.children()]
    wanted = ["Conv2d", "Flatten", "Linear", "MaxPool2d", "ReLU", "ZeroPad2d", "ZeroPad2d"]
    assert sorted(kinds) == wanted
    assert imported.module.get_submodule("n_mm").bias is not None
    assert "Softmax" in imported.notes[0]
    assert imported.input_shape == (3, 9, 8)


def test_shared_operands_keep_their_sum(tmp_path: Path) -> None:
    """A constant is added to one of two readers of a layer, so it must not go into its bias."""
    nodes = [
        node("Conv", "x", "w", out="c"),
        node("Add", "c", "one", out="d"),
        node("Mul", "c", "d", out="y"),
    ]
    equal(write(tmp_path / "net.onnx", nodes, {"w": CONV["w"], "one": np.float32(1)}))


@pytest.mark.parametrize(
    "name",
    ["in", "class", "1x1", "train", "a.b.c", "a", "", "forward", "Größe 3", "blocks.0", "weight"],
)
def test_any_node_name_gives_a_module(name: str, tmp_path: Path) -> None:
    first = node("Conv", "x", "w", "b", out="c", pads=[1, 1, 1, 1])
    second = node("Conv", "c", "v", out="y")
    first.name, second.name = name, "a.b"
    imported = equal(
        write(tmp_path / "net.onnx", [first, second], {**CONV, "v": floats(2, 4, 1, 1)})
    )
    convolutions = [m for m in imported.module.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 2


def test_qdq_is_rounded_as_onnxruntime_does(tmp_path: Path) -> None:
    nodes = [
        node("QuantizeLinear", "x", "s", "z", out="q"),
        node("DequantizeLinear", "q", "s", "z", out="d"),
        node("DequantizeLinear", "wq", "ws", "wz", out="w", axis=0),
        node("Conv", "d", "w", out="y"),
    ]
    constants = {
        "s": np.float32(0.05),
        "z": np.uint8(120),
        "wq": np.random.default_rng(0).integers(-9, 9, (4, 3, 3, 3)).astype(np.int8),
        "ws": np.abs(floats(4)) + 0.1,
        "wz": np.zeros(4, np.int8),
    }
    imported = equal(write(tmp_path / "net.onnx", nodes, constants))
    assert list(imported.quantizers) == ["n_d"]
    plain = imported.without_quantizers()
    assert not plain.quantizers
    x = torch.round(torch.randn(1, *SHAPE) / 0.05) * 0.05
    assert torch.allclose(plain.module(x), imported.module(x), atol=1e-4)


def test_qonnx_is_rounded_as_qonnx_says(tmp_path: Path) -> None:
    """Activations of 4 bits, weights of 3, by the definition: clamp(round(x / s + z)), narrow."""
    quant = onnx.helper.make_node
    nodes = [
        quant("Quant", ["x", "s", "z", "b4"], ["q"], domain=QONNX, signed=1, narrow=0),
        quant("Quant", ["w0", "s", "z", "b3"], ["w"], domain=QONNX, signed=1, narrow=1),
        node("Conv", "q", "w", out="y"),
    ]
    constants = {
        "s": np.float32(0.25),
        "z": np.float32(0),
        "b4": np.float32(4),
        "b3": np.float32(3),
        "w0": floats(4, 3, 3, 3),
    }
    imported = import_onnx(write(tmp_path / "net.onnx", nodes, constants))
    x = torch.randn(2, *SHAPE)
    codes = torch.round(x / 0.25).clamp(-8, 7) * 0.25
    weight = torch.round(torch.from_numpy(constants["w0"]) / 0.25).clamp(-3, 3) * 0.25
    assert torch.allclose(imported.module(x), nn.functional.conv2d(codes, weight), atol=1e-5)


@pytest.mark.parametrize("mode", ["ROUND", "FLOOR", "CEIL", "ROUND_TO_ZERO"])
def test_qonnx_equals_onnxruntime_and_tells_its_bits(tmp_path: Path, mode: str) -> None:
    quant = onnx.helper.make_node
    facts = {"domain": QONNX, "rounding_mode": mode}
    nodes = [
        quant("Quant", ["w0", "s", "z", "b3"], ["w"], signed=1, narrow=1, **facts),
        node("Conv", "x", "w", out="c"),
        node("Relu", "c", out="r"),
        quant("Quant", ["r", "s", "z", "b4"], ["y"], signed=0, narrow=0, **facts),
    ]
    constants = {
        "s": np.float32(0.3),
        "z": np.float32(0),
        "b4": np.float32(4),
        "b3": np.float32(3),
        "w0": floats(4, 3, 3, 3),
    }
    imported = equal(write(tmp_path / "net.onnx", nodes, constants))
    assert imported.bits() == {"n_c": (3, 4)}
    assert imported.without_quantizers().bits() == {"n_c": (3, None)}


REFUSED: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "operator": ([node("Einsum", "x", out="y", equation="abcd->abcd")], {}, "n_y.*Einsum"),
    "domain": (
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="c", domain="my.own")],
        CONV,
        "node c.*my.own",
    ),
    "computed weight": ([node("Conv", "x", "x", out="y")], {}, "n_y.*constant"),
    "shape": ([node("Conv", "x", "w", out="y")], {"w": floats(4, 5, 3, 3)}, "n_y.*input"),
    "no output": ([node("Relu", "x", out="z")], {}, "output 'y'"),
    "later node": ([node("Relu", "z", out="y"), node("Relu", "x", out="z")], {}, "n_y.*'z'"),
    "not finite": ([node("Conv", "x", "w", out="y")], {"w": CONV["w"] * np.nan}, "finite"),
    "batch": ([node("Reshape", "x", "s", out="y")], {"s": np.array([-1])}, "n_y.*batch"),
    "huge constant": (
        [node("ConstantOfShape", "s", out="c"), node("Add", "x", "c", out="y")],
        {"s": np.array([1 << 20, 1 << 20])},
        "n_c.*values",
    ),
    "huge map": (
        [node("Pad", "x", "p", out="y")],
        {"p": np.array([0, 0, 0, 0, 0, 0, 1 << 20, 1 << 20])},
        "n_y.*too large",
    ),
    "integers": (
        [node("QuantizeLinear", "x", "s", out="q"), node("Relu", "q", out="y")],
        {"s": np.float32(1)},
        "n_y.*DequantizeLinear",
    ),
    "reflected": (
        [node("Pad", "x", "p", out="y", mode="reflect")],
        {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1])},
        "n_y.*constant is supported, not reflect",
    ),
    "padded batch": (
        [node("Pad", "x", "p", out="y")],
        {"p": np.array([1, 0, 0, 0, 0, 0, 0, 0])},
        "n_y: pads the batch",
    ),
    "mean of the batch": ([node("ReduceMean", "x", out="y")], {}, "n_y.*with the batch"),
    "places of maxima": (
        [_MAXIMA, node("Flatten", "places", out="z")],
        {},
        "n_y.*places of its maxima",
    ),
    "norm in training mode": (
        [node("BatchNormalization", "x", "o", "o", "o", "o", out="y", training_mode=1)],
        {"o": np.ones(3, "f4")},
        "n_y: is in training mode",
    ),
    "negative variance": (
        [node("BatchNormalization", "x", "o", "o", "o", "v", out="y")],
        {"o": np.ones(3, "f4"), "v": -np.ones(3, "f4")},
        "n_y: its variance must not be negative",
    ),
    "layer norm": (
        [node("LayerNormalization", "x", "o", out="y")],
        {"o": np.ones(8, "f4")},
        "n_y: LayerNormalization is not supported; use BatchNormalization",
    ),
    "quantised operator": (
        [node("MatMulInteger", "x", "x", out="y")],
        {},
        "n_y: MatMulInteger .* QDQ format",
    ),
    "exponent": ([node("Pow", "x", "x", out="y")], {}, "n_y: its exponent must be a constant"),
    "scales of another axis": (
        [node("DequantizeLinear", "w", "s", out="d", axis=1), node("Conv", "x", "d", out="y")],
        {"w": np.ones((4, 3, 3, 3), np.int8), "s": np.ones(4, "f4")},
        "n_d: does not fit its input",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_named(name: str, tmp_path: Path) -> None:
    nodes, constants, message = REFUSED[name]
    with pytest.raises(PyadmmError, match=f"(?s){message}") as caught:
        import_onnx(write(tmp_path / "net.onnx", nodes, constants))
    assert "\n" not in str(caught.value)


def refusal(path: Path) -> str | None:
    """The message with which a file is refused; ``None`` where it is read."""
    try:
        import_onnx(path)
    except PyadmmError as error:
        return str(error)
    return None


def test_damaged_files_give_one_error(tmp_path: Path) -> None:
    nodes, constants = ONE_LAYER["conv"]
    data = write(tmp_path / "net.onnx", nodes, constants).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.onnx"
    accepted = 0
    for trial in range(120):
        damaged = bytearray(data)
        if trial < 40:
            damaged = damaged[: int(rng.integers(0, len(data)))]
        else:
            for place in rng.integers(0, len(data), 3):
                damaged[place] = int(rng.integers(0, 256))
        path.write_bytes(bytes(damaged))
        message = refusal(path)
        accepted += message is None
        assert "\n" not in (message or "")
    assert accepted < 80  # weights that are other numbers are no damage that anybody could see


def test_external_data_must_lie_beside_the_file(tmp_path: Path) -> None:
    nodes, constants = ONE_LAYER["conv"]
    proto = onnx.load(str(write(tmp_path / "net.onnx", nodes, constants)))
    inside = tmp_path / "inside"
    inside.mkdir()
    path = inside / "net.onnx"
    facts = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    onnx.save_model(proto, str(path), **facts)
    equal(path)
    (inside / "w.bin").rename(tmp_path / "w.bin")
    with pytest.raises(PyadmmError, match="external"):
        import_onnx(path)
    moved = onnx.load(str(path), load_external_data=False)
    for tensor in moved.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../w.bin"
    path.write_bytes(moved.SerializeToString())
    with pytest.raises(PyadmmError, match="external"):
        import_onnx(path)
    with pytest.raises(PyadmmError, match="missing"):
        import_onnx(tmp_path / "missing.onnx")


@pytest.mark.parametrize("name", REAL)
def test_the_shared_networks_equal_onnxruntime(name: str) -> None:
    path = NETWORKS / f"{name}.onnx"
    if not path.is_file():
        pytest.skip("PYADMM_DATA_DIR names no folder with networks/*.onnx")
    imported = equal(path)
    assert not imported.notes
