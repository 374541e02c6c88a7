"""``Accelerator`` on the layer-sequential array in Verilator, through the files of a Linux kernel."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from host import Accelerator, HostError, selftest
from host.accelerator import load_vectors
from host.benchmark import format_table, measure
from host.errors import (
    BusError,
    HardwareTimeout,
    IdentError,
    InputError,
    ManifestError,
    ProgramError,
    WeightsError,
)
from host.linux.buffers import TO_DEVICE
from host.manifest import ProgramModel, SequentialManifest, read_manifest
from host.sequential import check_program, place_input, read_result
from pyadmm.deploy.sequential import add_network, is_sequential, read_design
from pyadmm.eda.sequential_simulation import MemoryModel, SequentialTop
from tests.host.linux_machine import REGION
from tests.sequential.bundles import (
    COUNT,
    ArrayMachine,
    make_bitfile,
    network,
    network_pack,
    small_bundle,
)
from tests.sequential.conftest import SMALL
from tests.sequential.networks import images_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One bitstream's bundle with three networks of different shapes and types."""
    folder = small_bundle(tmp_path_factory.mktemp("deploy"), "wide", "bytes")
    add_network(folder, network_pack("signed")).write(folder)
    return folder


@pytest.fixture
def bundle(deploy: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may damage."""
    return Path(shutil.copytree(deploy / "bundle", tmp_path / "bundle"))


@pytest.fixture
def machine(small_top: SequentialTop, tmp_path: Path) -> ArrayMachine:
    return ArrayMachine(tmp_path / "root", small_top)


@pytest.fixture
def start(
    machine: ArrayMachine, deploy: Path, bundle: Path, tmp_path: Path
) -> Callable[..., Accelerator]:
    """Opens the accelerator."""
    bitfile = make_bitfile(deploy, tmp_path)

    def opened(**options: Any) -> Accelerator:
        settings = {"device": machine, "timeout_s": 30, "lock_folder": tmp_path, **options}
        return Accelerator(bitfile, bundle, **settings)

    return opened


@pytest.fixture
def board(start: Callable[..., Accelerator]) -> Iterator[Accelerator]:
    with start() as accelerator:
        yield accelerator


def is_golden(board: Accelerator, name: str) -> bool:
    """Whether the loaded network gives its golden integers, and counts the cycles of its layers."""
    vectors = load_vectors(board.loaded())
    logits = board.logits(vectors["images"])
    layers = board.layer_cycles()
    assert [layer.name for layer in layers] == [node.name for node in network(name).nodes]
    assert all(0 <= layer.waiting < layer.cycles for layer in layers)
    assert all(layer.computing > 0 for layer in layers)
    runs = -(-COUNT // board.images_per_run())
    assert board.last is not None
    assert board.last.cycles is not None
    assert sum(layer.cycles for layer in layers) < board.last.cycles / runs * 1.2
    return bool(np.array_equal(logits, vectors["logits"]))


def test_networks_take_turns_without_a_new_bitstream(
    board: Accelerator, machine: ArrayMachine
) -> None:
    assert isinstance(board.manifest, SequentialManifest)
    addresses = set()
    for _ in range(2):
        for name in ("wide", "bytes", "signed"):
            board.load_model(name)
            assert is_golden(board, name)
            addresses.add(board.buffer(f"network {name}", 1).physical_address)
    assert len(addresses) == 3
    assert machine.loads == 1


@pytest.mark.parametrize(("stall", "latency"), [(0.0, 1), (0.4, 80)])
def test_the_self_test_passes_with_a_slow_memory(
    board: Accelerator, machine: ArrayMachine, stall: float, latency: int
) -> None:
    machine.top.memory(MemoryModel(latency, 5.0, stall, seed=3))
    for name in ("wide", "bytes", "signed"):
        board.load_model(name)
        result = selftest.check(board)
        assert result.passed
        assert result.images == COUNT
        assert result.correct_labels == (None if name == "bytes" else COUNT)


def test_any_number_of_images_and_any_random_ones(board: Accelerator) -> None:
    for count in (0, 1, 7):
        images = images_of(np.random.default_rng(count), network("wide"), count)
        expected = network("wide").run(images) if count else np.empty((0, 10))
        np.testing.assert_array_equal(board.logits(images), expected)
    assert board.logits(np.zeros((3, 9, 9), np.uint8)).shape == (1, 10)
    with pytest.raises(InputError, match=r"shape \(N, 3, 9, 9\), not"):
        board.logits(np.zeros((1, 3, 9, 8), np.uint8))
    board.load_model("signed")
    with pytest.raises(InputError, match="must be a numpy array of int8, not uint8"):
        board.logits(np.zeros((1, 2, 6, 5), np.uint8))


def test_the_benchmark_runs(board: Accelerator) -> None:
    images = load_vectors(board.loaded())["images"]
    figures = measure(board, images, batches=(2,), repeats=2, cpu_repeats=1)
    assert figures.timings[0].core_cycles
    assert [layer.name for layer in figures.layers] == ["conv", "fc"]
    assert "waiting for memory" in format_table(figures)
    assert "C path: it drives the streams of a dataflow design" in format_table(figures)


# Faults of memory and of the hardware


@pytest.mark.parametrize("part", ["program", "result"])
def test_a_memory_error_ends_the_run_and_the_next_one_works(
    board: Accelerator, machine: ArrayMachine, part: str
) -> None:
    model = board.loaded()
    assert isinstance(model, ProgramModel)
    base = board.buffer("network wide", 1).physical_address
    first = base + (0x200 if part == "program" else model.result.base)
    machine.top.memory(MemoryModel(bad=range(first, first + 8)))
    said = "answered a read" if part == "program" else "answered a write"
    with pytest.raises(BusError, match=f"memory {said} with an error"):
        is_golden(board, "wide")
    machine.top.memory(MemoryModel())
    assert is_golden(board, "wide")
    assert machine.loads == 1


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, 0, "status 1, the program's header"),
        (0x80, 0xFF, "status 2, a descriptor of the program is damaged"),
        (8, 64, "status 6, the program reaches beyond its memory"),
    ],
)
def test_a_program_that_was_overwritten_ends_with_a_status(
    board: Accelerator, machine: ArrayMachine, place: int, value: int, said: str
) -> None:
    assert is_golden(board, "wide")
    block = board.buffer("network wide", 1)
    block[place // 4] = value
    with pytest.raises(ProgramError, match=said):
        is_golden(board, "wide")
    assert is_golden(board, "wide")
    assert machine.loads == 1


def test_a_memory_that_never_answers_ends_with_a_status(
    board: Accelerator, machine: ArrayMachine
) -> None:
    machine.top.memory(MemoryModel(stall=1.0))
    with pytest.raises(HardwareTimeout, match="no word moved for 65536 cycles"):
        is_golden(board, "wide")


def test_a_run_that_takes_too_long_is_timed_out_and_configured_anew(
    board: Accelerator, machine: ArrayMachine
) -> None:
    machine.top.memory(MemoryModel(latency=20_000))
    board.timeout_s = 0.01
    with pytest.raises(HardwareTimeout, match="waited 0.01 s for done.*give a larger timeout_s"):
        is_golden(board, "wide")
    board.timeout_s = 30
    machine.top.memory(MemoryModel())
    assert is_golden(board, "wide")
    assert machine.loads == 2


def test_memory_that_does_not_hold_what_is_written_is_noticed(
    start: Callable[..., Accelerator], machine: ArrayMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    region = machine.allocate(1).region
    flip = region.synchronise

    def damaged(address: int, nbytes: int, direction: int) -> None:
        flip(address, nbytes, direction)
        if direction == TO_DEVICE:
            region._words[(address - REGION) // 4 + 40] ^= 1

    monkeypatch.setattr(region, "synchronise", damaged)
    with pytest.raises(WeightsError, match="bytes differ when read back"):
        start()


def test_networks_leave_memory_when_there_is_no_room(
    board: Accelerator, machine: ArrayMachine
) -> None:
    board.load_model("bytes")
    assert machine._region is not None
    free = machine._region
    rest = sum(free._taken.values())
    board.buffer("ballast", len(free._words) - rest)
    board.load_model("signed")  # "wide" has left
    assert is_golden(board, "signed")
    board.load_model("wide")
    assert is_golden(board, "wide")


def test_without_room_for_one_network_the_driver_says_what_to_do(
    start: Callable[..., Accelerator], machine: ArrayMachine
) -> None:
    region = machine.allocate(1).region
    machine.allocate(len(region._words) - 2048)
    with pytest.raises(HostError, match="contiguous memory cannot be had.*larger u-dma-buf"):
        start()


@pytest.mark.parametrize(
    ("address", "said"),
    [(1 << 32, "beyond the 4 GiB that the array addresses"), (REGION + 64, "reserve whole pages")],
)
def test_memory_at_an_address_that_the_array_cannot_take_is_refused(
    start: Callable[..., Accelerator], machine: ArrayMachine, address: int, said: str
) -> None:
    machine.allocate(1).region.address = address
    with pytest.raises(HostError, match=said):
        start()


# Bundles that do not fit


def test_a_bundle_without_a_bitstream_says_how_to_add_one(
    machine: ArrayMachine, bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(HostError, match="the bundle has none.*pyadmm deploy DEPLOY --bitstream"):
        Accelerator(None, bundle, device=machine, lock_folder=tmp_path)


def change(bundle: Path, **facts: Any) -> None:
    """Replace fields of the first network in the manifest, or of the manifest."""
    path = bundle / "manifest.json"
    document = json.loads(path.read_text())
    for key, value in facts.items():
        owner = document["models"][0] if key in document["models"][0] else document
        owner[key] = value
    path.write_text(json.dumps(document))


def test_a_bitstream_of_another_array_is_refused(
    start: Callable[..., Accelerator], bundle: Path
) -> None:
    change(bundle, build=SMALL.build + (1 << 8))
    with pytest.raises(IdentError, match="is 2 groups of 32 lanes.*are for 3 groups of 32 lanes"):
        start()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda image: image[:100], "100 bytes hold no header"),
        (lambda image: b"x" + image[1:], "no program"),
        (lambda image: image[:-64], "its header says"),
        (lambda image: image[:-1] + bytes([image[-1] ^ 1]), "not what its own digest says"),
        (
            lambda image: image[:4] + struct.pack("<I", SMALL.build + 0x100) + image[8:],
            "is for 3 groups of 32 lanes",
        ),
    ],
)
def test_a_damaged_program_is_refused(
    bundle: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    model = read_manifest(bundle).models[0]
    assert isinstance(model, ProgramModel)
    image = damage(model.program.read())
    with pytest.raises(ProgramError, match=said):
        check_program(model, image, SMALL.build)


def test_a_program_of_another_digest_is_refused(
    start: Callable[..., Accelerator], bundle: Path
) -> None:
    path = bundle / "wide" / "program.seq"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ManifestError, match=r"program\.seq: sha256 is .*copy the whole bundle"):
        start()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"memory_bytes": 4096}, "places the map beyond the program's 4096 bytes"),
        ({"start_images": 999}, "leaves no room for the 999 images of a start"),
        ({"folder": ".."}, "must be a plain folder name"),
        ({"classes": 9}, "must be a whole number from 10 to 10"),
        ({"layers": []}, "must be a list of 1 to"),
        ({"architecture": "systolic"}, "must be one of sequential"),
        ({"registers": {"ap_ctrl": 0}}, "field registers.base is missing"),
        ({"curve": 1}, "field curve is unknown"),
    ],
)
def test_a_wrong_field_is_named(bundle: Path, facts: dict[str, Any], said: str) -> None:
    change(bundle, **facts)
    with pytest.raises(ManifestError, match=said):
        read_manifest(bundle)


def test_the_drivers_view_of_memory_is_the_compilers(bundle: Path) -> None:
    """Where images and results lie, on random bytes; a start with fewer images leaves zeros."""
    for fact in read_manifest(bundle).models:
        assert isinstance(fact, ProgramModel)
        compiled = network_pack(fact.name).compiled
        rng = np.random.default_rng(5)
        memory = rng.integers(0, 256, fact.memory_bytes).astype(np.uint8)
        np.testing.assert_array_equal(read_result(memory, fact), compiled.read_output(memory))
        images = images_of(rng, compiled.model, compiled.images).view(compiled.model.input.dtype)
        placed = memory.copy()
        compiled.place_input(placed, images)
        place_input(memory, fact, images)
        np.testing.assert_array_equal(memory, placed)


def test_the_design_survives(deploy: Path) -> None:
    assert is_sequential(deploy)
    assert read_design(deploy).array == SMALL
