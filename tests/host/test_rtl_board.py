"""The unmodified host code drives the generated RTL, in Verilator, through the DMA model."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyadmm.codegen.rtl import generate_rtl
from pyadmm.core.errors import ToolError
from pyadmm.deploy import simulated_board as simboard
from pyadmm.deploy.bundle import Design, plan_deploy
from pyadmm.deploy.simulated_board.run import RTL_BASIS
from pyadmm.deploy.simulated_board.stage import Stage
from pyadmm.eda.verilator import RtlSimulator, build_simulator, verilator_root

from .conftest import CURVES, run_json, stage_of
from .models import small_model, small_pack, small_plan

MODELS = (small_model(1, "first"), small_model(2, "second", 0.3))


@pytest.fixture(scope="module")
def rtl(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config, stage: Stage
) -> tuple[Path, RtlSimulator]:
    """A deploy folder of an RTL design, and its simulator, which is kept for the next session."""
    try:
        verilator_root()
    except ToolError as error:
        pytest.skip(f"the RTL board needs Verilator: {error}")
    folder = tmp_path_factory.mktemp("rtl")
    plan = small_plan(MODELS[0])
    build = generate_rtl(plan)
    packs = [small_pack(model) for model in MODELS]
    plan_deploy(Design.of(plan, build), packs, CURVES).write(folder / "deploy")
    cache = pytestconfig.cache.mkdir("rtl-simulators") if pytestconfig.cache else folder
    return folder / "deploy", build_simulator(build, plan, cache)


def test_the_rtl_gives_the_golden_logits_and_counts_its_cycles(
    rtl: tuple[Path, RtlSimulator],
) -> None:
    deploy, simulator = rtl
    pack = small_pack(MODELS[0], 100)
    golden = MODELS[0].run(pack.images)
    result = simboard.run(deploy, simulator.program, pack.images, golden, pack.labels)
    assert result.basis == RTL_BASIS
    assert result.equal
    assert result.accuracy == 1
    assert result.single_cycles is not None
    assert result.cycles_per_image is not None
    assert 0 < result.cycles_per_image < result.single_cycles < 2000
    assert result.single_us == pytest.approx(result.single_cycles / 100)


def test_faults_around_the_rtl_are_recovered_from(
    rtl: tuple[Path, RtlSimulator], tmp_path: Path
) -> None:
    deploy, simulator = rtl
    stage = stage_of(deploy, tmp_path, simulator=simulator.program)
    names = ("receive_never_ends", "send_slave_error", "weights_corrupted", "reload")
    outcomes = run_json(stage, "scenarios", *names)
    assert outcomes["receive_never_ends"]["error"] == "HardwareTimeout"
    assert outcomes["send_slave_error"]["error"] == "DmaError"
    assert "layer conv1, word 3" in outcomes["weights_corrupted"]["message"]
    assert all(outcomes[name]["works_after"] for name in names)


def test_the_manifest_of_another_design_is_refused(
    rtl: tuple[Path, RtlSimulator], deploy: Path, tmp_path: Path
) -> None:
    _, simulator = rtl
    stage = stage_of(deploy, tmp_path, simulator=simulator.program)
    done = stage.run("host.selftest")
    assert done.returncode == 2
    assert "but the manifest is for 0x01234567" in done.stderr
