"""``pyadmm compress``: an ONNX file and some images become an ``.admm`` file, or one line says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pyadmm import container
from pyadmm.cli import compress
from pyadmm.cli.command import DONE, ERROR
from pyadmm.core.errors import PyadmmError
from pyadmm.datasets.calibration import read_calibration
from tests.unit.test_onnx_import import node, write

pytest.importorskip("onnx", reason="pip install 'pyadmm[export]'")
pytest.importorskip("onnxruntime", reason="pip install 'pyadmm[export]'")

SHAPE = (3, 9, 8)


def network(folder: Path) -> Path:
    rng = np.random.default_rng(1)

    def weights(*shape: int) -> Any:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    nodes = [
        node("Conv", "x", "w1", "b1", out="c1", pads=[0, 0, 1, 1], strides=[2, 2]),
        node("Clip", "c1", "lo", "hi", out="r1"),
        node("Conv", "r1", "w2", out="c2", pads=[1, 1, 1, 1], group=8),
        node("Relu", "c2", out="r2"),
        node("GlobalAveragePool", "r2", out="p"),
        node("Flatten", "p", out="f"),
        node("Gemm", "f", "w3", "b3", out="g", transB=1),
        node("Softmax", "g", out="y"),
    ]
    constants = {
        "w1": weights(8, 3, 3, 3),
        "b1": np.full(8, 0.1, np.float32),
        "lo": np.float32(0),
        "hi": np.float32(6),
        "w2": 3 * weights(8, 1, 3, 3),
        "w3": weights(4, 8),
        "b3": np.zeros(4, np.float32),
    }
    return write(folder / "net.onnx", nodes, constants)


def pixels(count: int, *, channels_last: bool = False) -> Any:
    shape = (count, 9, 8, 3) if channels_last else (count, *SHAPE)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYADMM_CACHE", str(tmp_path / "cache"))
    network(tmp_path)
    labels = np.arange(40) % 4
    np.savez(tmp_path / "images.npz", x=pixels(40), y=labels)
    return tmp_path


def run(files: Path, *options: str, model: str = "net.onnx", images: str = "images.npz") -> int:
    line = [str(files / model), "--calibration", str(files / images), "--post-training"]
    return compress.main([*line, "--out", str(files / "net.admm"), *options])


def test_a_network_becomes_a_file_of_the_wanted_size(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--pruning-ratio", "2", "--weight-bits", "4", "--mean", "128", "--std", "64"]
    assert run(files, *options, "--test", str(files / "images.npz")) == DONE
    model = container.load(files / "net.admm")
    assert model.nnz <= 0.5 * model.weights + 1
    assert {layer.weight_bits for layer in model.layers} == {4}
    assert model.input.offset == (128, 128, 128)
    said = capsys.readouterr().out
    assert "Softmax at the end" in said
    assert "equals onnxruntime" in said
    assert "paired standard error" in said
    first = (files / "net.admm").read_bytes()
    assert run(files, *options, "--finetune", "2") == DONE
    assert "after distillation" in capsys.readouterr().out
    assert run(files, *options) == DONE  # from the layers that are kept
    assert (files / "net.admm").read_bytes() == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sparsity", "1.5"], "sparsity"),
        (["--pruning-ratio", "0.5"], "pruning-ratio"),
        (["--weight-bits", "9"], "weight bits"),
        (["--mean", "1,2"], "--mean"),
        (["--std", "x"], "--std"),
        (["--input-shape", "3,4,5"], "input"),
    ],
)
def test_wrong_options_are_one_line(
    files: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(files, *options) == ERROR
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (files / "net.admm").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": np.zeros((0, *SHAPE), np.uint8)}, "no images"),
        ({"x": np.zeros((4, *SHAPE), np.uint8)}, "one value"),
        ({"x": np.full((4, *SHAPE), np.nan)}, "NaN"),
        ({"x": np.full((4, *SHAPE), 0.5)}, "bytes"),
        ({"x": pixels(4)[:, :, :5]}, "shape"),
        ({"z": pixels(4)}, "must hold images as x"),
        ({"x": pixels(4), "y": np.zeros(3)}, "labels"),
        ({"x": np.array([{}], object)}, "no .npz file"),
    ],
)
def test_hostile_calibration_data_are_one_line(
    files: Path, content: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(files / "bad.npz", **content)
    assert run(files, images="bad.npz") == ERROR
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_damaged_files_are_one_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = (files / "images.npz").read_bytes()
    for bad in (b"", b"text", data[:100], data[:-30]):
        (files / "bad.npz").write_bytes(bad)
        assert run(files, images="bad.npz") == ERROR
        assert capsys.readouterr().err.count("\n") == 1
    assert run(files, images="missing.npz") == ERROR


def test_folders_of_pictures_are_read_in_any_form(files: Path) -> None:
    folder = files / "pictures"
    (folder / "cats").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, (size, mode) in enumerate([((8, 9), "RGB"), ((16, 30), "L"), ((5, 4), "RGBA")]):
        noise = rng.integers(0, 256, (*size[::-1], 4), np.uint8)
        Image.fromarray(noise).convert(mode).save(folder / "cats" / f"{number}.png")
    (folder / "notes.txt").write_text("no picture")
    found = read_calibration(folder, SHAPE)
    assert found.images.shape == (3, *SHAPE)
    assert found.skipped == 1
    exact = np.asarray(Image.open(folder / "cats" / "0.png")).transpose(2, 0, 1)
    np.testing.assert_array_equal(found.images[0], exact)
    cropped = read_calibration(folder, SHAPE, fit="crop").images[1]
    middle = np.asarray(Image.open(folder / "cats" / "1.png"))[10:19, 4:12]
    np.testing.assert_array_equal(cropped[0], middle)
    assert run(files, images="pictures") == DONE
    (folder / "broken.png").write_bytes(b"no picture at all")
    with pytest.raises(PyadmmError, match=r"broken\.png"):
        read_calibration(folder, SHAPE)


def test_arrays_with_channels_last_are_turned(tmp_path: Path) -> None:
    x = pixels(5, channels_last=True)
    np.savez(tmp_path / "x.npz", x=x)
    found = read_calibration(tmp_path / "x.npz", SHAPE, limit=3)
    np.testing.assert_array_equal(found.images, x[:3].transpose(0, 3, 1, 2))
