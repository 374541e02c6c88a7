"""ONNX and QONNX graphs give the integer model's logits, integer by integer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from pyadmm import container
from pyadmm.cli.main import main
from pyadmm.core.errors import MissingToolError, PyadmmError
from pyadmm.model import (
    INPUT,
    Add,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    InputSpec,
    MaxPool,
    Requant,
)
from pyadmm.model import onnx as export
from pyadmm.model.types import LayerSpec, QFormat
from tests.unit.arbitrary_models import models
from tests.unit.models import (
    random_data,
    random_images,
    random_layer,
    random_lenet5,
    shipped_models,
)

onnx = pytest.importorskip("onnx", reason="pip install 'pyadmm[export]'")
pytest.importorskip("onnxruntime", reason="pip install 'pyadmm[export]'")
pytest.importorskip("qonnx", reason="pip install 'pyadmm[export]'")

ROOT = Path(__file__).parents[2]
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def residual_model(seed: int = 0) -> CompressedModel:
    """Padding, stride, groups, a residual sum, both pools and a linear layer."""
    rng = np.random.default_rng(seed)
    u4 = QFormat(4, False)

    def layer(name: str, source: str, spec: LayerSpec, **facts: object) -> CompressedLayer:
        return random_layer(rng, spec, source, density=0.3, per_channel=True, **facts)  # type: ignore[arg-type]

    nodes = (
        layer(
            "stem",
            INPUT,
            LayerSpec("stem", "conv", (8, 3, 3, 3), (3, 12, 12), 1, 1),
            x_magnitude=128,
        ),
        layer("a", "stem", LayerSpec("a", "conv", (8, 8, 3, 3), (8, 12, 12), 1, 1)),
        layer("b", "a", LayerSpec("b", "conv", (8, 4, 3, 3), (8, 12, 12), 1, 1, groups=2)),
        Add("sum", ("b", "stem"), (40000, 30000), 16, u4),
        layer("down", "sum", LayerSpec("down", "conv", (16, 8, 3, 3), (8, 12, 12), 2, 1)),
        layer("depth", "down", LayerSpec("depth", "conv", (16, 1, 1, 3), (16, 6, 6), groups=16)),
        MaxPool("max", "depth", 2, 1),
        AvgPool("mean", "max", 2, 3, Requant((16384,), 16), u4),
        layer("fc", "mean", LayerSpec("fc", "linear", (5, 32), (16, 2, 1)), output=None),
    )
    entry = InputSpec((3, 12, 12), QFormat(8, True), (120, 128, 100), 1)
    return CompressedModel("residual", entry, nodes)


def assert_equal_everywhere(model: CompressedModel, images: np.ndarray) -> None:
    golden = model.run(images)
    np.testing.assert_array_equal(export.run_onnx(export.export_onnx(model), images), golden)
    quant = export.export_qonnx(model, len(images))
    np.testing.assert_array_equal(export.run_qonnx(quant, images), golden)


@pytest.mark.parametrize("path", shipped_models("cifar10"), ids=lambda path: path.stem)
def test_shipped_networks_with_sums(path: Path) -> None:
    model = container.load(path)
    assert_equal_everywhere(model, random_data(np.random.default_rng(0), 3, model.input))


@pytest.mark.parametrize("seed", range(3))
def test_residual_networks(seed: int) -> None:
    model = residual_model(seed)
    images = random_data(np.random.default_rng(seed), 7, model.input)
    assert len(np.unique(model.run(images))) > 5
    assert_equal_everywhere(model, images)


@settings(max_examples=80, deadline=None, suppress_health_check=SLOW)
@given(models(), st.integers(0, 2**32))
def test_any_model_in_integers_and_in_qonnx_if_float32_holds_it(
    model: CompressedModel, seed: int
) -> None:
    images = random_data(np.random.default_rng(seed), 3, model.input)
    golden = model.run(images)
    np.testing.assert_array_equal(export.run_onnx(export.export_onnx(model), images), golden)
    try:
        graph = export.export_qonnx(model, 3)
    except PyadmmError:  # a layer beyond 2**24; the refusal has its own test
        event("refused in QONNX")
    else:
        np.testing.assert_array_equal(export.run_qonnx(graph, images), golden)


def wide_model(weight: int, bits: int) -> CompressedModel:
    """One linear layer whose accumulators pass ``2**24``."""
    codes = np.full((2, 4096), weight, np.int16)
    codes[1] *= -1
    spec = LayerSpec("fc", "linear", (2, 4096), (4096, 1, 1))
    first = LayerSpec("spread", "conv", (4096, 1, 1, 1), (1, 1, 1))
    ramp = np.full(first.weight_shape, 128, np.int16)
    nodes = (
        CompressedLayer(first, INPUT, ramp, 8, np.arange(4096), Requant(), QFormat(bits, True)),
        CompressedLayer(spec, "spread", codes, 8, np.array([3, -4]), Requant(), QFormat(48, True)),
    )
    return CompressedModel("wide", InputSpec((1, 1, 1), QFormat(8, False)), nodes)


def test_accumulators_beyond_float32_are_split_into_digits() -> None:
    model = wide_model(127, 16)
    images = np.array([0, 3, 254, 255], np.uint8).reshape(-1, 1, 1, 1)
    assert model.run(images).max() > 2**33
    graph = export.export_onnx(model)
    np.testing.assert_array_equal(export.run_onnx(graph, images), model.run(images))
    with pytest.raises(PyadmmError, match="fc reach .* export the integer form"):
        export.export_qonnx(model)


def test_sums_that_no_digit_saves_are_refused() -> None:
    codes = np.full((1, 1 << 17), 128, np.int16)
    spec = LayerSpec("fc", "linear", codes.shape, (1 << 17, 1, 1))
    layer = CompressedLayer(
        spec, INPUT, codes, 8, np.zeros(1, np.int64), Requant(), QFormat(48, True)
    )
    entry = InputSpec((1 << 17, 1, 1), QFormat(8, False))
    with pytest.raises(PyadmmError, match=r"fc has outputs with sum \|code\| = 16777216"):
        export.export_onnx(CompressedModel("wide", entry, (layer,)))


def test_graphs_hold_what_their_form_promises() -> None:
    model = residual_model()
    integer = onnx.load_from_string(export.export_onnx(model))
    assert {node.domain for node in integer.graph.node} == {""}
    stored = {i.name: i.data_type for i in integer.graph.initializer if len(i.dims) == 4}
    assert onnx.TensorProto.INT8 in stored.values()
    assert onnx.TensorProto.FLOAT not in stored.values()
    quant = onnx.load_from_string(export.export_qonnx(model, 3))
    kinds = [node.op_type for node in quant.graph.node]
    quantised = len(model.nodes) - 1 + len(model.layers) + 1  # all but the max-pool, weights, input
    assert kinds.count("Quant") == quantised
    shape = quant.graph.input[0].type.tensor_type.shape
    assert [d.dim_value for d in shape.dim] == [3, 3, 12, 12]
    named = {v.name for v in quant.graph.value_info}
    assert all(node.output[0] in named for node in quant.graph.node[:-1])


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 65535),
    st.integers(1, 48),
    st.integers(1, 16),
    st.booleans(),
    st.integers(1, 4000),
)
def test_the_proof_of_rounding_is_exhaustive(
    mult: int, shift: int, bits: int, signed: bool, peak: int
) -> None:
    """What the steps say is what all accumulators say."""
    requant, form = Requant((mult,), shift), QFormat(bits + signed, signed)
    acc = np.arange(-peak, peak + 1)
    scaled = acc.astype(np.float32) * np.float32(mult / 2.0**shift) + np.float32(0.5)
    found = np.clip(np.floor(scaled), np.float32(form.lo), np.float32(form.hi)).astype(np.int64)
    alike = np.array_equal(found, requant.apply(acc[None], form)[0])
    assert export.float32_rounds_alike(requant, form, peak) == alike


def test_a_requantiser_that_float32_gets_wrong_computes_in_float64() -> None:
    requant, form = Requant((40055,), 18), QFormat(8, False)
    peak = 1 << 18
    assert not export.float32_rounds_alike(requant, form, peak)
    wide = AvgPool("keep", "a", 1, 1, requant, form)
    first = CompressedLayer(
        LayerSpec("a", "conv", (1, 1, 1, 1), (1, 1, 256)),
        INPUT,
        np.full((1, 1, 1, 1), 16, np.int16),
        5,
        np.zeros(1, np.int64),
        Requant(),
        QFormat(18, False),
    )
    model = CompressedModel("halves", InputSpec((1, 1, 256), QFormat(8, False)), (first, wide))
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 1, 256)
    graph = export.export_qonnx(model)
    assert "Floor" in {node.op_type for node in onnx.load_from_string(graph).graph.node}
    np.testing.assert_array_equal(export.run_qonnx(graph, images), model.run(images))


def test_command(tmp_path: Path) -> None:
    model = random_lenet5()
    container.save(model, tmp_path / "m.admm")
    for flags in ([], ["--qonnx", "--batch", "2"]):
        out = tmp_path / f"{len(flags)}.onnx"
        run = subprocess.run(
            [sys.executable, "-m", "pyadmm", "export", str(tmp_path / "m.admm"), str(out), *flags],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert "logits equal the integer model's" in run.stdout
        onnx.checker.check_model(onnx.load(out))


@pytest.mark.parametrize("flags", [[], ["--qonnx", "--batch", "2"]])
def test_own_images_are_compared_all(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    container.save(random_lenet5(), tmp_path / "m.admm")
    images = random_images(np.random.default_rng(0), 3, (1, 28, 28))
    np.savez(tmp_path / "x.npz", x=images)
    files = [str(tmp_path / name) for name in ("m.admm", "o.onnx")]
    assert main(["export", *files, "--check", str(tmp_path / "x.npz"), *flags]) == 0
    assert "on 3 images" in capsys.readouterr().out
    np.savez(tmp_path / "x.npz", x=images[:, :, :7])
    assert main(["export", *files, "--check", str(tmp_path / "x.npz"), *flags]) == 2
    assert "images must have shape (N, 1, 28, 28)" in capsys.readouterr().err


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "none.admm"), str(tmp_path / "o.onnx")]) == 2
    assert "none.admm" in capsys.readouterr().err
    assert not (tmp_path / "o.onnx").exists()
    with pytest.raises(PyadmmError, match="batch must be at least 1, not 0"):
        export.export_qonnx(random_lenet5(), 0)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingToolError, match=r"package onnx cannot .*pyadmm\[export\]"):
        export.export_onnx(random_lenet5())


def test_a_graph_of_another_model_is_found_out() -> None:
    graph = export.export_onnx(random_lenet5(1))
    images = random_images(np.random.default_rng(0), 4, (1, 28, 28))
    with pytest.raises(PyadmmError, match="other logits"):
        export.check(random_lenet5(2), graph, images, qonnx=False)
