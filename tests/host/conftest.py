"""The simulated board for tests; without a Python that has pynq they are skipped, loudly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pyadmm.core.errors import ToolError
from pyadmm.deploy.bundle import plan_deploy
from pyadmm.deploy.simulated_board.stage import Stage, last_lines, prepare

from .models import small_design, small_model, small_pack

CURVES = json.dumps(
    [
        {
            "layer": "conv1",
            "board": "pynq-z2",
            "ratio": 1.4,
            "basis": "post-synthesis",
            "tool": "yosys",
            "version": "0.70",
            "curve": [
                {"pruned": pruned, "speedup": speedup}
                for pruned, speedup in ((0.1, None), (0.3, 1.1), (0.5, 1.7), (0.9, 8.0))
            ],
        }
    ]
)


@pytest.fixture(scope="session")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deploy folder with two small models and break-even curves."""
    folder = tmp_path_factory.mktemp("deploy")
    first, second = small_model(1, "first"), small_model(2, "second", 0.3)
    plan_deploy(small_design(first), [small_pack(first), small_pack(second)], CURVES).write(folder)
    return folder


def stage_of(deploy: Path, folder: Path, **options: Any) -> Stage:
    """The stage of a deploy folder, with the test's own scripts beside the host code."""
    try:
        stage = prepare(deploy, folder, **options)
    except ToolError as error:
        pytest.skip(f"the simulated board needs a Python with pynq: {error}")
    for script in ("scenarios.py", "mapped.py", "notebooks.py"):
        shutil.copy(Path(__file__).with_name(script), stage.site)
    return stage


def run_json(stage: Stage, module: str, *arguments: str) -> dict[str, Any]:
    """What a script on the simulated board printed, as JSON."""
    done = stage.run(module, *arguments)
    assert done.returncode == 0, last_lines(done)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="session")
def stage(deploy: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The simulated board with the stand-in core."""
    return stage_of(deploy, tmp_path_factory.mktemp("stage"))
