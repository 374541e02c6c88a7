"""The whole system, from the processor's registers to memory, runs the host's driver on the RTL."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from host import Accelerator, selftest
from host.accelerator import load_vectors
from host.errors import DmaError, HardwareTimeout, WeightsError
from pyadmm.codegen.system import CHIP_TOP, SYSTEM_TOP, send_bits, system_files
from pyadmm.core.assets import asset_dir
from pyadmm.deploy.bundle import Design, plan_deploy
from pyadmm.eda import yosys
from pyadmm.eda.system_simulation import DECODE_ERROR, SLAVE_ERROR, LiveSystem, build_system
from pyadmm.eda.verilator import lint
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.plan import BuildPlan, InputStream
from tests.host.models import small_model, small_pack, small_plan

from .system_board import BUFFERS, CORE, DMA, SystemBoard
from .system_design import chip_cells, empty_top, small_build

pytestmark = pytest.mark.slow

MODELS = (small_model(1, "first"), small_model(2, "second", 0.3))


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deploy folder of the RTL design."""
    folder = tmp_path_factory.mktemp("deploy")
    design = Design.of(small_plan(MODELS[0]), small_build())
    plan_deploy(design, [small_pack(model) for model in MODELS]).write(folder)
    return folder


@pytest.fixture(scope="module")
def program(simulators: Path) -> Path:
    return build_system(small_build(), simulators)


@pytest.fixture
def live(program: Path) -> Iterator[LiveSystem]:
    with LiveSystem(program) as system:
        yield system


@pytest.fixture
def board(live: LiveSystem, deploy: Path, tmp_path: Path) -> Iterator[Accelerator]:
    device = SystemBoard(live, deploy / "bundle")
    with Accelerator(
        tmp_path / "none.bit",
        deploy / "bundle",
        device=device,
        timeout_s=30,
        lock_folder=tmp_path,
    ) as accelerator:
        yield accelerator


def is_golden(board: Accelerator) -> bool:
    assert board.model is not None
    vectors = load_vectors(board.model)
    return bool(np.array_equal(board.logits(vectors["images"]), vectors["logits"]))


@pytest.mark.parametrize(("share", "latency"), [(0.0, 0), (0.0, 30), (0.5, 100)])
def test_the_self_test_passes_through_dma_and_memory(
    board: Accelerator, live: LiveSystem, share: float, latency: int
) -> None:
    live.stall(17, share, latency)
    for model in MODELS:
        board.load_model(model.name)
        assert selftest.check(board).passed
    assert board.last is not None
    assert board.last.cycles is not None
    assert 0 < board.last.cycles < 12 * 2000


def test_the_memory_traffic_is_what_the_images_take(board: Accelerator, live: LiveSystem) -> None:
    images = load_vectors(board.manifest.models[0])["images"]
    before = live.status()
    board.logits(images)
    after = live.status()
    words = len(images) * board.manifest.input_words
    assert after.beats_read - before.beats_read == words / 2
    assert after.beats_written - before.beats_written == len(images) * 5 / 2


def test_interrupts_reach_the_processor(live: LiveSystem, board: Accelerator) -> None:
    live.write(CORE + 0x04, 1)
    live.write(CORE + 0x08, 1)
    assert is_golden(board)
    assert live.status().interrupts == 1  # the driver left the DMA's own switched off
    live.write(CORE + 0x0C, 1)
    live.write(DMA, 0x1001)
    live.write(DMA + 0x30, 0x1001)
    assert live.status().interrupts == 6
    live.write(DMA + 0x04, 0x1000)
    assert live.status().interrupts == 4


@pytest.mark.parametrize("buffer", ["send", "receive"])
@pytest.mark.parametrize(
    ("response", "words"), [(SLAVE_ERROR, "slave error"), (DECODE_ERROR, "decode error")]
)
def test_a_memory_error_is_reported_and_recovered_from(
    board: Accelerator, live: LiveSystem, buffer: str, response: int, words: str
) -> None:
    address = board.buffer(buffer, 1).physical_address
    live.respond(address, response)
    with pytest.raises(DmaError, match=words):
        is_golden(board)
    live.respond(address, 0)
    assert is_golden(board)


def test_damaged_weights_are_found(live: LiveSystem, board: Accelerator) -> None:
    device = board.board
    assert isinstance(device, SystemBoard)
    device.flip_once = True
    with pytest.raises(WeightsError, match="word 0"):
        board.load_model("second")
    board.load_model("second")
    assert is_golden(board)


def test_a_core_that_waits_for_ever_is_timed_out_and_configured_anew(
    board: Accelerator, live: LiveSystem
) -> None:
    device = board.board
    assert isinstance(device, SystemBoard)
    board.timeout_s = 0.3
    live.write(CORE + 0x10, 1)  # a load that gets no weights
    live.write(CORE, 1)
    with pytest.raises((HardwareTimeout, DmaError)):
        is_golden(board)
    board.timeout_s = 30
    assert is_golden(board)
    assert device.loads == 2


def test_buffers_lie_where_the_board_says(board: Accelerator) -> None:
    assert board.buffer("send", 1).physical_address == BUFFERS


# Synthesis and lint


def sources() -> list[Path]:
    """The system, and the modules that it shares with the accelerator."""
    return [*sorted((asset_dir("hls") / "system").glob("*.sv")), *shared()]


def shared() -> list[Path]:
    """Modules that the system shares with the accelerator."""
    rtl = asset_dir("hls") / "rtl"
    return [rtl / f"{module}.sv" for module in ("reset_sync", "stream_register")]


def test_the_system_around_the_accelerator_is_small_and_fast(tmp_path: Path) -> None:
    """The chip with the processor's cell, the accelerator left out."""
    if importlib.util.find_spec("pyosys") is None:
        pytest.skip("synthesis needs the package pyosys, which is not installed")
    board = load_board("pynq-z2")
    design = yosys.Design.for_board(board, CHIP_TOP, [*sources(), empty_top(tmp_path)], {})
    report = yosys.synthesise(replace(design, boxes=("pyadmm_top",)))
    assert report.resources.lut is not None
    assert report.clock_estimate_ns is not None
    assert 800 < report.resources.lut < 1200
    assert report.resources.bram18 == 4
    assert report.clock_estimate_ns < 10


WIDE = InputStream(packed=True, word_bits=64)


@pytest.mark.parametrize(("share", "latency"), [(0.0, 0), (0.4, 60)])
def test_streams_of_64_bits_pass_through_dma_and_memory(
    share: float, latency: int, simulators: Path, tmp_path: Path
) -> None:
    """63 pixels of a byte are 8 words; the host's driver and self-test."""
    build, plan = small_build(WIDE), small_plan(MODELS[0], stream=WIDE)
    assert (send_bits(build), plan.image_bytes) == (64, 64)
    bundle = plan_deploy(Design.of(plan, build), [small_pack(model) for model in MODELS])
    bundle.write(tmp_path)
    with LiveSystem(build_system(build, simulators)) as live:
        live.stall(3, share, latency)
        with Accelerator(
            tmp_path / "none.bit",
            tmp_path / "bundle",
            device=SystemBoard(live, tmp_path / "bundle"),
            timeout_s=30,
            lock_folder=tmp_path,
        ) as accelerator:
            for model in MODELS:
                accelerator.load_model(model.name)
                assert selftest.check(accelerator).passed
                assert is_golden(accelerator)
        live.write(DMA, 1)
        live.write(DMA + 0x18, BUFFERS + 4)
        live.write(DMA + 0x28, 8)
        assert live.read(DMA + 0x04) & 0x10  # internal error: no whole word begins there


def test_the_system_is_lint_clean(simulators: Path, tmp_path: Path) -> None:
    files = [*sources(), empty_top(tmp_path)]
    cells = {CHIP_TOP, "zynq7_processor"}
    lint([f for f in files if f.stem not in cells], SYSTEM_TOP, simulators / "lint_system.log")
    lint([*files, chip_cells(tmp_path)], CHIP_TOP, simulators / "lint_chip.log")
    BuildPlan(system_files(64)).write(tmp_path / "wide")
    wide = [*(tmp_path / "wide" / "system").iterdir(), *shared(), empty_top(tmp_path, WIDE)]
    lint(wide, SYSTEM_TOP, simulators / "lint_wide.log")
