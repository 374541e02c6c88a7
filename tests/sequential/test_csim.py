"""The C++ twin gives the integers of the golden model and of the RTL, and the same status on bad programs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyadmm.codegen.sequential import (
    SOURCES,
    TESTBENCHES,
    generate_sequential,
    sequential_context,
)
from pyadmm.core.errors import PyadmmError, ToolError
from pyadmm.eda.gxx import ap_types_dir, build_testbench, compiler
from pyadmm.eda.sequential_csim import SequentialCsim, build_csim
from pyadmm.eda.sequential_simulation import MemoryModel, SequentialTop, infer, place
from pyadmm.hardware.sequential.array import VERSION
from pyadmm.hardware.sequential.compiler import compile_model
from pyadmm.hardware.sequential.fusion import CHAIN_LIMIT
from pyadmm.hardware.sequential.registers import (
    BAD_DESCRIPTOR,
    BAD_HEADER,
    BUILD,
    NO_PROGRESS,
    OK,
    OUT_OF_RANGE,
    RUNS,
)
from pyadmm.model.integer import INPUT, CompressedModel, InputSpec
from pyadmm.model.types import LayerSpec, QFormat
from tests.sequential.conftest import SMALL
from tests.sequential.networks import images_of, networks, weighted
from tests.sequential.test_placement import ANY_CHAIN, chains
from tests.sequential.test_rtl import patched, small_model, status_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where simulation programs are kept."""
    try:
        compiler()
        ap_types_dir()
    except ToolError as error:
        pytest.skip(str(error))
    return tmp_path_factory.mktemp("csim")


@pytest.fixture(scope="module")
def twin(folder: Path) -> Iterator[SequentialCsim]:
    """The running C++ of :data:`SMALL`."""
    with SequentialCsim(build_csim(SMALL, folder), 4096) as top:
        yield top


@pytest.fixture(scope="module")
def exact_twin(folder: Path) -> Iterator[SequentialCsim]:
    """The same with every number at its hardware width."""
    with SequentialCsim(build_csim(SMALL, folder, exact_widths=True), 4096) as top:
        yield top


def compare(
    top: SequentialTop,
    model: CompressedModel,
    images: int,
    seed: int,
    chain_limit: float = CHAIN_LIMIT,
) -> None:
    """Two runs of ``model`` on ``top`` against the golden model."""
    data = images_of(np.random.default_rng(seed), model, images)
    try:
        compiled = compile_model(model, SMALL, images, chain_limit=chain_limit)
    except PyadmmError as error:
        assert "does not fit into a buffer" in str(error)  # noqa: PT017 - a small buffer
        return
    top.reset(compiled.program.memory_bytes, seed)
    place(top, compiled)
    for _ in range(2):
        logits, _ = infer(top, compiled, data)
        np.testing.assert_array_equal(logits, model.run(data))
    assert top.read(RUNS) == sum(len(step.runs) for step in compiled.steps)


_SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck))


@settings(_SETTINGS, max_examples=60)
@given(model=networks(), images=st.integers(1, 3), seed=st.integers(1, 1000))
def test_random_networks_equal_the_golden_model(
    twin: SequentialCsim, model: CompressedModel, images: int, seed: int
) -> None:
    compare(twin, model, images, seed)


@settings(_SETTINGS, max_examples=15)
@given(model=networks(8), images=st.integers(1, 2), seed=st.integers(1, 1000))
def test_so_do_they_at_hardware_widths(
    exact_twin: SequentialCsim, model: CompressedModel, images: int, seed: int
) -> None:
    compare(exact_twin, model, images, seed)


@pytest.mark.slow
@settings(_SETTINGS, max_examples=10)
@given(model=networks(), images=st.integers(1, 3), seed=st.integers(1, 1000))
def test_rtl_and_cpp_leave_the_same_logits_of_one_program(
    twin: SequentialCsim,
    small_top: SequentialTop,
    model: CompressedModel,
    images: int,
    seed: int,
) -> None:
    compare(twin, model, images, seed)
    compare(small_top, model, images, seed)


def test_a_slot_that_exceeds_the_ring_comes_in_pieces(twin: SequentialCsim) -> None:
    spec = LayerSpec("fc", "linear", (5, 441), (9, 7, 7))
    layer = weighted(np.random.default_rng(1), spec, INPUT, 1.0, output=QFormat(16, True))
    model = CompressedModel("m", InputSpec((9, 7, 7), QFormat(8, False)), (layer,))
    assert compile_model(model, SMALL).steps[0].step.slot_words > SMALL.entry_words
    compare(twin, model, 1, 3)


@pytest.mark.parametrize("name", chains())
def test_passes_take_turns_stripe_by_stripe(twin: SequentialCsim, name: str) -> None:
    model = chains()[name]
    assert compile_model(model, SMALL, chain_limit=ANY_CHAIN).steps[0].output.in_buffer
    compare(twin, model, 1, 3, ANY_CHAIN)


def test_two_networks_take_turns_on_one_simulator(twin: SequentialCsim) -> None:
    spec = LayerSpec("fc", "linear", (10, 48), (3, 4, 4))
    layer = weighted(np.random.default_rng(1), spec, INPUT, 0.3, output=QFormat(14, True))
    other = CompressedModel("n", InputSpec((3, 4, 4), QFormat(8, True), (128,)), (layer,))
    compiled = [compile_model(model, SMALL) for model in (small_model(), other)]
    twin.reset(1 << 17)
    bases = 0, 1 << 16
    for base, one in zip(bases, compiled, strict=True):
        place(twin, one, base)
    for turn in range(4):
        one, base = compiled[turn % 2], bases[turn % 2]
        data = images_of(np.random.default_rng(turn), one.model, 1)
        found, _ = infer(twin, one, data, base)
        np.testing.assert_array_equal(found, one.model.run(data))


def test_bad_programs_end_with_the_status_of_the_rtl(twin: SequentialCsim) -> None:
    compiled = compile_model(small_model(), SMALL)
    image = compiled.program.image
    runs = [n for n in range(8) if image[128 + 128 * n] == 2]
    assert twin.read(BUILD) == VERSION | SMALL.groups << 8 | SMALL.lanes << 16
    assert status_of(twin, compiled, b"\0" * 4 + image[4:]) == BAD_HEADER
    assert status_of(twin, compiled, image[:5] + b"\7" + image[6:]) == BAD_HEADER
    assert status_of(twin, compiled, patched(image, 0, 0)) == BAD_DESCRIPTOR
    assert status_of(twin, compiled, patched(image, 1, 1 << 30)) == OUT_OF_RANGE
    # A stream, and a map, beyond the memory; a stream that ends within a slot.
    assert status_of(twin, compiled, patched(image, 14, 0xFFFF_FFF8, runs[0])) == OUT_OF_RANGE
    assert status_of(twin, compiled, patched(image, 10, 0xFFFF_FFF0, runs[-1])) == OUT_OF_RANGE
    assert status_of(twin, compiled, patched(image, 16, 3, runs[0])) == NO_PROGRESS
    # A program without an end runs into the end of its memory, or into words that are no descriptors.
    cut = image[:128] + b"".join(image[128 * n : 128 * n + 128] for n in range(1, 3)) + bytes(1024)
    assert status_of(twin, compiled, cut) == BAD_DESCRIPTOR


@settings(_SETTINGS, max_examples=150)
@given(data=st.data())
def test_any_word_of_any_descriptor_may_be_wrong(twin: SequentialCsim, data: st.DataObject) -> None:
    """It ends with some status, within the memory, and the next program is sound."""
    compiled = compile_model(small_model(), SMALL)
    image = compiled.program.image
    count = next(n for n in range(99) if image[128 + 128 * n] == 0)
    number = data.draw(st.integers(0, count - 1))
    word = data.draw(st.sampled_from([n for n in range(28) if n not in (2, 3, 4)]))
    value = data.draw(st.integers(0, 2**32 - 1) | st.integers(0, 300))
    assert OK <= status_of(twin, compiled, patched(image, word, value, number)) <= OUT_OF_RANGE


def test_the_testbench_runs_the_jobs_that_the_vendor_s_tools_give_it(
    tmp_path: Path, folder: Path
) -> None:
    """A map of bytes, and logits of four bytes in several RUNs."""
    spec = LayerSpec("head", "conv", (3, 5, 1, 1), (5, 23, 23))
    head = weighted(np.random.default_rng(1), spec, INPUT, 0.8, output=QFormat(20, True))
    wide = CompressedModel("w", InputSpec((5, 23, 23), QFormat(8, True)), (head,))
    for name, model in (("bytes", small_model()), ("wide", wide)):
        compiled = compile_model(model, SMALL, 2)
        images = images_of(np.random.default_rng(3), model, 2)
        build = generate_sequential(SMALL, compiled, images)
        build.write(tmp_path / name)
        program = build_testbench(tmp_path / name, folder, (*SOURCES, *TESTBENCHES))
        jobs = sequential_context(compiled, "p")["csim_arguments"].split()
        command = [program, *jobs]
        data = tmp_path / name / "data"
        done = subprocess.run(command, cwd=data, check=True, capture_output=True, text=True)
        assert "bytes as expected" in done.stdout
        expected = np.fromfile(data / "output.bin", np.uint8).reshape(-1, 2)
        assert np.count_nonzero(expected[:, 0]) == model.run(images).size * (
            4 if name == "wide" else 1
        )
        expected[np.flatnonzero(expected[:, 0])[-1], 1] ^= 1
        expected.tofile(data / "output.bin")
        failed = subprocess.run(command, cwd=data, check=False, capture_output=True, text=True)
        assert failed.returncode == 2
        assert "memory differs from: output.bin" in failed.stderr


def test_csim_has_no_memory_model(twin: SequentialCsim) -> None:
    with pytest.raises(PyadmmError, match="csim: the C\\+\\+ .* has no memory model"):
        twin.memory(MemoryModel())
