"""The array inside its Zynq-7000 system: the driver reaches it through the processor's ports, in Verilator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from host import Accelerator, selftest
from host.accelerator import load_vectors
from host.errors import BusError
from host.linux.hwh import read_hwh
from host.manifest import ProgramModel
from pyadmm.codegen.sequential_rtl import array_ident
from pyadmm.codegen.system import (
    CORE_BASE,
    SEQUENTIAL_CHIP_TOP,
    SEQUENTIAL_SYSTEM_TOP,
    chip_hwh,
    sequential_chip_build,
    sequential_system_build,
)
from pyadmm.core.errors import ToolError
from pyadmm.deploy.sequential import IP, VLNV
from pyadmm.eda.system_simulation import (
    DECODE_ERROR,
    SLAVE_ERROR,
    LiveSystem,
    build_sequential_system,
)
from pyadmm.eda.verilator import lint
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.plan import BuildPlan
from pyadmm.hardware.sequential.registers import IDENT
from tests.rtl.system_board import SystemBoard
from tests.rtl.system_design import chip_cells
from tests.sequential.bundles import COUNT, small_bundle
from tests.sequential.conftest import SMALL

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("deploy"), "wide", "bytes")


@pytest.fixture(scope="module")
def program(small_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The system's simulator; ``small_program`` skips where the tools are missing."""
    assert small_program.is_file()
    return build_sequential_system(SMALL, tmp_path_factory.mktemp("system"))


@pytest.fixture
def live(program: Path) -> Iterator[LiveSystem]:
    with LiveSystem(program) as system:
        yield system


@pytest.fixture
def board(live: LiveSystem, deploy: Path, tmp_path: Path) -> Iterator[Accelerator]:
    bundle = deploy / "bundle"
    device = SystemBoard(live, bundle)
    options = {"device": device, "timeout_s": 60, "lock_folder": tmp_path}
    with Accelerator(tmp_path / "none.bit", bundle, **options) as accelerator:
        yield accelerator


@pytest.mark.parametrize(("share", "latency"), [(0.0, 0), (0.4, 60)])
def test_networks_take_turns_through_the_processor_s_ports(
    board: Accelerator, live: LiveSystem, share: float, latency: int
) -> None:
    live.stall(17, share, latency)
    for name in ("wide", "bytes", "wide"):
        board.load_model(name)
        result = selftest.check(board)
        assert (result.images, result.passed) == (COUNT, True)
        assert all(layer.computing > 0 for layer in board.layer_cycles())
    assert live.status().beats_read > live.status().beats_written > 0


@pytest.mark.parametrize("response", [SLAVE_ERROR, DECODE_ERROR])
def test_a_memory_error_ends_the_run(board: Accelerator, live: LiveSystem, response: int) -> None:
    vectors = load_vectors(board.loaded())
    model = board.loaded()
    assert isinstance(model, ProgramModel)
    live.respond(board.buffer("network wide", 1).physical_address, response)
    with pytest.raises(BusError, match="memory answered a read with an error"):
        board.logits(vectors["images"])
    live.respond(board.buffer("network wide", 1).physical_address, 0)
    np.testing.assert_array_equal(board.logits(vectors["images"]), vectors["logits"])


def test_the_interrupt_and_wrong_addresses(board: Accelerator, live: LiveSystem) -> None:
    assert live.read(CORE_BASE + IDENT) == array_ident(SMALL)
    live.write(CORE_BASE + 0x04, 1)
    live.write(CORE_BASE + 0x08, 1)
    board.logits(load_vectors(board.loaded())["images"])
    assert live.status().interrupts == 1
    for address in (0x4040_0000, 0x43C1_0000):
        with pytest.raises(ToolError, match="no register lies there"):
            live.read(address)


def written(build: BuildPlan, folder: Path) -> list[Path]:
    """The SystemVerilog files of a build."""
    build.write(folder)
    return [folder / name for name in sorted(build.files) if name.endswith(".sv")]


def test_system_and_chip_are_lint_clean(small_program: Path, tmp_path: Path) -> None:
    assert small_program.is_file()
    system = written(sequential_system_build(SMALL), tmp_path / "system")
    lint(system, SEQUENTIAL_SYSTEM_TOP, tmp_path / "system.log")
    chip = written(sequential_chip_build(SMALL), tmp_path / "chip")
    lint([*chip, chip_cells(tmp_path)], SEQUENTIAL_CHIP_TOP, tmp_path / "chip.log")


def test_the_chip_has_the_array_s_parameters() -> None:
    text = str(sequential_chip_build(SMALL).files[f"system/{SEQUENTIAL_CHIP_TOP}.sv"])
    assert ".GROUPS(2)," in text
    assert f".IDENT(32'h{array_ident(SMALL):08x})\n" in text


def test_the_hwh_says_where_registers_and_memory_ports_are(tmp_path: Path) -> None:
    file = tmp_path / "chip.hwh"
    file.write_text(chip_hwh(load_board("pynq-z2"), IP, VLNV["rtl"], None))
    instances = read_hwh(file).instances
    assert (instances[IP].kind, instances[IP].address) == (VLNV["rtl"], CORE_BASE)
    text = file.read_text()
    assert f'NAME="{SEQUENTIAL_CHIP_TOP}"' in text
    for name in ("S_AXI_HP0", "S_AXI_HP1", "m_axi_map", "m_axi_stream"):
        assert f'NAME="{name}"' in text
    assert "axi_dma" not in text
