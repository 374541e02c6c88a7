"""The RTL runs compiled programs bit-exactly, whatever memory does, and ends bad ones with a status."""

from __future__ import annotations

import itertools
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyadmm.core.errors import PyadmmError
from pyadmm.eda.sequential_simulation import (
    MemoryModel,
    SequentialTop,
    build_sequential,
    infer,
    place,
)
from pyadmm.hardware.sequential.array import DESCRIPTOR_BYTES, HEADER_BYTES, VERSION
from pyadmm.hardware.sequential.compiler import Compiled, compile_model
from pyadmm.hardware.sequential.maps import Split
from pyadmm.hardware.sequential.registers import (
    BAD_DESCRIPTOR,
    BAD_HEADER,
    BUILD,
    NO_PROGRESS,
    OK,
    OUT_OF_RANGE,
    READ_ERROR,
    RUNS,
    STATUS,
    WRITE_ERROR,
)
from pyadmm.model import INPUT, Add, CompressedModel, InputSpec, MaxPool
from pyadmm.model.types import LayerSpec, QFormat
from tests.sequential.bundles import network
from tests.sequential.conftest import SMALL
from tests.sequential.networks import images_of, networks, weighted
from tests.sequential.test_placement import ANY_CHAIN, chains, in_place_sum, wide_sum

pytestmark = pytest.mark.slow

_MEMORIES = [
    MemoryModel(),
    MemoryModel(latency=3),
    MemoryModel(60, 3.0, 0.2),
    MemoryModel(5, 8.0, 0.6, seed=7),
]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    model=networks(),
    images=st.integers(1, 3),
    memory=st.sampled_from(_MEMORIES),
    seed=st.integers(1, 1000),
)
def test_random_networks_equal_the_golden_model(
    small_top: SequentialTop,
    model: CompressedModel,
    images: int,
    memory: MemoryModel,
    seed: int,
) -> None:
    data = images_of(np.random.default_rng(seed), model, images)
    try:
        compiled = compile_model(model, SMALL, images)
    except PyadmmError as error:
        assert "does not fit into a buffer" in str(error)  # noqa: PT017 - a small buffer
        return
    small_top.reset(compiled.program.memory_bytes, seed)
    small_top.memory(memory)
    place(small_top, compiled)
    for _ in range(2):  # the second run finds tables and pointers as the first left them
        logits, result = infer(small_top, compiled, data)
        np.testing.assert_array_equal(logits, model.run(data))
        assert small_top.read(RUNS) == sum(len(step.runs) for step in compiled.steps)
        assert len(result.layers) == len(compiled.layers)
        assert all(0 <= layer.waits < layer.cycles for layer in result.layers)
        assert 0.7 * result.cycles < sum(layer.cycles for layer in result.layers) < result.cycles


@pytest.fixture(name="model")
def _model() -> CompressedModel:
    return small_model()


def small_model() -> CompressedModel:
    """A layer and a pool."""
    spec = LayerSpec("conv", "conv", (6, 3, 3, 3), (3, 8, 8), 1, 1)
    layer = weighted(np.random.default_rng(0), spec, INPUT, 0.5)
    pool = MaxPool("pool", "conv", 2, 2)
    return CompressedModel("m", InputSpec((3, 8, 8), QFormat(8, False)), (layer, pool))


def sums_and_pool(rng: np.random.Generator) -> CompressedModel:
    """A signed and an unsigned map added behind a layer, channels of few entries, a pool that drops rows."""
    shape, held = (5, 12, 12), QFormat(8, True)
    spec = LayerSpec("first", "conv", (5, 5, 3, 3), shape, 1, 1)
    first = weighted(rng, spec, INPUT, 0.4, output=held)
    second = weighted(rng, replace(spec, name="second"), "first", 0.1, output=QFormat(7, True))
    add = Add("add", ("second", "first"), (40001, 23), 13, QFormat(8, False))
    third = weighted(rng, replace(spec, name="third"), "add", 1.0, output=QFormat(5, True))
    final = Add("final", ("add", "third"), (3, 1000), 11, held)
    pool = MaxPool("pool", "final", 3, 2)
    return CompressedModel("m", InputSpec(shape, held), (first, second, add, third, final, pool))


@pytest.mark.parametrize("memory", _MEMORIES)
def test_sums_and_pools_on_the_way_out(small_top: SequentialTop, memory: MemoryModel) -> None:
    rng = np.random.default_rng(5)
    model = sums_and_pool(rng)
    for images in (1, 3):
        compiled = compile_model(model, SMALL, images)
        assert [step.step.lowered.name for step in compiled.steps][:3] == ["first", "add", "final"]
        small_top.reset(compiled.program.memory_bytes, images)
        small_top.memory(memory)
        place(small_top, compiled)
        data = images_of(rng, model, images)
        logits, _ = infer(small_top, compiled, data)
        np.testing.assert_array_equal(logits, model.run(data))


@pytest.mark.parametrize(("groups", "drain"), [(1, 4), (2, 8)])
def test_a_drain_of_few_lanes(groups: int, drain: int, small_program: Path, tmp_path: Path) -> None:
    """Sums, four-byte results and lists where a transfer of the store takes the drain two or four cycles."""
    assert small_program.is_file()
    array = replace(SMALL, groups=groups, drain=drain)
    rng = np.random.default_rng(drain)
    models = [sums_and_pool(rng), network("wide"), network("bytes"), wide_sum()]
    with SequentialTop(build_sequential(array, tmp_path), 4096) as top:
        for model, memory in itertools.product(models, (_MEMORIES[0], _MEMORIES[2])):
            compiled = compile_model(model, array, 2)
            top.reset(compiled.program.memory_bytes)
            top.memory(memory)
            place(top, compiled)
            data = images_of(rng, model, 2)
            logits, _ = infer(top, compiled, data)
            np.testing.assert_array_equal(logits, model.run(data))


def test_the_first_layers_take_fewer_images_than_the_others(small_top: SequentialTop) -> None:
    rng = np.random.default_rng(8)
    spec = LayerSpec("first", "conv", (6, 3, 3, 3), (3, 17, 15), 2, 1)
    first = weighted(rng, spec, INPUT, 0.5)
    pool = MaxPool("pool", "first", 3, 2)
    last = weighted(rng, LayerSpec("last", "linear", (9, 72), (6, 4, 3)), "pool", 0.4)
    model = CompressedModel("m", InputSpec((3, 17, 15), QFormat(8, False)), (first, pool, last))
    compiled = compile_model(model, SMALL, 6, Split("pool", 2))
    small_top.reset(compiled.program.memory_bytes)
    small_top.memory(_MEMORIES[2])
    place(small_top, compiled)
    data = images_of(rng, model, 6)
    logits, _ = infer(small_top, compiled, data)
    np.testing.assert_array_equal(logits, model.run(data))


@pytest.mark.parametrize("memory", _MEMORIES)
@pytest.mark.parametrize("name", chains())
def test_passes_take_turns_stripe_by_stripe(
    small_top: SequentialTop, name: str, memory: MemoryModel
) -> None:
    compiled = compile_model(chains()[name], SMALL, chain_limit=ANY_CHAIN)
    assert compiled.steps[0].output.in_buffer
    _equal(small_top, compiled, memory)


@pytest.mark.parametrize("memory", _MEMORIES)
def test_a_sum_takes_the_place_of_what_is_added(
    small_top: SequentialTop, memory: MemoryModel
) -> None:
    for images in (1, 2):
        _equal(small_top, compile_model(in_place_sum(), SMALL, images), memory)


def _equal(top: SequentialTop, compiled: Compiled, memory: MemoryModel) -> None:
    """Two runs of a program, each equal to the golden model."""
    top.reset(compiled.program.memory_bytes)
    top.memory(memory)
    place(top, compiled)
    data = images_of(np.random.default_rng(0), compiled.model, compiled.images)
    for _ in range(2):
        logits, _ = infer(top, compiled, data)
        np.testing.assert_array_equal(logits, compiled.model.run(data))


@pytest.mark.parametrize("memory", _MEMORIES)
def test_what_a_sum_adds_is_loaded_some_channels_at_a_time(
    small_top: SequentialTop, memory: MemoryModel
) -> None:
    model = wide_sum()
    compiled = compile_model(model, SMALL)
    assert compiled.steps[-1].partial
    small_top.reset(compiled.program.memory_bytes)
    small_top.memory(memory)
    place(small_top, compiled)
    data = images_of(np.random.default_rng(3), model, 1)
    logits, _ = infer(small_top, compiled, data)
    np.testing.assert_array_equal(logits, model.run(data))


def test_two_networks_take_turns_on_one_hardware(
    small_top: SequentialTop, model: CompressedModel
) -> None:
    spec = LayerSpec("fc", "linear", (10, 48), (3, 4, 4))
    logits = QFormat(14, True)
    layer = weighted(np.random.default_rng(1), spec, INPUT, 0.3, output=logits)
    other = CompressedModel("n", InputSpec((3, 4, 4), QFormat(8, True), (128,)), (layer,))
    compiled = [compile_model(m, SMALL) for m in (model, other)]
    small_top.reset(1 << 17)
    bases = 0, 1 << 16
    for base, one in zip(bases, compiled, strict=True):
        place(small_top, one, base)
    for turn in range(4):
        one, base = compiled[turn % 2], bases[turn % 2]
        data = images_of(np.random.default_rng(turn), one.model, 1)
        found, _ = infer(small_top, one, data, base)
        np.testing.assert_array_equal(found, one.model.run(data))


def status_of(top: SequentialTop, compiled: Compiled, image: bytes) -> int:
    """Status of a damaged ``image``; afterwards the sound program must run as ever."""
    top.reset(compiled.program.memory_bytes)
    top.put(0, image)
    status = top.run().status
    place(top, compiled)
    data = images_of(np.random.default_rng(2), compiled.model, 1)
    found, _ = infer(top, compiled, data)
    np.testing.assert_array_equal(found, compiled.model.run(data))
    return status


def patched(image: bytes, word: int, value: int, descriptor: int = 0) -> bytes:
    """``image`` with one word of a descriptor replaced."""
    at = HEADER_BYTES + descriptor * DESCRIPTOR_BYTES + 4 * word
    return image[:at] + struct.pack("<I", value) + image[at + 4 :]


def test_bad_programs_end_with_astatus_of(small_top: SequentialTop, model: CompressedModel) -> None:
    compiled = compile_model(model, SMALL)
    image = compiled.program.image
    assert small_top.read(BUILD) == VERSION | SMALL.groups << 8 | SMALL.lanes << 16
    assert status_of(small_top, compiled, b"\0" * 4 + image[4:]) == BAD_HEADER
    assert status_of(small_top, compiled, image[:5] + b"\7" + image[6:]) == BAD_HEADER
    assert status_of(small_top, compiled, patched(image, 0, 0)) == BAD_DESCRIPTOR
    assert status_of(small_top, compiled, patched(image, 1, 1 << 30)) == OUT_OF_RANGE
    # A stream that ends within a slot: its group waits for ever.
    runs = [n for n in range(8) if image[HEADER_BYTES + n * DESCRIPTOR_BYTES] == 2]
    assert status_of(small_top, compiled, patched(image, 16, 3, runs[0])) == NO_PROGRESS


def test_memory_errors_end_with_astatus_of(
    small_top: SequentialTop, model: CompressedModel
) -> None:
    compiled = compile_model(model, SMALL)
    source, target = compiled.input.base, compiled.output.base
    for bad, expected in (
        (range(source, source + 8), READ_ERROR),
        (range(target, target + 8), WRITE_ERROR),
        (range(HEADER_BYTES, HEADER_BYTES + 8), READ_ERROR),
    ):
        small_top.reset(compiled.program.memory_bytes)
        place(small_top, compiled)
        small_top.memory(MemoryModel(bad=bad))
        with pytest.raises(PyadmmError, match=f"status {expected}"):
            infer(small_top, compiled, images_of(np.random.default_rng(0), model, 1))
        assert small_top.read(STATUS) == expected
        small_top.memory(MemoryModel())
        data = images_of(np.random.default_rng(3), model, 1)
        found, result = infer(small_top, compiled, data)  # without a reset
        assert result.status == OK
        np.testing.assert_array_equal(found, model.run(data))
