"""The wheel of several networks under the real pynq, on the simulated board with the array's RTL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.deploy import simulated_board as simboard
from pyadmm.deploy.simulated_board.run import RTL_BASIS
from pyadmm.deploy.simulated_board.stage import Stage, last_lines, prepare
from tests.host.conftest import stage_of
from tests.sequential.bundles import COUNT, network, network_pack, small_bundle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("deploy"), "wide", "bytes")


@pytest.fixture(scope="module")
def stage(deploy: Path, small_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return stage_of(deploy, tmp_path_factory.mktemp("stage"), simulator=small_program)


def notebook(stage: Stage, name: str) -> list[str]:
    """What the cells of a shipped notebook printed."""
    file = stage.site / "host" / "notebooks" / f"{name}.ipynb"
    done = stage.run("notebooks", str(file))
    assert done.returncode == 0, last_lines(done)
    outputs: list[str] = json.loads(done.stdout.splitlines()[-1])
    return outputs


def test_the_self_test_checks_every_network(stage: Stage) -> None:
    done = stage.run("host.selftest")
    assert done.returncode == 0, last_lines(done)
    said = f"{COUNT} golden images, 0 differ on the board, 0 on the CPU"
    assert f"pass wide: {said}; {COUNT} classified right\n" in done.stdout
    assert f"pass bytes: {said}\n" in done.stdout


def test_the_notebook_switches_networks_live(stage: Stage) -> None:
    outputs = notebook(stage, "5_switch_networks")
    assert "wide: 3 x 9 x 9 -> 10 outputs\nbytes: 3 x 9 x 9 -> 24 outputs" in outputs[0]
    assert "pass wide" in outputs[1]
    assert "pass bytes" in outputs[1]
    assert "20 switches, 0 wrong results; median of a switch: " in outputs[2]
    for name in ("wide", "bytes"):
        for node in network(name).nodes:
            assert f"{name} {node.name}: " in outputs[3]
    assert outputs[3].count("image/png") == 2


def test_the_quick_start_runs_unchanged(stage: Stage) -> None:
    outputs = notebook(stage, "1_quick_start")
    assert "wide on pynq-z2, 100 MHz" in outputs[0]
    assert f"{COUNT} images, equal to the golden model: True" in outputs[1]
    assert "processor equal to the golden model: True" in outputs[3]
    assert "C path: the registers of this device are not mapped memory" in outputs[4]


def test_images_go_through_the_driver_and_its_counters_are_kept(
    deploy: Path, small_program: Path, stage: Stage
) -> None:
    pack = network_pack("wide").pack
    golden = pack.model.run(pack.images)
    result = simboard.run(deploy, small_program, pack.images, golden, pack.labels)
    assert (result.basis, result.equal, result.accuracy) == (RTL_BASIS, True, 1)
    assert result.run_images == 3
    assert result.cycles_per_image is not None
    assert [layer.name for layer in result.layers] == ["conv", "fc"]
    assert sum(layer.cycles for layer in result.layers) < 3 * result.cycles_per_image * 1.2
    assert all(0 < layer.waiting < layer.cycles for layer in result.layers)


def test_the_array_has_no_stand_in(deploy: Path, tmp_path: Path) -> None:
    with pytest.raises(PyadmmError, match="has no stand-in; give the program of its simulator"):
        prepare(deploy, tmp_path)
