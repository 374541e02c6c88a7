"""The program's bytes, interpreted on a memory, give the integers of the golden model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyadmm.container.codec import load
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.hardware.sequential.compiler import compile_model, descriptors
from pyadmm.hardware.sequential.interpreter import Interpreter, interpret
from pyadmm.hardware.sequential.program import check_image, decode, encode, pack_entries
from pyadmm.model import INPUT, CompressedLayer, CompressedModel, InputSpec, MaxPool, Requant
from pyadmm.model.types import LayerSpec, QFormat
from tests.sequential.networks import images_of, networks, weighted

MODELS = Path(__file__).resolve().parents[2] / "models"
_ARRAYS = [
    SequentialArray(),
    SequentialArray(2, 32, 256, 64, 256, 512, 16),
    SequentialArray(3, 32, 1024, 128, 512, 1024, 32),
    SequentialArray(2, 32, 64, 64, 256, 512, 16),
]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks(), st.sampled_from(_ARRAYS), st.integers(1, 3))
def test_random_networks_equal_the_golden_model(
    model: CompressedModel, array: SequentialArray, images: int
) -> None:
    data = images_of(np.random.default_rng(1), model, images)
    try:
        compiled = compile_model(model, array, images)
    except PyadmmError as error:
        assert array.lines < 1024
        assert "does not fit into a buffer" in str(error)  # noqa: PT017
        return
    np.testing.assert_array_equal(interpret(compiled, data), model.run(data))
    for image in descriptors(compiled.program.image):
        descriptor = decode(image)
        assert descriptor is not None
        assert encode(descriptor) == image


@pytest.mark.parametrize(
    ("name", "images"),
    [("lenet5-quick-seed0", 1), ("lenet5-quick-seed0", 8), ("resnet20-cifar10", 2)],
)
def test_shipped_models_equal_the_golden_model(name: str, images: int) -> None:
    model = load(MODELS / f"{name}.admm")
    data = images_of(np.random.default_rng(0), model, images)
    compiled = compile_model(model, images=images)
    np.testing.assert_array_equal(interpret(compiled, data), model.run(data))


@pytest.fixture
def model() -> CompressedModel:
    """One layer."""
    spec = LayerSpec("conv", "conv", (5, 3, 3, 3), (3, 7, 7), 2, 1)
    layer = weighted(np.random.default_rng(0), spec, INPUT, 0.5)
    return CompressedModel("m", InputSpec((3, 7, 7), QFormat(8, False)), (layer,))


def test_damage_is_refused(model: CompressedModel) -> None:
    image = compile_model(model).program.image
    for bad in (image[:-8], image[:64], b"\0" + image[1:], image[:-1] + bytes([image[-1] ^ 1])):
        with pytest.raises(PyadmmError, match="sequential program"):
            check_image(bad, SequentialArray())
    with pytest.raises(PyadmmError, match="compiled for 4 groups x 64 lanes"):
        check_image(image, SequentialArray(2, 64))


def test_a_program_beyond_its_memory_is_refused(model: CompressedModel) -> None:
    program = compile_model(model).program
    memory = np.zeros(len(program.image), np.uint8)
    memory[:] = np.frombuffer(program.image, np.uint8)
    with pytest.raises(PyadmmError, match="out of its memory|writes"):
        Interpreter(program.array, memory).run(program.image)


def test_fillers_reach_far_channels() -> None:
    words = pack_entries(np.array([0, 40]), np.array([3, 1]), np.array([-7, 100]), 4)
    macs = words[words >> 15 == 1]
    assert len(macs) == 2
    assert sum(int(word) >> 12 & 7 for word in words) == 40


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ({"groups": 17}, "groups must be 1 to 8"),
        ({"lanes": 48}, "lanes must be 32 or 64"),
        ({"lines": 1000}, "lines must be a power of two"),
        ({"acc_bits": 40}, "acc_bits must be 20 to 32"),
    ],
)
def test_impossible_arrays_are_refused(array: dict[str, int], message: str) -> None:
    with pytest.raises(PyadmmError, match=message):
        SequentialArray(**array)


def test_what_the_array_cannot_compute_is_refused_by_name(model: CompressedModel) -> None:
    wide = CompressedModel("m", model.input, (weighted_as(model, QFormat(12, False)), pool("conv")))
    with pytest.raises(PyadmmError, match="map conv has 12 bits"):
        compile_model(wide)
    padded = CompressedModel(
        "m", model.input, (weighted_as(model, QFormat(8, True)), pool("conv", padding=1))
    )
    with pytest.raises(PyadmmError, match="pool pads signed data"):
        compile_model(padded)
    with pytest.raises(PyadmmError, match="exceed the array's 20"):
        compile_model(heavy(model), SequentialArray(acc_bits=20))
    with pytest.raises(PyadmmError, match="images per run"):
        compile_model(model, images=0)


def weighted_as(model: CompressedModel, output: QFormat) -> CompressedLayer:
    """The layer of ``model`` with another output format."""
    return weighted(np.random.default_rng(0), model.layers[0].spec, INPUT, 0.5, output=output)


def pool(source: str, padding: int = 0) -> MaxPool:
    """A pool behind ``source``."""
    return MaxPool("pool", source, 2, 2, padding)


def heavy(model: CompressedModel) -> CompressedModel:
    """``model`` with biases that need 21 bits."""
    layer = model.layers[0]
    bias = np.full(5, 1 << 19)
    made = type(layer)(
        layer.spec, INPUT, layer.codes, 8, bias, Requant((2,), 17), QFormat(8, False)
    )
    return CompressedModel("m", model.input, (made,))
