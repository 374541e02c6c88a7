"""An installed wheel works the same outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FOLDERS = ("boards", "hls", "host", "templates")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel."""
    if find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed; make setup installs it")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*build, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_everything_travels(installed: Path) -> None:
    for folder in FOLDERS:
        expected = {
            path.relative_to(ROOT / folder)
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        packed = installed / "pyadmm" / "_assets" / folder
        found = {path.relative_to(packed) for path in packed.rglob("*") if path.is_file()}
        assert expected <= found, f"{folder}: {expected - found} missing"
    assert (installed / "pyadmm" / "_assets" / "build.tcl").is_file()


def test_the_flow_starts_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, "-c", "import pyadmm; print(pyadmm.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(installed)
    done = run(installed, tmp_path, "-m", "pyadmm.flow", "--board", "kv260", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "kv260" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_code_is_generated_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    script = f"""
import sys
sys.path.append({str(ROOT)!r})
from tests.unit.models import planned, random_lenet5
from pyadmm.codegen.hls import generate
from pyadmm.codegen.rtl import generate_rtl
model = random_lenet5()
plan = planned(model)
print(len(generate(model, plan).files), len(generate_rtl(plan).files))
"""
    done = run(installed, tmp_path, "-c", script)
    assert done.returncode == 0, done.stderr
    assert min(int(count) for count in done.stdout.split()) > 5
