"""Damaged files of others: one of our errors or a result, and nothing else ever."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn

from pyadmm import zoo
from pyadmm.core.errors import PyadmmError
from pyadmm.core.yaml_file import read_yaml
from pyadmm.datasets import arrays, idx
from pyadmm.datasets.calibration import read_calibration
from pyadmm.datasets.imagefolder import picture
from pyadmm.hardware.boards import board_names, load_board
from pyadmm.network.onnx_import import import_onnx

pytestmark = pytest.mark.slow

PICTURE = np.arange(14 * 15 * 3, dtype=np.uint32).reshape(14, 15, 3).astype(np.uint8)
CASES = 60


def _saved(form: str, **options: object) -> bytes:
    kept = io.BytesIO()
    Image.fromarray(PICTURE).save(kept, form, **options)
    return kept.getvalue()


def _npz() -> bytes:
    kept = io.BytesIO()
    x, y = np.zeros((12, 1, 3, 3), np.uint8), np.arange(12) % 3
    np.savez_compressed(kept, x_train=x, y_train=y, x_test=x, y_test=y)
    return kept.getvalue()


def _idx() -> bytes:
    header = [b"\0\0\x08\x03", *(size.to_bytes(4, "big") for size in (2, 3, 4))]
    return b"".join([*header, bytes(range(24))])


def _state() -> bytes:
    kept = io.BytesIO()
    torch.save({"state_dict": {f"module.{k}": v for k, v in _small().state_dict().items()}}, kept)
    return kept.getvalue()


def _small() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


def _onnx() -> bytes:
    rng = np.random.default_rng(0)
    tensors = {
        "w": rng.normal(size=(3, 2, 3, 3)).astype(np.float32),
        "b": np.zeros(3, np.float32),
        "v": rng.normal(size=(4, 48)).astype(np.float32),
        "c": np.zeros(4, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["y"], ["z"]),
        helper.make_node("Flatten", ["z"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "c"], ["logits"], name="fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())


def _board() -> bytes:
    folder = Path(__file__).parents[2] / "boards"
    return (folder / f"{board_names()[0]}.json").read_bytes()


Reader = Callable[[Path], object]
READERS: dict[str, tuple[Callable[[], bytes], Reader]] = {
    "p.png": (lambda: _saved("PNG"), lambda path: picture(path, 8)),
    "p.jpg": (lambda: _saved("JPEG"), lambda path: picture(path, 8, 1)),
    "p.gif": (lambda: _saved("GIF"), lambda path: picture(path, 8)),
    "p.tif": (lambda: _saved("TIFF", compression="tiff_lzw"), lambda path: picture(path, 8)),
    "p.webp": (lambda: _saved("WEBP"), lambda path: picture(path, 8)),
    "p.bmp": (lambda: _saved("BMP"), lambda path: read_calibration(path.parent, (3, 8, 8))),
    "d.npz": (_npz, arrays.load),
    "t.npz": (_npz, arrays.load_test),
    "c.npz": (_npz, lambda path: read_calibration(path, (1, 3, 3))),
    "images-idx3-ubyte": (_idx, idx.read),
    "w.pt": (_state, lambda path: zoo.load_weights(_small(), path)),
    "n.onnx": (_onnx, import_onnx),
    f"{board_names()[0]}.json": (_board, lambda path: load_board(str(path))),
    "c.yaml": (
        lambda: b"model: lenet5\ncompress:\n  layers:\n  - {pattern: '*', ratio: 2}\n",
        lambda path: read_yaml(path, "configuration"),
    ),
}


def damaged(content: bytes, rng: random.Random) -> bytes:
    """``content`` with bits flipped, a part cut out, doubled or overwritten, or its end lost."""
    data = bytearray(content)
    for _ in range(rng.randrange(1, 4)):
        place, size = rng.randrange(len(data) + 1), rng.choice([1, 2, 4, 16, 64])
        part = slice(place, place + size)
        kind = rng.randrange(5)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[part]
        elif kind == 2:
            data[place:place] = data[part]
        elif kind == 3:
            data[part] = rng.choice([b"\0", b"\xff", b"9", b"\x80"]) * len(data[part])
        else:
            del data[max(place, 1) :]
    return bytes(data)


def refusal(read: Reader, path: Path) -> str | None:
    """What our error says; ``None`` where the file is read. Other exceptions pass."""
    try:
        read(path)
    except PyadmmError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", READERS)
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_is_one_of_our_errors(tmp_path: Path, name: str) -> None:
    make, read = READERS[name]
    content, path = make(), tmp_path / name
    path.write_bytes(content)
    assert refusal(read, path) is None
    rng = random.Random(0)
    said = []
    for _ in range(CASES):
        path.write_bytes(damaged(content, rng))
        said.append(refusal(read, path))
    refused = [text for text in said if text is not None]
    assert len(refused) > CASES // 10
    assert not any("\n" in text for text in refused)


def test_a_board_of_any_json_is_one_of_our_errors(tmp_path: Path) -> None:
    facts, path = json.loads(_board()), tmp_path / f"{board_names()[0]}.json"
    values = [None, 0, -1, 1.5, 1e308, "x", "", [], {}, [1], True, 10**40]
    for key in facts:
        for value in values:
            path.write_text(json.dumps({**facts, key: value}))
            assert "\n" not in (refusal(lambda file: load_board(str(file)), path) or "")
        path.write_text(json.dumps({k: v for k, v in facts.items() if k != key}))
        assert key in (refusal(lambda file: load_board(str(file)), path) or key)
