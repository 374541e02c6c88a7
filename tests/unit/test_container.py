"""The ``.admm`` file: exact round trips, its size, its parts, its command line."""

from __future__ import annotations

import cProfile
import pstats
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pyadmm.cli import inspect
from pyadmm.container import codec as container
from pyadmm.container import sparse as sparse_code
from pyadmm.container.known_networks import Outline, outlines_known
from pyadmm.core.errors import PyadmmError
from pyadmm.model import (
    INPUT,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    Concat,
    InputSpec,
    Lookup,
    MaxPool,
    Node,
    Product,
    Requant,
    windows,
)
from pyadmm.model.types import LayerSpec, QFormat
from tests.unit.arbitrary_models import assert_same, models
from tests.unit.models import random_images, random_layer, random_lenet5

pytestmark = pytest.mark.slow

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=120, deadline=None, suppress_health_check=SLOW)
@given(models())
def test_any_model_comes_back(model: CompressedModel) -> None:
    data = container.encode(model)
    back = container.decode(data)
    assert_same(model, back)
    assert container.encode(back) == data


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(models())
def test_any_model_comes_back_from_static_coding(model: CompressedModel) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_code.Budget, "affords", lambda *_: False)
        data = container.encode(model)
        back = container.decode(data)
    assert_same(model, back)


@settings(max_examples=30, deadline=None, suppress_health_check=SLOW)
@given(models())
def test_parts_sum_to_the_file(model: CompressedModel) -> None:
    data = container.encode(model)
    parts = container.breakdown(data)
    assert sum(bits for _, bits in parts) == pytest.approx(8 * len(data))
    assert [part for part, _ in parts[:2]] == ["checksum", "header"]
    assert parts[-1][0] == "padding"
    assert parts[-1][1] < 8
    for layer in model.layers:
        assert {f"{layer.name}.{part}" for part in ("header", "positions", "levels", "biases")} <= {
            part for part, _ in parts
        }


def one_layer(codes: np.ndarray, **fields: object) -> CompressedModel:
    codes = np.asarray(codes, np.int16)
    spec = LayerSpec("fc1", "linear", codes.shape, (codes.shape[1], 1, 1))
    layer = CompressedLayer(
        spec, INPUT, codes, 3, np.zeros(len(codes), np.int64), Requant(), QFormat(24, True)
    )
    entry = InputSpec((codes.shape[1], 1, 1), QFormat(8, False))
    return CompressedModel("model", entry, (replace(layer, **fields),))  # type: ignore[arg-type]


def sparse(rng: np.random.Generator, shape: tuple[int, int], nonzeros: int) -> np.ndarray:
    codes = np.zeros(shape[0] * shape[1], np.int16)
    places = rng.choice(len(codes), nonzeros, replace=False)
    codes[places] = rng.choice([-4, -3, -2, -1, 1, 2, 3, 4], nonzeros)
    return codes.reshape(shape)


@pytest.mark.parametrize("nonzeros", [0, 1, 40, 600, 3000, 19_999, 20_000])
@pytest.mark.parametrize("shape", [(20, 1000), (1000, 20), (1, 20_000), (20_000, 1)])
def test_shapes_and_densities(shape: tuple[int, int], nonzeros: int) -> None:
    model = one_layer(sparse(np.random.default_rng(nonzeros), shape, nonzeros))
    assert_same(model, container.decode(container.encode(model)))


def test_near_the_entropy_of_random_weights() -> None:
    """Uniformly random places and levels cannot be coded below their entropy; we stay near."""
    rng = np.random.default_rng(1)
    codes = sparse(rng, (200, 500), 2000)
    share = 2000 / codes.size
    entropy = codes.size * -(share * np.log2(share) + (1 - share) * np.log2(1 - share)) + 2000 * 3.0
    assert 8 * len(container.encode(one_layer(codes))) < 1.06 * entropy


def test_large_layer_is_coded_statically_and_near_its_entropy() -> None:
    rng = np.random.default_rng(2)
    codes = np.zeros((1500, 2000), np.int16)
    kept = rng.random(codes.shape) < 0.04
    codes[kept] = rng.choice([-4, -3, -2, -1, 1, 2, 3, 4], int(kept.sum()))
    model = one_layer(codes)
    data = container.encode(model)
    entropy = codes.size * 0.2423 + kept.sum() * 3.0
    assert 8 * len(data) < 1.02 * entropy
    assert_same(model, container.decode(data))


def test_structure_is_cheap() -> None:
    """Dead rows and columns, and rows that repeat, cost far less than random places."""
    rng = np.random.default_rng(3)
    random = sparse(rng, (100, 400), 900)
    clustered = np.zeros_like(random)
    clustered[np.ix_(np.arange(0, 100, 3), np.arange(0, 400, 16))] = 2
    assert np.count_nonzero(clustered) == 850
    sizes = [len(container.encode(one_layer(codes))) for codes in (random, clustered)]
    assert sizes[1] < 0.35 * sizes[0]


def test_sorted_lines_of_equal_count_are_cheap() -> None:
    """The order of 40 distinct rows holds log2(40!) = 159 bits; sorted, nearly all are saved."""
    rng = np.random.default_rng(4)
    codes = np.zeros((40, 300), np.int16)
    for row in codes:
        row[rng.choice(300, 5, replace=False)] = 1
    by_first = codes[np.argsort((codes != 0).argmax(1))]
    bits = [
        dict(container.breakdown(container.encode(one_layer(m))))["fc1.positions"]
        for m in (codes, by_first)
    ]
    assert bits[1] < bits[0] - 120


def test_magnitudes_that_go_with_signs_are_cheap() -> None:
    """Negative weights all at -4, positive ones at 1 to 4: a bit of sign, and 2 for every other."""
    codes = sparse(np.random.default_rng(6), (60, 300), 1000)
    codes[codes < 0] = -4
    bits = dict(container.breakdown(container.encode(one_layer(codes))))["fc1.levels"]
    assert bits < 2100


def test_small_dense_layers_are_coded_by_cells() -> None:
    """A 12x25 matrix at 0.6 has an entropy of 291 bits, whichever cells there are."""
    rng = np.random.default_rng(5)
    model = one_layer(rng.random((12, 25)) < 0.6)
    bits = dict(container.breakdown(container.encode(model)))["fc1.positions"]
    assert bits < 305
    assert_same(model, container.decode(container.encode(model)))


def test_weights_on_dead_channels_come_back() -> None:
    """Unusual, but lossless: fc2 reads neurons of fc1 that have no weights and no bias."""
    model = random_lenet5(4)
    fc1 = model.layer("fc1")
    codes = fc1.codes.copy()
    codes[::2] = 0
    bias = np.where(np.arange(500) % 2, fc1.bias, 0)
    nodes = tuple(
        replace(node, codes=codes, bias=bias) if node is fc1 else node for node in model.nodes
    )
    model = replace(model, nodes=nodes)
    assert_same(model, container.decode(container.encode(model)))


def test_lenet5_header_is_small() -> None:
    model = random_lenet5(0)
    parts = dict(container.breakdown(container.encode(model)))
    header = sum(bits for part, bits in parts.items() if part.endswith("header"))
    assert header / 8 < 15
    assert parts["checksum"] == 32


@pytest.mark.parametrize("outline", outlines_known(), ids=lambda outline: outline.name)
@pytest.mark.parametrize("renamed", [False, True])
def test_well_known_networks_take_no_shapes(outline: Outline, renamed: bool) -> None:
    """Empty networks of the table: a few bytes, and more where anything differs from it."""
    nodes: list[CompressedLayer | MaxPool] = []
    for node in outline.nodes:
        if node.spec is None:
            nodes.append(MaxPool(node.name, node.source, 2, 2))
            continue
        codes = np.zeros(node.spec.weight_shape, np.int16)
        bias = np.zeros(node.spec.outputs, np.int64)
        nodes.append(
            CompressedLayer(node.spec, node.source, codes, 3, bias, Requant(), QFormat(4, False))
        )
    if renamed:
        nodes[-1] = replace(nodes[-1], spec=replace(nodes[-1].spec, name="logits"))
    model = CompressedModel(
        outline.name, InputSpec(outline.input_shape, QFormat(4, False)), tuple(nodes)
    )
    data = container.encode(model)
    header = sum(bits for part, bits in container.breakdown(data) if part.endswith("header"))
    assert (header < 110) == (not renamed)
    assert_same(model, container.decode(data))


def test_scales_that_follow_from_others_are_free() -> None:
    """Without weight scales, all of a LeNet-5's scales follow from its multipliers."""
    model = random_lenet5(0)
    layers = {layer.name: replace(layer, weight_scale=(0.1 + layer.nnz,)) for layer in model.layers}
    scaled = replace(model, nodes=tuple(layers.get(n.name, n) for n in model.nodes))
    sizes = [len(container.encode(m.without_scales())) for m in (model, scaled)]
    assert sizes[0] == sizes[1]
    assert len(container.encode(scaled)) > sizes[0] + 4 * 8


def test_runs_the_same_after_saving(tmp_path: Path) -> None:
    model = random_lenet5(5)
    path = tmp_path / "models" / "lenet5.admm"
    container.save(model, path)
    back = container.load(path)
    images = random_images(np.random.default_rng(0), 20, (1, 28, 28))
    np.testing.assert_array_equal(model.run(images), back.run(images))


def test_work_of_lenet5() -> None:
    """Calls instead of seconds: the same on every machine, 424,000 when this was written.

    ``benchmarks/container.py`` measures the 50 ms bound.
    """
    model = random_lenet5(6)
    data = container.encode(model)
    with cProfile.Profile() as profile:
        container.encode(model)
        container.decode(data)
    assert pstats.Stats(profile).total_calls < 500_000


def test_format_is_stable() -> None:
    """Bytes of a fixed model: a change here needs a new version of the format."""
    codes = np.zeros((3, 8), np.int16)
    codes[0, 1], codes[2, 5], codes[2, 6] = 1, -4, 2
    data = container.encode(one_layer(codes, bias=np.array([8, 0, -16])))
    assert data[:1] == container.MAGIC
    assert data.hex() == FIXED


FIXED = "a26b785dfb53b118264bed2c46da6a4315588a"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "x" * 300}, "name length must be 0 to 255"),
        ({"nodes": tuple(MaxPool(f"p{i}", INPUT, 1, 1) for i in range(501))}, "field nodes"),
        ({"nodes": (MaxPool("p", INPUT, 1, 1 << 40),)}, "field pool stride"),
        ({"input": InputSpec((1 << 20, 100, 1), QFormat(8, False))}, "exceeds the limit"),
    ],
)
def test_models_beyond_the_limits(change: dict[str, object], reason: str) -> None:
    model = CompressedModel(
        "m", InputSpec((4, 4, 4), QFormat(8, False)), (MaxPool("p", INPUT, 1, 1),)
    )
    with pytest.raises(PyadmmError, match=reason):
        container.encode(replace(model, **change))  # type: ignore[arg-type]


def test_bias_beyond_the_limit() -> None:
    bias = np.array([0, np.iinfo(np.int64).min])
    with pytest.raises(PyadmmError, match="bias"):
        container.encode(one_layer(np.zeros((2, 2)), bias=bias))


def test_nearly_empty_large_model_is_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file has bytes in proportion to what decoding it allocates."""
    monkeypatch.setattr(container, "FREE_WEIGHTS", 1000)
    model = one_layer(np.zeros((200, 1000)))
    data = container.encode(model)
    assert len(data) == -(-199_000 // container.WEIGHTS_PER_BYTE)
    assert_same(model, container.decode(data))


# --- window-balanced layers ----------------------------------------------------------------------


def balanced_codes(
    rng: np.random.Generator, shape: tuple[int, int], window: int, rows: int, share: float
) -> np.ndarray:
    """Random levels at random places: rows of a group have equally many in each window.

    :param share: of the windows that a group uses.
    """
    starts = range(0, shape[1], window)
    codes = np.zeros(shape, np.int16)
    for first in range(0, shape[0], rows):
        for start in starts:
            cells = min(window, shape[1] - start)
            number = int(rng.integers(1, min(cells, 3) + 1)) if rng.random() < share else 0
            for line in codes[first : first + rows]:
                places = start + rng.choice(cells, number, replace=False)
                line[places] = rng.choice([-4, -3, -2, -1, 1, 2, 3, 4], number)
    return codes


def encode_free(model: CompressedModel) -> bytes:
    """The file of ``model`` as versions before 4 wrote it."""
    return container.encode_as(model, container.MAGIC)[0]


def assert_version_4(model: CompressedModel) -> None:
    data = container.encode(model)
    assert data[:1] == container.BALANCED
    assert len(data) < len(encode_free(model))
    assert_same(model, container.decode(data))


@settings(max_examples=30, deadline=None, suppress_health_check=SLOW)
@given(st.data())
def test_balanced_patterns_come_back(data: st.DataObject) -> None:
    """In version 4, chosen or not; with exceptions and constant inputs too."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 16)))
    shape = data.draw(st.integers(2, 40)), data.draw(st.integers(4, 90))
    window, rows = data.draw(st.sampled_from([1, 2, 4, 8, 16])), data.draw(st.integers(2, 9))
    codes = balanced_codes(rng, shape, window, rows, data.draw(st.floats(0.05, 1)))
    codes[rng.random(shape) < data.draw(st.sampled_from([0.0, 0.01, 0.3]))] = 0
    model = one_layer(codes)
    assert_same(model, container.decode(container.encode(model)))
    forced = container.encode_as(model, container.BALANCED)[0]
    assert_same(model, container.decode(forced))


@settings(max_examples=20, deadline=None, suppress_health_check=SLOW)
@given(models())
def test_version_4_holds_any_model_of_its_nodes(model: CompressedModel) -> None:
    assume(not any(isinstance(node, Lookup | Product) for node in model.nodes))
    assert_same(model, container.decode(container.encode_as(model, container.BALANCED)[0]))


@settings(max_examples=20, deadline=None, suppress_health_check=SLOW)
@given(models())
def test_version_5_holds_any_model(model: CompressedModel) -> None:
    assert_same(model, container.decode(container.encode_as(model, container.TABLED)[0]))


def test_a_table_reads_at_most_8_bits() -> None:
    entry = InputSpec((1, 2, 2), QFormat(8, False))
    lookup = Lookup("f", INPUT, 0, tuple(range(0, 512, 2)), QFormat(9, False, 0.5))
    data = container.encode(CompressedModel("m", entry, (lookup,)))
    assert data[:1] == container.TABLED
    with pytest.raises(PyadmmError, match="table"):
        CompressedModel("m", replace(entry, format=QFormat(9, True)), (lookup,))
    with pytest.raises(PyadmmError, match="entries"):
        replace(lookup, table=tuple(range(512)), output=QFormat(9, False))
    with pytest.raises(PyadmmError, match="entries must be 0 to 255"):
        replace(lookup, output=QFormat(8, False))


@pytest.mark.parametrize(("window", "rows"), [(1, 4), (4, 4), (8, 4), (8, 16), (16, 7)])
def test_balanced_layers_take_fewer_bytes(window: int, rows: int) -> None:
    """A part of LeNet-5's fc1, 2 % of its weights: places cost log2 of the window, not of the row."""
    rng = np.random.default_rng(window)
    codes = balanced_codes(rng, (250, 400), window, rows, 0.01 * window)
    model = one_layer(codes)
    assert_version_4(model)
    assert windows.find_windows(codes != 0, (250, 400, 1, 1)) == windows.Windows(window, rows)


def test_balanced_kernel_rows_take_fewer_bytes() -> None:
    """LeNet-5's conv2, a kernel row a window, of which 1 % of the weights are missing."""
    rng = np.random.default_rng(3)
    codes = balanced_codes(rng, (50, 500), 5, 10, 0.2)
    codes[rng.random(codes.shape) < 0.01] = 0
    spec = LayerSpec("conv1", "conv", (50, 20, 5, 5), (20, 12, 12))
    layer = random_layer(rng, spec, INPUT, density=1.0)
    layer = replace(layer, weight_bits=3, codes=codes.reshape(spec.weight_shape))
    entry = InputSpec((20, 12, 12), QFormat(4, False))
    assert_version_4(CompressedModel("model", entry, (layer,)))


def test_balanced_layer_with_constant_inputs() -> None:
    """Inputs from neurons without weights and bias are left out, within windows too."""
    rng = np.random.default_rng(4)
    first = balanced_codes(rng, (200, 80), 8, 4, 0.3)
    first[rng.permutation(200)[:60]] = 0
    second = balanced_codes(rng, (200, 200), 8, 4, 0.2)
    second[:, ~first.any(1)] = 0
    nodes = []
    for name, source, codes in (("fc1", INPUT, first), ("fc2", "fc1", second)):
        spec = LayerSpec(name, "linear", codes.shape, (codes.shape[1], 1, 1))
        zeros = np.zeros(len(codes), np.int64)
        form = QFormat(24, True)
        nodes.append(CompressedLayer(spec, source, codes, 3, zeros, Requant(), form))
    model = CompressedModel("m", InputSpec((80, 1, 1), QFormat(8, False)), tuple(nodes))
    assert_same(model, container.decode(container.encode_as(model, container.BALANCED)[0]))


@pytest.mark.parametrize("density", [0.01, 0.1, 0.5, 0.9, 0.98, 1.0])
def test_free_patterns_are_not_balanced(density: float) -> None:
    codes = np.random.default_rng(5).random((50, 500)) < density
    assert windows.find_windows(codes, (50, 500, 1, 1)) is None
    assert windows.find_windows(codes, (50, 20, 5, 5)) is None


# --- command line ----------------------------------------------------------------------------


def test_inspect_and_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = random_lenet5(7)
    path = tmp_path / "m.admm"
    container.save(model, path)
    assert inspect.main(["--check", str(path)]) == 0
    said = capsys.readouterr().out
    assert f"good, {path.stat().st_size} bytes, 6 nodes, {model.nnz} of 430500 weights" in said
    assert inspect.main([str(path)]) == 0
    said = capsys.readouterr().out
    for text in ("conv1", "fc2", "500x800", "all", "checksum 4.0 bytes"):
        assert text in said


def test_verify_of_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = container.encode(random_lenet5(8))
    for name, content, reason in (
        ("empty", b"", "so it is no such file"),
        ("text", b"hello world", "so it is no such file"),
        ("half", good[: len(good) // 2], "checksum is wrong"),
        ("older", b"ADM\x01" + good[4:], "version must be 2 to 5, not 1"),
        ("newer", b"\xa7" + good[1:], "version must be 2 to 5, not 7"),
    ):
        (tmp_path / name).write_bytes(content)
        assert inspect.main(["--check", str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert name in error
        assert reason in error
    assert inspect.main(["--check", str(tmp_path / "missing")]) == 2
    assert "cannot be read: No such file" in capsys.readouterr().err


def test_as_a_module(tmp_path: Path) -> None:
    path = tmp_path / "m.admm"
    container.save(one_layer(np.eye(4)), path)
    command = [sys.executable, "-m", "pyadmm.container", "verify", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    path.write_bytes(path.read_bytes()[:-1])
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "checksum is wrong" in done.stderr


def test_only_what_needs_it_is_of_version_3() -> None:
    """Models that version 2 describes keep their bytes: shipped files are written as they are."""
    for path in sorted((Path(__file__).parents[2] / "models").glob("*.admm")):
        data = path.read_bytes()
        assert data[:1] == container.MAGIC
        assert container.encode(container.decode(data)) == data


@pytest.mark.parametrize(
    "node",
    [
        MaxPool("p", INPUT, (2, 1), 1),
        MaxPool("p", INPUT, 3, 1, (1, 0, 1, 0)),
        AvgPool("p", INPUT, 3, 1, Requant(), QFormat(8, False), 1, 0),
        Concat("p", (INPUT, INPUT), (Requant(), Requant((3,), 2)), QFormat(8, False)),
        random_layer(
            np.random.default_rng(0),
            LayerSpec("p", "conv", (2, 1, 2, 2), (1, 4, 4), padding=(1, 0, 0, 1)),
            INPUT,
            density=1.0,
        ),
        random_layer(
            np.random.default_rng(0),
            LayerSpec("p", "conv", (2, 1, 2, 2), (1, 4, 4), dilation=2),
            INPUT,
            density=1.0,
        ),
    ],
    ids=lambda node: type(node).__name__,
)
def test_version_3_holds_what_version_2_cannot(node: Node) -> None:
    model = CompressedModel("m", InputSpec((1, 4, 4), QFormat(8, False)), (node,))
    data = container.encode(model)
    assert data[:1] == container.EXTENDED
    assert_same(container.decode(data), model)
